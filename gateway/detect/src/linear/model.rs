//! The weights, and how a passage is weighed: whole numbers only, so that every machine comes to the same.

use super::found::{Feature, GROUPS, Say};

/// What the file begins with.
const MAGIC: &str = "defenseclaw-learned 2\n";

/// Most bits of a gap between two features' numbers that one byte of the file holds; its upper bit says that there are more.
const GAP_BITS: u32 = 7;

/// One, as sums have it.
pub(crate) const ONE: i64 = 1 << 16;

/// Weights are looked up by the upper bits of their number.
const BUCKETS: usize = 1 << 16;

/// Most weights of a model: their places are 32 bits, and a file of them stays small.
const MAX_WEIGHTS: usize = 1 << 20;

/// Most features of a passage have no weight, and one bit says so of seven in eight of them: a bit for each number's lower ones, at
/// least this many times as many as there are weights.
const SIEVE_SPARE: usize = 8;

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
    /// What each feature weighs.
    pub weights: Weights,
}

/// Features' numbers, sorted, with their weights. Numbers are hashes, spread evenly: with five times as many as there are buckets,
/// what may be there is found by one or two looks into memory.
#[derive(Debug, Clone, Default)]
pub struct Weights {
    ids: Vec<u32>,
    weights: Vec<i8>,
    /// Where the numbers of each bucket begin, and behind the last one their end.
    starts: Vec<u32>,
    /// By the lower bits of a number: whether there may be a weight for it. A power of two of words.
    sieve: Vec<u64>,
}

impl PartialEq for Weights {
    fn eq(&self, other: &Self) -> bool {
        (&self.ids, &self.weights) == (&other.ids, &other.weights)
    }
}

impl Eq for Weights {}

impl Weights {
    /// Weights by their features' numbers, which rise.
    pub fn of(entries: Vec<(u32, i8)>) -> Result<Self, WeightsError> {
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(WeightsError("its weights are not sorted"));
        }
        if entries.len() > MAX_WEIGHTS {
            return Err(WeightsError("it has more than 1,048,576 weights"));
        }
        let (ids, weights): (Vec<u32>, Vec<i8>) = entries.into_iter().unzip();
        let mut starts = Vec::with_capacity(BUCKETS + 1);
        let mut at = 0_usize;
        for bucket in 0..=BUCKETS {
            while ids.get(at).is_some_and(|&id| bucket_of(id) < bucket) {
                at += 1;
            }
            starts.push(u32::try_from(at).unwrap_or(u32::MAX));
        }
        let bits = (ids.len() * SIEVE_SPARE).next_power_of_two();
        let mut sieve = vec![0; bits.div_ceil(64)];
        for &id in &ids {
            let (word, bit) = in_sieve(id, sieve.len());
            if let Some(word) = sieve.get_mut(word) {
                *word |= bit;
            }
        }
        Ok(Self {
            ids,
            weights,
            starts,
            sieve,
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Where a feature's weight stands, and the weight.
    pub(crate) fn place(&self, id: u32) -> Option<(usize, i8)> {
        let (word, bit) = in_sieve(id, self.sieve.len());
        if self.sieve.get(word)? & bit == 0 {
            return None;
        }
        let bucket = bucket_of(id);
        let from = usize::try_from(*self.starts.get(bucket)?).ok()?;
        let to = usize::try_from(*self.starts.get(bucket + 1)?).ok()?;
        let at = from + self.ids.get(from..to)?.iter().position(|&one| one == id)?;
        self.weights.get(at).map(|&weight| (at, weight))
    }
}

/// Where a number's bit stands in a sieve of so many words.
fn in_sieve(id: u32, words: usize) -> (usize, u64) {
    let word = usize::try_from(id >> 6).unwrap_or(usize::MAX) & words.wrapping_sub(1);
    (word, 1 << (id & 63))
}

fn bucket_of(id: u32) -> usize {
    usize::try_from(id >> 16).unwrap_or(BUCKETS)
}

/// What a passage comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Weighed {
    pub(crate) score: i64,
    /// What speaks against it, the weightiest first.
    pub(crate) against: Vec<(Say, i64)>,
}

impl Model {
    /// Reads a file of weights: lines `name value` up to an empty one, then of each weight how much higher its feature's number is
    /// than the one before (LEB128), and what it weighs (a byte).
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
        model.weights = Weights::of(entries(rest)?)?;
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
        let mut before = 0;
        for (&id, weight) in self.weights.ids.iter().zip(&self.weights.weights) {
            let mut gap = id.wrapping_sub(before);
            before = id;
            while gap >> GAP_BITS != 0 {
                bytes.push(gap.to_le_bytes()[0] | 1 << GAP_BITS);
                gap >>= GAP_BITS;
            }
            bytes.push(gap.to_le_bytes()[0]);
            bytes.extend(weight.to_le_bytes());
        }
        bytes
    }

