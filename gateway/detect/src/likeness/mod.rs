//! How much a tool call is like labelled attacks: a model that stands beside the rules about calls, and tells what no rule names.
//!
//! | Module | Holds |
//! |---|---|
//! | `words` | the text of a call, as words |
//! | `features` | what is found in a call, as numbers |
//! | `narrow` | the smallest part of a text in which rules find the same |
//! | `longest` | the text of a call that can be made longer at will |
//!
//! **What it is.** A linear model over a call's words and facts, with weights of eight bits (`policies/learned/calls.bin`), made by
//! `cargo xtask train calls` from `policies/evaluation`. Whole numbers only, no network, no state: the same call always gets the
//! same answer, and a finding names the words that weighed most. Of a file that is written, a script and what a tool is told, the
//! model of artifacts (`scan::learned`) knows more: what it says is among the features, and is asked only where the answer can
//! depend on it.
//!
//! **What it is not.** It is no proof. Whoever has this source can write until a call weighs less. So it only asks, and never denies;
//! rules that are sure and the guards at run time do not depend on it. Guesses of rules do: whoever words a short call well can
//! have one taken back, and a denial made a question. How narrow that is, [`DOUBTFUL`] and [`QUESTIONED`] say. What stands beside
//! an attack buys little of that, since a guess is taken back only if what it needs of the call looks harmless by itself, too.
//! What only the model asks about still passes in such company.

mod features;
mod longest;
mod narrow;
mod words;

use std::sync::LazyLock;

use defenseclaw_model::call::ToolCall;
use defenseclaw_model::decision::{Finding, Severity};
use defenseclaw_model::facts::Facts;

use self::features::Artifact;
use crate::linear::{Found, Model};
use crate::mask::mask_text;

/// What `cargo xtask train calls` made of `policies/evaluation`.
pub(crate) const WEIGHTS: &[u8] = include_bytes!("../../../../policies/learned/calls.bin");

/// The rule that findings of the model name.
pub const RULE: &str = "learned.call";

/// How sure a finding of the model is: sure enough to ask (`policies/rego/data.json`), too unsure to deny, and behind whatever else
/// asks, because a rule says what is wrong and the model only that something is.
const CONFIDENCE: u8 = 65;

/// A rule's finding can be taken back up to this confidence: its author said that it is a guess. Nothing that denies is, and nothing
/// that operators count on however harmless a call looks: such rules (keys, logins, what steers an agent) are surer.
pub const DOUBTFUL: u8 = 76;

/// What a finding that denies comes down to where a call looks harmless: a person is asked (`policies/rego/data.json`). What is
/// CRITICAL denies however it looks.
const QUESTIONED: u8 = 79;

/// A doubted finding's confidence: it stays in the record and asks nobody.
const DOUBTED: u8 = 50;

/// Longest text of a call (bytes) whose findings can be doubted: a long one can hide much in what is harmless.
const MAX_DOUBTED: usize = 400;

/// Most findings of one call that are looked at one by one; where more ask, the others stay.
const MAX_NARROWED: usize = 4;

/// Most words that a finding names, and the longest of them (bytes).
const NAMED: usize = 6;
const MAX_NAME: usize = 60;

static EMBEDDED: LazyLock<Model> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the file is compiled in, and a test reads it")]
    Model::read(WEIGHTS).expect("the embedded weights are valid")
});

/// The model that this program was built with.
pub fn embedded() -> &'static Model {
    &EMBEDDED
}

/// The features of a call in which rules found that: number and group of each.
pub fn sample(call: &ToolCall, cwd: Option<&str>, facts: &Facts, findings: &[Finding]) -> Vec<(u32, u8)> {
    let mut found = Found::all(false);
    find(call, cwd, facts, findings, &mut found);
    found.features.iter().map(|one| (one.id, one.group)).collect()
}

/// All features of a call in which rules found that.
fn find(call: &ToolCall, cwd: Option<&str>, facts: &Facts, findings: &[Finding], found: &mut Found<'_>) {
    features::find(call, cwd, facts, findings, found);
    if let Some(artifact) = Artifact::of(call) {
        artifact.read(found);
    }
}

/// Whether a rule's finding may be taken back, where the model sees nothing bad.
pub fn is_doubtful(call: &ToolCall, finding: &Finding) -> bool {
    finding.confidence <= DOUBTFUL && can_be_questioned(call, finding)
}

/// Whether a rule's finding is a question at most, where the model sees nothing bad.
fn can_be_questioned(call: &ToolCall, finding: &Finding) -> bool {
    finding.severity <= Severity::High && finding.rule != RULE && words::length(call) <= MAX_DOUBTED
}

/// A call, with what is said of it by rules.
#[derive(Debug)]
pub struct Ruled {
    /// The call.
    pub call: ToolCall,
    /// What it declares.
    pub facts: Facts,
    /// What rules find.
    pub findings: Vec<Finding>,
}

