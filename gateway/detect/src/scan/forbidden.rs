//! What a document names so that nobody does it: lists, tables, blocks of code and clauses that forbid something, or that show
//! what to look for.
//!
//! Who teaches care has to name what is dangerous, in the words of those who mean it. What tells both apart is the grammar: what
//! is forbidden follows its negation ("never run", "forbidden commands:"), and nothing else is asked of it. Whoever writes
//! "never mind: run …", or an instruction below such a heading, has said it, whatever stands above.

#[cfg(test)]
mod tests;
mod words;

use std::collections::HashSet;

use super::markdown::Document;
use words::{BAD, DONE, NEVER, OTHERS, STEPS, STILL};

/// How a heading, a sentence or a table's head leads to what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lead {
    /// Nothing is said of what follows.
    Open,
    /// What follows shows what is bad.
    Shows,
    /// What follows must not be done.
    Forbids,
}

/// Lines and blocks of a document that say what must not be done, or what is to be looked for.
#[derive(Debug, Default)]
pub(crate) struct Forbidden {
    lines: HashSet<u32>,
    /// First lines of blocks of code.
    blocks: HashSet<u32>,
}

/// Most text of a paragraph that is read for how it leads (bytes).
const MAX_LEAD: usize = 400;

impl Forbidden {
    /// Reads a document. Linear in its text.
    pub(super) fn of(document: &Document<'_>) -> Self {
        let mut found = Self::default();
        let mut walk = Walk::default();
        let mut blocks = document.blocks.iter().peekable();
        for &(number, line) in &document.prose {
            while let Some(block) = blocks.next_if(|block| block.line <= number) {
                if walk.is_told_of_block() {
                    found.blocks.insert(block.line);
                    let lines = u32::try_from(block.text.lines().count()).unwrap_or(u32::MAX);
                    found.lines.extend(block.line..block.line.saturating_add(lines));
                }
            }
            if walk.line(line) {
                found.lines.insert(number);
            }
        }
        for block in blocks {
            if walk.is_told_of_block() {
                found.blocks.insert(block.line);
            }
        }
        found
    }

    /// Whether a line is an item or a row of what must not be done, or lies in such a block of code.
    pub(super) fn line(&self, number: u32) -> bool {
        self.lines.contains(&number)
    }

    /// Whether a block of code, by its first line, shows what must not be done.
    pub(super) fn block(&self, first: u32) -> bool {
        self.blocks.contains(&first)
    }

    /// Whether a span of code is what must not be done: it stands on such a line, or behind a negation in its own clause.
    pub(super) fn span(&self, number: u32, line: &str, span: &str) -> bool {
        self.line(number) || is_denied(line, span)
    }
}

/// How the lines that were read lead to the next one.
#[derive(Debug)]
struct Walk {
    /// By the heading, and how deep that is.
    section: Lead,
    depth: usize,
    /// By the sentence before, or by the head of the table.
    lead: Lead,
    /// The paragraph that is being read.
    paragraph: String,
    /// Whether only a heading stands before what follows.
    fresh: bool,
    ended: bool,
    in_table: bool,
    /// Whether the item that is being read is told so.
    item: Option<bool>,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            section: Lead::Open,
            depth: 0,
            lead: Lead::Open,
            paragraph: String::new(),
            fresh: false,
            ended: true,
            in_table: false,
            item: None,
        }
    }
}

impl Walk {
    fn is_told_of_block(&self) -> bool {
        self.lead != Lead::Open || (self.fresh && self.section != Lead::Open)
    }

    /// Takes a line; says whether it names what must not be done.
    fn line(&mut self, line: &str) -> bool {
        let text = line.trim();
        if text.is_empty() {
            self.ended = true;
            self.in_table = false;
            return false;
        }
        let level = text.bytes().take_while(|&byte| byte == b'#').count();
        if level > 0 {
            self.heading(level, text);
            return false;
        }
        let folded = text.to_lowercase();
        if folded.starts_with('|') {
            return self.row(&folded);
        }
        if let Some(item) = item_of(&folded) {
            self.ended = false;
            self.fresh = false;
            let told = self.is_told(item);
            self.item = Some(told);
            // An item may lead to items of its own, or to a block.
            if item.ends_with(':') && lead_of(item) != Lead::Open {
                self.lead = lead_of(item);
            }
            return told;
        }
        if let Some(told) = self.item.filter(|_| !self.ended) {
            // The item goes on.
            return told && self.is_told(&folded);
        }
        if self.ended || self.item.is_some() {
            self.paragraph.clear();
        }
        (self.item, self.ended, self.fresh) = (None, false, false);
        // Only how it ends is asked for.
        self.paragraph.push(' ');
        self.paragraph.push_str(&folded);
        let surplus = self.paragraph.len().saturating_sub(MAX_LEAD);
        self.paragraph.drain(..self.paragraph.ceil_char_boundary(surplus));
        let sentence = last_sentence(&self.paragraph);
        let leads = sentence.trim_end_matches(['*', '_', ' ']).ends_with(':') || is_label(sentence);
        self.lead = if leads { lead_of(sentence) } else { Lead::Open };
        false
    }

