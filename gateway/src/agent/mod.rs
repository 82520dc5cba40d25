//! The agent's connection: one at a time, over its own socket.

mod connection;
pub mod frame;
mod link;

pub use connection::Agents;
pub use link::{AgentLink, NoAnswer};
