//! What stands in texts: secrets, personal data, instructions that want to steer the agent.
//!
//! The rules are data: packs with `kind: text` in `policies/rules/`, each rule with its tests beside it.
//!
//! | Module | Holds |
//! |---|---|
//! | `pack` | the packs' schema |
//! | `anchors` | many patterns, searched in one pass |
//! | `lazy` | expressions that are compiled when they are needed |
//! | `secrets`, `pii`, `injection` | the three categories |
//! | `fold` | text as its reader takes it: case, accents, look-alikes, what cannot be seen |
//! | `decode` | passages in base64, hexadecimal, escapes |
//! | `hidden` | passages that a page or a terminal does not show |
//! | `checks` | checksums and entropy |

pub(crate) mod anchors;
mod checks;
pub(crate) mod decode;
pub(crate) mod fold;
pub(crate) mod hidden;
mod injection;
mod lazy;
mod pack;
mod pii;
mod samples;
pub(crate) mod secrets;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use defenseclaw_model::decision::{Finding, Severity};

use crate::detector::{PackError, Surface};
use crate::packs::{Pack, embedded};
pub(crate) use checks::entropy;
use injection::InjectionRules;
use pack::{TestText, Tests};
use pii::PiiRules;
use secrets::SecretRules;

/// Most of a text that is looked at (bytes): half from its beginning, half from its end. A harness's tool results are cut
/// far below.
pub const MAX_TEXT: usize = 1 << 20;

/// The text packs that this program was built with.
pub const EMBEDDED: &[Pack<'static>] = embedded::TEXTS;

/// A name as its reader takes it: two names that give the same text look the same. Lower case, look-alike letters of other
/// scripts as what they look like, nothing that cannot be seen.
pub fn looks_like(name: &str) -> String {
    fold::fold(name).text
}

/// The text packs, ready to be asked from any thread.
#[derive(Debug, Default)]
pub struct TextRules {
    secrets: Vec<Arc<SecretRules>>,
    pii: Vec<PiiRules>,
    injection: Vec<InjectionRules>,
}

/// What came of the tests that stand beside the rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextReport {
    /// Rules.
    pub rules: usize,
    /// Tests that ran.
    pub tests: usize,
    /// The tests that failed, as sentences that name rule and test.
    pub failures: Vec<String>,
}

