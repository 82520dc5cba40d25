//! The copy of an artifact that is scanned: read by descriptor, below the folder that was opened, into sealed memory.
//!
//! Format `DCA1`: the four bytes, then for each entry, sorted by the bytes of its path: path length (u32), path, type (u8: 0 file,
//! 1 link, 2 folder, 3 anything else), mode (u32), content length (u64), content (a link's target; nothing for 2 and 3). Numbers are
//! little-endian. Nothing of the content is looked at here.
//!
//! The digest is that of `defenseclaw-artifact` over the same files; what that crate refuses (a FIFO, a name that is no UTF-8) has
//! bytes of its own here, so that no two different trees agree.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{
    AT_FDCWD, AtFlags, FcntlArg, OFlag, OpenHow, ResolveFlag, SealFlag, fcntl, openat2, readlinkat,
};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};
use sha2::{Digest, Sha256};

/// Most entries. A skill has dozens, a plugin with its packages some thousands; the scanner looks at 10,000 files.
pub const MAX_ENTRIES: usize = 20_000;
/// Most bytes of one file. The scanner looks at the first 8 MiB, and the digest covers all: what is larger is no source.
pub const MAX_FILE: u64 = 64 << 20;
/// Most bytes together: what one scan may take of this host's memory.
pub const MAX_TOTAL: u64 = 128 << 20;
/// How deep folders may lie in folders, as for the scanner.
pub const MAX_DEPTH: usize = 48;
/// Longest path (bytes): the kernel's own bound.
pub const MAX_PATH: usize = 4095;
/// A file that was changed less than this ago may be changed again without its times telling: clocks of file systems tick every 1 to
/// 10 ms.
pub const TICK: Duration = Duration::from_millis(20);
/// What is read at once.
const CHUNK: usize = 128 << 10;

const DOMAIN: &[u8] = b"defenseclaw.artifact.content.v1\0";
const SIGNATURE_FILE: &[u8] = b"defenseclaw.sig.json";

/// What tells whether a file is still what was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Device and inode.
    pub file: (u64, u64),
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// That of a file as it is.
    pub fn of(stat: &FileStat) -> Self {
        Self {
            file: (stat.st_dev, stat.st_ino),
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether a change from now on would show. A time that lies ahead differs from every time that a change now would leave.
    fn is_quiet(&self) -> bool {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME);
        let Ok(now) = now else { return false };
        let now = i128::from(now.tv_sec()) * 1_000_000_000 + i128::from(now.tv_nsec());
        let changed = i128::from(self.changed.0) * 1_000_000_000 + i128::from(self.changed.1);
        (now - changed).unsigned_abs() >= TICK.as_nanos()
    }
}

/// A copy.
#[derive(Debug)]
pub struct Copy {
    /// The bytes, sealed.
    pub memory: OwnedFd,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// SHA-256 over all that was scanned, the signature file too, which `digest` leaves out: a report is about these very bytes.
    pub scanned: [u8; 32],
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whose the artifact is.
    pub uid: u32,
    /// Device and inode of the artifact itself.
    pub root: (u64, u64),
    /// The files as they were read.
    pub stamps: Vec<Stamp>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Somebody is writing there; it may be tried again.
    #[error("{} is being written to", .0.display())]
    Unquiet(PathBuf),
    /// It is not there.
    #[error("{} is not there any more", .0.display())]
    Gone(PathBuf),
    /// It goes over a bound.
    #[error("{} goes over the gate's bound of {bound}; such an artifact is not scanned", path.display())]
    Bound {
        /// Where the bound was met.
        path: PathBuf,
        /// Which.
        bound: String,
    },
    /// It took too long.
    #[error("copying {} took longer than an open may wait", .0.display())]
    Time(PathBuf),
    /// The system refused.
    #[error("{}: {error}", path.display())]
    System {
        /// What.
        path: PathBuf,
        /// Why.
        error: Errno,
    },
}

