//! What a hook says and how it is answered, by harness.
//!
//! A contract is data: `policies/harness/NAME.yaml`. This engine is the only code that reads payloads and renders replies.
//!
//! | Part | Holds |
//! |---|---|
//! | [`Contracts`] | every built-in contract, by connector |
//! | [`Contract`] | one harness: [`parse`](Contract::parse) a payload, render a decision ([`decided`](Contract::decided)) or a refusal ([`refused`](Contract::refused)) |
//! | [`Fault`] | what can be wrong with a payload |
//! | `schema`, `load` | the file's form, and the checks that a contract must pass to be used |
//! | [`sandbox`] | how a command gets into a sandbox |
//! | `payload` | bounds that every payload keeps, and the fields that a contract reads |
//! | `parse`, `reply` | the two directions |

mod fault;
mod load;
mod parse;
mod payload;
mod reply;
pub mod sandbox;
mod schema;

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use defenseclaw_detect::tools::{Selector, ToolTable};
use defenseclaw_model::call::HookEvent;

pub use fault::{Fault, FaultKind};
pub use load::ContractError;
pub use payload::{MAX_DEPTH, MAX_PAYLOAD, MAX_VALUES};
pub use schema::{Evidence, Outcome, Transport};

use reply::Replies;
use sandbox::Rooms;
use schema::{EventKind, HomeSource, NoSession};

/// Every harness that is known, by connector.
const EMBEDDED: [(&str, &str); 11] = [
    (
        "claude-code",
        include_str!("../../../policies/harness/claude-code.yaml"),
    ),
    ("codex", include_str!("../../../policies/harness/codex.yaml")),
    ("cursor", include_str!("../../../policies/harness/cursor.yaml")),
    (
        "gemini-cli",
        include_str!("../../../policies/harness/gemini-cli.yaml"),
    ),
    (
        "copilot-cli",
        include_str!("../../../policies/harness/copilot-cli.yaml"),
    ),
    (
        "windsurf",
        include_str!("../../../policies/harness/windsurf.yaml"),
    ),
    (
        "opencode",
        include_str!("../../../policies/harness/opencode.yaml"),
    ),
    (
        "openclaw",
        include_str!("../../../policies/harness/openclaw.yaml"),
    ),
    ("hermes", include_str!("../../../policies/harness/hermes.yaml")),
    (
        "antigravity",
        include_str!("../../../policies/harness/antigravity.yaml"),
    ),
    (
        "openhands",
        include_str!("../../../policies/harness/openhands.yaml"),
    ),
];

/// What of a hook's reply is shown to whom is the harness's business; this is what the hook client prints and how it ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// Exit status.
    pub exit: u8,
    /// Standard output.
    pub body: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Reply {
    /// Nothing to say: the harness goes on by its own rules.
    pub fn silence() -> Self {
        Self::default()
    }
}

/// A hook payload in our words.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// What happened.
    pub event: HookEvent,
    /// The harness's own name of the event, by which its reply is chosen.
    pub native: String,
    /// The harness's home folder, where the payload tells it.
    pub home: Option<String>,
    /// What the agent said to the person last, where another event than a completion tells it.
    pub said: Option<String>,
}

/// What a reply to an event can bring about in its harness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Can {
    /// It can be refused.
    pub block: bool,
    /// The harness itself can ask the person.
    pub ask: bool,
    /// The tool's input can be changed.
    pub modify: bool,
}

/// One harness's contract, ready for use.
#[derive(Debug, Clone)]
pub struct Contract {
    connector: String,
    product: String,
    evidence: Evidence,
    hook: schema::Hook,
    /// The payload's field with the event's name; `None`: only the hook's argument says it.
    event_field: Option<String>,
    session: Vec<Selector>,
    no_session: NoSession,
    call: Vec<Selector>,
    cwd: Vec<Selector>,
    homes: Vec<HomeSource>,
    /// Fields of the outermost object that anything reads; the rest of a payload is skipped.
    wanted: Vec<String>,
    events: HashMap<String, Event>,
    /// The event by whose reply a call is refused of which not even the event could be read.
    primary: String,
    tools: ToolTable,
    replies: HashMap<String, Replies>,
    rooms: Rooms,
}

