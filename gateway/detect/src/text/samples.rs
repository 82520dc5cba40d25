//! Texts of tests: `«KIND N»` stands for a made-up value of that shape, so that no scanner of repositories takes a pack for
//! a leak, and `«CODE TEXT»` for the text in that code, so that a reader sees what a test hides.

use super::checks::{base62, crc32};

/// `text` with every `«KIND N»` written out; the same text always gives the same values. An unknown kind stays as it is.
///
/// Kinds: `alnum`, `lower` (letters and digits), `upper` (letters and digits), `base32`, `hex`, `digits`, `url64`, and
/// `crc62` (random characters with the base-62 CRC-32 behind them, N in all).
///
/// Codes: `tags`, `selectors`, `bits` (zero-width), `split` (zero-width between letters), `base64of`, `hexof`, `percent`,
/// `entities`, `rot13`, `backwards`, `wide`, `spaced`, `cyrillic`.
pub(super) fn expand(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut state = u64::from(crc32(text.as_bytes())) | 1 << 40;
    while let Some((before, behind)) = rest.split_once('«') {
        out.push_str(before);
        let Some((inside, behind)) = behind.split_once('»') else {
            rest = behind;
            continue;
        };
        let value = inside.split_once(' ').and_then(|(kind, what)| {
            coded(kind, what).or_else(|| value(kind, what.parse().ok()?, &mut state))
        });
        match value {
            Some(value) => out.push_str(&value),
            None => out.push_str(inside),
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

fn coded(code: &str, text: &str) -> Option<String> {
    let moved = |by: u32| {
        text.chars()
            .filter_map(move |c| char::from_u32(u32::from(c) + by))
            .collect()
    };
    let each = |write: &dyn Fn(u8) -> String| text.bytes().map(write).collect();
    Some(match code {
        "tags" => moved(0xE0000),
        "selectors" => moved(0xE0100 - 16),
        "bits" => each(&|byte| {
            (0..8)
                .rev()
                .map(|bit| {
                    if byte >> bit & 1 == 1 {
                        '\u{200C}'
                    } else {
                        '\u{200B}'
                    }
                })
                .collect()
        }),
        "split" => text.chars().flat_map(|c| [c, '\u{200B}']).collect(),
        "base64of" => base64(text.as_bytes()),
        "hexof" => each(&|byte| format!("{byte:02x}")),
        "percent" => each(&|byte| format!("%{byte:02X}")),
        "entities" => each(&|byte| format!("&#{byte};")),
        "rot13" => super::decode::rot13(text),
        "backwards" => text.chars().rev().collect(),
        "wide" => text
            .chars()
            .map(|c| {
                if c.is_ascii_graphic() {
                    char::from_u32(u32::from(c) + 0xFEE0).unwrap_or(c)
                } else {
                    c
                }
            })
            .collect(),
        "spaced" => text.chars().flat_map(|c| [c, ' ']).collect(),
        "cyrillic" => text
            .chars()
            .map(|c| match c {
                'a' => 'а',
                'e' => 'е',
                'o' => 'о',
                'i' => 'і',
                'c' => 'с',
                'p' => 'р',
                _ => c,
            })
            .collect(),
        _ => return None,
    })
}

/// Base64 with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let value = (0..3).fold(0_usize, |value, at| {
            value << 8 | usize::from(group.get(at).copied().unwrap_or(0))
        });
        for place in 0..4 {
            let letter = ALPHABET
                .get(value >> (18 - 6 * place) & 63)
                .copied()
                .unwrap_or(b'=');
            out.push(if place <= group.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    out
}

fn value(kind: &str, count: usize, state: &mut u64) -> Option<String> {
    let alphabet: &[u8] = match kind {
        "alnum" | "crc62" => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
        "lower" => b"abcdefghijklmnopqrstuvwxyz0123456789",
        "upper" => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
        "base32" => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
        "hex" => b"0123456789abcdef",
        "digits" => b"0123456789",
        "url64" => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
        _ => return None,
    };
    let sum = if kind == "crc62" { 6 } else { 0 };
    let mut made = String::with_capacity(count);
    for _ in 0..count.checked_sub(sum)? {
        // Knuth's MMIX generator: enough for values that only have to look random.
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(*state >> 33).unwrap_or(0) % alphabet.len();
        made.push(char::from(alphabet.get(at).copied().unwrap_or(b'x')));
    }
    if sum > 0 {
        made.push_str(&base62(crc32(made.as_bytes())));
    }
    Some(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_shape_and_are_always_the_same() {
        let text = expand("a «hex 8» b «crc62 36» «what 3»");
        assert_eq!(text, expand("a «hex 8» b «crc62 36» «what 3»"));
        assert_eq!(text.len(), "a  b  what 3".len() + 8 + 36);
        assert!(super::super::checks::crc_at_end(&format!("x_{}", &text[13..49])));
    }
}
