//! The signature file: made, and verified.
//!
//! ```json
//! {
//!   "version": 1,
//!   "kind": "skill",
//!   "name": "pdf-forms",
//!   "artifact_version": "1.4.0",
//!   "content": "sha256:…",
//!   "signer": "acme",
//!   "signature": "base64 of 64 bytes"
//! }
//! ```
//!
//! It lies at the top of a folder, or beside a single file, and is not part of what is signed. It has one spelling, to the byte, so
//! that nothing can be said in it to an agent that reads it. The Ed25519 signature (RFC 8032) is over
//!
//! ```text
//! "defenseclaw.artifact.signature.v1\0"  kind length (u64)  kind  name length (u64)  name
//! version there (0 or 1)  version length (u64)  version  content digest, as it is written
//! ```

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use defenseclaw_model::admission::ArtifactKind;
use ed25519_dalek::VerifyingKey;
use nix::libc;
use serde::{Deserialize, Serialize};

use crate::key::{KeyError, SignerKey, TrustedKeys, check_id, decode};
use crate::manifest::{ArtifactError, Manifest};

/// The signature file's name in a folder; behind `.` beside a single file.
pub const SIGNATURE_FILE: &str = "defenseclaw.sig.json";

/// Begins what is signed, so that no signature of another purpose can be taken for this one.
const DOMAIN: &[u8] = b"defenseclaw.artifact.signature.v1\0";
/// Largest signature file (bytes); one has about 350.
const MAX_FILE: u64 = 8 << 10;
/// Longest name and longest version of an artifact (bytes).
const MAX_TEXT: usize = 1024;
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 64;

/// As what an artifact is signed and used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What it is.
    pub kind: ArtifactKind,
    /// Its name.
    pub name: String,
    /// Its version, where it has one.
    pub version: Option<String>,
}

/// What a signature file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    version: u32,
    /// What was signed as.
    kind: ArtifactKind,
    name: String,
    artifact_version: Option<String>,
    content: String,
    signer: String,
    signature: String,
}

/// Why an artifact was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// Its content cannot be told.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its name or version is empty or too long.
    #[error("the {0} of an artifact has 1 to {MAX_TEXT} bytes")]
    Identity(&'static str),
    /// The file cannot be written.
    #[error("the signature file {} cannot be written: {why}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Why nobody is told as the signer.
#[derive(Debug, thiserror::Error)]
pub enum Unverified {
    /// There is no signature.
    #[error("it is not signed: there is no {}", .0.display())]
    Unsigned(PathBuf),
    /// The file is no signature file.
    #[error("{} is no signature: {why}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It was signed as something else.
    #[error("the signature is for the {what} {signed:?}, and this is {expected:?}")]
    Identity {
        /// Kind, name or version.
        what: &'static str,
        /// What was signed.
        signed: String,
        /// What it is used as.
        expected: String,
    },
    /// Nobody trusts that signer.
    #[error("{0:?} is no trusted signer: `trust.signers` has no public key under that id")]
    Untrusted(String),
    /// Its content cannot be told.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// It is not what was signed.
    #[error(
        "something was changed, added, removed or renamed since it was signed: the content is {found}, signed was {signed}"
    )]
    Content {
        /// The digest of what is there.
        found: String,
        /// The digest that was signed.
        signed: String,
    },
    /// The signature is not by that signer's key.
    #[error("the signature was not made with the key of {0}")]
    Wrong(String),
}

/// A signature that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The id of whose it is.
    pub signer: String,
    /// The digest of the artifact's content.
    pub digest: String,
}

/// What is known of an artifact's content and signer, for the admission policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The verified signer; `None` for anything else than a valid signature of a trusted signer.
    pub signed_by: Option<String>,
    /// The digest of the content; `None` where it cannot be told.
    pub digest: Option<String>,
    /// Why there is no signer.
    pub reason: Option<String>,
}

/// Where the signature of the artifact at `path` lies.
pub fn signature_path(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.join(SIGNATURE_FILE);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".");
    beside.push(SIGNATURE_FILE);
    PathBuf::from(beside)
}

