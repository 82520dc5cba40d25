//! One connector for each harness: its payload into our words, our decision into its native reply.

mod claude_code;
mod fault;
mod payload;

pub use claude_code::ClaudeCode;
pub use fault::{Fault, FaultKind};
pub use payload::{MAX_DEPTH, MAX_PAYLOAD, MAX_VALUES};

use std::time::Duration;

use defenseclaw_model::call::HookEvent;
use defenseclaw_model::decision::Decision;

/// A hook payload in our words.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// What happened.
    pub event: HookEvent,
    /// The harness's home folder, where the payload tells it.
    pub home: Option<String>,
}

/// What the hook client prints and how it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Exit status.
    pub exit: u8,
    /// Standard output.
    pub body: Vec<u8>,
}

impl Reply {
    /// Nothing to say: the harness goes on by its own rules.
    pub fn silence() -> Self {
        Self {
            exit: 0,
            body: Vec::new(),
        }
    }
}

/// What the gateway knows of one harness.
pub trait Connector: Send + Sync {
    /// Its stable name, as in `defenseclaw-hook NAME`.
    fn name(&self) -> &'static str;

    /// Reads a payload. Takes any bytes; time and memory are bounded by [`MAX_PAYLOAD`], [`MAX_DEPTH`], [`MAX_VALUES`].
    fn parse(&self, payload: &[u8]) -> Result<Parsed, Fault>;

    /// The native reply to a tool call, by the decision's effective verdict.
    fn decided(&self, decision: &Decision) -> Reply;

    /// Whether the harness itself asks its person when a decision says `ask`. Where not, the call waits for an operator.
    fn asks(&self) -> bool;

    /// How long the harness waits for its hook.
    fn patience(&self) -> Duration;

    /// The native refusal of a tool call that could not be decided.
    fn refused(&self, reason: &str) -> Reply;
}

/// Every connector that this gateway has.
static CONNECTORS: [&dyn Connector; 1] = [&ClaudeCode];

/// The connector of that name.
pub fn find(name: &str) -> Option<&'static dyn Connector> {
    CONNECTORS.into_iter().find(|connector| connector.name() == name)
}

/// Their names, for a message.
pub fn names() -> Vec<&'static str> {
    CONNECTORS.iter().map(|connector| connector.name()).collect()
}
