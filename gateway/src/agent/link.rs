//! What the rest of the gateway sees of the agent: register a call, ask whose a process is, send a notice, read the state.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use defenseclaw_model::call::CallDeclaration;
use defenseclaw_model::gate::{QuarantineOutcome, QuarantineVerb};
use defenseclaw_model::ids::SessionId;
use defenseclaw_model::record::Binding;
use defenseclaw_model::wire::{AgentStatus, REGISTER_DEADLINE_MS, ToAgent, Whose};
use tokio::sync::{mpsc, oneshot};

use super::frame::encode;

/// Frames that may wait for an agent that does not read. Past that it is disconnected: it will connect anew and be told
/// the whole state, which loses nothing.
pub(super) const QUEUE: usize = 1024;

/// The agent, if one is connected.
#[derive(Debug, Default)]
pub struct AgentLink {
    live: Mutex<Option<Live>>,
    numbers: AtomicU64,
}

#[derive(Debug)]
struct Live {
    connection: u64,
    out: mpsc::Sender<Vec<u8>>,
    waiting: HashMap<u64, Waiting>,
    status: AgentStatus,
    close: oneshot::Sender<&'static str>,
}

/// Who waits for an answer, by its kind.
#[derive(Debug)]
enum Waiting {
    Registered(oneshot::Sender<Binding>),
    Whose(oneshot::Sender<Whose>),
    Quarantine(oneshot::Sender<QuarantineOutcome>),
}

/// How long the agent may take with what lies in quarantine: it moves files, perhaps from one file system to another.
const QUARANTINE_DEADLINE_MS: u64 = 8_000;

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// No agent is connected.
    NoAgent,
    /// One is, and did not answer: why.
    Failed(String),
}

/// One connection's end of the link.
pub(super) struct Attached {
    /// Its number.
    pub(super) connection: u64,
    /// Why the gateway ends it, if it does.
    pub(super) close: oneshot::Receiver<&'static str>,
}

impl AgentLink {
    fn live(&self) -> MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an agent is connected.
    pub fn connected(&self) -> bool {
        self.live().is_some()
    }

    /// Which connection it is; every new one has another number.
    pub fn connection(&self) -> Option<u64> {
        self.live().as_ref().map(|live| live.connection)
    }

    /// What the agent last said of itself.
    pub fn status(&self) -> Option<AgentStatus> {
        self.live().as_ref().map(|live| live.status.clone())
    }

    /// Tells the agent of a hook event and waits for its word, no longer than [`REGISTER_DEADLINE_MS`].
    pub async fn register(
        &self,
        session: &SessionId,
        hook_pid: u32,
        call: Option<CallDeclaration>,
        denied: bool,
    ) -> Binding {
        let answer = self
            .ask(Waiting::Registered, |request| ToAgent::Register {
                request,
                session: session.clone(),
                hook_pid,
                call,
                denied,
            })
            .await;
        match answer {
            Ok(binding) => binding,
            Err(NoAnswer::NoAgent) => Binding::NoAgent,
            Err(NoAnswer::Failed(reason)) => Binding::Failed { reason },
        }
    }

    /// Tells the agent of a command in a sandbox that begins a session, and waits for its word as [`Self::register`] does.
    pub async fn adopt(&self, session: &SessionId, pid: u32, call: CallDeclaration) -> Binding {
        let answer = self
            .ask(Waiting::Registered, |request| ToAgent::Adopt {
                request,
                session: session.clone(),
                pid,
                call,
            })
            .await;
        match answer {
            Ok(binding) => binding,
            Err(NoAnswer::NoAgent) => Binding::NoAgent,
            Err(NoAnswer::Failed(reason)) => Binding::Failed { reason },
        }
    }

    /// Asks whether a process belongs to a session. `None`: no agent is connected.
    pub async fn whose(&self, pid: u32) -> Option<Whose> {
        let answer = self
            .ask(Waiting::Whose, |request| ToAgent::Whose { request, pid })
            .await;
        match answer {
            Ok(whose) => Some(whose),
            Err(NoAnswer::NoAgent) => None,
            Err(NoAnswer::Failed(reason)) => Some(Whose::Unknown { reason }),
        }
    }

    /// Has the agent deal with what is in quarantine.
    pub async fn quarantine(&self, verb: QuarantineVerb) -> Result<QuarantineOutcome, NoAnswer> {
        let frame = |request| ToAgent::Quarantine { request, verb };
        self.ask_for(Waiting::Quarantine, frame, QUARANTINE_DEADLINE_MS)
            .await
    }

    /// Sends a request and waits for its answer, no longer than [`REGISTER_DEADLINE_MS`].
    async fn ask<T>(
        &self,
        waiting: impl FnOnce(oneshot::Sender<T>) -> Waiting,
        frame: impl FnOnce(u64) -> ToAgent,
    ) -> Result<T, NoAnswer> {
        self.ask_for(waiting, frame, REGISTER_DEADLINE_MS).await
    }

