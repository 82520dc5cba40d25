//! Sandboxes for tool calls.

pub mod learn;
pub mod supervise;
