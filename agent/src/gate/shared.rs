//! What the gate's threads share.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use defenseclaw_model::config::{Config, FailMode, GatePlace};
use defenseclaw_model::decision::Mode;
use defenseclaw_model::gate::{GateAnswer, GateQuestion, GateScope};
use defenseclaw_model::record::RecordBody;
use defenseclaw_model::wire::ToGateway;
use defenseclaw_places::Place;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::fanotify::Fanotify;

use super::copy::Stamp;
use super::places::{Governed, Inodes, Which};
use super::programs;

/// Most messages that wait for the agent's loop. It takes them within milliseconds; beyond, records are counted and questions fail.
const MAX_OUTGOING: usize = 4_096;

/// What the configuration says of the gate.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Longest time from the open to the answer.
    pub(crate) timeout: Duration,
    /// Whether what is blocked is moved away.
    pub(crate) quarantine: bool,
    observe: bool,
    observes: BTreeMap<String, bool>,
    fail: FailMode,
    fails: BTreeMap<String, FailMode>,
}

impl Settings {
    /// From the configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let own = config.connectors.iter();
        Self {
            timeout: Duration::from_millis(config.gate.timeout_ms),
            quarantine: config.gate.quarantine,
            observe: config.mode == Mode::Observe,
            observes: own
                .clone()
                .map(|(name, _)| (name.to_string(), config.mode_of(name) == Mode::Observe))
                .collect(),
            fail: config.gate.fail_mode.unwrap_or(config.fail_mode),
            fails: own
                .map(|(name, _)| {
                    let mode = config.gate.fail_mode.unwrap_or_else(|| config.fail_mode_of(name));
                    (name.to_string(), mode)
                })
                .collect(),
        }
    }

    /// Whether nothing of this connector's waits or is refused.
    pub(crate) fn observes(&self, connector: &str) -> bool {
        self.observes.get(connector).copied().unwrap_or(self.observe)
    }

    /// Whether an open goes on about which nobody could be asked.
    pub(crate) fn fails_open(&self, connector: &str) -> bool {
        self.fails.get(connector).copied().unwrap_or(self.fail) == FailMode::Open
    }
}

/// What the thread that answers opens is told.
#[derive(Debug)]
pub(crate) enum Tell {
    /// Everything in the folder is marked.
    Marked(u64),
    /// There is something that no open tells of.
    Look(Which),
    /// What came of a job.
    Done(Box<Done>),
    /// A question whose only answer is that it was read.
    Beat(u64),
    /// What waits is answered, and what comes goes on.
    Stop,
    /// Nothing comes any more.
    End,
}

/// The way to the thread that answers opens.
#[derive(Clone)]
pub(crate) struct Tells {
    sender: Sender<Tell>,
    wake: Arc<EventFd>,
}

impl Tells {
    /// Over a channel, with what wakes the thread.
    pub(crate) fn new(sender: Sender<Tell>, wake: Arc<EventFd>) -> Self {
        Self { sender, wake }
    }

    /// Tells it; whether it is still there.
    pub(crate) fn send(&self, tell: Tell) -> bool {
        self.sender.send(tell).is_ok() && self.wake.write(1).is_ok()
    }
}

/// What came of a job.
#[derive(Debug)]
pub(crate) struct Done {
    /// About what.
    pub(crate) which: Which,
    /// What.
    pub(crate) outcome: Outcome,
}

/// What came of a job.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was judged.
    Judged(Judged),
    /// Nobody could be asked, or not in time.
    Failed,
}

/// An artifact that was judged, as it was copied.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    /// Its files.
    pub(crate) stamps: HashMap<(u64, u64), Stamp>,
    /// The gateway's word.
    pub(crate) answer: GateAnswer,
    /// Under which revision of policy and lists.
    pub(crate) revision: u64,
    /// Whether it was taken out of the way.
    pub(crate) quarantined: bool,
    /// There was no scan, and the answer is about whatever is there until then.
    pub(crate) until: Option<std::time::Instant>,
}