impl Identity {
    fn check(&self) -> Result<(), SignatureError> {
        let fits = |text: &str| !text.is_empty() && text.len() <= MAX_TEXT;
        if !fits(&self.name) {
            return Err(SignatureError::Identity("name"));
        }
        if !self.version.as_deref().is_none_or(fits) {
            return Err(SignatureError::Identity("version"));
        }
        Ok(())
    }

    /// What is signed.
    fn message(&self, content: &str) -> Vec<u8> {
        let mut message = DOMAIN.to_vec();
        let mut text = |text: &str| {
            message.extend((text.len() as u64).to_le_bytes());
            message.extend(text.as_bytes());
        };
        text(self.kind.as_str());
        text(&self.name);
        message.push(u8::from(self.version.is_some()));
        let version = self.version.as_deref().unwrap_or_default();
        message.extend((version.len() as u64).to_le_bytes());
        message.extend(version.as_bytes());
        message.extend(content.as_bytes());
        message
    }
}

impl Signature {
    /// As what the artifact was signed.
    pub fn identity(&self) -> Identity {
        Identity {
            kind: self.kind,
            name: self.name.clone(),
            version: self.artifact_version.clone(),
        }
    }

    /// Who says to have signed it. Nothing is verified yet.
    pub fn claimed_signer(&self) -> &str {
        &self.signer
    }

    /// The file's only spelling.
    fn text(&self) -> Result<String, serde_json::Error> {
        Ok(format!("{}\n", serde_json::to_string_pretty(self)?))
    }
}

/// Signs the artifact at `path` as `identity`.
pub fn sign(path: &Path, identity: &Identity, key: &SignerKey) -> Result<Signature, SignatureError> {
    identity.check()?;
    let manifest = Manifest::of(path)?;
    Ok(Signature {
        version: 1,
        kind: identity.kind,
        name: identity.name.clone(),
        artifact_version: identity.version.clone(),
        content: manifest.digest().to_owned(),
        signer: key.id().to_owned(),
        signature: key.sign(&identity.message(manifest.digest())),
    })
}

/// Writes a signature file, in place of one that is there.
pub fn write_signature(signature: &Signature, path: &Path) -> Result<(), SignatureError> {
    let failed = |why: &dyn std::fmt::Display| SignatureError::Write {
        path: path.to_owned(),
        why: why.to_string(),
    };
    let text = signature.text().map_err(|error| failed(&error))?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(name);
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o644).open(&new);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    });
    written.map_err(|error| {
        // What is left of it would be content of the artifact.
        let _ = std::fs::remove_file(&new);
        failed(&error)
    })
}

/// Reads a signature file. What it says is not verified.
pub fn read_signature(path: &Path) -> Result<Signature, Unverified> {
    let malformed = |why: &dyn std::fmt::Display| Unverified::Malformed {
        path: path.to_owned(),
        why: why.to_string(),
    };
    let mut options = OpenOptions::new();
    // A link would let somebody choose the file, and a FIFO would let us wait for ever.
    let file = options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let file = match file {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Unverified::Unsigned(path.to_owned()));
        }
        other => other.map_err(|error| malformed(&error))?,
    };
    if !file.metadata().map_err(|error| malformed(&error))?.is_file() {
        return Err(malformed(&"it is no ordinary file"));
    }
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|error| malformed(&error))?;
    parse(&text, path)
}

/// Reads what a signature file says. `path` is named in errors.
fn parse(text: &str, path: &Path) -> Result<Signature, Unverified> {
    let malformed = |why: &dyn std::fmt::Display| Unverified::Malformed {
        path: path.to_owned(),
        why: why.to_string(),
    };
    if text.len() as u64 > MAX_FILE {
        return Err(malformed(&format!("it has more than {MAX_FILE} bytes")));
    }
    let signature: Signature = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    if signature.version != 1 {
        return Err(malformed(&format!("version {} is not known", signature.version)));
    }
    signature.identity().check().map_err(|error| malformed(&error))?;
    check_id(&signature.signer).map_err(|error| malformed(&error))?;
    if signature.text().map_err(|error| malformed(&error))? != text {
        return Err(malformed(
            &"it is not spelled as `defenseclaw-cli artifact sign` writes it",
        ));
    }
    Ok(signature)
}

