//! Regular expressions that are compiled when they are first asked.
//!
//! Most expressions stand behind names and literals that few calls have: compiling all of them would cost most of the time
//! of loading and most of the memory of the packs. What can be wrong with one is found when the pack is read.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;

use super::pairs::Wanted;
use crate::expression::states;

/// Largest expression, in states of its automaton.
const MAX_STATES: usize = 1 << 14;
/// Most bytes of a compiled expression: far above what [`MAX_STATES`] states take.
const MAX_BYTES: usize = 16 << 20;

/// A regular expression over bytes that does not look at case.
#[derive(Debug, Clone)]
pub(super) struct LazyRegex {
    text: Box<str>,
    /// What a line in which it fits has.
    wanted: Wanted,
    compiled: OnceLock<Option<Regex>>,
}

impl LazyRegex {
    /// Checks `text`, or says what is wrong with it.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        // With regard to case, because letters without it are classes of two.
        let hir = ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .multi_line(true)
            .build()
            .parse(text)
            .map_err(|error| format!("the regular expression {text:?} is not valid: {error}"))?;
        let states = states(&hir, true);
        if states > MAX_STATES {
            return Err(format!(
                "the regular expression {text:?} is not valid: it has {states} states, and at most {MAX_STATES} are taken"
            ));
        }
        Ok(Self {
            text: text.into(),
            wanted: Wanted::of_expression(&hir),
            compiled: OnceLock::new(),
        })
    }

    /// What a line has in which it fits somewhere.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Whether it fits somewhere in `text`. One that cannot be compiled, which [`LazyRegex::new`] rules out, fits
    /// everything, so that nothing passes because of it.
    pub(super) fn is_match(&self, text: &str) -> bool {
        self.compiled
            .get_or_init(|| compile(&self.text))
            .as_ref()
            .is_none_or(|regex| regex.is_match(text.as_bytes()))
    }

    /// `text` without what fits. Where a piece was, a sentence ends: what stood around it is not read as one.
    pub(super) fn cut(&self, text: &str) -> String {
        let regex = self.compiled.get_or_init(|| compile(&self.text));
        regex.as_ref().map_or_else(
            || text.to_owned(),
            |regex| {
                String::from_utf8_lossy(&regex.replace_all(text.as_bytes(), b". ".as_slice())).into_owned()
            },
        )
    }
}

fn compile(text: &str) -> Option<Regex> {
    RegexBuilder::new(text)
        // Bytes, not characters: what rules look for is ASCII, and Unicode tables make patterns large.
        .unicode(false)
        .case_insensitive(true)
        .multi_line(true)
        .size_limit(MAX_BYTES)
        .build()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::LazyRegex;

    #[test]
    fn what_is_wrong_is_said_before_it_is_needed() {
        for bad in ["(", "a{9", "[z-a]", r"(?-u:\xff){0}{", "a**{2,1}"] {
            assert!(LazyRegex::new(bad).is_err(), "{bad}");
        }
        for large in ["a{20000}", "((a{200}){200}){200}", "(?:[a-z]{1000}){1000}"] {
            let why = LazyRegex::new(large).unwrap_err();
            assert!(why.contains("states"), "{why}");
        }
    }

    #[test]
    fn an_expression_finds_what_fits_in_either_case() {
        let regex = LazyRegex::new(r"^rm\s+-(?:rf|fr)\b").unwrap();
        assert!(regex.is_match("ls\nRM -rf /"));
        assert!(!regex.is_match("ls rm -rf /"));
    }

    #[test]
    fn the_largest_expression_that_is_taken_can_be_compiled() {
        for large in ["a{5000}", "(?:[ac-egi-kmo-q]{400}){2}", "(?:ab|cd){1000}"] {
            assert!(super::compile(large).is_some(), "{large}");
            assert!(LazyRegex::new(large).is_ok(), "{large}");
        }
    }
}
