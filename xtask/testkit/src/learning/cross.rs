//! How good a model is on collections that it was not trained with: each is left out once.

use std::collections::BTreeSet;

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
    let sets: Vec<Option<&str>> = std::iter::once(None).chain(sets.into_iter().map(Some)).collect();
    let models = side_by_side(&sets, |left_out| {
        let lessons = examples.iter().map(|one| &one.lesson);
        let lessons: Vec<&Lesson> = lessons
            .filter(|one| Some(one.set.as_str()) != *left_out)
            .collect();
        fit(&lessons, &ARTIFACTS)
    });
    let mut whole = Model::default();
    let mut left_out: Vec<(&str, Model)> = Vec::new();
    for (set, model) in sets.into_iter().zip(models) {
        match set {
            Some(set) => left_out.push((set, model)),
            None => whole = model,
        }
    }
    let mut models = left_out;
    let scores: Vec<i64> = examples
        .iter()
        .map(|example| {
            let model = models.iter().find(|(set, _)| *set == example.lesson.set);
            model.map_or(0, |(_, model)| score(model, example))
        })
        .collect();
    // Where rules were tuned, what they add to a score says nothing about others.
    let harmless = |left_out: &str| -> Vec<i64> {
        let those = examples.iter().zip(&scores);
        let those =
            those.filter(|(one, _)| !one.lesson.attack && !one.lesson.tuned && one.lesson.set != left_out);
        those.map(|(_, &score)| score).collect()
    };
    for (set, model) in &mut models {
        set_thresholds(model, harmless(set));
    }
    let outcomes = examples.iter().zip(&scores).map(|(example, &score)| {
        let model = models.iter().find(|(set, _)| *set == example.lesson.set);
        let findings = example.findings.clone();
        let both = model.map_or(Severity::None, |(_, model)| {
            worst(&learned::judge(model, example.kind, &example.artifact, findings))
        });
        Outcome {
            score,
            rules: example.ruled(),
            both,
        }
    });
    let outcomes = outcomes.collect();
    set_thresholds(&mut whole, harmless("none"));
    (outcomes, whole)
}
