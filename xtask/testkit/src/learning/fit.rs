//! Weights from labelled artifacts: logistic regression by stochastic descent, with a fixed seed.
//!
//! An attack is as bad as its worst passage among those that its twin does not have; which one that is, is not told, so that
//! passages share the blame by their scores. The twin's own changed passages are the hardest of the harmless ones: they are
//! weighed against the attack's directly, too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use defenseclaw_detect::linear::{GROUPS, Model, Weights};

use super::examples::{Lesson, Passage};

/// What is different between what is learned from.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Fewest pairs or ordinary ones, and fewest collections, that a feature has to be in.
    pub least_groups: usize,
    /// See above.
    pub least_sets: usize,
    /// Which share of the ordinary ones is looked at each time.
    pub ordinary: f64,
    /// Most features of a model.
    pub most: usize,
    /// How strongly weights are drawn to nothing.
    pub decay: f64,
    /// Times that every example is looked at; weights are averaged over the later half.
    pub rounds: usize,
    /// Length of a step.
    pub step: f64,
    /// Which part of the features is left out each time, so that none is relied on alone.
    pub dropped: f64,
}

/// Artifacts: the file has about 1 MiB. Rare features carry what is said in few words: with the 45,000 weightiest alone and
/// shorter learning, recall was three points lower at HIGH and one at MEDIUM.
pub const ARTIFACTS: Form = Form {
    least_groups: 2,
    least_sets: 1,
    ordinary: 1.0,
    most: 320_000,
    decay: 0.01,
    rounds: 30,
    step: 0.1,
    dropped: 0.5,
};

/// Calls: there are many ordinary ones, and they are short.
pub const CALLS: Form = Form {
    least_groups: 2,
    least_sets: 1,
    ordinary: 0.3,
    most: 80_000,
    decay: 0.01,
    rounds: 30,
    step: 0.1,
    dropped: 0.5,
};

/// How far from nothing a score should be, and twins from each other.
const MARGIN: f64 = 1.0;

/// What the groups of features count: wording, meaning, conduct, plain, rules, and of calls meaning together.
const COUNTS: [f64; GROUPS] = [3.0, 3.0, 3.0, 3.0, 4.0, 3.0];

/// The group of what rules found.
const RULES: u8 = 4;

/// Most that speaks for a passage.
const CLIP: f64 = 12.0;

/// One, as the model's sums have it.
const ONE: f64 = 65536.0;

/// A sequence of numbers that look random: xorshift.
struct Dice(u64);

impl Dice {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        let high = u32::try_from(self.number() >> 32).unwrap_or(u32::MAX);
        f64::from(high) / f64::from(u32::MAX)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.number() % count.max(1) as u64).unwrap_or(0)
    }
}

/// A passage as it is looked at once: its features with their values, and its score.
struct Seen {
    values: Vec<(usize, f64)>,
    score: f64,
}

struct Fit {
    /// Which number of a feature is which weight.
    known: HashMap<u32, usize, BuildHasherDefault<AsItIs>>,
    /// Room for a step: the slope of each weight that it is about, and whether it is.
    sums: Vec<(f64, bool)>,
    /// Weights; the last one is what every passage begins with.
    weights: Vec<f64>,
    /// Sums of squared slopes, by which steps become shorter.
    slopes: Vec<f64>,
    dice: Dice,
    form: Form,
}

