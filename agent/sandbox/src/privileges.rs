//! Capabilities, descriptors, no new privileges.

use std::io;
use std::os::fd::RawFd;

use crate::host::check;

/// Capabilities that root keeps in a sandbox: they bound what it does to files and processes of its own, and get nobody out. By
/// number, from `linux/capability.h`: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE.
const KEPT: [u8; 8] = [0, 1, 3, 4, 5, 6, 7, 10];
/// The highest capability that the kernel is asked to drop; it knows 40 of them (6.x), and says so with EINVAL beyond its own.
const LAST: u8 = 63;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The lowest descriptor that is no standard stream.
const FIRST: RawFd = 3;

const VERSION_3: u32 = 0x2008_0522;

/// Drops every capability but [`KEPT`], or all of them.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_capabilities(all: bool) -> io::Result<()> {
    let kept = if all {
        0
    } else {
        KEPT.iter().fold(0_u64, |set, bit| set | 1 << bit)
    };
    for capability in (0..=LAST).filter(|bit| kept & (1 << bit) == 0) {
        // SAFETY: takes numbers alone.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) } != 0 {
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINVAL) => break,
                // Without the right to change the bounding set there is nothing in it that this process could gain: see below.
                Some(libc::EPERM) => break,
                _ => return Err(error),
            }
        }
    }
    // SAFETY: takes numbers alone.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    let now = capabilities()?;
    let mut sets = [Sets::default(); 2];
    for (set, now, shift) in [(0, now as u32, 0), (1, (now >> 32) as u32, 32)] {
        let kept = now & (kept >> shift) as u32;
        sets[set] = Sets {
            effective: kept,
            permitted: kept,
            inheritable: 0,
        };
    }
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    // SAFETY: both point to values of the layout that this version names, alive during the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) })?;
    Ok(())
}

/// The capabilities that this thread has in force.
///
/// # Errors
/// When the kernel refuses, which it does not.
pub fn capabilities() -> io::Result<u64> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut sets = [Sets::default(); 2];
    // SAFETY: both point to values of the layout that this version names, alive during the call.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) })?;
    Ok(u64::from(sets[0].effective) | u64::from(sets[1].effective) << 32)
}

/// Whether what is in force is within what a sandbox keeps.
pub fn within_kept(capabilities: u64) -> bool {
    capabilities & !KEPT.iter().fold(0_u64, |set, bit| set | 1 << bit) == 0
}

/// From here on, no program that is started gains anything by its owner or its file's capabilities.
///
/// # Errors
/// When the kernel refuses, which it does not since 3.5.
pub fn no_new_privileges() -> io::Result<()> {
    // SAFETY: takes numbers alone.
    check(libc::c_long::from(unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    }))?;
    Ok(())
}

/// Whether that is so.
pub fn has_no_new_privileges() -> bool {
    // SAFETY: takes numbers alone.
    unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
}

/// Marks every descriptor but the standard ones to be closed when the command starts.
///
/// # Errors
/// When the kernel refuses (before 5.11 it does not know the flag).
pub fn close_descriptors() -> io::Result<()> {
    const CLOSE_ON_EXEC: libc::c_uint = 4;
    // SAFETY: takes numbers alone; nothing is closed before the exec, which closes what this process no longer uses.
    check(unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, CLOSE_ON_EXEC) })?;
    Ok(())
}

/// Closes what whoever started this process has left open in it, but for the standard streams: all that is not to be closed when a
/// program starts, since what this program opens is.
///
/// Nothing in this process may rely on such a descriptor.
pub fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let open: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| *fd >= FIRST && !closes(*fd)) {
        // SAFETY: a number that nobody in this process owns.
        unsafe { libc::close(fd) };
    }
}

/// Closes every descriptor but the standard ones and `kept`. For a process that goes on with these alone, and never returns to where
/// others are owned.
pub fn close_but<const N: usize>(mut kept: [RawFd; N]) {
    kept.sort_unstable();
    let mut first = FIRST;
    for kept in kept {
        close_between(first, kept - 1);
        first = first.max(kept + 1);
    }
    close_between(first, RawFd::MAX);
}

fn close_between(first: RawFd, last: RawFd) {
    if first <= last {
        // SAFETY: takes numbers alone, of descriptors that this process no longer uses. Before Linux 5.9 they stay open until it ends.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

/// Whether `fd` is closed when the command starts.
pub fn closes(fd: RawFd) -> bool {
    // SAFETY: takes numbers alone.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags < 0 || flags & libc::FD_CLOEXEC != 0
}
