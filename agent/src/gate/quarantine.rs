//! What was refused is taken out of the way, where it can be looked at, put back or deleted.
//!
//! `STATE/quarantine/ID` belongs to root and holds `manifest.json` and `content`. An artifact goes there in steps, each of which a
//! start after a crash can tell from the disk: the manifest is written; the artifact is renamed within its own folder to a hidden
//! name (from then on it is gone for everybody); it is taken from its owner; it is moved into the store. Where the store is on another file
//! system it is copied beside `content`, which appears only when it is whole.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use defenseclaw_model::gate::{QuarantineEntry, QuarantineOutcome, QuarantineVerb};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag, openat2, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, fchownat};
use serde::{Deserialize, Serialize};

use super::copy::{kind, open_plain};
use super::places::HIDDEN;
use super::tree;

/// Most entries: beyond, what is blocked stays where it is and its opens are refused.
pub const MAX_ENTRIES: usize = 1_000;
/// Largest manifest that is read back.
const MAX_MANIFEST: u64 = 1 << 20;
const MANIFEST: &str = "manifest.json";
const MANIFEST_NEW: &str = "manifest.json.new";
const CONTENT: &str = "content";
const PART: &str = "content.part";

/// Why something was not put into quarantine, or not taken out.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// The store cannot be used.
    #[error("the quarantine at {} cannot be used: {why}", path.display())]
    Store {
        /// Where.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Another thing stands there now.
    #[error("{} is no longer what was scanned", .0.display())]
    Changed(PathBuf),
    /// There is no such entry.
    #[error("there is no entry {0} in quarantine; `list` tells which there are")]
    Unknown(String),
    /// The entry's place is taken.
    #[error("{} exists; move it away first, nothing is overwritten", .0.display())]
    Taken(PathBuf),
    /// The store is full.
    #[error("the quarantine holds {MAX_ENTRIES} entries; delete some")]
    Full,
    /// The system refused.
    #[error("{}: {error}", path.display())]
    System {
        /// What.
        path: PathBuf,
        /// Why.
        error: Errno,
    },
}

/// What is known of an entry besides what is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Manifest {
    entry: QuarantineEntry,
    /// Where the content lay; the folder without links, and the name in it.
    parent: PathBuf,
    name: PathBuf,
    uid: u32,
    gid: u32,
    mode: u32,
    /// Whether the ledger holds it.
    noted: bool,
}

impl Manifest {
    fn hidden(&self) -> String {
        format!("{HIDDEN}{}", self.entry.id)
    }

    fn origin(&self) -> PathBuf {
        self.parent.join(&self.name)
    }
}

/// The store.
#[derive(Debug)]
pub struct Quarantine {
    path: PathBuf,
    folder: OwnedFd,
    /// Tests end the process, as it were, before this step.
    #[cfg(test)]
    pub(super) dies_at: std::sync::atomic::AtomicUsize,
}

fn system(path: &Path) -> impl Fn(Errno) -> QuarantineError + '_ {
    move |error| QuarantineError::System {
        path: path.to_owned(),
        error,
    }
}

