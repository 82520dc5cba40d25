//! What becomes of each bundle: refused, held, or put in force.

use std::sync::{Arc, Mutex, PoisonError};

use defenseclaw_artifact::{BundleTerms, OpenedBundle, TrustedKeys, open_bundle};
use defenseclaw_inspect::Rules;
use defenseclaw_model::api::{BundleAnswer, BundleInForce, BundleStatus};
use defenseclaw_model::config::BundleConfig;
use defenseclaw_model::record::{Draft, RecordBody};
use defenseclaw_policy::BundleFiles;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::origin::{Found, Origin};
use super::store::{Remembered, Store, accepted_before};
use super::{BundleFault, Kept};
use crate::clock;
use crate::ledger_writer::{Bundle, LedgerWriter};
use crate::rules::RulesInForce;

/// How far ahead of this host's clock a bundle may have been signed (seconds): clocks differ by minutes, not by days.
const MAX_AHEAD_S: u64 = 3600;
/// Longest reason or detail in a record (bytes).
const MAX_TEXT: usize = 1000;

/// The bundle that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InForce {
    pub(super) revision: u64,
    pub(super) content: String,
    signer: String,
    expires_s: u64,
    /// Digest of the whole file, its terms too.
    whole: [u8; 32],
}

impl InForce {
    pub(super) fn of(opened: &OpenedBundle<'_>, bytes: &[u8]) -> Self {
        Self {
            revision: opened.terms.revision,
            content: opened.content.clone(),
            signer: opened.signer.clone(),
            expires_s: opened.terms.expires_s,
            whole: whole(bytes),
        }
    }
}

fn whole(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// What became of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Accepted(String),
    Renewed,
    Unchanged,
    Held(String),
    Refused(String),
    Unavailable(String),
}

impl Outcome {
    pub(super) fn state(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Renewed => "renewed",
            Self::Unchanged => "unchanged",
            Self::Held(_) => "held",
            Self::Refused(_) => "refused",
            Self::Unavailable(_) => "unavailable",
        }
    }

    fn detail(&self) -> &str {
        match self {
            Self::Accepted(text) | Self::Held(text) | Self::Refused(text) | Self::Unavailable(text) => text,
            Self::Renewed | Self::Unchanged => "",
        }
    }
}

/// What a bundle's terms come to, before its archive is looked at.
enum Weighed {
    New,
    Renews,
    Said(Outcome),
}

/// What is known of a bundle whose signature holds, for its record.
#[derive(Debug, Clone)]
struct About {
    revision: u64,
    signer: String,
    content: String,
}

/// Everything of the thread.
pub(super) struct Keeper {
    config: BundleConfig,
    origin: Origin,
    keys: TrustedKeys,
    store: Store,
    rules: Arc<RulesInForce>,
    ledger: LedgerWriter,
    runtime: Handle,
    changed: Box<dyn Fn() + Send>,
    remembered: Remembered,
    in_force: Option<InForce>,
    complaint: Option<String>,
    /// What the server calls the one in force.
    etag: Option<String>,
    /// The bundle that could not be put in force last, and why: it is not tried again and again.
    broken: Option<(String, String)>,
    /// What was recorded last, so that the same is recorded once.
    told: String,
    told_expired: bool,
    status: Arc<Mutex<BundleStatus>>,
}

impl Keeper {
    pub(super) fn new(
        kept: Kept,
        rules: Arc<RulesInForce>,
        ledger: LedgerWriter,
        runtime: Handle,
        status: Arc<Mutex<BundleStatus>>,
        changed: Box<dyn Fn() + Send>,
    ) -> Self {
        let in_force = kept.last.map(|(now, _)| now);
        let mut keeper = Self {
            etag: kept.remembered.etag.clone().filter(|_| in_force.is_some()),
            config: kept.config,
            origin: kept.origin,
            keys: kept.keys,
            store: kept.store,
            rules,
            ledger,
            runtime,
            changed,
            remembered: kept.remembered,
            in_force,
            complaint: kept.complaint,
            broken: None,
            told: String::new(),
            told_expired: false,
            status,
        };
        keeper.remember_ledger();
        keeper.publish(None);
        keeper
    }

    /// The ledger knows what was accepted even where the state folder's file is gone.
    fn remember_ledger(&mut self) {
        match accepted_before(self.ledger.path()) {
            Ok(accepted) => accepted
                .iter()
                .for_each(|(group, revision, content)| self.remembered.accepted(group, *revision, content)),
            Err(error) => {
                tracing::error!("which bundles were accepted cannot be read from the ledger: {error}")
            }
        }
    }

