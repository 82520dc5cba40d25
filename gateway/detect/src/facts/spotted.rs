//! Source text of other languages, with which of the words that matter stand in it.
//!
//! Such a text is asked for hundreds of words, of which it has a handful at most. They are searched for together in one pass;
//! what asks for them afterwards asks for a bit.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::groups::Group;
use crate::literals::{Case, Literals};

/// A text, passed over once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spotted<'t> {
    pub(super) text: &'t str,
    /// One bit for each group of which a word stands in the text.
    groups: u64,
}

/// The words of all groups, and the groups of each.
struct Words {
    literals: Literals<&'static str>,
    groups: Box<[u64]>,
}

static WORDS: LazyLock<Words> = LazyLock::new(|| {
    let (mut words, mut groups): (Vec<&str>, Vec<u64>) = (Vec::new(), Vec::new());
    let mut known: HashMap<&str, usize> = HashMap::new();
    for (group, word) in Group::all().flat_map(|(group, words)| words.iter().map(move |word| (group, *word)))
    {
        let at = *known.entry(word).or_insert_with(|| {
            words.push(word);
            groups.push(0);
            words.len() - 1
        });
        groups[at] |= bit(group);
    }
    #[expect(
        clippy::expect_used,
        reason = "the words are constants, and a test of this module searches for each"
    )]
    let literals = Literals::new(words, Case::Differs).expect("no word is too short");
    Words {
        literals,
        groups: groups.into_boxed_slice(),
    }
});

const fn bit(group: Group) -> u64 {
    1 << group as u32
}

impl<'t> Spotted<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let words = &*WORDS;
        let mut groups = 0;
        words.literals.each(text, |number| groups |= words.groups[number]);
        Self { text, groups }
    }

    /// Whether a word of `group` stands in the text.
    pub(super) fn has(&self, group: Group) -> bool {
        self.groups & bit(group) != 0
    }

    /// Whether words of all of `groups` stand in the text.
    pub(super) fn has_all(&self, groups: &[Group]) -> bool {
        groups.iter().all(|&group| self.has(group))
    }

    /// The words of `group` where they stand in the text, word by word, of each at most `most` places.
    pub(super) fn uses(
        &self,
        group: Group,
        most: usize,
    ) -> impl Iterator<Item = (usize, &'static str)> + use<'t> {
        let text = self.text;
        let words = if self.has(group) { group.words() } else { &[] };
        words.iter().flat_map(move |word| {
            let places = text.match_indices(word).take(most);
            places.map(|(at, _)| (at, *word))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_found_and_what_has_none_of_a_group_has_none() {
        for (group, words) in Group::all() {
            for word in words {
                for text in [(*word).to_owned(), format!("xé{word}é"), format!("{word}{word}")] {
                    let spotted = Spotted::new(&text);
                    for (other, words) in Group::all() {
                        let there = words.iter().any(|word| text.contains(word));
                        assert_eq!(spotted.has(other), there, "{group:?} {other:?} {text:?}");
                    }
                }
            }
        }
        assert_eq!(Spotted::new("print(1)").groups, 0);
    }
}
