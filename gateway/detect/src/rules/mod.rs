//! Rules over facts: what a call is to be reproached with, as data.
//!
//! | Module | Holds |
//! |---|---|
//! | `schema` | the form of a pack in `policies/rules/*.yaml` |
//! | `compile` | from that form to compiled rules; everything that can be wrong with a pack |
//! | `node` | conditions, and what they say of a call |
//! | `index` | which rules can match a call at all |
//! | `lazy` | regular expressions, compiled when first asked |
//! | `leave` | sentences that let an agent do unasked what harms nothing |
//! | `numbers` | a set of small numbers: of rules, of literals |
//! | `projection` | which filters print nothing but names of what they are given |
//! | `pairs` | what a program's words cannot hold, told at a glance |
//! | `view` | one call as rules see it |
//! | `check` | the tests that stand beside each rule |

mod check;
mod compile;
mod index;
mod interpreter;
mod lazy;
mod leave;
mod node;
mod numbers;
mod pairs;
mod pattern;
mod projection;
mod schema;
mod view;

use defenseclaw_model::call::ToolCall;
use defenseclaw_model::decision::{Finding, Severity};
use defenseclaw_model::facts::Facts;

pub use check::Report;
use node::{Ask, Node, Seen};
use numbers::Numbers;
use view::View;
pub(crate) use view::{host_kind, texts_of};

use crate::detector::PackError;
use crate::literals::Literals;
use crate::mask::mask_text;
use crate::packs::Pack;
use crate::paths::PathRules;
use crate::quick::Table;

/// Most findings that one call gives; the policy takes no more.
const MAX_FINDINGS: usize = 32;
/// Longest piece of evidence (bytes).
const MAX_EVIDENCE: usize = 256;

/// All packs of fact rules, compiled.
#[derive(Debug)]
pub(crate) struct FactRules {
    rules: Vec<FactRule>,
    index: index::Index,
    /// The program names that rules name, numbered.
    names: Table<Box<str>, usize>,
    /// The literals of all rules.
    literals: Literals<Box<[u8]>>,
    /// Those that rules look for in any call's text, not only in what is written, and their numbers among all.
    anywhere: (Literals<Box<[u8]>>, Vec<usize>),
}

/// One rule.
#[derive(Debug)]
struct FactRule {
    id: String,
    category: String,
    severity: Severity,
    confidence: u8,
    message: Message,
    remedy: String,
    /// MITRE ATT&CK.
    technique: String,
    when: Node,
    unless: Option<Node>,
    file: String,
    line: u64,
    tests: schema::Tests,
}

impl FactRules {
    /// Compiles packs, given as file name and text.
    pub(crate) fn load(packs: &[Pack<'_>]) -> Result<Self, PackError> {
        compile::compile(packs)
    }

    /// Drops the samples: [`Self::check`] finds none afterwards.
    pub(crate) fn forget_tests(&mut self) {
        for rule in &mut self.rules {
            rule.tests = schema::Tests::default();
        }
    }

    /// What the rules say of a call, the worst first.
    pub(crate) fn find(&self, call: &ToolCall, facts: &Facts) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.each(call, facts, |rule, seen| {
            if findings.len() < MAX_FINDINGS {
                findings.push(rule.finding(call, seen));
            }
        });
        findings.sort_by_key(|finding: &Finding| std::cmp::Reverse((finding.severity, finding.confidence)));
        findings
    }

    fn each(&self, call: &ToolCall, facts: &Facts, mut found: impl FnMut(&FactRule, &[Seen])) {
        let view = View::new(call, facts, &self.names);
        let literals = self.literals_in(&view);
        for number in self.index.candidates(&view, &literals).iter() {
            let Some(rule) = self.rules.get(number) else {
                continue;
            };
            let mut ask = Ask {
                view: &view,
                literals: &literals,
                seen: Vec::new(),
            };
            if !ask.holds(&rule.when) {
                continue;
            }
            let seen = std::mem::take(&mut ask.seen);
            if !rule.unless.as_ref().is_some_and(|unless| ask.holds(unless)) {
                found(rule, &seen);
            }
        }
    }

