//! The ledger from outside: writing, reading, checking, and what each must survive.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod drafts;
mod properties;
mod reading;
mod tampering;
mod writing;
