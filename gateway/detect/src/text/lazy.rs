//! Expressions that are checked when they are loaded and compiled when they are first needed: most of a pack's never are, and
//! a compiled one takes much more memory than its text.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::expression::states;

/// Largest expression (states of its automaton), so that a pack cannot exhaust memory. Far below what the expressions'
/// engine allows by itself, so that what is loaded can be compiled.
const MAX_STATES: usize = 1 << 16;

/// An expression.
#[derive(Debug)]
pub(super) struct Lazy {
    expression: Box<str>,
    nocase: bool,
    /// `None` inside: it cannot be compiled, which loading rules out.
    compiled: OnceLock<Option<Regex>>,
}

impl Lazy {
    /// Checks an expression over bytes, and gives its structure too.
    pub(super) fn new(expression: &str, nocase: bool) -> Result<(Self, Hir), String> {
        let hir = ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .build()
            .parse(expression)
            .map_err(|error| format!("it is not a valid expression: {error}"))?;
        let states = states(&hir, nocase);
        if states > MAX_STATES {
            return Err(format!(
                "it has {states} states; at most {MAX_STATES} are allowed: nest fewer repetitions"
            ));
        }
        let lazy = Self {
            expression: expression.into(),
            nocase,
            compiled: OnceLock::new(),
        };
        Ok((lazy, hir))
    }

    /// The expression, bound to the beginning of what is searched; `None` where it cannot be compiled.
    pub(super) fn anchored(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| self.compile("^(?:", ")")).as_ref()
    }

    /// The expression as it stands. Ask one expression for one of the two only.
    pub(super) fn free(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| self.compile("", "")).as_ref()
    }

    fn compile(&self, before: &str, behind: &str) -> Option<Regex> {
        RegexBuilder::new(&[before, &self.expression, behind].concat())
            .unicode(false)
            .case_insensitive(self.nocase)
            .build()
            .ok()
    }
}

/// The number of a named group.
pub(super) fn group(hir: &Hir, name: &str) -> Option<usize> {
    match hir.kind() {
        HirKind::Capture(capture) if capture.name.as_deref() == Some(name) => Some(capture.index as usize),
        HirKind::Capture(capture) => group(&capture.sub, name),
        HirKind::Repetition(repetition) => group(&repetition.sub, name),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().find_map(|part| group(part, name))
        }
        _ => None,
    }
}

/// The fewest digits in a text that the expression matches.
pub(super) fn digits(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Literal(literal) => literal.0.iter().filter(|byte| byte.is_ascii_digit()).count(),
        HirKind::Class(Class::Bytes(class)) => usize::from(
            class
                .ranges()
                .iter()
                .all(|range| range.start().is_ascii_digit() && range.end().is_ascii_digit()),
        ),
        HirKind::Repetition(repetition) => digits(&repetition.sub).saturating_mul(repetition.min as usize),
        HirKind::Capture(capture) => digits(&capture.sub),
        HirKind::Concat(parts) => parts.iter().map(digits).sum(),
        HirKind::Alternation(parts) => parts.iter().map(digits).min().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_are_no_good_are_refused_when_they_are_loaded() {
        assert!(
            Lazy::new("abc(", false)
                .unwrap_err()
                .contains("not a valid expression")
        );
        let large = "(?:(?:[acegikmoqs]{0,90}){0,90}){0,90}";
        assert!(Lazy::new(large, false).unwrap_err().contains("states"));
    }

    #[test]
    fn the_fewest_digits_of_a_shape_are_known() {
        for (shape, least) in [
            ("[0-9]{3}-[0-9]{2}-[0-9]{4}", 9),
            ("[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}", 2),
            ("12|3[0-9]{2,4}", 2),
            ("(?:[0-9]{3})?x", 0),
        ] {
            assert_eq!(digits(&Lazy::new(shape, false).unwrap().1), least, "{shape}");
        }
    }
}
