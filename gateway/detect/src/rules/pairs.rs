//! Which pairs of neighbouring bytes a text has, as a small set that may claim too many: what a text lacks here it cannot
//! hold. By this nearly all conditions on a program's words are answered without looking at the words.

use defenseclaw_model::facts::Program;
use regex_syntax::hir::{Hir, HirKind};

use super::node::{Flag, MAX_CLUSTER};
use super::pattern::{Literal, Pattern};

const WORDS: usize = 4;
/// Stands before an option's letter; no text has it as a byte (UTF-8 has no 0xFF).
const OPTION: u8 = 0xFF;

/// A set of pairs of bytes, without regard to ASCII case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pairs([u64; WORDS]);

impl Pairs {
    /// Of a text of which nothing is known.
    pub(super) const ALL: Self = Self([u64::MAX; WORDS]);

    /// Of the words of a program as one line. What is not ASCII may become ASCII in lower case, so that it has all pairs.
    pub(super) fn of_program(program: &Program) -> Self {
        let mut pairs = Self::default();
        let mut before = None;
        for word in &program.argv {
            if !word.is_ascii() {
                return Self::ALL;
            }
            pairs.add_text(before, word.as_bytes());
            pairs.add_options(word);
            before = Some(b' ');
            if let Some(last) = word.bytes().last() {
                pairs.add(last, b' ');
            }
        }
        pairs
    }

    /// Whether a text that has `text`'s pairs may be in one that has these.
    pub(super) fn may_hold(&self, text: &Self) -> bool {
        self.0
            .iter()
            .zip(text.0)
            .all(|(own, wanted)| own & wanted == wanted)
    }

    pub(super) fn of_text(text: &[u8]) -> Self {
        let mut pairs = Self::default();
        pairs.add_text(None, text);
        pairs
    }

    pub(super) fn of_pattern(pattern: &Pattern) -> Self {
        match pattern {
            Pattern::Exact(text) | Pattern::Prefix(text) | Pattern::Suffix(text) => {
                Self::of_text(text.as_bytes())
            }
            Pattern::Inside(literal) => Self::of_literal(literal),
            Pattern::Any => Self::default(),
            // What is no plain letter stands for others.
            Pattern::Wild(text) => text
                .split(|c: char| matches!(c, '*' | '?') || c.is_control())
                .map(|part| Self::of_text(part.as_bytes()))
                .fold(Self::default(), Self::with),
        }
    }

    fn of_literal(literal: &Literal) -> Self {
        Self::of_text(literal.bytes())
    }

    /// Of what every text that fits the expression has.
    fn of_expression(hir: &Hir) -> Self {
        match hir.kind() {
            HirKind::Literal(literal) => Self::of_text(&literal.0),
            HirKind::Capture(capture) => Self::of_expression(&capture.sub),
            HirKind::Repetition(repetition) if repetition.min > 0 => Self::of_expression(&repetition.sub),
            HirKind::Concat(parts) => parts
                .iter()
                .map(Self::of_expression)
                .fold(Self::default(), Self::with),
            HirKind::Alternation(parts) => parts
                .iter()
                .map(Self::of_expression)
                .reduce(Self::shared)
                .unwrap_or_default(),
            HirKind::Empty | HirKind::Look(_) | HirKind::Class(_) | HirKind::Repetition(_) => Self::default(),
        }
    }

    fn of_flag(flag: &Flag) -> Self {
        match flag {
            Flag::Letter(letter) if letter.is_ascii() => {
                let mut pairs = Self::default();
                pairs.add_option(u8::try_from(*letter).unwrap_or(0));
                pairs
            }
            Flag::Letter(_) => Self::default(),
            Flag::Word(text) => Self::of_text(text.as_bytes()),
        }
    }

    fn with(mut self, other: Self) -> Self {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(own, other)| *own |= other);
        self
    }

    fn shared(mut self, other: Self) -> Self {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(own, other)| *own &= other);
        self
    }

    fn add_text(&mut self, before: Option<u8>, text: &[u8]) {
        let mut last = before;
        for &byte in text {
            if let Some(last) = last {
                self.add(last, byte);
            }
            last = Some(byte);
        }
    }

    /// The letters that [`Flag::fits`] finds in a word.
    fn add_options(&mut self, word: &str) {
        let Some(letters) = word.strip_prefix('-') else {
            return;
        };
        let most = if letters.len() <= MAX_CLUSTER {
            MAX_CLUSTER
        } else {
            1
        };
        letters
            .bytes()
            .take(most)
            .for_each(|letter| self.add_option(letter));
    }

    fn add(&mut self, first: u8, second: u8) {
        self.set(first.to_ascii_lowercase(), second.to_ascii_lowercase());
    }

    fn add_option(&mut self, letter: u8) {
        self.set(OPTION, letter);
    }

    fn set(&mut self, first: u8, second: u8) {
        let at = usize::from(first.wrapping_mul(167) ^ second.wrapping_mul(59));
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }
}

