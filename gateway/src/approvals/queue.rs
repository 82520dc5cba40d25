//! The calls that wait, and how each comes to its one answer.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use defenseclaw_model::api::{Approval, ApprovalAnswer, Scope};
use defenseclaw_model::config::{ApprovalConfig, TimeoutAnswer};
use defenseclaw_model::ids::{CallId, SessionId};
use defenseclaw_model::record::{Draft, RecordBody};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::client;
use super::fingerprint::Fingerprint;
use super::grants::{ALWAYS_HERE_NS, Grant, Grants, GrantsError};
use crate::clock;
use crate::ledger_writer::{AppendError, Bundle, LedgerWriter};

/// Most calls that wait at once. Each holds its hook's connection, of which there are not many more.
const MAX_PENDING: usize = 128;
/// Most of one user's: never all of them, whatever sessions that user makes up.
const MAX_PENDING_OF_USER: usize = 96;
/// Most of one session: a harness that runs calls in parallel has tens.
const MAX_PENDING_OF_SESSION: usize = 32;
/// Longest text that a person is shown of a call (bytes). It was masked before it came here.
const MAX_TEXT: usize = 4 << 10;
/// Longest wait, whatever the configuration says: below the whole time that a connection may take.
const MAX_WAIT: Duration = Duration::from_secs(240);
/// How long a waiting call waits at a time for an answer that is being recorded.
const ANSWERING: Duration = Duration::from_millis(100);
/// What is kept of the harness's own time limit for everything but the wait: the answer's record, the way back.
const MARGIN: Duration = Duration::from_secs(2);

/// A call that a person is asked about. Every text is masked.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// The session.
    pub session: SessionId,
    /// The user who owns it.
    pub owner: u32,
    /// The call.
    pub call: CallId,
    /// The tool's name.
    pub tool: String,
    /// What the call is about.
    pub summary: String,
    /// Why it is not simply allowed.
    pub reason: String,
    /// The rule that decided.
    pub rule: String,
    /// What a grant would cover.
    pub fingerprint: Fingerprint,
    /// The folder in which it runs.
    pub cwd: Option<String>,
    /// When nobody can use an answer any more; see [`Approvals::deadline`].
    pub deadline: Instant,
}

/// What became of a call that waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How the wait ended.
    pub outcome: Outcome,
    /// For how long an approval holds.
    pub scope: Option<Scope>,
    /// Who answered.
    pub by_uid: Option<u32>,
    /// The approval's id; empty if the call never came to wait.
    pub approval: String,
}

/// How a wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A person allowed it.
    Approved,
    /// A person refused it.
    Denied,
    /// Nobody answered; the configuration says what then.
    TimedOut {
        /// Whether the call may run all the same.
        allowed: bool,
    },
    /// Its session ended, or its hook client is gone: nobody waits for the answer any more.
    Withdrawn,
    /// Nobody could be asked.
    NotAsked {
        /// Why, for a person.
        why: String,
    },
}

impl Answer {
    /// Whether the call may run.
    pub fn allows(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Approved | Outcome::TimedOut { allowed: true }
        )
    }

    /// In words, to go behind the policy's reason.
    pub fn words(&self) -> String {
        match (&self.outcome, self.by_uid) {
            (Outcome::Approved, Some(uid)) => format!("approved by user {uid}"),
            (Outcome::Approved, None) => "approved".into(),
            (Outcome::Denied, Some(uid)) => format!("refused by user {uid}"),
            (Outcome::Denied, None) => "refused".into(),
            (Outcome::TimedOut { allowed: true }, _) => {
                "nobody answered in time, and the configuration lets such calls run".into()
            }
            (Outcome::TimedOut { allowed: false }, _) => "nobody approved it in time".into(),
            (Outcome::Withdrawn, _) => "nobody waits for an answer any more".into(),
            (Outcome::NotAsked { why }, _) => format!("nobody could be asked: {why}"),
        }
    }
}

