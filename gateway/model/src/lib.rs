//! The words of DefenseClaw as types.
//!
//! | Module | Holds |
//! |---|---|
//! | [`ids`] | who is meant: session, call, process, image |
//! | [`decision`] | verdict, severity, mode, finding, decision |
//! | [`facts`] | typed statements derived from a tool call |
//! | [`call`] | one declared action, and the hook events around it |
//! | [`admission`] | whether an artifact may be used: question and answer |
//! | [`activity`] | one kernel-observed action and its attribution |
//! | [`sandbox`] | the room that a tool call runs in |
//! | [`scan`] | what a scan of an artifact says |
//! | [`package`] | a package that a call would install, fetched and scanned before |
//! | [`pins`] | what an MCP server was when somebody looked |
//! | [`record`] | one row of the audit ledger |
//! | [`wire`] | the frames that the agent and the gateway exchange |
//! | [`api`] | what the gateway answers to the operator's tool |
//! | [`terminal`] | foreign text as a terminal may have it |
//! | [`config`] | the configuration file's one strict schema |
//!
//! Nothing here does I/O but `config::files`, the one reader of the configuration. Every type that crosses a process boundary or reaches the ledger is serde-serialisable with
//! stable `snake_case` names.

pub mod activity;
pub mod admission;
pub mod api;
pub mod call;
pub mod config;
pub mod decision;
pub mod facts;
pub mod gate;
pub mod ids;
pub mod package;
pub mod pins;
pub mod record;
pub mod sandbox;
pub mod scan;
pub mod terminal;
pub mod wire;
