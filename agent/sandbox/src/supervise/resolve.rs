//! From a path to an object, as the target itself would have got there.
//!
//! Two ways. The kernel does it in one call where its answer cannot depend on who asks: `openat2` within the target's
//! root or below its folder, without jumping links, with an outcome that is not on procfs. In every other case,
//! errors included, the path is walked here, one component at a time, and that answer counts.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use super::proc::{self, Link};
use super::sys::{self, Errno, Stat};
use super::target::{Family, Target};

/// `MAXSYMLINKS` of the kernel.
const MAX_LINKS: usize = 40;

/// `NAME_MAX`.
const MAX_NAME: usize = 255;

/// What a path led to.
#[derive(Debug)]
pub(super) enum Found {
    /// An object, open as `O_PATH`.
    Object {
        fd: OwnedFd,
        stat: Stat,
        on_procfs: bool,
    },
    /// The last name does not exist in this folder.
    Missing { parent: OwnedFd, name: CString },
}

/// How a path is to be walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walk {
    /// A symbolic link at the end is followed.
    pub(super) follow: bool,
    /// The last name may be missing.
    pub(super) create: bool,
    /// `RESOLVE_` bits of `openat2`.
    pub(super) resolve: u64,
}

/// Whose eyes a path is looked at with.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'t> {
    pub(super) target: &'t Target,
    /// Whose processes the target may look into.
    pub(super) family: Family,
}

