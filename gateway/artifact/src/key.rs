//! A signer's own key, and the public keys that an operator trusts.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// Bytes of a public key and of a secret one.
const KEY_BYTES: usize = 32;
/// Longest id of a signer (bytes); it is shown to people.
const MAX_ID: usize = 128;
/// Largest key file (bytes); one has about 150.
const MAX_FILE: u64 = 4096;

/// Why a key is not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is no base64, or not of the one form that stands for its bytes.
    #[error(
        "the key is not {KEY_BYTES} bytes in base64 (44 characters, as `defenseclaw-cli artifact keygen` prints it)"
    )]
    Form,
    /// It is no point of the curve, or written in a way that no program writes it.
    #[error("the key is no Ed25519 public key")]
    NoKey,
    /// Anybody can sign for it.
    #[error(
        "the key is one for which anybody can make signatures; make a new one with `defenseclaw-cli artifact keygen`"
    )]
    Weak,
    /// The id is not usable.
    #[error("{0:?} is no id of a signer: use 1 to {MAX_ID} bytes without blanks or control characters")]
    Id(String),
    /// Another id has that key.
    #[error("it has the same key as {0}; one key is one signer")]
    Twice(String),
    /// A key file cannot be read or written.
    #[error("the key file {}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// The public keys that an operator trusts, by the id of their signer.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys(BTreeMap<String, VerifyingKey>);

impl TrustedKeys {
    /// Adds a signer's key, in base64.
    pub fn add(&mut self, id: &str, key: &str) -> Result<(), KeyError> {
        check_id(id)?;
        let bytes: [u8; KEY_BYTES] = decode(key).ok_or(KeyError::Form)?;
        if !is_canonical(&bytes) {
            return Err(KeyError::NoKey);
        }
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::NoKey)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        if let Some((other, _)) = self
            .0
            .iter()
            .find(|(other, known)| *other != id && **known == key)
        {
            return Err(KeyError::Twice(other.clone()));
        }
        self.0.insert(id.to_owned(), key);
        Ok(())
    }

    /// The ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, id: &str) -> Option<&VerifyingKey> {
        self.0.get(id)
    }
}

/// Whether the y coordinate is below the field's prime, 2^255 - 19: a larger one stands for the same point as a smaller one.
fn is_canonical(key: &[u8; KEY_BYTES]) -> bool {
    let top = key[KEY_BYTES - 1] & 0x7f;
    let is_large = top == 0x7f && key[1..KEY_BYTES - 1].iter().all(|byte| *byte == 0xff) && key[0] >= 0xed;
    !is_large
}

/// Whether that can be the id of a signer.
pub(crate) fn check_id(id: &str) -> Result<(), KeyError> {
    let fine = |c: char| !c.is_control() && !c.is_whitespace();
    if id.is_empty() || id.len() > MAX_ID || !id.chars().all(fine) {
        return Err(KeyError::Id(id.chars().take(MAX_ID).collect()));
    }
    Ok(())
}

/// Exactly `N` bytes in base64, padded, in the only spelling that they have.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes: [u8; N] = STANDARD.decode(text).ok()?.try_into().ok()?;
    (encode(&bytes) == text).then_some(bytes)
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// What a signer signs with.
pub struct SignerKey {
    id: String,
    key: SigningKey,
}

impl std::fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignerKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u32,
    signer: String,
    secret_key: String,
}

impl SignerKey {
    /// A new key from the system's randomness.
    pub fn generate(id: &str) -> Result<Self, KeyError> {
        check_id(id)?;
        let mut seed = [0; KEY_BYTES];
        getrandom::fill(&mut seed).map_err(|error| KeyError::File {
            path: PathBuf::from("getrandom(2)"),
            why: error.to_string(),
        })?;
        Ok(Self::from_seed(id, &seed))
    }

    pub(crate) fn from_seed(id: &str, seed: &[u8; KEY_BYTES]) -> Self {
        Self {
            id: id.to_owned(),
            key: SigningKey::from_bytes(seed),
        }
    }

