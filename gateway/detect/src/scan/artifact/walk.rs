//! Folders, walked by descriptor.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Component, Path};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use sha2::{Digest, Sha256};

use super::{
    Collector, Entry, Known, MAX_DEPTH, MAX_FILE, MAX_FILES, MAX_HASHED, MAX_PATH, ReadError, Root,
    format_of, misread, name_of,
};

/// How files are opened: never through a link, never waiting for a FIFO's other end.
const OPEN: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NOCTTY);

/// Reads what stands at `path` into the collector, and says what it is. The path itself may be a link: it
/// is what the caller named.
pub(super) fn root(path: &Path, collector: &mut Collector) -> Result<Root, ReadError> {
    let failed = |source: io::Error| ReadError::Open {
        path: path.to_owned(),
        source,
    };
    let path_real = path.canonicalize().map_err(failed)?;
    let metadata = std::fs::metadata(&path_real).map_err(failed)?;
    if metadata.is_dir() {
        let dir = Dir::open(&path_real, OPEN | OFlag::O_DIRECTORY, Mode::empty());
        let dir = dir.map_err(|errno| failed(errno.into()))?;
        folder(dir, "", 0, collector);
        return Ok(Root::Folder);
    }
    if !metadata.is_file() {
        return Err(ReadError::Special {
            path: path.to_owned(),
        });
    }
    let name = path_real.file_name().map(|name| name_of(name.as_encoded_bytes()));
    let opened = nix::fcntl::open(&path_real, OPEN, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    let stat = fstat(opened.as_fd()).map_err(|errno| failed(errno.into()))?;
    if kind_of(&stat) != SFlag::S_IFREG {
        return Err(ReadError::Special {
            path: path.to_owned(),
        });
    }
    let content = content(File::from(opened), MAX_FILE.max(super::MAX_UNPACKED)).map_err(failed)?;
    let packed = format_of(&content.bytes).is_archive();
    let entry = Entry {
        path: name.unwrap_or_default(),
        size: content.size,
        executable: stat.st_mode & 0o111 != 0,
        nesting: 0,
    };
    content.note(&entry, collector);
    collector.add(entry, content.bytes);
    Ok(if packed { Root::Archive } else { Root::File })
}

fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

fn folder(mut dir: Dir, prefix: &str, depth: usize, collector: &mut Collector) {
    let mut names = Vec::new();
    for entry in dir.iter() {
        let Ok(entry) = entry else {
            collector.tell(
                prefix,
                Known::Unreadable,
                "The folder cannot be listed whole".to_owned(),
            );
            break;
        };
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_owned());
        }
        // A folder is listed as a whole before it is read, so that the order is always the same.
        if names.len() > MAX_FILES {
            let message = format!("The folder has more than {MAX_FILES} entries: only those are looked at");
            collector.tell(prefix, Known::Limit, message);
            break;
        }
    }
    names.sort();
    for name in names {
        let shown = name_of(name.to_bytes());
        let path = if prefix.is_empty() {
            shown
        } else {
            format!("{prefix}/{shown}")
        };
        if path.len() > MAX_PATH {
            collector.tell(prefix, Known::Limit, "A path is too long to be read".to_owned());
            continue;
        }
        if misread(&path) {
            let message = "The name holds characters that are not seen or turn its direction".to_owned();
            collector.tell(&path, Known::Name, message);
        }
        if !collector.takes_more(&path) {
            return;
        }
        if let Err(errno) = entry(&dir, &name, &path, depth, collector) {
            let why = io::Error::from(errno);
            collector.tell(&path, Known::Unreadable, format!("It cannot be read: {why}"));
            collector.digest.other(path.as_bytes());
        }
    }
}