impl Judged {
    /// Whether a file is in it, as it is now.
    pub(crate) fn knows(&self, stamp: &Stamp) -> bool {
        self.stamps.get(&stamp.file) == Some(stamp)
    }

    /// Whether an open goes on.
    pub(crate) fn allows(&self) -> bool {
        !self.answer.enforced || self.answer.action != defenseclaw_model::admission::AdmissionAction::Block
    }
}

/// What the agent's loop is to do.
#[derive(Debug)]
pub enum Outgoing {
    /// Send it.
    Frame(Box<ToGateway>),
    /// Ask; the process is the one whose open waits.
    Admit(u64, Box<GateQuestion>, u32),
    /// Record it.
    Record(Box<RecordBody>),
}

/// What is governed comes from these.
#[derive(Debug)]
pub(crate) struct Sources {
    table: Vec<Place>,
    own: Vec<GatePlace>,
    /// Homes, besides those that the gateway names.
    pub(crate) homes: Vec<PathBuf>,
    scope: Mutex<GateScope>,
    /// Projects in which a harness was started; the gateway has not named them yet.
    started: Mutex<VecDeque<PathBuf>>,
}

impl Sources {
    /// Without a word of the gateway yet.
    pub(crate) fn new(table: Vec<Place>, own: Vec<GatePlace>, homes: Vec<PathBuf>) -> Self {
        Self {
            table,
            own,
            homes,
            scope: Mutex::default(),
            started: Mutex::default(),
        }
    }

    /// All that is governed now.
    pub(crate) fn governed(&self) -> Governed {
        let mut scope = self.scope.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = started.iter().map(|path| path.to_string_lossy().into_owned());
        // The newest last: those of the gateway's are never crowded out.
        scope.projects = texts.chain(scope.projects).collect();
        Governed::new(&self.table, &self.own, &self.homes, &scope)
    }

    /// The gateway's word; the one before.
    pub(crate) fn replace(&self, scope: GateScope) -> GateScope {
        std::mem::replace(
            &mut *self.scope.lock().unwrap_or_else(PoisonError::into_inner),
            scope,
        )
    }

    /// Notes a project in which a harness starts; whether it was governed before.
    pub(crate) fn start(&self, project: &Path) -> bool {
        let named = self.scope.lock().unwrap_or_else(PoisonError::into_inner);
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if named.projects.iter().any(|known| Path::new(known) == project)
            || started.iter().any(|known| known == project)
        {
            return true;
        }
        if started.len() >= programs::MAX_PROJECTS {
            started.pop_front();
        }
        started.push_back(project.to_owned());
        false
    }
}

/// What is shared.
pub(crate) struct Shared {
    /// Where what is governed comes from.
    pub(crate) sources: Sources,
    /// Programs of harnesses, by device and inode.
    programs: RwLock<HashSet<(u64, u64)>>,
    /// The group.
    pub(crate) fan: Fanotify,
    /// The configuration's word.
    pub(crate) settings: Settings,
    /// Becomes readable when something is outgoing.
    pub(crate) outgoing_ready: EventFd,
    /// Whether the gateway is there.
    pub(crate) connected: AtomicBool,
    /// The revision of policy and lists.
    pub(crate) revision: AtomicU64,
    /// Rises with every change of what is governed.
    pub(crate) changes: AtomicU64,
    /// The gate ends: nobody waits any more.
    pub(crate) ends: Arc<AtomicBool>,
    governed: RwLock<Governed>,
    inodes: Mutex<Inodes>,
    marked: Mutex<HashSet<PathBuf>>,
    own: RwLock<HashSet<i32>>,
    outgoing: Mutex<VecDeque<Outgoing>>,
    asked: Mutex<HashMap<u64, SyncSender<GateAnswer>>>,
    /// Opens that were held, and that were refused, since the start.
    pub(crate) held: AtomicU64,
    /// Those refused.
    pub(crate) refused: AtomicU64,
    /// Those answered by the fail mode.
    pub(crate) failed: AtomicU64,
    /// The last beat that the thread that answers opens was asked for, and the last that it gave.
    pub(crate) asked_beat: AtomicU64,
    /// The one given.
    pub(crate) beat: AtomicU64,
}

