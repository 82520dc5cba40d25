//! An artifact's files, read within bounds: a folder, one file, or an archive, with the archives in it.
//!
//! Nothing is followed out of a folder, nothing is opened that is no plain file, and every bound that is hit is a finding:
//! what could not be looked at is never passed as clean.

mod archive;
mod copy;
mod format;
#[cfg(test)]
mod tests;
mod walk;

use std::path::{Path, PathBuf};

use defenseclaw_artifact::{ContentDigest, SIGNATURE_FILE};
use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::ScanFinding;
use sha2::{Digest, Sha256};

pub use copy::{CopyError, read_copy};
pub(crate) use format::{Format, format_of};

/// Most files, those in archives included: a skill has dozens, a plugin with its packages some thousands.
pub const MAX_FILES: usize = 10_000;

/// Most of one file that is kept and looked at (bytes). Source and text are far below; what is larger is media or data.
pub const MAX_FILE: u64 = 8 << 20;

/// Most that is kept in all (bytes). It bounds the scanner's memory.
pub const MAX_TOTAL: u64 = 128 << 20;

/// Most of one file that is hashed (bytes), so that a sparse file of terabytes ends.
pub const MAX_HASHED: u64 = 1 << 30;

/// How deep archives may lie in archives. Packages hold one level, documents in packages two.
pub const MAX_NESTING: u32 = 4;

/// By how much what is packed may grow. Text packs 3 to 20 times, a log of one repeated line about 200 times; a bomb 1000.
pub const MAX_RATIO: u64 = 250;

/// What anything may grow to, whatever its ratio (bytes): small files of zeros are no bomb.
pub const RATIO_FROM: u64 = 1 << 20;

/// Most that one compressed stream is unpacked to (bytes).
pub const MAX_UNPACKED: u64 = 64 << 20;

/// How deep folders may lie in folders.
pub const MAX_DEPTH: usize = 48;

/// Longest path in an artifact (bytes): the kernel's own bound.
pub const MAX_PATH: usize = 4096;

/// Largest signature file that is handed on (bytes): what is larger is none.
const MAX_SIGNATURE: usize = 8 << 10;

/// Most problems that are listed; the bounds themselves are always told.
const MAX_PROBLEMS: usize = 200;

/// One file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactFile {
    /// Relative, with `/`; what lies in an archive as `archive.zip!/file`.
    pub path: String,
    /// The content, its first [`MAX_FILE`] bytes.
    pub bytes: Vec<u8>,
    /// The whole size.
    pub size: u64,
    /// Whether someone may execute it.
    pub executable: bool,
    /// How many archives it lies in.
    pub nesting: u32,
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct Artifact {
    /// The files, sorted by path.
    pub files: Vec<ArtifactFile>,
    /// What could not be read, or should not be there.
    pub problems: Vec<ScanFinding>,
    /// `sha256:` and 64 hex digits over the canonical manifest: that of `defenseclaw-artifact`.
    pub digest: String,
    /// The text of the signature file at the top, where there is one. Nothing of it is verified.
    pub signature: Option<String>,
    /// Bytes that were kept.
    pub bytes: u64,
    /// Whether the artifact is one archive.
    pub packed: bool,
}

/// Why nothing could be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The path cannot be opened.
    #[error("{} cannot be read: {source}. Name a folder, a file or an archive that this user may read", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is a FIFO, a socket or a device.
    #[error("{} is neither a folder nor a plain file: it is not opened. Name what is to be scanned", path.display())]
    Special {
        /// Which.
        path: PathBuf,
    },
}

/// Reads what stands at `path`.
pub fn read(path: &Path) -> Result<Artifact, ReadError> {
    let mut collector = Collector::default();
    let root = walk::root(path, &mut collector)?;
    Ok(collector.finish(root))
}

/// The same for files in memory: path and content.
pub fn from_memory(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Artifact {
    let mut collector = Collector::default();
    for (path, bytes) in files {
        let size = bytes.len() as u64;
        let entry = Entry::plain(path, size);
        collector.note(entry.path.as_bytes(), &entry, &Sha256::digest(&bytes).into());
        collector.add(entry, bytes);
    }
    collector.finish(Root::Folder)
}

/// What stands where an artifact stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Folder,
    File,
    /// A file that is an archive.
    Archive,
}

/// A file as it is handed to the collector.
#[derive(Debug)]
struct Entry {
    path: String,
    size: u64,
    executable: bool,
    nesting: u32,
}

impl Entry {
    fn plain(path: String, size: u64) -> Self {
        Self {
            path,
            size,
            executable: false,
            nesting: 0,
        }
    }
}

/// What is gathered while reading.
#[derive(Debug, Default)]
struct Collector {
    files: Vec<ArtifactFile>,
    problems: Vec<ScanFinding>,
    /// Over everything that was met, looked at or not.
    digest: ContentDigest,
    bytes: u64,
    /// Which bounds over all files were told of.
    told: [bool; 2],
}

impl Collector {
    /// How many bytes may still be kept.
    fn room(&self) -> u64 {
        MAX_TOTAL.saturating_sub(self.bytes)
    }

