//! The weights, and how a passage is weighed: whole numbers only, so that every machine comes to the same.

use std::sync::LazyLock;

use super::found::{Feature, GROUPS, Say};

/// What `cargo xtask train` made of `policies/evaluation/artifacts`.
const WEIGHTS: &[u8] = include_bytes!("../../../../../policies/learned/weights.bin");

/// What the file begins with.
const MAGIC: &str = "defenseclaw-learned 1\n";

/// Bytes of one weight: the feature's number and its weight.
const ENTRY: usize = 5;

/// One, as sums have it.
pub(super) const ONE: i64 = 1 << 16;

/// From how many features of a group on further ones do not make each count less.
const MAX_COUNT: usize = 1024;

static EMBEDDED: LazyLock<Model> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the file is compiled in, and a test reads it")]
    Model::read(WEIGHTS).expect("the embedded weights are valid")
});

/// Why weights cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the weights cannot be used: {0}; run `cargo xtask train` and build again")]
pub struct WeightsError(&'static str);

/// A linear model over the features of a passage.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Model {
    /// The SHA-256 of what it was trained with.
    pub trained: String,
    /// From which scores on a passage is MEDIUM and HIGH, and below which a rule's HIGH is doubted (65536 is one).
    pub medium: i64,
    /// See above.
    pub high: i64,
    /// See above.
    pub doubt: i64,
    /// What every passage begins with.
    pub bias: i64,
    /// What a step of a weight is worth in each group.
    pub steps: [i64; GROUPS],
    /// Most that speaks for a passage.
    pub clip: i64,
    /// The features' numbers, sorted, and their weights.
    pub weights: Vec<(u32, i8)>,
}

/// What a passage comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Weighed {
    pub(crate) score: i64,
    /// What speaks against it, the weightiest first.
    pub(crate) against: Vec<(Say, i64)>,
}

impl Model {
    /// The model that this program was built with.
    pub fn embedded() -> &'static Self {
        &EMBEDDED
    }

    /// Reads a file of weights: lines `name value` up to an empty one, then the weights.
    pub fn read(bytes: &[u8]) -> Result<Self, WeightsError> {
        let end = memchr::memmem::find(bytes, b"\n\n").ok_or(WeightsError("it has no header"))?;
        let (header, rest) = bytes.split_at(end + 2);
        let header = std::str::from_utf8(header).map_err(|_| WeightsError("its header is no text"))?;
        let header = header
            .strip_prefix(MAGIC)
            .ok_or(WeightsError("it is of another kind or version"))?;
        let mut model = Self::default();
        for line in header.lines().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(' ').ok_or(WeightsError("a line has no value"))?;
            let number = |text: &str| {
                text.parse::<i64>()
                    .map_err(|_| WeightsError("a value is no number"))
            };
            match name {
                "trained" => model.trained = value.to_owned(),
                "medium" => model.medium = number(value)?,
                "high" => model.high = number(value)?,
                "doubt" => model.doubt = number(value)?,
                "bias" => model.bias = number(value)?,
                "clip" => model.clip = number(value)?,
                "steps" => {
                    let mut given = value.split(' ');
                    for step in &mut model.steps {
                        *step = number(given.next().unwrap_or_default())?;
                    }
                }
                _ => return Err(WeightsError("a line is unknown")),
            }
        }
        for entry in rest.chunks(ENTRY) {
            let &[a, b, c, d, weight] = entry else {
                return Err(WeightsError("it is cut"));
            };
            model
                .weights
                .push((u32::from_le_bytes([a, b, c, d]), weight.cast_signed()));
        }
        if !model.weights.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(WeightsError("its weights are not sorted"));
        }
        Ok(model)
    }

    /// The same as a file.
    pub fn write(&self) -> Vec<u8> {
        let [a, b, c, d, e] = self.steps;
        let mut bytes = format!(
            "{MAGIC}trained {}\nmedium {}\nhigh {}\ndoubt {}\nbias {}\nclip {}\nsteps {a} {b} {c} {d} {e}\n\n",
            self.trained, self.medium, self.high, self.doubt, self.bias, self.clip
        )
        .into_bytes();
        for (id, weight) in &self.weights {
            bytes.extend(id.to_le_bytes());
            bytes.extend(weight.to_le_bytes());
        }
        bytes
    }

    fn weight(&self, id: u32) -> Option<i8> {
        let at = self.weights.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        self.weights.get(at).map(|&(_, weight)| weight)
    }

    /// How much a feature speaks against what has it, before features of its group share.
    pub(crate) fn part(&self, feature: &Feature) -> i64 {
        let step = self.steps.get(usize::from(feature.group)).copied().unwrap_or(0);
        self.weight(feature.id)
            .map_or(0, |weight| i64::from(weight) * step)
    }

    /// What the features of one passage come to: number and group of each.
    pub fn score(&self, features: &[(u32, u8)]) -> i64 {
        let say = Say::Wording;
        let features: Vec<Feature> = features
            .iter()
            .map(|&(id, group)| Feature { id, group, say })
            .collect();
        self.weigh(&features).score
    }

    /// Weighs the features of one passage.
    pub(crate) fn weigh(&self, features: &[Feature]) -> Weighed {
        let known: Vec<(&Feature, i64)> = features
            .iter()
            .filter_map(|feature| self.weight(feature.id).map(|weight| (feature, i64::from(weight))))
            .collect();
        let mut counts = [0_usize; GROUPS];
        for (feature, _) in &known {
            if let Some(count) = counts.get_mut(usize::from(feature.group)) {
                *count += 1;
            }
        }
        let mut scales = [0_i64; GROUPS];
        for ((scale, &count), step) in scales.iter_mut().zip(&counts).zip(self.steps) {
            *scale = step * inverse_root(count) / ONE;
        }
        let (mut against, mut plus, mut minus) = (Vec::new(), 0, 0);
        for (feature, weight) in known {
            let part = weight * scales.get(usize::from(feature.group)).copied().unwrap_or(0);
            if part > 0 {
                plus += part;
                against.push((feature.say, part));
            } else {
                minus += part;
            }
        }
        against.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        Weighed {
            score: self.bias + plus + minus.max(-self.clip),
            against,
        }
    }
}

