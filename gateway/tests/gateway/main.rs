//! The real gateway on a socket of its own, driven by plain sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails; helpers are part of tests"
)]

mod agents;
mod api;
mod bundle;
mod bundle_server;
mod entered;
mod faults;
mod gate;
mod harnesses;
mod hooks;
mod lifecycle;
mod packages;
mod people;
mod pins;
mod sandbox;
mod service;
mod watch;
mod world;