    /// Whether one more file may be taken; tells where not.
    fn takes_more(&mut self, path: &str) -> bool {
        let full = [self.files.len() >= MAX_FILES, self.room() == 0];
        let what = [
            format!("it has more than {MAX_FILES} files"),
            format!("its files have more than {MAX_TOTAL} bytes"),
        ];
        for ((full, told), what) in full.into_iter().zip(&mut self.told).zip(what) {
            if full && !*told {
                *told = true;
                self.problems.push(problem(
                    path,
                    Known::Limit,
                    format!("The artifact is too large to be scanned whole: {what}"),
                ));
            }
        }
        !full.contains(&true)
    }

    fn tell(&mut self, path: &str, known: Known, message: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem(path, known, message));
        }
    }

    /// Has the digest cover a file. `path` is its name as it is stored.
    fn note(&mut self, path: &[u8], entry: &Entry, sha256: &[u8; 32]) {
        self.digest.file(path, entry.executable, entry.size, sha256);
    }

    /// Takes a file, or its beginning.
    fn add(&mut self, entry: Entry, bytes: Vec<u8>) {
        if !self.takes_more(&entry.path) {
            return;
        }
        let whole = bytes.len() as u64 == entry.size;
        self.bytes += bytes.len() as u64;
        if !whole && !format::is_media(&bytes) {
            let message = format!(
                "Only the first {} of {} bytes were looked at",
                bytes.len(),
                entry.size
            );
            self.tell(&entry.path, Known::Limit, message);
        }
        let (path, nesting) = (entry.path.clone(), entry.nesting);
        let format = format_of(&bytes);
        self.files.push(ArtifactFile {
            path: entry.path,
            size: entry.size,
            executable: entry.executable,
            nesting,
            bytes,
        });
        if format.is_archive() {
            let at = self.files.len() - 1;
            archive::expand(self, at, format, &path, nesting);
        }
    }

    fn finish(mut self, root: Root) -> Artifact {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        let signature = self.files.iter().find(|file| file.path == SIGNATURE_FILE);
        let signature = signature.and_then(|file| String::from_utf8(file.bytes.clone()).ok());
        Artifact {
            files: self.files,
            problems: self.problems,
            digest: self.digest.finish(root == Root::Folder),
            signature: signature.filter(|text| text.len() <= MAX_SIGNATURE),
            bytes: self.bytes,
            packed: root == Root::Archive,
        }
    }
}

/// What can be wrong with the files themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Limit,
    Bomb,
    Special,
    LinkOut,
    Link,
    Traversal,
    ArchiveLink,
    Encrypted,
    Unsupported,
    Damaged,
    Unreadable,
    Name,
}

/// Rule, category, severity, confidence, remedy.
type Said = (&'static str, &'static str, Severity, u8, &'static str);

impl Known {
    fn said(self) -> Said {
        use Severity::{Critical, High, Low};
        match self {
            Self::Limit => (
                "artifact.limit",
                "artifact",
                High,
                60,
                "Ask for a smaller artifact, or look at the rest by hand",
            ),
            Self::Bomb => (
                "archive.bomb",
                "archive",
                High,
                90,
                "Do not unpack it: it grows beyond all measure",
            ),
            Self::Special => (
                "artifact.special-file",
                "artifact",
                High,
                85,
                "An artifact has plain files only: remove it",
            ),
            Self::LinkOut => (
                "artifact.link-out",
                "artifact",
                High,
                80,
                "Put the file itself there, or leave the link out",
            ),
            Self::Link => (
                "artifact.link",
                "artifact",
                Low,
                60,
                "Put the file itself there if it is needed",
            ),
            Self::Traversal => (
                "archive.traversal",
                "archive",
                Critical,
                95,
                "Do not unpack it: it writes outside its folder",
            ),
            Self::ArchiveLink => (
                "archive.link",
                "archive",
                High,
                80,
                "Do not unpack it: the link leads out of its folder",
            ),
            Self::Encrypted => (
                "archive.encrypted",
                "archive",
                High,
                80,
                "What cannot be read cannot be admitted: ask for the files themselves",
            ),
            Self::Unsupported => (
                "archive.unsupported",
                "archive",
                High,
                60,
                "Ask for the files themselves, or for zip or tar.gz",
            ),
            Self::Damaged => (
                "archive.damaged",
                "archive",
                High,
                60,
                "Ask for an archive that can be read whole",
            ),
            Self::Unreadable => (
                "artifact.unreadable",
                "artifact",
                High,
                60,
                "Let the scanner read it, or remove it",
            ),
            Self::Name => (
                "artifact.name",
                "artifact",
                Severity::Medium,
                70,
                "Rename it: names are plain text",
            ),
        }
    }
}

fn problem(path: &str, known: Known, message: String) -> ScanFinding {
    let (rule, category, severity, confidence, remedy) = known.said();
    ScanFinding {
        rule: rule.to_owned(),
        category: category.to_owned(),
        severity,
        confidence,
        file: path.to_owned(),
        line: 0,
        message,
        evidence: String::new(),
        remedy: remedy.to_owned(),
    }
}

/// A name as text: what is no UTF-8 is written as `\xNN`.
fn name_of(raw: &[u8]) -> String {
    let mut name = String::new();
    for chunk in raw.utf8_chunks() {
        name.push_str(chunk.valid());
        for byte in chunk.invalid() {
            name.push_str(&format!("\\x{byte:02x}"));
        }
    }
    name
}

/// Whether a name can be misread: it has a line break, another control character, or one that turns the writing's direction.
fn misread(name: &str) -> bool {
    name.chars().any(|c| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    })
}
