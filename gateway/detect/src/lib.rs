//! Facts about tool calls, path classes and secret masking.
//!
//! | Module | Holds |
//! |---|---|
//! | [`detector`] | everything that is looked for, behind one type |
//! | [`facts`] | what a tool call declares: programs, paths, hosts, flows, behaviours |
//! | [`likeness`] | how much a call is like labelled attacks |
//! | [`line`] | whether a shell's line carries the command of a tool call |
//! | `packs` | packs of rules: those that the program carries, and an operator's |
//! | [`linear`] | linear models over named features |
//! | [`paths`] | which paths matter, by `policies/paths.yaml` |
//! | [`mask`] | secrets taken out of text before anything is stored |
//! | [`rules`] | rules over facts, as packs in `policies/rules` |
//! | [`scan`] | scanners of artifacts: skills, MCP servers, plugins |
//! | [`tools`] | what kind of action a tool is, by name or by the fields of its input |
//! | [`text`] | secrets, personal data and prompt injection in texts, by packs of rules |
//! | `shell` | a shell's command line, read the way a shell reads it |
//!
//! Everything but the reading of [`scan::artifact`] is pure: text in, statements out, no I/O, no panic, time linear in the
//! text.

pub mod detector;
mod expression;
pub mod facts;
pub mod likeness;
pub mod line;
pub mod linear;
mod literals;
pub mod mask;
mod packs;
pub mod paths;
mod quick;
mod revision;
pub mod rules;
pub mod scan;
mod shell;
mod spotter;
pub mod text;
pub mod tools;

pub use detector::{Detector, PackError, Surface};
pub use facts::facts_of;
