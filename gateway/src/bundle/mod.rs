//! Signed policy bundles: looked for, weighed, and put in force whole or not at all.
//!
//! | Module | Holds |
//! |---|---|
//! | [`origin`] | where they come from: a file, or an https server |
//! | [`store`] | what is kept of them: the last good one, the one before, the highest revision |
//! | [`keeper`] | what becomes of each one |
//!
//! It runs on a thread of its own, so that neither a slow server nor a large policy holds up a hook. Whatever goes wrong, what was in
//! force stays in force. A bundle takes effect after it was kept and its acceptance recorded.

mod keeper;
mod origin;
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use defenseclaw_artifact::{LAST_RING, TrustedKeys, check_group, open_bundle};
use defenseclaw_model::api::{BundleAnswer, BundleStatus};
use defenseclaw_model::config::{BundleConfig, Config};
use defenseclaw_policy::BundleFiles;
use tokio::sync::oneshot;

use crate::clock;
use crate::ledger_writer::LedgerWriter;
use crate::rules::RulesInForce;
use keeper::{InForce, Keeper};
use origin::Origin;
use store::{Remembered, Store};

/// Shortest and longest time between two looks (seconds): a server is no stream, and a day without one is no rollout.
const INTERVAL_S: std::ops::RangeInclusive<u64> = 5..=86_400;

/// Why bundles cannot be kept, or could not be looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleFault {
    /// The configuration makes no sense.
    #[error("{0}")]
    Config(String),
    /// There was no bundle to see.
    #[error("{0}")]
    Unavailable(String),
    /// The state folder does not do its part.
    #[error("cannot {doing} {}: {why}. Without it an old bundle would look new: see to the file, or to the folder's owner", path.display())]
    State {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        why: String,
    },
}

/// What is there of bundles before the gateway has started.
#[derive(Debug)]
pub struct Kept {
    config: BundleConfig,
    origin: Origin,
    keys: TrustedKeys,
    store: Store,
    remembered: Remembered,
    last: Option<(InForce, Arc<BundleFiles>)>,
    /// Why the last good one is not in force, if it is not.
    complaint: Option<String>,
}

impl Kept {
    /// Reads and verifies what the state folder has; `None` where no bundles are configured.
    pub fn load(config: &Config) -> Result<Option<Self>, BundleFault> {
        let Some(bundle) = &config.bundle else {
            return Ok(None);
        };
        let keys = check(bundle)?;
        let store = Store::new(&config.state);
        let mut kept = Self {
            origin: Origin::of(bundle)?,
            config: bundle.clone(),
            keys,
            remembered: store.remembered()?,
            store,
            last: None,
            complaint: None,
        };
        if let Some(bytes) = kept.store.current()? {
            match kept.open(&bytes) {
                Ok(last) => {
                    let now = &last.0;
                    kept.remembered
                        .accepted(&kept.config.group, now.revision, &now.content);
                    kept.last = Some(last);
                }
                Err(why) => kept.complaint = Some(why),
            }
        }
        Ok(Some(kept))
    }

    /// The last good one is verified anew: keys and group may have changed since. That it has expired is no reason to go back to none.
    fn open(&self, bytes: &[u8]) -> Result<(InForce, Arc<BundleFiles>), String> {
        let opened = open_bundle(bytes, &self.keys).map_err(|why| why.to_string())?;
        if opened.terms.group != self.config.group {
            return Err(format!("it is for the group {:?}", opened.terms.group));
        }
        let files = BundleFiles::read(opened.archive).map_err(|why| why.to_string())?;
        Ok((InForce::of(&opened, bytes), Arc::new(files)))
    }

    /// The last good bundle.
    pub fn files(&self) -> Option<Arc<BundleFiles>> {
        self.last.as_ref().map(|(_, files)| Arc::clone(files))
    }

    /// The last good bundle cannot be put in force any more.
    pub fn complain(&mut self, why: String) {
        self.last = None;
        self.complaint = Some(why);
    }
}

