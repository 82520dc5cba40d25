//! Words and calls by what they mean (`policies/learned/concepts.txt`): what is told to a person or an agent, in several
//! languages, and what code does, in several programming languages.

use std::sync::LazyLock;

use memchr::memmem;

use crate::spotter::{MIN_LITERAL, Spotter};
use crate::text::fold::fold;

/// One line for each concept: its name, a colon, and its words with ` | ` between them. `x-` is found in code, inside of words
/// too; of the others a word is found whole, and `*` lets it go on.
pub(crate) const CONCEPTS: &str = include_str!("../../../../policies/learned/concepts.txt");

/// Shortest word (bytes).
const LEAST: usize = 2;

static EMBEDDED: LazyLock<Lexicon> = LazyLock::new(|| Lexicon::read(CONCEPTS));

/// Where a concept stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) concept: usize,
    pub(crate) start: usize,
}

/// All concepts.
#[derive(Debug)]
pub(crate) struct Lexicon {
    /// Says where a word may begin. An automaton of so many words is megabytes, and each of its steps waits for memory.
    spotter: Spotter,
    words: Vec<Word>,
    /// Which words are too short for that.
    short: Vec<usize>,
    concepts: Vec<Concept>,
}

#[derive(Debug)]
struct Word {
    text: Box<[u8]>,
    concept: usize,
    whole: bool,
    goes_on: bool,
}

/// A concept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Concept {
    pub(crate) name: String,
    /// Whether it is about what code does.
    pub(crate) in_code: bool,
    /// Whether it is combined with all others, and not only within a sentence.
    pub(crate) wide: bool,
}

impl Lexicon {
    /// The concepts that this program was built with.
    pub(crate) fn embedded() -> &'static Self {
        &EMBEDDED
    }

    fn read(text: &str) -> Self {
        let (mut words, mut concepts) = (Vec::new(), Vec::new());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, said)) = line.split_once(": ") else {
                continue;
            };
            let in_code = name.starts_with("x-");
            let concept = concepts.len();
            concepts.push(Concept {
                name: name.to_owned(),
                in_code,
                wide: !in_code && !name.starts_with("f-"),
            });
            for word in said.split(" | ") {
                let stem = word.strip_suffix('*').filter(|_| !in_code);
                let (word, goes_on) = (stem.unwrap_or(word).to_lowercase(), stem.is_some());
                let word = if in_code {
                    word
                } else {
                    fold(&word).text.trim().to_owned()
                };
                if word.trim().len() >= LEAST {
                    words.push(Word {
                        text: word.into_bytes().into(),
                        concept,
                        whole: !in_code,
                        goes_on,
                    });
                }
            }
        }
        let numbered = || (0..).zip(&words);
        let spots: Vec<(Vec<u8>, u32, bool)> = numbered()
            .map(|(number, word): (u32, &Word)| (word.text.to_vec(), number, true))
            .collect();
        let short = numbered().filter(|(_, word)| word.text.len() < MIN_LITERAL);
        Self {
            spotter: Spotter::new(&spots),
            short: short.map(|(number, _)| number as usize).collect(),
            words,
            concepts,
        }
    }

    /// A concept by its number.
    pub(crate) fn concept(&self, number: usize) -> Option<&Concept> {
        self.concepts.get(number)
    }

    /// A concept's number.
    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.concepts.iter().position(|concept| concept.name == name)
    }

    /// What stands in a text in lower case, in the order in which it ends there.
    pub(crate) fn find(&self, text: &str, hits: &mut Vec<Hit>) {
        let text = text.as_bytes();
        let mut found: Vec<(usize, usize, usize)> = Vec::new();
        let mut stands = |start: usize, number: usize| {
            let Some(word) = self.words.get(number) else {
                return;
            };
            if let Some(end) = word.ends(text, start) {
                found.push((end, start, number));
            }
        };
        self.spotter.spot(text, |start, number| {
            stands(start, number as usize);
            true
        });
        for &number in &self.short {
            if let Some(word) = self.words.get(number) {
                memmem::find_iter(text, &word.text).for_each(|start| stands(start, number));
            }
        }
        found.sort_unstable();
        hits.extend(found.into_iter().filter_map(|(_, start, number)| {
            let concept = self.words.get(number)?.concept;
            Some(Hit { concept, start })
        }));
    }
}

impl Word {
    /// Where it ends, if it stands at `start` as it should.
    fn ends(&self, text: &[u8], start: usize) -> Option<usize> {
        let end = start + self.text.len();
        if text.get(start..end)? != &*self.text {
            return None;
        }
        let wordy = |at: usize| text.get(at).is_some_and(u8::is_ascii_alphanumeric);
        let inside = self.whole && wordy(start) && start.checked_sub(1).is_some_and(wordy);
        let goes_on = self.whole && !self.goes_on && wordy(end - 1) && wordy(end);
        (!inside && !goes_on).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(text: &str) -> Vec<&str> {
        let lexicon = Lexicon::embedded();
        let mut hits = Vec::new();
        lexicon.find(text, &mut hits);
        hits.iter()
            .filter_map(|hit| lexicon.concept(hit.concept))
            .map(|concept| concept.name.as_str())
            .collect()
    }

    #[test]
    fn words_are_found_whole_and_calls_anywhere() {
        assert!(names("do not mention it").contains(&"conceal"));
        assert!(names("sends it").contains(&"send") && !names("godsend").contains(&"send"));
        assert!(names("x=os.environ[k]").contains(&"x-env"));
        assert!(names("不要告诉用户").contains(&"conceal"));
    }

    #[test]
    fn every_line_is_a_concept_of_its_own() {
        let lines = CONCEPTS.lines().filter(|line| !line.starts_with('#'));
        let mut names: Vec<&str> = lines.map(|line| line.split_once(": ").unwrap().0).collect();
        let all = names.len();
        assert_eq!(all, Lexicon::embedded().concepts.len());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    /// The same, told by looking for each word everywhere.
    fn plainly(lexicon: &Lexicon, text: &str) -> Vec<Hit> {
        let mut found = Vec::new();
        for (number, word) in lexicon.words.iter().enumerate() {
            for start in 0..text.len() {
                let before = text.as_bytes()[..start].last();
                let behind = text.as_bytes().get(start + word.text.len());
                let wordy = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
                let begins = !(wordy(before) && wordy(word.text.first()));
                let ends = word.goes_on || !(wordy(word.text.last()) && wordy(behind));
                if text.as_bytes()[start..].starts_with(&word.text) && (!word.whole || (begins && ends)) {
                    found.push((start + word.text.len(), start, number));
                }
            }
        }
        found.sort_unstable();
        let hits = found.into_iter().map(|(_, start, number)| Hit {
            concept: lexicon.words[number].concept,
            start,
        });
        hits.collect()
    }

    proptest! {
        #[test]
        fn every_word_is_found_where_it_stands(text in "(send|sends|tell|without |\\\\x|\\\\x4|cp |os\\.environ|告诉|[a-e_ .]{1,3}){0,12}") {
            static FEW: LazyLock<Lexicon> = LazyLock::new(|| {
                Lexicon::read("a: send | tell* | without tell* | 告诉 | e\nb: send | .environ* | d a\nx-c: cp  | os.environ | \\x | end | ends")
            });
            let mut hits = Vec::new();
            FEW.find(&text, &mut hits);
            prop_assert_eq!(hits, plainly(&FEW, &text));
        }
    }
}
