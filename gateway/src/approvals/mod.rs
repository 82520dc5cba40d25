//! Calls that wait for a person, and what people have allowed.
//!
//! | Module | Holds |
//! |---|---|
//! | [`queue`] | the calls that wait, and how each comes to its one answer |
//! | [`grants`] | approvals that hold for more than one call |
//! | [`fingerprint`] | what "the same call" means |
//! | [`client`] | whether anybody still waits for the answer |
//!
//! [`Approvals::ask`] is awaited on the decision path. It returns when an operator has answered, when the deadline has
//! passed, when the session has ended, or when the hook client is gone, whichever comes first, and records which it was.

pub mod client;
pub mod fingerprint;
pub mod grants;
pub mod queue;
#[cfg(test)]
mod tests;

pub use fingerprint::Fingerprint;
pub use grants::{Grant, Grants, GrantsError};
pub use queue::{Answer, AnswerError, Approvals, Outcome, Pending};