impl TextRules {
    /// Compiles packs, given as file name and text. Only packs with `kind: text` are to be given. The first that is
    /// not valid is refused by its file, rule and line; two rules of one id are refused too.
    pub fn load(packs: &[Pack<'_>]) -> Result<Self, PackError> {
        let mut rules = Self::default();
        for &(file, text) in packs {
            let head = pack::head(file, text)?;
            let invalid = |why: String| PackError::Invalid {
                file: file.to_owned(),
                why,
            };
            if head.version != 1 {
                return Err(invalid(format!(
                    "it has version {}; this program knows version 1",
                    head.version
                )));
            }
            if head.kind != "text" {
                return Err(invalid(format!(
                    "its kind is {:?}; a pack for texts has `kind: text`",
                    head.kind
                )));
            }
            match head.category.as_str() {
                "secret" => rules.secrets.push(SecretRules::shared(file, text)?),
                "pii" => rules.pii.push(PiiRules::load(file, text)?),
                "injection" => rules.injection.push(InjectionRules::load(file, text)?),
                other => {
                    return Err(invalid(format!(
                        "its category is {other:?}; use secret, pii or injection"
                    )));
                }
            }
            let mut known = HashSet::new();
            let twice = rules
                .tests()
                .map(|(id, _, _)| id)
                .find(|id| !known.insert(*id))
                .map(str::to_owned);
            if let Some(id) = twice {
                return Err(invalid(format!(
                    "the rule {id:?} is there twice; give one of them another id"
                )));
            }
        }
        Ok(rules)
    }

    /// What is to be said of `text`. Takes time linear in the text; of a text over [`MAX_TEXT`] only its two ends are looked
    /// at, and a finding `text.truncated` says so.
    pub fn find(&self, surface: Surface, text: &str) -> Vec<Finding> {
        let seen = ends(text);
        let mut findings = Vec::new();
        if seen.len() < text.len() {
            findings.push(truncated(text.len()));
        }
        for rules in &self.secrets {
            findings.extend(rules.find(surface, &seen));
        }
        for rules in &self.pii {
            findings.extend(rules.find(surface, &seen));
        }
        for rules in &self.injection {
            findings.extend(rules.find(surface, &seen, &self.secrets));
        }
        findings
    }

    /// Runs the tests that stand beside the rules.
    pub fn test(&self) -> TextReport {
        let mut report = TextReport::default();
        for (id, tests, own_surface) in self.tests() {
            report.rules += 1;
            let texts = |texts: &[TestText]| -> Vec<(Surface, String)> {
                texts.iter().map(|text| test_text(text, own_surface)).collect()
            };
            for (surface, text) in texts(&tests.positive) {
                report.tests += 1;
                if !self.find(surface, &text).iter().any(|finding| tells(finding, id)) {
                    report
                        .failures
                        .push(format!("{id}: finds nothing in its positive test {text:?}"));
                }
            }
            for (surface, text) in texts(&tests.negative) {
                report.tests += 1;
                if let Some(finding) = self
                    .find(surface, &text)
                    .iter()
                    .find(|finding| tells(finding, id))
                {
                    report.failures.push(format!(
                        "{id}: finds {:?} in its negative test {text:?}",
                        finding.evidence
                    ));
                }
            }
        }
        report
    }

    fn tests(&self) -> impl Iterator<Item = (&str, &Tests, Surface)> {
        let secrets = self.secrets.iter().flat_map(|rules| rules.tests());
        let others = self.pii.iter().flat_map(PiiRules::tests);
        let injection = self.injection.iter().flat_map(InjectionRules::tests);
        secrets.map(|(id, tests)| (id, tests, Surface::ToolInput)).chain(
            others
                .chain(injection)
                .map(|(id, tests)| (id, tests, Surface::ToolResult)),
        )
    }
}

/// Whether a finding is what a rule's test is about. Injection findings name the strongest technique and list the others
/// as evidence; they count from MEDIUM on.
fn tells(finding: &Finding, id: &str) -> bool {
    let named = finding.rule == id
        || finding
            .evidence
            .iter()
            .any(|line| line.split(", ").any(|one| one == id));
    named && (finding.category != "injection" || finding.severity >= Severity::Medium)
}

fn test_text(text: &TestText, own: Surface) -> (Surface, String) {
    match text {
        TestText::Plain(text) => (own, samples::expand(text)),
        TestText::On { surface, text } => ((*surface).into(), samples::expand(text)),
    }
}

/// The two ends of a text that is too long.
fn ends(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_TEXT {
        return Cow::Borrowed(text);
    }
    let head = text
        .get(..text.floor_char_boundary(MAX_TEXT / 2))
        .unwrap_or_default();
    let tail = text
        .get(text.ceil_char_boundary(text.len() - MAX_TEXT / 2)..)
        .unwrap_or_default();
    Cow::Owned([head, "\n", tail].concat())
}

fn truncated(bytes: usize) -> Finding {
    Finding {
        rule: "text.truncated".to_owned(),
        category: "injection".to_owned(),
        severity: Severity::Low,
        message: format!(
            "A text of {bytes} bytes is too long: only its first and its last {} bytes were looked at",
            MAX_TEXT / 2
        ),
        remedy: "give the text in parts".to_owned(),
        evidence: Vec::new(),
        confidence: 100,
    }
}

/// A surface, as messages begin.
fn place(surface: Surface) -> &'static str {
    match surface {
        Surface::Prompt => "The prompt",
        Surface::Completion => "The agent's answer",
        Surface::ToolResult => "The tool's result",
        Surface::ToolInput => "The tool's input",
    }
}
