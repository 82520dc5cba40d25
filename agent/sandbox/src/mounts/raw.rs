//! The kernel's mount calls that take descriptors (Linux 5.2 and 5.12).

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::host::check;

const RECURSIVE: libc::c_uint = 0x8000;
const EMPTY_PATH: libc::c_uint = 0x1000;
const CLOSE_ON_EXEC: libc::c_uint = 0o2_000_000;
const CLONE: libc::c_uint = 1;
const FROM_EMPTY_PATH: libc::c_uint = 4;

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = libc::c_int::try_from(check(fd)?).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the kernel just made it for this process, and nothing else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A copy of what is mounted at `path`, with all below, that is attached nowhere.
pub(super) fn clone_of(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: the path is a string that ends in a zero byte and lives during the call.
    owned(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            path.as_ptr(),
            CLONE | RECURSIVE | CLOSE_ON_EXEC,
        )
    })
}

/// Attaches `tree` at `path`.
pub(super) fn attach(tree: &OwnedFd, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: both paths are strings that end in a zero byte and live during the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            FROM_EMPTY_PATH,
        )
    })?;
    Ok(())
}

/// What lies at `path`, topmost mount included, without following any symbolic link on the way; a link at its end is given itself.
pub(super) fn object(path: &Path) -> io::Result<OwnedFd> {
    let mut how: libc::open_how = zeroed_how();
    how.flags = (libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_NO_SYMLINKS;
    let path = c_path(path)?;
    // SAFETY: the path ends in a zero byte; `how` has the kernel's layout and the length that is told; both live during the call.
    owned(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    })
}

fn zeroed_how() -> libc::open_how {
    // SAFETY: a record of numbers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// A copy of what `object` is, with all that is mounted below, attached nowhere.
pub(super) fn copy_of(object: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: an empty path that ends in a zero byte: the descriptor is meant.
    owned(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            object.as_raw_fd(),
            c"".as_ptr(),
            CLONE | RECURSIVE | CLOSE_ON_EXEC | EMPTY_PATH,
        )
    })
}

/// Attaches `tree` on `object`, whatever its name is by now. Fails if it has none any more.
pub(super) fn attach_on(tree: &OwnedFd, object: &OwnedFd) -> io::Result<()> {
    const TO_EMPTY_PATH: libc::c_uint = 0x40;
    // SAFETY: empty paths that end in a zero byte: the descriptors are meant.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            object.as_raw_fd(),
            c"".as_ptr(),
            FROM_EMPTY_PATH | TO_EMPTY_PATH,
        )
    })?;
    Ok(())
}

#[repr(C)]
#[derive(Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Makes `tree` read-only, with all below. Kernel 5.12.
pub(super) fn make_read_only(tree: &OwnedFd) -> io::Result<()> {
    const READ_ONLY: u64 = 1;
    let attributes = MountAttributes {
        set: READ_ONLY,
        ..MountAttributes::default()
    };
    // SAFETY: the attributes have the kernel's layout (`struct mount_attr`, first version), and live during the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            EMPTY_PATH | RECURSIVE,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    })?;
    Ok(())
}

/// A new file system in memory, attached nowhere.
pub(super) fn tmpfs(options: &[(&CStr, &CStr)]) -> io::Result<OwnedFd> {
    const CLOSE: libc::c_uint = 1;
    const SET_STRING: libc::c_uint = 1;
    const CREATE: libc::c_uint = 6;
    /// No set-user-id programs, no device nodes.
    const ATTRIBUTES: libc::c_uint = 2 | 4;
    // SAFETY: the name is a string that ends in a zero byte.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), CLOSE) })?;
    let null = std::ptr::null::<libc::c_char>();
    for (key, value) in options {
        // SAFETY: both are strings that end in a zero byte.
        check(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                context.as_raw_fd(),
                SET_STRING,
                key.as_ptr(),
                value.as_ptr(),
                0,
            )
        })?;
    }
    // SAFETY: this command takes neither key nor value.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), CREATE, null, null, 0) })?;
    // SAFETY: takes numbers alone.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOSE, ATTRIBUTES) })
}
