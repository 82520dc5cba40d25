//! The real gateway on a socket of its own, driven by plain sockets.

mod agents;
mod faults;
mod hooks;
mod lifecycle;
mod world;
