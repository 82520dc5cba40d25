//! The install gate: what lies in a governed place is opened by nobody before it was scanned and admitted.
//!
//! ```text
//! open ──fanotify──> opens ──known, unchanged──> allow or deny, at once
//!                      │ else held
//!                      ├─folder──> marks: everything new in it is marked, then allow
//!                      └─file────> jobs: copy ─> scanner (unprivileged) ─> gateway ─> answer, quarantine
//! ```
//!
//! The thread in `opens` answers and nothing else. Every held open has a deadline, and what is not known by then is answered by the
//! fail mode; when the agent ends, the kernel lets go on what waits.

pub mod canary;
pub mod copy;
mod intent;
mod jobs;
mod marks;
mod opens;
pub mod places;
pub mod programs;
pub mod quarantine;
pub mod scanner;
mod shared;
mod tree;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use defenseclaw_model::config::Config;
use defenseclaw_model::gate::{GateAnswer, GateScope, QuarantineVerb};
use defenseclaw_model::wire::{FamilyStatus, Tier};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};

use jobs::{Job, Jobs, THREADS};
use marks::{Marker, Request};
use opens::Opens;
use scanner::Scanner;
use shared::{Settings, Shared, Sources, Tell, Tells};

pub use shared::Outgoing;

/// The family's name in the agent's status.
pub const FAMILY: &str = "install";

/// How long the agent's start waits for the places that are there to be marked. They are held as they are marked.
const FIRST_MARKS: Duration = Duration::from_secs(10);

/// Why there is no gate.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The configuration says so.
    #[error("switched off (`gate.enabled: false`)")]
    Off,
    /// The kernel refused the group.
    #[error("the kernel gives no permission events (fanotify, CAP_SYS_ADMIN): {0}")]
    Group(nix::Error),
    /// The canary was not held.
    #[error("{0}")]
    Unproven(String),
    /// The table of places is broken.
    #[error("the table of places: {0}")]
    Places(#[from] defenseclaw_places::PlacesError),
    /// The system refused something else.
    #[error("{what}: {error}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        error: std::io::Error,
    },
}

/// What the gate is started with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The configuration.
    pub config: Config,
    /// Where the scanner may be; the first that is there is taken.
    pub scanners: Vec<PathBuf>,
    /// Homes to govern, besides those that the gateway names.
    pub homes: Vec<PathBuf>,
}

/// The gate, as the agent's loop holds it.
pub struct Gate {
    shared: Arc<Shared>,
    jobs: Arc<Jobs>,
    marker: Sender<Request>,
    marker_wake: Arc<EventFd>,
    tells: Tells,
    threads: Vec<JoinHandle<()>>,
}

fn wake() -> Result<Arc<EventFd>, GateError> {
    let made = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC);
    made.map(Arc::new).map_err(system("an event descriptor"))
}

fn system(what: &'static str) -> impl Fn(nix::Error) -> GateError {
    move |error| GateError::System {
        what,
        error: error.into(),
    }
}

impl Gate {
    /// Proves that opens can be held, and begins to.
    pub fn start(setup: Setup) -> Result<Self, GateError> {
        if !setup.config.gate.enabled {
            return Err(GateError::Off);
        }
        let table = defenseclaw_places::embedded()?;
        let fan = group()?;
        canary::prove(&fan, &setup.config.state).map_err(GateError::Unproven)?;
        prepare();
        let sources = Sources::new(table, setup.config.gate.places.clone(), setup.homes);
        let shared = Arc::new(
            Shared::new(fan, Settings::of(&setup.config), sources).map_err(system("an event descriptor"))?,
        );
        let scanner = Scanner::new(
            setup.scanners,
            setup.config.gate.scanner_user.clone(),
            shared.ends.clone(),
        );
        let jobs = Arc::new(Jobs::new(shared.clone(), scanner, setup.config.state.clone()));
        let (marker, requests) = channel();
        let (tells, told) = channel();
        let told_wake = wake()?;
        let mut gate = Self {
            shared,
            jobs,
            marker,
            marker_wake: wake()?,
            tells: Tells::new(tells, told_wake.clone()),
            threads: Vec::new(),
        };
        let (shared, jobs) = (gate.shared.clone(), gate.jobs.clone());
        let opens = Opens::new(
            shared.clone(),
            jobs.clone(),
            gate.marker.clone(),
            gate.marker_wake.clone(),
        );
        gate.thread("gate-opens", move || opens.run(&told, &told_wake))?;
        let mut marks = Marker::new(shared).map_err(system("inotify"))?;
        let (events, woken) = (gate.tells.clone(), gate.marker_wake.clone());
        gate.thread("gate-marks", move || {
            marks.begin(&events);
            marks.run(&requests, &woken, &events);
        })?;
        for _ in 0..THREADS {
            let (jobs, tells) = (jobs.clone(), gate.tells.clone());
            gate.thread("gate-job", move || jobs.run(&tells))?;
        }
        if gate.govern().recv_timeout(FIRST_MARKS).is_err() {
            tracing::warn!("the governed places are still being marked");
        }
        Ok(gate)
    }

    fn thread(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), GateError> {
        let work = move || {
            let _fatal = Fatal;
            work();
        };
        let started = std::thread::Builder::new().name(name.into()).spawn(work);
        let started = started.map_err(|error| GateError::System {
            what: "a thread of the gate",
            error,
        })?;
        self.threads.push(started);
        Ok(())
    }