/// Learns from examples. Thresholds are not set.
pub fn fit(examples: &[&Lesson], form: &Form) -> Model {
    let ids = features(examples, form);
    let count = ids.len();
    let mut fit = Fit {
        sums: vec![(0.0, false); count + 1],
        known: ids.iter().enumerate().map(|(at, &id)| (id, at)).collect(),
        weights: vec![0.0; count + 1],
        slopes: vec![0.01; count + 1],
        dice: Dice(0x9e37_79b9_7f4a_7c15),
        form: *form,
    };
    let mut pairs: BTreeMap<&str, [Option<&Lesson>; 2]> = BTreeMap::new();
    for &example in examples {
        let slot = usize::from(!example.attack);
        pairs.entry(&example.group).or_default()[slot] = Some(example);
    }
    let mut pairs: Vec<[Option<&Lesson>; 2]> = pairs.into_values().collect();
    let mut sums = vec![0.0; count + 1];
    for round in 0..form.rounds {
        for at in (1..pairs.len()).rev() {
            let other = fit.dice.below(at + 1);
            pairs.swap(at, other);
        }
        for pair in &pairs {
            let ordinary = pair[1].is_some_and(|one| one.ordinary);
            if !ordinary || form.ordinary >= 1.0 || fit.dice.share() < form.ordinary {
                fit.look(pair);
            }
        }
        if round >= form.rounds / 2 {
            sums.iter_mut()
                .zip(&fit.weights)
                .for_each(|(sum, weight)| *sum += weight);
        }
    }
    let weights: Vec<f64> = sums
        .iter()
        .map(|sum| sum / (form.rounds - form.rounds / 2) as f64)
        .collect();
    let groups = groups(examples);
    whole(&ids, &weights, &groups, form.most)
}

/// The features that are common enough, sorted.
fn features(examples: &[&Lesson], form: &Form) -> Vec<u32> {
    let mut spread: HashMap<u32, (BTreeSet<&str>, BTreeSet<&str>)> = HashMap::new();
    for example in examples {
        for passage in example
            .passages
            .iter()
            .filter(|one| one.changed || example.ordinary)
        {
            for &(id, _) in &passage.features {
                let (groups, sets) = spread.entry(id).or_default();
                if groups.len() < form.least_groups {
                    groups.insert(&example.group);
                }
                if sets.len() < form.least_sets {
                    sets.insert(&example.set);
                }
            }
        }
    }
    let common = spread
        .into_iter()
        .filter(|(_, (groups, sets))| groups.len() >= form.least_groups && sets.len() >= form.least_sets);
    let mut ids: Vec<u32> = common.map(|(id, _)| id).collect();
    ids.sort_unstable();
    ids
}

fn groups(examples: &[&Lesson]) -> HashMap<u32, u8> {
    let passages = examples.iter().flat_map(|example| &example.passages);
    passages
        .flat_map(|passage| passage.features.iter().copied())
        .collect()
}

impl Fit {
    fn see(&mut self, passage: &Passage, tuned: bool) -> Seen {
        let known: Vec<(usize, usize)> = passage
            .features
            .iter()
            // What rules make of artifacts that they were made with says nothing about others.
            .filter(|(_, group)| !(tuned && *group == RULES))
            .filter_map(|(id, group)| Some((*self.known.get(id)?, usize::from(*group))))
            .collect();
        let mut counts = [0_u32; GROUPS];
        for &(_, group) in &known {
            counts[group] += 1;
        }
        let mut values = Vec::with_capacity(known.len() + 1);
        for (at, group) in known {
            if self.dice.share() >= self.form.dropped {
                values.push((
                    at,
                    COUNTS[group] / f64::from(counts[group]).sqrt() / (1.0 - self.form.dropped),
                ));
            }
        }
        values.push((self.weights.len() - 1, 1.0));
        let score = values.iter().map(|&(at, value)| self.weights[at] * value).sum();
        Seen { values, score }
    }

    /// Looks at an attack and its twin, or at an ordinary artifact, and makes one step.
    fn look(&mut self, [attack, benign]: &[Option<&Lesson>; 2]) {
        let (mut changed, mut rest) = (Vec::new(), Vec::new());
        if let Some(example) = benign {
            for passage in &example.passages {
                if passage.changed {
                    changed.push(self.see(passage, example.tuned));
                } else if example.ordinary || self.dice.share() < 0.5 {
                    rest.push(self.see(passage, example.tuned));
                }
            }
        }
        let mut slopes: Vec<(Seen, f64)> = Vec::new();
        let mut bad: Vec<Seen> = Vec::new();
        if let Some(example) = attack {
            for passage in example.passages.iter().filter(|one| one.changed) {
                bad.push(self.see(passage, example.tuned));
            }
        }
        let (worst, shares) = blame(&bad);
        let mut pull = logistic(worst - MARGIN) - 1.0;
        let (twin, of_twin) = blame(&changed);
        let mut push = 0.0;
        if !bad.is_empty() && !changed.is_empty() {
            push = logistic(worst - twin - 2.0 * MARGIN) - 1.0;
            pull += push;
        }
        for (seen, share) in changed.into_iter().zip(of_twin) {
            let slope = logistic(seen.score + MARGIN) * (0.3 + 0.7 * share) - push * share;
            slopes.push((seen, slope));
        }
        for (seen, share) in bad.into_iter().zip(shares) {
            if share > 0.02 {
                slopes.push((seen, pull * share));
            }
        }
        let ordinary = benign.is_some_and(|example| example.ordinary);
        let (each, most) = if ordinary { (0.15, 0.85) } else { (0.1, 0.5) };
        let (_, shares) = blame(&rest);
        for (seen, share) in rest.into_iter().zip(shares) {
            let slope = logistic(seen.score + MARGIN) * (each + most * share);
            slopes.push((seen, slope));
        }
        self.step(slopes);
    }

