//! Checksums that a registry announces.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256, Sha512};

use crate::error::FetchError;

/// A checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// npm's form: base64.
    Sha512(String),
    /// Lower-case hex.
    Sha256(String),
}

impl Checksum {
    /// npm's `dist.integrity`, of which the SHA-512 counts. SHA-1, which others can meet, is no checksum here.
    pub(crate) fn of_integrity(text: &str) -> Option<Self> {
        let found = text
            .split_whitespace()
            .find_map(|one| one.strip_prefix("sha512-"))?;
        let plain = found.split('?').next().unwrap_or_default();
        Some(Self::Sha512(plain.to_owned()))
    }

    /// A SHA-256 in hex.
    pub(crate) fn of_hex(text: &str) -> Option<Self> {
        let hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| Self::Sha256(text.to_ascii_lowercase()))
    }

    /// Compares.
    pub(crate) fn check(&self, url: &str, bytes: &[u8]) -> Result<(), FetchError> {
        let (kind, expected, found) = match self {
            Self::Sha512(expected) => ("SHA-512", expected, STANDARD.encode(Sha512::digest(bytes))),
            Self::Sha256(expected) => ("SHA-256", expected, hex(&Sha256::digest(bytes))),
        };
        if *expected == found {
            return Ok(());
        }
        Err(FetchError::Integrity {
            url: url.to_owned(),
            kind,
            found,
            expected: expected.clone(),
        })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha512(text) => write!(f, "sha512-{text}"),
            Self::Sha256(text) => write!(f, "sha256:{text}"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_changed_byte_is_told() {
        let sum =
            Checksum::of_hex("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD").unwrap();
        assert!(sum.check("u", b"abc").is_ok());
        assert!(matches!(
            sum.check("u", b"abd"),
            Err(FetchError::Integrity { kind: "SHA-256", .. })
        ));
        let text = format!("sha1-xx sha512-{}", STANDARD.encode(Sha512::digest(b"abc")));
        let sum = Checksum::of_integrity(&text).unwrap();
        assert!(sum.check("u", b"abc").is_ok() && sum.check("u", b"").is_err());
    }

    #[test]
    fn a_weak_or_broken_checksum_is_none() {
        assert_eq!(Checksum::of_integrity("sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="), None);
        assert_eq!(Checksum::of_hex("abc"), None);
    }
}
