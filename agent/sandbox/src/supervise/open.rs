//! `open` and its kin, done for the target.
//!
//! The path is copied once and never read again. It is resolved to an object (`O_PATH`), the object's canonical path
//! is judged, and that very object is opened through `/proc/self/fd`: no name is looked up between judging and
//! opening. A file that does not exist is created in the folder that was judged, with `O_EXCL`; if somebody else made
//! it in between, the whole is done again.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::judge::{Access, Action, OpenRequest};
use super::notify::Notification;
use super::resolve::{Found, View, Walk};
use super::step::{Ruling, Step};
use super::supervisor::{Core, Held};
use super::sys::{self, Errno, Stat};
use super::target::{Target, stat_field};
use super::{MAX_ATTEMPTS, proc};

/// `O_TMPFILE` without the `O_DIRECTORY` that is part of it.
const TMPFILE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;

/// `struct open_how` has grown to this so far, and never beyond a page.
const HOW_SIZE: usize = 24;
const MAX_HOW_SIZE: u64 = 4096;

/// One open, as the target asked for it.
#[derive(Debug)]
pub(super) struct OpenCall {
    target: Target,
    /// The folder that a relative path begins at.
    base: Option<OwnedFd>,
    path: Vec<u8>,
    flags: i32,
    mode: u32,
    resolve: u64,
}

impl OpenCall {
    /// Copies everything out of the target. Afterwards its memory is not looked at again.
    pub(super) fn gather(target: Target, call: &Notification) -> Result<Self, Errno> {
        let [first, second, third, fourth, ..] = call.args;
        let (dirfd, path, flags, mode, resolve) = match call.number {
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => {
                let (flags, mode) = legacy(second as i32, third as u32);
                (libc::AT_FDCWD, first, flags, mode, 0)
            }
            #[cfg(target_arch = "x86_64")]
            libc::SYS_creat => {
                let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
                let (flags, mode) = legacy(flags, second as u32);
                (libc::AT_FDCWD, first, flags, mode, 0)
            }
            libc::SYS_openat => {
                let (flags, mode) = legacy(third as i32, fourth as u32);
                (first as i32, second, flags, mode, 0)
            }
            libc::SYS_openat2 => {
                let (flags, mode, resolve) = read_how(&target, third, fourth)?;
                (first as i32, second, flags, mode, resolve)
            }
            _ => return Err(Errno::ENOSYS),
        };
        valid_flags(flags, mode, resolve)?;
        let path = target.path(path)?;
        // The kernel lets nobody put such a handle into another process, and here the filter cannot see the flag. Whoever
        // uses `openat2` knows kernels without it, and does this with `openat`.
        if flags & libc::O_PATH as u64 != 0 {
            return Err(Errno::ENOSYS);
        }
        // "Not without waiting for a disk" is always a true answer, and the caller then asks without it.
        if resolve & libc::RESOLVE_CACHED != 0 {
            return Err(Errno::EAGAIN);
        }
        let in_scope = resolve & (libc::RESOLVE_IN_ROOT | libc::RESOLVE_BENEATH) != 0;
        let base = if path[0] == b'/' && !in_scope {
            None
        } else {
            Some(target.base(dirfd)?)
        };
        Ok(Self {
            target,
            base,
            path,
            flags: flags as i32,
            mode: mode as u32,
            resolve,
        })
    }

    fn has(&self, flag: i32) -> bool {
        self.flags & flag == flag
    }

    /// Resolves, judges and opens. `approved`: what a person has said yes to; anything else is judged anew.
    pub(super) fn attempt(self, core: &Core, approved: Option<Action>) -> Step {
        for _ in 0..MAX_ATTEMPTS {
            match self.once(core, approved.as_ref()) {
                Ok(Outcome::Opened(fd)) => {
                    return Step::Inject {
                        fd,
                        close_on_exec: self.has(libc::O_CLOEXEC),
                    };
                }
                Ok(Outcome::Changed) => {}
                Ok(Outcome::Waits(fd)) => {
                    let close_on_exec = self.has(libc::O_CLOEXEC);
                    return Step::Block(Box::new(move |_| {
                        match sys::reopen(fd.as_fd(), self.reopen_flags(), 0) {
                            Ok(fd) => Step::Inject { fd, close_on_exec },
                            Err(errno) => Step::Done(Err(errno)),
                        }
                    }));
                }
                Ok(Outcome::Asks(action, reason)) => {
                    return Step::Ask {
                        pid: self.target.status.tgid,
                        action: action.clone(),
                        reason,
                        then: Box::new(move |core| self.attempt(core, Some(action))),
                    };
                }
                Err(errno) => return Step::Done(Err(errno)),
            }
        }
        Step::Done(Err(Errno::EAGAIN))
    }

