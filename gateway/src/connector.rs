//! Which harness a hook request is of. What its payload says and how it is answered is its contract's business.

use defenseclaw_harness::contract::Contracts;

pub use defenseclaw_harness::contract::{Contract, Fault, FaultKind, MAX_PAYLOAD, Parsed, Reply};

/// The contract of the connector of that name.
pub fn find(name: &str) -> Option<&'static Contract> {
    contracts()?.find(name)
}

/// Every connector's name, for a message.
pub fn names() -> Vec<&'static str> {
    contracts().map(Contracts::names).unwrap_or_default()
}

/// The daemon does not start with contracts that are not valid, so that this is `None` nowhere else.
fn contracts() -> Option<&'static Contracts> {
    Contracts::embedded().ok()
}
