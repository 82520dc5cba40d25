//! Measures `defenseclaw-cli inspect --jsonl` and `scan skill` against the labelled collections of `policies/evaluation`.
//!
//! | Module | Does |
//! |---|---|
//! | [`collection`] | reads and checks the collections, splits them into development and hold-out |
//! | [`synthetic`] | puts made-up secrets where a collection has marks such as `⟪github-pat⟫` |
//! | [`inspector`] | feeds the cases to the tool and takes its answers |
//! | [`artifacts`] | skills with one change that means harm, and what `scan skill` says of them |
//! | [`code`] | programs with one place that is an attack or its twin |
//! | [`score`] | counts, rates, Wilson intervals |

pub mod artifacts;
pub mod code;
pub mod collection;
pub mod inspector;
pub mod score;
pub mod synthetic;