/// One by the square root of a count.
fn inverse_root(count: usize) -> i64 {
    let count = u64::try_from(count.clamp(1, MAX_COUNT)).unwrap_or(1);
    i64::try_from((1_u64 << 32).div_euclid((count << 32).isqrt().max(1))).unwrap_or(ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_weights_can_be_read_and_are_small() {
        let model = Model::embedded();
        assert!(
            model.medium < model.high && model.doubt < model.high,
            "{} {}",
            model.medium,
            model.high
        );
        assert!(WEIGHTS.len() < 160 << 10 && !model.weights.is_empty());
        assert_eq!(model.write(), WEIGHTS);
    }

    #[test]
    fn a_damaged_file_is_refused() {
        for end in [0, 10, WEIGHTS.len() - 1] {
            assert!(Model::read(&WEIGHTS[..end]).is_err(), "{end}");
        }
        assert!(Model::read(b"defenseclaw-learned 2\nhigh 1\n\n").is_err());
        assert!(Model::read(b"defenseclaw-learned 1\nwhat 1\n\n").is_err());
    }

    #[test]
    fn many_features_of_a_group_count_less_each() {
        assert_eq!(inverse_root(1), ONE);
        assert_eq!(inverse_root(4), ONE / 2);
        assert_eq!(inverse_root(100), 6553);
        let feature = |id: u32| Feature {
            id,
            group: 0,
            say: Say::Wording,
        };
        let model = Model {
            steps: [ONE; GROUPS],
            clip: 2 * ONE,
            weights: vec![(1, 3), (2, -100), (3, 3)],
            ..Model::default()
        };
        assert_eq!(model.weigh(&[feature(1)]).score, 3 * ONE);
        assert_eq!(
            model.weigh(&[feature(1), feature(9)]).score,
            3 * ONE,
            "what is unknown counts nothing"
        );
        let two = model.weigh(&[feature(1), feature(2)]).score;
        assert!(two > -2 * ONE - 1, "what speaks for it is bounded");
    }
}
