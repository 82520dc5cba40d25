//! Many literals, searched for as a whole and in one pass: [`Spotter`] says where one may begin, and there it is compared.

use crate::spotter::{MIN_LITERAL, Spotter};

/// Whether upper and lower case differ. Only ASCII has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Differs,
    IsOne,
}

/// Literals of at least [`MIN_LITERAL`] bytes, ready to be searched for.
#[derive(Debug)]
pub(crate) struct Literals<L> {
    spotter: Spotter,
    literals: Box<[L]>,
    case: Case,
}

impl<L: AsRef<[u8]>> Literals<L> {
    /// Prepares `literals`; the first that is too short comes back instead.
    pub(crate) fn new(literals: impl IntoIterator<Item = L>, case: Case) -> Result<Self, L> {
        let mut kept = Vec::new();
        for literal in literals {
            if literal.as_ref().len() < MIN_LITERAL {
                return Err(literal);
            }
            kept.push(literal);
        }
        let numbered = kept.iter().zip(0..);
        let spots: Vec<_> = numbered
            .map(|(literal, number)| (literal.as_ref().to_vec(), number, true))
            .collect();
        Ok(Self {
            spotter: Spotter::new(&spots),
            literals: kept.into_boxed_slice(),
            case,
        })
    }

    /// How many literals there are.
    pub(crate) fn count(&self) -> usize {
        self.literals.len()
    }

    /// Tells the number of each literal that stands in `text`, once for each place where it stands.
    pub(crate) fn each(&self, text: &str, mut found: impl FnMut(usize)) {
        let text = text.as_bytes();
        self.spotter.spot(text, |at, number| {
            let number = number as usize;
            if self
                .literals
                .get(number)
                .is_some_and(|literal| self.stands(text, at, literal.as_ref()))
            {
                found(number);
            }
            true
        });
    }

    fn stands(&self, text: &[u8], at: usize, literal: &[u8]) -> bool {
        let here = text.get(at..at + literal.len());
        here.is_some_and(|here| match self.case {
            Case::Differs => here == literal,
            Case::IsOne => here.eq_ignore_ascii_case(literal),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(literals: &[&'static str], case: Case, text: &str) -> Vec<usize> {
        let mut found = Vec::new();
        Literals::new(literals.iter().copied(), case)
            .unwrap()
            .each(text, |number| found.push(number));
        found.sort_unstable();
        found.dedup();
        found
    }

    #[test]
    fn literals_are_found_whole_and_in_their_case() {
        let literals = ["os.system(", "os.system(\"sh\")", "eval(", "IEX("];
        assert_eq!(found(&literals, Case::Differs, "os.system('x'); iex(y)"), [0]);
        assert_eq!(
            found(&literals, Case::IsOne, "OS.system(\"SH\"); iex(y)"),
            [0, 1, 3]
        );
        assert_eq!(found(&literals, Case::Differs, "literal_eval("), [2]);
        assert!(found(&literals, Case::Differs, "os.system").is_empty());
    }

    #[test]
    fn a_literal_that_is_too_short_is_refused() {
        assert_eq!(Literals::new(["abc", "ab"], Case::IsOne).unwrap_err(), "ab");
    }

    proptest! {
        #[test]
        fn they_are_found_where_a_search_finds_them(text in "[abAB(.é]{0,40}") {
            let literals = ["aba", "abab(ab.ab", "b(a", "AbA", "é(a", "....", "ab.ab.ab.ab"];
            let plain = |literal: &&&str| text.contains(**literal);
            let folded = |literal: &&&str| text.to_ascii_lowercase().contains(&literal.to_ascii_lowercase());
            let differs: Vec<&str> = literals.iter().filter(plain).copied().collect();
            let is_one: Vec<&str> = literals.iter().filter(folded).copied().collect();
            let named = |case| -> Vec<&str> { found(&literals, case, &text).into_iter().map(|at| literals[at]).collect() };
            prop_assert_eq!(named(Case::Differs), differs);
            prop_assert_eq!(named(Case::IsOne), is_one);
        }
    }
}