    fn once(&self, core: &Core, approved: Option<&Action>) -> Result<Outcome, Errno> {
        let creates = self.has(libc::O_CREAT) && !self.has(TMPFILE);
        let exclusive = creates && self.has(libc::O_EXCL);
        let walk = Walk {
            follow: !self.has(libc::O_NOFOLLOW) && !exclusive,
            create: creates,
            resolve: self.resolve,
        };
        let view = View {
            target: &self.target,
            family: core.family,
        };
        match view.find(self.base.as_ref().map(AsFd::as_fd), &self.path, walk)? {
            Found::Object { .. } if exclusive => Err(Errno::EEXIST),
            Found::Object { stat, .. } if creates && stat.is_dir() => Err(Errno::EISDIR),
            Found::Object { fd, stat, on_procfs } => self.existing(core, fd, stat, on_procfs, approved),
            Found::Missing { parent, name } => self.missing(core, parent.as_fd(), &name, approved),
        }
    }

    fn existing(
        &self,
        core: &Core,
        fd: OwnedFd,
        stat: Stat,
        on_procfs: bool,
        approved: Option<&Action>,
    ) -> Result<Outcome, Errno> {
        if self.has(libc::O_DIRECTORY) && !stat.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if stat.is_symlink() {
            return Err(Errno::ELOOP);
        }
        let mut access = self.access();
        access.create = self.has(TMPFILE);
        if let Some((path, removed)) = place(fd.as_fd(), &stat)? {
            if on_procfs {
                proc::guard(&self.target, core.family, &path, false)?;
            }
            let request = self.request(path, access, stat.is_dir(), removed);
            if let Some(outcome) = self.rule(core, &request, approved)? {
                return Ok(outcome);
            }
        }
        if access.write {
            // Emptying a file cannot be taken back, so it is not done for one who is gone.
            core.still_held(self.target.id)?;
        }
        self.open_object(core, fd, &stat)
    }

    /// Opens the judged object.
    fn open_object(&self, core: &Core, fd: OwnedFd, stat: &Stat) -> Result<Outcome, Errno> {
        let flags = self.reopen_flags();
        if self.has(TMPFILE) {
            sys::umask(self.target.status.umask);
            return sys::reopen(fd.as_fd(), flags, self.mode).map(Outcome::Opened);
        }
        let waits = !self.has(libc::O_NONBLOCK);
        match stat.kind() {
            // An open can be held up by a lease on the file, which the target could take to hold up its supervisor.
            libc::S_IFREG if waits => match sys::reopen(fd.as_fd(), flags | libc::O_NONBLOCK, 0) {
                Err(Errno::EWOULDBLOCK) => Ok(Outcome::Waits(fd)),
                Err(errno) => Err(errno),
                Ok(opened) => {
                    sys::set_status_flags(opened.as_fd(), flags)?;
                    Ok(Outcome::Opened(opened))
                }
            },
            // Waits for the other end, unless it is opened for both.
            libc::S_IFIFO if waits && !self.has(libc::O_RDWR) => Ok(Outcome::Waits(fd)),
            libc::S_IFCHR if stat.node == (5, 0) => {
                self.controlling_terminal(core, fd, flags).map(Outcome::Opened)
            }
            // Memory devices (1) and pseudo terminals do not wait; a modem line may.
            libc::S_IFCHR if waits && !matches!(stat.node.0, 1 | 5 | 136..=143) => Ok(Outcome::Waits(fd)),
            libc::S_IFBLK if waits => Ok(Outcome::Waits(fd)),
            _ => sys::reopen(fd.as_fd(), flags, 0).map(Outcome::Opened),
        }
    }

