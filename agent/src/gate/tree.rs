//! Trees that are copied and removed below open folders. No link is followed, nothing special is opened.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fstat, fstatat, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, mkfifoat, symlinkat, unlinkat};

use super::copy::{MAX_DEPTH, MAX_TOTAL, kind};

/// Most names of one folder that are taken into memory.
const MAX_NAMES: usize = 1_000_000;

fn how(flags: OFlag) -> OpenHow {
    OpenHow::new()
        .flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

/// Opens a folder below another.
pub(crate) fn open_folder<N: AsRef<OsStr> + ?Sized>(
    parent: BorrowedFd<'_>,
    name: &N,
) -> Result<OwnedFd, Errno> {
    openat2(parent, name.as_ref(), how(OFlag::O_RDONLY | OFlag::O_DIRECTORY))
}

/// The names in a folder, at most `most`.
pub(crate) fn names(folder: BorrowedFd<'_>, most: usize) -> Result<Vec<OsString>, Errno> {
    let again = openat2(folder, ".", how(OFlag::O_RDONLY | OFlag::O_DIRECTORY))?;
    let mut listed = Dir::from_fd(again)?;
    let mut names = Vec::new();
    for entry in listed.iter() {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
        if names.len() >= most {
            break;
        }
    }
    Ok(names)
}

/// Removes what stands at `name`, with all below it. It is no error that nothing does.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(error) => return Err(error),
    }
    // Depth is bounded by what was copied in; a folder that was moved in deeper is emptied level by level all the same.
    let mut open = vec![(open_folder(parent, name)?, name.to_owned(), None::<Vec<OsString>>)];
    while let Some((folder, _, left)) = open.last_mut() {
        let left = match left {
            Some(left) => left,
            none => none.insert(names(folder.as_fd(), MAX_NAMES)?),
        };
        match left.pop() {
            Some(name) => match unlinkat(&*folder, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(Errno::EISDIR | Errno::EPERM) => {
                    let below = open_folder(folder.as_fd(), &name)?;
                    open.push((below, name, None));
                }
                Err(error) => return Err(error),
            },
            None => {
                let Some((_, name, _)) = open.pop() else { break };
                let above = open.last().map_or(parent, |(folder, _, _)| folder.as_fd());
                unlinkat(above, name.as_os_str(), UnlinkatFlags::RemoveDir)?;
            }
        }
    }
    Ok(())
}

/// Sets the mode of what a path descriptor stands for.
pub(crate) fn set_mode(opened: &OwnedFd, mode: u32) -> Result<(), Errno> {
    // A path descriptor has no fchmod before Linux 6.6; its magic link leads to the very file.
    let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
    let mode = Mode::from_bits_truncate(mode);
    nix::sys::stat::fchmodat(
        nix::fcntl::AT_FDCWD,
        path.as_str(),
        mode,
        nix::sys::stat::FchmodatFlags::FollowSymlink,
    )
}

/// Copies a tree to another file system, with owners, modes and times.
pub(crate) fn copy(from: BorrowedFd<'_>, name: &OsStr, to: BorrowedFd<'_>, new: &OsStr) -> Result<(), Errno> {
    let mut left = MAX_TOTAL;
    copy_one((from, name), (to, new), 0, &mut left)
}

type At<'a> = (BorrowedFd<'a>, &'a OsStr);

fn copy_one(from: At<'_>, to: At<'_>, depth: usize, left: &mut u64) -> Result<(), Errno> {
    let stat = fstatat(from.0, from.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    match kind(&stat) {
        SFlag::S_IFDIR => {
            if depth > MAX_DEPTH {
                return Err(Errno::ENAMETOOLONG);
            }
            mkdirat(to.0, to.1, Mode::S_IRWXU)?;
            let (source, target) = (open_folder(from.0, from.1)?, open_folder(to.0, to.1)?);
            for name in names(source.as_fd(), super::copy::MAX_ENTRIES)? {
                copy_one((source.as_fd(), &name), (target.as_fd(), &name), depth + 1, left)?;
            }
            nix::unistd::fsync(&target)?;
        }
        SFlag::S_IFREG => copy_file(from, to, left)?,
        SFlag::S_IFLNK => symlinkat(readlinkat(from.0, from.1)?.as_os_str(), to.0, to.1)?,
        SFlag::S_IFIFO => mkfifoat(to.0, to.1, Mode::S_IRUSR)?,
        // A device or a socket is not carried over: it holds nothing.
        _ => return Ok(()),
    }
    like(to, &stat)
}

fn copy_file(from: At<'_>, to: At<'_>, left: &mut u64) -> Result<(), Errno> {
    let source = openat2(from.0, from.1, how(OFlag::O_RDONLY | OFlag::O_NONBLOCK))?;
    let size = u64::try_from(fstat(&source)?.st_size).unwrap_or_default();
    *left = left.checked_sub(size).ok_or(Errno::EFBIG)?;
    let new = how(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL).mode(Mode::S_IRUSR | Mode::S_IWUSR);
    let mut target = File::from(openat2(to.0, to.1, new)?);
    let copied =
        std::io::copy(&mut File::from(source).take(size), &mut target).and_then(|_| target.sync_all());
    copied.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// Gives `at` the owner, mode and times of `stat`.
fn like(at: At<'_>, stat: &FileStat) -> Result<(), Errno> {
    let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(
        at.0,
        at.1,
        Some(owner.0),
        Some(owner.1),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )?;
    if kind(stat) != SFlag::S_IFLNK {
        set_mode(&openat2(at.0, at.1, how(OFlag::O_PATH))?, stat.st_mode & 0o7777)?;
    }
    let accessed = TimeSpec::new(stat.st_atime, stat.st_atime_nsec);
    let modified = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    utimensat(at.0, at.1, &accessed, &modified, UtimensatFlags::NoFollowSymlink)
}