/// Verifies that a trusted signer signed the artifact at `path` as exactly that. `file`: the signature file, where it is not in
/// its usual place.
pub fn verify(
    path: &Path,
    expected: &Identity,
    keys: &TrustedKeys,
    file: Option<&Path>,
) -> Result<Verified, Unverified> {
    let usual = signature_path(path);
    let signature = read_signature(file.unwrap_or(&usual))?;
    let key = trusted(&signature, expected, keys)?;
    let manifest = Manifest::of(path)?;
    holds(signature, expected, key, manifest.digest())
}

/// The same for content whose digest is known, and for the text of its signature file. `digest` must be that of the bytes as they
/// are used; the text may come from anybody. A version is the signature's own where nobody says one: it is signed too.
pub fn verify_text(
    text: &str,
    kind: ArtifactKind,
    name: &str,
    digest: &str,
    keys: &TrustedKeys,
) -> Result<Verified, Unverified> {
    let signature = parse(text, Path::new(SIGNATURE_FILE))?;
    let expected = Identity {
        kind,
        name: name.to_owned(),
        version: signature.artifact_version.clone(),
    };
    let key = trusted(&signature, &expected, keys)?;
    holds(signature, &expected, key, digest)
}

/// The key of the signer, where the signature is for exactly that.
fn trusted<'k>(
    signature: &Signature,
    expected: &Identity,
    keys: &'k TrustedKeys,
) -> Result<&'k VerifyingKey, Unverified> {
    let signed = signature.identity();
    same("kind", signed.kind.as_str(), expected.kind.as_str())?;
    same("name", &signed.name, &expected.name)?;
    if signed.version != expected.version {
        let words = |version: &Option<String>| version.clone().unwrap_or_else(|| "(none)".to_owned());
        return Err(Unverified::Identity {
            what: "version",
            signed: words(&signed.version),
            expected: words(&expected.version),
        });
    }
    keys.get(&signature.signer)
        .ok_or_else(|| Unverified::Untrusted(signature.signer.clone()))
}

/// Whether the signature is over that content, by that key.
fn holds(
    signature: Signature,
    expected: &Identity,
    key: &VerifyingKey,
    digest: &str,
) -> Result<Verified, Unverified> {
    if digest != signature.content {
        return Err(Unverified::Content {
            found: digest.to_owned(),
            signed: signature.content,
        });
    }
    let wrong = || Unverified::Wrong(signature.signer.clone());
    let bytes = decode::<SIGNATURE_BYTES>(&signature.signature).ok_or_else(wrong)?;
    // Strict: no weak keys, no second form of the same signature.
    key.verify_strict(
        &expected.message(digest),
        &ed25519_dalek::Signature::from_bytes(&bytes),
    )
    .map_err(|_| wrong())?;
    Ok(Verified {
        signer: signature.signer,
        digest: digest.to_owned(),
    })
}

fn same(what: &'static str, signed: &str, expected: &str) -> Result<(), Unverified> {
    if signed == expected {
        return Ok(());
    }
    Err(Unverified::Identity {
        what,
        signed: signed.to_owned(),
        expected: expected.to_owned(),
    })
}

/// What the admission policy is told of the artifact at `path`: its digest, and the signer if and only if the signature holds.
pub fn standing(path: &Path, expected: &Identity, keys: &TrustedKeys) -> Standing {
    match verify(path, expected, keys, None) {
        Ok(verified) => Standing {
            signed_by: Some(verified.signer),
            digest: Some(verified.digest),
            reason: None,
        },
        Err(why) => {
            let digest = match &why {
                Unverified::Content { found, .. } => Some(found.clone()),
                Unverified::Artifact(_) => None,
                _ => Manifest::of(path)
                    .ok()
                    .map(|manifest| manifest.digest().to_owned()),
            };
            Standing {
                signed_by: None,
                digest,
                reason: Some(why.to_string()),
            }
        }
    }
}
