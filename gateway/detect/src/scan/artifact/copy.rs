//! A copy of an artifact as one stream of bytes: what the install gate's scanner gets in place of files.
//!
//! `DCA1`, then entries until the end: path length (u32), path (relative, `/` between parts, as bytes), type (u8: 0 file, 1 symbolic
//! link, 2 folder, 3 anything else), mode (u32), content length (u64), content (a file's bytes; a link's target). Numbers are
//! little-endian, entries are ordered by the bytes of their paths.
//!
//! The same files give the same [`Artifact`] as [`read`](super::read) on the folder: bounds, archives, digest. Nothing is opened here.

use std::io::{self, BufRead, BufReader, Read};

use sha2::{Digest, Sha256};

use super::{
    Artifact, Collector, Entry, Known, MAX_DEPTH, MAX_FILE, MAX_PATH, MAX_UNPACKED, Root, format_of, misread,
    name_of, walk,
};

/// The first bytes of every copy.
const MAGIC: &[u8; 4] = b"DCA1";

/// Largest copy (bytes): the longest that reading and hashing may take is about a second.
const MAX_COPY: u64 = 1 << 30;

/// Most entries of a copy, folders included: ten times as many as are looked at, so that the digest still covers a large artifact.
const MAX_ENTRIES: usize = 100_000;

/// What is read at once.
const CHUNK: usize = 64 << 10;

/// Why a copy cannot be read. Whoever made it made a mistake, or it is not a copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It cannot be read.
    #[error("the copy cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It begins with something else.
    #[error("it is no copy of an artifact: it does not begin with DCA1")]
    Magic,
    /// It ends within an entry.
    #[error("the copy ends within its entry number {0}")]
    Cut(usize),
    /// An entry is not of the expected form.
    #[error("entry number {number} of the copy {what}")]
    Entry {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It is over a bound.
    #[error("the copy has more than {0}; so large an artifact is not scanned")]
    TooLarge(&'static str),
}

/// What stands before an entry's content.
struct Head {
    path: Vec<u8>,
    kind: u8,
    mode: u32,
    length: u64,
}

/// Reads a copy.
///
/// # Errors
/// When it is no copy, is cut off, or is over a bound.
pub fn read_copy(from: impl Read) -> Result<Artifact, CopyError> {
    let mut from = BufReader::with_capacity(CHUNK, from);
    let mut magic = [0; 4];
    from.read_exact(&mut magic).map_err(|_| CopyError::Magic)?;
    if &magic != MAGIC {
        return Err(CopyError::Magic);
    }
    let mut reader = Copied {
        from,
        collector: Collector::default(),
        number: 0,
        last: Vec::new(),
        left: MAX_COPY,
        single: false,
    };
    let mut packed = false;
    while let Some(head) = reader.head()? {
        packed = reader.entry(&head)?;
    }
    let root = match (reader.number, packed, reader.single) {
        (1, true, true) => Root::Archive,
        (1, false, true) => Root::File,
        _ => Root::Folder,
    };
    Ok(reader.collector.finish(root))
}

struct Copied<R> {
    from: BufReader<R>,
    collector: Collector,
    /// Of the entry that is read, from 1.
    number: usize,
    /// The path before.
    last: Vec<u8>,
    left: u64,
    /// Whether the last entry was a file at the top.
    single: bool,
}

impl<R: Read> Copied<R> {
    /// The next entry; `None` at the end.
    fn head(&mut self) -> Result<Option<Head>, CopyError> {
        if self.from.fill_buf()?.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if self.number > MAX_ENTRIES {
            return Err(CopyError::TooLarge("100,000 entries"));
        }
        let length = u32::from_le_bytes(self.bytes()?) as usize;
        if length == 0 || length > MAX_PATH {
            return Err(self.wrong("has an empty path, or one that is too long"));
        }
        let mut path = vec![0; length];
        self.fill(&mut path)?;
        if !is_relative(&path) {
            return Err(self.wrong("has a path that leads out of the artifact"));
        }
        if path <= self.last {
            return Err(self.wrong("is out of order"));
        }
        self.last.clone_from(&path);
        let [kind] = self.bytes()?;
        let mode = u32::from_le_bytes(self.bytes()?);
        let length = u64::from_le_bytes(self.bytes()?);
        self.left = self
            .left
            .checked_sub(length)
            .ok_or(CopyError::TooLarge("1 GiB of content"))?;
        let fits = match kind {
            0 => true,
            1 => length <= MAX_PATH as u64,
            2 | 3 => length == 0,
            _ => return Err(self.wrong("is of no known type")),
        };
        if !fits {
            return Err(self.wrong("has content that its type has not"));
        }
        Ok(Some(Head {
            path,
            kind,
            mode,
            length,
        }))
    }

    /// Takes an entry; says whether it is an archive.
    fn entry(&mut self, head: &Head) -> Result<bool, CopyError> {
        let path = name_of(&head.path);
        if misread(&path) {
            let message = "The name holds characters that are not seen or turn its direction".to_owned();
            self.collector.tell(&path, Known::Name, message);
        }
        let depth = head.path.iter().filter(|byte| **byte == b'/').count();
        if depth == MAX_DEPTH + 1 {
            let message = format!("Folders lie deeper than {MAX_DEPTH}");
            self.collector.tell(&path, Known::Limit, message);
        }
        self.single = head.kind == 0 && depth == 0;
        match head.kind {
            0 => return self.file(head, path),
            1 => {
                let mut target = vec![0; usize::try_from(head.length).unwrap_or(MAX_PATH)];
                self.fill(&mut target)?;
                self.collector.digest.link(&head.path, &target);
                walk::link(&path, &name_of(&target), &mut self.collector);
            }
            3 => {
                self.collector.digest.other(&head.path);
                walk::tell_special(&path, &mut self.collector);
            }
            _ => {}
        }
        Ok(false)
    }

    /// Takes a file. The digest covers it also where it is not looked at any more.
    fn file(&mut self, head: &Head, path: String) -> Result<bool, CopyError> {
        // An artifact that is one archive is unpacked whole; nobody knows yet whether this is the only entry.
        let most = if self.number == 1 {
            MAX_UNPACKED.max(MAX_FILE)
        } else {
            MAX_FILE
        };
        let keep = most.min(self.collector.room()).min(head.length);
        let mut bytes = vec![0; usize::try_from(keep).unwrap_or_default()];
        self.fill(&mut bytes)?;
        let mut digest = Sha256::new();
        digest.update(&bytes);
        let mut rest = head.length - keep;
        let mut chunk = vec![0; CHUNK.min(usize::try_from(rest).unwrap_or(CHUNK))];
        while rest > 0 {
            let now = chunk.len().min(usize::try_from(rest).unwrap_or(CHUNK));
            let Some(part) = chunk.get_mut(..now) else { break };
            self.fill(part)?;
            digest.update(&*part);
            rest -= now as u64;
        }
        if self.number == 1 && !self.from.fill_buf()?.is_empty() {
            bytes.truncate(usize::try_from(MAX_FILE).unwrap_or_default());
            bytes.shrink_to_fit();
        }
        let packed = format_of(&bytes).is_archive();
        let entry = Entry {
            path,
            size: head.length,
            executable: head.mode & 0o111 != 0,
            nesting: 0,
        };
        self.collector.note(&head.path, &entry, &digest.finalize().into());
        self.collector.add(entry, bytes);
        Ok(packed)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], CopyError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), CopyError> {
        match self.from.read_exact(bytes) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(CopyError::Cut(self.number)),
            Err(error) => Err(error.into()),
        }
    }

    fn wrong(&self, what: &'static str) -> CopyError {
        CopyError::Entry {
            number: self.number,
            what,
        }
    }
}

