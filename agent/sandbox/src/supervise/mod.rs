//! Supervised mode: an action outside the profile can pause and be asked about, instead of failing.
//!
//! A filter (`filter`) stops every open and connect of the target and hands it to the supervisor, a process outside
//! the target's Landlock domain. The supervisor copies the call's arguments out of the target's memory (`target`),
//! finds the object as the target would (`resolve`, `proc`), has its canonical path judged (`judge`), asks a person if
//! the profile says so (`step`), performs the call itself (`open`, `network`) and puts the result into the target.
//!
//! **It never lets a call with a pointer go on.** Between the look at the target's memory and the kernel's own, another
//! thread could put another path there. Hence the copy, and hence no use of `SECCOMP_USER_NOTIF_FLAG_CONTINUE`
//! anywhere in this module.
//!
//! **Landlock stays the floor.** The filter is no boundary for files: what gets past it (an `exec`, a `rename`) is
//! decided by the target's own Landlock domain. The supervisor can only add what the judge and the person allow.
//! For connections it is the boundary as far as the launcher leaves sockets open for the sake of asking.
//!
//! **No right is lent.** The supervisor acts only for threads with its own user, groups, and at least its own
//! capabilities, compared at every call; all others are refused with `EPERM`. Files of other processes in `/proc` are
//! opened only where the target may trace them. A target that makes a Landlock domain of its own is told that there
//! is none (`EOPNOTSUPP`), because the supervisor would open past it.
//!
//! What the target can tell: opens take longer; `openat2` with `O_PATH` fails with `ENOSYS`; `F_GETFL` does not show `O_NOFOLLOW`; a call in progress is interrupted
//! only by a signal that kills (Linux 6.0); a peer's `SO_PEERCRED` names the supervisor's process; a terminal that is
//! opened never becomes the controlling one, and `/dev/tty` of another session than the supervisor's is the
//! `/dev/pts/N` behind it; a process that lets nobody look into it (`PR_SET_DUMPABLE` 0, as ssh-agent does) can open
//! nothing where the supervisor has no `CAP_SYS_PTRACE`; a driver that ties a device to the process that opened it
//! (AMD's `/dev/kfd`) sees the supervisor. If the supervisor dies, watched calls fail with `ENOSYS`: the kernel's
//! answer for a listener that nobody holds.

//! # For a launcher
//!
//! 1. [`Filter::build`] and [`Handshake::new`], then fork.
//! 2. In the child: `no_new_privs`, capabilities, Landlock, the launcher's own filter, then [`Filter::install`], then
//!    exec. The launcher's filter must still allow `seccomp(2)`; a refusal of its own always wins over a notification.
//! 3. In the parent: drop the same capabilities, then [`Supervisor::start`]. It needs a process that forks nothing
//!    else: a fork would copy what the supervisor has open for a moment.
//! 4. When the command has ended, go on until its background processes have: [`Supervisor::wait_until_unused`], or until no child is
//!    left. So that nobody waits for the launcher meanwhile, the supervisor is best a process between the launcher and the
//!    command: it makes itself a child subreaper, before [`Supervisor::start`] (with `kernel.yama.ptrace_scope` 1 only
//!    descendants can be supervised, and by it the family is known that may look into each other in `/proc`), tells the launcher
//!    the command's status, and has no standard streams of its own to hold open. `keeper` does that.
//!
//! A harness or daemon that governs processes by number has to govern the supervisor like its target: its opens and
//! connections are the supervisor's in every audit, in `SO_PEERCRED` and for every kernel probe.

mod address;
mod filter;
mod judge;
mod message;
mod network;
mod notify;
mod open;
mod proc;
mod resolve;
mod step;
mod supervisor;
mod sys;
mod target;

pub use filter::{Filter, Handshake, Watch};
pub use judge::{
    Access, Action, Address, Answer, ConnectRequest, Judge, NoPeople, OpenRequest, People, Question,
    Transport, Verdict,
};
pub use nix::errno::Errno;
pub use supervisor::{Counts, Options, Supervisor};

/// `PATH_MAX`: the kernel itself takes no longer path.
pub const MAX_PATH: usize = 4096;

/// Questions at once. A person answers a handful; beyond this a program is asking in a loop, or many processes ask
/// the same. Further ones are refused at once with `EACCES`.
pub const MAX_QUESTIONS: usize = 64;

/// Questions in one run. Nobody answers more of them with thought; further ones are refused with `EACCES`.
pub const MAX_ASKED: u64 = 1000;

/// Calls at once that wait for somebody else (FIFOs, connections), each on a thread with a stack of 512 KiB of which
/// the kernel backs what is touched, and about three descriptors, of which a process has 1024 by default. Further ones
/// fail with `EAGAIN`.
pub const MAX_WAITS: usize = 128;

/// Answers that are remembered for the run; beyond it the same thing may be asked again.
pub const MAX_REMEMBERED: usize = 4096;

/// How often an open begins anew because somebody else made its file in between. The kernel gives up too.
pub const MAX_ATTEMPTS: usize = 16;

/// Bytes of one message that are copied: more than a UDP datagram (64 KiB) and than Unix datagrams by default (208 KiB).
pub const MAX_MESSAGE: usize = 256 * 1024;

/// Bytes of control messages: 253 descriptors (the kernel's bound) and room for others.
pub const MAX_CONTROL: usize = 4096;

/// `UIO_MAXIOV`: parts of one message.
pub const MAX_PARTS: usize = 1024;

/// Why supervised mode could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// libseccomp or the kernel.
    #[error("the filter of supervised mode cannot be built: {0}; it needs libseccomp 2.5 and Linux 5.14")]
    Library(String),
    /// The child ended, or could not load the filter.
    #[error("the command's process ended before it was supervised; what it printed says why")]
    ChildGone,
    /// `pidfd_getfd` and the like.
    #[error(
        "the supervisor may not look into the command's process ({0}); it needs the same user, the same or more \
         capabilities, and kernel.yama.ptrace_scope at most 1"
    )]
    NoAccess(#[source] Errno),
    /// No procfs.
    #[error("/proc cannot be read; supervised mode needs it mounted")]
    NoProc,
    /// Threads, signal handlers, descriptors.
    #[error("the supervisor's threads cannot be started: {0}")]
    Threads(#[source] std::io::Error),
}