    /// What is governed changed; the receiver hears when all of it is marked.
    fn govern(&self) -> Receiver<()> {
        let governed = self.shared.sources.governed();
        let (done, marked) = sync_channel(1);
        if self.marker.send(Request::Scope(governed, done)).is_ok() {
            let _ = self.marker_wake.write(1); // It fails only when 2^64 wakes wait.
        }
        marked
    }

    /// Becomes readable when the loop has something to do.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.shared.outgoing_ready.as_fd()
    }

    /// What the loop is to do.
    pub fn take(&self) -> VecDeque<Outgoing> {
        self.shared.take()
    }

    /// The gateway is there, and knows nothing yet of what went into quarantine while it was away.
    pub fn connected(&self) {
        self.shared.connected.store(true, Ordering::Release);
        self.jobs.push(Job::Tell);
    }

    /// The gateway went away: whoever waits for it waits no longer.
    pub fn disconnected(&self) {
        self.shared.connected.store(false, Ordering::Release);
        self.shared.asked().clear();
    }

    /// This program is a harness's: one like it is held from now on when it starts.
    pub fn program(&self, program: &Path) {
        if self.marker.send(Request::Program(program.to_owned())).is_ok() {
            let _ = self.marker_wake.write(1); // It fails only when 2^64 wakes wait.
        }
    }

    /// The gateway's answer.
    pub fn admitted(&self, request: u64, answer: GateAnswer) {
        if let Some(sender) = self.shared.asked().remove(&request) {
            let _ = sender.send(answer); // Whoever asked may have given up.
        }
    }

    /// The gateway says what is governed.
    pub fn scope(&self, scope: GateScope) {
        self.shared.revision.store(scope.revision, Ordering::Release);
        let before = self.shared.sources.replace(scope.clone());
        if (before.homes, before.projects) != (scope.homes, scope.projects) {
            drop(self.govern()); // Nobody waits for it.
        }
    }

    /// An operator deals with what is in quarantine.
    pub fn obey(&self, request: u64, verb: QuarantineVerb) {
        self.jobs.push(Job::Obey(request, verb));
    }

    /// The ledger holds a quarantine entry.
    pub fn noted(&self, id: String) {
        self.jobs.push(Job::Noted(id));
    }

    /// Whether opens of the files in this folder are held.
    pub fn watches(&self, folder: &Path) -> bool {
        self.shared.marked().contains(folder)
    }

    /// Whether the thread that answers opens has answered what it was asked the last time; it is asked again then.
    pub fn answers(&self) -> bool {
        let asked = self.shared.asked_beat.load(Ordering::Acquire);
        let answered = self.shared.beat.load(Ordering::Acquire) == asked;
        if answered {
            self.shared.asked_beat.store(asked + 1, Ordering::Release);
            self.tells.send(Tell::Beat(asked + 1));
        }
        answered
    }

    /// What is in force.
    pub fn family(&self) -> FamilyStatus {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        FamilyStatus {
            family: FAMILY.into(),
            tier: Tier::Fanotify,
            detail: format!(
                "an open was held and refused at the start; {} folders and {} files are marked, {} opens were held, {} refused, \
                 {} answered by the fail mode; while the agent is down nothing is held",
                self.shared.marked().len(),
                self.shared.inodes().len(),
                count(&self.shared.held),
                count(&self.shared.refused),
                count(&self.shared.failed)
            ),
        }
    }

    /// Answers what waits by the fail mode, and lets go.
    pub fn stop(mut self) {
        self.disconnected();
        self.shared.ends.store(true, Ordering::Release);
        self.tells.send(Tell::Stop);
        let _ = self.marker.send(Request::Stop); // A thread that has ended has nothing to be told.
        (0..THREADS).for_each(|_| self.jobs.push(Job::Stop));
        let _ = self.marker_wake.write(1);
        // The first thread answers the others' opens until they have ended.
        let answers = self.threads.remove(0);
        let join = |thread: JoinHandle<()>| thread.join().unwrap_or_default();
        self.threads.drain(..).for_each(join);
        self.tells.send(Tell::End);
        join(answers);
    }
}

/// Ends the agent when a thread of the gate fails: the kernel then lets go on whoever waits, who otherwise would wait for ever.
struct Fatal;

impl Drop for Fatal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "a thread of the gate failed; the agent ends, so that nobody's open waits for ever"
            );
            std::process::abort();
        }
    }
}

/// What is said where there is no gate.
pub fn absent(error: &GateError) -> FamilyStatus {
    FamilyStatus {
        family: FAMILY.into(),
        tier: Tier::None,
        detail: error.to_string(),
    }
}

fn group() -> Result<Fanotify, GateError> {
    let flags = InitFlags::FAN_CLASS_CONTENT
        | InitFlags::FAN_CLOEXEC
        | InitFlags::FAN_NONBLOCK
        // Bounded by what can wait in a system call at once, and by the gate's own bounds on marks.
        | InitFlags::FAN_UNLIMITED_QUEUE
        | InitFlags::FAN_UNLIMITED_MARKS
        | InitFlags::FAN_REPORT_TID;
    // The descriptor of a FIFO must not wait for its other end.
    let opened =
        EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC | EventFFlags::O_NONBLOCK | EventFFlags::O_NOATIME;
    Fanotify::init(flags, opened | EventFFlags::O_LARGEFILE).map_err(GateError::Group)
}

fn prepare() {
    // Every open that waits holds a descriptor.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most); // What cannot be raised is as it was: fewer opens can wait.
    }
    // Whoever opens a file for writing that is being copied breaks its lease, and the kernel says so by this signal.
    // SAFETY: no handler is installed: the signal is ignored.
    let _ = unsafe { signal(Signal::SIGIO, SigHandler::SigIgn) };
}
