//! What the names of a text stand for, and whether a second pass over the text would know more than the first.

use std::borrow::Cow;
use std::cell::Cell;

/// Most names that are followed.
const MAX_NAMES: usize = 64;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Meaning<'t> {
    Text(Cow<'t, str>),
    /// Another name: of a module, or a function.
    Name(String),
    /// The first text of a list.
    List(Cow<'t, str>),
}

/// Names and their meanings. They are few, and most words of a text are none of them: one bit tells nearly always.
#[derive(Debug, Default)]
pub(super) struct Names<'t> {
    known: Vec<(&'t str, Meaning<'t>)>,
    /// A bit for each name that was ever known.
    seen: Bits,
    /// A bit for each word that was asked for and not known.
    missed: Cell<Bits>,
    /// How often a name was set.
    set: usize,
}

/// A set of words that may claim too many.
#[derive(Debug, Clone, Copy, Default)]
struct Bits([u64; 4]);

impl Bits {
    fn place(word: &str) -> (usize, u32) {
        let bytes = word.as_bytes();
        let byte = |at: usize| u32::from(bytes.get(at).copied().unwrap_or(0));
        let last = bytes.len().wrapping_sub(1);
        let mixed = (byte(0) | byte(bytes.len() / 2) << 8 | byte(last) << 16 | (bytes.len() as u32) << 24)
            .wrapping_mul(0x9E37_79B9);
        ((mixed >> 30) as usize, mixed >> 24 & 63)
    }

    fn add(&mut self, word: &str) {
        let (at, bit) = Self::place(word);
        self.0[at] |= 1 << bit;
    }

    fn may_have(&self, word: &str) -> bool {
        let (at, bit) = Self::place(word);
        self.0[at] >> bit & 1 == 1
    }
}

impl<'t> Names<'t> {
    pub(super) fn get(&self, word: &str) -> Option<&Meaning<'t>> {
        let found = match self.seen.may_have(word) {
            true => self.known.iter().find(|(name, _)| *name == word),
            false => None,
        };
        if found.is_none() {
            let mut missed = self.missed.get();
            missed.add(word);
            self.missed.set(missed);
        }
        found.map(|(_, meaning)| meaning)
    }

    pub(super) fn set(&mut self, name: &'t str, meaning: Meaning<'t>) {
        self.set += 1;
        self.seen.add(name);
        match self.known.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = meaning,
            None => self.known.push((name, meaning)),
        }
    }

    pub(super) fn forget(&mut self, name: &str) {
        if self.seen.may_have(name) {
            self.known.retain(|(known, _)| *known != name);
        }
    }

    /// Whether no further name is followed.
    pub(super) fn is_full(&self) -> bool {
        self.known.len() >= MAX_NAMES
    }

    /// Whether whoever knows these names from the beginning may read the text otherwise: some of them were asked for before
    /// they were known, or there were so many that some were left out.
    pub(super) fn came_late(&self) -> bool {
        let missed = self.missed.get();
        self.set >= MAX_NAMES || self.known.iter().any(|(name, _)| missed.may_have(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_late_where_they_were_asked_for_before() {
        let text = |text: &'static str| Meaning::Text(text.into());
        let mut names = Names::default();
        assert!(!names.came_late());
        names.set("path", text("/a"));
        assert_eq!(names.get("path"), Some(&text("/a")));
        names.set("path", text("/b"));
        assert_eq!(names.get("path"), Some(&text("/b")));
        assert!(!names.came_late());
        assert_eq!(names.get("home"), None);
        names.set("home", text("~"));
        assert!(names.came_late());
        names.forget("home");
        assert_eq!(names.get("home"), None);
        assert!(!names.came_late());
    }

    #[test]
    fn a_second_reading_follows_where_names_were_too_many() {
        let many: Vec<String> = (0..MAX_NAMES).map(|at| format!("name{at}")).collect();
        let mut names = Names::default();
        for name in &many {
            assert!(!names.is_full());
            names.set(name, Meaning::Name("x".to_owned()));
        }
        assert!(names.is_full() && names.came_late());
    }
}
