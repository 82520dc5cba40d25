//! The envelope of a policy bundle: for whom it is, which one, until when it holds, and who says so.
//!
//! A bundle file is one line of JSON and, right behind its newline, the archive:
//!
//! ```text
//! {"version":1,"group":"workstations","ring":0,"revision":7,"issued_s":…,"expires_s":…,"size":…,"content":"sha256:…",
//!  "signer":"acme","signature":"base64 of 64 bytes"}⏎ bytes of the archive
//! ```
//!
//! without blanks or breaks between; the line has this one spelling. The Ed25519 signature (RFC 8032) is over
//!
//! ```text
//! "defenseclaw.policy.bundle.v1\0"  group length (u64)  group  ring (u8)  revision (u64)  issued (u64)  expires (u64)
//! size (u64)  content digest, as it is written
//! ```
//!
//! with little-endian numbers. It is verified before a byte of the archive is looked at.

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::key::{KeyError, SignerKey, TrustedKeys, check_id, decode};
use crate::manifest::hex;

/// Begins what is signed, so that no signature of another purpose can be taken for this one.
const DOMAIN: &[u8] = b"defenseclaw.policy.bundle.v1\0";
/// Largest bundle file (bytes). The built-in policy and packs are below 200 KiB when packed.
pub const MAX_BUNDLE: u64 = 4 << 20;
/// Longest first line (bytes); one has about 400.
const MAX_LINE: usize = 4096;
/// Longest name of a group (bytes).
const MAX_GROUP: usize = 64;
/// The last ring. Ten steps are more than any rollout has.
pub const LAST_RING: u8 = 9;
/// Largest revision: every reader of JSON keeps it exactly.
const MAX_REVISION: u64 = (1 << 53) - 1;
/// Longest time that a bundle may hold (seconds). One that holds for years tells nobody that updates no longer arrive.
const MAX_VALID_S: u64 = 366 * 24 * 3600;
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 64;

/// For whom a bundle is, which one, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleTerms {
    /// The group of hosts that it is for.
    pub group: String,
    /// The outermost ring that takes it: hosts of rings up to this one do.
    pub ring: u8,
    /// It rises with each bundle of the group.
    pub revision: u64,
    /// When it was signed, seconds since the Unix epoch.
    pub issued_s: u64,
    /// From when on it is no longer accepted, seconds since the Unix epoch.
    pub expires_s: u64,
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    version: u32,
    group: String,
    ring: u8,
    revision: u64,
    issued_s: u64,
    expires_s: u64,
    size: u64,
    content: String,
    signer: String,
    signature: String,
}

/// Why a bundle was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// What is said of it makes no sense.
    #[error("{0}")]
    Terms(String),
    /// The archive is too large.
    #[error("the bundle would have more than {MAX_BUNDLE} bytes; take out what is no policy")]
    TooLarge,
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Why a bundle is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsealed {
    /// It is no bundle file.
    #[error("it is no signed bundle: {0}")]
    Malformed(String),
    /// It is over the bound.
    #[error("it has more than the {MAX_BUNDLE} bytes that a bundle may have")]
    TooLarge,
    /// Nobody trusts that signer.
    #[error(
        "{0:?} is no signer whose bundles are taken: `bundle.keys` in the configuration has no key under that id"
    )]
    Untrusted(String),
    /// The signature is not by that signer's key.
    #[error(
        "the signature was not made with the key of {0}, or something of the bundle's terms was changed since"
    )]
    Wrong(String),
    /// Something is missing at its end.
    #[error("it is cut off: {found} of {signed} bytes are there")]
    Truncated {
        /// Bytes of the archive that are there.
        found: u64,
        /// Bytes that were signed.
        signed: u64,
    },
    /// It is not what was signed.
    #[error("its archive is not the one that was signed: it is {found}, signed was {signed}")]
    Content {
        /// The digest of what is there.
        found: String,
        /// The digest that was signed.
        signed: String,
    },
}

/// A bundle whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedBundle<'a> {
    /// For whom it is, which one, and until when.
    pub terms: BundleTerms,
    /// Who signed it.
    pub signer: String,
    /// The digest of the archive.
    pub content: String,
    /// The archive (tar.gz).
    pub archive: &'a [u8],
}