impl Shared {
    /// For a group.
    pub(crate) fn new(fan: Fanotify, settings: Settings, sources: Sources) -> Result<Self, nix::Error> {
        Ok(Self {
            sources,
            programs: RwLock::default(),
            fan,
            settings,
            outgoing_ready: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
            connected: AtomicBool::new(false),
            revision: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            ends: Arc::default(),
            governed: RwLock::default(),
            inodes: Mutex::default(),
            marked: Mutex::default(),
            own: RwLock::default(),
            outgoing: Mutex::default(),
            asked: Mutex::default(),
            held: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            asked_beat: AtomicU64::new(0),
            beat: AtomicU64::new(0),
        })
    }

    /// What is governed.
    pub(crate) fn governed(&self) -> RwLockReadGuard<'_, Governed> {
        self.governed.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, to change.
    pub(crate) fn governed_mut(&self) -> RwLockWriteGuard<'_, Governed> {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.governed.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is a harness's program.
    pub(crate) fn is_program(&self, file: (u64, u64)) -> bool {
        let programs = self.programs.read().unwrap_or_else(PoisonError::into_inner);
        programs.contains(&file)
    }

    /// Notes a harness's program.
    pub(crate) fn program(&self, file: (u64, u64)) {
        let mut programs = self.programs.write().unwrap_or_else(PoisonError::into_inner);
        programs.insert(file);
    }

    /// Marked files.
    pub(crate) fn inodes(&self) -> MutexGuard<'_, Inodes> {
        self.inodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a marked file; `false` if there are too many that are still there.
    pub(crate) fn remember(&self, file: (u64, u64), path: &Path, most: usize) -> bool {
        let mut inodes = self.inodes();
        if inodes.len() >= most {
            let there = |path: &PathBuf, file: &(u64, u64)| {
                nix::sys::stat::lstat(path).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == *file)
            };
            inodes.retain(|file, path| there(path, file));
        }
        if inodes.len() >= most {
            return false;
        }
        inodes.insert(file, path.to_owned());
        true
    }

    /// Marked folders.
    pub(crate) fn marked(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calling thread's opens are answered at once: the gate must never wait for itself.
    pub(crate) fn is_own_thread(&self) {
        let own = nix::unistd::gettid().as_raw();
        self.own
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(own);
    }

    /// Whether that thread is one of the gate's.
    pub(crate) fn is_own(&self, thread: i32) -> bool {
        self.own
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&thread)
    }

    /// Hands something to the agent's loop; says whether there was room.
    pub(crate) fn send(&self, what: Outgoing) -> bool {
        let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        if outgoing.len() >= MAX_OUTGOING {
            return false;
        }
        outgoing.push_back(what);
        self.outgoing_ready.write(1).is_ok()
    }

    /// What the loop is to do.
    pub(crate) fn take(&self) -> VecDeque<Outgoing> {
        let _ = self.outgoing_ready.read(); // Nothing to read is no error.
        std::mem::take(&mut *self.outgoing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records that something went unseen.
    pub(crate) fn gap(&self, cause: &str, detail: &str) {
        tracing::warn!(cause, "{detail}");
        let body = RecordBody::Gap {
            cause: cause.into(),
            missing: None,
            detail: detail.into(),
        };
        // A full queue has told of itself by the records in it.
        let _ = self.send(Outgoing::Record(Box::new(body)));
    }

    /// Who waits for which answer.
    pub(crate) fn asked(&self) -> MutexGuard<'_, HashMap<u64, SyncSender<GateAnswer>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under what an answer was given: when it differs, the answer is found anew.
    pub(crate) fn epoch(&self) -> (u64, u64) {
        (self.revision(), self.changes.load(Ordering::Acquire))
    }

    /// Whether the gate ends.
    pub(crate) fn stopping(&self) -> bool {
        self.ends.load(Ordering::Acquire)
    }

    /// The revision now.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Where a marked file of that inode stands.
    pub(crate) fn path_of(&self, file: (u64, u64)) -> Option<PathBuf> {
        self.inodes().get(&file).cloned()
    }
}
