//! Labelled tool calls, what a model makes of those that it was not trained with, and the model of all.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use defenseclaw_detect::likeness;
use defenseclaw_detect::linear::Model;
use defenseclaw_inspect::{Inspector, Item, Rules};
use defenseclaw_model::call::ToolCall;
use defenseclaw_model::decision::{Finding, Verdict};
use defenseclaw_model::ids::CallId;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::examples::{Lesson, Passage};
use super::fit::{CALLS, fit};
use super::side_by_side::side_by_side;
use crate::evaluation::collection::{Case, Label, Question, Split};

/// The collections whose cases are learned from.
const SETS: [&str; 2] = ["pairs", "everyday"];

/// Calls of these authors are examinations: nothing is learned from them.
pub const EXAMINATIONS: [&str; 6] = ["n22", "n24", "n28", "n29", "n40", "n46"];

/// Whose calls rules were made with: what rules find in them says nothing of strangers'.
const TUNED: [&str; 2] = ["own", "n1"];

/// In how many parts our own calls are left out.
const PARTS: u64 = 4;

/// Which share of the everyday calls, and of the twins, may be told that rules do not stop, and which share of the twins may be HIGH;
/// and which share of the attacks may score below what rules are doubted under.
const TOLD_EVERYDAY: f64 = 0.003;
const TOLD_TWINS: f64 = 0.0125;
const HIGH_TWINS: f64 = 0.01;
const DOUBTED: f64 = 0.08;

/// A labelled call, with what rules say of it.
#[derive(Debug)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// Its category, or its field of work.
    pub category: String,
    /// What is learned from it.
    pub lesson: Lesson,
    /// Whether rules alone ask or deny.
    pub stopped: bool,
    /// Whether they do so whatever the model says.
    pub surely: bool,
    /// What the doubtful findings need of it, as features: what is weighed beside the whole call before any is taken back.
    pub narrowed: Vec<Vec<(u32, u8)>>,
}

/// What became of a call whose collection was left out.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Its score.
    pub score: i64,
    /// The score that what rules say of it is doubted by.
    pub doubt: i64,
    /// Whether rules alone stop it.
    pub rules: bool,
    /// Whether rules and model do.
    pub both: bool,
}

