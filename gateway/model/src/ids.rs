//! Identities: sessions, calls, processes and executable images.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest harness session id or call id that is taken (bytes). Real ones are UUID-sized; the bound keeps an attacker
/// from growing every record that names the id.
pub const MAX_ID_BYTES: usize = 128;

/// How the session ids of `doctor`'s test calls begin. Such a session is that one call: it ends with its answer.
pub const DOCTOR_SESSION: &str = "defenseclaw-doctor-";

/// One run of a harness on this host: the connector and the harness's own session id.
///
/// Written `connector/harness-session-id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct SessionId {
    connector: String,
    session: String,
}

/// Why an id was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The id is empty.
    #[error("{what} is empty")]
    Empty {
        /// Which id.
        what: &'static str,
    },
    /// The id is over [`MAX_ID_BYTES`].
    #[error("{what} has {bytes} bytes; at most {MAX_ID_BYTES} are taken")]
    TooLong {
        /// Which id.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// The id contains a control character or, for a connector, anything but `[a-z0-9-]`.
    #[error("{what} contains the character {found:?}, which is not taken there")]
    BadCharacter {
        /// Which id.
        what: &'static str,
        /// The character.
        found: char,
    },
    /// A session id is not of the form `connector/session`.
    #[error("a session is written connector/id; {0:?} has no '/'")]
    NoConnector(String),
}

fn check(what: &'static str, text: &str, allowed: impl Fn(char) -> bool) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { what });
    }
    if text.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong {
            what,
            bytes: text.len(),
        });
    }
    match text.chars().find(|&c| !allowed(c)) {
        Some(found) => Err(IdError::BadCharacter { what, found }),
        None => Ok(()),
    }
}

impl SessionId {
    /// Checks both halves and joins them.
    pub fn new(connector: &str, session: &str) -> Result<Self, IdError> {
        check("connector", connector, |c| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
        })?;
        check("session id", session, |c| !c.is_control() && !c.is_whitespace())?;
        Ok(Self {
            connector: connector.to_owned(),
            session: session.to_owned(),
        })
    }

    /// The harness's connector, for instance `claude-code`.
    pub fn connector(&self) -> &str {
        &self.connector
    }

    /// The id that the harness gave the session.
    pub fn harness_session(&self) -> &str {
        &self.session
    }

    /// The number that stands for this session in kernel maps; never 0.
    pub fn key(&self) -> SessionKey {
        SessionKey(digest_u64(&[
            b"session",
            self.connector.as_bytes(),
            self.session.as_bytes(),
        ]))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.connector, self.session)
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for SessionId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl std::str::FromStr for SessionId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (connector, session) = text
            .split_once('/')
            .ok_or_else(|| IdError::NoConnector(text.to_owned()))?;
        Self::new(connector, session)
    }
}

/// The harness's id of one tool call, unique within its session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct CallId(String);

impl CallId {
    /// Checks and takes an id.
    pub fn new(text: &str) -> Result<Self, IdError> {
        check("call id", text, |c| !c.is_control() && !c.is_whitespace())?;
        Ok(Self(text.to_owned()))
    }

    /// The id as the harness wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number that stands for this call of `session` in kernel maps; never 0.
    pub fn key(&self, session: &SessionId) -> CallKey {
        CallKey(digest_u64(&[
            b"call",
            session.connector.as_bytes(),
            session.session.as_bytes(),
            self.0.as_bytes(),
        ]))
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<CallId> for String {
    fn from(id: CallId) -> Self {
        id.0
    }
}

impl TryFrom<String> for CallId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::new(&text)
    }
}

/// A session's number in kernel maps. Derived from the id, so that it survives restarts of every daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SessionKey(pub u64);

/// A call's number in kernel maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CallKey(pub u64);

/// The first eight bytes of a SHA-256 over length-prefixed parts, with 0 (which means "none" in kernel maps) avoided.
fn digest_u64(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut first = [0u8; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first).max(1)
}

/// A process: the id that user space sees plus the boot-time instant (ns since boot) at which its group leader started.
/// A pid alone is reused; the pair is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessId {
    /// Thread-group id in the initial pid namespace.
    pub tgid: u32,
    /// `start_boottime` of the group leader, ns since boot.
    pub start_ns: u64,
}

/// One program image: what a process became by its last `execve`. Processes that fork without exec share their
/// ancestor's image, so images form the tree that attribution walks: it survives double forks, `setsid` and reparenting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImageId {
    /// Thread-group id of the process that executed it.
    pub tgid: u32,
    /// When, ns since boot; the process's start for an image that was running before its session was bound.
    pub exec_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_reads_back_as_written() {
        let id = SessionId::new("claude-code", "a/b c".trim_end_matches(" c")).unwrap();
        assert_eq!(id.to_string().parse::<SessionId>().unwrap(), id);
        assert_eq!(id.harness_session(), "a/b");
    }

    #[test]
    fn ids_that_could_break_a_line_or_a_path_are_refused() {
        assert!(matches!(
            SessionId::new("Claude", "x"),
            Err(IdError::BadCharacter { .. })
        ));
        assert!(matches!(
            SessionId::new("claude-code", "a\nb"),
            Err(IdError::BadCharacter { .. })
        ));
        assert!(matches!(
            SessionId::new("claude-code", ""),
            Err(IdError::Empty { .. })
        ));
        assert!(matches!(
            CallId::new(&"x".repeat(129)),
            Err(IdError::TooLong { .. })
        ));
    }

    #[test]
    fn keys_do_not_collide_across_field_boundaries() {
        let a = SessionId::new("a", "bc").unwrap();
        let b = SessionId::new("ab", "c").unwrap();
        assert_ne!(a.key(), b.key());
        let call = CallId::new("1").unwrap();
        assert_ne!(call.key(&a), call.key(&b));
    }
}
