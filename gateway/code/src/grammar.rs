//! Grammars whose tables are packed until the first file of their language. `build.rs` makes them.

use std::ptr;
use std::sync::OnceLock;

use flate2::{Decompress, FlushDecompress, Status};
use tree_sitter::Language;
use tree_sitter_language::LanguageFn;

/// How many tables of a language are packed.
const COUNT: usize = 4;

/// Where a language's tables lie; the C side knows it as `struct tables`.
type Tables = [*const u8; COUNT];

/// Gives the language.
type Bare = unsafe extern "C" fn() -> *const ();
/// Makes the tables the language's.
type Give = unsafe extern "C" fn(*const Tables);

/// A grammar.
#[derive(Debug)]
pub(crate) struct Grammar {
    bare: Bare,
    give: Give,
    packed: &'static [u8],
    lengths: [usize; COUNT],
    whole: OnceLock<bool>,
}

include!(concat!(env!("OUT_DIR"), "/grammars.rs"));

impl Grammar {
    const fn new(bare: Bare, give: Give, packed: &'static [u8], lengths: [usize; COUNT]) -> Self {
        Self {
            bare,
            give,
            packed,
            lengths,
            whole: OnceLock::new(),
        }
    }

    /// The language, good for asking after the names of kinds and fields.
    pub(crate) fn names(&self) -> Language {
        // SAFETY: it is made of a grammar by tree-sitter, and lives as long as this program.
        Language::new(unsafe { LanguageFn::from_raw(self.bare) })
    }

    /// The language, good for parsing. `None`: its tables cannot be unpacked, which a test has ruled out for this program.
    pub(crate) fn whole(&'static self) -> Option<Language> {
        let unpacked = self.whole.get_or_init(|| {
            let tables = unpack(self.packed, self.lengths);
            if let Some(tables) = &tables {
                // SAFETY: tables are given once, in here, before anybody gets a language to parse with; asking after names reads none of
                // them. They are the grammar's own, and never freed.
                unsafe { (self.give)(tables) };
            }
            tables.is_some()
        });
        unpacked.then(|| self.names())
    }
}

/// The tables, for as long as this program lives. Elements are at most four bytes wide, and of the widest table first.
fn unpack(packed: &[u8], lengths: [usize; COUNT]) -> Option<Tables> {
    let total: usize = lengths.iter().sum();
    let words = vec![0_u32; total.div_ceil(size_of::<u32>())].leak();
    let start = words.as_mut_ptr().cast::<u8>();
    // SAFETY: the words are at least so many bytes, any of which may be written as bytes, and nobody else has them.
    let bytes = unsafe { std::slice::from_raw_parts_mut(start, total) };
    let status = Decompress::new(false).decompress(packed, bytes, FlushDecompress::Finish);
    if !matches!(status, Ok(Status::StreamEnd)) {
        return None;
    }
    let mut at = [ptr::null(); COUNT];
    let mut rest: &[u8] = bytes;
    for (place, length) in at.iter_mut().zip(lengths) {
        let (table, behind) = rest.split_at_checked(length)?;
        (*place, rest) = (table.as_ptr(), behind);
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [&'static Grammar; 7] {
        [&GO, &JAVA, &PHP, &PYTHON, &RUBY, &RUST, &TSX]
    }

    #[test]
    fn every_grammar_gets_its_tables_back() {
        for grammar in all() {
            let total: usize = grammar.lengths.iter().sum();
            assert!(
                grammar.packed.len() * 5 < total,
                "{} of {total}",
                grammar.packed.len()
            );
            let language = grammar.whole().unwrap();
            // What a state is followed by stands in the tables alone; some states are followed by a few kinds only.
            let states = u16::try_from(language.parse_state_count()).unwrap();
            let kinds = u16::try_from(language.node_kind_count()).unwrap();
            let pairs = (1..200).flat_map(|state| (1..kinds).map(move |kind| (state, kind)));
            let next = pairs.map(|(state, kind)| language.next_state(state, kind));
            assert!(next.filter(|&state| state != 0 && state < states).count() > 1000);
        }
    }

    #[test]
    fn tables_that_are_cut_short_or_too_long_are_refused() {
        let lengths = PYTHON.lengths;
        assert!(unpack(PYTHON.packed, lengths).is_some());
        assert!(unpack(&PYTHON.packed[..PYTHON.packed.len() - 9], lengths).is_none());
        let [a, b, c, d] = lengths;
        assert!(unpack(PYTHON.packed, [a, b, c, d - 2]).is_none());
    }
}
