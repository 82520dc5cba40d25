//! Sets of classes.

/// Machine words of a set.
const WORDS: usize = 6;

/// A set of classes, each by its number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bits([u64; WORDS]);

impl Bits {
    /// How many classes a set can hold.
    pub(super) const SIZE: usize = 64 * WORDS;

    pub(super) fn set(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    pub(super) fn has(&self, number: usize) -> bool {
        self.0
            .get(number / 64)
            .is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Whether any class is in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(one, two)| one & two != 0)
    }

    pub(super) fn with(mut self, other: Self) -> Self {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut one = Bits::default();
        assert!(one.is_empty());
        one.set(3);
        one.set(Bits::SIZE - 1);
        let mut other = Bits::default();
        other.set(4);
        assert!(one.has(3) && one.has(Bits::SIZE - 1) && !one.has(4));
        assert!(!one.meets(&other));
        assert!(one.meets(&one.with(other)) && other.meets(&one.with(other)));
        assert!(!one.has(Bits::SIZE), "what is beyond is never in");
    }
}
