//! One process, such that its pid cannot come to mean another.

use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerPidfd};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};
use tokio::net::UnixStream;

/// The process at the other end of a connection.
#[derive(Debug)]
pub struct Process {
    /// Its id; it means this process for as long as [`Process::is_there`] says so.
    pub pid: u32,
    held: Held,
}

#[derive(Debug)]
enum Held {
    /// The kernel's own handle (Linux 6.5 and later).
    Pidfd(OwnedFd),
    /// By when it started, in clock ticks since boot.
    Started(u64),
}

impl Process {
    /// The process that made that connection. On a kernel that gives no handle for it, the process of that pid is taken if it
    /// was running before the connection was taken at `accepted`: one that got the pid later is another.
    pub(super) fn of(pid: u32, stream: &UnixStream, accepted: u64) -> Option<Self> {
        let held = match getsockopt(stream, PeerPidfd) {
            Ok(pidfd) => Held::Pidfd(pidfd),
            Err(_) => Held::Started(stat(pid)?.started).filter(|held| match held {
                Held::Started(started) => *started < accepted,
                Held::Pidfd(_) => true,
            })?,
        };
        let process = Self { pid, held };
        process.is_there().then_some(process)
    }

    /// Whether it has not ended.
    pub fn is_there(&self) -> bool {
        match &self.held {
            Held::Pidfd(pidfd) => {
                // A handle is readable once its process has ended (pidfd_open(2)).
                let mut watched = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
                poll(&mut watched, PollTimeout::ZERO) == Ok(0)
            }
            Held::Started(started) => stat(self.pid).is_some_and(|now| now.started == *started),
        }
    }
}

impl Held {
    fn filter(self, holds: impl FnOnce(&Self) -> bool) -> Option<Self> {
        holds(&self).then_some(self)
    }
}

/// What `/proc/PID/stat` tells of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Its parent.
    pub parent: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

/// What the system tells of that process; `None` if it is gone.
pub fn stat(pid: u32) -> Option<Stat> {
    parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The command name is in parentheses and may hold anything: the fields go on behind the last ')' (proc_pid_stat(5)).
fn parse(stat: &[u8]) -> Option<Stat> {
    let rest = stat.get(stat.iter().rposition(|&byte| byte == b')')? + 1..)?;
    let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(Stat { parent, started })
}

/// Why that process may have been started by anybody, whatever its parents and its label say: inside a container, or by a
/// service manager or a timer, which start it on behalf of whoever asks and as a child of their own. `None`: nothing of the
/// kind is known.
pub fn started_by_proxy(pid: u32) -> Option<&'static str> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    if is_nested(&status) {
        return Some("it runs in a container or another pid namespace");
    }
    by_cgroup(&std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// `NSpid` has one number for each pid namespace below this one's in which the process has a pid (proc_pid_status(5)).
fn is_nested(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .is_some_and(|pids| pids.split_ascii_whitespace().count() > 1)
}

/// People's shells run in scopes (`session-2.scope`, `vte-spawn-….scope`); what a manager was asked to start is a service,
/// or a transient unit.
fn by_cgroup(cgroups: &str) -> Option<&'static str> {
    cgroups.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        let unit = path
            .rsplit('/')
            .find(|part| part.contains('.'))
            .unwrap_or_default();
        let of_user = path.contains("/user@");
        match unit.rsplit_once('.') {
            Some(("cron" | "crond" | "cronie" | "anacron" | "atd", "service")) => {
                Some("a timer (cron, at) has started it")
            }
            Some((name, _)) if name.starts_with("run-") => Some("systemd-run has started it"),
            Some((name, "service")) if of_user && !name.starts_with("user@") => {
                Some("it is a service of its user, which anything of that user can start")
            }
            _ => None,
        }
    })
}

/// Now, in clock ticks since boot.
pub fn ticks() -> u64 {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    let per_second = u64::try_from(per_second).unwrap_or(100);
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |now| {
        let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
        let nanoseconds = u64::try_from(now.tv_nsec()).unwrap_or(0);
        seconds * per_second + nanoseconds * per_second / 1_000_000_000
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let line = b"7 (a) b (c) S 42 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";
        let wanted = Stat {
            parent: 42,
            started: 12345,
        };
        assert_eq!(parse(line), Some(wanted));
        assert_eq!(
            parse(&line.map(|byte| if byte == b'S' { b'Z' } else { byte })),
            None
        );
        assert_eq!(parse(b"7 (a"), None);
        let own = stat(std::process::id()).unwrap();
        assert_eq!(own.parent, std::os::unix::process::parent_id());
        assert!(own.started <= ticks());
    }

    #[test]
    fn what_a_manager_started_is_told_from_what_a_person_started() {
        assert_eq!(started_by_proxy(std::process::id()), None, "this test");
        assert!(is_nested("Name:\tsh\nNSpid:\t4711\t12\n") && !is_nested("Name:\tsh\nNSpid:\t4711\n"));
        for (cgroup, by_proxy) in [
            ("0::/\n", false),
            ("0::/user.slice/user-1000.slice/session-2.scope\n", false),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn-1.scope\n",
                false,
            ),
            ("0::/system.slice/ssh.service\n", false),
            ("12:pids:/x\n0::/system.slice/cron.service\n", true),
            ("0::/system.slice/run-u12.service\n", true),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1f.scope\n",
                true,
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service/below\n",
                true,
            ),
        ] {
            assert_eq!(by_cgroup(cgroup).is_some(), by_proxy, "{cgroup}");
        }
    }

    #[test]
    fn a_process_that_has_ended_is_not_there_and_its_pid_means_nobody() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process {
            pid: child.id(),
            held: Held::Started(stat(child.id()).unwrap().started),
        };
        assert!(process.is_there());
        let another = Process {
            pid: child.id(),
            held: Held::Started(1),
        };
        assert!(!another.is_there());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_there());
    }

    #[test]
    fn the_kernel_s_handle_is_the_process_that_connected() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (stream, _other) = UnixStream::pair().unwrap();
            let own = std::process::id();
            let process = Process::of(own, &stream, ticks() + 1).unwrap();
            assert!(process.is_there() && process.pid == own);
        });
    }
}
