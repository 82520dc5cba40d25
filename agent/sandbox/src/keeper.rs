//! The process that stays outside of the sandbox, where something is to be put away afterwards.
//!
//! Where a sandbox needs it, the launcher divides in two: the child closes the sandbox around itself and becomes the command, and the parent
//! stays for whoever started it. It hands on what is sent to it, stops and goes on with the child, and ends as the child ended.

use std::fs;
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::OFlag;
use nix::sys::signal::{self, SigSet, SigmaskHow, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};

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

/// Whether this process is a keeper's child, with signals blocked that the command must get.
static BLOCKED: AtomicBool = AtomicBool::new(false);

fn handed_on() -> SigSet {
    let mut set: SigSet = HANDED_ON.into_iter().collect();
    set.add(Signal::SIGCHLD);
    set
}

/// The two ends of a pipe: a companion writes its process id when it begins, and the pipe ends with it.
static LIFELINE: Mutex<Option<(OwnedFd, OwnedFd)>> = Mutex::new(None);

fn lifeline() -> MutexGuard<'static, Option<(OwnedFd, OwnedFd)>> {
    LIFELINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Before the process divides: the child will start a companion, whose end is to be told.
///
/// # Errors
/// When no pipe can be made.
pub(crate) fn expect_companion() -> io::Result<()> {
    let pipe = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    *lifeline() = Some(pipe);
    Ok(())
}

/// What the companion holds as long as it lives.
pub(crate) fn companion_lifeline() -> Option<OwnedFd> {
    lifeline().take().map(|(_, held)| held)
}

/// What the parent knows of a companion.
#[derive(Default)]
struct Companion {
    lifeline: Option<OwnedFd>,
    pid: Option<Pid>,
}

impl Companion {
    /// The parent keeps its end of the pipe alone.
    fn expected() -> Self {
        let lifeline = lifeline().take().map(|(heard, _)| heard);
        Self { lifeline, pid: None }
    }

    /// Hears that it has begun; tells once that it has ended before the command: somebody ended it, or memory ran out.
    fn look(&mut self) {
        let Some(pipe) = self.lifeline.as_ref() else {
            return;
        };
        let mut pid = [0; 4];
        let ended = loop {
            match nix::unistd::read(pipe, &mut pid) {
                Ok(0) => break true,
                Ok(_) => self.pid = Some(Pid::from_raw(i32::from_ne_bytes(pid))),
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => break false,
            }
        };
        if !ended {
            return;
        }
        self.lifeline = None;
        if self.pid.is_some() {
            self.end();
            let message = b"defenseclaw: what renews covers has ended; what is replaced from now on lies open in this sandbox\n";
            let _ = io::stderr().write_all(message);
        }
    }

    /// Ends it, and leaves nothing of it for others to reap. One that has not begun yet ends with this process.
    fn end(&mut self) {
        if let Some(pid) = self.pid.take() {
            let _ = signal::kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
    }
}

/// As the companion, tells the keeper who it is.
pub(crate) fn begin(lifeline: &OwnedFd) {
    let _ = nix::unistd::write(lifeline, &nix::unistd::getpid().as_raw().to_ne_bytes());
}

/// What the parent does for the child once it is there: its answer lives until the child has ended.
pub type Service<'s> = Box<dyn FnOnce(Pid) -> Box<dyn std::any::Any> + 's>;

/// Divides the process: returns in the child. The parent makes the folders `reserved` before, takes them away when the child has
/// ended, and ends likewise. Between that it does what `service` does.
///
/// # Errors
/// When no process or folder can be made.
pub fn stay(reserved: &[PathBuf], service: Option<Service<'_>>) -> io::Result<()> {
    let mut made = Vec::new();
    for path in reserved {
        match fs::create_dir(path) {
            Ok(()) => made.push(path.clone()),
            // Somebody was faster: it is sealed as what it is.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // Nobody can make it here: another sandbox around this one holds the folder read-only.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
            Err(error) => {
                put_away(&made);
                return Err(error);
            }
        }
    }
    let keeper = nix::unistd::getpid();
    signal::sigprocmask(SigmaskHow::SIG_BLOCK, Some(&handed_on()), None)?;
    BLOCKED.store(true, Ordering::Relaxed);
    // SAFETY: this process has one thread, so the child may do all that the parent may.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // It may have died before that was asked for.
            if getppid() != keeper {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        }
        Ok(ForkResult::Parent { child }) => {
            let mut companion = Companion::expected();
            let serving = service.map(|service| service(child));
            let end = wait(child, &mut companion);
            companion.look();
            companion.end();
            drop(serving);
            put_away(&made);
            end_as(end)
        }
        Err(errno) => {
            put_away(&made);
            Err(errno.into())
        }
    }
}

/// Takes the empty folders away. One that is no longer empty is somebody's.
fn put_away(made: &[PathBuf]) {
    for path in made.iter().rev() {
        let _ = fs::remove_dir(path);
    }
}

/// Unblocks, before the command starts, what [`stay`] blocked.
pub fn restore_signals() {
    if BLOCKED.load(Ordering::Relaxed) {
        let _ = signal::sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&handed_on()), None);
    }
}

/// How the child ended.
enum End {
    Exit(i32),
    Signal(Signal),
}

fn wait(child: Pid, companion: &mut Companion) -> End {
    loop {
        let Some(info) = next_signal() else { continue };
        match Signal::try_from(info.si_signo) {
            Ok(Signal::SIGCHLD) => {
                if let Some(end) = reap(child) {
                    return end;
                }
                companion.look();
            }
            // What the terminal sends, it sends to the child too.
            Ok(signal) if info.si_code <= 0 || signal == Signal::SIGCONT => {
                let _ = signal::kill(child, signal);
            }
            _ => {}
        }
    }
}

fn next_signal() -> Option<libc::siginfo_t> {
    let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
    let set = handed_on();
    // SAFETY: both point to values that live during the call; the kernel fills `info` when it returns a signal.
    unsafe {
        let signal = libc::sigwaitinfo(set.as_ref(), info.as_mut_ptr());
        (signal > 0).then(|| info.assume_init())
    }
}

fn reap(child: Pid) -> Option<End> {
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Exited(_, status)) => return Some(End::Exit(status)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Some(End::Signal(signal)),
            // A shell that waits for us sees us stop, too. SIGCONT wakes us, and is handed on.
            Ok(WaitStatus::Stopped(..)) => {
                let _ = signal::raise(Signal::SIGSTOP);
            }
            Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return None,
            Err(_) => return Some(End::Exit(125)),
        }
    }
}

fn end_as(end: End) -> ! {
    match end {
        End::Exit(status) => std::process::exit(status),
        End::Signal(signal) => {
            // The child left its core where one was wanted.
            let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
            // SAFETY: the default action replaces whatever was there.
            let _ = unsafe { signal::signal(signal, signal::SigHandler::SigDfl) };
            let mut set = SigSet::empty();
            set.add(signal);
            let _ = signal::sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&set), None);
            let _ = signal::raise(signal);
            std::process::exit(128 + signal as i32)
        }
    }
}
