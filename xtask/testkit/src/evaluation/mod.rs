//! Measures `defenseclaw-cli inspect --jsonl` against the labelled collections of `policies/evaluation`.
//!
//! | Module | Does |
//! |---|---|
//! | [`collection`] | reads and checks the collections, splits them into development and hold-out |
//! | [`synthetic`] | puts made-up secrets where a collection has marks such as `⟪github-pat⟫` |
//! | [`inspector`] | feeds the cases to the tool and takes its answers |
//! | [`score`] | counts, rates, Wilson intervals |

pub mod collection;
pub mod inspector;
pub mod score;
pub mod synthetic;