    /// `/dev/tty` is another device for every session: the target's, not the supervisor's.
    fn controlling_terminal(&self, core: &Core, fd: OwnedFd, flags: i32) -> Result<OwnedFd, Errno> {
        let theirs = stat_field(self.target.tid, 7).unwrap_or(0);
        if theirs == 0 {
            return Err(Errno::ENXIO);
        }
        let own = stat_field(std::process::id().cast_signed(), 7).unwrap_or(0);
        if theirs == own {
            return sys::reopen(fd.as_fd(), flags, 0);
        }
        // As the kernel packs it: minor 0-7, major 8-19, minor 20-31. Pseudo terminals all have the first of their majors.
        let packed = theirs as u32;
        let (major, minor) = (
            (packed >> 8) & 0xfff,
            (packed & 0xff) | ((packed >> 12) & 0xf_ff00),
        );
        if major != 136 {
            return Err(Errno::ENXIO);
        }
        let path = format!("/dev/pts/{minor}");
        let walk = Walk {
            follow: false,
            create: false,
            resolve: 0,
        };
        let view = View {
            target: &self.target,
            family: core.family,
        };
        match view.find(None, path.as_bytes(), walk) {
            Ok(Found::Object { fd, stat, .. })
                if stat.kind() == libc::S_IFCHR && stat.node == (major, minor) =>
            {
                sys::reopen(fd.as_fd(), flags, 0)
            }
            _ => Err(Errno::ENXIO),
        }
    }

