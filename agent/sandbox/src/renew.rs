//! Covers that are renewed, for sandboxes that last.
//!
//! A mount belongs to the file that it lies on. When somebody outside replaces that file by rename, as editors save, or removes it, the
//! kernel takes the mount away in every namespace, and what has the name then lies open in the sandbox. So a process of ours stays in the
//! sandbox's mount namespace, outside of its Landlock domain and its filter: it hears by inotify of every name that comes into
//! a folder where something is closed or sealed, and covers or seals it anew.
//!
//! It hears of it afterwards: between the new name and the new cover lie some ten microseconds on an idle machine, more on a busy one,
//! in which a program that does nothing but try gets through. Only supervised mode has no such gap.
//!
//! The process trusts nothing that it finds: it mounts covers, or a thing over itself, by descriptor, and follows no link. By what it
//! does, nothing comes into sight that was not; what a command gives a secret's name it hides from itself.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::unistd::{Pid, getppid};

use crate::host::check;
use crate::keeper::companion::{self, COMMAND_OVER};
use crate::mounts::{Object, Stock};
use crate::plan::{MAX_FOLDERS, Plan, searched};

/// Most folders that are watched. Each takes about a kilobyte of the kernel, and one of the user's watches (8,192 on the smallest hosts).
const MAX_WATCHED: usize = 2 * MAX_FOLDERS;
/// Most covers for what had no cover when the sandbox was closed: a command that makes files with such names by the thousand gets no
/// more mounts out of it.
const MAX_NEW: usize = 4_096;
/// Most messages: the terminal is the command's.
const MAX_TOLD: usize = 8;

/// Whether covers are renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Renew {
    /// They are not: the sandbox lives for seconds.
    #[default]
    Never,
    /// Those of what was closed or sealed when the sandbox was closed, and of what comes where the command cannot write. Where that cannot be
    /// had, a note says so.
    Known,
    /// Those too of what comes in the project later, whoever makes it. Nothing is started without it.
    All,
}

/// What is done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    Cover,
    /// If it is a socket.
    CoverSocket,
    Seal,
    Pin,
}

/// Starts the process beside this one: a child of this process's parent, which must be a keeper. This process must be in the sandbox's mount
/// namespace, not yet restricted, and have one thread. By `lifeline` that parent is told which process it is.
///
/// # Errors
/// When there are no watches to be had, or no process.
pub(crate) fn start(plan: &Plan, renew: Renew, stock: Stock, lifeline: Option<OwnedFd>) -> io::Result<()> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    let parent = getppid();
    // Not a child of the command's: a program may wait for all children that it has.
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: without a stack and shared memory this is a fork, of a process with one thread.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, 0, 0, 0) })?;
    if pid != 0 {
        if let Some(lifeline) = &lifeline {
            companion::announce(lifeline, pid as i32);
        }
        return Ok(());
    }
    // What unwinds here must not go on as the launcher.
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut kept = vec![2, inotify.as_fd().as_raw_fd()];
        kept.extend(stock.descriptors());
        if let Err(error) = stand_apart(parent, kept) {
            tell(&format!("covers are not renewed: {error}"));
            return;
        }
        let error = Renewer::new(plan.clone(), renew, stock, inotify).work();
        tell(&format!("covers are no longer renewed: {error}"));
    }));
    // SAFETY: ends this process without what the launcher left to be done at its end.
    unsafe { libc::_exit(i32::from(done.is_err())) }
}

