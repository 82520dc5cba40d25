//! The threads that find out: copy, scan, ask, take away. They may wait; the thread that answers opens does not wait for them.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use defenseclaw_model::admission::AdmissionAction;
use defenseclaw_model::gate::{
    GateAnswer, GateQuestion, GateScan, GatedArtifact, QuarantineEntry, QuarantineOutcome, QuarantineVerb,
    WorkerTask,
};
use defenseclaw_model::wire::ToGateway;
use nix::sys::stat::lstat;

use super::copy::{self, Copy, CopyError};
use super::places::Which;
use super::quarantine::{Quarantine, QuarantineError, new_id};
use super::scanner::Scanner;
use super::shared::{Done, Judged, Outcome, Outgoing, Shared, Tell, Tells};
use crate::kernel::proc;

/// Threads. Each may hold a copy in memory; more than a few at once only slow one another down.
pub(crate) const THREADS: usize = 3;
/// How long to wait for a file to become quiet before it is looked at again.
const AGAIN: Duration = Duration::from_millis(5);
/// For how long an answer holds that was given without a scan.
const UNSCANNED_FOR: Duration = Duration::from_secs(10);
/// Most bytes of reports that are kept, for when policy or lists change; beyond, all are forgotten and scanned again when opened.
const MAX_KEPT: usize = 16 << 20;
/// How often it is recorded that the same artifact could not be judged.
const RECORD_EVERY: Duration = Duration::from_secs(60);
/// Most artifacts of which that is remembered.
const MAX_RECORDED: usize = 1_000;

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Job {
    /// Find out whether an artifact may be used.
    Judge {
        /// Which.
        which: Which,
        /// The thread that opens it; 0 for none.
        opener: i32,
        /// Since when.
        begun: Instant,
        /// Until when.
        deadline: Instant,
        /// Whether an open waits.
        waits: bool,
    },
    /// An operator deals with what is in quarantine.
    Obey(u64, QuarantineVerb),
    /// The ledger holds an entry.
    Noted(String),
    /// The gateway is there: tell it what the ledger does not hold.
    Tell,
    /// Enough.
    Stop,
}

#[derive(Default)]
struct Queue {
    urgent: VecDeque<Job>,
    others: VecDeque<Job>,
}

/// A report, and what was answered to it.
struct Kept {
    json: Arc<str>,
    answer: GateAnswer,
    revision: u64,
}

