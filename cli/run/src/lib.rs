//! `defenseclaw-cli run`: a command in a sandbox.
//!
//! | Module | Holds |
//! |---|---|
//! | [`options`] | the command line of `run` |
//! | [`plain`] | the same, as programs write it |
//! | [`settings`] | configuration file and environment |
//! | [`launch`] | from both to a closed sandbox and the command in it |
//! | [`tell`] | telling the gateway what is in force |
//!
//! Two programs are made of this. The operator's tool has all of it. `defenseclaw-run` is small, static and starts sooner: it
//! is installed under the tool's name, runs what needs no supervisor, and hands everything else over.

pub mod launch;
pub mod options;
pub mod plain;
pub mod settings;
pub mod tell;

pub use launch::{Prepared, RunError, prepare, profiles};
pub use options::RunOptions;
