//! What was installed: one file in the state folder, and a backup of each file as it was before.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::libc::O_NOFOLLOW;
use serde::{Deserialize, Serialize};

use super::InstallError;
use super::edit::Trace;
use super::files::{self, Found};
use super::site::PlannedFile;
use super::spec::Scope;

/// Raised with every incompatible change of the manifest.
const VERSION: u32 = 1;
/// Largest manifest (bytes): eleven connectors for hundreds of users.
const MAX_BYTES: u64 = 16 << 20;
/// The folder below the state folder.
const FOLDER: &str = "install";

/// What was installed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// Each installation, in the order in which they were made.
    pub installed: Vec<Installed>,
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            version: VERSION,
            installed: Vec::new(),
        }
    }
}

/// One installation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Installed {
    /// The connector.
    pub connector: String,
    /// Whose hooks.
    pub scope: Scope,
    /// The user's home folder; for the host's hooks, that of whoever installed them.
    pub home: PathBuf,
    /// The user.
    pub uid: u32,
    /// The user's group.
    pub gid: u32,
    /// The hook client that the harness runs.
    pub client: PathBuf,
    /// Its files.
    pub files: Vec<InstalledFile>,
    /// Whether its files are in place, or on their way.
    #[serde(default)]
    pub stage: Stage,
    /// When it was installed, ns since the Unix epoch.
    pub time_ns: u64,
}

/// Whether an installation's files are in place. One that is on its way is no tampering, and is not repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// They are.
    #[default]
    Installed,
    /// They are being written, or writing them was cut off.
    Arriving,
    /// They are being taken away, or that was cut off.
    Leaving,
}

/// One file of an installation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstalledFile {
    /// What belongs in it.
    #[serde(flatten)]
    pub planned: PlannedFile,
    /// What putting it there changed besides.
    #[serde(default)]
    pub trace: Trace,
    /// SHA-256 of the file before; `None` if there was none.
    pub before: Option<String>,
    /// SHA-256 of the file afterwards.
    pub after: String,
    /// Folders that were made for it, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<PathBuf>,
}

impl Installed {
    /// Whether it is the one for that connector, scope and home.
    pub fn is(&self, connector: &str, scope: Scope, home: &Path) -> bool {
        self.connector == connector && self.scope == scope && (scope == Scope::System || self.home == home)
    }
}

/// The manifest's folder.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

/// Keeps others from installing at the same time.
pub(super) struct Locked {
    _lock: Flock<File>,
}

impl Store {
    /// The store in a state folder.
    pub fn new(state: &Path) -> Self {
        Self {
            folder: state.join(FOLDER),
        }
    }

    /// The manifest's file.
    pub fn file(&self) -> PathBuf {
        self.folder.join("manifest.json")
    }

    /// Takes the store away if nothing is installed any more, and the state folder if that leaves it empty.
    pub fn clear(&self) {
        if !self.folder.is_dir() || self.load().is_ok_and(|manifest| !manifest.installed.is_empty()) {
            return;
        }
        let Ok(lock) = self.lock() else { return };
        // Nobody has set up anything meanwhile, and what is not there needs no removing.
        if self.load().is_ok_and(|manifest| manifest.installed.is_empty()) {
            self.sweep(&lock, &Manifest::default());
            let _ = std::fs::remove_dir(self.folder.join("backups"));
            let _ = std::fs::remove_file(self.file());
            let _ = std::fs::remove_file(self.folder.join("lock"));
            let _ = std::fs::remove_dir(&self.folder);
            let _ = self.folder.parent().map(std::fs::remove_dir);
        }
    }

    /// Whether anything was ever noted here.
    pub(super) fn is_there(&self) -> bool {
        self.folder.is_dir()
    }

