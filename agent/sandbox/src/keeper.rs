//! The processes that stay outside of the sandbox, where something has to be done there.
//!
//! ```text
//! keeper    the process that the caller knows: hands signals in, stops and ends as the command does
//!   └ warden     supervises, adopts, holds places; ends when nothing of the sandbox is left
//!       └ the command and all that it starts
//! ```
//!
//! They are two, because they end at different times: the caller must not wait for what the command left in the background, and
//! that must not lose its supervisor. The warden is the command's parent: only an ancestor may look into a process where Yama is on
//! (`kernel.yama.ptrace_scope` 1), and as a subreaper it gets every orphan of the sandbox, so that it knows when the last has gone.

pub(crate) mod companion;
pub(crate) mod tenure;
mod warden;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{self, SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, Pid, fork};

use crate::places::Places;
use crate::privileges;

/// Signals that somebody may send to the command by sending them to us.
const HANDED_ON: [Signal; 13] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGPIPE,
    Signal::SIGTSTP,
    Signal::SIGCONT,
    Signal::SIGWINCH,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// Launcher's own exit status, as `env` and `timeout` have it: what stays outside has failed.
const FAILED: i32 = 125;

/// Whether this process descends from a keeper, with signals blocked that the command must get.
static BLOCKED: AtomicBool = AtomicBool::new(false);

fn handed_on() -> SigSet {
    let mut set: SigSet = HANDED_ON.into_iter().collect();
    set.add(Signal::SIGCHLD);
    set
}

/// What the warden does for the command's process once it is there: its answer lives until nothing of the sandbox is left.
pub type Service<'s> = Box<dyn FnOnce(Pid) -> Box<dyn std::any::Any> + 's>;

/// Divides the process: returns in the one that becomes the command. The others stay outside, hold `places`, do what `service` does,
/// and end as the command ends. With `renews`, a companion of the command is to come.
///
/// # Errors
/// When a process cannot be made.
pub fn stay(mut places: Places, service: Option<Service<'_>>, renews: bool) -> io::Result<()> {
    // What the caller left open would stay open in processes that use none of it.
    privileges::close_inherited();
    match divide() {
        Ok((Side::Keeper(warden), link, signals)) => {
            // Whoever waits for the others' ends of what was prepared must not wait for us.
            privileges::close_but([link.as_raw_fd(), signals.as_raw_fd()]);
            end_as(keep(warden, &link, &signals))
        }
        Ok((Side::Warden, link, signals)) => {
            drop(signals);
            warden::stay(places, link, service, renews)
        }
        Err(error) => {
            places.put_away();
            Err(error)
        }
    }
}

enum Side {
    /// With the warden's process id.
    Keeper(Pid),
    Warden,
}

/// Each side with its end of the link between the two, and what the keeper reads signals from.
fn divide() -> io::Result<(Side, File, SignalFd)> {
    // As files: some filters around us refuse what sends on sockets.
    let (ours, theirs) = UnixStream::pair()?;
    let [ours, theirs] = [ours, theirs].map(|end| File::from(OwnedFd::from(end)));
    signal::sigprocmask(SigmaskHow::SIG_BLOCK, Some(&handed_on()), None)?;
    BLOCKED.store(true, Ordering::Relaxed);
    let signals = SignalFd::with_flags(&handed_on(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    // SAFETY: this process has one thread, so the child may do all that the parent may.
    Ok(match unsafe { fork() }? {
        ForkResult::Parent { child } => (Side::Keeper(child), ours, signals),
        ForkResult::Child => (Side::Warden, theirs, signals),
    })
}

/// Unblocks, before the command starts, what [`stay`] blocked.
pub fn restore_signals() {
    if BLOCKED.load(Ordering::Relaxed) {
        let _ = signal::sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&handed_on()), None);
    }
}

/// A process's state as `waitpid` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Stopped,
    Over(End),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Exit(i32),
    /// By number: the real-time signals have no names.
    Signal(i32),
}

