//! A set of small numbers, as bits.

/// Numbers below a bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbers(Box<[u64]>);

impl Numbers {
    /// None of the numbers below `bound`.
    pub(super) fn below(bound: usize) -> Self {
        Self(vec![0; bound.div_ceil(64)].into_boxed_slice())
    }

    /// Adds a number; one that is not below the bound is left out.
    pub(super) fn mark(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    pub(super) fn has(&self, number: usize) -> bool {
        self.0
            .get(number / 64)
            .is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// The numbers, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let words = self.0.iter().copied().enumerate();
        words.flat_map(|(at, word)| Bits(word).map(move |bit| at * 64 + bit))
    }
}

/// The places of a word's bits.
pub(super) struct Bits(pub(super) u64);

impl Iterator for Bits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (bit < u64::BITS).then_some(bit as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_marked_is_there_in_order() {
        let mut numbers = Numbers::below(130);
        for number in [129, 0, 64, 63, 0, 500] {
            numbers.mark(number);
        }
        assert_eq!(numbers.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert!(numbers.has(64) && !numbers.has(65) && !numbers.has(500));
    }
}
