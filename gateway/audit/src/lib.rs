//! The audit ledger: one SQLite file of records that only grows, each bound to the one before by SHA-256.
//!
//! | Module | Holds |
//! |---|---|
//! | [`ledger`] | [`Ledger`], the one writer: append, idempotent batches, the sensor's position |
//! | [`reader`] | [`Reader`]: any number of read-only views, while a writer works or none does |
//! | [`query`] | [`Query`]: which records, by which index |
//! | [`session`] | [`SessionSummary`]: what a session adds up to |
//! | [`verify`](mod@verify) | [`verify()`]: the whole chain, streaming, and what is wrong with it |
//! | [`chain`] | what a record's hash covers |
//! | [`error`] | [`LedgerError`]: what failed, on which file, what to do |
//! | `row` | a record as a row: encoding, decoding, their bounds |
//! | `migrate` | an older version's file brought to this one, after a copy was kept |
//! | `schema` | the tables, their version, how a file is recognised |
//! | `lock` | one writer at a time |
//!
//! An append is acknowledged when [`Ledger::append`] returns. From then on the records survive `kill -9`, and with
//! [`Durability::Power`](defenseclaw_model::config::Durability) power loss too. Nothing here is asynchronous and nothing
//! starts a thread.

pub mod chain;
pub mod error;
pub mod ledger;
mod lock;
mod migrate;
pub mod query;
pub mod reader;
mod row;
mod schema;
pub mod session;
pub mod verify;

pub use chain::Head;
pub use error::{LedgerError, RowFault};
pub use ledger::{Appended, Ledger};
pub use query::Query;
pub use reader::Reader;
pub use row::{KINDS, MAX_BODY_BYTES, MAX_BODY_DEPTH};
pub use session::SessionSummary;
pub use verify::{Problem, ProblemKind, Verified, verify, verify_against};
