//! Many patterns, searched in one pass: each begins with literals, by which it is spotted where it could stand; only there
//! its expression is tried, anchored and on a bounded window. So the work is linear in the text, whatever the text.
//!
//! Expressions are checked when they are loaded and compiled when they are first tried: most of them never are.

use regex_syntax::hir::literal::{ExtractKind, Extractor};

use super::lazy::{Lazy, group};
use crate::spotter::{MAX_LITERAL, MIN_LITERAL, Spotter};

/// Longest text that one pattern may match (bytes). The work for a text is bounded by its length times this, in practice by
/// far less, because a window is entered only behind a literal.
const MAX_WINDOW: usize = 4096;

/// One pattern, as a pack gives it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec<'a> {
    /// The expression; it begins with literals.
    pub(crate) shape: &'a str,
    /// Whether upper and lower case are one.
    pub(crate) nocase: bool,
    /// Whether it may begin in the middle of a word.
    pub(crate) inside: bool,
}

#[derive(Debug)]
struct Pattern {
    shape: Lazy,
    window: usize,
    /// The group `secret`.
    secret: Option<usize>,
}

/// Patterns, ready to be searched for.
#[derive(Debug)]
pub(crate) struct Anchors {
    spotter: Spotter,
    patterns: Vec<Pattern>,
}

/// Where a pattern matched (bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit {
    /// The pattern's number, in the order in which they were given.
    pub(crate) pattern: usize,
    /// The whole match.
    pub(crate) start: usize,
    /// Its end.
    pub(crate) end: usize,
    /// The group `secret`, or the whole.
    pub(crate) secret: (usize, usize),
}

impl Anchors {
    /// Prepares patterns. An error names the pattern's number and what is wrong with it.
    pub(crate) fn new(specs: &[Spec<'_>]) -> Result<Self, (usize, String)> {
        Self::with_words(specs, &[])
    }

    /// The same, with words that are only told of: they are numbered behind the patterns.
    pub(crate) fn with_words(specs: &[Spec<'_>], words: &[String]) -> Result<Self, (usize, String)> {
        let mut literals: Vec<(Vec<u8>, u32, bool)> = Vec::new();
        let mut patterns = Vec::with_capacity(specs.len());
        for (number, spec) in specs.iter().enumerate() {
            let (pattern, begins) = prepare(spec).map_err(|why| (number, why))?;
            patterns.push(pattern);
            literals.extend(
                begins
                    .into_iter()
                    .map(|literal| (literal, number as u32, spec.inside)),
            );
        }
        let numbered = words.iter().zip(specs.len() as u32..);
        literals.extend(numbered.map(|(word, number)| (word.as_bytes().to_vec(), number, false)));
        Ok(Self {
            spotter: Spotter::new(&literals),
            patterns,
        })
    }

    /// Every match in `text`, by where it begins; of one pattern none inside another of the same. Words give matches that
    /// have no length.
    pub(crate) fn hits(&self, text: &[u8]) -> Vec<Hit> {
        let mut hits = Vec::new();
        // Which patterns could stand at one place, and where the place is.
        let (mut here, mut place): (Vec<u32>, usize) = (Vec::new(), 0);
        let mut ends: Vec<usize> = Vec::new();
        self.spotter.spot(text, |start, number| {
            if start != place {
                self.try_all(text, place, &mut here, &mut ends, &mut hits);
                place = start;
            }
            here.push(number);
            true
        });
        self.try_all(text, place, &mut here, &mut ends, &mut hits);
        hits
    }

    fn try_all(
        &self,
        text: &[u8],
        start: usize,
        here: &mut Vec<u32>,
        ends: &mut Vec<usize>,
        hits: &mut Vec<Hit>,
    ) {
        if here.len() > 1 {
            here.sort_unstable();
            here.dedup();
        }
        for number in here.drain(..) {
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
    }

    fn try_at(&self, text: &[u8], start: usize, number: usize) -> Option<Hit> {
        let Some(pattern) = self.patterns.get(number) else {
            return Some(Hit {
                pattern: number,
                start,
                end: start,
                secret: (start, start),
            });
        };
        let window = text.get(start..text.len().min(start.saturating_add(pattern.window)))?;
        let regex = pattern.shape.anchored()?;
        let end = start + regex.find(window)?.end();
        let mut secret = (start, end);
        if let Some(group) = pattern.secret {
            let group = regex.captures(window)?.get(group).map(|group| group.range());
            secret = group.map_or(secret, |group| (start + group.start, start + group.end));
        }
        Some(Hit {
            pattern: number,
            start,
            end,
            secret,
        })
    }
}

/// The pattern, and the literals that it can begin with.
fn prepare(spec: &Spec<'_>) -> Result<(Pattern, Vec<Vec<u8>>), String> {
    let (shape, hir) = Lazy::new(spec.shape, spec.nocase).map_err(|why| format!("its shape: {why}"))?;
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
    let pattern = Pattern {
        shape,
        // One byte more, so that a word's end is seen where the window ends.
        window: longest + 1,
        secret: group(&hir, "secret"),
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
        let anchors = Anchors::new(&[spec("tok_[a-z]{3,5}"), spec("key=(?P<secret>[a-z]{2,9})")]).unwrap();
        let hits = anchors.hits(b"tok_abc xtok_abc key=value key=v");
        assert_eq!(hits.len(), 2);
        assert_eq!((hits[0].start, hits[0].end), (0, 7));
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
