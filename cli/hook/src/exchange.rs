//! Standard input, the socket and standard output, each under the process's one deadline.
//!
//! Nothing here blocks: every read, write and connect is tried only after `poll` said that it can go on, and `poll`
//! waits no longer than the deadline leaves.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, recv, send, sendmsg, socket,
};

use crate::fallback::Asked;
use crate::reply::{Reader, Reply, ReplyError};
use crate::settings::{Settings, SettingsError};

/// Largest payload (bytes): the gateway's own limit.
pub(crate) const MAX_PAYLOAD: usize = 16 << 20;
/// How long writing the answer may take after the deadline: it is a few hundred bytes into a pipe.
const WRITE_GRACE: Duration = Duration::from_millis(250);
/// `poll` says that a pipe can be written when this many bytes fit (`PIPE_BUF`), so that writing no more never blocks.
const PIPE_CHUNK: usize = 4096;
/// Pause before trying a full backlog again: there is no event to wait for.
const BACKLOG_PAUSE: Duration = Duration::from_millis(5);
/// Longest socket path (bytes): `sun_path` with its final zero is 108.
const MAX_SOCKET_PATH: usize = 107;

/// Why the gateway could not be asked. The texts are shown to a person, in the harness or its log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("the hook's payload could not be read from standard input: {}", .0.desc())]
    Input(Errno),
    #[error("the hook's payload did not end within {} ms: the harness must close standard input", .0.as_millis())]
    InputSlow(Duration),
    #[error("the hook's payload is over the limit of {} MiB. Split the work into smaller calls", MAX_PAYLOAD >> 20)]
    InputTooLarge,
    #[error("there is no memory left for the hook's payload")]
    Memory,
    #[error(
        "the socket path {path} has {} bytes, and the system takes at most {MAX_SOCKET_PATH}. Configure a shorter one",
        path.as_os_str().len()
    )]
    SocketPath { path: PathBuf },
    #[error("the gateway at {path} cannot be reached: {}. {}", source.desc(), remedy(*source))]
    Connect { path: PathBuf, source: Errno },
    #[error(
        "the gateway at {path} takes no new connection: its queue was full for {} ms. See its log for what holds it up",
        waited.as_millis()
    )]
    Backlog { path: PathBuf, waited: Duration },
    #[error(
        "the server at {path} runs as user {uid}, who is neither root nor the owner of that folder: it is not the \
         gateway. Find out who started it"
    )]
    Impostor { path: PathBuf, uid: u32 },
    #[error("the gateway at {path} did not answer within {} ms. See its log for what holds it up", waited.as_millis())]
    Silent { path: PathBuf, waited: Duration },
    #[error("the connection to the gateway at {path} broke: {}. See its log for why", source.desc())]
    Broken { path: PathBuf, source: Errno },
    #[error("the gateway at {path} was asked, but {source}. See its log for why")]
    Answer { path: PathBuf, source: ReplyError },
    #[error("the answer could not be written to standard output: {}", .0.desc())]
    Output(Errno),
}

fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOENT | Errno::ECONNREFUSED => {
            "Start it (systemctl start defenseclaw-gateway) or correct the socket's path"
        }
        Errno::EACCES | Errno::EPERM => "Let this user reach the socket and its folder",
        // No Unix socket answers a connect so, but the supervisor of a sandbox does.
        Errno::EOPNOTSUPP => {
            "This runs in a supervised sandbox (--supervise, or a profile with named hosts), from where the gateway could not tell \
             who calls. Start the agent with another profile and without --supervise; each of its calls can have a sandbox of its \
             own (defenseclaw-cli setup AGENT --sandbox PROFILE)"
        }
        _ => "See its log for why",
    }
}

/// The instant by which the process wants to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    started: Instant,
    allowed: Duration,
    /// Beyond which it is never put off.
    limit: Duration,
}

impl Deadline {
    pub(crate) fn new(started: Instant, allowed: Duration, limit: Duration) -> Self {
        Self {
            started,
            allowed,
            limit,
        }
    }

    /// Puts it off by `wait` from now.
    fn put_off(&mut self, wait: Duration) {
        let until = self.started.elapsed().saturating_add(wait);
        self.allowed = self.allowed.max(until.min(self.limit));
    }

    fn left(self) -> Option<Duration> {
        self.allowed
            .checked_sub(self.started.elapsed())
            .filter(|left| !left.is_zero())
    }
}

