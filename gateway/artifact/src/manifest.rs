//! The files of an artifact in canonical order, and the digest over them.
//!
//! An entry is a path relative to the artifact, in UTF-8 as it is stored, and what is there: a file (executable or not, size, SHA-256)
//! or a symbolic link (its target). Entries are ordered by the bytes of their paths. The digest is the SHA-256 over
//!
//! ```text
//! "defenseclaw.artifact.content.v1\0"  number of entries (u64)
//! for each:  "f"  path length (u64)  path  executable (0 or 1)  size (u64)  SHA-256 (32 bytes)
//!        or  "l"  path length (u64)  path  target length (u64)  target
//! ```
//!
//! with little-endian numbers. Lengths stand before what they measure, so no name can look like something else. Names are not
//! normalised: two spellings that look the same are two names. Empty folders, times and owners are no content.
//!
//! The signature file at the top of a folder is the one file that is not in it.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::signature::SIGNATURE_FILE;
use crate::tree;

/// Begins what is hashed, so that no other hash of this program can be taken for this one.
pub(crate) const DOMAIN: &[u8] = b"defenseclaw.artifact.content.v1\0";

/// Why an artifact has no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// It cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It has a name that is no UTF-8.
    #[error("the name {path:?} is not UTF-8; rename it")]
    Name {
        /// Which.
        path: PathBuf,
    },
    /// It is neither file nor folder nor link.
    #[error("{} is {what}; an artifact is made of files, folders and links inside it", path.display())]
    Special {
        /// What.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A link leads out of the artifact, or over another link.
    #[error(
        "{path} links to {target:?}, which is no file or folder inside the artifact; put the file itself there"
    )]
    Link {
        /// The link, relative to the artifact.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// A file runs with somebody else's rights.
    #[error("{} is set-user-ID or set-group-ID; take that away (chmod ug-s)", .0.display())]
    SetId(PathBuf),
    /// A file was changed while it was read.
    #[error("{} was changed while it was read; try again when nobody writes there", .0.display())]
    Changed(PathBuf),
    /// More than is read.
    #[error("{} goes over the bound of {bound}; such an artifact is not read", path.display())]
    TooLarge {
        /// Where the bound was met.
        path: PathBuf,
        /// Which bound.
        bound: String,
    },
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// A file.
    File {
        /// Whether anyone may execute it.
        executable: bool,
        /// Its size in bytes.
        size: u64,
        /// The SHA-256 of its bytes, in hex.
        sha256: String,
    },
    /// A symbolic link.
    Link {
        /// Where it leads, as it is stored.
        target: String,
    },
}

/// One file or link of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Relative to the artifact, with `/` between the parts.
    pub path: String,
    /// What is there.
    #[serde(flatten)]
    pub content: Content,
}

/// Everything that an artifact is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Manifest {
    digest: String,
    entries: Vec<Entry>,
}

impl Manifest {
    /// Reads the artifact at `path`: a folder, or a single file, which then is the one entry.
    pub fn of(path: &Path) -> Result<Self, ArtifactError> {
        let (is_folder, mut entries) = tree::read(path)?;
        let is_signature = |entry: &Entry| entry.path == SIGNATURE_FILE && is_plain_file(&entry.content);
        entries.retain(|entry| !is_folder || !is_signature(entry));
        entries.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        Ok(Self {
            digest: digest(&entries),
            entries,
        })
    }

    /// The digest over all entries: `sha256:` and 64 hex digits. The same content has the same digest, whatever it is called.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The entries, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// What a signature file is. A link or a program of that name is content like any other.
fn is_plain_file(content: &Content) -> bool {
    matches!(
        content,
        Content::File {
            executable: false,
            ..
        }
    )
}

fn digest(entries: &[Entry]) -> String {
    let mut digest = Sha256::new_with_prefix(DOMAIN);
    digest.update((entries.len() as u64).to_le_bytes());
    for entry in entries {
        let text = |digest: &mut Sha256, text: &str| {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text.as_bytes());
        };
        match &entry.content {
            Content::File {
                executable,
                size,
                sha256,
            } => {
                digest.update(b"f");
                text(&mut digest, &entry.path);
                digest.update([u8::from(*executable)]);
                digest.update(size.to_le_bytes());
                digest.update(unhex(sha256));
            }
            Content::Link { target } => {
                digest.update(b"l");
                text(&mut digest, &entry.path);
                text(&mut digest, target);
            }
        }
    }
    format!("sha256:{}", hex(&digest.finalize()))
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of hex digits that [`hex`] made.
fn unhex(digits: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte - b'0',
        _ => byte.wrapping_sub(b'a').wrapping_add(10),
    };
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs.map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_documented_one() {
        let file = Entry {
            path: "a".to_owned(),
            content: Content::File {
                executable: true,
                size: 1,
                sha256: hex(&Sha256::digest(b"x")),
            },
        };
        let mut bytes = DOMAIN.to_vec();
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(b"f");
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(b"a\x01");
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(Sha256::digest(b"x"));
        assert_eq!(digest(&[file]), format!("sha256:{}", hex(&Sha256::digest(bytes))));
    }

    #[test]
    fn hex_there_and_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&all)), all);
    }
}