/// Why a person's answer was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// No call waits under that id.
    #[error("no call waits for approval {0:?}: it was answered, has timed out, or its session has ended")]
    Unknown(String),
    /// It cannot be made to hold for that long.
    #[error(
        "the call runs in no folder that is known, so that it cannot be approved for one; approve it for once or for the session"
    )]
    NoFolder,
    /// It could not be kept.
    #[error("{0}")]
    Grants(#[from] GrantsError),
    /// It could not be recorded, so that it was not given.
    #[error("the answer could not be recorded and was not given: {0}")]
    Ledger(#[from] AppendError),
    /// A part of the gateway failed inside.
    #[error("the gateway failed inside; please report this with its log")]
    Inside,
}

/// The queue, and the approvals that hold.
pub struct Approvals {
    config: ApprovalConfig,
    ledger: LedgerWriter,
    waiting: Mutex<BTreeMap<String, Waiting>>,
    grants: Arc<Mutex<Grants>>,
    names: RandomState,
    numbers: AtomicU64,
}

/// One call that waits.
struct Waiting {
    pending: Pending,
    asked_ns: u64,
    /// That it waits is in the ledger: nobody sees or answers it before.
    recorded: bool,
    answer: oneshot::Sender<Given>,
}

/// How a wait was ended from outside.
#[derive(Debug, Clone, Copy)]
enum Given {
    Answered { answer: ApprovalAnswer, by_uid: u32 },
    SessionEnded,
}

impl Approvals {
    /// An empty queue, with the grants that are kept in `grants_file`. A file that cannot be trusted grants nothing.
    pub fn new(config: &ApprovalConfig, ledger: LedgerWriter, grants_file: &Path) -> Self {
        let own_uid = nix::unistd::geteuid().as_raw();
        let grants = Grants::open(grants_file, own_uid).unwrap_or_else(|error| {
            tracing::error!("{error}");
            Grants::none(grants_file)
        });
        Self {
            config: config.clone(),
            ledger,
            waiting: Mutex::default(),
            grants: Arc::new(Mutex::new(grants)),
            names: RandomState::new(),
            numbers: AtomicU64::new(0),
        }
    }

    /// Until when a call may wait that arrived at `arrived`, where its harness waits `harness` for its hook.
    pub fn deadline(&self, arrived: std::time::Instant, harness: Duration) -> Instant {
        let configured = Duration::from_secs(self.config.timeout_s).min(MAX_WAIT);
        Instant::from_std(arrived) + configured.min(harness.saturating_sub(MARGIN))
    }

    /// The approval given earlier that covers such a call, if there is one.
    pub fn matches(
        &self,
        session: &SessionId,
        owner: u32,
        fingerprint: &Fingerprint,
        cwd: Option<&str>,
    ) -> Option<Grant> {
        lock(&self.grants)
            .matching(session, owner, fingerprint, cwd, clock::now_ns())
            .cloned()
    }

    /// Puts a call before a person and waits for what comes of it. Both are in the ledger when this returns.
    pub async fn ask(&self, pending: Pending) -> Answer {
        let pending = shortened(pending);
        let (session, call) = (pending.session.clone(), pending.call.clone());
        let (deadline, detail) = (pending.deadline, detail(&pending));
        let (id, mut given) = match self.enter(pending) {
            Ok(entered) => entered,
            Err(why) => return not_asked(String::new(), why),
        };
        // Taken out of the queue whatever happens to this future.
        let place = Place {
            queue: self,
            id: id.clone(),
        };
        let about = About {
            session,
            call,
            id: id.clone(),
        };
        if let Err(error) = self.record(&about, "requested", None, None, detail).await {
            return not_asked(id, format!("the request could not be recorded: {error}"));
        }
        if let Some(waiting) = lock(&self.waiting).get_mut(&id) {
            waiting.recorded = true;
        }
        let ended = loop {
            let ended = tokio::select! {
                biased;
                given = &mut given => break End::Given(given.ok()),
                () = client::gone() => End::Withdrawn("the hook client is gone"),
                () = tokio::time::sleep_until(deadline) => End::TimedOut,
            };
            if self.take(&id).is_some() {
                break ended;
            }
            // An operator took it in the same instant. The answer comes, or its place is filled again because it could not
            // be recorded.
            if let Ok(given) = tokio::time::timeout(ANSWERING, &mut given).await {
                break End::Given(given.ok());
            }
        };
        drop(place);
        self.concluded(about, ended).await
    }

    async fn concluded(&self, about: About, ended: End) -> Answer {
        let answer = |outcome, scope, by_uid| Answer {
            outcome,
            scope,
            by_uid,
            approval: about.id.clone(),
        };
        let (answer, state, why) = match ended {
            // Recorded by whoever took the answer, before it was given.
            End::Given(Some(Given::Answered {
                answer: given,
                by_uid,
            })) => {
                return if given.approve {
                    answer(Outcome::Approved, Some(given.scope), Some(by_uid))
                } else {
                    answer(Outcome::Denied, None, Some(by_uid))
                };
            }
            End::Given(Some(Given::SessionEnded)) => (
                answer(Outcome::Withdrawn, None, None),
                "withdrawn",
                "the session has ended",
            ),
            // Taken by an operator whose answer could not be recorded.
            End::Given(None) => (
                answer(Outcome::Withdrawn, None, None),
                "withdrawn",
                "an answer could not be recorded",
            ),
            End::Withdrawn(why) => (answer(Outcome::Withdrawn, None, None), "withdrawn", why),
            End::TimedOut => {
                let allowed = self.config.on_timeout == TimeoutAnswer::Allow;
                let why = if allowed {
                    "nobody answered in time; such calls run (approvals.on_timeout)"
                } else {
                    "nobody answered in time; such calls are refused (approvals.on_timeout)"
                };
                (
                    answer(Outcome::TimedOut { allowed }, None, None),
                    "timed_out",
                    why,
                )
            }
        };
        match self.record(&about, state, None, None, why.to_owned()).await {
            Ok(()) => answer,
            // A call that runs without anybody's word must at least be in the ledger.
            Err(error) => not_asked(
                about.id,
                format!("how the wait ended could not be recorded: {error}"),
            ),
        }
    }

    /// Takes a person's answer. The caller has made sure that this person may give it.
    pub async fn answer(
        &self,
        id: &str,
        answer: ApprovalAnswer,
        by_uid: u32,
    ) -> Result<Approval, AnswerError> {
        {
            let waiting = lock(&self.waiting);
            let found = waiting
                .get(id)
                .filter(|waiting| waiting.recorded)
                .ok_or_else(|| AnswerError::Unknown(id.to_owned()))?;
            if answer.approve && answer.scope == Scope::AlwaysHere && found.pending.cwd.is_none() {
                return Err(AnswerError::NoFolder);
            }
        }
        let taken = self.take(id).ok_or_else(|| AnswerError::Unknown(id.to_owned()))?;
        let about = About {
            session: taken.pending.session.clone(),
            call: taken.pending.call.clone(),
            id: id.to_owned(),
        };
        let shown = view(id, &taken);
        let (state, scope) = if answer.approve {
            ("approved", Some(answer.scope))
        } else {
            ("denied", None)
        };
        let said = detail(&taken.pending);
        if let Err(error) = self.record(&about, state, scope, Some(by_uid), said).await {
            self.put_back(id, taken);
            return Err(error.into());
        }
        let grant = answer
            .approve
            .then(|| grant(id, &taken, answer.scope, by_uid))
            .flatten();
        // Whoever waits is answered even where the grant cannot be kept: the call at hand was approved.
        let _ = taken.answer.send(Given::Answered { answer, by_uid });
        if let Some(grant) = grant {
            let grants = Arc::clone(&self.grants);
            tokio::task::spawn_blocking(move || lock(&grants).add(grant, clock::now_ns()))
                .await
                .map_err(|_| AnswerError::Inside)??;
        }
        Ok(shown)
    }

    /// Everything that waits, the oldest first.
    pub fn list(&self) -> Vec<Approval> {
        let mut list: Vec<_> = lock(&self.waiting)
            .iter()
            .filter(|(_, waiting)| waiting.recorded)
            .map(|(id, waiting)| view(id, waiting))
            .collect();
        list.sort_by_key(|approval| approval.asked_ns);
        list
    }

    /// One call that waits.
    pub fn get(&self, id: &str) -> Option<Approval> {
        lock(&self.waiting)
            .get(id)
            .filter(|waiting| waiting.recorded)
            .map(|waiting| view(id, waiting))
    }

    /// The approvals that hold for more than one call.
    pub fn grants(&self) -> Vec<Grant> {
        lock(&self.grants).list(clock::now_ns()).cloned().collect()
    }

    /// Takes back an approval that holds for more than one call. `None`: there is none of that id.
    pub async fn revoke(&self, id: &str, by_uid: u32) -> Result<Option<Grant>, AnswerError> {
        let (grants, wanted) = (Arc::clone(&self.grants), id.to_owned());
        let revoked = tokio::task::spawn_blocking(move || lock(&grants).revoke(&wanted))
            .await
            .map_err(|_| AnswerError::Inside)??;
        // What is allowed no longer needs no record to be safe: it is taken back whatever becomes of this.
        if let Some(grant) = &revoked {
            let body = RecordBody::Approval {
                approval: id.to_owned(),
                state: "revoked".into(),
                scope: Some(grant.scope.as_str().to_owned()),
                by_uid: Some(by_uid),
                detail: grant.summary.clone(),
            };
            let draft = Draft {
                time_ns: clock::now_ns(),
                session: Some(grant.session.clone()),
                call: None,
                body,
            };
            self.ledger.append(Bundle::one(draft)).await?;
        }
        Ok(revoked)
    }

    /// Withdraws the calls of a session that has ended, and forgets what was approved for it.
    pub fn session_ended(&self, session: &SessionId) {
        lock(&self.grants).session_ended(session);
        let mut waiting = lock(&self.waiting);
        let ended: Vec<_> = waiting
            .iter()
            .filter(|(_, waiting)| waiting.pending.session == *session)
            .map(|(id, _)| id.clone())
            .collect();
        for id in ended {
            if let Some(waiting) = waiting.remove(&id) {
                let _ = waiting.answer.send(Given::SessionEnded);
            }
        }
    }

    fn enter(&self, pending: Pending) -> Result<(String, oneshot::Receiver<Given>), String> {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= MAX_PENDING {
            return Err(format!("{MAX_PENDING} calls wait already"));
        }
        let of_user = waiting.values().filter(|one| one.pending.owner == pending.owner);
        if of_user.count() >= MAX_PENDING_OF_USER {
            return Err(format!("{MAX_PENDING_OF_USER} calls of this user wait already"));
        }
        let of_session = waiting
            .values()
            .filter(|one| one.pending.session == pending.session);
        if of_session.count() >= MAX_PENDING_OF_SESSION {
            return Err(format!(
                "{MAX_PENDING_OF_SESSION} calls of this session wait already"
            ));
        }
        let id = loop {
            let id = self.name();
            if !waiting.contains_key(&id) {
                break id;
            }
        };
        let (answer, given) = oneshot::channel();
        waiting.insert(
            id.clone(),
            Waiting {
                pending,
                asked_ns: clock::now_ns(),
                recorded: false,
                answer,
            },
        );
        Ok((id, given))
    }

    /// Eight hex digits: short to type, and not the ones of an earlier gateway's approval.
    fn name(&self) -> String {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}", self.names.hash_one(number) as u32)
    }

    fn take(&self, id: &str) -> Option<Waiting> {
        lock(&self.waiting).remove(id)
    }

    /// Unless nobody waits any more.
    fn put_back(&self, id: &str, taken: Waiting) {
        let mut waiting = lock(&self.waiting);
        if !taken.answer.is_closed() {
            waiting.insert(id.to_owned(), taken);
        }
    }

    async fn record(
        &self,
        about: &About,
        state: &str,
        scope: Option<Scope>,
        by_uid: Option<u32>,
        detail: String,
    ) -> Result<(), AppendError> {
        let body = RecordBody::Approval {
            approval: about.id.clone(),
            state: state.into(),
            scope: scope.map(|scope| scope.as_str().to_owned()),
            by_uid,
            detail,
        };
        let draft = Draft {
            time_ns: clock::now_ns(),
            session: Some(about.session.clone()),
            call: Some(about.call.clone()),
            body,
        };
        self.ledger.append(Bundle::one(draft)).await
    }
}