/// Of each group of conditions one must hold: the pairs that each asks for. A group with one that asks for none is left out.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// What all conditions of some group ask for: most programs lack some of it, so that the groups are not looked at.
    always: Pairs,
    /// The groups of more than one condition.
    groups: Vec<Box<[Pairs]>>,
}

impl Wanted {
    pub(super) fn patterns(&mut self, group: &[Pattern]) {
        self.group(group.iter().map(Pairs::of_pattern));
    }

    pub(super) fn literals(&mut self, group: &[Literal]) {
        self.group(group.iter().map(Pairs::of_literal));
    }

    pub(super) fn flags(&mut self, group: &[Flag]) {
        self.group(group.iter().map(Pairs::of_flag));
    }

    /// Sequences of words.
    pub(super) fn sequences(&mut self, group: &[Vec<Box<str>>]) {
        let pairs = |words: &Vec<Box<str>>| {
            words
                .iter()
                .map(|word| Pairs::of_text(word.as_bytes()))
                .fold(Pairs::default(), Pairs::with)
        };
        self.group(group.iter().map(pairs));
    }

    /// A regular expression over the whole line, read with regard to case.
    pub(super) fn of_expression(hir: &Hir) -> Self {
        let mut wanted = Self::default();
        wanted.parts(hir);
        wanted
    }

    /// What another asks for, too.
    pub(super) fn add(&mut self, other: &Self) {
        self.always = self.always.with(other.always);
        self.groups.extend_from_slice(&other.groups);
    }

    fn parts(&mut self, hir: &Hir) {
        match hir.kind() {
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.parts(part)),
            HirKind::Capture(capture) => self.parts(&capture.sub),
            HirKind::Alternation(parts) => self.group(parts.iter().map(Pairs::of_expression)),
            _ => self.group([Pairs::of_expression(hir)].into_iter()),
        }
    }

    fn group(&mut self, group: impl Iterator<Item = Pairs>) {
        let group: Box<[Pairs]> = group.collect();
        if group.is_empty() || group.contains(&Pairs::default()) {
            return;
        }
        let shared = group.iter().copied().reduce(Pairs::shared).unwrap_or_default();
        self.always = self.always.with(shared);
        if group.len() > 1 {
            self.groups.push(group);
        }
    }

    /// Whether a program with these pairs may fit.
    pub(super) fn may_be_in(&self, program: &Pairs) -> bool {
        program.may_hold(&self.always) && self.rest_may_be_in(program)
    }

    /// What every text has in which this may be.
    pub(super) fn always(&self) -> Pairs {
        self.always
    }

    /// [`Wanted::may_be_in`], where [`Wanted::always`] has been asked before.
    pub(super) fn rest_may_be_in(&self, program: &Pairs) -> bool {
        self.groups
            .iter()
            .all(|group| group.iter().any(|wanted| program.may_hold(wanted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(words: &[&str]) -> Pairs {
        Pairs::of_program(&Program {
            name: words[0].to_owned(),
            argv: words.iter().map(|&word| word.to_owned()).collect(),
        })
    }

    #[test]
    fn what_a_line_holds_may_be_in_it() {
        let line = program(&["Git", "push", "--Force", "-xvF", "-long-Options"]);
        for text in ["git push", "PUSH --force", "rce -xvf", "sh", "g"] {
            assert!(line.may_hold(&Pairs::of_text(text.as_bytes())), "{text}");
        }
        for pattern in ["*push*", "pu*h", "--*e", "*", "?ush", "[*]"] {
            let pattern = Pattern::new(pattern).unwrap();
            assert!(line.may_hold(&Pairs::of_pattern(&pattern)), "{pattern:?}");
        }
        for flag in ["-x", "-v", "-F", "-l", "--Force"] {
            assert!(line.may_hold(&Pairs::of_flag(&Flag::new(flag))), "{flag}");
        }
    }

    #[test]
    fn what_it_lacks_is_mostly_told() {
        let line = program(&["git", "status", "-sb"]);
        for text in ["push", "reset", "--force"] {
            assert!(!line.may_hold(&Pairs::of_text(text.as_bytes())), "{text}");
        }
        for flag in ["-f", "-S", "--hard"] {
            assert!(!line.may_hold(&Pairs::of_flag(&Flag::new(flag))), "{flag}");
        }
    }

    #[test]
    fn a_line_that_is_not_ascii_may_hold_anything() {
        assert!(program(&["git", "\u{212A}"]).may_hold(&Pairs::of_text(b"anything at all")));
    }
}