/// What the threads share.
pub(crate) struct Jobs {
    shared: Arc<Shared>,
    queue: Mutex<Queue>,
    ready: Condvar,
    scanner: Scanner,
    state: PathBuf,
    quarantine: Mutex<Option<Quarantine>>,
    kept: Mutex<HashMap<([u8; 32], PathBuf), Kept>>,
    recorded: Mutex<HashMap<PathBuf, Instant>>,
    request: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Jobs {
    /// With nothing to do.
    pub(crate) fn new(shared: Arc<Shared>, scanner: Scanner, state: PathBuf) -> Self {
        Self {
            shared,
            queue: Mutex::default(),
            ready: Condvar::new(),
            scanner,
            state,
            quarantine: Mutex::default(),
            kept: Mutex::default(),
            recorded: Mutex::default(),
            request: AtomicU64::new(1),
        }
    }

    /// Adds a job. Those that an open waits for go first.
    pub(crate) fn push(&self, job: Job) {
        let mut queue = lock(&self.queue);
        match &job {
            Job::Judge { waits: false, .. } => queue.others.push_back(job),
            _ => queue.urgent.push_back(job),
        }
        self.ready.notify_one();
    }

    fn next(&self) -> Job {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(job) = queue.urgent.pop_front() {
                return job;
            }
            if let Some(job) = queue.others.pop_front() {
                return job;
            }
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Works until it is told to stop.
    pub(crate) fn run(&self, tells: &Tells) {
        self.shared.is_own_thread();
        self.scanner.warm_up();
        loop {
            match self.next() {
                Job::Judge {
                    which,
                    opener,
                    begun,
                    deadline,
                    ..
                } => {
                    let outcome = self.judge(&which, opener, begun, deadline);
                    let done = Box::new(Done { which, outcome });
                    if !tells.send(Tell::Done(done)) {
                        return;
                    }
                    self.scanner.warm_up();
                }
                Job::Obey(request, verb) => self.obey(request, &verb),
                Job::Noted(id) => {
                    if let Err(error) = self.store(|store| store.noted(&id)) {
                        tracing::warn!(id, %error, "a quarantine entry will be told again");
                    }
                }
                Job::Tell => self.tell_quarantined(),
                Job::Stop => return,
            }
        }
    }

    /// Does something with the store. It is opened when it is first needed: the state folder is the gateway's to make.
    fn store<T>(
        &self,
        does: impl FnOnce(&Quarantine) -> Result<T, QuarantineError>,
    ) -> Result<T, QuarantineError> {
        let mut store = lock(&self.quarantine);
        let store = match &mut *store {
            Some(store) => store,
            none => none.insert(Quarantine::open(&self.state)?),
        };
        does(store)
    }

    fn obey(&self, request: u64, verb: &QuarantineVerb) {
        let outcome = self.store(|store| Ok(store.obey(verb)));
        let outcome = outcome.unwrap_or_else(|error| QuarantineOutcome::Refused {
            reason: error.to_string(),
        });
        let frame = ToGateway::QuarantineDone { request, outcome };
        self.shared.send(Outgoing::Frame(Box::new(frame)));
    }

    fn tell_quarantined(&self) {
        let entries = self.store(|store| Ok(store.unnoted()));
        for entry in entries.unwrap_or_default() {
            let frame = ToGateway::Quarantined {
                entry: Box::new(entry),
            };
            self.shared.send(Outgoing::Frame(Box::new(frame)));
        }
    }

    fn judge(&self, which: &Which, opener: i32, begun: Instant, deadline: Instant) -> Outcome {
        if !self.shared.connected.load(Ordering::Acquire) {
            return self.failed(which, "the gateway is away");
        }
        let revision = self.shared.revision();
        // A fifth of the time is the gateway's.
        let scan_by = deadline - deadline.saturating_duration_since(begun) / 5;
        let program = proc::executable(u32::try_from(opener).unwrap_or_default());
        let Some(copied) = self.copied(which, scan_by) else {
            return Outcome::Failed;
        };
        let artifact = artifact(which, copied.as_ref().ok());
        let (scan, known) = match &copied {
            Err(error) => (
                GateScan::Failed {
                    reason: error.to_string(),
                },
                None,
            ),
            Ok(copied) => match self.known(which, copied.scanned) {
                Some((json, answer)) => (
                    GateScan::Report {
                        json: json.to_string(),
                    },
                    answer,
                ),
                None => (self.scan(which, copied, scan_by), None),
            },
        };
        let report = match &scan {
            GateScan::Report { json } => Some(Arc::<str>::from(json.as_str())),
            GateScan::Failed { .. } => None,
        };
        let answer = match known {
            Some(answer) => answer,
            None => {
                let question = GateQuestion {
                    artifact: artifact.clone(),
                    session: None,
                    opener: program,
                    scan,
                    scan_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
                };
                match self.ask(question, opener, deadline) {
                    Ok(answer) => answer,
                    Err(why) => return self.failed(which, why),
                }
            }
        };
        if let (Some(json), Ok(copied)) = (&report, &copied) {
            self.keep(which, copied.scanned, json, &answer, revision);
        }
        let scanned = report.is_some();
        self.judged(which, copied.ok(), artifact, answer, revision, scanned)
    }

    /// A copy, or why none can be made of it, as soon as nobody writes there; `None` if that does not come, or
    /// there is nothing.
    fn copied(&self, which: &Which, scan_by: Instant) -> Option<Result<Copy, CopyError>> {
        let mut restless = None;
        loop {
            match (copy::copy(&which.physical, scan_by), restless.take()) {
                (Err(CopyError::Unquiet(path)), _) | (Err(CopyError::Time(_)), Some(path))
                    if Instant::now() >= scan_by || self.shared.stopping() =>
                {
                    let path = path.display();
                    self.failed(
                        which,
                        &format!("{path} did not come to rest: somebody keeps it open for writing"),
                    );
                    return None;
                }
                (Err(CopyError::Unquiet(path)), _) => {
                    restless = Some(path);
                    std::thread::sleep(AGAIN);
                }
                (Err(CopyError::Gone(_)), _) => return None,
                (other, _) => return Some(other),
            }
        }
    }

    fn judged(
        &self,
        which: &Which,
        copied: Option<Copy>,
        artifact: GatedArtifact,
        answer: GateAnswer,
        revision: u64,
        scanned: bool,
    ) -> Outcome {
        let root = copied.as_ref().map(|copied| copied.root);
        let mut judged = Judged {
            stamps: copied
                .filter(|_| scanned)
                .map(|copied| {
                    copied
                        .stamps
                        .into_iter()
                        .map(|stamp| (stamp.file, stamp))
                        .collect()
                })
                .unwrap_or_default(),
            answer,
            revision,
            quarantined: false,
            until: (!scanned).then(|| Instant::now() + UNSCANNED_FOR),
        };
        let settings = &self.shared.settings;
        let moves = settings.quarantine && which.movable && !settings.observes(&which.connector);
        if moves && !judged.allows() && judged.answer.action == AdmissionAction::Block {
            judged.quarantined = self.take_away(which, artifact, &judged.answer, root);
        }
        Outcome::Judged(judged)
    }

    fn scan(&self, which: &Which, copied: &Copy, deadline: Instant) -> GateScan {
        let task = WorkerTask {
            kind: which.kind,
            name: which.name.clone(),
            path: which.path.to_string_lossy().into_owned(),
            connector: which.connector.clone(),
            package: None,
        };
        match self.scanner.scan(&task, &copied.memory, deadline) {
            Ok(json) => GateScan::Report { json },
            Err(error) => GateScan::Failed {
                reason: error.to_string(),
            },
        }
    }

    /// The report about this content at this place, and its answer if that still holds.
    fn known(&self, which: &Which, scanned: [u8; 32]) -> Option<(Arc<str>, Option<GateAnswer>)> {
        let kept = lock(&self.kept);
        let kept = kept.get(&(scanned, which.path.clone()))?;
        let holds = kept.revision == self.shared.revision();
        Some((kept.json.clone(), holds.then(|| kept.answer.clone())))
    }

    fn keep(&self, which: &Which, scanned: [u8; 32], json: &Arc<str>, answer: &GateAnswer, revision: u64) {
        let mut kept = lock(&self.kept);
        let bytes: usize = kept.values().map(|kept| kept.json.len()).sum();
        if bytes + json.len() > MAX_KEPT {
            kept.clear();
        }
        let new = Kept {
            json: json.clone(),
            answer: answer.clone(),
            revision,
        };
        kept.insert((scanned, which.path.clone()), new);
    }

    fn ask(
        &self,
        question: GateQuestion,
        opener: i32,
        deadline: Instant,
    ) -> Result<GateAnswer, &'static str> {
        let request = self.request.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = sync_channel(1);
        self.shared.asked().insert(request, sender);
        let pid = u32::try_from(opener).unwrap_or_default();
        let sent = self.shared.connected.load(Ordering::Acquire)
            && self
                .shared
                .send(Outgoing::Admit(request, Box::new(question), pid));
        let answer = if sent {
            let left = deadline.saturating_duration_since(Instant::now());
            receiver.recv_timeout(left).map_err(|error| match error {
                std::sync::mpsc::RecvTimeoutError::Timeout => "the gateway did not answer in time",
                std::sync::mpsc::RecvTimeoutError::Disconnected => "the gateway went away",
            })
        } else {
            Err("the gateway is away")
        };
        self.shared.asked().remove(&request);
        answer
    }

    /// Nobody could be asked: that is recorded, now and then.
    fn failed(&self, which: &Which, why: &str) -> Outcome {
        let mut recorded = lock(&self.recorded);
        let due = recorded
            .get(&which.path)
            .is_none_or(|at| at.elapsed() >= RECORD_EVERY);
        if due {
            if recorded.len() >= MAX_RECORDED {
                recorded.clear();
            }
            recorded.insert(which.path.clone(), Instant::now());
            let open = self.shared.settings.fails_open(&which.connector);
            let became = match (
                self.shared.settings.observes(&which.connector) || !which.holds,
                open,
            ) {
                (true, _) => "its opens go on, as always here",
                (false, true) => "its opens go on, as the fail mode says",
                (false, false) => "its opens are refused, as the fail mode says",
            };
            let path = which.path.display();
            self.shared.gap(
                "gate_unjudged",
                &format!("{path} was not judged: {why}; {became}"),
            );
        }
        Outcome::Failed
    }

    /// Moves it into quarantine; says whether it is gone from its place.
    fn take_away(
        &self,
        which: &Which,
        artifact: GatedArtifact,
        answer: &GateAnswer,
        root: Option<(u64, u64)>,
    ) -> bool {
        let Some((physical, file)) = stands(&which.path) else {
            return false;
        };
        // Of a link only the link is moved; anything else has to be what was copied.
        let is_link = lstat(&physical).is_ok_and(|stat| copy::kind(&stat) == nix::sys::stat::SFlag::S_IFLNK);
        if !is_link && root.is_some_and(|root| root != file) {
            return false;
        }
        let held = new_id().and_then(|id| {
            let entry = QuarantineEntry {
                id,
                artifact,
                time_ns: now_ns(),
                reason: answer.reason.clone(),
                severity: answer.severity,
                rules: answer.rules.clone(),
                held_at: String::new(),
            };
            self.store(|store| store.hold(entry, &physical, file))
        });
        match held {
            Ok(entry) => {
                tracing::warn!(id = entry.id, path = %which.path.display(), "taken into quarantine");
                let frame = ToGateway::Quarantined {
                    entry: Box::new(entry),
                };
                self.shared.send(Outgoing::Frame(Box::new(frame)));
                true
            }
            Err(error) => {
                let path = which.path.display();
                self.shared.gap(
                    "gate_quarantine",
                    &format!("{path} is refused and stays where it is: {error}"),
                );
                false
            }
        }
    }
}

/// Where an artifact stands, without links on the way to it, and what file that is.
fn stands(path: &Path) -> Option<(PathBuf, (u64, u64))> {
    let path = path.parent()?.canonicalize().ok()?.join(path.file_name()?);
    let stat = lstat(&path).ok()?;
    Some((path, (stat.st_dev, stat.st_ino)))
}

fn artifact(which: &Which, copied: Option<&Copy>) -> GatedArtifact {
    let owner = || lstat(&which.physical).map(|stat| stat.st_uid).unwrap_or_default();
    GatedArtifact {
        kind: which.kind,
        connector: which.connector.clone(),
        name: which.name.clone(),
        path: which.path.to_string_lossy().into_owned(),
        digest: copied.map(|copied| copied.digest.clone()).unwrap_or_default(),
        uid: copied.map_or_else(owner, |copied| copied.uid),
        files: copied.map_or(0, |copied| copied.files),
        bytes: copied.map_or(0, |copied| copied.bytes),
    }
}

/// Now, ns since the Unix epoch.
fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
