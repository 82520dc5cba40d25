//! What prose asks of whoever obeys it, whatever the wording: who is told to do what, to which object, towards whom, and
//! with which stance. Words of one meaning, in several languages, are a class; classes that stand in one sentence, or in
//! neighbouring ones, make a frame; the weights of the frames of a passage are added. A block of code counts as one
//! sentence of the paragraphs beside it, and says only what the pack asks of code.
//!
//! | Module | Holds |
//! |---|---|
//! | `pack` | the form of the words and frames (`policies/rules/frame.yaml`, `policies/rules/technique.yaml`) |
//! | `load` | packs compiled, and everything that can be wrong with them |
//! | `read` | sentences, the words in them, and which of those are turned round ("never send") |
//! | `bits` | sets of classes |
//! | `addresses` | addresses in a sentence: what they carry, and whether something goes there |
//! | `hosts` | whether their hosts are well known or the artifact's own subject |
//!
//! Work is linear in the text: sentences are bounded, and each is looked at once.

mod addresses;
mod bits;
mod hosts;
mod load;
pub(super) mod pack;
mod read;
#[cfg(test)]
mod tests;

use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::ScanFinding;

use super::forbidden::Forbidden;
use super::lines::Lines;
use super::rules::Shown;
use crate::mask::mask_text;
use pack::{Frame, Term};
use read::{Reader, Sentence};

pub(super) use hosts::KNOWN as KNOWN_HOSTS;

/// Sums of weights from which on a passage has a severity, and how sure that is.
const LEVELS: [(f32, Severity, u8); 4] = [
    (10.0, Severity::Critical, 85),
    (6.0, Severity::High, 75),
    (4.0, Severity::Medium, 65),
    (2.0, Severity::Low, 50),
];

/// What is added where the reader does not see the text: nobody hides what is meant for people.
const HIDDEN: f32 = 3.0;

/// Weight that what is hidden must have by itself.
const LEAST_HIDDEN: f32 = 2.0;

/// What is left of the weight where attacks are the artifact's subject, in a text about attacks, in tables and texts for
/// people, and of a frame that is there only with what is quoted.
const SUBJECT: f32 = 0.3;
const DISCUSSED: f32 = 0.6;
const ASIDE: f32 = 0.6;
const QUOTED: f32 = 0.5;

/// Most sentences that are weighed together: what an instruction needs, with its reason and its excuse, stands in about four.
const PASSAGE: usize = 4;

/// Most findings of one text.
const MAX_FINDINGS: usize = 12;

/// Longest excerpt in the evidence (bytes).
const EXCERPT: usize = 160;

/// The words and frames of all packs.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    reader: Reader,
    frames: Vec<Frame>,
}

/// What is known of a text besides its words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting<'t> {
    pub(crate) shown: Shown,
    /// What the artifact says that it is for, folded.
    pub(crate) topic: &'t str,
    /// Whether the file is for people who install and change it.
    pub(crate) for_people: bool,
    /// Whether that is attacks.
    pub(crate) about_attacks: bool,
    /// Whether the text describes a tool to a model: it has nothing to tell the model but that.
    pub(crate) description: bool,
    /// What the document names so that nobody does it.
    pub(crate) forbidden: Option<&'t Forbidden>,
}

/// What a passage amounts to.
#[derive(Debug, Clone)]
struct Weighed {
    total: f32,
    /// The frames that stand in it, the weightiest first.
    frames: Vec<usize>,
    /// The first and last sentence with anything in it.
    sentences: (usize, usize),
}

/// Whether an address is of a well-known service, of this machine, or of what the artifact says that it is about.
pub(super) fn is_known(address: &str, topic: &str) -> bool {
    // Where anybody rents a name, its owner is nobody that is known.
    const RENTED: &[&str] = &[
        "amazonaws.com",
        "blob.core.windows.net",
        "storage.googleapis.com",
        "gist.github",
        "hooks.slack.com",
        "discord.com",
        "telegram.org",
        "vercel.app",
        "netlify.app",
        "githubusercontent.com",
    ];
    matches!(
        hosts::of_word(address, topic),
        Some(hosts::Host::Known | hosts::Host::Here)
    ) && !RENTED.iter().any(|rented| address.contains(rented))
}