/// Whether a path stays below the artifact: parts that are neither empty nor `.` nor `..`, without NUL.
fn is_relative(path: &[u8]) -> bool {
    let odd = |part: &[u8]| part.is_empty() || part == b"." || part == b"..";
    !path.contains(&0) && !path.split(|byte| *byte == b'/').any(odd)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use defenseclaw_artifact::Manifest;
    use proptest::prelude::*;

    use super::*;
    use crate::scan::artifact::read;

    fn entry(out: &mut Vec<u8>, path: &str, kind: u8, mode: u32, content: &[u8]) {
        out.extend((path.len() as u32).to_le_bytes());
        out.extend(path.as_bytes());
        out.push(kind);
        out.extend(mode.to_le_bytes());
        out.extend((content.len() as u64).to_le_bytes());
        out.extend(content);
    }

    /// The copy of a real folder or file.
    fn copy_of(root: &Path) -> Vec<u8> {
        let mut found = Vec::new();
        let single = !root.is_dir();
        let mut waiting = vec![root.to_owned()];
        while let Some(at) = waiting.pop() {
            let base = if single { root.parent().unwrap() } else { root };
            let path = at.strip_prefix(base).unwrap().to_str().unwrap().to_owned();
            let meta = at.symlink_metadata().unwrap();
            let mode = meta.permissions().mode();
            if meta.is_dir() {
                waiting.extend(fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
                if !path.is_empty() {
                    found.push((path, 2, mode, Vec::new()));
                }
            } else if meta.is_symlink() {
                let target = fs::read_link(&at).unwrap();
                found.push((path, 1, mode, target.into_os_string().into_encoded_bytes()));
            } else if meta.is_file() {
                found.push((path, 0, mode, fs::read(&at).unwrap()));
            } else {
                found.push((path, 3, mode, Vec::new()));
            }
        }
        found.sort();
        let mut out = MAGIC.to_vec();
        for (path, kind, mode, content) in found {
            entry(&mut out, &path, kind, mode, &content);
        }
        out
    }

    fn same(root: &Path) -> Artifact {
        let (copied, walked) = (read_copy(&copy_of(root)[..]).unwrap(), read(root).unwrap());
        assert_eq!(copied.digest, walked.digest, "{}", root.display());
        assert_eq!(copied.files, walked.files);
        let sorted = |artifact: &Artifact| {
            let mut problems: Vec<_> = artifact
                .problems
                .iter()
                .map(|found| (found.file.clone(), found.rule.clone(), found.message.clone()))
                .collect();
            problems.sort();
            problems
        };
        assert_eq!(sorted(&copied), sorted(&walked));
        assert_eq!((copied.bytes, copied.packed), (walked.bytes, walked.packed));
        assert_eq!(copied.signature, walked.signature);
        copied
    }

    #[test]
    fn a_copy_is_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/empty")).unwrap();
        fs::write(root.join("SKILL.md"), "---\nname: x\n---\n").unwrap();
        fs::write(root.join("a/run.sh"), "echo\n").unwrap();
        fs::set_permissions(root.join("a/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(root.join("a-b"), "").unwrap();
        symlink("a/run.sh", root.join("in")).unwrap();
        fs::write(root.join("defenseclaw.sig.json"), "{}\n").unwrap();
        let copied = same(root);
        assert_eq!(copied.digest, Manifest::of(root).unwrap().digest());
        assert_eq!(copied.signature.as_deref(), Some("{}\n"));
        // What has no manifest has a digest all the same, the same both ways.
        symlink("/etc/passwd", root.join("out")).unwrap();
        let fifo = root.join("pipe");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(same(root).problems.len(), 3);
        assert!(Manifest::of(root).is_err());
    }

    #[test]
    fn real_folders_and_single_files_have_one_digest() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
        for root in [
            crates.join("src/scan"),
            crates.join("README.md"),
            crates.join("../../policies/rego"),
        ] {
            assert_eq!(same(&root).digest, Manifest::of(&root).unwrap().digest());
        }
    }

    #[test]
    fn what_is_no_copy_is_named() {
        let mut whole = MAGIC.to_vec();
        entry(&mut whole, "a", 0, 0o644, b"content");
        assert_eq!(read_copy(&whole[..]).unwrap().files.len(), 1);
        for cut in 5..whole.len() {
            assert!(
                matches!(read_copy(&whole[..cut]), Err(CopyError::Cut(1))),
                "{cut}"
            );
        }
        assert!(matches!(read_copy(&b"DCA"[..]), Err(CopyError::Magic)));
        assert!(matches!(read_copy(&b"PK\x03\x04"[..]), Err(CopyError::Magic)));
        assert!(read_copy(&b"DCA1"[..]).unwrap().files.is_empty());
        type Bad<'a> = (&'a [(&'a str, u8, &'a [u8])], &'a str);
        let bad: [Bad<'_>; 8] = [
            (&[("../a", 0, b"")], "leads out"),
            (&[("/a", 0, b"")], "leads out"),
            (&[("a/./b", 0, b"")], "leads out"),
            (&[("a\0b", 0, b"")], "leads out"),
            (&[("b", 0, b""), ("a", 0, b"")], "out of order"),
            (&[("a", 0, b""), ("a", 1, b"x")], "out of order"),
            (&[("a", 2, b"x")], "its type has not"),
            (&[("a", 4, b"")], "no known type"),
        ];
        for (entries, said) in bad {
            let mut copy = MAGIC.to_vec();
            for (path, kind, content) in entries {
                entry(&mut copy, path, *kind, 0, content);
            }
            let error = read_copy(&copy[..]).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        // A length that nothing stands behind costs nothing.
        let mut copy = MAGIC.to_vec();
        entry(&mut copy, "a", 0, 0, b"");
        let at = copy.len() - 8;
        copy[at..].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(read_copy(&copy[..]), Err(CopyError::TooLarge(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = read_copy(&[MAGIC.as_slice(), &bytes].concat()[..]);
        }

        #[test]
        fn damage_is_survived(at in 4usize..60, byte in any::<u8>()) {
            let mut copy = MAGIC.to_vec();
            entry(&mut copy, "a", 0, 0o644, b"content");
            entry(&mut copy, "b", 1, 0o777, b"a");
            let at = at % copy.len();
            copy[at] = byte;
            let _ = read_copy(&copy[..]);
        }
    }
}
