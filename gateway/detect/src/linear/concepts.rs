//! Words and calls by what they mean (`policies/learned/concepts.txt`): what is told to a person or an agent, in several
//! languages, and what code does, in several programming languages.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

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
    search: Option<AhoCorasick>,
    words: Vec<Word>,
    concepts: Vec<Concept>,
}

#[derive(Debug, Clone, Copy)]
struct Word {
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
        let (mut texts, mut words, mut concepts) = (Vec::new(), Vec::new(), Vec::new());
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
                        concept,
                        whole: !in_code,
                        goes_on,
                    });
                    texts.push(word);
                }
            }
        }
        Self {
            search: AhoCorasick::new(&texts).ok(),
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

    /// What stands in a text in lower case.
    pub(crate) fn find(&self, text: &str, hits: &mut Vec<Hit>) {
        let Some(search) = &self.search else { return };
        let bytes = text.as_bytes();
        let wordy = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
        for found in search.find_overlapping_iter(text) {
            let Some(word) = self.words.get(found.pattern().as_usize()) else {
                continue;
            };
            if word.whole {
                let before = found.start().checked_sub(1).is_some_and(wordy);
                let inside = before && wordy(found.start());
                let goes_on = wordy(found.end() - 1) && wordy(found.end());
                if inside || (goes_on && !word.goes_on) {
                    continue;
                }
            }
            hits.push(Hit {
                concept: word.concept,
                start: found.start(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
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
        assert!(Lexicon::embedded().search.is_some() && all == Lexicon::embedded().concepts.len());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