impl Frames {
    /// What is to be said of a prose text of `file`. `about_attacks` are lines that speak of attacks.
    pub(crate) fn find(
        &self,
        lines: &Lines,
        file: &str,
        setting: Setting<'_>,
        about_attacks: impl FnOnce() -> std::collections::HashSet<u32>,
    ) -> Vec<ScanFinding> {
        let sentences = self.reader.read(lines, setting.topic);
        if sentences.is_empty() || self.frames.is_empty() {
            return Vec::new();
        }
        let passages = self.passages(&sentences);
        if passages.is_empty() {
            return Vec::new();
        }
        let discussed = about_attacks();
        let mut findings = Vec::new();
        for weighed in passages {
            let (Some(first), Some(last)) = (
                sentences.get(weighed.sentences.0),
                sentences.get(weighed.sentences.1),
            ) else {
                continue;
            };
            let mut total = weighed.total;
            if setting.shown == Shown::Hidden {
                if total < LEAST_HIDDEN {
                    continue;
                }
                total += HIDDEN;
            } else {
                if setting.about_attacks {
                    total *= SUBJECT;
                } else if discussed.contains(&first.line) {
                    total *= DISCUSSED;
                }
                if first.table || setting.for_people {
                    total *= ASIDE;
                }
                // Only where all of it is: what stands behind such a list may be an instruction.
                let named = |line: u32| setting.forbidden.is_some_and(|forbidden| forbidden.line(line));
                if named(first.line) && named(last.line) {
                    total *= SUBJECT;
                }
                if setting.description && total >= 3.0 {
                    total += 1.0;
                }
            }
            let Some((_, severity, sure)) = LEVELS.into_iter().find(|(least, ..)| total >= *least) else {
                continue;
            };
            findings.extend(self.finding(&weighed, severity, sure, (file, lines, first, last, setting)));
            if findings.len() == MAX_FINDINGS {
                break;
            }
        }
        findings
    }

