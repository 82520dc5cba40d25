//! The gateway's side of the install gate: whether an artifact may be used, and what becomes of it.
//!
//! | Module | Holds |
//! |---|---|
//! | `judge` | the agent's question answered: report, signature, policy |
//! | `known` | the last answer about each path; what is in quarantine |
//! | [`lists`] | what operators allow and block at run time |
//! | `origin` | where an artifact comes from, as far as that is known |
//! | [`quarantine`] | what operators do with what was taken away |
//! | `report` | a scanner's report, brought within bounds |
//! | `scope` | homes and projects that are governed |
//!
//! ```text
//! agent: something in a governed place is opened ─ copy, scan ─ Admit ─> judge ─> ledger ─> Admitted
//! ```
//!
//! An answer is given once its record is in the ledger. What cannot be recorded, asked or scanned is answered by the gate's fail mode.

mod judge;
mod known;
pub mod lists;
mod origin;
pub mod quarantine;
pub(crate) mod report;
mod scope;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use defenseclaw_audit::LedgerError;
use defenseclaw_model::admission::AdmissionAction;
use defenseclaw_model::api::GateStatus;
use defenseclaw_model::config::{Config, FailMode};
use defenseclaw_model::decision::Severity;
use defenseclaw_model::gate::{
    GateAnswer, GateQuestion, LastAdmission, ListEntry, ListVerb, QuarantineEntry,
};
use defenseclaw_model::record::{Draft, RecordBody};
use defenseclaw_model::wire::{Tier, ToAgent};
use defenseclaw_policy::RefusedArtifact;

use crate::agent::AgentLink;
use crate::clock;
use crate::ledger_writer::{AppendError, Bundle, LedgerWriter};
use crate::redact;
use crate::rules::RulesInForce;
use judge::{Judged, Setting};
use known::Known;
pub(crate) use known::used;
pub use lists::ListsError;
pub use quarantine::QuarantineError;
use scope::Scope;

/// The action family under which the agent tells what holds opens.
const FAMILY: &str = "install";

/// Everything that the gate needs of the gateway.
pub struct Admissions {
    config: Config,
    rules: Arc<RulesInForce>,
    ledger: LedgerWriter,
    link: Arc<AgentLink>,
    known: Mutex<Known>,
    scope: Mutex<Scope>,
    /// One change of the lists at a time.
    changing: tokio::sync::Mutex<()>,
    /// One word about an entry of quarantine at a time, so that it is recorded once.
    moving: tokio::sync::Mutex<()>,
    /// One answer at a time goes into the ledger and becomes what is known.
    answering: tokio::sync::Mutex<()>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    allowed: AtomicU64,
    warned: AtomicU64,
    blocked: AtomicU64,
    unscanned: AtomicU64,
}

