//! The filter that stops calls, and how its listener gets from the child to the supervisor.
//!
//! The program is built by libseccomp before the fork and loaded by one system call after it, because between fork
//! and exec of a process with threads nothing may be allocated. Loading it directly also gives the flags that the
//! library of older distributions does not know (`WAIT_KILLABLE_RECV`).
//!
//! The listener is not sent over a socket: that would need `sendmsg`, which the filter itself may stop. The child
//! writes the descriptor's number into a pipe, and the supervisor takes a duplicate with `pidfd_getfd`. This needs the
//! same right over the child as reading its memory does, so where supervision cannot work it fails before the command
//! has started.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};

use super::SuperviseError;
use super::notify::Listener;
use super::sys::{self, Errno};

/// Which calls are stopped. What is not watched stays with Landlock and the launcher's own filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// `open`, `openat`, `openat2`, `creat`, without those that `O_PATH` shows to be no more than handles.
    pub files: bool,
    /// `connect`, and `sendto`, `sendmsg`, `sendmmsg` where they could carry an address. `sendmsg` keeps its address
    /// in memory, where no filter can see it, so every `sendmsg` is stopped and done by copy.
    pub network: bool,
}

/// Calls by which a process would get round the supervisor, hold it up, or have it undo what the process itself did.
/// The launcher's own filter refuses most of them too; nothing here depends on that.
///
/// - Landlock: the supervisor opens from outside of every domain, so a narrower domain that the target makes for
///   itself would be undone with each open. It is told that the kernel has no Landlock rather than left to believe.
/// - Mounts: what is judged is the name of an object, and who mounts can give any object any name.
/// - `userfaultfd`: a read of the target's memory would wait for the target.
const REFUSED: [(i64, Errno); 17] = [
    (libc::SYS_landlock_create_ruleset, Errno::EOPNOTSUPP),
    (libc::SYS_landlock_restrict_self, Errno::EOPNOTSUPP),
    (libc::SYS_io_uring_setup, Errno::EPERM),
    (libc::SYS_open_by_handle_at, Errno::EPERM),
    (libc::SYS_userfaultfd, Errno::EPERM),
    (libc::SYS_mount, Errno::EPERM),
    (libc::SYS_umount2, Errno::EPERM),
    (libc::SYS_pivot_root, Errno::EPERM),
    (libc::SYS_open_tree, Errno::EPERM),
    (libc::SYS_move_mount, Errno::EPERM),
    (libc::SYS_mount_setattr, Errno::EPERM),
    (libc::SYS_fsopen, Errno::EPERM),
    (libc::SYS_fsmount, Errno::EPERM),
    (libc::SYS_fspick, Errno::EPERM),
    (libc::SYS_setns, Errno::EPERM),
    (OPEN_TREE_ATTR, Errno::EPERM),
    // Its flags are in memory, where no filter sees them. Callers know kernels without it and use `clone`.
    (libc::SYS_clone3, Errno::ENOSYS),
];

/// Linux 6.15; calls this new have one number on every architecture.
const OPEN_TREE_ATTR: i64 = 467;

/// Namespaces in which a process may mount.
const MOUNTING: [u64; 2] = [libc::CLONE_NEWNS as u64, libc::CLONE_NEWUSER as u64];

/// A filter, ready to be loaded.
#[derive(Debug)]
pub struct Filter {
    program: Vec<libc::sock_filter>,
}

impl Filter {
    /// Builds the filter for this machine's own architecture; calls of any other fail with `ENOSYS`.
    ///
    /// # Errors
    /// [`SuperviseError::Library`] where libseccomp or the kernel cannot notify (libseccomp 2.5, Linux 5.9).
    pub fn build(watch: Watch) -> Result<Self, SuperviseError> {
        let library = |error: libseccomp::error::SeccompError| SuperviseError::Library(error.to_string());
        let mut context = ScmpFilterContext::new(ScmpAction::Allow).map_err(library)?;
        context
            .set_act_badarch(ScmpAction::Errno(Errno::ENOSYS as i32))
            .map_err(library)?;
        for (number, errno) in REFUSED {
            context
                .add_rule(ScmpAction::Errno(errno as i32), call(number))
                .map_err(library)?;
        }
        for number in [libc::SYS_unshare, libc::SYS_clone] {
            for flag in MOUNTING {
                let asked_for = ScmpArgCompare::new(0, ScmpCompareOp::MaskedEqual(flag), flag);
                context
                    .add_rule_conditional(ScmpAction::Errno(Errno::EPERM as i32), call(number), &[asked_for])
                    .map_err(library)?;
            }
        }
        let mut stop = |number: i64, only: &[ScmpArgCompare]| {
            context
                .add_rule_conditional(ScmpAction::Notify, call(number), only)
                .map(drop)
                .map_err(library)
        };
        if watch.files {
            // A handle made with O_PATH neither reads nor writes, Landlock lets it pass, and the kernel does not let a
            // supervisor put one into a target: it stays the target's own call.
            let path_only = libc::O_PATH as u64;
            let opens = |flags| ScmpArgCompare::new(flags, ScmpCompareOp::MaskedEqual(path_only), 0);
            #[cfg(target_arch = "x86_64")]
            {
                stop(libc::SYS_open, &[opens(1)])?;
                stop(libc::SYS_creat, &[])?;
            }
            stop(libc::SYS_openat, &[opens(2)])?;
            stop(libc::SYS_openat2, &[])?;
        }
        if watch.network {
            stop(libc::SYS_connect, &[])?;
            stop(
                libc::SYS_sendto,
                &[ScmpArgCompare::new(4, ScmpCompareOp::NotEqual, 0)],
            )?;
            stop(libc::SYS_sendmsg, &[])?;
            stop(libc::SYS_sendmmsg, &[])?;
        }
        Ok(Self {
            program: export(&context)?,
        })
    }

