//! Many patterns, searched in one pass: each begins with literals, by which an automaton finds where it could stand; only
//! there its expression is tried, anchored and on a bounded window. So the work is linear in the text, whatever the text.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{ExtractKind, Extractor};

/// Longest text that one pattern may match (bytes). The work for a text is bounded by its length times this, in practice by
/// far less, because a window is entered only behind a literal.
const MAX_WINDOW: usize = 4096;

/// Fewest bytes of a literal that begins a pattern: shorter ones stand everywhere.
const MIN_LITERAL: usize = 3;

/// Bytes of a literal that the automaton knows; more make it larger and hardly more selective.
const MAX_LITERAL: usize = 16;

/// Largest compiled expression (bytes), so that a pack cannot exhaust memory.
const MAX_COMPILED: usize = 1 << 20;

/// One pattern, as a pack gives it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spec<'a> {
    /// The expression; it begins with literals.
    pub(super) shape: &'a str,
    /// Whether upper and lower case are one.
    pub(super) nocase: bool,
    /// Whether it may begin in the middle of a word.
    pub(super) inside: bool,
}

#[derive(Debug)]
struct Pattern {
    regex: Regex,
    window: usize,
    inside: bool,
    keep: Option<usize>,
    secret: Option<usize>,
}

/// Patterns, ready to be searched for.
#[derive(Debug)]
pub(super) struct Anchors {
    automaton: AhoCorasick,
    /// For each literal: the patterns that begin with it.
    owners: Vec<Vec<u32>>,
    patterns: Vec<Pattern>,
}

/// Where a pattern matched (bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    /// The pattern's number, in the order in which they were given.
    pub(super) pattern: usize,
    /// The whole match.
    pub(super) start: usize,
    /// Its end.
    pub(super) end: usize,
    /// Where the group `keep` ends, if the pattern has one and it took part.
    pub(super) kept: Option<usize>,
    /// The group `secret`, or the whole.
    pub(super) secret: (usize, usize),
}