/// Ends with the keeper; holds nothing that the command's readers wait for; cannot be looked into.
fn stand_apart(keeper: Pid, mut kept: Vec<RawFd>) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != keeper {
        // The command was over before this began: there is nothing to renew, and nothing to say.
        // SAFETY: ends this process without what the launcher left to be done at its end.
        unsafe { libc::_exit(0) }
    }
    let _ = nix::sys::prctl::set_name(c"dc-renew");
    nix::sys::prctl::set_dumpable(false)?;
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for standard in [0, 1] {
        // SAFETY: takes numbers alone; nobody in this process uses the old ones.
        check(libc::c_long::from(unsafe {
            libc::dup2(null.as_raw_fd(), standard)
        }))?;
    }
    kept.push(null.as_raw_fd());
    kept.sort_unstable();
    let ends = kept.iter().skip(1).map(|fd| fd - 1).chain([RawFd::MAX]);
    for (from, to) in kept.iter().map(|fd| fd + 1).zip(ends) {
        let (Ok(from), Ok(to)) = (libc::c_uint::try_from(from), libc::c_uint::try_from(to)) else {
            continue;
        };
        if from <= to {
            // SAFETY: what is closed was the launcher's; nothing of it is used here any more, and it is never dropped: see `_exit`.
            check(unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) })?;
        }
    }
    NOTHING.store(null.as_raw_fd(), Ordering::Relaxed);
    std::mem::forget(null);
    // The command is over, and something of it runs on: whoever reads its errors must not wait for this process.
    let action = SigAction::new(
        SigHandler::Handler(leave_errors),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    // SAFETY: the handler calls nothing but what a handler may call.
    unsafe { signal::sigaction(COMMAND_OVER, &action) }?;
    let over = SigSet::from(COMMAND_OVER);
    signal::sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&over), None)?;
    Ok(())
}

/// A descriptor that leads nowhere.
static NOTHING: AtomicI32 = AtomicI32::new(-1);

extern "C" fn leave_errors(_: libc::c_int) {
    // SAFETY: takes numbers alone; `dup2` may be called by handlers.
    unsafe { libc::dup2(NOTHING.load(Ordering::Relaxed), 2) };
}

fn tell(message: &str) {
    let _ = writeln!(io::stderr(), "defenseclaw: {message}");
}

struct Renewer {
    plan: Plan,
    /// Whether what comes into the project is covered, too.
    all: bool,
    stock: Stock,
    inotify: Inotify,
    /// What was closed, sealed or pinned when the sandbox was closed.
    known: BTreeMap<PathBuf, Duty>,
    /// By watch descriptor.
    folders: HashMap<i32, PathBuf>,
    new: usize,
    told: usize,
    cut: bool,
}

impl Renewer {
    fn new(mut plan: Plan, renew: Renew, stock: Stock, inotify: Inotify) -> Self {
        plan.closing.canonicalise();
        let of = |paths: &[PathBuf], duty: Duty| -> Vec<(PathBuf, Duty)> {
            paths.iter().map(|path| (path.clone(), duty)).collect()
        };
        let known = [
            of(&plan.pinned, Duty::Pin),
            of(&plan.reserved, Duty::Seal),
            of(&plan.sealed, Duty::Seal),
            of(&plan.sockets, Duty::Cover),
            of(&plan.closed, Duty::Cover),
        ];
        Self {
            known: known.into_iter().flatten().collect(),
            all: renew == Renew::All,
            plan,
            stock,
            inotify,
            folders: HashMap::new(),
            new: 0,
            told: 0,
            cut: false,
        }
    }

    /// Returns only if nothing can be heard any more.
    fn work(mut self) -> io::Error {
        // What came between the plan and the first watch is found here.
        self.enter(Path::new("/"));
        loop {
            match self.inotify.read_events() {
                Ok(events) => events.into_iter().for_each(|event| self.heard(event)),
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return errno.into(),
            }
        }
    }