impl BundleTerms {
    /// Whether a bundle may be signed, or taken, with these terms.
    pub fn check(&self) -> Result<(), String> {
        check_group(&self.group)?;
        if self.ring > LAST_RING {
            return Err(format!("the ring is {}; the last one is {LAST_RING}", self.ring));
        }
        if self.revision == 0 || self.revision > MAX_REVISION {
            return Err(format!(
                "the revision is {}; use 1 to {MAX_REVISION}",
                self.revision
            ));
        }
        let valid = self.expires_s.checked_sub(self.issued_s);
        if !valid.is_some_and(|valid| valid > 0 && valid <= MAX_VALID_S) {
            return Err(format!(
                "it has to expire after it was signed, and within {} days",
                MAX_VALID_S / 86_400
            ));
        }
        Ok(())
    }

    /// Whether it is no longer accepted at that time.
    pub fn is_expired(&self, now_s: u64) -> bool {
        now_s >= self.expires_s
    }

    fn message(&self, size: u64, content: &str) -> Vec<u8> {
        let mut message = DOMAIN.to_vec();
        message.extend((self.group.len() as u64).to_le_bytes());
        message.extend(self.group.as_bytes());
        message.push(self.ring);
        for number in [self.revision, self.issued_s, self.expires_s, size] {
            message.extend(number.to_le_bytes());
        }
        message.extend(content.as_bytes());
        message
    }
}

/// Whether that can be a group's name.
pub fn check_group(group: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if group.is_empty() || group.len() > MAX_GROUP || !group.chars().all(fine) {
        let group: String = group.chars().take(MAX_GROUP).collect();
        return Err(format!(
            "{group:?} is no group: use 1 to {MAX_GROUP} small letters, digits, `.`, `_`, `-`"
        ));
    }
    Ok(())
}

/// Signs an archive: gives the bytes of the bundle file.
pub fn seal(archive: &[u8], terms: &BundleTerms, key: &SignerKey) -> Result<Vec<u8>, SealError> {
    terms.check().map_err(SealError::Terms)?;
    let (size, content) = (archive.len() as u64, digest(archive));
    let line = Line {
        version: 1,
        group: terms.group.clone(),
        ring: terms.ring,
        revision: terms.revision,
        issued_s: terms.issued_s,
        expires_s: terms.expires_s,
        size,
        signature: key.sign(&terms.message(size, &content)),
        content,
        signer: key.id().to_owned(),
    };
    let mut bytes = serde_json::to_vec(&line).map_err(|error| SealError::Terms(error.to_string()))?;
    bytes.push(b'\n');
    bytes.extend(archive);
    if bytes.len() as u64 > MAX_BUNDLE {
        return Err(SealError::TooLarge);
    }
    Ok(bytes)
}

/// Opens a bundle file: its signature was made by one of these keys, and its archive is what was signed. Whether it has
/// expired, and for whom it is, is for the caller.
pub fn open_bundle<'a>(bytes: &'a [u8], keys: &TrustedKeys) -> Result<OpenedBundle<'a>, Unsealed> {
    if bytes.len() as u64 > MAX_BUNDLE {
        return Err(Unsealed::TooLarge);
    }
    let (line, archive) = split(bytes)?;
    let key = keys
        .get(&line.signer)
        .ok_or_else(|| Unsealed::Untrusted(line.signer.clone()))?;
    let terms = BundleTerms {
        group: line.group,
        ring: line.ring,
        revision: line.revision,
        issued_s: line.issued_s,
        expires_s: line.expires_s,
    };
    verify(&terms, line.size, &line.content, &line.signature, key)
        .ok_or_else(|| Unsealed::Wrong(line.signer.clone()))?;
    // Only now: until here anybody could have written it.
    terms.check().map_err(Unsealed::Malformed)?;
    let found = archive.len() as u64;
    if found < line.size {
        return Err(Unsealed::Truncated {
            found,
            signed: line.size,
        });
    }
    let content = digest(archive);
    if content != line.content {
        return Err(Unsealed::Content {
            found: content,
            signed: line.content,
        });
    }
    Ok(OpenedBundle {
        terms,
        signer: line.signer,
        content,
        archive,
    })
}

fn split(bytes: &[u8]) -> Result<(Line, &[u8]), Unsealed> {
    let malformed = |why: &dyn std::fmt::Display| Unsealed::Malformed(why.to_string());
    let end = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n');
    let end =
        end.ok_or_else(|| malformed(&"its first line is not that of `defenseclaw-cli policy bundle sign`"))?;
    let (first, archive) = bytes.split_at(end);
    let line: Line = serde_json::from_slice(first).map_err(|error| malformed(&error))?;
    if line.version != 1 {
        return Err(malformed(&format!("version {} is not known", line.version)));
    }
    check_id(&line.signer).map_err(|error| malformed(&error))?;
    if serde_json::to_vec(&line).map_err(|error| malformed(&error))? != first {
        return Err(malformed(
            &"it is not spelled as `defenseclaw-cli policy bundle sign` writes it",
        ));
    }
    Ok((line, archive.get(1..).unwrap_or_default()))
}