impl Quarantine {
    /// Opens the store below the state folder, or makes it, and brings to an end what a crash left half done.
    pub fn open(state: &Path) -> Result<Self, QuarantineError> {
        let path = state.join("quarantine");
        let store = |why: &dyn std::fmt::Display| QuarantineError::Store {
            path: path.clone(),
            why: why.to_string(),
        };
        let state = state.canonicalize().map_err(|error| store(&error))?;
        let above = open_plain(&state).map_err(|error| store(&error))?;
        match mkdirat(&above, "quarantine", Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(store(&error)),
        }
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH);
        let folder = openat2(&above, "quarantine", how).map_err(|error| store(&error))?;
        let stat = fstat(&folder).map_err(|error| store(&error))?;
        // The state folder may belong to the gateway's user, who could have put a folder of its own there.
        if stat.st_uid != nix::unistd::geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
            return Err(store(
                &"it must belong to root with mode 0700; remove it, it is made anew",
            ));
        }
        let quarantine = Self {
            path: state.join("quarantine"),
            folder,
            #[cfg(test)]
            dies_at: std::sync::atomic::AtomicUsize::new(usize::MAX),
        };
        quarantine.recover();
        Ok(quarantine)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[cfg(test)]
    fn step(&self, number: usize) -> Result<(), QuarantineError> {
        match self.dies_at.load(std::sync::atomic::Ordering::Relaxed) == number {
            true => Err(QuarantineError::Unknown(format!("died at {number}"))),
            false => Ok(()),
        }
    }

    #[cfg(not(test))]
    fn step(&self, _: usize) -> Result<(), QuarantineError> {
        Ok(())
    }

    /// Takes away what stands at `physical`, if it still is the file or folder `root` (device and inode).
    pub fn hold(
        &self,
        mut entry: QuarantineEntry,
        physical: &Path,
        root: (u64, u64),
    ) -> Result<QuarantineEntry, QuarantineError> {
        if self.names().len() >= MAX_ENTRIES {
            return Err(QuarantineError::Full);
        }
        let failed = system(physical);
        let (Some(above), Some(name)) = (physical.parent(), physical.file_name()) else {
            return Err(failed(Errno::EINVAL));
        };
        let parent = open_plain(above).map_err(&failed)?;
        let stat = fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(&failed)?;
        if (stat.st_dev, stat.st_ino) != root {
            return Err(QuarantineError::Changed(physical.to_owned()));
        }
        entry.held_at = self
            .path
            .join(&entry.id)
            .join(CONTENT)
            .to_string_lossy()
            .into_owned();
        let manifest = Manifest {
            entry,
            parent: above.to_owned(),
            name: name.into(),
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            noted: false,
        };
        let held = self.make(&manifest)?;
        let taken = self.take(&manifest, &parent, root, &held);
        if let Err(QuarantineError::Changed(_) | QuarantineError::System { .. }) = &taken {
            self.settle(&manifest, &held);
        }
        taken.map(|()| manifest.entry)
    }

    fn make(&self, manifest: &Manifest) -> Result<OwnedFd, QuarantineError> {
        let id = manifest.entry.id.as_str();
        let at = self.path.join(id);
        mkdirat(&self.folder, id, Mode::S_IRWXU).map_err(system(&at))?;
        self.step(1)?;
        let held = tree::open_folder(self.folder.as_fd(), id).map_err(system(&at))?;
        self.write(&held, manifest)?;
        sync(&self.folder, &self.path)?;
        self.step(2)?;
        Ok(held)
    }

    fn write(&self, held: &OwnedFd, manifest: &Manifest) -> Result<(), QuarantineError> {
        let at = self.path.join(&manifest.entry.id).join(MANIFEST);
        let failed = system(&at);
        let text = serde_json::to_vec_pretty(manifest).map_err(|_| failed(Errno::EINVAL))?;
        let how = OpenHow::new()
            .flags(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .mode(Mode::S_IRUSR | Mode::S_IWUSR)
            .resolve(ResolveFlag::RESOLVE_BENEATH);
        let mut file = File::from(openat2(held, MANIFEST_NEW, how).map_err(&failed)?);
        let written = file.write_all(&text).and_then(|()| file.sync_all());
        written.map_err(|error| failed(errno(&error)))?;
        nix::fcntl::renameat(held, MANIFEST_NEW, held, MANIFEST).map_err(&failed)?;
        sync(held, &at)
    }

    /// From its place to the hidden name, and from there into the store.
    fn take(
        &self,
        manifest: &Manifest,
        parent: &OwnedFd,
        root: (u64, u64),
        held: &OwnedFd,
    ) -> Result<(), QuarantineError> {
        let origin = manifest.origin();
        let failed = system(&origin);
        let hidden = manifest.hidden();
        let once = RenameFlags::RENAME_NOREPLACE;
        renameat2(parent, &manifest.name, parent, hidden.as_str(), once).map_err(&failed)?;
        self.step(3)?;
        let stat = fstatat(parent, hidden.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(&failed)?;
        if (stat.st_dev, stat.st_ino) != root {
            // It was swapped between the look and the rename: back it goes, and will be scanned.
            renameat2(parent, hidden.as_str(), parent, &manifest.name, once).map_err(&failed)?;
            return Err(QuarantineError::Changed(origin.clone()));
        }
        seize(parent, &hidden, &stat).map_err(&failed)?;
        self.step(4)?;
        self.store(manifest, parent, held)
    }

    /// From the hidden name into the store.
    fn store(&self, manifest: &Manifest, parent: &OwnedFd, held: &OwnedFd) -> Result<(), QuarantineError> {
        let hidden = manifest.hidden();
        let failed = system(&self.path);
        match renameat2(
            parent,
            hidden.as_str(),
            held,
            CONTENT,
            RenameFlags::RENAME_NOREPLACE,
        ) {
            Ok(()) => {}
            Err(Errno::EXDEV) => {
                // What an earlier attempt left.
                tree::remove(held.as_fd(), PART.as_ref()).map_err(&failed)?;
                tree::copy(parent.as_fd(), hidden.as_ref(), held.as_fd(), PART.as_ref()).map_err(&failed)?;
                sync(held, &self.path)?;
                self.step(5)?;
                renameat2(held, PART, held, CONTENT, RenameFlags::RENAME_NOREPLACE).map_err(&failed)?;
                self.step(6)?;
                tree::remove(parent.as_fd(), hidden.as_ref()).map_err(&failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        self.step(7)?;
        sync(held, &self.path)
    }

    /// What the disk says of one entry is brought to an end: held, or as before.
    fn settle(&self, manifest: &Manifest, held: &OwnedFd) {
        let is_there =
            |folder: BorrowedFd<'_>, name: &str| fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok();
        let parent = open_plain(&manifest.parent);
        let hidden = manifest.hidden();
        let waits = parent
            .as_ref()
            .ok()
            .and_then(|parent| is_there(parent.as_fd(), &hidden));
        let stored = is_there(held.as_fd(), CONTENT).is_some();
        let ended = match (waits, stored, parent) {
            (Some(_), true, Ok(parent)) => {
                tree::remove(parent.as_fd(), hidden.as_ref()).map_err(system(&self.path))
            }
            (Some(stat), false, Ok(parent)) => seize(&parent, &hidden, &stat)
                .map_err(system(&manifest.parent))
                .and_then(|()| self.store(manifest, &parent, held)),
            (_, true, _) => Ok(()),
            // It never left its place, or was put back.
            _ => self.forget(&manifest.entry.id),
        };
        if let Err(error) = ended {
            tracing::error!(entry = manifest.entry.id, %error, "a quarantine entry is left half done");
        }
    }

    fn recover(&self) {
        for id in self.names() {
            let Ok(held) = tree::open_folder(self.folder.as_fd(), &id) else {
                continue;
            };
            match self.read(&held) {
                Some(manifest) => self.settle(&manifest, &held),
                // Without a manifest nothing was moved yet.
                None if fstatat(&held, CONTENT, AtFlags::AT_SYMLINK_NOFOLLOW).is_err() => {
                    if let Err(error) = self.forget(&id) {
                        tracing::error!(id, %error, "an empty quarantine entry stays");
                    }
                }
                None => tracing::error!(
                    id,
                    "a quarantine entry has no manifest that can be read; it stays"
                ),
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names = tree::names(self.folder.as_fd(), 2 * MAX_ENTRIES).unwrap_or_default();
        names.sort();
        let text = names.into_iter().filter_map(|name| name.into_string().ok());
        text.filter(|name| is_id(name)).collect()
    }

    fn read(&self, held: &OwnedFd) -> Option<Manifest> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH);
        let file = File::from(openat2(held, MANIFEST, how).ok()?);
        let mut text = Vec::new();
        file.take(MAX_MANIFEST).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn find(&self, id: &str) -> Result<(Manifest, OwnedFd), QuarantineError> {
        let unknown = || QuarantineError::Unknown(id.to_owned());
        if !is_id(id) {
            return Err(unknown());
        }
        let held = tree::open_folder(self.folder.as_fd(), id).map_err(|_| unknown())?;
        let manifest = self.read(&held).ok_or_else(unknown)?;
        Ok((manifest, held))
    }

    fn forget(&self, id: &str) -> Result<(), QuarantineError> {
        tree::remove(self.folder.as_fd(), id.as_ref()).map_err(system(&self.path.join(id)))?;
        sync(&self.folder, &self.path)
    }

    fn manifests(&self) -> Vec<Manifest> {
        let all = self.names().into_iter();
        all.filter_map(|id| Some(self.find(&id).ok()?.0)).collect()
    }

    /// What the ledger does not hold yet.
    pub fn unnoted(&self) -> Vec<QuarantineEntry> {
        let all = self.manifests().into_iter().filter(|manifest| !manifest.noted);
        all.map(|manifest| manifest.entry).collect()
    }

    /// The ledger holds it.
    pub fn noted(&self, id: &str) -> Result<(), QuarantineError> {
        let (mut manifest, held) = self.find(id)?;
        manifest.noted = true;
        self.write(&held, &manifest)
    }

    /// Does what an operator asks.
    pub fn obey(&self, verb: &QuarantineVerb) -> QuarantineOutcome {
        let done = match verb {
            QuarantineVerb::List => Ok(self
                .manifests()
                .into_iter()
                .map(|manifest| manifest.entry)
                .collect()),
            QuarantineVerb::Restore { id } => self.restore(id).map(|entry| vec![entry]),
            QuarantineVerb::Delete { id } => self.find(id).and_then(|(manifest, _)| {
                self.forget(id)?;
                Ok(vec![manifest.entry])
            }),
        };
        match done {
            Ok(entries) => QuarantineOutcome::Done { entries },
            Err(error) => QuarantineOutcome::Refused {
                reason: error.to_string(),
            },
        }
    }

    /// Puts an entry back where it was, under its owner and mode. Until it stands there under its own name it belongs to root.
    fn restore(&self, id: &str) -> Result<QuarantineEntry, QuarantineError> {
        let (manifest, held) = self.find(id)?;
        let origin = manifest.origin();
        let failed = system(&origin);
        let parent = open_plain(&manifest.parent).map_err(&failed)?;
        if fstatat(&parent, &manifest.name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
            return Err(QuarantineError::Taken(origin.clone()));
        }
        let hidden = manifest.hidden();
        let once = RenameFlags::RENAME_NOREPLACE;
        let out = match renameat2(&held, CONTENT, &parent, hidden.as_str(), once) {
            Err(Errno::EXDEV) => tree::copy(held.as_fd(), CONTENT.as_ref(), parent.as_fd(), hidden.as_ref()),
            other => other,
        };
        if let Err(error) = out {
            self.settle(&manifest, &held);
            return Err(failed(error));
        }
        self.step(8)?;
        let back = match renameat2(&parent, hidden.as_str(), &parent, &manifest.name, once) {
            Ok(()) => give_back(&parent, &manifest).map_err(&failed),
            Err(Errno::EEXIST) => Err(QuarantineError::Taken(origin.clone())),
            Err(error) => Err(failed(error)),
        };
        if let Err(error) = back {
            self.settle(&manifest, &held);
            return Err(error);
        }
        self.step(9)?;
        self.forget(id)?;
        Ok(manifest.entry)
    }
}

/// Nobody but root may use it from now on.
fn seize(parent: &OwnedFd, name: &str, stat: &FileStat) -> Result<(), Errno> {
    let root = (Some(Uid::from_raw(0)), Some(Gid::from_raw(0)));
    fchownat(parent, name, root.0, root.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if kind(stat) == SFlag::S_IFLNK {
        return Ok(());
    }
    // Since its owner is root, only root could put something else under this name, but for the folder's owner: no link is followed.
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH);
    let opened = openat2(parent, name, how)?;
    tree::set_mode(&opened, 0)
}

fn give_back(parent: &OwnedFd, manifest: &Manifest) -> Result<(), Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH);
    let opened = openat2(parent, &manifest.name, how)?;
    let (uid, gid) = (Uid::from_raw(manifest.uid), Gid::from_raw(manifest.gid));
    if kind(&fstat(&opened)?) != SFlag::S_IFLNK {
        tree::set_mode(&opened, manifest.mode)?;
    }
    fchownat(&opened, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?;
    if kind(&fstat(&opened)?) != SFlag::S_IFLNK {
        // Changing the owner takes set-id bits away, which an artifact is not admitted with anyway; the rest is as it was.
        tree::set_mode(&opened, manifest.mode)?;
    }
    Ok(())
}

fn sync(folder: &OwnedFd, at: &Path) -> Result<(), QuarantineError> {
    nix::unistd::fsync(folder).map_err(system(at))
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// Whether it is a number that the gate gives.
pub fn is_id(text: &str) -> bool {
    let digits = text.strip_prefix("q-").unwrap_or_default();
    digits.len() == 12
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A new number.
pub fn new_id() -> Result<String, QuarantineError> {
    let mut bytes = [0; 6];
    let path = Path::new("/dev/urandom");
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| system(path)(errno(&error)))?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("q-{digits}"))
}

#[cfg(test)]
#[path = "quarantine_tests.rs"]
mod tests;
