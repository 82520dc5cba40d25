//! Reading and replacing files that belong to someone else.
//!
//! A file is replaced by renaming a new one over it, so that no reader ever sees half of it and no crash leaves half of it
//! behind. Mode and owner stay; a symbolic link stays and its target is replaced. A process that acts for another user does
//! so with that user's rights to files, so that a link that the user laid out leads nowhere that the user could not go.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use sha2::{Digest, Sha256};

use super::InstallError;
use super::edit::MAX_FILE_BYTES;
use super::site::User;

/// Most links from a file to its real place. The kernel's own limit is 40; settings have one or two.
const MAX_LINKS: usize = 8;
/// Mode of a settings file that we make: as harnesses make theirs. It may come to hold keys.
const PRIVATE_FILE: u32 = 0o600;
/// Mode of a host-wide settings file that we make: every user's harness reads it.
const PUBLIC_FILE: u32 = 0o644;

/// A file as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it really lies.
    pub(super) path: PathBuf,
    /// What it holds; `None` where there is none.
    pub(super) bytes: Option<Vec<u8>>,
    /// Mode, user and group of what is there.
    owner: Option<(u32, u32, u32)>,
}

impl Found {
    /// Its text. Empty where there is none.
    pub(super) fn text(&self) -> Result<&str, InstallError> {
        std::str::from_utf8(self.bytes.as_deref().unwrap_or_default()).map_err(|error| {
            InstallError::NotText {
                path: self.path.clone(),
                at: error.valid_up_to(),
            }
        })
    }

    /// The SHA-256 of what it holds.
    pub(super) fn hash(&self) -> Option<String> {
        self.bytes.as_deref().map(hash)
    }
}

/// SHA-256, in hexadecimal digits.
pub(super) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn failed(what: &'static str, path: &Path, source: std::io::Error) -> InstallError {
    InstallError::File {
        what,
        path: path.to_owned(),
        source,
    }
}

/// Reads a file, following links as long as they stay below `boundary` (where one is given).
pub(super) fn find(path: &Path, boundary: Option<&Path>) -> Result<Found, InstallError> {
    let path = real(path, boundary)?;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(&path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Found {
                path,
                bytes: None,
                owner: None,
            });
        }
        Err(error) => return Err(failed("opened", &path, error)),
    };
    let meta = file
        .metadata()
        .map_err(|error| failed("examined", &path, error))?;
    if !meta.is_file() {
        return Err(InstallError::NotAFile { path });
    }
    let mut bytes = Vec::new();
    Read::by_ref(&mut file)
        .take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed("read", &path, error))?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(InstallError::TooLarge { path });
    }
    let owner = Some((meta.mode() & 0o7777, meta.uid(), meta.gid()));
    Ok(Found {
        path,
        bytes: Some(bytes),
        owner,
    })
}

/// Where a path leads, whether or not something is there.
fn real(path: &Path, boundary: Option<&Path>) -> Result<PathBuf, InstallError> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(InstallError::NotAFile { path });
        };
        let folder = real_folder(folder)?;
        let here = folder.join(name);
        if let Some(boundary) = boundary {
            let boundary = boundary
                .canonicalize()
                .map_err(|error| failed("found", boundary, error))?;
            if !here.starts_with(&boundary) {
                return Err(InstallError::Outside {
                    path,
                    leads_to: here,
                    boundary,
                });
            }
        }
        match std::fs::read_link(&here) {
            Ok(target) => path = folder.join(target),
            Err(_) => return Ok(here),
        }
    }
    Err(InstallError::NotAFile { path })
}

/// The real place of a folder, of which only the beginning may be there.
fn real_folder(folder: &Path) -> Result<PathBuf, InstallError> {
    match folder.canonicalize() {
        Ok(real) => Ok(real),
        Err(error) if error.kind() == ErrorKind::NotFound && folder.symlink_metadata().is_err() => {
            match (folder.parent(), folder.file_name()) {
                (Some(parent), Some(name)) => Ok(real_folder(parent)?.join(name)),
                _ => Err(failed("found", folder, error)),
            }
        }
        Err(error) => Err(failed("found", folder, error)),
    }
}