    /// Loads the filter into the calling thread and waits until the supervisor says that it is there.
    ///
    /// For the child between fork and exec: makes system calls only. `no_new_privs` must be set, and Landlock be in
    /// force already, since this filter refuses it. The listener and the handshake are closed in the child afterwards.
    ///
    /// # Errors
    /// The errno of what failed; `EPIPE`: the supervisor gave up. The child must then exit without exec.
    pub fn install(&self, handshake: Handshake) -> Result<(), Errno> {
        drop(handshake.parent);
        let (listener, uninterrupted) = self.load()?;
        // As a file: plain `read` and `write`, which no filter of this kind stops.
        let mut end = File::from(OwnedFd::from(handshake.child));
        let [a, b, c, d] = listener.as_raw_fd().to_ne_bytes();
        end.write_all(&[a, b, c, d, u8::from(uninterrupted)])
            .map_err(|_| Errno::EPIPE)?;
        let mut go = [0u8; 1];
        end.read_exact(&mut go).map_err(|_| Errno::EPIPE)
    }

    /// The listener, and whether a call that was received is interrupted only by a signal that kills.
    fn load(&self) -> Result<(OwnedFd, bool), Errno> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.program.len()).map_err(|_| Errno::E2BIG)?,
            filter: self.program.as_ptr().cast_mut(),
        };
        let load = |flags: libc::c_ulong| {
            // SAFETY: `program` points to `len` instructions that live through the call and are only read.
            let rc = unsafe {
                libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_SET_MODE_FILTER,
                    flags,
                    &raw const program,
                )
            };
            Errno::result(rc)
        };
        // Without this flag (6.0) a signal that the target handles restarts the call, and what the supervisor did for
        // it the first time is done twice.
        let listens = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as libc::c_ulong;
        let (listener, uninterrupted) = match load(listens | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
            Ok(listener) => (listener, true),
            Err(Errno::EINVAL) => (load(listens)?, false),
            Err(errno) => return Err(errno),
        };
        // SAFETY: the kernel has just given us this descriptor.
        Ok((unsafe { OwnedFd::from_raw_fd(listener as i32) }, uninterrupted))
    }
}

/// By number: what this kernel has may be newer than the names that an installed libseccomp knows.
fn call(number: i64) -> ScmpSyscall {
    ScmpSyscall::from_raw_syscall(number as i32)
}

fn export(context: &ScmpFilterContext) -> Result<Vec<libc::sock_filter>, SuperviseError> {
    let io = |error: std::io::Error| SuperviseError::Library(error.to_string());
    let mut file = File::from(sys::memfd(c"seccomp-filter").map_err(|errno| io(errno.into()))?);
    context
        .export_bpf(file.as_fd())
        .map_err(|error| SuperviseError::Library(error.to_string()))?;
    file.rewind().map_err(io)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    let instruction = |raw: &[u8; 8]| libc::sock_filter {
        code: u16::from_ne_bytes([raw[0], raw[1]]),
        jt: raw[2],
        jf: raw[3],
        k: u32::from_ne_bytes([raw[4], raw[5], raw[6], raw[7]]),
    };
    let (instructions, rest) = bytes.as_chunks::<8>();
    if instructions.is_empty() || !rest.is_empty() {
        return Err(SuperviseError::Library(format!(
            "an exported filter of {} bytes",
            bytes.len()
        )));
    }
    Ok(instructions.iter().map(instruction).collect())
}

/// How the child hands its listener over. Made before the fork; the child gives it to [`Filter::install`], the parent
/// to [`Supervisor::start`](super::Supervisor::start), and each closes the other's end there.
#[derive(Debug)]
pub struct Handshake {
    parent: UnixStream,
    child: UnixStream,
}

impl Handshake {
    /// Makes both ends.
    ///
    /// # Errors
    /// Where no socket pair can be had.
    pub fn new() -> std::io::Result<Self> {
        let (parent, child) = UnixStream::pair()?;
        Ok(Self { parent, child })
    }

    /// The supervisor's side: waits for the child to have loaded its filter, and takes its listener.
    pub(super) fn adopt(self, child: i32) -> Result<(Listener, Release), SuperviseError> {
        drop(self.child);
        let mut parent = self.parent;
        let mut told = [0u8; 5];
        parent
            .read_exact(&mut told)
            .map_err(|_| SuperviseError::ChildGone)?;
        let [a, b, c, d, uninterrupted] = told;
        let take = || -> Result<OwnedFd, Errno> {
            let process = sys::pidfd_open(child, 0)?;
            sys::pidfd_getfd(process.as_fd(), i32::from_ne_bytes([a, b, c, d]))
        };
        let listener = take().map_err(SuperviseError::NoAccess)?;
        let listener = Listener::new(listener, uninterrupted != 0);
        Ok((listener, Release(parent)))
    }
}

/// Holds the child before its exec; dropped without [`Release::release`], the child gives up.
#[derive(Debug)]
pub(super) struct Release(UnixStream);

impl Release {
    pub(super) fn release(mut self) -> Result<(), SuperviseError> {
        self.0.write_all(&[1]).map_err(|_| SuperviseError::ChildGone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_small_and_differ_by_what_they_watch() {
        let size = |files, network| Filter::build(Watch { files, network }).map(|f| f.program.len());
        let none = size(false, false).unwrap();
        let files = size(true, false).unwrap();
        let both = size(true, true).unwrap();
        assert!(none < files && files < both, "{none} {files} {both}");
        assert!(
            both < 64,
            "{both} instructions: each call of the target runs through them"
        );
    }
}