/// Waits until `fd` is ready for `what`. `Ok(false)`: the deadline came first.
fn wait(fd: BorrowedFd<'_>, what: PollFlags, deadline: Deadline) -> Result<bool, Errno> {
    loop {
        let Some(left) = deadline.left() else {
            return Ok(false);
        };
        // Rounded up: a poll of 0 ms would spin through the last millisecond.
        let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, what)], timeout) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno),
        }
    }
}

/// Reads standard input to its end. On failure `payload` holds what came until then.
pub(crate) fn read_stdin(payload: &mut Vec<u8>, deadline: Deadline) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    let mut chunk = [0u8; 64 * 1024];
    loop {
        if !wait(stdin.as_fd(), PollFlags::POLLIN, deadline).map_err(Failure::Input)? {
            return Err(Failure::InputSlow(deadline.allowed));
        }
        match nix::unistd::read(stdin.as_fd(), &mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) if payload.len() + count > MAX_PAYLOAD => return Err(Failure::InputTooLarge),
            Ok(count) => {
                payload.try_reserve(count).map_err(|_| Failure::Memory)?;
                payload.extend_from_slice(&chunk[..count]);
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(Failure::Input(errno)),
        }
    }
}

/// Sends `payload` to the gateway and waits for its answer.
pub(crate) fn ask(
    asked: Asked,
    settings: &Settings,
    payload: &[u8],
    deadline: Deadline,
) -> Result<Reply, Failure> {
    // Both names are of our own table.
    let mut more = asked.event.map_or_else(String::new, |event| {
        format!("x-defenseclaw-event: {}\r\n", event.name)
    });
    if asked.through_shell {
        more.push_str("x-defenseclaw-shell: 1\r\n");
    }
    let place = format!("/v1/hooks/{}", asked.harness.name);
    post(&place, &more, settings, payload, deadline)
}

/// The same to any place; `more` are further headers.
pub(crate) fn post(
    place: &str,
    more: &str,
    settings: &Settings,
    payload: &[u8],
    deadline: Deadline,
) -> Result<Reply, Failure> {
    let path = &settings.socket;
    let stream = open(path, deadline)?;
    if settings.check_server {
        check_server(&stream, path)?;
    }
    let head = format!(
        "POST {place} HTTP/1.1\r\nhost: defenseclaw\r\ncontent-type: application/json\r\n{more}\
         content-length: {}\r\nconnection: close\r\n\r\n",
        payload.len()
    );
    match send_all(&stream, head.as_bytes(), payload, deadline) {
        Ok(true) => {}
        Ok(false) => {
            return Err(Failure::Silent {
                path: path.clone(),
                waited: deadline.allowed,
            });
        }
        // A gateway that refuses a request early closes its end; its answer may still be waiting.
        Err(Errno::EPIPE | Errno::ECONNRESET) => {}
        Err(source) => {
            return Err(Failure::Broken {
                path: path.clone(),
                source,
            });
        }
    }
    receive(&stream, path, deadline)
}

fn open(path: &Path, deadline: Deadline) -> Result<OwnedFd, Failure> {
    if path.as_os_str().len() > MAX_SOCKET_PATH || path.as_os_str().as_bytes().contains(&0) {
        return Err(Failure::SocketPath {
            path: path.to_owned(),
        });
    }
    let failed = |source| Failure::Connect {
        path: path.to_owned(),
        source,
    };
    let address = UnixAddr::new(path).map_err(failed)?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(failed)?;
    loop {
        match connect(stream.as_raw_fd(), &address) {
            Ok(()) => return Ok(stream),
            Err(Errno::EINTR) => {}
            // On a Unix socket this means a full backlog.
            Err(Errno::EAGAIN) => match deadline.left() {
                Some(left) => std::thread::sleep(left.min(BACKLOG_PAUSE)),
                None => {
                    return Err(Failure::Backlog {
                        path: path.to_owned(),
                        waited: deadline.allowed,
                    });
                }
            },
            Err(errno) => return Err(failed(errno)),
        }
    }
}

/// The gateway runs as root or as the user to whom its folder was given. Anyone else who managed to listen there is not it.
fn check_server(stream: &OwnedFd, path: &Path) -> Result<(), Failure> {
    let failed = |source| Failure::Connect {
        path: path.to_owned(),
        source,
    };
    let uid = getsockopt(stream, PeerCredentials).map_err(failed)?.uid();
    let folder = path.parent().unwrap_or(Path::new("/"));
    let owner = std::fs::metadata(folder).map(|meta| meta.uid()).ok();
    if uid == 0 || owner == Some(uid) {
        Ok(())
    } else {
        Err(Failure::Impostor {
            path: path.to_owned(),
            uid,
        })
    }
}