    /// How much a feature speaks against what has it, before features of its group share.
    pub(crate) fn part(&self, feature: &Feature) -> i64 {
        let step = self.steps.get(usize::from(feature.group)).copied().unwrap_or(0);
        i64::from(feature.weight) * step
    }

    /// What the features of one passage come to: number and group of each.
    pub fn score(&self, features: &[(u32, u8)]) -> i64 {
        let known = features.iter().filter_map(|&(id, group)| {
            let (_, weight) = self.weights.place(id)?;
            Some(Feature {
                id,
                group,
                weight,
                say: Say::Wording,
            })
        });
        self.weigh(&known.collect::<Vec<Feature>>()).score
    }

    /// The least and the greatest that the features of one passage come to with none, some or all of `more`: of these always the
    /// first ones, which are of none of the others.
    pub(crate) fn range(&self, features: &[Feature], more: &[Feature]) -> (i64, i64) {
        let mut sums = [Sum::default(); GROUPS];
        for feature in features {
            add(&mut sums, feature);
        }
        let score = self.total(&sums);
        let mut range = (score, score);
        for feature in more {
            add(&mut sums, feature);
            let score = self.total(&sums);
            range = (range.0.min(score), range.1.max(score));
        }
        range
    }

    /// Weighs the features of one passage that were found for this model.
    pub(crate) fn weigh(&self, features: &[Feature]) -> Weighed {
        let mut sums = [Sum::default(); GROUPS];
        for feature in features {
            add(&mut sums, feature);
        }
        let scales = self.scales(&sums);
        let part = |feature: &Feature| {
            let scale = scales.get(usize::from(feature.group)).copied().unwrap_or(0);
            i64::from(feature.weight) * scale
        };
        let parts = features.iter().map(|feature| (feature.say, part(feature)));
        let mut against: Vec<(Say, i64)> = parts.filter(|(_, part)| *part > 0).collect();
        against.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        Weighed {
            score: self.total(&sums),
            against,
        }
    }

    /// What one unit of weight counts in each group: the more features it has, the less each.
    fn scales(&self, sums: &[Sum; GROUPS]) -> [i64; GROUPS] {
        let mut scales = self.steps;
        for (scale, sum) in scales.iter_mut().zip(sums) {
            *scale = *scale * inverse_root(sum.count) / ONE;
        }
        scales
    }

    fn total(&self, sums: &[Sum; GROUPS]) -> i64 {
        let scales = self.scales(sums);
        let sum = |part: fn(&Sum) -> i64| -> i64 {
            sums.iter()
                .zip(scales)
                .map(|(sum, scale)| part(sum) * scale)
                .sum()
        };
        self.bias + sum(|sum| sum.plus) + sum(|sum| sum.minus).max(-self.clip)
    }
}

/// What the features of one group weigh, before they share.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: usize,
    plus: i64,
    minus: i64,
}

fn add(sums: &mut [Sum; GROUPS], feature: &Feature) {
    if let Some(sum) = sums.get_mut(usize::from(feature.group)) {
        sum.count += 1;
        let weight = i64::from(feature.weight);
        sum.plus += weight.max(0);
        sum.minus += weight.min(0);
    }
}

