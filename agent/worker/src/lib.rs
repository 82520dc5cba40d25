//! The unprivileged process that looks at a copy: started, asked, listened to. One process, one artifact.
//!
//! It is started as `TOOL scan-worker` with a Unix packet socket as its standard input. It says `ready`; it is sent one JSON message
//! with the copy's descriptor; it answers `{"bytes":N}` and then N bytes in messages. Whatever else happens is a failed scan. The
//! answer is not looked into: it is text without control characters.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use defenseclaw_model::gate::{WORKER_MESSAGE, WORKER_REPORT, WORKER_VERB, WorkerTask};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};
use serde::Deserialize;

/// What it says when it has loaded its rules and closed itself in.
const READY: &[u8] = b"ready";
/// Address space of a worker: rules, the copy, what is unpacked from it.
const MAX_MEMORY: u64 = 2 << 30;
/// Processor time of a worker (s), should whoever kills it at the deadline be gone.
const MAX_SECONDS: u64 = 30;
/// Descriptors of a worker.
const MAX_DESCRIPTORS: u64 = 64;
/// Processes and threads of the worker's user: the kernel counts all that the user has, those of other programs too.
const MAX_PROCESSES: u64 = 512;

/// Longest announcement of a report (bytes).
const HEAD: usize = 64;

/// How often a scan looks whether whoever asked ends.
const LOOK: Duration = Duration::from_millis(200);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The program is not there.
    #[error("the scanner is not installed: no {} beside this program; install the whole package", .0.display())]
    Missing(PathBuf),
    /// Its user cannot be used.
    #[error("the scanner's user {0:?} does not exist or is root; name another as `gate.scanner_user`")]
    User(String),
    /// It could not be started.
    #[error("the scanner could not be started: {0}")]
    Start(std::io::Error),
    /// It took too long.
    #[error("the scanner did not answer in time")]
    Time,
    /// It ended, or was killed.
    #[error("the scanner ended before it had answered")]
    Ended,
    /// It said something that the protocol does not know.
    #[error("the scanner's answer is none: {0}")]
    Garbage(&'static str),
    /// The socket failed.
    #[error("the scanner's socket: {0}")]
    Socket(#[from] Errno),
}

/// Another user than whoever starts the worker. Only root can name one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User id; not 0.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    bytes: usize,
}

/// A worker that was started. It ends with this value.
pub struct Worker {
    child: Child,
    socket: OwnedFd,
    ends: Arc<AtomicBool>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Whatever it still does is of no use; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A task as the message that it travels in.
///
/// # Errors
/// When it is longer than a message.
pub fn message(task: &WorkerTask) -> Result<Vec<u8>, ScanError> {
    let text = serde_json::to_vec(task).map_err(|_| ScanError::Garbage("the question has no JSON"))?;
    if text.len() > WORKER_MESSAGE {
        return Err(ScanError::Garbage(
            "the artifact's path is too long to be asked about",
        ));
    }
    Ok(text)
}

impl Worker {
    /// Starts `program` as `user` (`None`: as whoever this is). Waiting for its answer ends when `ends` is set.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, user: Option<User>, ends: Arc<AtomicBool>) -> Result<Self, ScanError> {
        let (socket, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let mut command = Command::new(program);
        command
            .arg(WORKER_VERB)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let parent = std::process::id();
        // SAFETY: between fork and exec only system calls are made, on numbers; nothing is allocated and no lock is taken.
        unsafe { command.pre_exec(move || confine(user, parent)) };
        let child = command.spawn().map_err(ScanError::Start)?;
        Ok(Self { child, socket, ends })
    }

    /// Waits until it is ready, and hands it the copy. `text`: what [`message`] gave.
    ///
    /// # Errors
    /// When it does not become ready, or does not take it.
    pub fn ask(&mut self, text: &[u8], copy: &OwnedFd, deadline: Instant) -> Result<(), ScanError> {
        let mut buffer = [0; 16];
        let count = self.receive(&mut buffer, deadline)?;
        if buffer.get(..count) != Some(READY) {
            return Err(ScanError::Garbage("it is not ready"));
        }
        let descriptors = [copy.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&descriptors)];
        let text = [IoSlice::new(text)];
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        sendmsg::<()>(self.socket.as_raw_fd(), &text, &message, flags, None)?;
        Ok(())
    }

