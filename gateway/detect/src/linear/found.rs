//! What is found in a passage, as numbers that a model has weights for.

use std::collections::HashSet;

/// Most features of one passage: what a bounded text can hold is far below.
const MAX_FEATURES: usize = 8192;

/// Features of one kind are weighed together: the more of them a passage has, the less each of them counts.
pub const GROUPS: usize = 6;

/// What a feature is about, for whoever reads a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Say {
    /// How it is worded.
    Wording,
    /// A concept by its number.
    Concept(u16),
    /// A host of that class.
    Host(&'static str),
    /// A path of a class.
    Place,
    /// A name of a secret.
    Secret,
    /// Where in the artifact it stands, and what kind it is.
    Setting,
    /// What nobody can read.
    Blob,
    /// That it speaks of other things than the rest.
    Apart,
    /// What rules found there.
    Rules,
}

/// A feature of a passage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Feature {
    /// Its number: a hash of its name.
    pub(crate) id: u32,
    /// Its group, below [`GROUPS`].
    pub(crate) group: u8,
    pub(crate) say: Say,
}

/// The features of one passage, each once.
#[derive(Debug, Default)]
pub(crate) struct Found {
    seen: HashSet<u32>,
    pub(crate) features: Vec<Feature>,
    /// Their names, where somebody wants to read them.
    pub(crate) names: Option<Vec<String>>,
}

impl Found {
    /// Nothing yet; with `names` they are kept.
    pub(crate) fn new(names: bool) -> Self {
        Self {
            names: names.then(Vec::new),
            ..Self::default()
        }
    }

    /// Adds the feature that is named by `space` and `parts`.
    pub(crate) fn add(&mut self, (space, group): (&str, u8), say: Say, parts: &[&str]) {
        let mut hash = hash_of(0xcbf2_9ce4_8422_2325, space);
        for part in parts {
            hash = hash_of(hash, part);
        }
        let id = fold(hash);
        if self.features.len() >= MAX_FEATURES || !self.seen.insert(id) {
            return;
        }
        self.features.push(Feature { id, group, say });
        if let Some(names) = &mut self.names {
            names.push(format!("{space}:{}", parts.join("+")));
        }
    }
}

/// FNV-1a, with an end mark.
fn hash_of(hash: u64, text: &str) -> u64 {
    let bytes = text.bytes().chain([0xff]);
    bytes.fold(hash, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn fold(hash: u64) -> u32 {
    let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
    u32::from_le_bytes([a ^ e, b ^ f, c ^ g, d ^ h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_there_once_and_parts_are_not_run_together() {
        let mut found = Found::default();
        found.add(("w", 0), Say::Wording, &["ab"]);
        found.add(("w", 0), Say::Wording, &["ab"]);
        found.add(("w", 0), Say::Wording, &["a", "b"]);
        assert_eq!(found.features.len(), 2);
        assert_ne!(found.features[0].id, found.features[1].id);
    }
}
