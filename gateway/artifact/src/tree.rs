//! Reading a folder that somebody else may be changing.
//!
//! Every file is opened below the folder that was listed, never through a path, and no link is followed: what is put in a folder's
//! place while it is read cannot lead elsewhere. What is neither file, folder nor link is not opened at all.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use sha2::{Digest, Sha256};

use crate::manifest::{ArtifactError, Content, Entry, hex};

/// Most files and links. An MCP server with its dependencies has some 30,000.
const MAX_ENTRIES: usize = 100_000;
/// Most bytes together. Models are no artifacts of this kind.
const MAX_BYTES: u64 = 4 << 30;
/// How deep folders may lie: each open one holds a descriptor.
const MAX_DEPTH: usize = 64;
/// What is read at once.
const CHUNK: usize = 64 << 10;

/// Reads the folder or the single file at `path`; says which it is.
pub(crate) fn read(path: &Path) -> Result<(bool, Vec<Entry>), ArtifactError> {
    let failed = |why: &dyn std::fmt::Display| ArtifactError::Read {
        path: path.to_owned(),
        why: why.to_string(),
    };
    // The artifact itself may be named through links; nothing in it may.
    let path = path.canonicalize().map_err(|error| failed(&error))?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(&"it is the root of the file system, not an artifact"));
    };
    let name = CString::new(name.as_encoded_bytes()).map_err(|error| failed(&error))?;
    let open = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let parent_fd = openat(AT_FDCWD, parent, open, Mode::empty()).map_err(|error| failed(&error))?;
    let mut reader = Reader {
        root: parent.to_owned(),
        entries: Vec::new(),
        folders: Vec::new(),
        left: MAX_BYTES,
    };
    let stat = reader.stat(parent_fd.as_fd(), &name, &path)?;
    let is_folder = kind(&stat) == SFlag::S_IFDIR;
    if is_folder {
        reader.root.clone_from(&path);
        reader.folder(parent_fd.as_fd(), &name, "", 0)?;
        reader.check_links()?;
    } else {
        reader.one(parent_fd.as_fd(), &name, "", 0)?;
    }
    Ok((is_folder, reader.entries))
}

struct Reader {
    /// Names errors.
    root: PathBuf,
    entries: Vec<Entry>,
    folders: Vec<String>,
    left: u64,
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

impl Reader {
    /// Reads what lies in the folder `name` below `parent`. `prefix` is the folder's path with a `/` behind it.
    fn folder(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        prefix: &str,
        depth: usize,
    ) -> Result<(), ArtifactError> {
        let at = self.root.join(prefix);
        let failed = |errno: Errno| read_error(&at, errno);
        if depth > MAX_DEPTH {
            return Err(too_large(at, format!("{MAX_DEPTH} folders in one another")));
        }
        let open = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let folder = openat(parent, name, open, Mode::empty()).map_err(failed)?;
        let mut folder = Dir::from_fd(folder).map_err(failed)?;
        let mut names = Vec::new();
        for entry in folder.iter() {
            let name = entry.map_err(failed)?.file_name().to_owned();
            if name.as_bytes() != b"." && name.as_bytes() != b".." {
                names.push(name);
            }
            if self.entries.len() + names.len() > MAX_ENTRIES {
                return Err(too_large(at, format!("{MAX_ENTRIES} files")));
            }
        }
        for name in names {
            self.one(folder.as_fd(), &name, prefix, depth)?;
        }
        Ok(())
    }

    /// Reads one file, folder or link.
    fn one(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        prefix: &str,
        depth: usize,
    ) -> Result<(), ArtifactError> {
        let Ok(text) = name.to_str() else {
            let path = self.root.join(prefix).join(name.to_string_lossy().as_ref());
            return Err(ArtifactError::Name { path });
        };
        let path = format!("{prefix}{text}");
        let at = self.root.join(&path);
        let stat = self.stat(parent, name, &at)?;
        let content = match kind(&stat) {
            SFlag::S_IFDIR => {
                self.folders.push(path.clone());
                return self.folder(parent, name, &format!("{path}/"), depth + 1);
            }
            SFlag::S_IFREG => self.file(parent, name, &at)?,
            SFlag::S_IFLNK => {
                let target = readlinkat(parent, name).map_err(|errno| read_error(&at, errno))?;
                let target = target
                    .into_string()
                    .map_err(|_| ArtifactError::Name { path: at.clone() })?;
                Content::Link { target }
            }
            other => {
                return Err(ArtifactError::Special {
                    path: at,
                    what: describe(other),
                });
            }
        };
        if self.entries.len() >= MAX_ENTRIES {
            return Err(too_large(at, format!("{MAX_ENTRIES} files")));
        }
        self.entries.push(Entry { path, content });
        Ok(())
    }