    fn missing(
        &self,
        core: &Core,
        parent: BorrowedFd<'_>,
        name: &CString,
        approved: Option<&Action>,
    ) -> Result<Outcome, Errno> {
        if self.has(libc::O_DIRECTORY) {
            return Err(Errno::EINVAL);
        }
        let mut path = sys::path_of(parent)?;
        if path != b"/" {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        if sys::on_procfs(parent)? {
            proc::guard(&self.target, core.family, &path, false)?;
        }
        let access = Access {
            create: true,
            ..self.access()
        };
        let request = self.request(path, access, false, false);
        if let Some(outcome) = self.rule(core, &request, approved)? {
            return Ok(outcome);
        }
        // Creating cannot be taken back, so it is not done for one who is gone.
        core.still_held(self.target.id)?;
        sys::umask(self.target.status.umask);
        let flags = self.flags | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_NOCTTY;
        match sys::openat(Some(parent), name, flags, self.mode) {
            Ok(fd) => Ok(Outcome::Opened(fd)),
            Err(Errno::EEXIST) if !self.has(libc::O_EXCL) => Ok(Outcome::Changed),
            Err(errno) => Err(errno),
        }
    }

    fn rule(
        &self,
        core: &Core,
        request: &OpenRequest,
        approved: Option<&Action>,
    ) -> Result<Option<Outcome>, Errno> {
        let action = Action::Open {
            path: request.path.clone(),
            access: request.access,
        };
        let ruling = core.rule(core.judge.open(request), &action, approved)?;
        Ok(match ruling {
            Ruling::Go => None,
            Ruling::Ask(reason) => Some(Outcome::Asks(action, reason)),
        })
    }

    fn request(&self, path: Vec<u8>, access: Access, folder: bool, removed: bool) -> OpenRequest {
        OpenRequest {
            pid: self.target.status.tgid,
            path: PathBuf::from(OsString::from_vec(path)),
            access,
            folder,
            removed,
            given: PathBuf::from(OsString::from_vec(self.path.clone())),
        }
    }

    fn access(&self) -> Access {
        let mode = self.flags & libc::O_ACCMODE;
        Access {
            read: mode != libc::O_WRONLY,
            write: mode != libc::O_RDONLY || self.has(libc::O_TRUNC),
            create: false,
        }
    }

    /// The flags for opening an object that exists. A terminal must not become the supervisor's own.
    fn reopen_flags(&self) -> i32 {
        let found_already = libc::O_NOFOLLOW
            | if self.has(TMPFILE) {
                0
            } else {
                libc::O_CREAT | libc::O_EXCL
            };
        (self.flags & !found_already) | libc::O_NOCTTY
    }
}

impl Held for OpenCall {
    fn id(&self) -> u64 {
        self.target.id
    }
}

enum Outcome {
    Opened(OwnedFd),
    /// Opening this object waits for somebody.
    Waits(OwnedFd),
    /// Somebody made the file in between.
    Changed,
    Asks(Action, String),
}

/// Where an object lies, and whether its name is gone. None: it has no place in a file system.
fn place(fd: BorrowedFd<'_>, stat: &Stat) -> Result<Option<(Vec<u8>, bool)>, Errno> {
    const GONE: &[u8] = b" (deleted)";
    let path = sys::path_of(fd)?;
    if path.first() != Some(&b'/') {
        return Ok(None);
    }
    if stat.links > 0 {
        return Ok(Some((path, false)));
    }
    // A memory file lies in no folder; Landlock leaves it alone too.
    if path.starts_with(b"/memfd:") && sys::fs_magic(fd)? == libc::TMPFS_MAGIC {
        return Ok(None);
    }
    match path.strip_suffix(GONE) {
        Some(was) => Ok(Some((was.to_vec(), true))),
        None => Ok(Some((path, true))),
    }
}

/// What `open` and `openat` make of their flags before they look at them (`build_open_how` in the kernel).
fn legacy(flags: i32, mode: u32) -> (u64, u64) {
    const KNOWN: i32 = libc::O_ACCMODE
        | libc::O_CREAT
        | libc::O_EXCL
        | libc::O_NOCTTY
        | libc::O_TRUNC
        | libc::O_APPEND
        | libc::O_NONBLOCK
        | libc::O_SYNC
        | libc::O_ASYNC
        | libc::O_DIRECT
        | libc::O_DIRECTORY
        | libc::O_NOFOLLOW
        | libc::O_NOATIME
        | libc::O_CLOEXEC
        | TMPFILE
        | LARGEFILE;
    let flags = flags & KNOWN;
    let creates = flags & (libc::O_CREAT | TMPFILE) != 0;
    (
        u64::from(flags.cast_unsigned()),
        if creates { u64::from(mode & 0o7777) } else { 0 },
    )
}

/// The kernel's `O_LARGEFILE`; glibc's is 0 where every file is large.
#[cfg(target_arch = "x86_64")]
const LARGEFILE: i32 = 0o100_000;
#[cfg(not(target_arch = "x86_64"))]
const LARGEFILE: i32 = 0o400_000;

fn read_how(target: &Target, address: u64, size: u64) -> Result<(u64, u64, u64), Errno> {
    if size < HOW_SIZE as u64 {
        return Err(Errno::EINVAL);
    }
    if size > MAX_HOW_SIZE {
        return Err(Errno::E2BIG);
    }
    let mut bytes = vec![0u8; size as usize];
    target.read(address, &mut bytes)?;
    // Words that this version does not know may only say nothing.
    if bytes[HOW_SIZE..].iter().any(|byte| *byte != 0) {
        return Err(Errno::E2BIG);
    }
    let word = |at: usize| {
        let mut word = [0u8; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_ne_bytes(word)
    };
    Ok((word(0), word(8), word(16)))
}

/// Lets the kernel say what it thinks of the flags: it looks at them before the path, and an empty path names nothing.
fn valid_flags(flags: u64, mode: u64, resolve: u64) -> Result<(), Errno> {
    // Every combination of these is valid, and nearly all opens have no others.
    const PLAIN: i32 = libc::O_ACCMODE
        | libc::O_CREAT
        | libc::O_EXCL
        | libc::O_TRUNC
        | libc::O_APPEND
        | libc::O_NONBLOCK
        | libc::O_NOFOLLOW
        | libc::O_NOCTTY
        | libc::O_CLOEXEC
        | LARGEFILE;
    let creates = flags & libc::O_CREAT as u64 != 0;
    if flags & !(PLAIN as u64) == 0 && resolve == 0 && (creates && mode & !0o7777 == 0 || mode == 0) {
        return Ok(());
    }
    match sys::openat2(None, c"", flags, mode, resolve) {
        Err(Errno::ENOENT) | Ok(_) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_judged_by_the_kernel() {
        assert_eq!(
            legacy(libc::O_RDWR | 0x4000_0000, 0o777),
            (libc::O_RDWR as u64, 0)
        );
        assert_eq!(valid_flags(libc::O_RDONLY as u64, 0, 0), Ok(()));
        assert_eq!(
            valid_flags(libc::O_TMPFILE as u64, 0, 0),
            Err(Errno::EINVAL),
            "a file nobody can write"
        );
        assert_eq!(
            valid_flags(0, 0o600, 0),
            Err(Errno::EINVAL),
            "a mode without O_CREAT"
        );
        assert_eq!(valid_flags(0, 0, 0x8000), Err(Errno::EINVAL));
    }

    #[test]
    fn objects_without_a_place_are_known() {
        let memory = sys::memfd(c"x").unwrap();
        let stat = sys::statx(memory.as_fd()).unwrap();
        assert_eq!(place(memory.as_fd(), &stat).unwrap(), None);
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_path_buf();
        let file = file.into_file();
        let stat = sys::statx(file.as_fd()).unwrap();
        let (was, removed) = place(file.as_fd(), &stat).unwrap().unwrap();
        assert!(removed);
        assert_eq!(PathBuf::from(OsString::from_vec(was)), path);
    }
}