impl View<'_> {
    /// Finds what `path` (not empty) names, from `base` where it is relative.
    pub(super) fn find(self, base: Option<BorrowedFd<'_>>, path: &[u8], walk: Walk) -> Result<Found, Errno> {
        let scoped = libc::RESOLVE_BENEATH | libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_XDEV;
        if walk.resolve & scoped != 0 {
            return self.find_scoped(base, path, walk);
        }
        match self.find_by_kernel(base, path, walk) {
            Some(found) => Ok(found),
            None => self.walk(base, path, walk),
        }
    }

    /// The quick way; None where its answer does not count.
    fn find_by_kernel(self, base: Option<BorrowedFd<'_>>, path: &[u8], walk: Walk) -> Option<Found> {
        if walk.create && path.ends_with(b"/") {
            return None;
        }
        let text = CString::new(path).ok()?;
        let (from, scope) = match path[0] {
            b'/' => (self.target.root(), libc::RESOLVE_IN_ROOT),
            _ => (base?, libc::RESOLVE_BENEATH),
        };
        let fd = sys::openat2(
            Some(from),
            &text,
            path_flags(walk.follow),
            0,
            scope | libc::RESOLVE_NO_MAGICLINKS | walk.resolve,
        )
        .ok()?;
        if sys::on_procfs(fd.as_fd()).ok()? {
            return None;
        }
        let stat = sys::statx(fd.as_fd()).ok()?;
        Some(Found::Object {
            fd,
            stat,
            on_procfs: false,
        })
    }

    /// `openat2` with a scope of its own: the kernel keeps to it, and it forbids jumping links by itself. `/proc/self`
    /// would be ours: what is found on procfs is looked at by the guard, which knows whose it is.
    fn find_scoped(self, base: Option<BorrowedFd<'_>>, path: &[u8], walk: Walk) -> Result<Found, Errno> {
        let in_root = walk.resolve & libc::RESOLVE_IN_ROOT != 0;
        let (from, extra) = match (path[0], base) {
            (b'/', None) => (self.target.root(), libc::RESOLVE_IN_ROOT),
            (_, Some(base)) if path[0] != b'/' || in_root || walk.resolve & libc::RESOLVE_BENEATH != 0 => {
                (base, 0)
            }
            _ => (self.target.root(), libc::RESOLVE_IN_ROOT),
        };
        // Without a scope (RESOLVE_NO_XDEV alone) an absolute link would lead out of the target's root.
        let scope = match walk.resolve & (libc::RESOLVE_BENEATH | libc::RESOLVE_IN_ROOT) {
            0 if extra == 0 => libc::RESOLVE_BENEATH,
            0 => extra,
            _ => 0,
        };
        let resolve = walk.resolve | scope | libc::RESOLVE_NO_MAGICLINKS;
        let open = |text: &[u8], follow| {
            let text = CString::new(text).map_err(|_| Errno::EINVAL)?;
            sys::openat2(Some(from), &text, path_flags(follow), 0, resolve)
        };
        match open(path, walk.follow) {
            Ok(fd) => object(fd),
            Err(Errno::ENOENT) if walk.create => {
                // Only a name in an existing folder; a dangling link at the end is not created through.
                let cut = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
                let (parent, name) = path.split_at(cut);
                if name.is_empty() || open(path, false).is_ok() {
                    return Err(Errno::ENOENT);
                }
                let parent = open(if parent.is_empty() { b"." } else { parent }, true)?;
                let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
                Ok(Found::Missing { parent, name })
            }
            Err(errno) => Err(errno),
        }
    }

    /// The exact way: one component at a time.
    pub(super) fn walk(self, base: Option<BorrowedFd<'_>>, path: &[u8], walk: Walk) -> Result<Found, Errno> {
        let start = match path[0] {
            b'/' => self.target.root(),
            _ => base.ok_or(Errno::EBADF)?,
        };
        let mut here = duplicate(start)?;
        let mut rest = path.to_vec();
        let mut links = 0;
        loop {
            let begin = rest.iter().position(|byte| *byte != b'/').unwrap_or(rest.len());
            let after = rest[begin..]
                .iter()
                .position(|byte| *byte == b'/')
                .map_or(rest.len(), |at| begin + at);
            let name = &rest[begin..after];
            if name.is_empty() {
                return object(here);
            }
            let last = rest[after..].iter().all(|byte| *byte == b'/');
            let slash = after < rest.len();
            if name.len() > MAX_NAME {
                return Err(Errno::ENAMETOOLONG);
            }
            let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
            // What the kernel says to `open("new/", O_CREAT)`, whether there is such a name or not.
            if last && slash && walk.create {
                return Err(Errno::EISDIR);
            }
            let next = match self.step(here.as_fd(), &name) {
                Err(Errno::ENOENT) if last && walk.create => {
                    return Ok(Found::Missing { parent: here, name });
                }
                other => other?,
            };
            let stat = sys::statx(next.as_fd())?;
            if stat.is_symlink() && (!last || slash || walk.follow) {
                links += 1;
                if links > MAX_LINKS || walk.resolve & libc::RESOLVE_NO_SYMLINKS != 0 {
                    return Err(Errno::ELOOP);
                }
                match self.follow(here.as_fd(), &name, next.as_fd(), &stat, walk)? {
                    Link::Jump(object) => here = object,
                    Link::Text(text) => {
                        match text.first() {
                            None => return Err(Errno::ENOENT),
                            Some(b'/') => here = duplicate(self.target.root())?,
                            Some(_) => {}
                        }
                        rest = [&text, &rest[after..]].concat();
                        continue;
                    }
                }
                rest.drain(..after);
            } else {
                here = next;
                rest.drain(..after);
            }
            // A name with something behind it has to be a folder.
            if (!last || slash) && !sys::statx(here.as_fd())?.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            if last {
                return object(here);
            }
        }
    }

    /// One component, no link followed. `..` does not leave the target's root.
    fn step(self, here: BorrowedFd<'_>, name: &CString) -> Result<OwnedFd, Errno> {
        if name.as_bytes() == b".." {
            let (stat, root) = (sys::statx(here)?, sys::statx(self.target.root())?);
            if (stat.mount, stat.inode, stat.device) == (root.mount, root.inode, root.device) {
                return duplicate(here);
            }
        }
        sys::openat(Some(here), name, libc::O_PATH | libc::O_NOFOLLOW, 0)
    }

    fn follow(
        self,
        dir: BorrowedFd<'_>,
        name: &CString,
        link: BorrowedFd<'_>,
        stat: &Stat,
        walk: Walk,
    ) -> Result<Link, Errno> {
        if sys::on_procfs(link)? {
            let link = proc::follow(self.target, self.family, dir, name)?;
            if matches!(link, Link::Jump(_)) && walk.resolve & libc::RESOLVE_NO_MAGICLINKS != 0 {
                return Err(Errno::ELOOP);
            }
            return Ok(link);
        }
        let folder = sys::statx(dir)?;
        let shared = libc::S_ISVTX | libc::S_IWOTH;
        if folder.mode & shared == shared
            && stat.uid != self.target.status.fs_uid()
            && stat.uid != folder.uid
            && links_are_protected()
        {
            return Err(Errno::EACCES);
        }
        sys::readlinkat(Some(link), c"").map(Link::Text)
    }
}

/// `fs.protected_symlinks`: a link that a stranger put into a shared folder such as `/tmp` is not followed.
fn links_are_protected() -> bool {
    static PROTECTED: OnceLock<bool> = OnceLock::new();
    *PROTECTED.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/fs/protected_symlinks").is_ok_and(|value| value.trim() != "0")
    })
}

fn path_flags(follow: bool) -> u64 {
    (libc::O_PATH | libc::O_CLOEXEC | if follow { 0 } else { libc::O_NOFOLLOW }) as u64
}

fn object(fd: OwnedFd) -> Result<Found, Errno> {
    let stat = sys::statx(fd.as_fd())?;
    let on_procfs = sys::on_procfs(fd.as_fd())?;
    Ok(Found::Object { fd, stat, on_procfs })
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    fd.try_clone_to_owned()
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EMFILE)))
}