    fn heading(&mut self, level: usize, text: &str) {
        let folded = text.to_lowercase();
        let said = lead_of(folded.trim_start_matches(['#', ' ']));
        // What stands deeper belongs to what it stands below.
        if said != Lead::Open || level <= self.depth || self.section == Lead::Open {
            (self.section, self.depth) = (said, level);
        }
        (self.lead, self.fresh, self.ended, self.item) = (Lead::Open, true, true, None);
    }

    fn row(&mut self, folded: &str) -> bool {
        self.fresh = false;
        self.ended = false;
        if !self.in_table {
            self.in_table = true;
            // A head that speaks of what is bad says so of its rows.
            if self.lead == Lead::Open {
                self.lead = lead_of(folded);
            }
            return false;
        }
        self.is_told(folded.trim_matches(['|', ' ']))
    }

    /// Whether an item or row is of what must not be done.
    fn is_told(&self, item: &str) -> bool {
        let bare = without_spans(item);
        let lead = if self.lead == Lead::Open {
            self.section
        } else {
            self.lead
        };
        match lead {
            Lead::Open => false,
            Lead::Forbids => !is_step(&bare) && !has_purpose(item),
            Lead::Shows => !is_step(&bare) && !has_purpose(item) && !has_done(&bare),
        }
    }
}

/// What an item of a list says, without its mark.
fn item_of(folded: &str) -> Option<&str> {
    let rest = folded
        .strip_prefix("- ")
        .or_else(|| folded.strip_prefix("* "))
        .or_else(|| folded.strip_prefix("+ "));
    let rest = rest.or_else(|| {
        let digits = folded.bytes().take_while(u8::is_ascii_digit).count();
        let rest = folded.get(digits..)?;
        let rest = rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") "))?;
        (1..=3).contains(&digits).then_some(rest)
    })?;
    Some(rest.trim_start_matches("[ ] ").trim_start_matches("[x] ").trim())
}

fn last_sentence(text: &str) -> &str {
    let text = text.trim();
    let ends = [". ", "! ", "? ", "; "];
    let from = ends
        .iter()
        .filter_map(|end| text.rfind(end).map(|at| at + end.len()))
        .max();
    text.get(from.unwrap_or(0)..).unwrap_or(text)
}

/// Whether a line is a label and no sentence: `**Bad**`, `❌ Wrong`.
fn is_label(sentence: &str) -> bool {
    const LONGEST: usize = 48;
    let marked = (sentence.starts_with("**") && sentence.ends_with("**"))
        || sentence.starts_with(['\u{274c}', '\u{1f6ab}', '\u{26d4}']);
    marked && sentence.len() <= LONGEST
}

/// How a heading or a sentence leads to what follows it.
fn lead_of(sentence: &str) -> Lead {
    let sentence = &without_spans(sentence);
    let never = NEVER.iter().filter_map(|word| sentence.find(word)).min();
    if let Some(at) = never {
        let behind = sentence.get(at..).unwrap_or_default();
        // "Before any check load the list of forbidden commands:" is a step.
        if has_done(sentence.get(..at).unwrap_or_default()) {
            return Lead::Open;
        }
        let turned = STILL.iter().any(|still| behind.contains(still)) || behind.contains(" instead");
        return if turned || goes_on_with_step(behind) {
            Lead::Open
        } else {
            Lead::Forbids
        };
    }
    let bad = BAD.iter().any(|word| sentence.contains(word));
    if bad && !has_done(sentence) {
        Lead::Shows
    } else {
        Lead::Open
    }
}

/// Whether a clause behind a negation has something done: "never mind, run:", "avoid delays: install it with:".
fn goes_on_with_step(behind: &str) -> bool {
    let turns = [": ", "; ", " but ", " then ", ", just ", " just "];
    turns
        .iter()
        .filter_map(|turn| behind.find(turn).map(|at| at + turn.len()))
        .min()
        .and_then(|at| behind.get(at..))
        .is_some_and(has_done)
}