/// Checks what is configured; gives the keys.
fn check(config: &BundleConfig) -> Result<TrustedKeys, BundleFault> {
    let wrong = |why: String| BundleFault::Config(why);
    check_group(&config.group).map_err(|why| wrong(format!("`bundle.group`: {why}")))?;
    if config.ring > LAST_RING {
        return Err(wrong(format!(
            "`bundle.ring` is {}; the last one is {LAST_RING}",
            config.ring
        )));
    }
    if !INTERVAL_S.contains(&config.interval_s) {
        let (first, last) = (INTERVAL_S.start(), INTERVAL_S.end());
        return Err(wrong(format!(
            "`bundle.interval_s` is {}; use {first} to {last}",
            config.interval_s
        )));
    }
    let mut keys = TrustedKeys::default();
    for (id, key) in &config.keys {
        keys.add(id, key)
            .map_err(|why| wrong(format!("`bundle.keys.{id}`: {why}")))?;
    }
    if config.keys.is_empty() {
        return Err(wrong(
            "`bundle.keys` names nobody: then no bundle can be taken".to_owned(),
        ));
    }
    Ok(keys)
}

/// What the thread is asked.
#[derive(Debug)]
enum Job {
    Pull {
        by_uid: u32,
        done: oneshot::Sender<Result<BundleAnswer, String>>,
    },
    RollBack {
        by_uid: u32,
        reason: String,
        done: oneshot::Sender<Result<BundleAnswer, String>>,
    },
    Stop,
}

/// Asks the thread, and reads what it says of itself.
#[derive(Debug)]
pub struct Bundles {
    jobs: Sender<Job>,
    status: Arc<Mutex<BundleStatus>>,
}

impl Bundles {
    /// Starts the thread, which looks at once. `changed` is called after another policy was put in force.
    pub fn start(
        kept: Kept,
        rules: Arc<RulesInForce>,
        ledger: LedgerWriter,
        changed: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let status = Arc::new(Mutex::new(BundleStatus::default()));
        let (jobs, queue) = channel();
        let interval = Duration::from_secs(kept.config.interval_s);
        let runtime = tokio::runtime::Handle::current();
        let mut keeper = Keeper::new(
            kept,
            rules,
            ledger,
            runtime,
            Arc::clone(&status),
            Box::new(changed),
        );
        std::thread::Builder::new().name("bundle".into()).spawn(move || {
            keeper.begin();
            serve(&mut keeper, &queue, interval);
        })?;
        Ok(Self { jobs, status })
    }

    /// How things stand.
    pub fn status(&self) -> BundleStatus {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(bundle) = &mut status.in_force {
            bundle.expired = bundle.expires_ns <= clock::now_ns();
        }
        status
    }

    /// Looks for a bundle now. `Err` says why there is no answer.
    pub async fn pull(&self, by_uid: u32) -> Result<BundleAnswer, String> {
        self.ask(|done| Job::Pull { by_uid, done }).await
    }

    /// Goes back to the bundle before.
    pub async fn roll_back(&self, by_uid: u32, reason: String) -> Result<BundleAnswer, String> {
        self.ask(|done| Job::RollBack { by_uid, reason, done }).await
    }

    async fn ask(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<BundleAnswer, String>>) -> Job,
    ) -> Result<BundleAnswer, String> {
        let stopped = || "the thread that keeps bundles has stopped; restart the gateway".to_owned();
        let (done, answer) = oneshot::channel();
        self.jobs.send(job(done)).map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Ends the thread.
    pub fn stop(&self) {
        // An error means that it has ended already.
        let _ = self.jobs.send(Job::Stop);
    }
}

fn serve(keeper: &mut Keeper, queue: &Receiver<Job>, interval: Duration) {
    keeper.look(None);
    loop {
        match queue.recv_timeout(interval) {
            Err(RecvTimeoutError::Timeout) => drop(keeper.look(None)),
            // Whoever asked may have gone.
            Ok(Job::Pull { by_uid, done }) => drop(done.send(Ok(keeper.look(Some(by_uid))))),
            Ok(Job::RollBack { by_uid, reason, done }) => drop(done.send(keeper.roll_back(by_uid, &reason))),
            Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
