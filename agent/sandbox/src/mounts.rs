//! What is closed or sealed inside a grant: mounts in a namespace of the sandbox's own.
//!
//! Landlock grants a folder with all that is below it; what lies there and must stay closed is covered instead. A file or folder
//! that is closed is covered by an empty one that nobody may open; what is sealed is mounted over itself read-only; and the folders
//! above are mounted over themselves, so that nobody moves them away with what they hold. Only this process and its children see
//! it, and nothing of it can be undone from within: Landlock refuses every mount call, and so does the system call filter.

use std::ffi::CStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;
use nix::unistd::{getgid, getuid};

use crate::plan::Plan;

mod object;
mod raw;

pub(crate) use object::{Object, Stock};
use raw::{attach, clone_of, make_read_only, tmpfs};

/// Most a private temporary folder takes (bytes, of memory and swap).
const TMP_SIZE: &CStr = c"1g";
/// Covers a place that is held: whoever looks for settings there may look, and finds none. An error instead would keep agents from
/// starting.
const RESERVED: &str = "reserved";
/// Most the covers take (bytes): they are empty, but for a file of hosts.
const COVER_SIZE: &CStr = c"1m";

/// Why a namespace or a mount in it failed.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// This user gets no mount namespace on this host.
    #[error("this user gets no mount namespace here: {0}")]
    Namespace(io::Error),
    /// One mount failed.
    #[error("{what} {path}: {source}")]
    Mount {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// How the namespace was had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// By root's right to mount.
    Root,
    /// In a user namespace.
    User,
}

/// Enters a mount namespace of this process's own. The process must have one thread.
///
/// # Errors
/// When this host gives none to this user.
pub fn enter() -> Result<Namespace, MountError> {
    // Message queues and shared memory of System V have no path and no Landlock: a namespace of their own has none of them.
    let namespace = match nix::sched::unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC) {
        Ok(()) => Namespace::Root,
        Err(_) => {
            user_namespace().map_err(MountError::Namespace)?;
            Namespace::User
        }
    };
    // What the host mounts later is seen; what is mounted here stays here. Where even that is refused (a security module bounds
    // what user namespaces may do), nothing else would work.
    let flags = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .map_err(|errno| MountError::Namespace(errno.into()))?;
    Ok(namespace)
}

fn user_namespace() -> io::Result<()> {
    let (uid, gid) = (getuid(), getgid());
    nix::sched::unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC)?;
    // Groups cannot be mapped without this (user_namespaces(7)); no program of the sandbox needs to change them.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// What came of the mounts.
#[derive(Debug)]
pub struct Made {
    /// What was gone before it could be covered.
    pub gone: Vec<PathBuf>,
    /// Covers for what comes later, where they were asked for.
    pub(crate) stock: Option<Stock>,
}

/// Makes all mounts of `plan`. With `keep_covers` there are covers for later, too. The process must be in a namespace of its own.
///
/// # Errors
/// When one fails; what was made until then stays, in this namespace.
pub fn make(plan: &Plan, keep_covers: bool) -> Result<Made, MountError> {
    freeze(plan)?;
    for path in &plan.pinned {
        over_itself(path, false)?;
    }
    for path in &plan.sealed {
        over_itself(path, true)?;
    }
    let closed = plan.closed.iter().chain(&plan.sockets).map(|path| (path, None));
    let reserved = plan.reserved.iter().map(|path| (path, Some(RESERVED)));
    let covers = Covers::new(plan.hosts_file.as_deref(), keep_covers)?;
    let mut gone = Vec::new();
    for (path, cover) in closed.chain(reserved) {
        if !covers.put_on(path, cover)? {
            gone.push(path.clone());
        }
    }
    if plan.hosts_file.is_some() {
        covers.put_hosts()?;
    }
    let stock = covers.finish()?;
    for path in &plan.private_tmp {
        private_tmp(plan, path)
            .map_err(|source| failed("a temporary folder cannot be mounted on", path, source))?;
    }
    Ok(Made { gone, stock })
}