/// Copies the artifact at `path` once. No link is followed on the way to it, or in it.
pub fn copy(path: &Path, deadline: Instant) -> Result<Copy, CopyError> {
    let failed = |error| system(path, error);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(Errno::EINVAL));
    };
    let parent = open_plain(parent).map_err(failed)?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV);
    let root = openat2(&parent, name, how).map_err(failed)?;
    let stat = fstat(&root).map_err(failed)?;
    let is_folder = kind(&stat) == SFlag::S_IFDIR;
    let mut list = List {
        at: path,
        found: Vec::new(),
        deadline,
    };
    let base = if is_folder {
        list.folder(root.as_fd(), &mut Vec::new(), 0)?;
        root.as_fd()
    } else {
        list.found.push((name.as_bytes().to_vec(), stat));
        parent.as_fd()
    };
    let mut found = list.found;
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let mut writer = Writer::new(path, base, deadline)?;
    for (name, stat) in &found {
        writer.entry(name, stat)?;
    }
    writer.finish(is_folder, &stat)
}

/// Opens a folder by a path that has no links.
pub fn open_plain(path: &Path) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(AT_FDCWD, path, how)
}

fn system(path: &Path, error: Errno) -> CopyError {
    match error {
        Errno::ENOENT | Errno::ENOTDIR => CopyError::Gone(path.to_owned()),
        Errno::EXDEV => bound(
            path.to_owned(),
            "one file system: another is mounted there".to_owned(),
        ),
        error => CopyError::System {
            path: path.to_owned(),
            error,
        },
    }
}

/// What kind of file it is.
pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// The way that everything below an artifact is opened: nothing leads out, over a link or onto another file system.
fn below() -> ResolveFlag {
    ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS
        | ResolveFlag::RESOLVE_NO_XDEV
}

struct List<'a> {
    at: &'a Path,
    found: Vec<(Vec<u8>, FileStat)>,
    deadline: Instant,
}

impl List<'_> {
    fn folder(
        &mut self,
        folder: BorrowedFd<'_>,
        prefix: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), CopyError> {
        let here = || self.at.join(OsStr::from_bytes(prefix));
        if depth > MAX_DEPTH {
            return Err(bound(here(), format!("{MAX_DEPTH} folders in one another")));
        }
        if Instant::now() >= self.deadline {
            return Err(CopyError::Time(self.at.to_owned()));
        }
        let failed = |error| system(&here(), error);
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOATIME)
            .resolve(below());
        let opened = openat2(folder, ".", how).map_err(failed)?;
        let mut listed = Dir::from_fd(opened).map_err(failed)?;
        let mut names = Vec::new();
        for entry in listed.iter() {
            let entry = entry.map_err(|error| system(&here(), error))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_bytes().to_vec());
            }
            if self.found.len() + names.len() > MAX_ENTRIES {
                return Err(bound(here(), format!("{MAX_ENTRIES} files and folders")));
            }
        }
        for name in names {
            self.one(listed.as_fd(), &name, prefix, depth)?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &[u8],
        prefix: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), CopyError> {
        let before = prefix.len();
        if before > 0 {
            prefix.push(b'/');
        }
        prefix.extend_from_slice(name);
        let at = self.at.join(OsStr::from_bytes(prefix));
        if prefix.len() > MAX_PATH {
            return Err(bound(at, format!("{MAX_PATH} bytes of a path")));
        }
        // What was listed a moment ago and is gone now: somebody is at work there.
        let moved = |error| match error {
            Errno::ENOENT => CopyError::Unquiet(at.clone()),
            error => system(&at, error),
        };
        let stat = fstatat(folder, OsStr::from_bytes(name), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(moved)?;
        self.found.push((prefix.clone(), stat));
        if kind(&stat) == SFlag::S_IFDIR {
            let how = OpenHow::new()
                .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
                .resolve(below());
            let folder = openat2(folder, OsStr::from_bytes(name), how).map_err(moved)?;
            self.folder(folder.as_fd(), prefix, depth + 1)?;
        }
        prefix.truncate(before);
        Ok(())
    }
}

fn bound(path: PathBuf, bound: String) -> CopyError {
    CopyError::Bound { path, bound }
}

