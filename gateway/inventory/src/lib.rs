//! What coding agents on this host are made of and extended by: harnesses, skills, plugins, MCP servers, tools, models, hooks,
//! memory. Found by reading, never by running.
//!
//! | Module | Holds |
//! |---|---|
//! | [`item`] | one thing that was found, and a whole inventory of them |
//! | [`programs`] | `policies/programs.yaml`: how harnesses are installed, and where their versions stand |
//! | [`survey`] | looking: places of every home and project, bounded, with everything told that could not be read |
//! | [`seams`] | what others may know besides: the running gateway of admissions, pins of tools |
//! | [`store`] | snapshots in SQLite: append-only, with a bound on how many are kept |
//! | [`diff`] | what was added, removed, changed between two inventories |
//! | [`export`] | CSV |
//! | [`cyclonedx`] | the bill of materials, CycloneDX 1.6 |
//!
//! Values of environment variables, headers and secrets in arguments or addresses never get into an [`Item`]: what is kept,
//! shown and exported is masked where it is read.

pub mod cyclonedx;
pub mod diff;
mod documents;
pub mod export;
mod extensions;
mod files;
mod gather;
mod hooks;
mod installs;
pub mod item;
mod judge;
mod look;
mod models;
pub mod programs;
pub mod seams;
mod servers;
mod settings;
pub mod store;
pub mod survey;
mod tidy;
mod walk;

pub use diff::{Change, Diff};
pub use item::{Inventory, Item, ItemKind, Trouble};
pub use judge::Judge;
pub use store::{ScanInfo, Store, StoreError};
pub use survey::{Base, Progress, Survey, SurveyError};
