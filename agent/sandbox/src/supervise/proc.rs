//! `/proc` as the target would see it.
//!
//! Three things there depend on who looks: `self` and `thread-self`; links that jump to an object (`cwd`, `root`,
//! `exe`, `fd/N`); and files of other processes that only a process with the right to trace them may open. The
//! supervisor is free of the target's restrictions, so all three are decided here and not by its own rights.

use std::ffi::{CStr, CString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use super::sys::{self, Errno};
use super::target::{Family, Status, Target};

/// Number of the root folder's inode on every procfs.
const ROOT_INODE: u64 = 1;

/// What the kernel shows of a process to everybody, Landlock domain or not. All else in `/proc/PID` needs the right to
/// trace it, or is too little used to be worth telling apart.
const PUBLIC: [&str; 8] = [
    "cgroup", "cmdline", "comm", "sched", "stat", "statm", "status", "task",
];

/// What a link in the procfs folder `dir` is, for this target.
pub(super) enum Link {
    /// An ordinary link: its text is to be walked. `self` and `thread-self` come with the target's numbers.
    Text(Vec<u8>),
    /// A link that jumps: the object it leads to.
    Jump(OwnedFd),
}

/// Follows one link on procfs.
pub(super) fn follow(
    target: &Target,
    family: Family,
    dir: BorrowedFd<'_>,
    name: &CStr,
) -> Result<Link, Errno> {
    let whose = name.to_bytes();
    if matches!(whose, b"self" | b"thread-self") && sys::statx(dir)?.inode == ROOT_INODE {
        if target.status.nested {
            // This procfs may belong to the target's own pid namespace, where it has another number.
            return Err(Errno::EACCES);
        }
        let process = target.status.tgid;
        let text = match whose {
            b"self" => process.to_string(),
            _ => format!("{process}/task/{}", target.tid),
        };
        return Ok(Link::Text(text.into_bytes()));
    }
    let asked = sys::openat2(
        Some(dir),
        name,
        (libc::O_PATH | libc::O_CLOEXEC) as u64,
        0,
        libc::RESOLVE_NO_MAGICLINKS,
    );
    if asked.err() != Some(Errno::ELOOP) {
        return sys::readlinkat(Some(dir), name).map(Link::Text);
    }
    guard(target, family, &sys::path_of(dir)?, true)?;
    sys::openat(Some(dir), name, libc::O_PATH, 0).map(Link::Jump)
}

/// Refuses what belongs to a process that the target has no right to trace.
///
/// `path` is the canonical path of something on procfs; `inside` says that it is a folder out of which something is
/// taken, so that no name in it is public.
pub(super) fn guard(target: &Target, family: Family, path: &[u8], inside: bool) -> Result<(), Errno> {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let Some((owner, within)) = owner(target, path)? else {
        return Ok(());
    };
    if owner == target.status.tgid || owner == target.tid {
        return Ok(());
    }
    let mut parts = within.components();
    let public = match (parts.next(), parts.next()) {
        // The process's folder itself.
        (None, _) => true,
        // Not what has the same name deeper down, such as `net/stat`.
        (Some(Component::Normal(name)), None) => PUBLIC.iter().any(|public| name == *public),
        _ => false,
    };
    if public && !inside {
        return Ok(());
    }
    let thread_of_its_own =
        Status::of(&owner.to_string()).is_some_and(|status| status.tgid == target.status.tgid);
    if thread_of_its_own || family.includes(owner) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// The process in whose folder a canonical path lies, and the rest of the path (without `task/TID`).
///
/// The mount point is found by looking which part of the path is the root of a procfs: `/proc` can be mounted
/// anywhere. The target cannot mount, so the answer cannot change under us.
fn owner<'p>(target: &Target, path: &'p Path) -> Result<Option<(i32, &'p Path)>, Errno> {
    let mut numeric = false;
    for part in path.ancestors() {
        let Some(pid) = part
            .file_name()
            .and_then(|name| name.to_str()?.parse::<i32>().ok())
        else {
            continue;
        };
        numeric = true;
        let above = part.parent().unwrap_or(part);
        let above_text = CString::new(above.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
        let flags = (libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) as u64;
        let resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS;
        let Ok(folder) = sys::openat2(Some(target.root()), &above_text, flags, 0, resolve) else {
            continue;
        };
        use std::os::fd::AsFd;
        if sys::on_procfs(folder.as_fd())? && sys::statx(folder.as_fd())?.inode == ROOT_INODE {
            let mut within = path.strip_prefix(part).unwrap_or(path);
            if let Ok(task) = within.strip_prefix("task") {
                let mut rest = task.components();
                if rest.next().is_some() {
                    within = rest.as_path();
                }
            }
            return Ok(Some((pid, within)));
        }
    }
    // A number, but no procfs above it: seen from another root than the path was made for.
    if numeric && !path.starts_with("/proc/sys") {
        Err(Errno::EACCES)
    } else {
        Ok(None)
    }
}