    fn step(&mut self, slopes: Vec<(Seen, f64)>) {
        let mut touched = Vec::new();
        for (seen, slope) in slopes.iter().filter(|(_, slope)| slope.abs() >= 1e-4) {
            for &(at, value) in &seen.values {
                let (sum, is) = &mut self.sums[at];
                *sum += slope * value;
                if !std::mem::replace(is, true) {
                    touched.push(at);
                }
            }
        }
        let last = self.weights.len() - 1;
        for at in touched {
            let (mut slope, _) = std::mem::take(&mut self.sums[at]);
            if at != last {
                slope += self.form.decay * self.weights[at];
            }
            self.slopes[at] += slope * slope;
            self.weights[at] -= self.form.step * slope / self.slopes[at].sqrt();
        }
    }
}

/// Features' numbers are hashes already.
#[derive(Debug, Default, Clone, Copy)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        // A table takes its tags from the upper bits.
        self.0 | self.0 << 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = number.into();
    }
}

fn logistic(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

/// The score of passages together, and how much each has to do with it.
fn blame(passages: &[Seen]) -> (f64, Vec<f64>) {
    let most = passages.iter().map(|one| one.score).fold(f64::MIN, f64::max);
    let parts: Vec<f64> = passages.iter().map(|one| (one.score - most).exp()).collect();
    let all: f64 = parts.iter().sum();
    let shares: Vec<f64> = parts.into_iter().map(|part| part / all).collect();
    let score = passages
        .iter()
        .zip(&shares)
        .map(|(one, share)| one.score * share)
        .sum();
    (score, shares)
}

/// Weights as whole numbers of eight bits, the smallest ones left out.
fn whole(ids: &[u32], weights: &[f64], groups: &HashMap<u32, u8>, most: usize) -> Model {
    let mut largest = [f64::MIN_POSITIVE; GROUPS];
    let group = |id: &u32| usize::from(groups.get(id).copied().unwrap_or(0));
    for (id, weight) in ids.iter().zip(weights) {
        let known = &mut largest[group(id)];
        *known = known.max(weight.abs());
    }
    let steps: [f64; GROUPS] = std::array::from_fn(|at| largest[at] / 127.0);
    let mut kept: Vec<(u32, i8, f64)> = Vec::new();
    for (id, weight) in ids.iter().zip(weights) {
        let steps = (weight / steps[group(id)]).round().clamp(-127.0, 127.0);
        #[expect(clippy::cast_possible_truncation, reason = "it lies between -127 and 127")]
        kept.push((*id, steps as i8, weight.abs() * COUNTS[group(id)]));
    }
    kept.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
    kept.truncate(most);
    kept.sort_by_key(|&(id, ..)| id);
    let entries = kept.into_iter().map(|(id, weight, _)| (id, weight)).collect();
    #[expect(
        clippy::expect_used,
        reason = "each number is there once, and `most` is below the bound"
    )]
    let entries = Weights::of(entries).expect("sorted and few");
    Model {
        bias: fixed(weights.last().copied().unwrap_or(0.0)),
        clip: fixed(CLIP),
        steps: std::array::from_fn(|at| fixed(steps[at] * COUNTS[at])),
        weights: entries,
        ..Model::default()
    }
}

/// A number as the model has it.
pub(super) fn fixed(number: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "scores are far smaller")]
    let whole = (number * ONE).round() as i64;
    whole
}
