//! Supervised mode with a real filter and real processes.
//!
//! The test program plays both parts: it starts itself as the target (`target`), restricted as a launcher would.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod asking;
mod bench;
mod files;
mod harness;
mod learning;
mod network;
mod races;
mod rights;
mod table;
mod target;