impl State {
    fn of(status: i32) -> Option<Self> {
        if libc::WIFEXITED(status) {
            Some(Self::Over(End::Exit(libc::WEXITSTATUS(status))))
        } else if libc::WIFSIGNALED(status) {
            Some(Self::Over(End::Signal(libc::WTERMSIG(status))))
        } else {
            libc::WIFSTOPPED(status).then_some(Self::Stopped)
        }
    }
}

/// Waits for `pid`, or for any child with -1; the kernel's number for what became of it. `Ok(None)`: nothing yet.
fn wait(pid: i32, flags: i32) -> Result<Option<(i32, i32)>, nix::errno::Errno> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is writable.
        match unsafe { libc::waitpid(pid, &raw mut status, flags) } {
            0 => return Ok(None),
            -1 => match nix::errno::Errno::last() {
                nix::errno::Errno::EINTR => {}
                errno => return Err(errno),
            },
            found => return Ok(Some((found, status))),
        }
    }
}

/// Bytes of a state on the link: what `waitpid` gave. In the other direction each byte is a signal.
const STATE: usize = size_of::<i32>();

/// Hands signals to the warden until it tells how the command ended.
fn keep(warden: Pid, link: &File, signals: &SignalFd) -> End {
    let mut link = link;
    loop {
        let mut ready = [
            PollFd::new(link.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        if poll(&mut ready, PollTimeout::NONE).is_err() {
            continue;
        }
        if ready[0].any() == Some(true) {
            let mut status = [0; STATE];
            if link.read_exact(&mut status).is_err() {
                return without(warden);
            }
            match State::of(i32::from_ne_bytes(status)) {
                Some(State::Over(end)) => return end,
                // A shell that waits for us sees us stop, too. SIGCONT wakes us, and is handed on.
                Some(State::Stopped) => drop(signal::raise(Signal::SIGSTOP)),
                None => {}
            }
        }
        while let Ok(Some(info)) = signals.read_signal() {
            let number = info.ssi_signo as i32;
            let sent = info.ssi_code <= 0 || number == Signal::SIGCONT as i32;
            // What the terminal sends, it sends to the command too.
            if sent && number != Signal::SIGCHLD as i32 {
                // One who is gone has told so, or is found gone next.
                let _ = link.write_all(&[info.ssi_signo as u8]);
            }
        }
    }
}

/// The warden is gone without a word: it could not start, or somebody has killed it, and with it the command.
fn without(warden: Pid) -> End {
    match wait(warden.as_raw(), 0).map(|found| found.and_then(|(_, status)| State::of(status))) {
        // A warden that ends well has said how the command ended.
        Ok(Some(State::Over(end))) if end != End::Exit(0) => end,
        _ => End::Exit(FAILED),
    }
}

fn end_as(end: End) -> ! {
    match end {
        End::Exit(status) => std::process::exit(status),
        End::Signal(number) => {
            // The command left its core where one was wanted.
            let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
            // SAFETY: the default action replaces whatever was there, and the set is ours.
            unsafe {
                libc::signal(number, libc::SIG_DFL);
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&raw mut set);
                libc::sigaddset(&raw mut set, number);
                libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
                libc::raise(number);
            }
            std::process::exit(128 + number)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_what_waitpid_means() {
        assert_eq!(State::of(7 << 8), Some(State::Over(End::Exit(7))));
        assert_eq!(
            State::of(libc::SIGKILL | 0x80),
            Some(State::Over(End::Signal(9))),
            "with a core"
        );
        assert_eq!(
            State::of(40),
            Some(State::Over(End::Signal(40))),
            "a real-time signal"
        );
        assert_eq!(State::of(libc::SIGTSTP << 8 | 0x7f), Some(State::Stopped));
        assert_eq!(State::of(0xffff), None, "goes on");
    }
}
