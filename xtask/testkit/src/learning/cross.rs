//! How good a model is on collections that it was not trained with: each is left out once, together with those of its part.

use std::collections::{BTreeMap, BTreeSet};

use defenseclaw_detect::linear::Model;
use defenseclaw_detect::scan::learned;
use defenseclaw_model::decision::Severity;

use super::examples::{Example, Lesson, worst};
use super::fit::{ARTIFACTS, fit};
use super::side_by_side::side_by_side;

/// Which part of the harmless artifacts of other collections scores above a threshold.
const HIGH: f64 = 0.035;
const MEDIUM: f64 = 0.15;
const DOUBT: f64 = 0.08;

/// In how many parts collections are left out. One for each collection would take five times as long.
const PARTS: usize = 12;

/// What became of one example whose collection was left out.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// The score of its worst passage.
    pub score: i64,
    /// What rules alone say.
    pub rules: Severity,
    /// What rules and model say.
    pub both: Severity,
}

/// The score of an example's worst passage.
fn score(model: &Model, example: &Example) -> i64 {
    let scores = example
        .lesson
        .passages
        .iter()
        .map(|one| model.score(&one.features));
    scores.max().unwrap_or(i64::MIN)
}

/// Sets a model's thresholds by the scores of harmless artifacts that other models gave.
fn set_thresholds(model: &mut Model, mut harmless: Vec<i64>) {
    harmless.sort_unstable_by(|a, b| b.cmp(a));
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a count that is no less than nothing"
        )]
        let rank = (harmless.len() as f64 * share) as usize;
        harmless.get(rank).copied().unwrap_or(0) + 1
    };
    (model.high, model.medium, model.doubt) = (at(HIGH), at(MEDIUM), at(DOUBT));
}

/// Leaves each collection out once. Gives the outcomes in the examples' order, and the model of all with its thresholds.
pub fn cross(examples: &[Example]) -> (Vec<Outcome>, Model) {
    let sets: BTreeSet<&str> = examples
        .iter()
        .map(|example| example.lesson.set.as_str())
        .collect();
    let part_of: BTreeMap<&str, usize> = sets
        .iter()
        .enumerate()
        .map(|(at, set)| (*set, at % PARTS))
        .collect();
    let part_of = |example: &Example| part_of.get(example.lesson.set.as_str()).copied();
    let parts: BTreeSet<Option<usize>> = examples.iter().map(part_of).collect();
    let parts: Vec<Option<usize>> = std::iter::once(None).chain(parts).collect();
    let fitted = side_by_side(&parts, |part| {
        let others = examples
            .iter()
            .filter(|one| part.is_none() || part_of(one) != *part);
        let lessons: Vec<&Lesson> = others.map(|one| &one.lesson).collect();
        fit(&lessons, &ARTIFACTS)
    });
    let mut whole = Model::default();
    let mut fitted_to: BTreeMap<usize, Model> = BTreeMap::new();
    for (part, model) in parts.into_iter().zip(fitted) {
        match part {
            Some(part) => {
                fitted_to.insert(part, model);
            }
            None => whole = model,
        }
    }
    let model_of = |example: &Example| part_of(example).and_then(|part| fitted_to.get(&part));
    let scores: Vec<i64> = examples
        .iter()
        .map(|example| model_of(example).map_or(0, |model| score(model, example)))
        .collect();
    // Where rules were tuned, what they add to a score says nothing about others.
    let harmless = |left_out: Option<usize>| -> Vec<i64> {
        let those = examples.iter().zip(&scores);
        let those = those.filter(|(one, _)| !one.lesson.attack && !one.lesson.tuned);
        those
            .filter(|(one, _)| left_out.is_none() || part_of(one) != left_out)
            .map(|(_, &score)| score)
            .collect()
    };
    for (&part, model) in &mut fitted_to {
        set_thresholds(model, harmless(Some(part)));
    }
    let model_of = |example: &Example| part_of(example).and_then(|part| fitted_to.get(&part));
    let outcomes = examples.iter().zip(&scores).map(|(example, &score)| {
        let findings = example.findings.clone();
        let both = model_of(example).map_or(Severity::None, |model| {
            worst(&learned::judge(model, example.kind, &example.artifact, findings))
        });
        Outcome {
            score,
            rules: example.ruled(),
            both,
        }
    });
    let outcomes = outcomes.collect();
    set_thresholds(&mut whole, harmless(None));
    (outcomes, whole)
}