    /// Reads the manifest. One that is not there is empty; one that others could have written is refused.
    pub fn load(&self) -> Result<Manifest, InstallError> {
        let path = self.file();
        let opened = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Manifest::default()),
            Err(source) => return Err(self.failed("opened", source)),
        };
        let meta = file.metadata().map_err(|error| self.failed("examined", error))?;
        let own = nix::unistd::geteuid().as_raw();
        if !meta.is_file() || (meta.uid() != 0 && meta.uid() != own) || meta.mode() & 0o022 != 0 {
            return Err(InstallError::Untrusted { path });
        }
        let mut text = String::new();
        file.take(MAX_BYTES)
            .read_to_string(&mut text)
            .map_err(|error| self.failed("read", error))?;
        let manifest: Manifest = serde_json::from_str(&text).map_err(|error| InstallError::Manifest {
            path: path.clone(),
            what: error.to_string(),
        })?;
        if manifest.version != VERSION {
            return Err(InstallError::Manifest {
                path,
                what: format!(
                    "it has version {}, and this program reads {VERSION}",
                    manifest.version
                ),
            });
        }
        Ok(manifest)
    }

    /// Makes the folder and keeps others out until the lock is dropped.
    pub(super) fn lock(&self) -> Result<Locked, InstallError> {
        if !self.folder.exists() {
            std::fs::DirBuilder::new()
                .recursive(!nix::unistd::geteuid().is_root())
                .mode(0o755)
                .create(&self.folder)
                .map_err(|source| InstallError::State {
                    folder: self.folder.clone(),
                    source,
                })?;
        }
        let path = self.folder.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(O_NOFOLLOW)
            .open(&path)
            .map_err(|source| InstallError::State {
                folder: self.folder.clone(),
                source,
            })?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Locked { _lock: lock }),
            Err(_) => Err(InstallError::Busy { path }),
        }
    }

    pub(super) fn save(&self, _: &Locked, manifest: &Manifest) -> Result<(), InstallError> {
        let mut text = serde_json::to_vec_pretty(manifest).map_err(|error| InstallError::Manifest {
            path: self.file(),
            what: error.to_string(),
        })?;
        text.push(b'\n');
        let found = files::find(&self.file(), None)?;
        files::replace(&found, &text, true)
    }

    /// Keeps what a file held. Equal contents are kept once.
    pub(super) fn back_up(&self, _: &Locked, found: &Found) -> Result<(), InstallError> {
        let (Some(bytes), Some(hash)) = (&found.bytes, found.hash()) else {
            return Ok(());
        };
        let path = self.backup(&hash);
        if !path.parent().is_some_and(Path::is_dir) {
            std::fs::DirBuilder::new()
                .mode(0o700)
                .create(self.folder.join("backups"))
                .map_err(|error| self.failed("written", error))?;
        }
        let kept = files::find(&path, None)?;
        if kept.hash().as_deref() == Some(hash.as_str()) {
            return Ok(());
        }
        files::replace(&kept, bytes, false)
    }

    /// What a file held, if it is kept and unharmed.
    pub(super) fn backed_up(&self, hash: &str) -> Option<Vec<u8>> {
        let found = files::find(&self.backup(hash), None).ok()?;
        found.bytes.filter(|bytes| files::hash(bytes) == hash)
    }

    /// Drops backups that no installation needs.
    pub(super) fn sweep(&self, _: &Locked, manifest: &Manifest) {
        let needed = |name: &str| {
            let mut files = manifest.installed.iter().flat_map(|installed| &installed.files);
            files.any(|file| file.before.as_deref() == name.strip_suffix(".bak"))
        };
        let Ok(entries) = std::fs::read_dir(self.folder.join("backups")) else {
            return;
        };
        for entry in entries.flatten() {
            if !needed(&entry.file_name().to_string_lossy()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// The backup with that hash.
    pub fn backup(&self, hash: &str) -> PathBuf {
        self.folder.join("backups").join(format!("{hash}.bak"))
    }

    fn failed(&self, what: &'static str, source: std::io::Error) -> InstallError {
        InstallError::File {
            what,
            path: self.file(),
            source,
        }
    }
}
