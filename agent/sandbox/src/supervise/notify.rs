//! The listener: what the kernel stopped, and how it is answered.
//!
//! The ioctls are used directly. The `libseccomp` crate's wrappers allocate for every notification and know neither
//! `ADDFD` nor the check of an id without a library call.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::sys::Errno;

/// One call that the kernel holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notification {
    pub(super) id: u64,
    /// The thread that made the call, as this process's pid namespace numbers it.
    pub(super) tid: i32,
    pub(super) number: i64,
    pub(super) args: [u64; 6],
}

/// The descriptor that notifications come from.
#[derive(Debug)]
pub(super) struct Listener {
    fd: OwnedFd,
    /// Only a signal that kills interrupts a call that was received (`WAIT_KILLABLE_RECV`).
    uninterrupted: bool,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Listener {
    pub(super) fn new(fd: OwnedFd, uninterrupted: bool) -> Self {
        Self { fd, uninterrupted }
    }

    /// The next held call. `ENOENT`: it was withdrawn (its thread was killed) before it could be taken.
    pub(super) fn receive(&self) -> Result<Notification, Errno> {
        // SAFETY: the kernel demands a zeroed structure, which is a valid value of it.
        let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: `raw` is writable and has the size that is part of the request's number.
        let rc = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut raw) };
        Errno::result(rc)?;
        Ok(Notification {
            id: raw.id,
            tid: raw.pid.cast_signed(),
            number: i64::from(raw.data.nr),
            args: raw.data.args,
        })
    }

    /// Whether the call is still held. Once it is not, its thread's number may belong to another.
    pub(super) fn valid(&self, id: u64) -> bool {
        // SAFETY: the kernel reads eight bytes.
        let rc = unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
                &raw const id,
            )
        };
        rc == 0
    }

    /// Ends the call with a result. There is no way here to let a call go on: `flags` is always 0.
    pub(super) fn reply(&self, id: u64, result: Result<i64, Errno>) -> Result<(), Errno> {
        let (val, error) = match result {
            Ok(value) => (value, 0),
            Err(errno) => (0, -(errno as i32)),
        };
        let raw = libc::seccomp_notif_resp {
            id,
            val,
            error,
            flags: 0,
        };
        // SAFETY: the kernel reads a structure of the size that is part of the request's number.
        let rc = unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &raw const raw,
            )
        };
        Errno::result(rc).map(drop)
    }

    /// Puts the only copy of a descriptor into the target: the supervisor's is closed before the call ends. A second
    /// one would be noticed, if only for a moment: a program just written is "busy" when it is executed, a pipe has
    /// an end that nobody reads, a lock stays locked.
    ///
    /// Where any signal could interrupt the call between the two steps (before 6.0), it is done in one after all.
    pub(super) fn hand_over(&self, id: u64, fd: OwnedFd, close_on_exec: bool) -> Result<(), Errno> {
        if !self.uninterrupted {
            let at_once = libc::SECCOMP_ADDFD_FLAG_SEND as u32;
            return self.add(id, fd.as_fd(), close_on_exec, at_once).map(drop);
        }
        let number = self.add(id, fd.as_fd(), close_on_exec, 0)?;
        drop(fd);
        self.reply(id, Ok(i64::from(number)))
    }

    fn add(&self, id: u64, fd: BorrowedFd<'_>, close_on_exec: bool, flags: u32) -> Result<i32, Errno> {
        let newfd_flags = if close_on_exec {
            libc::O_CLOEXEC.cast_unsigned()
        } else {
            0
        };
        let srcfd = fd.as_raw_fd().cast_unsigned();
        let raw = libc::seccomp_notif_addfd {
            id,
            flags,
            srcfd,
            newfd: 0,
            newfd_flags,
        };
        // SAFETY: the kernel reads a structure of the size that is part of the request's number.
        let rc = unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_ADDFD,
                &raw const raw,
            )
        };
        Errno::result(rc)
    }

    /// Asks for the wake-up that stays on one processor (6.6): shorter round trips. Older kernels refuse, harmlessly.
    pub(super) fn prefer_same_processor(&self) {
        // SAFETY: the argument is a number.
        unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1u64) };
    }
}