    /// Its report, as the text that it wrote.
    ///
    /// # Errors
    /// When there is none within its bounds and in time.
    pub fn answer(&mut self, deadline: Instant) -> Result<String, ScanError> {
        let mut buffer = vec![0; WORKER_MESSAGE];
        let count = self.receive(&mut buffer, deadline)?;
        // A number and nothing else is read of what it says: whoever asks may be root.
        let head = buffer.get(..count.min(HEAD)).unwrap_or_default();
        let Head { bytes } = serde_json::from_slice(head)
            .map_err(|_| ScanError::Garbage("it does not say how long the report is"))?;
        if bytes == 0 || bytes > WORKER_REPORT {
            return Err(ScanError::Garbage("the report is empty, or larger than 4 MiB"));
        }
        let mut report = Vec::with_capacity(bytes);
        while report.len() < bytes {
            let count = self.receive(&mut buffer, deadline)?;
            report.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
        if report.len() > bytes {
            return Err(ScanError::Garbage("the report is longer than was said"));
        }
        if report.iter().any(|&byte| byte < b' ' && byte != b'\n') {
            return Err(ScanError::Garbage("the report holds control characters"));
        }
        String::from_utf8(report).map_err(|_| ScanError::Garbage("the report is no text"))
    }

    /// One message, whole. A descriptor that comes with it is dropped by the kernel: none is asked for.
    fn receive(&self, buffer: &mut [u8], deadline: Instant) -> Result<usize, ScanError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.ends.load(Ordering::Acquire) {
                return Err(ScanError::Time);
            }
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            let wait = left.clamp(Duration::from_millis(1), LOOK);
            let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
            match poll(&mut fds, timeout) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match recv(
                self.socket.as_raw_fd(),
                buffer,
                MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC,
            ) {
                Ok(0) | Err(Errno::ECONNRESET) => return Err(ScanError::Ended),
                Ok(count) if count > buffer.len() => return Err(ScanError::Garbage("a message is too long")),
                Ok(count) => return Ok(count),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Takes from the child, before it becomes the worker, what it does not need.
fn confine(user: Option<User>, parent: u32) -> std::io::Result<()> {
    let check = |result: libc::c_int| match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: takes numbers alone; what is open but the standard streams is closed at the exec.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 4) };
    if let Some(User { uid, gid }) = user {
        // SAFETY: no groups are pointed to; the others take numbers alone.
        unsafe {
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setresgid(gid, gid, gid))?;
            check(libc::setresuid(uid, uid, uid))?;
        }
    }
    // SAFETY: these take numbers alone.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        // Whoever asks may have ended before that was asked for.
        if u32::try_from(libc::getppid()) != Ok(parent) {
            return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
        }
    }
    let limits = [
        (libc::RLIMIT_AS, MAX_MEMORY),
        (libc::RLIMIT_CPU, MAX_SECONDS),
        (libc::RLIMIT_NOFILE, MAX_DESCRIPTORS),
        (libc::RLIMIT_NPROC, MAX_PROCESSES),
        (libc::RLIMIT_FSIZE, 0),
        (libc::RLIMIT_CORE, 0),
    ];
    for (what, most) in limits {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: points to a value that outlives the call.
        check(unsafe { libc::getrlimit(what, &raw mut limit) })?;
        // Whoever asks may be under a lower one, which nobody can raise.
        let most = most.min(limit.rlim_max);
        limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: most,
        };
        // SAFETY: as above.
        check(unsafe { libc::setrlimit(what, &raw const limit) })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A worker that is this shell script; its standard input is the socket.
    fn played(script: &str) -> (tempfile::TempDir, Worker) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker");
        std::fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let worker = Worker::start(&path, None, Arc::default()).unwrap();
        (folder, worker)
    }

    /// What it says after it was ready and took its task: a socket that is closed with something unread in it says nothing of what it sent.
    fn answered(script: &str) -> Result<String, ScanError> {
        asked(&format!(
            "printf ready >&0; dd bs=64 count=1 of=/dev/null status=none; {script}"
        ))
    }

    fn asked(script: &str) -> Result<String, ScanError> {
        let (_folder, mut worker) = played(script);
        let copy = OwnedFd::from(tempfile::tempfile().unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        worker.ask(b"{}", &copy, deadline)?;
        worker.answer(deadline)
    }

    #[test]
    fn a_report_is_taken_as_it_was_announced() {
        let good = r#"printf '{"bytes":4}' >&0; printf 'abcd' >&0"#;
        assert_eq!(answered(good).unwrap(), "abcd");
    }

    #[test]
    fn what_the_protocol_does_not_know_is_no_report() {
        for script in ["printf hello >&0", "exit 0"] {
            assert!(asked(script).is_err(), "{script}");
        }
        for script in [
            r#"printf '{"error":"the rules cannot be loaded"}' >&0"#,
            r#"printf '{"bytes":0}' >&0"#,
            r#"printf '{"bytes":9000000}' >&0"#,
            r#"printf '{"bytes":2}' >&0; printf 'abcd' >&0"#,
            r#"printf '{"bytes":4}' >&0; printf 'a\001cd' >&0"#,
            r#"printf '{"bytes":4}' >&0; printf 'ab' >&0"#,
        ] {
            assert!(answered(script).is_err(), "{script}");
        }
    }
}