/// The weights of a file, with their features' numbers.
fn entries(mut rest: &[u8]) -> Result<Vec<(u32, i8)>, WeightsError> {
    const CUT: WeightsError = WeightsError("it is cut");
    let mut entries = Vec::new();
    let mut id = 0_u32;
    while !rest.is_empty() {
        let (mut gap, mut shift) = (0_u32, 0);
        loop {
            let (&byte, more) = rest.split_first().ok_or(CUT)?;
            rest = more;
            let bits = u32::from(byte & !(1 << GAP_BITS));
            let moved = bits.checked_shl(shift).filter(|moved| moved >> shift == bits);
            gap |= moved.ok_or(WeightsError("a number is too large"))?;
            shift += GAP_BITS;
            if byte >> GAP_BITS == 0 {
                break;
            }
        }
        let (&weight, more) = rest.split_first().ok_or(CUT)?;
        rest = more;
        id = id.checked_add(gap).ok_or(WeightsError("a number is too large"))?;
        entries.push((id, weight.cast_signed()));
    }
    Ok(entries)
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
            assert!(bytes.len() < 5 << 18 && !model.weights.is_empty());
            assert_eq!(model.write(), bytes);
        }
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let bytes = scan::learned::WEIGHTS;
        for end in [0, 10, bytes.len() - 1] {
            assert!(Model::read(&bytes[..end]).is_err(), "{end}");
        }
        assert!(Model::read(b"defenseclaw-learned 1\nhigh 1\n\n").is_err());
        assert!(Model::read(b"defenseclaw-learned 2\nwhat 1\n\n").is_err());
        let read = |weights: &[u8]| Model::read(&[b"defenseclaw-learned 2\n\n", weights].concat());
        assert_eq!(read(&[5, 1, 2, 255]).unwrap().weights.place(7), Some((1, -1)));
        let last = [0xff, 0xff, 0xff, 0xff, 0x0f, 1];
        assert_eq!(read(&last).unwrap().weights.place(u32::MAX), Some((0, 1)));
        for bad in [
            &[0x80][..],
            &[5],
            &[5, 1, 0, 1],
            &[0xff, 0xff, 0xff, 0xff, 0x1f, 1],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 1, 1],
            &[0xff, 0xff, 0xff, 0xff, 0x0f, 1, 1, 1],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_weight_is_found_however_the_numbers_are_spread() {
        for spread in [1_u32, 7, 100_000, 4_000_000] {
            let entries: Vec<(u32, i8)> = (0..1000).map(|at| (at * spread + 5, 1)).collect();
            let weights = Weights::of(entries).unwrap();
            for at in 0..1000 {
                let place = weights.place(at * spread + 5);
                assert_eq!(place, Some((at as usize, 1)), "{spread} {at}");
            }
            assert_eq!((weights.place(4), weights.place(u32::MAX)), (None, None));
        }
        let last = Weights::of(vec![(0, 1), (u32::MAX, 2)]).unwrap();
        assert_eq!(
            (last.place(0), last.place(u32::MAX)),
            (Some((0, 1)), Some((1, 2)))
        );
    }

    #[test]
    fn weights_that_cannot_be_looked_up_are_refused() {
        assert!(Weights::of(vec![(2, 1), (1, 1)]).is_err());
        assert!(Weights::of(vec![(1, 1), (1, 1)]).is_err());
        assert!(Weights::of((0..=1 << 20).map(|id| (id, 1)).collect()).is_err());
        assert_eq!(Weights::default().place(1), None);
        assert_eq!(Weights::of(Vec::new()).unwrap(), Weights::default());
    }

    #[test]
    fn a_range_holds_whatever_is_added_of_the_features_named() {
        let model = Model {
            bias: 7,
            steps: [ONE; GROUPS],
            clip: 40 * ONE,
            weights: Weights::of((0..12).map(|id| (id, [9, -14, 3, -1][id as usize % 4])).collect()).unwrap(),
            ..Model::default()
        };
        let features = |ids: std::ops::Range<u32>| -> Vec<Feature> {
            let feature = |id: u32| Feature {
                id,
                group: (id / 7) as u8,
                weight: model.weights.place(id).unwrap().1,
                say: Say::Wording,
            };
            ids.map(feature).collect()
        };
        let (least, most) = model.range(&features(0..5), &features(5..12));
        let scores: Vec<i64> = (5..=12).map(|end| model.weigh(&features(0..end)).score).collect();
        assert_eq!(
            (least, most),
            (*scores.iter().min().unwrap(), *scores.iter().max().unwrap())
        );
        assert!(least < most);
    }

    #[test]
    fn many_features_of_a_group_count_less_each() {
        assert_eq!(inverse_root(1), ONE);
        assert_eq!(inverse_root(4), ONE / 2);
        assert_eq!(inverse_root(100), 6553);
        let model = Model {
            steps: [ONE; GROUPS],
            clip: 2 * ONE,
            weights: Weights::of(vec![(1, 3), (2, -100), (3, 3)]).unwrap(),
            ..Model::default()
        };
        assert_eq!(model.score(&[(1, 0)]), 3 * ONE);
        assert_eq!(
            model.score(&[(1, 0), (9, 0)]),
            3 * ONE,
            "what is unknown counts nothing"
        );
        let two = model.score(&[(1, 0), (2, 0)]);
        assert!(two > -2 * ONE - 1, "what speaks for it is bounded");
    }
}
