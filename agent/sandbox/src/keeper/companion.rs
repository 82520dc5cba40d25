//! What renews covers, as the warden knows it: a child of its own that belongs to no sandbox.
//!
//! It is the command's sibling, made by the process that becomes the command. The warden must not take it for something that the command
//! left behind, and ends it when that was the last.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// What the companion is sent when the command is over. Before it listens, it has nothing to say that anybody waits for.
pub(crate) const COMMAND_OVER: Signal = Signal::SIGUSR1;
const GONE: &[u8] =
    b"defenseclaw: what renews covers has ended; what is replaced from now on lies open in this sandbox\n";

/// The end of the pipe on which the warden is told the companion's process id.
static LIFELINE: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// In the process that becomes the command: what the companion's starter tells its process id by.
pub(crate) fn lifeline() -> Option<OwnedFd> {
    LIFELINE.lock().unwrap_or_else(PoisonError::into_inner).take()
}

pub(super) fn keep_lifeline(held: Option<OwnedFd>) {
    *LIFELINE.lock().unwrap_or_else(PoisonError::into_inner) = held;
}

/// Tells the warden which process it is. Its starter does, before it goes on: the command must not end before the warden knows.
pub(crate) fn announce(lifeline: &OwnedFd, pid: i32) {
    let _ = nix::unistd::write(lifeline, &pid.to_ne_bytes());
}

/// The companion.
#[derive(Default)]
pub(super) struct Companion {
    told: Option<OwnedFd>,
    pid: Option<Pid>,
    /// The caller's standard error, as long as the command runs.
    errors: Option<OwnedFd>,
}

impl Companion {
    /// One that is to come, and what its process id is told by.
    pub(super) fn expected() -> io::Result<(Self, OwnedFd)> {
        let (told, held) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let companion = Self {
            told: Some(told),
            ..Self::default()
        };
        Ok((companion, held))
    }

    /// Keeps a way to say that it ended, before this process lets go of the caller's streams.
    pub(super) fn keep_errors(&mut self) {
        if self.told.is_some() {
            self.errors = io::stderr().as_fd().try_clone_to_owned().ok();
        }
    }

    /// The command is over: whoever reads its errors must not wait for us.
    pub(super) fn leave_errors(&mut self) {
        self.errors = None;
        self.learn();
        if let Some(pid) = self.pid {
            let _ = signal::kill(pid, COMMAND_OVER);
        }
    }

    fn learn(&mut self) {
        let mut pid = [0; size_of::<i32>()];
        while let Some(pipe) = &self.told {
            match nix::unistd::read(pipe, &mut pid) {
                Ok(count) if count == pid.len() => self.pid = Some(Pid::from_raw(i32::from_ne_bytes(pid))),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return,
                Ok(_) | Err(_) => {}
            }
            self.told = None;
        }
    }

    /// Takes note of a child's end; says so where that was the companion, and something ended it before its time.
    pub(super) fn child_ended(&mut self, pid: Pid) {
        self.learn();
        if self.pid != Some(pid) {
            return;
        }
        self.pid = None;
        if let Some(errors) = self.errors.take() {
            let _ = fs::File::from(errors).write_all(GONE);
        }
    }

    /// Whether this process has no other child.
    pub(super) fn is_last(&mut self) -> bool {
        self.learn();
        match (self.pid, children()) {
            (Some(own), Ok(children)) => children.iter().all(|child| *child == own),
            _ => false,
        }
    }

    /// Ends it, and leaves nothing of it for others to reap.
    pub(super) fn end(&mut self) {
        self.learn();
        if let Some(pid) = self.pid.take() {
            let _ = signal::kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
    }
}

/// The children of this process, whichever thread has them.
fn children() -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        match fs::read_to_string(thread?.path().join("children")) {
            Ok(text) => found.extend(
                text.split_whitespace()
                    .filter_map(|pid| pid.parse().ok())
                    .map(Pid::from_raw),
            ),
            // Built without that list: every process's own word on its parent.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return children_by_parent(),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn children_by_parent() -> io::Result<Vec<Pid>> {
    let own = nix::unistd::getpid().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // The name in parentheses may hold anything; state and parent follow the last one.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1));
        if parent == Some(own.as_str()) {
            found.push(Pid::from_raw(pid));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_found_by_either_list() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("started");
        let pid = Pid::from_raw(child.id().cast_signed());
        assert!(children().expect("read").contains(&pid));
        assert!(children_by_parent().expect("read").contains(&pid));
        child.kill().expect("ended");
        child.wait().expect("reaped");
        assert!(!children_by_parent().expect("read").contains(&pid));
    }

    #[test]
    fn it_is_known_by_what_its_starter_tells() {
        let (mut companion, held) = Companion::expected().expect("a pipe");
        assert!(!companion.is_last(), "nobody has told yet");
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("started");
        announce(&held, child.id().cast_signed());
        companion.learn();
        assert_eq!(companion.pid, Some(Pid::from_raw(child.id().cast_signed())));
        companion.end();
        assert!(child.try_wait().is_err(), "it was ended, and reaped");
    }
}
