//! MCP servers: asked in a sandbox for what they offer, and pinned, so that a change is seen.
//!
//! | Module | Holds |
//! |---|---|
//! | [`settings`] | which servers an agent's settings name |
//! | [`host`], `start`, `package` | what is started for one, what that may read, what it is known by |
//! | [`ask`] | one server started or reached, listened to, ended |
//! | [`client`] | what is asked in which order; what servers ask for is refused and told |
//! | `stdio`, `tree` | a server in its sandbox, and all its processes |
//! | `http`, `address` | a server behind an address |
//! | [`json`], [`canonical`] | messages within bounds; one text for equal JSON (RFC 8785) |
//! | [`problem`] | what went wrong or was odd, each a finding |
//! | [`findings`], `shadow` | what all answers of all servers amount to |
//! | [`pins`] | what a server was, compared with what it is |
//!
//! What a server says is hostile until somebody has looked at it: it is read within bounds, never executed, and the process
//! that says it has no network, no secrets and no place to write.

mod address;
pub mod ask;
pub mod canonical;
pub mod client;
pub mod findings;
pub mod host;
mod http;
pub mod json;
mod package;
pub mod pins;
pub mod problem;
pub mod settings;
mod shadow;
mod start;
mod stdio;
mod tree;
