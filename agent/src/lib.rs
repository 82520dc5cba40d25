//! The root daemon: it watches labelled process trees through the kernel and says which tool call explains each action.

pub mod attribution;
pub mod canary;
pub mod daemon;
pub mod gate;
pub mod host;
pub mod kernel;
pub mod link;
pub mod outbox;
pub mod sensor;
