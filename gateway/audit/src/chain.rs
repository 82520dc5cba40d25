//! What binds a record to the one before.
//!
//! `hash = SHA-256("defenseclaw.ledger.v1\0" ‖ previous hash ‖ seq ‖ time ‖ session ‖ call ‖ kind ‖ body)`. The previous
//! hash is 32 bytes (zeros for the first record), seq and time are little-endian `u64`, and each text is preceded by its
//! length in bytes as a little-endian `u64`, so that no byte can move from one field to the next unseen. A record without
//! a session or call has an empty text there, which no real one can be. The body is hashed as it is stored: the exact
//! JSON bytes, so a check never depends on how a later version would write them.
//!
//! The chain is not signed. Whoever can write the file can compute a new chain over changed records. What it shows, and
//! what only a [`Head`] noted elsewhere can show, is told at [`verify`](mod@crate::verify).

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const DOMAIN: &[u8] = b"defenseclaw.ledger.v1\0";

/// The end of the chain: the newest record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its place, which is also the number of records; 0 when there is none.
    pub seq: u64,
    /// Its hash (hex); 64 zeros when there is none.
    pub hash: String,
}

/// The hash of one record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChainHash(pub(crate) [u8; 32]);

impl ChainHash {
    /// What the first record follows on.
    pub(crate) const START: Self = Self([0; 32]);
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The end of the chain as the writer carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) seq: u64,
    pub(crate) hash: ChainHash,
}

impl Tip {
    pub(crate) const START: Self = Self {
        seq: 0,
        hash: ChainHash::START,
    };

    pub(crate) fn head(self) -> Head {
        Head {
            seq: self.seq,
            hash: self.hash.to_string(),
        }
    }
}

/// Everything that a record's hash covers, apart from the previous hash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content<'a> {
    pub(crate) seq: u64,
    pub(crate) time_ns: u64,
    pub(crate) session: &'a str,
    pub(crate) call: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) body: &'a [u8],
}

impl Content<'_> {
    /// The hash of this content as the successor of `previous`.
    pub(crate) fn hash(&self, previous: ChainHash) -> ChainHash {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(previous.0);
        hash.update(self.seq.to_le_bytes());
        hash.update(self.time_ns.to_le_bytes());
        for part in [
            self.session.as_bytes(),
            self.call.as_bytes(),
            self.kind.as_bytes(),
            self.body,
        ] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        ChainHash(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: Content<'_> = Content {
        seq: 1,
        time_ns: 2,
        session: "claude-code/s",
        call: "c",
        kind: "prompt",
        body: b"{}",
    };

    /// Written out by hand, so that a change of the format cannot pass as a change of the code.
    #[test]
    fn the_hash_covers_exactly_the_documented_bytes() {
        let mut bytes = b"defenseclaw.ledger.v1\0".to_vec();
        bytes.extend([7u8; 32]);
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(b"\x0d\0\0\0\0\0\0\0claude-code/s");
        bytes.extend(b"\x01\0\0\0\0\0\0\0c");
        bytes.extend(b"\x06\0\0\0\0\0\0\0prompt");
        bytes.extend(b"\x02\0\0\0\0\0\0\0{}");
        let expected: [u8; 32] = Sha256::digest(&bytes).into();
        assert_eq!(CONTENT.hash(ChainHash([7; 32])), ChainHash(expected));
    }

    #[test]
    fn each_part_changes_the_hash_and_none_runs_into_the_next() {
        let others = [
            Content { seq: 2, ..CONTENT },
            Content {
                time_ns: 3,
                ..CONTENT
            },
            Content {
                session: "claude-code/sc",
                call: "",
                ..CONTENT
            },
            Content {
                call: "cp",
                kind: "rompt",
                ..CONTENT
            },
            Content {
                kind: "prompt{",
                body: b"}",
                ..CONTENT
            },
            Content {
                body: b"{ }",
                ..CONTENT
            },
        ];
        let hash = CONTENT.hash(ChainHash::START);
        for other in others {
            assert_ne!(other.hash(ChainHash::START), hash, "{other:?}");
        }
        assert_ne!(CONTENT.hash(hash), hash);
    }

    #[test]
    fn a_hash_is_written_as_64_hex_digits() {
        assert_eq!(ChainHash::START.to_string(), "0".repeat(64));
        let mut bytes = [0; 32];
        bytes[0] = 0xa5;
        bytes[31] = 0x0f;
        let text = ChainHash(bytes).to_string();
        assert!(
            text.starts_with("a500") && text.ends_with("000f") && text.len() == 64,
            "{text}"
        );
    }
}