impl Admissions {
    /// Reads from the ledger what was answered before.
    pub fn start(
        config: &Config,
        rules: Arc<RulesInForce>,
        ledger: LedgerWriter,
        link: Arc<AgentLink>,
    ) -> Result<Self, LedgerError> {
        let known = Known::rebuild(ledger.path())?;
        let mut scope = Scope::default();
        scope.changed(clock::now_ns());
        Ok(Self {
            config: config.clone(),
            rules,
            ledger,
            link,
            known: Mutex::new(known),
            scope: Mutex::new(scope),
            changing: tokio::sync::Mutex::default(),
            moving: tokio::sync::Mutex::default(),
            answering: tokio::sync::Mutex::default(),
            counts: Counts::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scope(&self) -> MutexGuard<'_, Scope> {
        self.scope.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the agent's question. The answer is in the ledger before this returns it.
    pub async fn admit(&self, question: GateQuestion) -> GateAnswer {
        let connector = question.artifact.connector.clone();
        let rules = self.rules.current();
        let (enforced, fail_mode) = (self.enforces(&connector), self.fail_mode(&connector));
        let (work, judging) = (question.clone(), Arc::clone(&rules));
        let now_ns = clock::now_ns();
        // A report may have megabytes.
        let judged = tokio::task::spawn_blocking(move || {
            let setting = Setting {
                policy: &judging.policy,
                enforced,
                fail_mode,
                now_ns,
            };
            judge::judge(&setting, &work)
        });
        let setting = Setting {
            policy: &rules.policy,
            enforced,
            fail_mode,
            now_ns,
        };
        let judged = judged.await.unwrap_or_else(|error| {
            tracing::error!("an admission failed inside; please report this: {error}");
            setting.by_fail_mode("the gateway failed inside while it decided", Severity::None)
        });
        let last = LastAdmission {
            time_ns: now_ns,
            artifact: question.artifact.clone(),
            answer: judged.answer.clone(),
            policy: judged.policy.clone(),
            signed_by: judged.signed_by.clone(),
            unscanned: judged.unscanned.clone(),
        };
        // One after the other, so that what is known here is what the ledger's last word is.
        let _turn = self.answering.lock().await;
        if let Err(error) = self.ledger.append(records(question, judged, now_ns)).await {
            return self.unrecorded(&setting, last.answer, &error);
        }
        self.count(&last);
        let answer = last.answer.clone();
        self.known().answered(last);
        answer
    }

    /// What is not in the ledger is not given out, but a refusal stands: a full disk must not open what the policy closes.
    fn unrecorded(&self, setting: &Setting<'_>, answer: GateAnswer, error: &AppendError) -> GateAnswer {
        if answer.action == AdmissionAction::Block {
            return answer;
        }
        let why = format!("its admission could not be recorded: {error}");
        setting.by_fail_mode(&why, answer.severity).answer
    }

    fn count(&self, last: &LastAdmission) {
        let counter = match last.answer.action {
            AdmissionAction::Allow => &self.counts.allowed,
            AdmissionAction::Warn => &self.counts.warned,
            AdmissionAction::Block => &self.counts.blocked,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if last.unscanned.is_some() {
            self.counts.unscanned.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn enforces(&self, connector: &str) -> bool {
        self.config.mode_of(connector).enforces()
    }

    fn fail_mode(&self, connector: &str) -> FailMode {
        let own = self.config.gate.fail_mode;
        own.unwrap_or_else(|| self.config.fail_mode_of(connector))
    }

    /// Records that something went into quarantine, once; gives whether the ledger has it.
    pub async fn quarantined(&self, entry: QuarantineEntry) -> bool {
        let _turn = self.moving.lock().await;
        if self.known().has_entry(&entry.id) {
            return true;
        }
        let id = entry.id.clone();
        match self.record_move(entry, known::HELD, None).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!("that {id} went into quarantine could not be recorded: {error}");
                false
            }
        }
    }

    async fn record_move(
        &self,
        entry: QuarantineEntry,
        state: &str,
        by_uid: Option<u32>,
    ) -> Result<(), AppendError> {
        let id = entry.id.clone();
        let body = RecordBody::Quarantine {
            entry,
            state: state.to_owned(),
            by_uid,
        };
        self.ledger.append(Bundle::one(alone(body))).await?;
        self.known().moved(&id, state);
        Ok(())
    }

    /// A session works in that folder: its project's places, and its home's, are governed from now on.
    pub async fn saw(&self, uid: u32, cwd: Option<&str>, home: Option<&str>) {
        let (cwd, home) = (
            cwd.unwrap_or_default().to_owned(),
            home.unwrap_or_default().to_owned(),
        );
        if (cwd.is_empty() && home.is_empty()) || !self.scope().is_new(uid, &cwd, &home) {
            return;
        }
        // A folder may lie on a network that does not answer: then it is this session that waits.
        let found = tokio::task::spawn_blocking(move || scope::look_up(uid, &cwd, &home)).await;
        if let Ok(found) = found {
            let mut scope = self.scope();
            if scope.take(found) {
                self.tell(&scope);
            }
        }
    }

    /// Policy or rules were replaced: everything that was admitted is asked again.
    pub fn rules_changed(&self) {
        let mut scope = self.scope();
        scope.changed(clock::now_ns());
        self.tell(&scope);
    }

    /// Tells an agent that has just connected what is governed.
    pub fn welcome(&self) {
        self.tell(&self.scope());
    }

    /// Told while the scope is held, so that the agent hears of changes in their order.
    fn tell(&self, scope: &Scope) {
        self.link.tell(&ToAgent::GateScope { scope: scope.frame() });
    }

    /// What a call must be kept from, because nothing holds its opens: empty while an agent is connected.
    pub fn refused(&self) -> Arc<[RefusedArtifact]> {
        if self.link.connected() || !self.config.gate.enabled {
            return Arc::default();
        }
        self.known().refused()
    }

    /// The last answer about each path.
    pub fn artifacts(&self) -> Vec<LastAdmission> {
        self.known().list()
    }

    /// The entries of the lists that operators change.
    pub fn listed(&self) -> Vec<ListEntry> {
        self.rules.kept()
    }

    /// Changes a list: checked, written, recorded, and only then in force.
    pub async fn change_lists(&self, verb: ListVerb, by_uid: u32) -> Result<ListEntry, ListsError> {
        let _turn = self.changing.lock().await;
        let (rules, path) = (Arc::clone(&self.rules), self.lists_file());
        let now_ns = clock::now_ns();
        let before = rules.kept();
        let old = before.clone();
        let change = blocking(move || {
            let change = lists::changed(&old, &verb, owner(by_uid), by_uid, now_ns)?;
            // Whatever the policy would not take is refused before anything is written.
            rules
                .check_kept(&change.entries)
                .map_err(|error| ListsError::Verb(error.to_string()))?;
            lists::store(&path, &change.entries)?;
            Ok(change)
        })
        .await?;
        let body = RecordBody::ListChange {
            list: change.entry.list.as_str().to_owned(),
            state: change.state.to_owned(),
            entry: serde_json::to_value(&change.entry).unwrap_or_default(),
            by_uid: Some(by_uid),
        };
        if let Err(error) = self.ledger.append(Bundle::one(alone(body))).await {
            let path = self.lists_file();
            blocking(move || lists::store(&path, &before)).await?;
            return Err(ListsError::Verb(format!(
                "it could not be recorded, and was not done: {error}"
            )));
        }
        let rules = Arc::clone(&self.rules);
        blocking(move || {
            rules
                .relist(change.entries)
                .map_err(|error| ListsError::Verb(error.to_string()))
        })
        .await?;
        if change.state == "added" {
            self.known().listed(&change.entry, clock::now_ns());
        }
        self.rules_changed();
        Ok(change.entry)
    }

    fn lists_file(&self) -> PathBuf {
        self.config.state.join(lists::FILE)
    }

    /// What `status` says of the gate.
    pub fn status(&self) -> GateStatus {
        let agent = self.link.status();
        let family =
            agent.and_then(|agent| agent.families.into_iter().find(|family| family.family == FAMILY));
        let (tier, detail) = match family {
            _ if !self.config.gate.enabled => (Tier::None, "switched off in the configuration (gate.enabled)".to_owned()),
            Some(family) => (family.tier, family.detail),
            None if self.link.connected() => (Tier::None, "the agent has no install gate".to_owned()),
            None => (
                Tier::None,
                "no agent is connected: nothing is scanned, and only calls that name what was refused before are kept from it"
                    .to_owned(),
            ),
        };
        let (blocked_paths, quarantined) = self.known().counts();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        GateStatus {
            tier,
            detail,
            allowed: read(&self.counts.allowed),
            warned: read(&self.counts.warned),
            blocked: read(&self.counts.blocked),
            unscanned: read(&self.counts.unscanned),
            blocked_paths,
            quarantined,
            listed: self.rules.kept().len() as u64,
            projects: self.scope().projects() as u64,
        }
    }
}

/// The admission and what was found, each finding about it.
fn records(question: GateQuestion, judged: Judged, time_ns: u64) -> Bundle {
    let session = question.session;
    let draft = |body| Draft {
        time_ns,
        session: session.clone(),
        call: None,
        body,
    };
    let mut bundle = Bundle::one(draft(RecordBody::Admission {
        artifact: question.artifact,
        opener: redact::tool(&question.opener),
        answer: judged.answer,
        policy: judged.policy,
        signed_by: judged.signed_by,
        unscanned: judged.unscanned,
        scan_ms: question.scan_ms,
    }));
    for mut finding in judged.findings {
        redact::finding(&mut finding);
        bundle.push_about(
            draft(RecordBody::Finding {
                finding,
                about_seq: None,
            }),
            0,
        );
    }
    bundle
}

/// A record that belongs to no session.
fn alone(body: RecordBody) -> Draft {
    Draft {
        time_ns: clock::now_ns(),
        session: None,
        call: None,
        body,
    }
}

/// Who answers for what that user does, as the system knows them.
fn owner(uid: u32) -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
    match user {
        Ok(Some(user)) => format!("user {}", user.name),
        _ => format!("user {uid}"),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ListsError> + Send + 'static,
) -> Result<T, ListsError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!("a change of the lists failed inside; please report this: {error}");
        Err(ListsError::Verb(
            "the gateway failed inside; please report this with its log".to_owned(),
        ))
    })
}