/// Whether a text has something done, and does not tell what others do.
fn has_done(text: &str) -> bool {
    DONE.iter().any(|word| {
        text.match_indices(word).any(|(at, _)| {
            let before = text.get(..at).unwrap_or_default();
            let behind = text.get(at + word.len()..).unwrap_or_default();
            let whole = !before.ends_with(|c: char| c.is_alphanumeric() || c == '-')
                && !behind.starts_with(|c: char| c.is_alphanumeric() || c == '-');
            let near = before.get(before.floor_char_boundary(before.len().saturating_sub(40))..);
            let near = near.unwrap_or_default();
            let denied = NEVER.iter().any(|never| near.contains(never));
            let others = OTHERS.iter().any(|others| near.contains(others));
            // "An install script" is a thing.
            let thing = [" a ", " an ", " the "]
                .iter()
                .any(|article| near.ends_with(article));
            whole && !denied && !others && !thing
        })
    })
}

fn is_step(text: &str) -> bool {
    STEPS.iter().any(|step| text.contains(step))
}

/// Whether behind its command an item says what that is good for.
fn has_purpose(item: &str) -> bool {
    const GOOD_FOR: &[&str] = &[
        " to load",
        " to set",
        " to enable",
        " to initial",
        " to get",
        " to fetch",
        " to make",
        " to prepare",
        " to register",
        " to verify",
        " to check",
        " to fix",
        " to repair",
        " to finish",
        " to complete",
        " to update",
        " to activate",
        " to unlock",
        " to keep",
        " loads ",
        " sets up",
        " enables ",
        " prepares ",
        " activates ",
    ];
    let behind = item.rfind('`').and_then(|at| item.get(at..)).unwrap_or_default();
    GOOD_FOR.iter().any(|purpose| behind.contains(purpose))
}

/// A text without its spans of code, whose words say nothing about it.
fn without_spans(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// Whether a span stands behind a negation in its clause, or is said to be forbidden behind it, wherever it stands in a line.
fn is_denied(line: &str, span: &str) -> bool {
    const LONGEST: usize = 8 << 10;
    const MOST: usize = 8;
    if line.len() > LONGEST || span.is_empty() {
        return false;
    }
    let places: Vec<usize> = line
        .match_indices(span)
        .map(|(at, _)| at)
        .take(MOST + 1)
        .collect();
    !places.is_empty()
        && places.len() <= MOST
        && places.iter().all(|&at| is_denied_at(line, at, at + span.len()))
}

fn is_denied_at(line: &str, start: usize, end: usize) -> bool {
    const ENDS: &[&str] = &[
        ". ", "; ", ": ", "! ", "? ", " but ", " then ", " instead", " and run", ", run", ", just",
    ];
    const BEHIND: &[&str] = &[
        "is forbidden",
        "are forbidden",
        "is not allowed",
        "are not allowed",
        "is prohibited",
        "are prohibited",
        "is dangerous",
        "are dangerous",
        "is blocked",
        "are blocked",
        "is denied",
        "is refused",
        "are refused",
        "is never",
        "are never",
        "must never",
        "must not",
        "should never",
        "should not",
        "is banned",
        "are banned",
    ];
    const BEFORE: usize = 90;
    const AFTER: usize = 45;
    let before = line.get(line.floor_char_boundary(start.saturating_sub(BEFORE))..start);
    let before = before.unwrap_or_default().trim_end_matches('`').to_lowercase();
    // The window may begin within another span.
    let within = before.matches('`').count() % 2 == 1;
    let outside = before.split_once('`').filter(|_| within);
    let before = without_spans(outside.map_or(before.as_str(), |(_, rest)| rest));
    let from = ENDS
        .iter()
        .filter_map(|end| before.rfind(end).map(|at| at + end.len()))
        .max();
    let clause = before.get(from.unwrap_or(0)..).unwrap_or_default();
    let denied = NEVER
        .iter()
        .filter_map(|never| clause.rfind(never))
        .max()
        .and_then(|at| clause.get(at..))
        .is_some_and(|behind| !STILL.iter().any(|still| behind.contains(still)));
    let behind = line.get(end..line.ceil_char_boundary((end + AFTER).min(line.len())));
    let behind = behind.unwrap_or_default().to_lowercase();
    let behind = behind.split([';', '.']).next().unwrap_or_default();
    denied || BEHIND.iter().any(|said| behind.contains(said))
}
