//! The ledger's one writer on a thread of its own.
//!
//! Whoever appends waits for an answer; what waits together is written in one transaction. An answer is given only after
//! the transaction was committed, so that no decision is known to anybody before its record is safe.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use defenseclaw_audit::{Appended, Head, Ledger, LedgerError};
use defenseclaw_model::api::LedgerStatus;
use defenseclaw_model::config::Durability;
use defenseclaw_model::record::{Draft, RecordBody};
use defenseclaw_model::wire::Cursor;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock;

/// Jobs that may wait. Beyond it whoever appends waits before handing over, which slows hooks down but loses nothing.
const QUEUE: usize = 256;
/// Most records that one transaction takes together from several jobs: it bounds how long the first of them waits.
const GROUP_RECORDS: usize = 1024;

/// Records that belong together, and which of them are about which.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bundle {
    drafts: Vec<Draft>,
    /// (index of a finding, index of the record that it is about)
    about: Vec<(usize, usize)>,
}

impl Bundle {
    /// One record.
    pub fn one(draft: Draft) -> Self {
        Self {
            drafts: vec![draft],
            about: Vec::new(),
        }
    }

    /// Adds a record and gives its index.
    pub fn push(&mut self, draft: Draft) -> usize {
        self.drafts.push(draft);
        self.drafts.len() - 1
    }

    /// Adds a finding about the record at `index`.
    pub fn push_about(&mut self, draft: Draft, index: usize) {
        let finding = self.push(draft);
        self.about.push((finding, index));
    }

    /// The records so far.
    pub fn drafts(&self) -> &[Draft] {
        &self.drafts
    }

    /// Names in each finding the record that it is about, now that the first record's place is known.
    fn place(&mut self, first: u64) {
        for &(finding, about) in &self.about {
            if let Some(Draft {
                body: RecordBody::Finding { about_seq, .. },
                ..
            }) = self.drafts.get_mut(finding)
            {
                *about_seq = Some(first + about as u64);
            }
        }
    }

    /// Puts a gap in the place of a record that the ledger will never take.
    fn replace(&mut self, index: usize, why: &str) {
        if let Some(draft) = self.drafts.get_mut(index) {
            draft.body = RecordBody::Gap {
                cause: "record_refused".into(),
                missing: Some(1),
                detail: format!("a {} record could not be written: {why}", draft.body.kind()),
            };
        }
    }
}

/// Why an append was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The ledger refused; nothing of the append is in it.
    #[error(transparent)]
    Ledger(Arc<LedgerError>),
    /// The writer's thread has ended.
    #[error("the ledger's writer has stopped; restart the gateway")]
    Stopped,
}

enum Job {
    Append {
        bundle: Bundle,
        done: oneshot::Sender<Result<(), AppendError>>,
    },
    Batch {
        batch: SensorBatch,
        done: oneshot::Sender<Result<bool, AppendError>>,
    },
    Stop,
    Position {
        sensor: String,
        done: oneshot::Sender<Result<(u64, Cursor), AppendError>>,
    },
    Ping {
        done: oneshot::Sender<Result<(), AppendError>>,
    },
}

/// A sensor's batch, to be appended once.
#[derive(Debug, Clone)]
pub struct SensorBatch {
    /// The sensor.
    pub sensor: String,
    /// The batch's number.
    pub number: u64,
    /// The position that it covers.
    pub cursor: Cursor,
    /// Its records.
    pub bundle: Bundle,
}

#[derive(Debug)]
struct State {
    head: Head,
    error: Option<String>,
}

/// Hands jobs to the writer's thread. The thread ends when told to, or when the last handle is gone.
#[derive(Debug, Clone)]
pub struct LedgerWriter {
    jobs: mpsc::Sender<Job>,
    state: Arc<Mutex<State>>,
    heads: watch::Receiver<u64>,
    path: Arc<Path>,
    durability: Durability,
}

/// Resolves when the writer's thread has ended, for whatever reason.
pub type Ended = oneshot::Receiver<()>;

