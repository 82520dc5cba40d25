//! The unprivileged process that looks at a copy. One process, one artifact; one waits ahead, with its rules loaded.
//!
//! It is started as `TOOL scan-worker` with a Unix packet socket as its standard input. It says `ready`; it is sent one JSON message
//! with the copy's descriptor; it answers `{"bytes":N}` and then N bytes in messages. Whatever else happens is a failed scan. The
//! answer is not looked into: it is text without control characters, and goes to the gateway.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use defenseclaw_model::admission::ArtifactKind;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

/// The hidden verb of the whole tool.
const VERB: &str = "scan-worker";
/// What it says when it has loaded its rules and closed itself in.
const READY: &[u8] = b"ready";
/// Largest message in either direction, as the protocol has it.
const MAX_MESSAGE: usize = 64 << 10;
/// Largest report. As text inside a frame it may double, and stays below the largest frame.
pub const MAX_REPORT: usize = 4 << 20;
/// Address space of a worker: rules, the copy, what is unpacked from it.
const MAX_MEMORY: u64 = 2 << 30;
/// Processor time of a worker (s), should the agent that kills it at the deadline be gone.
const MAX_SECONDS: u64 = 30;
/// Descriptors of a worker.
const MAX_DESCRIPTORS: u64 = 64;
/// Processes and threads of the worker's user: the kernel counts all that the user has, those of other programs too.
const MAX_PROCESSES: u64 = 512;

/// How often a scan looks whether the gate ends.
const LOOK: Duration = Duration::from_millis(200);

/// What the worker is told.
#[derive(Debug, Serialize)]
pub struct Question<'a> {
    /// What it is.
    pub kind: ArtifactKind,
    /// Its name.
    pub name: &'a str,
    /// Where it stands.
    pub path: &'a str,
    /// Whose place that is.
    pub connector: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    bytes: usize,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The program is not there.
    #[error("the scanner is not installed: no {} beside the agent; install the whole package", .0.display())]
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

/// Where workers come from.
pub struct Scanner {
    programs: Vec<PathBuf>,
    user: String,
    ends: Arc<AtomicBool>,
    warm: Mutex<Option<Worker>>,
}

impl Scanner {
    /// Workers are the first of `programs` that is there, and run as `user`.
    /// No scan goes on once `ends` is set.
    pub fn new(programs: Vec<PathBuf>, user: String, ends: Arc<AtomicBool>) -> Self {
        Self {
            programs,
            user,
            ends,
            warm: Mutex::new(None),
        }
    }

    /// Has a worker ready for the next scan.
    pub fn warm_up(&self) {
        let mut warm = self
            .warm
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if warm.is_none() {
            *warm = self.start().ok();
        }
    }

    /// Has the copy scanned; gives the report's JSON.
    pub fn scan(
        &self,
        question: &Question<'_>,
        copy: &OwnedFd,
        deadline: Instant,
    ) -> Result<String, ScanError> {
        let warm = self
            .warm
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        let text =
            serde_json::to_vec(question).map_err(|_| ScanError::Garbage("the question has no JSON"))?;
        if text.len() > MAX_MESSAGE {
            return Err(ScanError::Garbage(
                "the artifact's path is too long to be asked about",
            ));
        }
        // The one that waited may have been ended by somebody since: nothing was asked of it yet, so another may be.
        let asked = warm.and_then(|mut worker| worker.ask(&text, copy, deadline).ok().map(|()| worker));
        let mut worker = match asked {
            Some(worker) => worker,
            None => {
                let mut worker = self.start()?;
                worker.ask(&text, copy, deadline)?;
                worker
            }
        };
        worker.answer(deadline)
    }

    fn start(&self) -> Result<Worker, ScanError> {
        let program = self.programs.iter().find(|program| program.is_file());
        let program = program.ok_or_else(|| {
            ScanError::Missing(self.programs.first().cloned().unwrap_or_else(|| VERB.into()))
        })?;
        let user = nix::unistd::User::from_name(&self.user).ok().flatten();
        let user = user.filter(|user| !user.uid.is_root());
        let user = user.ok_or_else(|| ScanError::User(self.user.clone()))?;
        let mut worker = Worker::start(program, user.uid.as_raw(), user.gid.as_raw())?;
        worker.ends = self.ends.clone();
        Ok(worker)
    }
}

struct Worker {
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

impl Worker {
    fn start(program: &Path, uid: libc::uid_t, gid: libc::gid_t) -> Result<Self, ScanError> {
        let (socket, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let mut command = Command::new(program);
        command
            .arg(VERB)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let parent = std::process::id();
        // SAFETY: between fork and exec only system calls are made, on numbers; nothing is allocated and no lock is taken.
        unsafe { command.pre_exec(move || confine(uid, gid, parent)) };
        let child = command.spawn().map_err(ScanError::Start)?;
        Ok(Self {
            child,
            socket,
            ends: Arc::default(),
        })
    }

    /// Waits until it is ready, and hands it the copy.
    fn ask(&mut self, text: &[u8], copy: &OwnedFd, deadline: Instant) -> Result<(), ScanError> {
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

    fn answer(&mut self, deadline: Instant) -> Result<String, ScanError> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let count = self.receive(&mut buffer, deadline)?;
        let head = buffer.get(..count.min(64)).unwrap_or_default();
        let head: Head = serde_json::from_slice(head)
            .map_err(|_| ScanError::Garbage("it does not say how long the report is"))?;
        if head.bytes == 0 || head.bytes > MAX_REPORT {
            return Err(ScanError::Garbage("the report is empty, or larger than 4 MiB"));
        }
        let mut report = Vec::with_capacity(head.bytes);
        while report.len() < head.bytes {
            let count = self.receive(&mut buffer, deadline)?;
            report.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
        if report.len() > head.bytes {
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
fn confine(uid: libc::uid_t, gid: libc::gid_t, parent: u32) -> std::io::Result<()> {
    let check = |result: libc::c_int| match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: takes numbers alone; what is open but the standard streams is closed at the exec.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 4) };
    // SAFETY: no groups are pointed to; the others take numbers alone.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(gid, gid, gid))?;
        check(libc::setresuid(uid, uid, uid))?;
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        // The agent may have ended before that was asked for.
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
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: most,
        };
        // SAFETY: points to a value that outlives the call.
        check(unsafe { libc::setrlimit(what, &raw const limit) })?;
    }
    Ok(())
}
