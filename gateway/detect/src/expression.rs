//! How large a regular expression is, told before it is compiled.

use regex_syntax::hir::{Class, Hir, HirKind};

/// About how many states an expression has once its repetitions are written out. The parser bounds the nesting.
pub(crate) fn states(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(Class::Bytes(class)) => class.ranges().len().max(1),
        HirKind::Class(Class::Unicode(class)) => class.ranges().len().saturating_mul(4).max(1),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min.saturating_add(1)).max(1);
            states(&repetition.sub)
                .saturating_add(1)
                .saturating_mul(times as usize)
        }
        HirKind::Capture(capture) => states(&capture.sub).saturating_add(2),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(states).fold(1, usize::saturating_add)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_count_as_often_as_they_are_written_out() {
        let of = |text: &str| states(&regex_syntax::parse(text).unwrap());
        assert!(of("a{200}") >= 200 && of("(?:a{200}){200}") >= 40_000);
        assert!(of("[0-9]+x") < 20);
    }
}