fn entry(
    dir: &Dir,
    name: &std::ffi::CStr,
    path: &str,
    depth: usize,
    collector: &mut Collector,
) -> Result<(), Errno> {
    let stat = fstatat(dir.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    match kind_of(&stat) {
        SFlag::S_IFDIR if depth >= MAX_DEPTH => {
            let message = format!("Folders lie deeper than {MAX_DEPTH}: what is below is not looked at");
            collector.tell(path, Known::Limit, message);
            collector.digest.other(path.as_bytes());
        }
        SFlag::S_IFDIR => {
            let below = Dir::openat(dir.as_fd(), name, OPEN | OFlag::O_DIRECTORY, Mode::empty())?;
            folder(below, path, depth + 1, collector);
        }
        SFlag::S_IFREG => {
            let opened = openat(dir.as_fd(), name, OPEN, Mode::empty())?;
            // What stands there may have been replaced since it was looked at.
            let stat = fstat(opened.as_fd())?;
            if kind_of(&stat) != SFlag::S_IFREG {
                special(path, collector);
                return Ok(());
            }
            let room = MAX_FILE.min(collector.room());
            let content = content(File::from(opened), room).map_err(|error| errno(&error))?;
            let entry = Entry {
                path: path.to_owned(),
                size: content.size,
                executable: stat.st_mode & 0o111 != 0,
                nesting: 0,
            };
            content.note(&entry, collector);
            collector.add(entry, content.bytes);
        }
        SFlag::S_IFLNK => {
            let target = readlinkat(dir.as_fd(), name)?;
            collector.digest.link(path.as_bytes(), target.as_encoded_bytes());
            link(path, &name_of(target.as_encoded_bytes()), collector);
        }
        _ => special(path, collector),
    }
    Ok(())
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn special(path: &str, collector: &mut Collector) {
    tell_special(path, collector);
    collector.digest.other(path.as_bytes());
}

pub(super) fn tell_special(path: &str, collector: &mut Collector) {
    let message = "It is a FIFO, a socket or a device, and was not opened".to_owned();
    collector.tell(path, Known::Special, message);
}

pub(super) fn link(path: &str, target: &str, collector: &mut Collector) {
    if leads_out(path, target) {
        let message = format!("The link leads out of the artifact, to {target}");
        collector.tell(path, Known::LinkOut, message);
    } else {
        let message = format!("A link to {target}, which is looked at in its own place");
        collector.tell(path, Known::Link, message);
    }
}

/// Whether a link at `path` to `target` leaves the folder that paths are relative to. By the text alone: what the target
/// itself links to is told where it stands.
pub(super) fn leads_out(path: &str, target: &str) -> bool {
    let mut depth = path.matches('/').count();
    for component in Path::new(target).components() {
        match component {
            Component::RootDir | Component::Prefix(_) => return true,
            Component::ParentDir => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return true,
            },
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
        }
    }
    false
}

struct Content {
    bytes: Vec<u8>,
    size: u64,
    sha256: [u8; 32],
    /// Whether the hash covers only the beginning.
    cut: bool,
}

impl Content {
    fn note(&self, entry: &Entry, collector: &mut Collector) {
        collector.note(entry.path.as_bytes(), entry, &self.sha256);
        if self.cut {
            // The digest must not claim what it does not cover.
            collector.digest.other(entry.path.as_bytes());
        }
    }
}

/// The first `keep` bytes of a file, and the hash of all (up to [`MAX_HASHED`]).
fn content(mut file: File, keep: u64) -> io::Result<Content> {
    let mut bytes = Vec::new();
    file.by_ref().take(keep).read_to_end(&mut bytes)?;
    let mut digest = Sha256::new();
    digest.update(&bytes);
    let mut size = bytes.len() as u64;
    let mut buffer = vec![0; 64 << 10];
    while size < MAX_HASHED {
        let read = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        digest.update(buffer.get(..read).unwrap_or_default());
        size += read as u64;
    }
    Ok(Content {
        bytes,
        size,
        sha256: digest.finalize().into(),
        cut: size >= MAX_HASHED,
    })
}