struct Writer<'a> {
    at: &'a Path,
    base: BorrowedFd<'a>,
    deadline: Instant,
    out: BufWriter<File>,
    /// What is digested of each entry, and whether it is the signature file.
    lines: Vec<(Vec<u8>, bool)>,
    stamps: Vec<Stamp>,
    files: u64,
    bytes: u64,
    chunk: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn new(at: &'a Path, base: BorrowedFd<'a>, deadline: Instant) -> Result<Self, CopyError> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let memory = memfd_create("artifact", flags).map_err(|error| system(at, error))?;
        let mut writer = Self {
            at,
            base,
            deadline,
            out: BufWriter::with_capacity(CHUNK, File::from(memory)),
            lines: Vec::new(),
            stamps: Vec::new(),
            files: 0,
            bytes: 0,
            chunk: vec![0; CHUNK],
        };
        writer.put(b"DCA1")?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), CopyError> {
        self.out
            .write_all(bytes)
            .map_err(|error| io_error(self.at, &error))
    }

    fn head(&mut self, name: &[u8], kind: u8, mode: u32, length: u64) -> Result<(), CopyError> {
        self.put(&(name.len() as u32).to_le_bytes())?;
        self.put(name)?;
        self.put(&[kind])?;
        self.put(&mode.to_le_bytes())?;
        self.put(&length.to_le_bytes())
    }

    fn entry(&mut self, name: &[u8], stat: &FileStat) -> Result<(), CopyError> {
        match kind(stat) {
            SFlag::S_IFREG => self.file(name),
            SFlag::S_IFDIR => self.head(name, 2, stat.st_mode, 0),
            SFlag::S_IFLNK => self.link(name, stat.st_mode),
            _ => {
                self.stamps.push(Stamp::of(stat));
                self.note(b's', name, &[], false);
                self.head(name, 3, stat.st_mode, 0)
            }
        }
    }

    fn note(&mut self, letter: u8, name: &[u8], rest: &[&[u8]], signature: bool) {
        let mut line = vec![letter];
        line.extend((name.len() as u64).to_le_bytes());
        line.extend_from_slice(name);
        for part in rest {
            line.extend_from_slice(part);
        }
        self.lines.push((line, signature));
    }

    fn link(&mut self, name: &[u8], mode: u32) -> Result<(), CopyError> {
        let at = self.at.join(OsStr::from_bytes(name));
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(below());
        let moved = |_| CopyError::Unquiet(at.clone());
        let link = openat2(self.base, OsStr::from_bytes(name), how).map_err(moved)?;
        let target = readlinkat(&link, "").map_err(moved)?.into_vec();
        let length = (target.len() as u64).to_le_bytes();
        self.note(b'l', name, &[&length, &target], false);
        self.head(name, 1, mode, target.len() as u64)?;
        self.put(&target)
    }

    fn file(&mut self, name: &[u8]) -> Result<(), CopyError> {
        let at = self.at.join(OsStr::from_bytes(name));
        if Instant::now() >= self.deadline {
            return Err(CopyError::Time(at));
        }
        let unquiet = || CopyError::Unquiet(at.clone());
        // Should it have become a FIFO since it was looked at, opening must not wait for a writer.
        let flags =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(below());
        let opened = openat2(self.base, OsStr::from_bytes(name), how).map_err(|error| match error {
            Errno::ENOENT | Errno::ELOOP | Errno::ENXIO | Errno::EAGAIN => unquiet(),
            error => system(&at, error),
        })?;
        let before = fstat(&opened).map_err(|error| system(&at, error))?;
        if kind(&before) != SFlag::S_IFREG {
            return Err(unquiet());
        }
        let stamp = Stamp::of(&before);
        // While the lease is held nobody can open the file for writing, and nobody has: a shared mapping would change it without a trace.
        let lease = Lease::take(&opened);
        if matches!(lease, Lease::Refused) || !stamp.is_quiet() {
            return Err(unquiet());
        }
        let size = u64::try_from(before.st_size).unwrap_or_default();
        if size > MAX_FILE || self.bytes + size > MAX_TOTAL {
            let bytes = if size > MAX_FILE { MAX_FILE } else { MAX_TOTAL };
            return Err(bound(at, format!("{} MiB", bytes >> 20)));
        }
        self.head(name, 0, before.st_mode, size)?;
        let digest = self.content(&opened, size, &at)?;
        let after = fstat(&opened).map_err(|error| system(&at, error))?;
        if Stamp::of(&after) != stamp {
            return Err(unquiet());
        }
        self.files += 1;
        self.bytes += size;
        self.stamps.push(stamp);
        let executable = before.st_mode & 0o111 != 0;
        let signature = name == SIGNATURE_FILE && !executable;
        self.note(
            b'f',
            name,
            &[&[u8::from(executable)], &size.to_le_bytes(), &digest],
            signature,
        );
        Ok(())
    }

    fn content(&mut self, opened: &OwnedFd, size: u64, at: &Path) -> Result<Vec<u8>, CopyError> {
        let mut digest = Sha256::new();
        let file = opened.try_clone().map_err(|error| io_error(at, &error))?;
        let mut file = File::from(file).take(size + 1);
        let mut read = 0;
        loop {
            match file.read(&mut self.chunk) {
                Ok(0) => break,
                Ok(count) => {
                    read += count as u64;
                    if read > size {
                        return Err(CopyError::Unquiet(at.to_owned()));
                    }
                    digest.update(&self.chunk[..count]);
                    let written = self.out.write_all(&self.chunk[..count]);
                    written.map_err(|error| io_error(at, &error))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error(at, &error)),
            }
            if Instant::now() >= self.deadline {
                return Err(CopyError::Time(at.to_owned()));
            }
        }
        if read < size {
            return Err(CopyError::Unquiet(at.to_owned()));
        }
        Ok(digest.finalize().to_vec())
    }

    fn finish(self, is_folder: bool, stat: &FileStat) -> Result<Copy, CopyError> {
        let failed = |error| system(self.at, error);
        let mut memory = self
            .out
            .into_inner()
            .map_err(|error| io_error(self.at, error.error()))?;
        memory.rewind().map_err(|error| io_error(self.at, &error))?;
        let seals =
            SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
        fcntl(&memory, FcntlArg::F_ADD_SEALS(seals)).map_err(failed)?;
        let lines: Vec<&[u8]> = self
            .lines
            .iter()
            .filter(|(_, signature)| !(is_folder && *signature))
            .map(|(line, _)| line.as_slice())
            .collect();
        let mut digest = Sha256::new_with_prefix(DOMAIN);
        digest.update((lines.len() as u64).to_le_bytes());
        lines.iter().for_each(|line| digest.update(line));
        let hex: String = digest
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut scanned = Sha256::new();
        self.lines.iter().for_each(|(line, _)| scanned.update(line));
        Ok(Copy {
            memory: memory.into(),
            digest: format!("sha256:{hex}"),
            scanned: scanned.finalize().into(),
            files: self.files,
            bytes: self.bytes,
            uid: stat.st_uid,
            root: (stat.st_dev, stat.st_ino),
            stamps: self.stamps,
        })
    }
}

fn io_error(path: &Path, error: &io::Error) -> CopyError {
    system(path, error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// A read lease: the kernel grants it only while nobody has the file open for writing, a mapping included.
enum Lease<'a> {
    Held(&'a OwnedFd),
    Refused,
    /// This file system knows none (network file systems): times alone tell.
    Unknown,
}

impl<'a> Lease<'a> {
    fn take(file: &'a OwnedFd) -> Self {
        // SAFETY: takes numbers alone, of a descriptor that is open for as long as the borrow.
        let taken = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
        match Errno::result(taken) {
            Ok(_) => Self::Held(file),
            Err(Errno::EAGAIN) => Self::Refused,
            Err(_) => Self::Unknown,
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Self::Held(file) = self {
            // SAFETY: as in `take`.
            unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
        }
    }
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