/// Makes the folders above a file. Gives those that were made, outermost first.
pub(super) fn make_folders(file: &Path, public: bool) -> Result<Vec<PathBuf>, InstallError> {
    let mut missing = Vec::new();
    let mut folder = file.parent();
    while let Some(path) = folder.filter(|path| path.symlink_metadata().is_err()) {
        missing.push(path.to_owned());
        folder = path.parent();
    }
    missing.reverse();
    for path in &missing {
        std::fs::DirBuilder::new()
            .mode(if public { 0o755 } else { 0o700 })
            .create(path)
            .map_err(|error| failed("created", path, error))?;
    }
    Ok(missing)
}

/// Puts `bytes` in place of what was found, unless someone else changed it meanwhile.
pub(super) fn replace(found: &Found, bytes: &[u8], public: bool) -> Result<(), InstallError> {
    let path = &found.path;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let new = temporary(path);
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE_FILE)
            .custom_flags(O_NOFOLLOW)
            .open(&new)?;
        file.write_all(bytes)?;
        let ours = file.metadata()?;
        let fallback = if public { PUBLIC_FILE } else { PRIVATE_FILE };
        let (mode, uid, gid) = found.owner.unwrap_or((fallback, ours.uid(), ours.gid()));
        if (uid, gid) != (ours.uid(), ours.gid()) {
            fchown(&file, Some(uid), Some(gid))?;
        }
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    };
    let outcome = write()
        .map_err(|error| failed("written", &new, error))
        .and_then(|()| unchanged(found))
        .and_then(|()| std::fs::rename(&new, path).map_err(|error| failed("replaced", path, error)));
    if outcome.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    outcome?;
    sync_folder(folder)
}

/// Removes what was found, unless someone else changed it meanwhile, and then the given folders as far as they are empty.
pub(super) fn remove(found: &Found, folders: &[PathBuf]) -> Result<(), InstallError> {
    unchanged(found)?;
    if found.bytes.is_some() {
        std::fs::remove_file(&found.path).map_err(|error| failed("removed", &found.path, error))?;
        sync_folder(found.path.parent().unwrap_or(Path::new("/")))?;
    }
    for folder in folders.iter().rev() {
        // Not empty: someone else uses it now.
        if std::fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}

/// Harnesses write their settings too. The moment between this look and the renaming is as short as it can be made.
fn unchanged(found: &Found) -> Result<(), InstallError> {
    if find(&found.path, None)?.bytes == found.bytes {
        Ok(())
    } else {
        Err(InstallError::Changed {
            path: found.path.clone(),
        })
    }
}

fn temporary(path: &Path) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.defenseclaw-{}-{number}", std::process::id()))
}

fn sync_folder(folder: &Path) -> Result<(), InstallError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| failed("written through", folder, error))
}

/// While this lives, the thread reaches files with that user's rights and no more.
pub(super) struct Acting {
    before: Option<(Uid, Gid, Vec<Gid>)>,
}

impl Acting {
    /// Takes on a user's rights, where this process has more.
    pub(super) fn as_user(user: &User, privileged: bool) -> Self {
        let before = (privileged && user.uid != 0).then(|| {
            let groups = nix::unistd::getgroups().unwrap_or_default();
            // While this thread may: what root's groups could write, a link in the user's home must not lead to.
            set_groups(&[]);
            let gid = setfsgid(Gid::from_raw(user.gid));
            let uid = setfsuid(Uid::from_raw(user.uid));
            (uid, gid, groups)
        });
        Self { before }
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        if let Some((uid, gid, groups)) = self.before.take() {
            setfsuid(uid);
            setfsgid(gid);
            set_groups(&groups);
        }
    }
}

/// Sets this thread's further groups; the C library's function would set those of every thread. Without the right to it a process
/// has no groups of root's to lose.
fn set_groups(groups: &[Gid]) {
    let groups: Vec<nix::libc::gid_t> = groups.iter().map(|group| group.as_raw()).collect();
    // SAFETY: the kernel reads as many ids as it is told, and they outlive the call.
    unsafe { nix::libc::syscall(nix::libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
}