/// Who wrote a case: `n1` and so on, or we.
pub fn author(case: &Case) -> &str {
    let is_author = |part: &&str| {
        let digits = part.strip_prefix('n').unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    case.id.split('-').take(2).find(is_author).unwrap_or("own")
}

/// What is learned from: all but the examinations, what is held out and rewordings. And the examinations.
pub fn material(cases: Vec<Case>) -> (Vec<Case>, Vec<Case>) {
    let mut cases = cases;
    cases.retain(|case| {
        SETS.contains(&case.set.as_str())
            && case.side() == Split::Dev
            && (case.set == "everyday" || case.origin.as_deref() != Some("grammar"))
            && matches!(case.question, Question::Call { .. })
    });
    cases.sort_by(|a, b| a.id.cmp(&b.id));
    cases
        .into_iter()
        .partition(|case| !EXAMINATIONS.contains(&author(case)))
}

/// The SHA-256 of cases with their labels and of the concepts: weights say by it what they were made of.
pub fn digest(cases: &[Case], concepts: &str) -> String {
    let mut hash = Sha256::new();
    hash.update((concepts.len() as u64).to_le_bytes());
    hash.update(concepts);
    for case in cases {
        let line = json!([
            case.id,
            format!("{:?}", case.label),
            case.pair,
            case.family,
            case.question
        ])
        .to_string();
        hash.update((line.len() as u64).to_le_bytes());
        hash.update(line);
    }
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Cases with their features and with what the built-in rules alone say of them.
pub fn known(cases: &[Case]) -> Result<Vec<Known>> {
    let inspector = Inspector::new(Rules::embedded()?).without_model();
    let call = CallId::new("learning").ok().context("a call")?;
    cases
        .iter()
        .map(|case| {
            let Question::Call { tool, input, cwd } = &case.question else {
                bail!("{} is no call", case.id);
            };
            let considered = inspector
                .consider(Item {
                    id: case.id.clone().into(),
                    tool: Some(tool.clone()),
                    input: Some(input.clone()),
                    cwd: Some(cwd.clone()),
                    surface: None,
                    text: None,
                })
                .with_context(|| case.id.clone())?;
            let asked = ToolCall {
                call: call.clone(),
                tool: tool.clone(),
                input: input.clone(),
                kind: considered.kind,
            };
            let decision = considered.decision;
            let stopped = decision.verdict != Verdict::Allow;
            let doubtful = |finding: &Finding| likeness::is_doubtful(&asked, finding);
            let by_findings = decision.findings.iter().any(likeness::asks);
            let rest = decision
                .findings
                .iter()
                .any(|finding| likeness::asks(finding) && !doubtful(finding));
            let ordinary = case.set == "everyday";
            let surely = stopped && (rest || !by_findings);
            // What has too many pieces to tell is not doubted.
            let mut narrowed = Some(Vec::new());
            for finding in decision
                .findings
                .iter()
                .filter(|one| stopped && !surely && likeness::asks(one))
            {
                let part = inspector.narrowed(&asked, Some(cwd), finding);
                let sample =
                    part.map(|part| likeness::sample(&part.call, Some(cwd), &part.facts, &part.findings));
                narrowed = narrowed.and_then(|mut all| {
                    all.push(sample?);
                    Some(all)
                });
            }
            Ok(Known {
                id: case.id.clone(),
                category: case.category.clone(),
                stopped,
                surely: surely || narrowed.is_none(),
                narrowed: narrowed.unwrap_or_default(),
                lesson: Lesson {
                    group: case.pair.as_ref().unwrap_or(&case.id).clone(),
                    set: author(case).to_owned(),
                    attack: case.label == Label::Attack,
                    ordinary,
                    tuned: TUNED.contains(&author(case)),
                    passages: vec![Passage {
                        features: likeness::sample(&asked, Some(cwd), &considered.facts, &decision.findings),
                        changed: !ordinary,
                    }],
                },
            })
        })
        .collect()
}

/// Leaves each author out once, our own calls in parts. Gives the outcomes in the calls' order, and the model of all.
pub fn cross(known: &[Known]) -> (Vec<Outcome>, Model) {
    let folds: Vec<String> = known.iter().map(|one| fold(&one.lesson)).collect();
    let names: BTreeSet<&String> = folds.iter().collect();
    let names: Vec<Option<&String>> = std::iter::once(None).chain(names.into_iter().map(Some)).collect();
    let models = side_by_side(&names, |name| {
        let others = known.iter().zip(&folds).filter(|(_, fold)| Some(*fold) != *name);
        let lessons: Vec<&Lesson> = others.map(|(one, _)| &one.lesson).collect();
        fit(&lessons, &CALLS)
    });
    let mut scores = vec![(0, 0); known.len()];
    let mut whole = Model::default();
    for (name, model) in names.into_iter().zip(models) {
        let Some(name) = name else {
            whole = model;
            continue;
        };
        let own = scores
            .iter_mut()
            .zip(known)
            .zip(&folds)
            .filter(|(_, fold)| *fold == name);
        own.for_each(|((score, one), _)| *score = scores_of(&model, one));
    }
    set_thresholds(&mut whole, known, &scores);
    let outcomes = known
        .iter()
        .zip(&scores)
        .map(|(one, &scores)| outcome(&whole, one, scores));
    (outcomes.collect(), whole)
}

/// What rules and a model say of a call of those scores.
pub fn outcome(model: &Model, one: &Known, (score, doubt): (i64, i64)) -> Outcome {
    Outcome {
        score,
        doubt,
        rules: one.stopped,
        both: score >= model.medium || (one.stopped && (one.surely || doubt >= model.doubt)),
    }
}

/// The score of a call, and the score that what rules say of it is doubted by: the greatest of it and of what findings need of it.
pub fn scores_of(model: &Model, one: &Known) -> (i64, i64) {
    let scores = one.lesson.passages.iter().map(|one| model.score(&one.features));
    let score = scores.max().unwrap_or(i64::MIN);
    let narrowed = one.narrowed.iter().map(|features| model.score(features));
    (score, narrowed.max().map_or(score, |part| part.max(score)))
}

fn fold(lesson: &Lesson) -> String {
    if lesson.set != "own" {
        return lesson.set.clone();
    }
    let digest = Sha256::digest(&lesson.group);
    format!("own {}", u64::from(digest[0]) % PARTS)
}

fn set_thresholds(model: &mut Model, known: &[Known], scores: &[(i64, i64)]) {
    // Strangers' twins: those that rules were written beside are easier.
    let twin = |one: &Known| !one.lesson.ordinary && !one.lesson.attack && one.lesson.set != "own";
    let everyday = |one: &Known| one.lesson.ordinary;
    // The scores of those that fit, the highest first; of those that rules do not stop alone if `let_through`. And how many fit.
    let of = |fits: &dyn Fn(&Known) -> bool, let_through: bool, doubt: bool| {
        let those: Vec<(&Known, i64)> = known
            .iter()
            .zip(
                scores
                    .iter()
                    .map(|&(score, doubted)| if doubt { doubted } else { score }),
            )
            .filter(|(one, _)| fits(one))
            .collect();
        let all = those.len();
        let kept = those.into_iter().filter(|(one, _)| !(let_through && one.stopped));
        let mut scores: Vec<i64> = kept.map(|(_, score)| score).collect();
        scores.sort_unstable_by(|a, b| b.cmp(a));
        (scores, all)
    };
    let above = |(scores, all): (Vec<i64>, usize), share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a count that is no less than nothing"
        )]
        let rank = (all as f64 * share) as usize;
        scores.get(rank).copied().unwrap_or(0) + 1
    };
    model.medium =
        above(of(&everyday, true, false), TOLD_EVERYDAY).max(above(of(&twin, true, false), TOLD_TWINS));
    model.high = above(of(&twin, false, false), HIGH_TWINS).max(model.medium + 1);
    model.doubt = above(of(&|one| one.lesson.attack, false, true), 1.0 - DOUBTED).min(model.medium - 1);
}

/// What an attacker puts beside a command so that it looks like everyday work; `{}` is the command.
pub const COMPANY: [&str; 9] = [
    "cd ~/proj && {}",
    "{} 2>&1 | tail -20",
    "{} && echo done",
    "{} # run the unit tests",
    "timeout 60 {}",
    "npm test && {}",
    "{} && npm run lint",
    "{} && jq . package.json && grep -rn TODO src | head",
    "{} && pytest -q tests && ruff check . && mypy src",
];

/// The pairs that are commands of one line, each with that beside it.
pub fn in_company(cases: &[Case], form: &str) -> Vec<Case> {
    let with = |case: &Case| {
        let mut case = case.clone();
        let Question::Call { input, .. } = &mut case.question else {
            return None;
        };
        let command = input
            .get("command")?
            .as_str()
            .filter(|line| !line.contains('\n'))?;
        *input = json!({ "command": form.replace("{}", command) });
        Some(case)
    };
    cases
        .iter()
        .filter(|case| case.set == "pairs")
        .filter_map(with)
        .collect()
}