    fn stat(&self, parent: BorrowedFd<'_>, name: &CStr, at: &Path) -> Result<FileStat, ArtifactError> {
        fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|errno| read_error(at, errno))
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &CStr, at: &Path) -> Result<Content, ArtifactError> {
        let failed = |errno: Errno| read_error(at, errno);
        // Should it have become a FIFO since it was looked at, opening must not wait for a writer.
        let open =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(parent, name, open, Mode::empty()).map_err(failed)?);
        let before = fstat(&file).map_err(failed)?;
        if kind(&before) != SFlag::S_IFREG {
            return Err(ArtifactError::Changed(at.to_owned()));
        }
        if before.st_mode & (Mode::S_ISUID | Mode::S_ISGID).bits() != 0 {
            return Err(ArtifactError::SetId(at.to_owned()));
        }
        let size = u64::try_from(before.st_size).unwrap_or_default();
        if size > self.left {
            return Err(too_large(at.to_owned(), format!("{MAX_BYTES} bytes")));
        }
        self.left -= size;
        let (read, sha256) = hash(&mut file, size).map_err(|error| ArtifactError::Read {
            path: at.to_owned(),
            why: error.to_string(),
        })?;
        let after = fstat(&file).map_err(failed)?;
        let times = |stat: &FileStat| {
            (
                stat.st_mtime,
                stat.st_mtime_nsec,
                stat.st_ctime,
                stat.st_ctime_nsec,
            )
        };
        if read != size || times(&before) != times(&after) {
            return Err(ArtifactError::Changed(at.to_owned()));
        }
        let anyone = (Mode::S_IXUSR | Mode::S_IXGRP | Mode::S_IXOTH).bits();
        Ok(Content::File {
            executable: before.st_mode & anyone != 0,
            size,
            sha256,
        })
    }

    /// Refuses links that lead out of what was read, or to what is not there, or over other links.
    fn check_links(&self) -> Result<(), ArtifactError> {
        let files: BTreeMap<&str, bool> = self
            .entries
            .iter()
            .map(|entry| (entry.path.as_str(), matches!(entry.content, Content::File { .. })))
            .chain(self.folders.iter().map(|folder| (folder.as_str(), true)))
            .collect();
        for entry in &self.entries {
            let Content::Link { target } = &entry.content else {
                continue;
            };
            if !leads_inside(&entry.path, target, |path| files.get(path) == Some(&true)) {
                return Err(ArtifactError::Link {
                    path: entry.path.clone(),
                    target: target.clone(),
                });
            }
        }
        Ok(())
    }
}

/// Whether the link at `path` leads to a file or folder inside, over folders alone.
fn leads_inside(path: &str, target: &str, is_there: impl Fn(&str) -> bool) -> bool {
    if target.starts_with('/') {
        return false;
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => continue,
            ".." => {
                if parts.pop().is_none() {
                    return false;
                }
                continue;
            }
            name => parts.push(name),
        }
        if !is_there(&parts.join("/")) {
            return false;
        }
    }
    // The artifact itself is no target: it would hold itself.
    !parts.is_empty()
}

/// How many bytes there are up to one more than `size`, and their SHA-256.
fn hash(file: &mut File, size: u64) -> std::io::Result<(u64, String)> {
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut read = 0;
    let mut file = file.take(size + 1);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok((read, hex(&digest.finalize()))),
            count => {
                digest.update(&chunk[..count]);
                read += count as u64;
            }
        }
    }
}

fn read_error(path: &Path, errno: Errno) -> ArtifactError {
    ArtifactError::Read {
        path: path.to_owned(),
        why: errno.desc().to_owned(),
    }
}

fn too_large(path: PathBuf, bound: String) -> ArtifactError {
    ArtifactError::TooLarge { path, bound }
}

fn describe(kind: SFlag) -> &'static str {
    match kind {
        SFlag::S_IFIFO => "a FIFO",
        SFlag::S_IFSOCK => "a socket",
        SFlag::S_IFBLK | SFlag::S_IFCHR => "a device",
        _ => "of no known kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_inside_or_not() {
        let there = |path: &str| ["a", "a/b", "a/b/file", "bin"].contains(&path);
        for target in ["../a/b/file", "../a/b", "./../a", "../bin/../a/b/file"] {
            assert!(leads_inside("bin/x", target, there), "{target}");
        }
        for target in [
            "/etc/passwd",
            "../../x",
            "../..",
            "..",
            "../a/none",
            "../none/../a",
            "../link/file",
        ] {
            assert!(!leads_inside("bin/x", target, there), "{target}");
        }
    }
}
