//! Watches the installed hooks: notices within a second when one is gone or altered, records that, and puts it back where it
//! may.
//!
//! | Module | Holds |
//! |---|---|
//! | [`rounds`] | what to look at, what changed since the last round, what to record |
//! | [`wake`] | waiting for changes |
//!
//! It runs on a thread of its own: it reads files that harnesses and users write, and takes as long as that takes.

mod rounds;
#[cfg(test)]
mod tests;
mod wake;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use defenseclaw_model::record::RecordBody;
use tokio::sync::mpsc;

use crate::clock;
use crate::ledger_writer::{Bundle, LedgerWriter};
use crate::redact;
use defenseclaw_model::record::Draft;
use rounds::Rounds;
use wake::Waker;

/// Records that may wait for the ledger. A round makes at most three for each installed file.
const BACKLOG: usize = 256;

/// The watch, until it is dropped.
pub struct Watch {
    stop: Arc<AtomicBool>,
}

impl Watch {
    /// Starts watching what the manifest in the state folder names, now and as it changes.
    pub fn start(state: &Path, ledger: LedgerWriter) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, mut reports) = mpsc::channel::<Bundle>(BACKLOG);
        tokio::spawn(async move {
            while let Some(bundle) = reports.recv().await {
                if let Err(error) = ledger.append(bundle).await {
                    tracing::error!("what became of an installed hook could not be recorded: {error}");
                }
            }
        });
        let (stopping, mut rounds) = (Arc::clone(&stop), Rounds::new(state));
        std::thread::Builder::new().name("watch".into()).spawn(move || {
            let mut waker = Waker::new();
            while !stopping.load(Ordering::Relaxed) {
                for bundle in rounds.round(std::time::Instant::now()).into_iter().map(bundle) {
                    if told.blocking_send(bundle).is_err() {
                        return;
                    }
                }
                waker.wait(rounds.folders());
            }
        })?;
        Ok(Self { stop })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Bodies of one round as records that belong together: findings are about the record before them.
fn bundle(bodies: Vec<RecordBody>) -> Bundle {
    let mut bundle = Bundle::default();
    let mut last = None;
    for mut body in bodies {
        if let RecordBody::Finding { finding, .. } = &mut body {
            redact::finding(finding);
        }
        let is_finding = matches!(body, RecordBody::Finding { .. });
        let draft = Draft {
            time_ns: clock::now_ns(),
            session: None,
            call: None,
            body,
        };
        match (is_finding, last) {
            (true, Some(about)) => bundle.push_about(draft, about),
            _ => last = Some(bundle.push(draft)),
        }
    }
    bundle
}
