//! `sd_notify(3)`: a datagram of assignments to the socket that `NOTIFY_SOCKET` names.

use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How long a message may wait for a manager that does not read. The next sign of life comes long before it is missed.
const PATIENCE: Duration = Duration::from_millis(250);
/// Longest state in words (bytes); `systemctl status` shows one line of it.
const MAX_STATUS: usize = 300;

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says. What of it cannot be used is told in the log, and nothing is told to the manager.
    pub fn from_environment() -> Self {
        Self::from_lookup(|name| std::env::var_os(name), std::process::id())
    }

    fn from_lookup(variable: impl Fn(&str) -> Option<OsString>, own: u32) -> Self {
        let named = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let to = named.and_then(|name| match connect(&name) {
            Ok(to) => Some(to),
            Err(error) => {
                tracing::warn!(
                    "the service manager is not told anything: NOTIFY_SOCKET is {name:?}: {error}"
                );
                None
            }
        });
        let number = |name| -> Option<u64> { variable(name)?.to_str()?.parse().ok() };
        // A watchdog is for the process that it names, not for whom it started.
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(own));
        let watchdog = number("WATCHDOG_USEC").filter(|time| ours && *time > 0);
        Self {
            watchdog: watchdog.filter(|_| to.is_some()).map(Duration::from_micros),
            to,
        }
    }

    /// Within which time the manager wants a sign of life; `None`: it wants none.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The daemon does its work from now on.
    pub fn ready(&self, status: &str) {
        self.say("READY=1", Some(status));
    }

    /// The daemon reads its rules again; [`Notifier::ready`] ends that.
    pub fn reloading(&self, status: &str) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC);
        let now = now.map_or(0, |time| {
            time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1_000
        });
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={now}"), Some(status));
    }

    /// The daemon ends.
    pub fn stopping(&self, status: &str) {
        self.say("STOPPING=1", Some(status));
    }

    /// The daemon's state in words.
    pub fn status(&self, status: &str) {
        self.say("", Some(status));
    }

    /// A sign of life.
    pub fn alive(&self) {
        self.say("WATCHDOG=1", None);
    }

    fn say(&self, assignments: &str, status: Option<&str>) {
        let status = status.map(|status| format!("STATUS={}", one_line(status)));
        let parts: Vec<&str> = [Some(assignments), status.as_deref()]
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty())
            .collect();
        let Some((socket, address)) = &self.to else {
            return;
        };
        let text = parts.join("\n");
        if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
            tracing::warn!(
                "the service manager could not be told {:?}: {error}",
                text.lines().next()
            );
        }
    }
}

fn connect(name: &OsStr) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => {
            let why = "it is neither a path nor an abstract name that begins with @";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, why));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok((socket, address))
}

/// A text that is one line: another line would be another assignment.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for letter in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if line.len() + letter.len_utf8() > MAX_STATUS {
            break;
        }
        line.push(letter);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notifier(socket: &OsStr, more: &[(&str, &str)]) -> Notifier {
        let variable = |name: &str| match name {
            "NOTIFY_SOCKET" => Some(socket.to_owned()),
            _ => more
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into()),
        };
        Notifier::from_lookup(variable, 77)
    }

    fn next(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let count = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn a_file_s_socket_and_an_abstract_one_are_told_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let file = UnixDatagram::bind(&path).unwrap();
        let name = format!("defenseclaw-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let hidden = UnixDatagram::bind_addr(&address).unwrap();
        let abstract_name = OsString::from(format!("@{name}"));
        for (manager, socket) in [(file, path.as_os_str()), (hidden, abstract_name.as_os_str())] {
            let notifier = notifier(socket, &[]);
            notifier.ready("answers");
            notifier.alive();
            notifier.status("two\nREADY=1");
            notifier.stopping("");
            assert_eq!(next(&manager), "READY=1\nSTATUS=answers");
            assert_eq!(next(&manager), "WATCHDOG=1");
            assert_eq!(next(&manager), "STATUS=two READY=1");
            assert_eq!(next(&manager), "STOPPING=1\nSTATUS=");
            notifier.reloading("reads");
            let reloading = next(&manager);
            assert!(
                reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
                "{reloading}"
            );
        }
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _manager = UnixDatagram::bind(&path).unwrap();
        let within = |more: &[(&str, &str)]| notifier(path.as_os_str(), more).watchdog();
        assert_eq!(
            within(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "77")]),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            within(&[("WATCHDOG_USEC", "30000000")]),
            Some(Duration::from_secs(30))
        );
        for other in [
            [("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "78")],
            [("WATCHDOG_USEC", "0"), ("WATCHDOG_PID", "77")],
            [("WATCHDOG_USEC", "soon"), ("WATCHDOG_PID", "77")],
        ] {
            assert_eq!(within(&other), None, "{other:?}");
        }
    }

    #[test]
    fn without_a_manager_and_with_one_that_cannot_be_reached_nothing_is_told() {
        Notifier::from_lookup(|_| None, 1).ready("nobody hears it");
        for name in ["relative", "vsock:2:1234", ""] {
            let notifier = notifier(OsStr::new(name), &[("WATCHDOG_USEC", "1")]);
            assert_eq!(
                (notifier.to.is_some(), notifier.watchdog()),
                (false, None),
                "{name}"
            );
        }
    }

    #[test]
    fn a_status_is_one_line_within_its_bound() {
        assert_eq!(one_line("a\r\nb\tc"), "a  b c");
        let long = one_line(&"é".repeat(400));
        assert_eq!(long.chars().count(), MAX_STATUS / 2);
    }
}
