//! Signs of life for the service manager: given only while calls are really decided and the ledger's writer really writes.
//!
//! A timer of its own would go on ticking in a gateway that answers nobody. So each sign is earned: this task runs on the threads
//! that answer everybody, a decision is made on a helper thread, and the writer takes a job and gives it back. As long as one of those
//! threads goes on, calls are answered, and signs are given: of a call that hangs in another, its hook client's own deadline answers.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use defenseclaw_inspect::{Inspector, Item, Rules};
use defenseclaw_service::Notifier;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::ledger_writer::LedgerWriter;
use crate::rules::RulesInForce;

/// Signs in the time within which the manager wants one: two may fail before it acts.
const SIGNS: u32 = 3;
/// How long the gateway's first own request may take. It comes at a start, when the machine is busiest.
const FIRST: Duration = Duration::from_secs(30);
/// Longest answer to the own request that is looked at (bytes); the first line tells.
const ANSWER: u64 = 1024;

/// What does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// The ledger's writer.
    #[error("the ledger's writer does not answer")]
    Writer,
    /// What decides.
    #[error("no decision is made")]
    Decisions,
}

/// What has to work.
#[derive(Clone)]
pub struct Alive {
    rules: Arc<RulesInForce>,
    ledger: LedgerWriter,
}

impl Alive {
    /// A gateway with these rules and this ledger.
    pub fn new(rules: Arc<RulesInForce>, ledger: LedgerWriter) -> Self {
        Self { rules, ledger }
    }

    /// Whether both answer, each within `patience`.
    pub async fn prove(&self, patience: Duration) -> Result<(), Stuck> {
        let writer = tokio::time::timeout(patience, self.ledger.ping()).await;
        // A writer that has ended is another matter: the gateway ends with it.
        writer.map_err(|_| Stuck::Writer)?.map_err(|_| Stuck::Writer)?;
        let rules = self.rules.current();
        let decision = tokio::task::spawn_blocking(move || decide(&rules));
        match tokio::time::timeout(patience, decision).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Stuck::Decisions),
        }
    }

    /// Gives signs until the gateway ends, if the manager wants any. What is stuck is said once, in the log and in the state.
    pub async fn give_signs(self, notifier: Arc<Notifier>, status: String) {
        let Some(within) = notifier.watchdog() else { return };
        let every = within / SIGNS;
        let mut stuck = None;
        loop {
            match self.prove(every).await {
                Ok(()) => {
                    notifier.alive();
                    if stuck.take().is_some() {
                        tracing::info!("all of it answers again");
                        notifier.status(&status);
                    }
                }
                Err(now) => {
                    if stuck.replace(now) != Some(now) {
                        tracing::error!(
                            "{now}; the service manager gets no sign of life until that has changed"
                        );
                    }
                    notifier.status(&format!("stuck: {now}"));
                }
            }
            tokio::time::sleep(every).await;
        }
    }
}

/// One decision, made and thrown away. That the policy fails is an answer too: callers get one.
fn decide(rules: &Rules) {
    let call = json!({"id": "alive", "tool": "Bash", "input": {"command": "true"}, "cwd": "/"});
    let item = serde_json::from_value::<Item>(call);
    if let Some(Err(error)) = item.ok().map(|item| Inspector::new(rules.clone()).inspect(item)) {
        tracing::warn!("the decision that tells whether decisions are made failed: {error}");
    }
}

/// Asks over the socket itself, as a hook client would come: who is told that the gateway is ready finds it answering.
pub async fn ask_over(socket: &Path) -> io::Result<()> {
    let ask = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream
            .write_all(b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await?;
        let mut answer = Vec::new();
        stream.take(ANSWER).read_to_end(&mut answer).await?;
        if answer.starts_with(b"HTTP/1.1 ") {
            Ok(())
        } else {
            let what = "its own request was not answered";
            Err(io::Error::new(io::ErrorKind::InvalidData, what))
        }
    };
    let late = |_| {
        io::Error::new(
            io::ErrorKind::TimedOut,
            "its own request was not answered in time",
        )
    };
    tokio::time::timeout(FIRST, ask).await.map_err(late)?
}
