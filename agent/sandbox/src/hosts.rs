//! The addresses of named hosts, looked up before the sandbox is closed: inside there is no DNS, through which data could leave.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

/// How long is waited for all names together. A resolver that answers does so in milliseconds; one that does not would take five
/// seconds for each of its servers.
const LIMIT: Duration = Duration::from_secs(3);
/// Most bytes that are taken from the process that looks up: far more than the addresses of 1024 names need.
const MAX_ANSWER: usize = 1 << 20;

/// What is known of the hosts that a profile names.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// Addresses of each name.
    addresses: BTreeMap<String, Vec<IpAddr>>,
    /// Where connections may go.
    allowed: Vec<SocketAddr>,
    /// Names that could not be looked up.
    pub unknown: Vec<String>,
}

impl Hosts {
    /// Looks up `hosts`, each `NAME:PORT`. In a process of its own: a lookup can hang, and threads that hang would keep this process
    /// from entering a namespace.
    ///
    /// # Errors
    /// When no process can be made.
    pub fn look_up(hosts: &[String]) -> Result<Self, Errno> {
        let named: Vec<(String, u16)> = hosts
            .iter()
            .filter_map(|host| {
                let (name, port) = host.rsplit_once(':')?;
                Some((name.to_owned(), port.parse().ok()?))
            })
            .collect();
        let mut names: Vec<String> = named.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names.dedup();
        let addresses = read(&names)?;
        let allowed = named
            .iter()
            .flat_map(|(name, port)| {
                let known = addresses.get(name).map_or(&[][..], Vec::as_slice);
                known.iter().map(|address| SocketAddr::new(*address, *port))
            })
            .collect();
        let unknown = names
            .into_iter()
            .filter(|name| !addresses.contains_key(name))
            .collect();
        Ok(Self {
            addresses,
            allowed,
            unknown,
        })
    }

    /// Whether a connection may go there.
    pub fn allow(&self, to: SocketAddr) -> bool {
        self.allowed
            .iter()
            .any(|known| known.port() == to.port() && known.ip() == to.ip().to_canonical())
    }

    /// What stands in `/etc/hosts` inside.
    pub fn file(&self) -> String {
        let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
        for (name, addresses) in &self.addresses {
            for address in addresses {
                text.push_str(&format!("{address} {name}\n"));
            }
        }
        text
    }

    /// How many names are known.
    pub fn known(&self) -> usize {
        self.addresses.len()
    }
}

fn read(names: &[String]) -> Result<BTreeMap<String, Vec<IpAddr>>, Errno> {
    let (answers, answer): (OwnedFd, OwnedFd) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // SAFETY: this process has one thread, so the child may do all that the parent may.
    let child = match unsafe { fork() }? {
        ForkResult::Child => {
            drop(answers);
            answer_all(names, &answer);
            // SAFETY: ends this process at once, without running what the parent registered for its own end.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => child,
    };
    drop(answer);
    let mut text = Vec::new();
    let until = Instant::now() + LIMIT;
    let mut answers = File::from(answers);
    let mut part = [0; 4096];
    while text.len() < MAX_ANSWER {
        let left = until.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let ready = poll(&mut [PollFd::new(answers.as_fd(), PollFlags::POLLIN)], left);
        if !matches!(ready, Ok(1..)) {
            break;
        }
        match answers.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(count) => text.extend_from_slice(&part[..count]),
        }
    }
    let _ = kill(child, Signal::SIGKILL);
    let _ = waitpid(child, None);
    let text = String::from_utf8_lossy(&text);
    let line = |line: &str| -> Option<(String, Vec<IpAddr>)> {
        let mut words = line.split(' ');
        let name = words.next()?.to_owned();
        let addresses: Vec<IpAddr> = words.filter_map(|word| word.parse().ok()).collect();
        (!addresses.is_empty() && names.contains(&name)).then_some((name, addresses))
    };
    // The last line may have been cut by the deadline.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    Ok(whole.lines().filter_map(line).collect())
}

/// Looks all names up at once, and writes each answer as one line when it is there.
fn answer_all(names: &[String], answer: &OwnedFd) {
    std::thread::scope(|scope| {
        for name in names {
            scope.spawn(move || {
                let Ok(found) = (name.as_str(), 0_u16).to_socket_addrs() else {
                    return;
                };
                let mut addresses: Vec<String> = found
                    .map(|address| address.ip().to_canonical().to_string())
                    .collect();
                addresses.dedup();
                // Below PIPE_BUF, so that lines of several threads do not mix.
                addresses.truncate(64);
                let line = format!("{name} {}\n", addresses.join(" "));
                if let Ok(copy) = answer.try_clone() {
                    let _ = File::from(copy).write_all(line.as_bytes());
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_and_only_their_ports_allowed() {
        let hosts = ["localhost:443", "127.0.0.2:80", "no-such-name.invalid:1"].map(str::to_owned);
        let hosts = Hosts::look_up(&hosts).expect("looked up");
        let to = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert!(hosts.allow(to("127.0.0.2:80")));
        assert!(hosts.allow(to("127.0.0.1:443")));
        assert!(
            hosts.allow(to("[::ffff:127.0.0.1]:443")),
            "the same address in other words"
        );
        assert!(!hosts.allow(to("127.0.0.1:80")));
        assert!(!hosts.allow(to("192.0.2.1:443")));
        assert_eq!(hosts.unknown, ["no-such-name.invalid"]);
        assert!(hosts.file().contains("127.0.0.1 localhost"));
    }
}
