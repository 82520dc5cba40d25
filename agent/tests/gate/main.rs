//! The install gate on the running kernel: opens that wait, are allowed or refused, what is taken away, and how one would get around it.
//! Each attack stands beside the same thing done by somebody who means no harm.
//!
//! The scanner is this program again ([`stage::fake_scanner`]), as the user nobody; the gateway is a thread of the test.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that fails")]

mod attacks;
mod daemon;
mod limits;
mod stage;
mod ways;
