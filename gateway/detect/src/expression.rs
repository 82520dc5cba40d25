//! How large a regular expression is, told before it is compiled.

use regex_syntax::hir::{Class, Hir, HirKind};

/// About how many states an expression has once its repetitions are written out, where upper and lower case are one if
/// `nocase`, although it was read as if they were not: that takes a third of the time. The parser bounds the nesting.
pub(crate) fn states(hir: &Hir, nocase: bool) -> usize {
    let cases = if nocase { 2 } else { 1 };
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => {
            let letters = literal.0.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
            literal.0.len() + letters * (cases - 1)
        }
        HirKind::Class(Class::Bytes(class)) => class.ranges().len().saturating_mul(cases).max(1),
        HirKind::Class(Class::Unicode(class)) => class.ranges().len().saturating_mul(4 * cases).max(1),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min.saturating_add(1)).max(1);
            states(&repetition.sub, nocase)
                .saturating_add(1)
                .saturating_mul(times as usize)
        }
        HirKind::Capture(capture) => states(&capture.sub, nocase).saturating_add(2),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts
            .iter()
            .map(|part| states(part, nocase))
            .fold(1, usize::saturating_add),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_count_as_often_as_they_are_written_out() {
        let of = |text: &str| states(&regex_syntax::parse(text).unwrap(), false);
        assert!(of("a{200}") >= 200 && of("(?:a{200}){200}") >= 40_000);
        assert!(of("[0-9]+x") < 20);
    }

    #[test]
    fn letters_in_either_case_count_as_the_classes_that_they_become() {
        for text in ["abc[x-z]{3}", "(?:get|put) /[a-f0-9]{8}"] {
            let parsed = |text: &str| regex_syntax::parse(text).unwrap();
            let (plain, classes) = (parsed(text), parsed(&format!("(?i){text}")));
            assert!(states(&plain, true) >= states(&classes, false) / 4, "{text}");
            assert!(states(&plain, true) > states(&plain, false), "{text}");
        }
    }
}