impl LedgerWriter {
    /// Starts the thread.
    pub fn start(ledger: Ledger, durability: Durability) -> std::io::Result<(Self, Ended)> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let state = Arc::new(Mutex::new(State {
            head: ledger.head(),
            error: None,
        }));
        let path: Arc<Path> = ledger.path().into();
        let (end, ended) = oneshot::channel();
        let shared = Arc::clone(&state);
        let (head, heads) = watch::channel(ledger.head().seq);
        std::thread::Builder::new().name("ledger".into()).spawn(move || {
            Writer {
                ledger,
                state: shared,
                head,
            }
            .run(queue);
            // Dropped during a panic too, which is what a waiting receiver sees.
            drop(end);
        })?;
        Ok((
            Self {
                jobs,
                state,
                heads,
                path,
                durability,
            },
            ended,
        ))
    }

    /// Appends; when this returns `Ok`, the records are acknowledged.
    pub async fn append(&self, bundle: Bundle) -> Result<(), AppendError> {
        self.ask(|done| Job::Append { bundle, done }).await
    }

    /// Appends a batch and its position. `false`: it was in already.
    pub async fn append_batch(&self, batch: SensorBatch) -> Result<bool, AppendError> {
        self.ask(|done| Job::Batch { batch, done }).await
    }

    /// The last batch of that sensor and its position.
    pub async fn sensor_position(&self, sensor: &str) -> Result<(u64, Cursor), AppendError> {
        let sensor = sensor.to_owned();
        self.ask(|done| Job::Position { sensor, done }).await
    }

    /// Returns when the writer has come to it: everything handed over before is written then, or refused.
    pub async fn ping(&self) -> Result<(), AppendError> {
        self.ask(|done| Job::Ping { done }).await
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, AppendError>>) -> Job,
    ) -> Result<T, AppendError> {
        let (done, answer) = oneshot::channel();
        self.jobs
            .send(job(done))
            .await
            .map_err(|_| AppendError::Stopped)?;
        answer.await.unwrap_or(Err(AppendError::Stopped))
    }

    /// Records what became of a daemon.
    pub async fn note(&self, daemon: &str, state: &str, detail: String) -> Result<(), AppendError> {
        let body = RecordBody::Daemon {
            daemon: daemon.into(),
            state: state.into(),
            detail,
        };
        self.append(Bundle::one(Draft {
            time_ns: clock::now_ns(),
            session: None,
            call: None,
            body,
        }))
        .await
    }

    /// Ends the thread once everything handed over before is written. Later appends are refused.
    pub async fn stop(&self) {
        // An error means that it has ended already.
        let _ = self.jobs.send(Job::Stop).await;
    }

    /// The number of the newest record, and notice of every change of it.
    pub fn heads(&self) -> watch::Receiver<u64> {
        self.heads.clone()
    }

    /// The ledger's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `status` says of the ledger.
    pub fn status(&self) -> LedgerStatus {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        LedgerStatus {
            path: self.path.display().to_string(),
            records: state.head.seq,
            head: state.head.hash.clone(),
            durability: self.durability.as_str().into(),
            error: state.error.clone(),
        }
    }
}

struct Writer {
    ledger: Ledger,
    state: Arc<Mutex<State>>,
    head: watch::Sender<u64>,
}

type Waiting = (Bundle, oneshot::Sender<Result<(), AppendError>>);

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut group: Vec<Waiting> = Vec::new();
        while let Some(first) = queue.blocking_recv() {
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Append { bundle, done } => group.push((bundle, done)),
                    Job::Batch { batch, done } => {
                        self.append_group(&mut group);
                        let _ = done.send(self.append_batch(batch));
                    }
                    Job::Stop => {
                        // The ledger is closed in order when this writer is dropped.
                        return self.append_group(&mut group);
                    }
                    Job::Position { sensor, done } => {
                        let _ = done.send(self.ledger.sensor_position(&sensor).map_err(shared));
                    }
                    Job::Ping { done } => {
                        self.append_group(&mut group);
                        let _ = done.send(Ok(()));
                    }
                }
                let records: usize = group.iter().map(|(bundle, _)| bundle.drafts.len()).sum();
                next = if records < GROUP_RECORDS {
                    queue.try_recv().ok()
                } else {
                    None
                };
            }
            self.append_group(&mut group);
            let quiet = queue.is_empty();
            if let Some(error) = quiet.then(|| self.ledger.maintain()).and_then(Result::err) {
                tracing::warn!("{error}");
            }
        }
    }

    /// Appends what waits together. If the whole is refused, each is tried alone, so that none fails for another's sake.
    fn append_group(&mut self, group: &mut Vec<Waiting>) {
        if group.len() > 1 {
            let mut whole = Bundle::default();
            let mut begins = Vec::with_capacity(group.len());
            for (bundle, _) in group.iter_mut() {
                let offset = whole.drafts.len();
                whole.drafts.append(&mut bundle.drafts);
                begins.push(offset);
                let about = bundle.about.iter();
                whole
                    .about
                    .extend(about.map(|(finding, about)| (finding + offset, about + offset)));
            }
            if self.append(&mut whole).is_ok() {
                group.drain(..).for_each(|(_, done)| {
                    let _ = done.send(Ok(()));
                });
                return;
            }
            for ((bundle, _), offset) in group.iter_mut().zip(begins).rev() {
                bundle.drafts = whole.drafts.split_off(offset);
            }
        }
        for (mut bundle, done) in group.drain(..) {
            let outcome = self.append(&mut bundle).map_err(shared);
            let _ = done.send(outcome);
        }
    }

    fn append(&mut self, bundle: &mut Bundle) -> Result<(), LedgerError> {
        let ledger = &mut self.ledger;
        let outcome = with_gaps(bundle, ledger, |ledger, drafts| ledger.append(drafts).map(Some));
        self.note(&outcome);
        outcome.map(|_| ())
    }

    fn append_batch(&mut self, mut batch: SensorBatch) -> Result<bool, AppendError> {
        let SensorBatch {
            sensor,
            number,
            cursor,
            bundle,
        } = &mut batch;
        let outcome = with_gaps(bundle, &mut self.ledger, |ledger, drafts| {
            ledger.append_batch(sensor, *number, *cursor, drafts)
        });
        self.note(&outcome);
        outcome.map(|appended| appended.is_some()).map_err(shared)
    }

    fn note<T>(&self, outcome: &Result<T, LedgerError>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.head = self.ledger.head();
        self.head
            .send_if_modified(|head| std::mem::replace(head, state.head.seq) != state.head.seq);
        match outcome {
            Ok(_) => {
                if state.error.take().is_some() {
                    tracing::info!("the ledger can be appended to again");
                }
            }
            Err(error) => {
                let text = error.to_string();
                if state.error.as_ref() != Some(&text) {
                    tracing::error!("cannot append to the ledger: {text}");
                }
                state.error = Some(text);
            }
        }
    }
}

