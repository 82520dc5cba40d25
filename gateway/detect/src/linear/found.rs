//! What is found in a passage, as numbers that a model has weights for.

use std::collections::HashSet;

use super::model::{Model, Weights};

/// Most features of one passage, of those that are kept: what a bounded text can hold is far below.
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
    /// Its weight in the model that it is found for.
    pub(crate) weight: i8,
    pub(crate) say: Say,
}

/// A part of a feature's name: hashed once, however many features it is in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'t> {
    text: &'t str,
    hash: u64,
}

impl<'t> From<&'t str> for Part<'t> {
    fn from(text: &'t str) -> Self {
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { text, hash }
    }
}

/// The features of one passage, each once.
#[derive(Debug)]
pub(crate) struct Found<'m> {
    kept: Kept<'m>,
    pub(crate) features: Vec<Feature>,
    /// Their names, where somebody wants to read them.
    pub(crate) names: Option<Vec<String>>,
}

/// Which features are kept, and which are there already.
#[derive(Debug)]
enum Kept<'m> {
    All(HashSet<u32>),
    /// Those that a model has a weight for: a bit for each of them.
    Known(&'m Weights, Vec<u64>),
}

impl<'m> Found<'m> {
    /// For all features there are; with `names` their names are kept.
    pub(crate) fn all(names: bool) -> Self {
        Self::new(Kept::All(HashSet::new()), names)
    }

    /// For those that a model knows.
    pub(crate) fn known_to(model: &'m Model, names: bool) -> Self {
        let seen = vec![0; model.weights.len().div_ceil(64)];
        Self::new(Kept::Known(&model.weights, seen), names)
    }

    fn new(kept: Kept<'m>, names: bool) -> Self {
        Self {
            kept,
            features: Vec::new(),
            names: names.then(Vec::new),
        }
    }

    /// Adds the feature that is named by `space` and `parts`.
    pub(crate) fn add(&mut self, named: (&str, u8), say: Say, parts: &[&str]) {
        self.put(named, say, parts.iter().map(|&part| Part::from(part)));
    }

    /// The same of parts that are hashed already.
    pub(crate) fn combine(&mut self, named: (&str, u8), say: Say, parts: &[Part<'_>]) {
        self.put(named, say, parts.iter().copied());
    }

    /// Each of `others` together with `one`, which stands first.
    pub(crate) fn pairs(&mut self, named: (&str, u8), say: Say, one: Part<'_>, others: &[Part<'_>]) {
        let begun = with(begin(named.0), one);
        for &other in others {
            self.keep(end(with(begun, other)), named, say, [one, other].into_iter());
        }
    }

    fn put<'p>(&mut self, named: (&str, u8), say: Say, parts: impl Iterator<Item = Part<'p>> + Clone) {
        let id = end(parts.clone().fold(begin(named.0), with));
        self.keep(id, named, say, parts);
    }

    /// Keeps the feature of that number, unless it is there, or nobody asks for it.
    fn keep<'p>(
        &mut self,
        id: u32,
        (space, group): (&str, u8),
        say: Say,
        parts: impl Iterator<Item = Part<'p>>,
    ) {
        if self.features.len() >= MAX_FEATURES {
            return;
        }
        let weight = match &mut self.kept {
            Kept::All(seen) => seen.insert(id).then_some(0),
            Kept::Known(weights, seen) => weights.place(id).and_then(|(at, weight)| {
                let bits = seen.get_mut(at / 64)?;
                let bit = 1 << (at % 64);
                let fresh = *bits & bit == 0;
                *bits |= bit;
                fresh.then_some(weight)
            }),
        };
        let Some(weight) = weight else { return };
        self.features.push(Feature {
            id,
            group,
            weight,
            say,
        });
        if let Some(names) = &mut self.names {
            let parts: Vec<&str> = parts.map(|part| part.text).collect();
            names.push(format!("{space}:{}", parts.join("+")));
        }
    }
}

/// The beginning of a feature's number: its space, of eight bytes at most.
fn begin(space: &str) -> u64 {
    debug_assert!(space.len() <= 8, "{space}");
    mixed(space.bytes().fold(0, |all, byte| (all << 8) | u64::from(byte)))
}

/// With one part more.
fn with(all: u64, part: Part<'_>) -> u64 {
    mixed(all ^ part.hash)
}

/// The number, once all parts are in it.
fn end(all: u64) -> u32 {
    let [a, b, c, d, e, f, g, h] = all.to_le_bytes();
    u32::from_le_bytes([a ^ e, b ^ f, c ^ g, d ^ h])
}

/// Every bit of the answer depends on every bit of the number (the finalizer of MurmurHash3).
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(found: &Found<'_>) -> Vec<u32> {
        found.features.iter().map(|feature| feature.id).collect()
    }

    #[test]
    fn a_feature_is_there_once_and_parts_are_not_run_together() {
        let mut found = Found::all(false);
        found.add(("w", 0), Say::Wording, &["ab"]);
        found.add(("w", 0), Say::Wording, &["ab"]);
        found.combine(("w", 0), Say::Wording, &[Part::from("ab")]);
        assert_eq!(found.features.len(), 1);
        found.add(("w", 0), Say::Wording, &["a", "b"]);
        found.add(("w", 0), Say::Wording, &["b", "a"]);
        found.add(("v", 0), Say::Wording, &["ab"]);
        assert_eq!(found.features.len(), 4);
    }

    #[test]
    fn pairs_are_what_each_of_them_is_by_itself() {
        let parts = ["b", "c", "b"].map(Part::from);
        let (mut together, mut alone) = (Found::all(true), Found::all(true));
        together.pairs(("cc", 2), Say::Wording, Part::from("a"), &parts);
        for part in parts {
            alone.combine(("cc", 2), Say::Wording, &[Part::from("a"), part]);
        }
        assert_eq!(
            (&together.features, &together.names),
            (&alone.features, &alone.names)
        );
        assert_eq!(together.names.unwrap(), ["cc:a+b", "cc:a+c"]);
    }

    #[test]
    fn for_a_model_only_what_it_knows_is_kept_with_its_weight() {
        let mut found = Found::all(true);
        for word in ["a", "b", "c"] {
            found.add(("w", 0), Say::Wording, &[word]);
        }
        let mut known = [(ids(&found)[0], 3), (ids(&found)[2], -5)];
        known.sort_unstable();
        let model = Model {
            weights: Weights::of(known.to_vec()).unwrap(),
            ..Model::default()
        };
        let mut some = Found::known_to(&model, true);
        for word in ["c", "b", "a", "c"] {
            some.add(("w", 0), Say::Wording, &[word]);
        }
        let weights: Vec<i8> = some.features.iter().map(|feature| feature.weight).collect();
        assert_eq!(
            (weights, some.names.unwrap()),
            (vec![-5, 3], vec!["w:c".to_owned(), "w:a".to_owned()])
        );
    }

    #[test]
    fn numbers_are_spread_evenly() {
        let mut counts = [0_u32; 16];
        for at in 0..16_000_u32 {
            let part = with(begin("cc"), Part::from(at.to_string().as_str()));
            counts[(end(with(part, Part::from("7"))) >> 28) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
    }
}
