//! Whether a value looks like a credential.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::names::Named;
use crate::text::entropy;
use crate::text::secrets::counts_or_repeats;

/// Shortest and longest value (bytes).
const VALUE: std::ops::RangeInclusive<usize> = 8..=200;

#[expect(
    clippy::expect_used,
    reason = "the expressions are constants, and a test compiles each"
)]
pub(super) fn compiled(expression: &str) -> Regex {
    Regex::new(expression).expect("a constant expression")
}

/// Words of documentation and tests, references to where a value is kept, and what is no value.
pub(super) static NO_VALUE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r"(?i)example|sample|placeholder|change[-_]?(?:me|it)|your|xxx|dummy|fake|redacted|\*\*\*|todo|replace|insert|\.\.\.|…|[<>]|",
        r"\$\{|\$\(|\{\{|%\(|\$[a-z]|process\.env|os\.environ|getenv|secrets\.|vault|keyring|not[-_ ]?(?:a[-_ ]?)?(?:real|secret)|mock|stub|",
        r"test|demo|foo|bar\b|lorem|none|null|undefined|required|missing|enter|must|please|should|invalid|unset|optional|ask |",
        r"dev[-_]only|local|env:|file:|ssm:|arn:|op://|http|p[a@]ssw[o0]rd|pass[-_]?phrase|sha-?\d|hmac|base64|utf-?8|argon|pbkdf|",
        r"oauth|x509|ed25519|[hr]s256|^(?:ssh|age1|rw[a-z]|mii|mfkw|x)[-a-z0-9]|^(?:md5|sha)[-0-9]*:|",
        r"^[a-z0-9.-]+/[a-z0-9._/-]+(?::[a-z0-9._-]+)?$|^[A-Z_]+=",
    ))
});

/// What is a word, a name, a version, a date, and no credential.
static PLAIN: LazyLock<RegexSet> = LazyLock::new(|| {
    #[expect(
        clippy::expect_used,
        reason = "the expressions are constants, and a test compiles each"
    )]
    RegexSet::new([
        r"^[a-z]+[-_]?v?[0-9]{0,2}$",
        r"^[A-Z0-9]*_[A-Z0-9_]*$",
        r"^v?[0-9]+(?:\.[0-9]+)+\S{0,6}$",
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}",
        r"[(){}\\|\s]|::|=>",
        r"^[$%@/~.{\[#^-]",
        r": ?$",
    ])
    .expect("constant expressions")
});

/// Words in a row, with a version behind them.
static WORDY: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"^[A-Za-z]+(?:[-_./:][A-Za-z]+)*(?:[-_.]?v?[0-9]{1,2})?$"));

/// Whether a value that is told to be a credential looks like one.
pub(super) fn looks_real(value: &str, named: Named) -> bool {
    let value = value.trim();
    let any = |is: fn(char) -> bool| value.chars().any(is);
    let (letters, digits) = (any(char::is_alphabetic), any(|c| c.is_ascii_digit()));
    let special = any(|c| "!#$%&*+@^~?=:/".contains(c));
    let cases = any(char::is_uppercase) && any(char::is_lowercase);
    if !VALUE.contains(&value.len()) || !letters || !(digits || (special && cases)) {
        return false;
    }
    if named == Named::Key && (value.len() < 16 || !digits) {
        return false;
    }
    let parts = || value.split(['-', '_', '.', '/', ':']);
    let ends_in_number = value.bytes().rev().take(2).all(|byte| byte.is_ascii_digit());
    let phrase = ends_in_number && any(char::is_uppercase) && parts().count() > 3;
    if PLAIN.is_match(value) || (WORDY.is_match(value) && !phrase) || NO_VALUE.is_match(value) {
        return false;
    }
    let bytes = value.as_bytes();
    let least = if bytes.len() < 12 { 2.7 } else { 3.0 };
    !counts_in_hex(bytes)
        && entropy(bytes) >= least
        && !counts_or_repeats(bytes.to_ascii_lowercase().as_slice())
}

/// Whether it is the bytes 00, 01, 02 and so on, as test vectors are.
fn counts_in_hex(value: &[u8]) -> bool {
    let bytes: Vec<u8> = value
        .chunks_exact(2)
        .map_while(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok())
        .collect();
    let steps = bytes
        .windows(2)
        .filter(|pair| matches!(pair, [a, b] if b.wrapping_sub(*a) <= 1))
        .count();
    bytes.len() >= 8 && bytes.len() * 2 == value.len() && steps * 2 > bytes.len()
}

/// Whether a value is as passwords are that somebody was made to choose.
pub(super) fn strong(value: &str) -> bool {
    let any = |is: fn(char) -> bool| value.chars().any(is);
    any(char::is_uppercase)
        && any(char::is_lowercase)
        && any(|c| c.is_ascii_digit())
        && any(|c| "!#$%&*+@^~?=_-.".contains(c))
}