    fn finding(
        &self,
        weighed: &Weighed,
        severity: Severity,
        confidence: u8,
        (file, lines, first, last, setting): (&str, &Lines, &Sentence, &Sentence, Setting<'_>),
    ) -> Option<ScanFinding> {
        let mut named = weighed.frames.iter().filter_map(|&frame| self.frames.get(frame));
        let heaviest = named.next()?;
        let mut message = heaviest.message.clone();
        for further in named.filter(|further| further.weight > 0.0).take(2) {
            let mut said = further.message.chars();
            let lower = said.next().map(|c| c.to_ascii_lowercase());
            message.push_str("; ");
            message.extend(lower);
            message.push_str(said.as_str());
        }
        if setting.shown == Shown::Hidden {
            message.push_str(", in a place that its reader does not see");
        }
        Some(ScanFinding {
            rule: heaviest.id.clone(),
            category: heaviest.category.clone(),
            severity,
            confidence,
            file: file.to_owned(),
            line: first.line,
            message,
            evidence: mask_text(lines.excerpt(first.start, last.end), EXCERPT),
            remedy: heaviest.remedy.clone(),
        })
    }

    /// The passages that have a weight: each as short as holds its frames, none inside another.
    fn passages(&self, sentences: &[Sentence]) -> Vec<Weighed> {
        let mut found: Vec<Weighed> = Vec::new();
        let mut at = 0;
        while let Some(first) = sentences.get(at) {
            if first.words.is_empty() {
                at += 1;
                continue;
            }
            let together = sentences
                .iter()
                .skip(at)
                .take(PASSAGE)
                .take_while(|one| one.paragraph == first.paragraph);
            let window: Vec<&Sentence> = together.collect();
            let mut weighed = self.weigh(&window);
            // What stands from the next sentence on is told there, where it is as heavy.
            let later = self.weigh(window.get(1..).unwrap_or_default());
            if weighed.total >= 1.0 && weighed.total > later.total {
                let last = self.last_needed(&window, weighed.total);
                weighed.sentences = (at, at + last);
                found.push(weighed);
                at += last + 1;
            } else {
                at += 1;
            }
        }
        found
    }

    /// The last sentence that a window's weight needs.
    fn last_needed(&self, window: &[&Sentence], total: f32) -> usize {
        (0..window.len())
            .find(|&last| self.weigh(window.get(..=last).unwrap_or_default()).total >= total)
            .unwrap_or(0)
    }

    /// Adds up the frames that stand in sentences.
    fn weigh(&self, window: &[&Sentence]) -> Weighed {
        let mut weighed = Weighed {
            total: 0.0,
            frames: Vec::new(),
            sentences: (0, 0),
        };
        let together = |some: &[&Sentence], of: fn(&Sentence) -> read::Words| {
            some.iter()
                .fold(read::Words::default(), |words, one| words.with(of(one)))
        };
        let all = together(window, |one| one.words);
        let mut stands: Vec<(usize, f32)> = Vec::new();
        for (number, frame) in self.frames.iter().enumerate() {
            // What stands nowhere in the passage stands in no part of it.
            if !frame.all.iter().all(|term| term.holds(all)) {
                continue;
            }
            let span = frame.reach.sentences().min(window.len()).max(1);
            let there = window.windows(span).find(|some| {
                let words = together(some, |one| one.words);
                frame.all.iter().all(|term| term.holds(words))
                    && !frame.not.iter().any(|term| term.holds(words))
            });
            let Some(some) = there else { continue };
            let unquoted = together(some, |one| one.unquoted);
            let planted = together(some, |one| one.words).plain;
            let said = frame.all.iter().all(|term| term.holds(unquoted))
                || self.reader.plants.is_some_and(|plants| planted.has(plants));
            stands.push((number, if said { frame.weight } else { frame.weight * QUOTED }));
        }
        // Of frames that say the same only the weightiest counts.
        stands.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut kinds: Vec<&str> = Vec::new();
        for (number, weight) in stands {
            let Some(frame) = self.frames.get(number) else {
                continue;
            };
            if !kinds.contains(&frame.kind.as_str()) {
                kinds.push(&frame.kind);
                weighed.frames.push(number);
                weighed.total += weight;
            }
        }
        weighed
    }

    /// How many frames there are, how many of their tests ran, and which failed.
    pub(crate) fn check(&self) -> (usize, usize, Vec<String>) {
        let (mut tests, mut failures) = (0, Vec::new());
        for (number, frame) in self.frames.iter().enumerate() {
            let cases = frame.tests.positive.iter().map(|text| (text, true));
            for (text, wanted) in cases.chain(frame.tests.negative.iter().map(|text| (text, false))) {
                tests += 1;
                let document = super::markdown::read(text);
                let lines = Lines::parts(document.parts());
                let sentences = self.reader.read(&lines, "");
                let sentences: Vec<&Sentence> = sentences.iter().collect();
                let stands = (0..sentences.len()).any(|at| {
                    let window = sentences.get(at..(at + PASSAGE).min(sentences.len()));
                    let found = self.weigh(window.unwrap_or_default());
                    // A frame stands, or a heavier one that says the same.
                    found.frames.iter().any(|&other| {
                        other == number
                            || self
                                .frames
                                .get(other)
                                .is_some_and(|other| other.kind == frame.kind)
                    })
                });
                if stands != wanted {
                    let what = if wanted {
                        "not found in its positive"
                    } else {
                        "found in its negative"
                    };
                    failures.push(format!("{}: {what} test {text:?}", frame.id));
                }
            }
        }
        (self.frames.len(), tests, failures)
    }
}

impl Term {
    /// Whether one of its words stands among `words` in the sense that it asks for.
    fn holds(&self, words: read::Words) -> bool {
        words.plain.meets(&self.plain) || words.turned.meets(&self.turned)
    }
}