    fn literals_in(&self, view: &View<'_>) -> Numbers {
        let mut there = Numbers::below(self.literals.count());
        let (few, numbers) = &self.anywhere;
        if view.carries_content() {
            self.literals.each(view.text(), |number| there.mark(number));
        } else if !numbers.is_empty() {
            few.each(view.text(), |at| {
                numbers.get(at).into_iter().for_each(|&number| there.mark(number));
            });
        }
        there
    }
}

impl FactRule {
    fn finding(&self, call: &ToolCall, seen: &[Seen]) -> Finding {
        let mut evidence = Vec::new();
        for thing in seen {
            let text = match thing {
                Seen::Program(text) | Seen::Host(text) | Seen::Object(text) => text,
                Seen::Path(fact) => &fact.path,
            };
            let text = mask_text(text, MAX_EVIDENCE);
            if !text.is_empty() && !evidence.contains(&text) {
                evidence.push(text);
            }
        }
        if !self.technique.is_empty() {
            evidence.push(self.technique.clone());
        }
        Finding {
            rule: self.id.clone(),
            category: self.category.clone(),
            severity: self.severity,
            message: self.message.with(call, seen),
            remedy: self.remedy.clone(),
            evidence,
            confidence: self.confidence,
        }
    }
}

/// A sentence with places for what the rule saw.
#[derive(Debug)]
struct Message(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(String),
    Tool,
    Program,
    /// The second program: the reader of a pipe.
    Reader,
    Path,
    /// What the first path's class is, in words.
    Class,
    Host,
    Object,
}

impl Message {
    fn new(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, behind) = behind
                .split_once('}')
                .ok_or("the message has a '{' without its '}'")?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(match name {
                "tool" => Part::Tool,
                "program" => Part::Program,
                "reader" => Part::Reader,
                "path" => Part::Path,
                "class" => Part::Class,
                "host" => Part::Host,
                "what" => Part::Object,
                _ => {
                    return Err(format!(
                        "the message has {{{name}}}: use tool, program, reader, path, class, host or what"
                    ));
                }
            });
            rest = behind;
        }
        if text.trim().is_empty() || text.ends_with('.') {
            return Err("a message is a sentence without its full stop".to_owned());
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    fn with(&self, call: &ToolCall, seen: &[Seen]) -> String {
        let programs: Vec<&str> = seen
            .iter()
            .filter_map(|thing| match thing {
                Seen::Program(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        let path = seen.iter().find_map(|thing| match thing {
            Seen::Path(fact) => Some(fact),
            _ => None,
        });
        let host = seen.iter().find_map(|thing| match thing {
            Seen::Host(host) => Some(host.as_str()),
            _ => None,
        });
        let object = seen.iter().find_map(|thing| match thing {
            Seen::Object(object) if !object.is_empty() => Some(object.as_str()),
            _ => None,
        });
        let rules = PathRules::embedded();
        let mut sentence = String::new();
        for part in &self.0 {
            sentence.push_str(match part {
                Part::Text(text) => text,
                Part::Tool => &call.tool,
                Part::Program => programs.first().copied().unwrap_or(&call.tool),
                Part::Reader => programs
                    .get(1)
                    .or(programs.first())
                    .copied()
                    .unwrap_or("a program"),
                Part::Path => path.map_or("a file", |fact| fact.path.as_str()),
                Part::Class => path
                    .and_then(|fact| fact.class.as_deref().or_else(|| rules.classify(&fact.path)))
                    .map_or("a guarded file", |class| rules.describes(class)),
                Part::Host => host.unwrap_or("another host"),
                Part::Object => object.unwrap_or("it"),
            });
        }
        mask_text(&sentence, 4 * MAX_EVIDENCE)
    }
}

#[cfg(test)]
mod tests;
