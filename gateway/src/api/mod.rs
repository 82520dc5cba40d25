//! What the gateway answers over HTTP, on the Unix socket and on loopback.
//!
//! | Module | Holds |
//! |---|---|
//! | [`routes`] | every path: the one table that the router and the OpenAPI document are made from |
//! | [`caller`] | who asks, as far as the system tells |
//! | [`access`] | who may ask what, and how often |
//! | [`process`] | one process, such that its pid cannot come to mean another |
//! | [`owner`] | whose a connection on loopback is |
//! | [`governed`] | whether a process belongs to an agent's session |
//! | [`problem`] | refusals, in words |
//! | [`hooks`] | `/v1/hooks/{connector}` |
//! | [`state`] | status, health, metrics, peer |
//! | [`records`] | decisions and records from the ledger |
//! | [`events`] | new records as a stream |
//! | [`people`] | approvals and grants |
//! | [`gate`] | artifacts, quarantine, lists |
//! | [`pins`] | MCP servers compared with their pins |
//! | [`questions`] | what supervised sandboxes ask |
//! | [`rules`] | inspect, policy reload |
//! | [`bundle`] | signed policy bundles: looked for, gone back from |
//! | [`sandbox`] | in which room a harness's shell line runs |
//! | [`openapi`] | the document that describes all of it |
//!
//! A handler takes a [`Caller`] and gives a response or a [`Problem`]. What takes longer than a moment (the ledger, large
//! texts) runs on a helper thread, for few callers at a time, so that hooks always find one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use crate::engine::Engine;
use crate::metrics::Metrics;

pub mod access;
pub mod bundle;
pub mod caller;
pub mod events;
pub mod gate;
pub mod governed;
pub mod hooks;
pub mod openapi;
pub mod owner;
pub mod people;
pub mod pins;
pub mod problem;
pub mod process;
pub mod questions;
pub mod records;
pub mod routes;
pub mod rules;
pub mod sandbox;
pub mod state;

pub use caller::{Caller, Via};
pub use problem::Problem;

/// Requests of operators that may use helper threads at once. There are three threads; one is left for hooks and the agent's
/// batches.
const HELPED: usize = 1;
/// The same for what anybody may ask: it has its own turn, so that nobody holds up an operator.
const INSPECTED: usize = 1;
/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(5);

/// Everything that handlers work with.
pub struct Api {
    /// What answers hooks.
    pub engine: Arc<Engine>,
    /// What supervised sandboxes ask.
    pub questions: Arc<crate::questions::Questions>,
    /// Who may ask what.
    pub access: access::Access,
    /// Which processes belong to agents.
    pub governed: governed::Governed,
    /// What is counted.
    pub metrics: Metrics,
    /// Streams that are open.
    pub streams: events::Streams,
    /// When the gateway started.
    pub started: Instant,
    /// Whether it is to stop.
    pub stopping: watch::Receiver<bool>,
    /// Turns on the helper threads for operators.
    pub helpers: Semaphore,
    /// And for everybody.
    pub inspections: Semaphore,
}

impl Api {
    /// For a gateway that starts now.
    pub fn new(
        engine: Arc<Engine>,
        operators: &[u32],
        by_owner: bool,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            engine,
            questions: Arc::default(),
            access: access::Access::new(operators, by_owner),
            governed: governed::Governed::default(),
            metrics: Metrics::default(),
            streams: events::Streams::default(),
            started: Instant::now(),
            stopping,
            helpers: Semaphore::new(HELPED),
            inspections: Semaphore::new(INSPECTED),
        }
    }

    /// Runs an operator's `work` on a helper thread when it is this request's turn.
    async fn helped<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        in_turn(&self.helpers, work).await
    }

    /// The same for what anybody may ask.
    async fn inspected<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        in_turn(&self.inspections, work).await
    }
}

async fn in_turn<T: Send + 'static>(
    turns: &Semaphore,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let turn = tokio::time::timeout(TURN, turns.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        return Err(Problem::busy("too many requests of this kind are under way"));
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!("a request failed inside; please report this: {error}");
        Err(Problem::inside())
    })
}