impl Anchors {
    /// Compiles patterns. An error names the pattern's number and what is wrong with it.
    pub(super) fn new(specs: &[Spec<'_>]) -> Result<Self, (usize, String)> {
        let mut literals: Vec<Vec<u8>> = Vec::new();
        let mut owners: Vec<Vec<u32>> = Vec::new();
        let mut known = std::collections::HashMap::new();
        let mut patterns = Vec::with_capacity(specs.len());
        for (number, spec) in specs.iter().enumerate() {
            let (pattern, begins) = compile(spec).map_err(|why| (number, why))?;
            patterns.push(pattern);
            for literal in begins {
                let at = *known.entry(literal.clone()).or_insert_with(|| {
                    literals.push(literal);
                    owners.push(Vec::new());
                    owners.len() - 1
                });
                if let Some(owners) = owners.get_mut(at) {
                    owners.push(u32::try_from(number).unwrap_or(u32::MAX));
                }
            }
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&literals)
            .map_err(|error| {
                (
                    0,
                    format!("the literals of all rules do not fit together: {error}"),
                )
            })?;
        Ok(Self {
            automaton,
            owners,
            patterns,
        })
    }

    /// Every match in `text`, by where it begins; of one pattern none inside another of the same.
    pub(super) fn hits(&self, text: &[u8]) -> Vec<Hit> {
        let mut places: Vec<(usize, u32)> = Vec::new();
        for found in self.automaton.find_overlapping_iter(text) {
            let owners = self.owners.get(found.pattern().as_usize());
            places.extend(owners.into_iter().flatten().map(|&owner| (found.start(), owner)));
        }
        places.sort_unstable();
        places.dedup();
        let mut hits = Vec::new();
        let mut ends: Vec<usize> = Vec::new();
        for (start, number) in places {
            let number = number as usize;
            if ends.get(number).is_some_and(|&end| start < end) {
                continue;
            }
            if let Some(hit) = self.try_at(text, start, number) {
                if ends.is_empty() {
                    ends.resize(self.patterns.len(), 0);
                }
                if let Some(end) = ends.get_mut(number) {
                    *end = hit.end;
                }
                hits.push(hit);
            }
        }
        hits
    }

    fn try_at(&self, text: &[u8], start: usize, number: usize) -> Option<Hit> {
        let pattern = self.patterns.get(number)?;
        let before = start.checked_sub(1).and_then(|at| text.get(at));
        if !pattern.inside
            && before.is_some_and(|&byte| is_word(byte))
            && text.get(start).is_some_and(|&byte| is_word(byte))
        {
            return None;
        }
        let window = text.get(start..text.len().min(start.saturating_add(pattern.window)))?;
        let Some(secret) = pattern.secret else {
            let found = pattern.regex.find(window)?;
            let end = start + found.end();
            return Some(Hit {
                pattern: number,
                start,
                end,
                kept: None,
                secret: (start, end),
            });
        };
        let found = pattern.regex.captures(window)?;
        let whole = found.get(0)?;
        let secret = found.get(secret).unwrap_or(whole);
        Some(Hit {
            pattern: number,
            start,
            end: start + whole.end(),
            kept: pattern
                .keep
                .and_then(|group| found.get(group))
                .map(|kept| start + kept.end()),
            secret: (start + secret.start(), start + secret.end()),
        })
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The expression, and the literals that it can begin with.
fn compile(spec: &Spec<'_>) -> Result<(Pattern, Vec<Vec<u8>>), String> {
    let shape = spec.shape;
    let hir = ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .build()
        .parse(shape)
        .map_err(|error| format!("its shape is not a valid expression: {error}"))?;
    let longest = hir
        .properties()
        .maximum_len()
        .ok_or("its shape can match a text of any length: bound every '*', '+' and '{n,}' by '{n,m}'")?;
    if longest > MAX_WINDOW {
        return Err(format!(
            "its shape can match {longest} bytes; at most {MAX_WINDOW} are allowed"
        ));
    }
    let mut begins = Extractor::new()
        .kind(ExtractKind::Prefix)
        .limit_class(5)
        .extract(&hir);
    begins.keep_first_bytes(MAX_LITERAL);
    begins.dedup();
    let literals: Option<Vec<Vec<u8>>> = begins
        .literals()
        .map(|literals| literals.iter().map(|one| one.as_bytes().to_vec()).collect());
    let literals = literals
        .filter(|literals: &Vec<Vec<u8>>| {
            !literals.is_empty() && literals.iter().all(|one| one.len() >= MIN_LITERAL)
        })
        .ok_or_else(|| format!("its shape must begin with literals of at least {MIN_LITERAL} bytes"))?;
    let regex = RegexBuilder::new(&format!("^(?:{shape})"))
        .unicode(false)
        .case_insensitive(spec.nocase)
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|error| format!("its shape does not compile: {error}"))?;
    let names: Vec<_> = regex.capture_names().collect();
    let group = |name: &str| names.iter().position(|known| *known == Some(name));
    let pattern = Pattern {
        // One byte more, so that a word's end is seen where the window ends.
        window: longest + 1,
        inside: spec.inside,
        keep: group("keep"),
        secret: group("secret"),
        regex,
    };
    Ok((pattern, literals))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(shape: &str) -> Spec<'_> {
        Spec {
            shape,
            nocase: false,
            inside: false,
        }
    }

    #[test]
    fn matches_are_found_where_they_begin_and_only_at_a_words_start() {
        let anchors = Anchors::new(&[
            spec("tok_[a-z]{3,5}"),
            spec("(?P<keep>key=)(?P<secret>[a-z]{2,9})"),
        ])
        .unwrap();
        let hits = anchors.hits(b"tok_abc xtok_abc key=value key=v");
        assert_eq!(hits.len(), 2);
        assert_eq!((hits[0].start, hits[0].end), (0, 7));
        assert_eq!(hits[1].kept, Some(21));
        assert_eq!(hits[1].secret, (21, 26));
    }

    #[test]
    fn shapes_without_bound_or_literal_are_refused() {
        for (shape, why) in [
            ("abc.*", "any length"),
            ("[a-z]{4}x", "begin with literals"),
            ("abc(", "not a valid expression"),
            ("abcd.{5000}", "at most 4096"),
        ] {
            let (number, text) = Anchors::new(&[spec("good{1,3}"), spec(shape)]).unwrap_err();
            assert!(number == 1 && text.contains(why), "{shape}: {text}");
        }
    }

    #[test]
    fn a_match_inside_a_match_of_the_same_pattern_is_not_told_twice() {
        let anchors = Anchors::new(&[spec("aaa[a-z-]{1,40}")]).unwrap();
        assert_eq!(anchors.hits(b"aaab-aaab-aaab").len(), 1);
    }
}
