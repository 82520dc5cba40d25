//! What can be wrong with a hook payload.

use defenseclaw_model::decision::Severity;
use defenseclaw_model::ids::{IdError, SessionId};

use super::payload::{MAX_DEPTH, MAX_PAYLOAD, MAX_VALUES};

/// A payload that was refused, and what is known of it all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Whether the payload announced a tool call, or may have: only then does the fail mode refuse anything.
    pub may_be_call: bool,
    /// The event's native name, where that much could be read.
    pub event: Option<Box<str>>,
    /// The session, where that much could be read.
    pub session: Option<SessionId>,
}

impl Fault {
    /// A fault in a payload of which nothing could be read.
    pub fn unreadable(kind: FaultKind) -> Self {
        Self {
            kind,
            may_be_call: true,
            event: None,
            session: None,
        }
    }
}

/// What is wrong. The text is shown to the person and the model, and is written to the ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// Over [`MAX_PAYLOAD`].
    #[error("the hook payload is over the limit of {} MiB. Split the work into smaller calls", MAX_PAYLOAD >> 20)]
    TooLarge,
    /// Not UTF-8.
    #[error("the hook payload is not UTF-8 (byte {at}). The harness must send JSON text")]
    NotUtf8 {
        /// Offset of the first bad byte.
        at: usize,
    },
    /// Nested over [`MAX_DEPTH`].
    #[error("the hook payload is nested deeper than {MAX_DEPTH} levels. Pass such data in a file")]
    TooDeep,
    /// More values than [`MAX_VALUES`].
    #[error("the hook payload holds more than {MAX_VALUES} values. Pass such data in a file")]
    TooMany,
    /// Not JSON, or not an object.
    #[error(
        "the hook payload is not a JSON object: {0}. See that the hook hands its standard input on unchanged"
    )]
    Malformed(String),
    /// A field is missing.
    #[error(
        "the hook payload of {event} has no {field}. This version of the harness may need a newer DefenseClaw"
    )]
    Missing {
        /// The event; "an event" where that is what is missing.
        event: String,
        /// The field.
        field: String,
    },
    /// A field has the wrong type.
    #[error(
        "{field} in the hook payload is not {expected}. This version of the harness may need a newer DefenseClaw"
    )]
    WrongType {
        /// The field.
        field: String,
        /// What was expected.
        expected: &'static str,
    },
    /// Neither the payload nor the hook's command line names the event.
    #[error(
        "nothing names the event: this harness's payloads do not, so the hook must be called as `defenseclaw-hook \
         {connector} EVENT`. Run `defenseclaw-cli setup {connector}` again"
    )]
    NoEventArgument {
        /// The connector.
        connector: String,
    },
    /// An id was refused.
    #[error("the hook payload's {0}")]
    BadId(#[from] IdError),
    /// An event that we do not know.
    #[error("the event {0:?} is not one that DefenseClaw decides on; it was let through")]
    UnknownEvent(String),
}

impl FaultKind {
    /// The stable id of the rule that a record of this fault names.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::TooLarge => "hook.too-large",
            Self::NotUtf8 { .. } => "hook.not-utf8",
            Self::TooDeep => "hook.too-deep",
            Self::TooMany => "hook.too-many-values",
            Self::Malformed(_) => "hook.malformed",
            Self::Missing { .. } => "hook.missing-field",
            Self::WrongType { .. } => "hook.wrong-type",
            Self::NoEventArgument { .. } => "hook.no-event",
            Self::BadId(_) => "hook.bad-id",
            Self::UnknownEvent(_) => "hook.unknown-event",
        }
    }

    /// How bad: a harness's new event is worth a note, a payload that no harness would send is worth a look.
    pub fn severity(&self) -> Severity {
        match self {
            Self::UnknownEvent(_) => Severity::Low,
            _ => Severity::Medium,
        }
    }
}