/// Mounts an empty folder over `path`. A project that lies in it is brought along, as it is granted.
fn private_tmp(plan: &Plan, path: &Path) -> io::Result<()> {
    let project = Some(&plan.project).filter(|project| project.starts_with(path));
    let brought = project.map(|project| clone_of(project)).transpose()?;
    attach(&tmpfs(&[(c"size", TMP_SIZE), (c"mode", c"1777")])?, path)?;
    if let (Some(tree), Some(project)) = (brought, project) {
        fs::create_dir_all(project)?;
        if !plan.writes_project {
            make_read_only(&tree)?;
        }
        attach(&tree, project)?;
    }
    Ok(())
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> MountError {
    MountError::Mount {
        what,
        path: path.to_owned(),
        source,
    }
}

/// Makes everything read-only but what may be written: Landlock has no right for changing modes, owners, times and attributes.
fn freeze(plan: &Plan) -> Result<(), MountError> {
    let mut written = Vec::new();
    for path in &plan.write {
        let tree = clone_of(path).map_err(|source| failed("cannot grant writing in", path, source))?;
        written.push((path, tree));
    }
    let root = Path::new("/");
    let frozen = nix::fcntl::open(
        root,
        OFlag::O_PATH | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )
    .map_err(io::Error::from)
    .and_then(|root| make_read_only(&root));
    frozen.map_err(|source| failed("cannot make read-only", root, source))?;
    for (path, tree) in written {
        attach(&tree, path).map_err(|source| failed("cannot grant writing in", path, source))?;
    }
    Ok(())
}

/// Tries again while the place is being replaced: an editor that saves a file by rename takes it away between finding it and mounting
/// on it.
fn while_replaced(mut act: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    const TRIES: usize = 20;
    for _ in 1..TRIES {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::thread::yield_now(),
            other => return other,
        }
    }
    act()
}

/// Mounts `path` over itself, with all that is mounted below.
fn over_itself(path: &Path, read_only: bool) -> Result<(), MountError> {
    let what = if read_only { "cannot seal" } else { "cannot pin" };
    let clone = || -> io::Result<()> {
        let tree = clone_of(path)?;
        if read_only {
            make_read_only(&tree)?;
        }
        attach(&tree, path)
    };
    match while_replaced(clone) {
        Err(_) if fs::symlink_metadata(path).is_err() => Ok(()),
        other => other.map_err(|source| failed(what, path, source)),
    }
}

/// An empty file and an empty folder with which others are covered. They lie in a file system of their own, mounted read-only over
/// some folder that is no target itself, because a copy can only be made of a mount that is attached.
struct Covers {
    /// What lay there before. It is laid over them in the end, where it could be copied: taking them away would wait until every
    /// processor has taken note of it.
    original: Option<OwnedFd>,
    keep: bool,
}

impl Covers {
    const PLACE: &str = "/sys";

    fn new(hosts: Option<&str>, keep: bool) -> Result<Self, MountError> {
        let place = Path::new(Self::PLACE);
        let make = || -> io::Result<Self> {
            let original = match clone_of(place) {
                Err(error) if keep => return Err(error),
                other => other.ok(),
            };
            attach(&tmpfs(&[(c"size", COVER_SIZE), (c"mode", c"0000")])?, place)?;
            let mode = nix::sys::stat::Mode::empty();
            let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            drop(nix::fcntl::open(&place.join("file"), flags, mode)?);
            nix::unistd::mkdir(&place.join("folder"), mode)?;
            fs::create_dir(place.join(RESERVED))?;
            fs::set_permissions(place.join(RESERVED), Permissions::from_mode(0o555))?;
            if let Some(hosts) = hosts {
                fs::write(place.join("hosts"), hosts)?;
                fs::set_permissions(place.join("hosts"), Permissions::from_mode(0o444))?;
            }
            // Copies of a read-only mount are read-only.
            let here = nix::fcntl::open(place, OFlag::O_PATH | OFlag::O_CLOEXEC, mode)?;
            make_read_only(&here)?;
            Ok(Self { original, keep })
        };
        make().map_err(|source| failed("cannot make covers on", place, source))
    }

    /// Covers `path`, with `cover` if it is a folder; `false` if it is gone.
    fn put_on(&self, path: &Path, cover: Option<&str>) -> Result<bool, MountError> {
        let Ok(meta) = fs::symlink_metadata(path) else {
            return Ok(false);
        };
        let name = match meta.is_dir() {
            true => cover.unwrap_or("folder"),
            false => "file",
        };
        let put = || clone_of(&Path::new(Self::PLACE).join(name)).and_then(|tree| attach(&tree, path));
        match while_replaced(put) {
            Ok(()) => Ok(true),
            Err(_) if fs::symlink_metadata(path).is_err() => Ok(false),
            Err(source) => Err(failed("cannot close", path, source)),
        }
    }

    fn put_hosts(&self) -> Result<(), MountError> {
        let put = || -> io::Result<()> {
            let path = fs::canonicalize("/etc/hosts")?;
            attach(&clone_of(&Path::new(Self::PLACE).join("hosts"))?, &path)
        };
        put().map_err(|source| failed("cannot replace", Path::new("/etc/hosts"), source))
    }

    fn finish(self) -> Result<Option<Stock>, MountError> {
        let place = Path::new(Self::PLACE);
        let finish = || -> io::Result<Option<Stock>> {
            let stock = || Stock::of(&place.join("file"), &place.join("folder"));
            let stock = self.keep.then(stock).transpose()?;
            match &self.original {
                Some(original) => attach(original, place)?,
                None => nix::mount::umount2(place, MntFlags::MNT_DETACH)?,
            }
            Ok(stock)
        };
        finish().map_err(|source| failed("cannot give back what the covers lay on,", place, source))
    }
}
