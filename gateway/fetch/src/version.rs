//! Which of several versions is the newest.

use std::cmp::Ordering;

/// A version without a mark that it is only tried out: `1.2.0`, not `1.2.0-rc.1` or `2.0b1`.
pub(crate) fn is_final(version: &str) -> bool {
    let plain = version.split('+').next().unwrap_or_default();
    !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Compares the numbers, from the left; a missing one is zero.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let numbers = |version: &str| -> Vec<u64> {
        version
            .split(['.', '-', '+'])
            .map(|part| part.parse().unwrap_or(0))
            .collect()
    };
    let (a, b) = (numbers(a), numbers(b));
    let most = a.len().max(b.len());
    let at = |numbers: &[u64], place: usize| numbers.get(place).copied().unwrap_or(0);
    (0..most)
        .map(|place| at(&a, place).cmp(&at(&b, place)))
        .find(|order| *order != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

/// The newest, final ones first.
pub(crate) fn newest<'v, T>(versions: impl Iterator<Item = (&'v str, T)>) -> Option<(&'v str, T)> {
    versions.max_by(|(a, _), (b, _)| is_final(a).cmp(&is_final(b)).then_with(|| compare(a, b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_final_version_is_taken() {
        let of =
            |versions: &[&'static str]| newest(versions.iter().map(|one| (*one, ()))).map(|(one, ())| one);
        assert_eq!(of(&["1.9.0", "1.10.0", "2.0.0-rc.1", "0.99"]), Some("1.10.0"));
        assert_eq!(of(&["1.0a1", "0.9a2"]), Some("1.0a1"));
        assert_eq!(of(&[]), None);
    }
}
