//! The rules in force, and what they say of one call or text, without a session.
//!
//! | Module | Holds |
//! |---|---|
//! | [`rules`] | rule packs and policy, loaded together |
//! | [`inspector`] | one object in, one out |
//! | [`lines`] | many of them, as JSON lines |

pub mod inspector;
pub mod lines;
pub mod rules;

pub use inspector::{Considered, Inspected, Inspector, Item, ItemError, Said};
pub use rules::{Rules, RulesError};