fn verify(terms: &BundleTerms, size: u64, content: &str, signature: &str, key: &VerifyingKey) -> Option<()> {
    let bytes = decode::<SIGNATURE_BYTES>(signature)?;
    // Strict: no weak keys, no second form of the same signature.
    key.verify_strict(
        &terms.message(size, content),
        &ed25519_dalek::Signature::from_bytes(&bytes),
    )
    .ok()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> BundleTerms {
        BundleTerms {
            group: "workstations".into(),
            ring: 9,
            revision: 7,
            issued_s: 1_000,
            expires_s: 2_000,
        }
    }

    fn key(id: &str, seed: u8) -> SignerKey {
        SignerKey::from_seed(id, &[seed; 32])
    }

    fn keys() -> TrustedKeys {
        let mut keys = TrustedKeys::default();
        keys.add("acme", &key("acme", 7).public_key()).unwrap();
        keys
    }

    fn sealed() -> Vec<u8> {
        seal(b"archive", &terms(), &key("acme", 7)).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_with_its_terms() {
        let bytes = sealed();
        let opened = open_bundle(&bytes, &keys()).unwrap();
        assert_eq!((opened.terms, opened.signer.as_str()), (terms(), "acme"));
        assert_eq!(opened.archive, b"archive");
        assert_eq!(opened.content, digest(b"archive"));
    }

    #[test]
    fn another_key_is_not_taken_under_whatever_id() {
        let foreign = seal(b"archive", &terms(), &key("other", 8)).unwrap();
        assert_eq!(
            open_bundle(&foreign, &keys()),
            Err(Unsealed::Untrusted("other".into()))
        );
        let posing = seal(b"archive", &terms(), &key("acme", 8)).unwrap();
        assert_eq!(open_bundle(&posing, &keys()), Err(Unsealed::Wrong("acme".into())));
        assert!(open_bundle(&sealed(), &keys()).is_ok());
    }

    #[test]
    fn every_byte_that_is_changed_or_missing_is_noticed() {
        let good = sealed();
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert!(open_bundle(&changed, &keys()).is_err(), "byte {at}");
            assert!(open_bundle(&good[..at], &keys()).is_err(), "cut at {at}");
        }
        let cut = open_bundle(&good[..good.len() - 2], &keys());
        assert_eq!(cut, Err(Unsealed::Truncated { found: 5, signed: 7 }));
        let longer = [good.as_slice(), b"x"].concat();
        assert!(matches!(
            open_bundle(&longer, &keys()),
            Err(Unsealed::Content { .. })
        ));
    }

    #[test]
    fn the_first_line_has_one_spelling() {
        let good = String::from_utf8(sealed()).unwrap();
        for other in [
            good.replacen("{\"version\"", "{ \"version\"", 1),
            good.replacen("\"ring\":9,", "", 1),
            good.replacen("\"ring\":9", "\"ring\":9,\"more\":1", 1),
            good.replacen("\"version\":1", "\"version\":2", 1),
        ] {
            assert!(
                matches!(
                    open_bundle(other.as_bytes(), &keys()),
                    Err(Unsealed::Malformed(_))
                ),
                "{other}"
            );
        }
    }

    #[test]
    fn terms_that_make_no_sense_are_not_signed() {
        let with = |change: fn(&mut BundleTerms)| {
            let mut terms = terms();
            change(&mut terms);
            seal(b"a", &terms, &key("acme", 7)).is_ok()
        };
        assert!(with(|_| {}));
        assert!(!with(|terms| terms.group = "Work stations".into()));
        assert!(!with(|terms| terms.group.clear()));
        assert!(!with(|terms| terms.ring = LAST_RING + 1));
        assert!(!with(|terms| terms.revision = 0));
        assert!(!with(|terms| terms.expires_s = terms.issued_s));
        assert!(!with(|terms| terms.expires_s = terms.issued_s + MAX_VALID_S + 1));
        let large = vec![0; usize::try_from(MAX_BUNDLE).unwrap()];
        assert!(matches!(
            seal(&large, &terms(), &key("acme", 7)),
            Err(SealError::TooLarge)
        ));
    }
}