    async fn ask_for<T>(
        &self,
        waiting: impl FnOnce(oneshot::Sender<T>) -> Waiting,
        frame: impl FnOnce(u64) -> ToAgent,
        deadline_ms: u64,
    ) -> Result<T, NoAnswer> {
        if !self.connected() {
            return Err(NoAnswer::NoAgent);
        }
        let failed = |reason: String| Err(NoAnswer::Failed(reason));
        let request = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = match encode(&frame(request)) {
            Ok(bytes) => bytes,
            Err(error) => return failed(format!("the call cannot be told to the agent: {error}")),
        };
        let answer = {
            let mut guard = self.live();
            let Some(live) = guard.as_mut() else {
                return Err(NoAnswer::NoAgent);
            };
            if live.out.try_send(bytes).is_err() {
                disconnect(&mut guard, "it does not read what it is sent");
                return failed("the agent does not read what it is sent; it was disconnected".into());
            }
            let (sender, answer) = oneshot::channel();
            live.waiting.insert(request, waiting(sender));
            answer
        };
        match tokio::time::timeout(Duration::from_millis(deadline_ms), answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => failed("the connection to the agent broke before it answered".into()),
            Err(_) => {
                if let Some(live) = self.live().as_mut() {
                    live.waiting.remove(&request);
                }
                failed(format!(
                    "the agent did not answer within {deadline_ms} ms; see its log"
                ))
            }
        }
    }

    /// Tells the agent something that needs no answer. An agent that does not take it is disconnected.
    pub fn tell(&self, frame: &ToAgent) {
        let mut guard = self.live();
        let Some(live) = guard.as_ref() else { return };
        match encode(frame) {
            Ok(bytes) => {
                if live.out.try_send(bytes).is_err() {
                    disconnect(&mut guard, "it does not read what it is sent");
                }
            }
            Err(error) => tracing::error!("a frame for the agent was not sent: {error}"),
        }
    }

    /// Ends the connection, if there is one.
    pub fn close(&self, reason: &'static str) {
        disconnect(&mut self.live(), reason);
    }

    /// Takes the one place. `None`: another agent has it.
    pub(super) fn attach(&self, out: mpsc::Sender<Vec<u8>>, status: AgentStatus) -> Option<Attached> {
        let mut guard = self.live();
        if guard.is_some() {
            return None;
        }
        let connection = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let (close, closed) = oneshot::channel();
        *guard = Some(Live {
            connection,
            out,
            waiting: HashMap::new(),
            status,
            close,
        });
        Some(Attached {
            connection,
            close: closed,
        })
    }

    /// Frees the place; whoever waits for an answer is told that the connection broke.
    pub(super) fn detach(&self, connection: u64) {
        let mut guard = self.live();
        guard.take_if(|live| live.connection == connection);
    }

    pub(super) fn registered(&self, connection: u64, request: u64, binding: Binding) {
        if let Some(Waiting::Registered(waiting)) = self.answered(connection, request) {
            let _ = waiting.send(binding);
        }
    }

    pub(super) fn told_whose(&self, connection: u64, request: u64, whose: Whose) {
        if let Some(Waiting::Whose(waiting)) = self.answered(connection, request) {
            let _ = waiting.send(whose);
        }
    }

    pub(super) fn dealt_with(&self, connection: u64, request: u64, outcome: QuarantineOutcome) {
        if let Some(Waiting::Quarantine(waiting)) = self.answered(connection, request) {
            let _ = waiting.send(outcome);
        }
    }

    /// Nobody may be waiting any more: the deadline passed.
    fn answered(&self, connection: u64, request: u64) -> Option<Waiting> {
        let mut guard = self.live();
        let live = guard.as_mut().filter(|live| live.connection == connection)?;
        live.waiting.remove(&request)
    }

    pub(super) fn set_status(&self, connection: u64, status: AgentStatus) {
        if let Some(live) = self.live().as_mut().filter(|live| live.connection == connection) {
            live.status = status;
        }
    }
}

fn disconnect(live: &mut Option<Live>, reason: &'static str) {
    if let Some(live) = live.take() {
        let _ = live.close.send(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(future)
    }

    fn session() -> SessionId {
        SessionId::new("claude-code", "s").unwrap()
    }

    #[test]
    fn an_agent_that_does_not_read_is_disconnected_before_it_costs_memory() {
        block_on(async {
            let link = AgentLink::default();
            let (out, _frames) = mpsc::channel(2);
            let attached = link.attach(out, AgentStatus::default()).unwrap();
            for batch in 0..3 {
                link.tell(&ToAgent::Ack { batch });
            }
            assert!(!link.connected());
            assert!(attached.close.await.unwrap().contains("does not read"));
            assert_eq!(link.register(&session(), 1, None, false).await, Binding::NoAgent);
        });
    }

    #[test]
    fn a_late_answer_is_nobody_s() {
        block_on(async {
            let link = AgentLink::default();
            let (out, mut frames) = mpsc::channel(2);
            let attached = link.attach(out, AgentStatus::default()).unwrap();
            let binding = link.register(&session(), 1, None, false).await;
            assert!(matches!(binding, Binding::Failed { reason } if reason.contains("did not answer")));
            assert!(frames.recv().await.is_some());
            assert!(
                link.live().as_ref().unwrap().waiting.is_empty(),
                "nothing is left of it"
            );
            link.registered(attached.connection, 2, Binding::Bound);
            assert!(link.connected());
        });
    }

    #[test]
    fn the_place_is_freed_by_its_holder_only() {
        block_on(async {
            let link = AgentLink::default();
            let attach = || link.attach(mpsc::channel(1).0, AgentStatus::default());
            let first = attach().unwrap();
            assert!(attach().is_none());
            link.detach(first.connection + 1);
            assert!(attach().is_none());
            link.detach(first.connection);
            let second = attach().unwrap();
            link.set_status(
                first.connection,
                AgentStatus {
                    sessions: 9,
                    ..AgentStatus::default()
                },
            );
            assert_eq!(link.status().unwrap().sessions, 0);
            assert_ne!(first.connection, second.connection);
        });
    }
}
