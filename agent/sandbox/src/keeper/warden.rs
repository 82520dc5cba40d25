//! The process between keeper and command: it stays as long as anything of the sandbox is left.
//!
//! When the command ends and has left something in the background, the warden tells the keeper, leaves the caller's session and goes
//! on for what is left: it supervises it, and keeps places covered that would be free for it otherwise. It holds nothing of the
//! caller's: no streams, no terminal, no descriptors. How long that lasts is up to the processes it is there for, as with any parent
//! of theirs; what it spends on them is bounded by the bounds of supervised mode, which are for the run and not for its first process.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{self, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, Pid, fork, getppid};

use super::companion::{self, Companion};
use super::{Service, State, tenure, wait};
use crate::places::Places;

/// Signals that are taken at once; a terminal's user does not send more.
const SIGNALS: usize = 64;
/// Between the last word and what nobody waits for: the keeper is woken on this processor, and would wait for it to be free.
const AFTERWARDS: Duration = Duration::from_millis(2);

/// Divides the process once more: returns in the one that becomes the command.
pub(super) fn stay(
    mut places: Places,
    keeper: File,
    service: Option<Service<'_>>,
    renews: bool,
) -> io::Result<()> {
    let expected = match renews.then(Companion::expected).transpose() {
        Ok(expected) => expected,
        Err(error) => {
            places.put_away();
            return Err(error);
        }
    };
    // Without it the sandbox only ends more slowly.
    let (tenure, lease) = tenure::pair().ok().unzip();
    match divide() {
        Ok((ForkResult::Child, _)) => {
            tenure::lease(lease);
            companion::keep_lifeline(expected.map(|(_, held)| held));
            Ok(())
        }
        Ok((ForkResult::Parent { child }, ended)) => {
            drop(lease);
            let mut companion = expected.map(|(companion, _)| companion).unwrap_or_default();
            companion.keep_errors();
            // All but SIGKILL: what is left behind would have no supervisor if one ended this process in passing.
            let _ = signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
            let serving = service.map(|service| service(child));
            leave_streams();
            // A file system that somebody takes away is not in use because a warden once started there.
            let _ = nix::unistd::chdir("/");
            let mut warden = Warden {
                command: Some(child),
                keeper: Some(keeper),
                ended,
                companion,
            };
            let end = warden.wait();
            warden.companion.end();
            drop(serving);
            let folders = places.put_away();
            // Only now where nothing was left behind: who starts the next sandbox finds everything as it was.
            if let Some(status) = end {
                warden.tell(status);
                std::thread::sleep(AFTERWARDS);
            }
            drop((folders, tenure));
            std::process::exit(0)
        }
        Err(error) => {
            places.put_away();
            Err(error)
        }
    }
}

/// What makes the difference between the two sides, and the descriptor that tells of children's ends.
fn divide() -> io::Result<(ForkResult, SignalFd)> {
    nix::sys::prctl::set_child_subreaper(true)?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    let ended = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    // Where a caller ignores this signal, the kernel keeps nobody's status.
    // SAFETY: the default action replaces whatever was there.
    let before = unsafe { signal::signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    let warden = nix::unistd::getpid();
    // SAFETY: this process has one thread, so the child may do all that the parent may.
    let side = unsafe { fork() }?;
    if matches!(side, ForkResult::Child) {
        // SAFETY: the action was in force before, in this same program.
        unsafe { signal::signal(Signal::SIGCHLD, before) }?;
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // It may have died before that was asked for.
        if getppid() != warden {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
    Ok((side, ended))
}

/// Whoever reads what the command writes waits until nobody can write any more.
fn leave_streams() {
    let nothing = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .or_else(|_| File::open("/"));
    for stream in 0..3 {
        // SAFETY: takes numbers alone; nothing in this process relies on what these lead to.
        unsafe {
            match &nothing {
                Ok(nothing) => libc::dup2(nothing.as_raw_fd(), stream),
                Err(_) => libc::close(stream),
            }
        };
    }
}

struct Warden {
    /// None once it has ended: its number may be another's.
    command: Option<Pid>,
    /// None once it has been told the end, or is gone.
    keeper: Option<File>,
    ended: SignalFd,
    companion: Companion,
}

impl Warden {
    /// Returns when no process of the sandbox is left: the command's end, if the keeper does not know it yet.
    fn wait(&mut self) -> Option<i32> {
        let mut end = None;
        loop {
            let left = self.reap(&mut end);
            if !left {
                return end;
            }
            if let Some(status) = end.take() {
                // As init would have what is left: in no session of the caller's, so that stopped jobs are orphans, too, and no
                // signal to the caller's groups comes here. A warden leads no group, so this cannot fail.
                let _ = nix::unistd::setsid();
                self.tell(status);
            }
            self.listen();
        }
    }

    /// Takes the states of all children. False: there are none any more.
    fn reap(&mut self, end: &mut Option<i32>) -> bool {
        loop {
            match wait(-1, libc::WNOHANG | libc::WUNTRACED | libc::__WALL) {
                Ok(Some((pid, status))) if self.command == Some(Pid::from_raw(pid)) => {
                    match State::of(status) {
                        Some(State::Over(_)) => {
                            self.command = None;
                            self.companion.leave_errors();
                            *end = Some(status);
                        }
                        Some(State::Stopped) => self.say(status),
                        None => {}
                    }
                }
                Ok(Some((pid, status))) => {
                    if matches!(State::of(status), Some(State::Over(_))) {
                        self.companion.child_ended(Pid::from_raw(pid));
                    }
                }
                Ok(None) => return self.command.is_some() || !self.companion.is_last(),
                Err(_) => return false,
            }
        }
    }

    fn say(&self, status: i32) {
        if let Some(mut keeper) = self.keeper.as_ref() {
            // One who is gone is found gone by reading.
            let _ = keeper.write_all(&status.to_ne_bytes());
        }
    }

    /// The last word: the keeper ends with it.
    fn tell(&mut self, status: i32) {
        self.say(status);
        self.keeper = None;
    }

    /// Waits until a child's state has changed, or the keeper hands a signal on.
    fn listen(&mut self) {
        let mut ready = vec![PollFd::new(self.ended.as_fd(), PollFlags::POLLIN)];
        ready.extend(
            self.keeper
                .as_ref()
                .map(|keeper| PollFd::new(keeper.as_fd(), PollFlags::POLLIN)),
        );
        let polled = poll(&mut ready, PollTimeout::NONE);
        let asked = polled.is_ok() && ready.get(1).and_then(PollFd::any) == Some(true);
        while let Ok(Some(_)) = self.ended.read_signal() {}
        if asked {
            self.hand_on();
        }
    }

    fn hand_on(&mut self) {
        let mut signals = [0; SIGNALS];
        let read = self
            .keeper
            .as_ref()
            .map_or(Ok(0), |mut keeper| keeper.read(&mut signals));
        match (read, self.command) {
            // Somebody has killed the keeper: whoever does that means the command.
            (Ok(0) | Err(_), command) => {
                self.keeper = None;
                if let Some(command) = command {
                    let _ = signal::kill(command, Signal::SIGKILL);
                }
            }
            (Ok(count), Some(command)) => {
                for number in signals[..count]
                    .iter()
                    .filter_map(|n| Signal::try_from(i32::from(*n)).ok())
                {
                    let _ = signal::kill(command, number);
                }
            }
            (Ok(_), None) => {}
        }
    }
}