/// Sends `head` and `body`, in one system call where they fit. `Ok(false)`: the deadline came first.
fn send_all(stream: &OwnedFd, head: &[u8], body: &[u8], deadline: Deadline) -> Result<bool, Errno> {
    let (mut head, mut body) = (head, body);
    while !head.is_empty() || !body.is_empty() {
        let sent = if head.is_empty() {
            send(stream.as_raw_fd(), body, MsgFlags::MSG_NOSIGNAL)
        } else {
            let parts = [IoSlice::new(head), IoSlice::new(body)];
            sendmsg::<()>(stream.as_raw_fd(), &parts, &[], MsgFlags::MSG_NOSIGNAL, None)
        };
        match sent {
            Ok(count) => {
                let of_head = count.min(head.len());
                head = &head[of_head..];
                body = &body[count - of_head..];
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                if !wait(stream.as_fd(), PollFlags::POLLOUT, deadline)? {
                    return Ok(false);
                }
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(true)
}

fn receive(stream: &OwnedFd, path: &Path, mut deadline: Deadline) -> Result<Reply, Failure> {
    let broken = |source| Failure::Broken {
        path: path.to_owned(),
        source,
    };
    let refused = |source| Failure::Answer {
        path: path.to_owned(),
        source,
    };
    let mut reader = Reader::default();
    let mut waits = false;
    let mut chunk = [0u8; 8 * 1024];
    loop {
        if !wait(stream.as_fd(), PollFlags::POLLIN, deadline).map_err(broken)? {
            return Err(Failure::Silent {
                path: path.to_owned(),
                waited: deadline.allowed,
            });
        }
        match recv(stream.as_raw_fd(), &mut chunk, MsgFlags::empty()) {
            Ok(0) => return Err(refused(reader.cut())),
            Ok(count) => {
                if let Some(reply) = reader.push(&chunk[..count]).map_err(refused)? {
                    return Ok(reply);
                }
                // Once: a gateway that asks again and again must not hold a call for ever.
                if let Some(ms) = reader.asks_to_wait().filter(|_| !waits) {
                    waits = true;
                    deadline.put_off(Duration::from_millis(ms));
                }
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(broken(errno)),
        }
    }
}

/// Writes the answer without ever blocking on a harness that does not read.
pub(crate) fn write_stdout(bytes: &[u8]) -> Result<(), Failure> {
    write_all(std::io::stdout().as_fd(), bytes).map_err(Failure::Output)
}

/// Writes what the harness reads from standard error. Where it cannot be written, the exit status says the same.
pub(crate) fn write_stderr(bytes: &[u8]) {
    let _ = write_all(std::io::stderr().as_fd(), bytes);
}

/// Says something to a person. Where nobody listens it is lost; there is nowhere else to say it.
pub(crate) fn complain(message: &str) {
    let _ = write_all(
        std::io::stderr().as_fd(),
        format!("defenseclaw-hook: {message}\n").as_bytes(),
    );
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    let deadline = Deadline::new(Instant::now(), WRITE_GRACE, WRITE_GRACE);
    while !bytes.is_empty() {
        if !wait(fd, PollFlags::POLLOUT, deadline)? {
            return Err(Errno::ETIMEDOUT);
        }
        match nix::unistd::write(fd, &bytes[..bytes.len().min(PIPE_CHUNK)]) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn whoever_is_supervised_is_told_what_to_do_instead() {
        let refused = Failure::Connect {
            path: "/run/defenseclaw/gateway.sock".into(),
            source: Errno::EOPNOTSUPP,
        };
        let text = refused.to_string();
        assert!(
            text.contains("supervised sandbox") && text.contains("without --supervise"),
            "{text}"
        );
    }

    #[test]
    fn a_server_of_another_user_is_no_gateway() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let stream = open(
            &path,
            Deadline::new(Instant::now(), Duration::from_secs(1), Duration::from_secs(1)),
        )
        .unwrap();
        check_server(&stream, &path).unwrap();
        // Root's server passes anywhere; for anyone else the folder's owner decides.
        let elsewhere = check_server(&stream, Path::new("/proc/s"));
        if nix::unistd::geteuid().is_root() {
            elsewhere.unwrap();
        } else {
            assert!(elsewhere.unwrap_err().to_string().contains("not the gateway"));
        }
    }
}