    /// Before the first look: says what became of the last good bundle.
    pub(super) fn begin(&mut self) {
        if let Some(why) = self.complaint.take() {
            let why = format!("the last good bundle is no longer in force: {why}");
            self.told_once(&Outcome::Refused(why), None, None);
        }
    }

    /// Looks for a bundle and does with it what it deserves. `by_uid`: who asked for it.
    pub(super) fn look(&mut self, by_uid: Option<u32>) -> BundleAnswer {
        if by_uid.is_some() {
            self.broken = None;
        }
        // Who asks wants to see the bundle judged, not that it is the same.
        let etag = self.etag.clone().filter(|_| by_uid.is_none());
        let (outcome, about) = match self.origin.look(etag.as_deref()) {
            Ok(Found::Unchanged) => (Outcome::Unchanged, None),
            Ok(Found::Bytes { bytes, etag }) => self.judge(&bytes, etag, by_uid),
            Err(fault) => (Outcome::Unavailable(fault.to_string()), None),
        };
        self.told_once(&outcome, about, by_uid);
        self.tell_expiry();
        self.publish(Some(&outcome));
        self.answer(outcome.state(), outcome.detail())
    }

    fn answer(&self, state: &str, detail: &str) -> BundleAnswer {
        BundleAnswer {
            state: state.to_owned(),
            detail: detail.to_owned(),
            status: self.status.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn judge(&mut self, bytes: &[u8], etag: Option<String>, by_uid: Option<u32>) -> (Outcome, Option<About>) {
        let keys = self.keys.clone();
        let opened = match open_bundle(bytes, &keys) {
            Ok(opened) => opened,
            Err(why) => return (Outcome::Refused(why.to_string()), None),
        };
        let about = Some(About {
            revision: opened.terms.revision,
            signer: opened.signer.clone(),
            content: opened.content.clone(),
        });
        let outcome = match self.weigh(&opened, &whole(bytes), clock::now_ns() / 1_000_000_000) {
            Weighed::Said(outcome) => outcome,
            Weighed::Renews => self.renew(&opened, bytes).unwrap_or_else(not_kept),
            Weighed::New => self.take_up(&opened, bytes, etag.as_deref(), by_uid),
        };
        if matches!(
            outcome,
            Outcome::Accepted(_) | Outcome::Renewed | Outcome::Unchanged
        ) {
            self.etag = etag;
        }
        (outcome, about)
    }

    /// What its terms come to.
    fn weigh(&self, opened: &OpenedBundle<'_>, whole: &[u8; 32], now_s: u64) -> Weighed {
        let refused = |why: String| Weighed::Said(Outcome::Refused(why));
        let held = |why: String| Weighed::Said(Outcome::Held(why));
        let BundleTerms {
            group,
            ring,
            revision,
            issued_s,
            expires_s,
        } = &opened.terms;
        if *group != self.config.group {
            let own = &self.config.group;
            return refused(format!(
                "it is for the group {group:?}, and this host belongs to {own:?}"
            ));
        }
        if let Some(now) = self.in_force.as_ref().filter(|now| now.content == opened.content)
            && now.revision == *revision
            && (now.whole == *whole || (*expires_s <= now.expires_s && !opened.terms.is_expired(now_s)))
        {
            return Weighed::Said(Outcome::Unchanged);
        }
        if opened.terms.is_expired(now_s) {
            return refused(format!("its revision {revision} has expired: sign a newer one"));
        }
        if *issued_s > now_s.saturating_add(MAX_AHEAD_S) {
            return refused(
                "it was signed in the future: see to this host's clock, or to the signer's".to_owned(),
            );
        }
        if self
            .in_force
            .as_ref()
            .is_some_and(|now| now.content == opened.content && now.revision == *revision)
        {
            return Weighed::Renews;
        }
        if let Some(highest) = self.remembered.highest.get(group) {
            let known = highest.revision;
            if *revision < known {
                return refused(format!(
                    "it would go back: its revision is {revision}, and {known} was accepted before"
                ));
            }
            if *revision == known && highest.content != opened.content {
                return refused(format!(
                    "another bundle had the revision {revision}: a change needs a higher one"
                ));
            }
        }
        if self.remembered.set_aside.as_ref() == Some(&opened.content) {
            return held(format!(
                "an operator went back from revision {revision}: a higher one is waited for"
            ));
        }
        if *ring < self.config.ring {
            let own = self.config.ring;
            return held(format!(
                "revision {revision} is for rings up to {ring}, and this host is in {own}"
            ));
        }
        Weighed::New
    }

    /// The bundle in force, signed for longer.
    fn renew(&mut self, opened: &OpenedBundle<'_>, bytes: &[u8]) -> Result<Outcome, BundleFault> {
        self.store.renew(bytes)?;
        self.in_force = Some(InForce::of(opened, bytes));
        self.told_expired = false;
        Ok(Outcome::Renewed)
    }

    /// Tries a bundle, keeps it, records it, and puts it in force, in this order.
    fn take_up(
        &mut self,
        opened: &OpenedBundle<'_>,
        bytes: &[u8],
        etag: Option<&str>,
        by_uid: Option<u32>,
    ) -> Outcome {
        if let Some((_, why)) = self
            .broken
            .as_ref()
            .filter(|(content, _)| *content == opened.content)
        {
            return Outcome::Refused(why.clone());
        }
        let rules = Arc::clone(&self.rules);
        let _turn = rules.turn();
        let (tests, files, compiled) = match self.tried(opened) {
            Ok(tried) => tried,
            Err(why) => {
                self.broken = Some((opened.content.clone(), why.clone()));
                return Outcome::Refused(why);
            }
        };
        let (revision, group) = (opened.terms.revision, &opened.terms.group);
        let outcome = Outcome::Accepted(format!("{tests} of its own tests pass"));
        let mut remembered = self.remembered.clone();
        remembered.accepted(group, revision, &opened.content);
        remembered.etag = etag.map(str::to_owned);
        let kept = self
            .store
            .replace(bytes)
            .and_then(|()| self.store.remember(&remembered));
        if let Err(fault) = kept {
            return not_kept(fault);
        }
        let about = About {
            revision,
            signer: opened.signer.clone(),
            content: opened.content.clone(),
        };
        if let Err(why) = self.record(&outcome, Some(about), by_uid, compiled.revision()) {
            return Outcome::Unavailable(why);
        }
        if let Err(error) = self.rules.install(compiled, Some(files)) {
            return Outcome::Refused(error.to_string());
        }
        self.remembered = remembered;
        self.in_force = Some(InForce::of(opened, bytes));
        self.told_expired = false;
        (self.changed)();
        outcome
    }

    /// Whether it is what it says, its tests pass, and it can decide together with what this host has of its own.
    fn tried(&self, opened: &OpenedBundle<'_>) -> Result<(usize, Arc<BundleFiles>, Rules), String> {
        let files = BundleFiles::read(opened.archive).map_err(|error| error.to_string())?;
        let (said, signed) = (files.revision(), opened.terms.revision.to_string());
        if said != signed {
            return Err(format!(
                "its manifest says revision {said:?}, and it was signed as {signed}"
            ));
        }
        let tests = Rules::prove(&files).map_err(|error| error.to_string())?;
        let files = Arc::new(files);
        let compiled = self.rules.compiled(Some(&files));
        let compiled =
            compiled.map_err(|error| format!("together with this host's own policies: {error}"))?;
        Ok((tests, files, compiled))
    }

    /// Goes back to the bundle before; the one that is left is not taken again.
    pub(super) fn roll_back(&mut self, by_uid: u32, reason: &str) -> Result<BundleAnswer, String> {
        let now = self
            .in_force
            .clone()
            .ok_or("there is no bundle in force to go back from")?;
        let text = |fault: BundleFault| fault.to_string();
        let bytes = self.store.previous().map_err(text)?;
        let bytes = bytes.ok_or("there is no bundle before the one in force")?;
        let keys = self.keys.clone();
        let no = |why: &dyn std::fmt::Display| format!("the bundle before cannot be put in force: {why}");
        let opened = open_bundle(&bytes, &keys).map_err(|why| no(&why))?;
        if opened.terms.group != self.config.group {
            return Err(no(&"it is for another group"));
        }
        let rules = Arc::clone(&self.rules);
        let _turn = rules.turn();
        let (_, files, compiled) = self.tried(&opened).map_err(|why| no(&why))?;
        self.remembered.set_aside = Some(now.content);
        self.remembered.etag = None;
        self.etag = None;
        self.store.remember(&self.remembered).map_err(text)?;
        self.store.go_back().map_err(text)?;
        let about = About {
            revision: opened.terms.revision,
            signer: opened.signer.clone(),
            content: opened.content.clone(),
        };
        let detail = format!("from revision {}: {reason}", now.revision);
        let policy = compiled.revision().to_owned();
        self.append("rolled_back", &detail, Some(about), Some(by_uid), &policy)?;
        self.rules
            .install(compiled, Some(files))
            .map_err(|error| error.to_string())?;
        self.in_force = Some(InForce::of(&opened, &bytes));
        self.told_expired = false;
        (self.changed)();
        self.publish(None);
        Ok(self.answer("rolled_back", &detail))
    }

    /// Records an outcome, unless it was the last that was recorded or has been recorded already.
    fn told_once(&mut self, outcome: &Outcome, about: Option<About>, by_uid: Option<u32>) {
        let key = match outcome {
            Outcome::Unchanged | Outcome::Accepted(_) => {
                self.told.clear();
                return;
            }
            // Each attempt fails in its own words; that none works is one thing.
            Outcome::Unavailable(_) => outcome.state().to_owned(),
            _ => format!(
                "{}{:?}",
                about.as_ref().map_or("", |about| &about.content),
                outcome
            ),
        };
        if key == self.told {
            return;
        }
        let policy = self.rules.current().policy.revision().to_owned();
        match self.record(outcome, about, by_uid, &policy) {
            Ok(()) => self.told = key,
            Err(why) => tracing::error!("{why}"),
        }
    }

    /// That the one in force has expired is said once.
    fn tell_expiry(&mut self) {
        let now_s = clock::now_ns() / 1_000_000_000;
        let Some(now) = self
            .in_force
            .clone()
            .filter(|now| now.expires_s <= now_s && !self.told_expired)
        else {
            return;
        };
        let about = About {
            revision: now.revision,
            signer: now.signer,
            content: now.content,
        };
        let policy = self.rules.current().policy.revision().to_owned();
        let detail = "it stays in force, and no newer one has come: see whether updates reach this host";
        match self.append("expired", detail, Some(about), None, &policy) {
            Ok(()) => self.told_expired = true,
            Err(why) => tracing::error!("{why}"),
        }
    }

    fn record(
        &self,
        outcome: &Outcome,
        about: Option<About>,
        by_uid: Option<u32>,
        policy: &str,
    ) -> Result<(), String> {
        self.append(outcome.state(), outcome.detail(), about, by_uid, policy)
    }

    fn append(
        &self,
        state: &str,
        detail: &str,
        about: Option<About>,
        by_uid: Option<u32>,
        policy: &str,
    ) -> Result<(), String> {
        let detail = detail
            .get(..detail.floor_char_boundary(MAX_TEXT))
            .unwrap_or_default();
        tracing::info!("policy bundle {state}: {detail}");
        let body = RecordBody::Bundle {
            state: state.to_owned(),
            source: self.origin.name(),
            group: self.config.group.clone(),
            revision: about.as_ref().map(|about| about.revision),
            signer: about.as_ref().map(|about| about.signer.clone()),
            content: about.map(|about| about.content).unwrap_or_default(),
            policy: policy.to_owned(),
            detail: detail.to_owned(),
            by_uid,
        };
        let draft = Draft {
            time_ns: clock::now_ns(),
            session: None,
            call: None,
            body,
        };
        let appended = self.runtime.block_on(self.ledger.append(Bundle::one(draft)));
        appended.map_err(|error| format!("what became of a policy bundle could not be recorded: {error}"))
    }

    /// Lets others see how things stand.
    fn publish(&self, outcome: Option<&Outcome>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.source = self.origin.name();
        status.group.clone_from(&self.config.group);
        status.ring = self.config.ring;
        let highest = self.remembered.highest.get(&self.config.group);
        status.highest = highest.map_or(0, |highest| highest.revision);
        let now_ns = clock::now_ns();
        status.in_force = self.in_force.as_ref().map(|now| {
            let expires_ns = now.expires_s.saturating_mul(1_000_000_000);
            BundleInForce {
                revision: now.revision,
                signer: now.signer.clone(),
                content: now.content.clone(),
                expires_ns,
                expired: expires_ns <= now_ns,
            }
        });
        let Some(outcome) = outcome else {
            if status.last.is_empty() {
                "never".clone_into(&mut status.last);
            }
            return;
        };
        outcome.state().clone_into(&mut status.last);
        outcome.detail().clone_into(&mut status.detail);
        status.last_ns = now_ns;
        status.refused += u64::from(matches!(outcome, Outcome::Refused(_)));
        status.failed += u64::from(matches!(outcome, Outcome::Unavailable(_)));
    }
}

/// The bundle is fine, and this host is not.
fn not_kept(fault: BundleFault) -> Outcome {
    Outcome::Unavailable(format!("the bundle could not be kept: {fault}"))
}

#[cfg(test)]
impl Keeper {
    /// How long a server may take from now on.
    pub(super) fn wait_for(&mut self, time: std::time::Duration) {
        if let Origin::Server { deadline, .. } = &mut self.origin {
            *deadline = time;
        }
    }
}