/// One event of a harness.
#[derive(Debug, Clone)]
struct Event {
    kind: EventKind,
    /// Where the session start's source, the end's reason, the prompt's or the agent's words stand.
    text: Vec<Selector>,
    model: Vec<Selector>,
    tool: ToolName,
    input: Input,
    failed: Failed,
    result: Vec<Selector>,
    said: Vec<Selector>,
    /// Name of the replies to it; without one, it is never answered.
    replies: Option<String>,
}

/// Where the tool's name stands.
#[derive(Debug, Clone)]
enum ToolName {
    At(Vec<Selector>),
    /// The event is one tool's.
    Is(String),
    /// An MCP server's tool: the names that stand there, of the server and of the tool.
    Mcp(Vec<Selector>),
}

/// Where the tool's input stands.
#[derive(Debug, Clone)]
enum Input {
    At(Vec<Selector>),
    /// Put together from fields of the payload.
    Picked(Vec<(String, Selector)>),
}

/// Whether a call that ended failed.
#[derive(Debug, Clone)]
enum Failed {
    Always(bool),
    /// When the field is there and is neither `false` nor empty.
    When(Selector),
    /// When the field has one of these texts.
    Says(Selector, Vec<String>),
}

/// The built-in contracts.
#[derive(Debug)]
pub struct Contracts(Vec<Contract>);

impl Contracts {
    /// All of them. They are checked on first use; a daemon does that when it starts.
    pub fn embedded() -> Result<&'static Self, &'static ContractError> {
        static CONTRACTS: LazyLock<Result<Contracts, ContractError>> = LazyLock::new(|| {
            EMBEDDED
                .iter()
                .map(|(connector, text)| Contract::from_yaml(connector, text))
                .collect::<Result<Vec<_>, _>>()
                .map(Contracts)
        });
        CONTRACTS.as_ref()
    }

    /// The contract of a connector.
    pub fn find(&self, connector: &str) -> Option<&Contract> {
        self.0.iter().find(|contract| contract.connector == connector)
    }

    /// In the order in which they are listed to a person.
    pub fn iter(&self) -> impl Iterator<Item = &Contract> {
        self.0.iter()
    }

    /// Their names.
    pub fn names(&self) -> Vec<&str> {
        self.iter().map(Contract::name).collect()
    }
}

impl Contract {
    /// The connector's stable name, as in `defenseclaw-hook NAME`.
    pub fn name(&self) -> &str {
        &self.connector
    }

    /// The harness's name for a person.
    pub fn product(&self) -> &str {
        &self.product
    }

    /// What of this contract was tried, what is documented, and what is assumed.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// How the harness reaches us.
    pub fn transport(&self) -> Transport {
        self.hook.transport
    }

    /// How long the harness waits for its hook.
    pub fn limit(&self) -> Duration {
        Duration::from_millis(self.hook.limit_ms)
    }

    /// What the harness does with a call whose hook answers too late, answers nonsense, or ends with an error.
    pub fn without_answer(&self) -> [Outcome; 3] {
        [self.hook.late, self.hook.malformed, self.hook.crashed]
    }

    /// Whether the hook's command line must name the event.
    pub fn needs_event_argument(&self) -> bool {
        self.event_field.is_none()
    }

    /// The harness's own names of the events that this contract reads, sorted.
    pub fn events(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.events.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// What a reply to the event of that native name can bring about.
    pub fn can(&self, event: &str) -> Can {
        self.replies_to(event).map(Replies::can).unwrap_or_default()
    }

    /// Whether an event of that native name announces a tool call.
    pub fn is_call(&self, event: &str) -> bool {
        self.events.get(event).is_some_and(Event::is_call)
    }

    fn replies_to(&self, event: &str) -> Option<&Replies> {
        self.replies.get(self.events.get(event)?.replies.as_ref()?)
    }
}

impl Event {
    fn is_call(&self) -> bool {
        matches!(self.kind, EventKind::Call | EventKind::Permission)
    }
}

#[cfg(test)]
mod tests;