/// What rules say of a call.
pub(crate) type Rules<'r> = dyn Fn(ToolCall) -> Ruled + 'r;

/// The call with only that of its longest text in which rules still find the same. `None`: the text has too many pieces to tell.
pub(crate) fn narrowed(rules: &Rules<'_>, call: &ToolCall, finding: &Finding) -> Option<Ruled> {
    let found = |ruled: &Ruled| {
        ruled
            .findings
            .iter()
            .any(|one| one.rule == finding.rule && asks(one))
    };
    let text = longest::of(call).unwrap_or_default();
    let left = narrow::narrow(text, &mut |text| found(&rules(longest::replaced(call, text))))?;
    Some(rules(longest::replaced(call, &left)))
}

/// What the model makes of a call and of what rules found in it.
pub(crate) fn judge(
    model: &Model,
    call: &ToolCall,
    cwd: Option<&str>,
    facts: &Facts,
    rules: &Rules<'_>,
    findings: &mut Vec<Finding>,
) {
    let unruled = findings.is_empty();
    let side = |score: i64| match score {
        _ if score >= model.medium => Side::Attack,
        _ if score < model.doubt && !unruled => Side::Harmless,
        _ => Side::Neither,
    };
    let side = weigh(model, (call, cwd, facts, findings), side);
    if side == Side::Attack {
        if findings.iter().any(asks) {
            return;
        }
        // Names are made again for the few calls that are told of.
        let mut found = Found::known_to(model, true);
        find(call, cwd, facts, findings, &mut found);
        findings.push(finding(model, &found));
    } else if side == Side::Harmless {
        let mut asked = 0;
        let weaker = |finding: &Finding| is_doubtful(call, finding) || finding.confidence > QUESTIONED;
        for finding in findings
            .iter_mut()
            .filter(|finding| can_be_questioned(call, finding) && weaker(finding))
        {
            if asks(finding) {
                asked += 1;
                let part = (asked <= MAX_NARROWED).then(|| narrowed(rules, call, finding));
                let doubted = |part: Ruled| {
                    let part = (&part.call, cwd, &part.facts, part.findings.as_slice());
                    weigh(model, part, |score| score < model.doubt)
                };
                if !part.flatten().is_some_and(doubted) {
                    continue;
                }
            }
            if finding.confidence > DOUBTFUL {
                finding.confidence = QUESTIONED;
                continue;
            }
            finding.severity = finding.severity.min(Severity::Medium);
            finding.confidence = finding.confidence.min(DOUBTED);
        }
    }
}

/// What a score says of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Attack,
    Neither,
    /// So harmless that what rules found is doubted.
    Harmless,
}

/// A call, with where it runs, what it declares and what rules found.
type Parts<'c> = (&'c ToolCall, Option<&'c str>, &'c Facts, &'c [Finding]);

/// What `side` makes of what a call weighs. What it writes or runs is read only where that can change the answer.
fn weigh<S: PartialEq>(model: &Model, parts: Parts<'_>, side: impl Fn(i64) -> S) -> S {
    let (call, cwd, facts, findings) = parts;
    let mut found = Found::known_to(model, false);
    features::find(call, cwd, facts, findings, &mut found);
    if let Some(artifact) = Artifact::of(call) {
        let mut worst = Found::known_to(model, false);
        artifact.worst(&mut worst);
        let (least, most) = model.range(&found.features, &worst.features);
        let known = side(least);
        // The sides of a score are ranges: where both ends are on one, all between them is.
        if known == side(most) {
            return known;
        }
        artifact.read(&mut found);
    }
    side(model.weigh(&found.features).score)
}

/// Whether a finding is enough for a question under the built-in thresholds.
pub fn asks(finding: &Finding) -> bool {
    match finding.severity {
        Severity::Critical | Severity::High => true,
        Severity::Medium => finding.confidence >= CONFIDENCE,
        Severity::Low | Severity::None => false,
    }
}

fn finding(model: &Model, found: &Found<'_>) -> Finding {
    let names = found.names.as_deref().unwrap_or_default();
    let mut parts: Vec<(i64, &String)> = found
        .features
        .iter()
        .zip(names)
        .map(|(feature, name)| (model.part(feature), name))
        .filter(|(part, _)| *part > 0)
        .collect();
    parts.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let mut evidence: Vec<String> = Vec::new();
    for (_, name) in parts {
        let name = mask_text(features::shown(name), MAX_NAME);
        if evidence.len() < NAMED && !name.is_empty() && !evidence.contains(&name) {
            evidence.push(name);
        }
    }
    Finding {
        rule: RULE.to_owned(),
        category: "command".to_owned(),
        severity: Severity::Medium,
        message: "this call is much like known attacks, by its words and by what it does together".to_owned(),
        remedy: "Look at what it does; if it is what you want, allow it".to_owned(),
        evidence,
        confidence: CONFIDENCE,
    }
}

#[cfg(test)]
mod tests;
