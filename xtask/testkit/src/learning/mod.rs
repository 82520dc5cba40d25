//! Trains the model that stands beside the rules about artifacts (`policies/learned/weights.bin`), and says how good it is on
//! collections that it was not trained with. The same collections always give the same weights.
//!
//! | Module | Does |
//! |---|---|
//! | [`examples`] | labelled artifacts as passages with features |
//! | [`fit`] | weights |
//! | [`cross`] | leaves each collection out once |
//! | `side_by_side` | work on all processors |
//! | [`calls`] | the same for tool calls (`policies/learned/calls.bin`) |

pub mod calls;
pub mod cross;
pub mod examples;
pub mod fit;
mod side_by_side;

use std::path::Path;

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use crate::evaluation::artifacts::{self, Skill};
use crate::evaluation::collection::Split;

/// The collections that nothing is learned from: they say what to expect of artifacts that nobody here has seen.
pub const EXAMINATIONS: [&str; 3] = ["assize", "board", "trial"];

/// The artifacts to learn from: all but the examinations and what is held out.
pub fn material(folder: &Path) -> Result<Vec<Skill>> {
    let mut skills = artifacts::read(folder)?;
    skills.retain(|skill| !EXAMINATIONS.contains(&skill.set.as_str()) && skill.side == Split::Dev);
    skills.sort_by(|a, b| (&a.set, &a.id).cmp(&(&b.set, &b.id)));
    Ok(skills)
}

/// The SHA-256 of artifacts with their labels and of the concepts (`policies/learned/concepts.txt`): weights say by it what they
/// were made of.
pub fn digest(skills: &[Skill], concepts: &str) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(concepts.as_bytes());
    for skill in skills {
        for part in [&skill.set, &skill.id, &skill.kind, &skill.category] {
            add(part.as_bytes());
        }
        add(format!("{:?}", skill.label).as_bytes());
        for (path, content) in &skill.files {
            add(path.as_bytes());
            add(content);
        }
    }
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