/// Runs an append; a record that can never be written gives its place to a gap that says so.
fn with_gaps(
    bundle: &mut Bundle,
    ledger: &mut Ledger,
    append: impl Fn(&mut Ledger, &[Draft]) -> Result<Option<Appended>, LedgerError>,
) -> Result<Option<Appended>, LedgerError> {
    for _ in 0..bundle.drafts.len() {
        bundle.place(ledger.head().seq + 1);
        match append(ledger, &bundle.drafts) {
            Err(LedgerError::Refused { index, what }) => bundle.replace(index, &what),
            other => return other,
        }
    }
    bundle.place(ledger.head().seq + 1);
    append(ledger, &bundle.drafts)
}

fn shared(error: LedgerError) -> AppendError {
    AppendError::Ledger(Arc::new(error))
}

#[cfg(test)]
mod tests {
    use defenseclaw_audit::{Query, Reader};
    use defenseclaw_model::decision::{Finding, Severity};

    use super::*;

    fn note(detail: &str) -> Draft {
        let body = RecordBody::Daemon {
            daemon: "test".into(),
            state: "noted".into(),
            detail: detail.into(),
        };
        Draft {
            time_ns: 1,
            session: None,
            call: None,
            body,
        }
    }

    fn finding() -> Draft {
        let finding = Finding {
            rule: "test.rule".into(),
            category: "test".into(),
            severity: Severity::Low,
            message: "m".into(),
            remedy: String::new(),
            evidence: Vec::new(),
            confidence: 100,
        };
        Draft {
            time_ns: 1,
            session: None,
            call: None,
            body: RecordBody::Finding {
                finding,
                about_seq: None,
            },
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn findings_name_the_record_that_they_are_about_also_when_written_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let ledger = Ledger::open(&path, Durability::Process).unwrap();
        runtime().block_on(async {
            let (writer, ended) = LedgerWriter::start(ledger, Durability::Process).unwrap();
            let bundles = (0..50).map(|number| {
                let writer = writer.clone();
                async move {
                    let mut bundle = Bundle::default();
                    bundle.push(note("before"));
                    let about = bundle.push(note(&number.to_string()));
                    bundle.push_about(finding(), about);
                    writer.append(bundle).await.unwrap();
                }
            });
            let mut tasks = tokio::task::JoinSet::new();
            bundles.for_each(|bundle| {
                tasks.spawn(bundle);
            });
            tasks.join_all().await;
            assert_eq!(writer.status().records, 150);
            drop(writer);
            let _ = ended.await;
        });
        let records = Reader::open(&path).unwrap().query(&Query::default()).unwrap();
        let findings = records.iter().filter_map(|record| match &record.draft.body {
            RecordBody::Finding { about_seq, .. } => Some((record.seq, about_seq.unwrap())),
            _ => None,
        });
        assert_eq!(findings.clone().count(), 50);
        for (seq, about) in findings {
            assert_eq!(about, seq - 1);
        }
    }

    #[test]
    fn a_record_that_can_never_be_written_leaves_a_gap_and_harms_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let ledger = Ledger::open(&path, Durability::Process).unwrap();
        runtime().block_on(async {
            let (writer, _ended) = LedgerWriter::start(ledger, Durability::Process).unwrap();
            let mut bundle = Bundle::one(note("small"));
            bundle.push(note(&"x".repeat(defenseclaw_audit::MAX_BODY_BYTES)));
            let batch = SensorBatch {
                sensor: "s".into(),
                number: 1,
                cursor: Cursor::default(),
                bundle,
            };
            assert!(writer.append_batch(batch.clone()).await.unwrap());
            assert!(
                !writer.append_batch(batch).await.unwrap(),
                "the same number again does nothing"
            );
            assert_eq!(writer.sensor_position("s").await.unwrap(), (1, Cursor::default()));
            assert_eq!(writer.status().error, None);
        });
        let records = Reader::open(&path).unwrap().query(&Query::default()).unwrap();
        assert_eq!(records.len(), 2);
        assert!(matches!(&records[1].draft.body, RecordBody::Gap { cause, .. } if cause == "record_refused"));
    }
}