    fn heard(&mut self, event: InotifyEvent) {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            // More came than the kernel keeps: whatever it was, it is there now.
            self.enter(Path::new("/"));
            return;
        }
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            self.folders.remove(&event.wd.as_raw());
            return;
        }
        let (Some(folder), Some(name)) = (self.folders.get(&event.wd.as_raw()), event.name) else {
            return;
        };
        let path = folder.join(name);
        let is_folder = event.mask.contains(AddWatchFlags::IN_ISDIR);
        if self.look_at(&path, is_folder, !is_folder) {
            self.enter(&path);
        }
    }

    /// Watches `top` and the folders below that matter, and does what is to be done in them.
    fn enter(&mut self, top: &Path) {
        let mut waiting = VecDeque::from([top.to_owned()]);
        while let Some(folder) = waiting.pop_front() {
            // First watched, then looked through: nothing comes in between.
            if !self.watch(&folder) {
                continue;
            }
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.flatten() {
                let Ok(kind) = entry.file_type() else { continue };
                let path = entry.path();
                if self.look_at(&path, kind.is_dir(), kind.is_socket()) {
                    waiting.push_back(path);
                }
            }
        }
    }

    fn watch(&mut self, folder: &Path) -> bool {
        if self.folders.len() >= MAX_WATCHED {
            self.cut(&format!("more than {MAX_WATCHED} folders hold what is closed"));
            return false;
        }
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_ONLYDIR
            | AddWatchFlags::IN_DONT_FOLLOW;
        match self.inotify.add_watch(folder, flags) {
            Ok(watch) => {
                // A folder that was moved is known by its new name from now on.
                self.folders.insert(watch.as_raw(), folder.to_owned());
                true
            }
            Err(nix::errno::Errno::ENOSPC) => {
                self.cut("this user has no more inotify watches (fs.inotify.max_user_watches)");
                false
            }
            // It went away, or this user cannot list it, nor can its programs.
            Err(_) => false,
        }
    }

    /// Does what is to be done at `path`; whether it is a folder whose inside matters.
    fn look_at(&mut self, path: &Path, is_folder: bool, may_be_socket: bool) -> bool {
        if let Some(duty) = self.duty(path, may_be_socket) {
            match self.perform(duty, path) {
                Ok(done) => self.new += usize::from(done && !self.known.contains_key(path)),
                Err(error) => self.failed(path, &error),
            }
            if duty == Duty::Cover {
                return false;
            }
        }
        is_folder && self.matters(path)
    }

    fn duty(&self, path: &Path, may_be_socket: bool) -> Option<Duty> {
        if let Some(duty) = self.known.get(path) {
            return Some(*duty);
        }
        if (self.all || !self.writable(path)) && self.plan.closes(path) {
            return Some(Duty::Cover);
        }
        (may_be_socket && self.bounds_socket(path)).then_some(Duty::CoverSocket)
    }

    /// Does it, unless it is done.
    fn perform(&self, duty: Duty, path: &Path) -> io::Result<bool> {
        let object = match Object::at(path) {
            Ok(object) => object,
            Err(error) if gone(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        // A link's target may be anything: the settings of a harness, say, which must not vanish because somebody made a link to them.
        if object.is_link || duty == Duty::CoverSocket && !object.is_socket {
            return Ok(false);
        }
        if self.new >= MAX_NEW && !self.known.contains_key(path) {
            return Err(io::Error::other(format!(
                "more than {MAX_NEW} such names have come"
            )));
        }
        let done = match duty {
            Duty::Cover | Duty::CoverSocket => object.cover(&self.stock),
            Duty::Seal => object.over_itself(true),
            Duty::Pin => object.over_itself(false),
        };
        match done {
            // It has been replaced again, of which we hear next.
            Err(error) if gone(&error) => Ok(false),
            other => other,
        }
    }

    fn writable(&self, path: &Path) -> bool {
        let under = |roots: &[PathBuf]| roots.iter().any(|root| path.starts_with(root));
        under(&self.plan.write) || under(&self.plan.private_tmp)
    }

    /// Whether a socket at `path` would be out of the sandbox for certain: its programs cannot make any there.
    fn bounds_socket(&self, path: &Path) -> bool {
        self.plan.bounds_sockets && !self.writable(path) && !self.plan.keeps_socket(path)
    }

    /// Whether something below `folder` is, or may come to be, closed or sealed.
    fn matters(&self, folder: &Path) -> bool {
        // Sorted by their parts: what lies below a folder comes right after it.
        let next = self.known.range(folder.to_owned()..).next();
        next.is_some_and(|(path, _)| path.starts_with(folder))
            || self.plan.places_to_close().any(|place| place.starts_with(folder))
            || self.all && searched(folder, &self.plan.project)
    }

    fn cut(&mut self, why: &str) {
        if !self.cut {
            self.cut = true;
            tell(&format!(
                "covers are not renewed everywhere in this sandbox: {why}"
            ));
        }
    }

    fn failed(&mut self, path: &Path, error: &io::Error) {
        self.told += 1;
        // With its control characters escaped: the command may have chosen it.
        match self.told.cmp(&MAX_TOLD) {
            std::cmp::Ordering::Less => {
                tell(&format!(
                    "{path:?} is not protected in this sandbox any more: {error}"
                ));
            }
            std::cmp::Ordering::Equal => tell("more is not protected any more; no further messages"),
            std::cmp::Ordering::Greater => {}
        }
    }
}

/// It went away, or neither we nor the sandbox's programs can get at it.
fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
    )
}