/// What an approval's records are about.
struct About {
    session: SessionId,
    call: CallId,
    id: String,
}

enum End {
    Given(Option<Given>),
    Withdrawn(&'static str),
    TimedOut,
}

/// A place in the queue; dropping it leaves the queue.
struct Place<'a> {
    queue: &'a Approvals,
    id: String,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.take(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_asked(approval: String, why: String) -> Answer {
    Answer {
        outcome: Outcome::NotAsked { why },
        scope: None,
        by_uid: None,
        approval,
    }
}

fn shortened(mut pending: Pending) -> Pending {
    for text in [&mut pending.tool, &mut pending.summary, &mut pending.reason] {
        if text.len() > MAX_TEXT {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
            text.push('…');
        }
    }
    pending
}

fn detail(pending: &Pending) -> String {
    format!("{} {}: {}", pending.tool, pending.summary, pending.reason)
}

fn view(id: &str, waiting: &Waiting) -> Approval {
    let pending = &waiting.pending;
    Approval {
        id: id.to_owned(),
        session: pending.session.clone(),
        owner: pending.owner,
        call: pending.call.clone(),
        tool: pending.tool.clone(),
        summary: pending.summary.clone(),
        reason: pending.reason.clone(),
        rule: pending.rule.clone(),
        cwd: pending.cwd.clone(),
        asked_ns: waiting.asked_ns,
        left_s: pending
            .deadline
            .saturating_duration_since(Instant::now())
            .as_secs(),
    }
}

/// What an approval leaves behind, if it holds for more than this call.
fn grant(id: &str, taken: &Waiting, scope: Scope, by_uid: u32) -> Option<Grant> {
    if scope == Scope::Once {
        return None;
    }
    let pending = &taken.pending;
    let now_ns = clock::now_ns();
    Some(Grant {
        id: id.to_owned(),
        scope,
        session: pending.session.clone(),
        owner: pending.owner,
        fingerprint: pending.fingerprint.clone(),
        cwd: pending.cwd.clone(),
        summary: format!("{} {}", pending.tool, pending.summary),
        rule: pending.rule.clone(),
        by_uid,
        given_ns: now_ns,
        until_ns: now_ns.saturating_add(ALWAYS_HERE_NS),
    })
}