    /// Reads a key file, which nobody but its owner may be able to read.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |why: String| KeyError::File {
            path: path.to_owned(),
            why,
        };
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        let status = file.metadata().map_err(|error| failed(error.to_string()))?;
        if status.mode() & 0o077 != 0 {
            let mode = status.mode() & 0o777;
            return Err(failed(format!(
                "others can read or write it (mode {mode:o}); if nobody did, run `chmod 600` on it, else make a new key"
            )));
        }
        let mut text = String::new();
        file.take(MAX_FILE)
            .read_to_string(&mut text)
            .map_err(|error| failed(error.to_string()))?;
        // What serde says of it could quote the secret.
        let wrong = || failed("it is no key file; `defenseclaw-cli artifact keygen` makes one".to_owned());
        let form: KeyFile = serde_json::from_str(&text).map_err(|_| wrong())?;
        let seed = decode(&form.secret_key).ok_or_else(wrong)?;
        if form.version != 1 {
            return Err(failed(format!("version {} is not known", form.version)));
        }
        check_id(&form.signer)?;
        Ok(Self::from_seed(&form.signer, &seed))
    }

    /// Writes a key file that only its owner can read. A file that is there stays.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let failed = |error: std::io::Error| KeyError::File {
            path: path.to_owned(),
            why: error.to_string(),
        };
        let form = KeyFile {
            version: 1,
            signer: self.id.clone(),
            secret_key: encode(&self.key.to_bytes()),
        };
        let mut text = serde_json::to_string_pretty(&form).map_err(|error| failed(error.into()))?;
        text.push('\n');
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    /// The signer's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key in base64, for `trust.signers.ID.public_key`.
    pub fn public_key(&self) -> String {
        encode(self.key.verifying_key().as_bytes())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> String {
        encode(&self.key.sign(message).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key() -> SignerKey {
        SignerKey::from_seed("acme", &[7; KEY_BYTES])
    }

    fn add(key: &str) -> Result<(), KeyError> {
        TrustedKeys::default().add("acme", key)
    }

    #[test]
    fn a_key_is_written_once_and_read_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acme.key");
        let made = SignerKey::generate("acme").unwrap();
        made.write(&path).unwrap();
        let read = SignerKey::read(&path).unwrap();
        assert_eq!((read.id(), read.public_key()), ("acme", made.public_key()));
        assert!(
            matches!(key().write(&path), Err(KeyError::File { .. })),
            "it would be lost"
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(
            SignerKey::read(&path)
                .unwrap_err()
                .to_string()
                .contains("chmod 600")
        );
    }

    #[test]
    fn an_error_about_a_key_file_does_not_quote_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        key().write(&path).unwrap();
        let secret = encode(&[7; KEY_BYTES]);
        let text = std::fs::read_to_string(&path)
            .unwrap()
            .replace("\"secret_key\"", "\"secret\"");
        std::fs::write(&path, text).unwrap();
        let error = SignerKey::read(&path).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&secret[..8]), "{error}");
        assert!(!format!("{:?}", key()).contains("7, 7"));
    }

    #[test]
    fn ids_that_could_mislead_are_refused() {
        for id in ["", "a b", "a\nb", "a\u{7f}", &"x".repeat(MAX_ID + 1)] {
            assert!(matches!(SignerKey::generate(id), Err(KeyError::Id(_))), "{id:?}");
        }
        assert!(SignerKey::generate("releases@acme.example").is_ok());
    }

    #[test]
    fn a_public_key_has_one_spelling() {
        let good = key().public_key();
        add(&good).unwrap();
        // The last character of 44 carries two bits that stand for nothing.
        let mut spelled: Vec<char> = good.chars().collect();
        let last = spelled.len() - 2;
        spelled[last] = char::from(spelled[last] as u8 + 1);
        let other: String = spelled.into_iter().collect();
        for bad in [
            other.as_str(),
            good.trim_end_matches('='),
            &format!("{good}\n"),
            &format!(" {good}"),
            &good.replace('=', "=="),
            "",
            "AAAA",
        ] {
            assert!(matches!(add(bad), Err(KeyError::Form)), "{bad:?}");
        }
    }

    #[test]
    fn keys_for_which_anybody_can_sign_are_refused() {
        // Points of small order: the neutral element, of order 2, of order 4.
        let mut one = [0; KEY_BYTES];
        one[0] = 1;
        let mut minus_one = [0xff; KEY_BYTES];
        minus_one[0] = 0xec;
        minus_one[KEY_BYTES - 1] = 0x7f;
        for weak in [one, minus_one, [0; KEY_BYTES]] {
            assert!(matches!(add(&encode(&weak)), Err(KeyError::Weak)), "{weak:?}");
        }
        // The same points in spellings that stand for them after reduction: y + p.
        for low in 0xed..=0xff_u8 {
            let mut large = [0xff; KEY_BYTES];
            large[0] = low;
            for top in [0x7f, 0xff] {
                large[KEY_BYTES - 1] = top;
                assert!(
                    matches!(add(&encode(&large)), Err(KeyError::NoKey)),
                    "{low:x} {top:x}"
                );
            }
        }
        // y = 2 is on no point of the curve.
        let mut none = [0; KEY_BYTES];
        none[0] = 2;
        assert!(matches!(add(&encode(&none)), Err(KeyError::NoKey)));
    }

    #[test]
    fn one_key_is_one_signer() {
        let mut keys = TrustedKeys::default();
        keys.add("acme", &key().public_key()).unwrap();
        keys.add("acme", &key().public_key()).unwrap();
        let error = keys.add("other", &key().public_key()).unwrap_err();
        assert!(error.to_string().contains("acme"), "{error}");
        assert_eq!(keys.ids().collect::<Vec<_>>(), ["acme"]);
    }
}
