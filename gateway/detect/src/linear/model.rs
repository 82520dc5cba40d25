//! The weights, and how a passage is weighed: whole numbers only, so that every machine comes to the same.

use super::found::{Feature, GROUPS, Say};

/// What the file begins with.
const MAGIC: &str = "defenseclaw-learned 1\n";

/// Bytes of one weight: the feature's number and its weight.
const ENTRY: usize = 5;

/// One, as sums have it.
pub(crate) const ONE: i64 = 1 << 16;

/// How far from its even place a weight is first looked for: three standard deviations among 40,000.
const NEAR: usize = 300;

/// From how many features of a group on further ones do not make each count less.
const MAX_COUNT: usize = 1024;

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
        let steps = self.steps.map(|step| step.to_string()).join(" ");
        let mut bytes = format!(
            "{MAGIC}trained {}\nmedium {}\nhigh {}\ndoubt {}\nbias {}\nclip {}\nsteps {steps}\n\n",
            self.trained, self.medium, self.high, self.doubt, self.bias, self.clip
        )
        .into_bytes();
        for (id, weight) in &self.weights {
            bytes.extend(id.to_le_bytes());
            bytes.extend(weight.to_le_bytes());
        }
        bytes
    }

    /// A feature's weight. Numbers are hashes, spread evenly: most lie near where they would if they were spread quite evenly, and
    /// a search there touches few lines of memory.
    fn weight(&self, id: u32) -> Option<i8> {
        let count = self.weights.len();
        let about = usize::try_from((u64::from(id) * count as u64) >> 32).unwrap_or(0);
        let (from, to) = (about.saturating_sub(NEAR), (about + NEAR).min(count));
        let near = self.weights.get(from..to).unwrap_or_default();
        let bounded = near.first().is_some_and(|first| from == 0 || first.0 <= id)
            && near.last().is_some_and(|last| to == count || id <= last.0);
        let among = if bounded { near } else { &self.weights };
        let at = among.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        among.get(at).map(|&(_, weight)| weight)
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
    use crate::{likeness, scan};

    #[test]
    fn the_embedded_weights_can_be_read_and_are_small() {
        for (bytes, model) in [
            (scan::learned::WEIGHTS, scan::learned::embedded()),
            (likeness::WEIGHTS, likeness::embedded()),
        ] {
            assert!(model.doubt < model.high && model.medium < model.high);
            assert!(bytes.len() < 256 << 10 && !model.weights.is_empty());
            assert_eq!(model.write(), bytes);
        }
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let bytes = scan::learned::WEIGHTS;
        for end in [0, 10, bytes.len() - 1] {
            assert!(Model::read(&bytes[..end]).is_err(), "{end}");
        }
        assert!(Model::read(b"defenseclaw-learned 2\nhigh 1\n\n").is_err());
        assert!(Model::read(b"defenseclaw-learned 1\nwhat 1\n\n").is_err());
    }

    #[test]
    fn every_weight_is_found_however_the_numbers_are_spread() {
        for spread in [1_u32, 7, 100_000, 4_000_000] {
            let weights: Vec<(u32, i8)> = (0..1000).map(|at| (at * spread + 5, 1)).collect();
            let model = Model {
                weights,
                ..Model::default()
            };
            for at in 0..1000 {
                assert_eq!(model.weight(at * spread + 5), Some(1), "{spread} {at}");
            }
            assert_eq!((model.weight(4), model.weight(u32::MAX)), (None, None));
        }
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
