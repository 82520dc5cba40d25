//! What a daemon and its service manager say to each other.
//!
//! | Module | Holds |
//! |---|---|
//! | [`notify`] | readiness, state in words, and signs of life |
//! | [`sockets`] | listening sockets that the service manager holds |
//! | [`journal`] | log lines with their priority |
//!
//! Without a service manager all of it does nothing.

pub mod journal;
pub mod notify;
pub mod sockets;

pub use notify::Notifier;
