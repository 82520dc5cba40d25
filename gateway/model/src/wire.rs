//! The frames that the agent and the gateway exchange over the agent socket.
//!
//! A frame is a little-endian `u32` length and that many bytes of JSON. The agent connects; it speaks first with
//! [`ToGateway::Hello`]. Each side closes the connection at a frame that it does not understand: both come from one build.

use serde::{Deserialize, Serialize};

use crate::call::CallDeclaration;
use crate::gate::{GateAnswer, GateQuestion, GateScope, QuarantineEntry, QuarantineOutcome, QuarantineVerb};
use crate::ids::{CallId, SessionId};
use crate::record::{Binding, Draft};

/// Raised with every incompatible change of the frames.
pub const WIRE_VERSION: u32 = 4;

/// Largest frame (bytes). A batch of [`MAX_BATCH`] activities with arguments at the sensor's bound stays below.
pub const MAX_FRAME: usize = 16 << 20;

/// Most records in one batch.
pub const MAX_BATCH: usize = 512;

/// Most batches that the agent sends before the first of them is acknowledged. What was sent reaches the ledger even if the agent is
/// killed, so that nothing waits there for the ledger's disk. The gateway takes as many without holding up the frames behind them.
pub const MAX_UNACKNOWLEDGED: usize = 4;

/// How long the gateway waits for [`ToGateway::Registered`] before it answers the harness without it (ms). Far below
/// every harness's hook time-out and below the hook client's own deadline.
pub const REGISTER_DEADLINE_MS: u64 = 1_000;

/// From the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum ToGateway {
    /// First frame.
    Hello {
        /// Must equal [`WIRE_VERSION`].
        wire: u32,
        /// The agent's version.
        version: String,
        /// Identifies the loaded sensor: new with every load of the kernel programs, kept over agent restarts.
        sensor: String,
        /// What the sensor can see.
        status: AgentStatus,
    },
    /// Answer to [`ToAgent::Register`].
    Registered {
        /// The request's number.
        request: u64,
        /// Outcome.
        binding: Binding,
    },
    /// Answer to [`ToAgent::Whose`].
    Whose {
        /// The request's number.
        request: u64,
        /// Whose process it is.
        whose: Whose,
    },
    /// Something in a governed place is held until it is admitted; the answer is [`ToAgent::Admitted`].
    Admit {
        /// Number of the request; the agent's own count.
        request: u64,
        /// What, and what its scan came to.
        question: Box<GateQuestion>,
    },
    /// Something was put into quarantine. Told again after each new connection until the gateway has said
    /// [`ToAgent::QuarantineNoted`]: the ledger holds it once.
    Quarantined {
        /// What.
        entry: Box<QuarantineEntry>,
    },
    /// Answer to [`ToAgent::Quarantine`].
    QuarantineDone {
        /// The request's number.
        request: u64,
        /// What came of it.
        outcome: QuarantineOutcome,
    },
    /// Records to append, in order.
    Batch {
        /// Rises by one with each batch of this sensor; the gateway appends each number once.
        batch: u64,
        /// The records.
        records: Vec<Draft>,
        /// Position in the kernel's streams that the batch covers.
        cursor: Cursor,
    },
    /// Sent every few seconds and when something changes.
    Status {
        /// The state.
        status: AgentStatus,
    },
}

/// From the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum ToAgent {
    /// Answer to [`ToGateway::Hello`].
    Welcome {
        /// Must equal [`WIRE_VERSION`].
        wire: u32,
        /// The last batch of that sensor which the ledger holds; 0 for none.
        last_batch: u64,
        /// The cursor stored with it.
        cursor: Cursor,
        /// Sessions that have not ended, so that an agent that lost its memory can go on attributing.
        sessions: Vec<OpenSession>,
    },
    /// A hook event: bind the session if it is not bound, and note the call.
    Register {
        /// Number of the request.
        request: u64,
        /// The session.
        session: SessionId,
        /// The hook client's pid (`SO_PEERCRED`).
        hook_pid: u32,
        /// The declared call, at `PreToolUse`.
        call: Option<CallDeclaration>,
        /// Whether policy refused the call, so that it will not run.
        denied: bool,
    },
    /// A command entered a sandbox, and no session has its process: it begins one, whose only call it is.
    Adopt {
        /// Number of the request; the answer is [`ToGateway::Registered`].
        request: u64,
        /// The session.
        session: SessionId,
        /// The process that is about to become the command.
        pid: u32,
        /// The call.
        call: CallDeclaration,
    },
    /// The call has ended.
    CallEnd {
        /// The session.
        session: SessionId,
        /// The call.
        call: CallId,
    },
    /// The session has ended.
    SessionEnd {
        /// The session.
        session: SessionId,
    },
    /// Whose process is that? A governed one is refused every operator verb.
    Whose {
        /// Number of the request.
        request: u64,
        /// The process, in the initial pid namespace.
        pid: u32,
    },
    /// Answer to [`ToGateway::Admit`].
    Admitted {
        /// The request's number.
        request: u64,
        /// What becomes of the artifact.
        answer: GateAnswer,
    },
    /// What the gate governs. Follows `Welcome`, and comes again whenever it changes.
    GateScope {
        /// Which places, under which policy.
        scope: GateScope,
    },
    /// An operator deals with what is in quarantine; the answer is [`ToGateway::QuarantineDone`].
    Quarantine {
        /// Number of the request.
        request: u64,
        /// What to do.
        verb: QuarantineVerb,
    },
    /// The ledger holds that this entry went into quarantine.
    QuarantineNoted {
        /// The entry's id.
        id: String,
    },
    /// The batch is in the ledger.
    Ack {
        /// Its number.
        batch: u64,
    },
}

/// Whether a process belongs to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "whose", rename_all = "snake_case")]
pub enum Whose {
    /// It carries no label: it is not in the process tree of any session.
    Nobody,
    /// It carries a session's label.
    Session {
        /// Which; `None` if that session was forgotten.
        session: Option<SessionId>,
    },
    /// That cannot be told.
    Unknown {
        /// Why, for a person.
        reason: String,
    },
}

/// Position in the kernel's two event streams: the sequence number of the last record taken from each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Security ring.
    pub security: u64,
    /// Telemetry ring.
    pub telemetry: u64,
}

/// A session that has not ended, as the gateway knows it from the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenSession {
    /// The session.
    pub session: SessionId,
    /// Calls that were declared and are still open.
    pub open_calls: Vec<CallDeclaration>,
    /// Calls that have ended; their background processes may still run. The newest 1,000.
    pub closed_calls: Vec<CallId>,
}

/// What the agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AgentStatus {
    /// Kernel release.
    pub kernel: String,
    /// Per action family, in stable order.
    pub families: Vec<FamilyStatus>,
    /// Loss and filter counters by cause, summed since the sensor was loaded.
    pub counters: Counters,
    /// Sessions bound.
    pub sessions: u64,
    /// Processes that carry a label.
    pub labelled_processes: u64,
    /// Records waiting for the gateway.
    pub backlog: u64,
    /// Resident memory of the agent (KiB).
    pub rss_kib: u64,
}

/// What is in force for one action family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FamilyStatus {
    /// `process`, `file`, `network`, …
    pub family: String,
    /// What enforces or watches it.
    pub tier: Tier,
    /// What proved the tier, or why it is missing.
    pub detail: String,
}

/// What enforces an action family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// BPF LSM denies.
    Lsm,
    /// cgroup socket programs deny.
    Cgroup,
    /// fanotify permission events deny.
    Fanotify,
    /// Landlock denies.
    Landlock,
    /// The process is killed after the fact.
    Kill,
    /// Seen, not prevented.
    Observe,
    /// Not seen.
    None,
}

/// Kernel-side and agent-side counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Counters {
    /// Records taken from the security ring.
    pub security_events: u64,
    /// Records taken from the telemetry ring.
    pub telemetry_events: u64,
    /// Security records lost because the ring was full.
    pub security_ring_full: u64,
    /// Telemetry records lost because the ring was full.
    pub telemetry_ring_full: u64,
    /// Processes that could not be labelled because the map was full.
    pub label_map_full: u64,
    /// Kernel or user memory that could not be read.
    pub read_faults: u64,
    /// Records with a cut path or cut arguments.
    pub truncated: u64,
    /// Records not told: reads that no path rule watches, the coming and going of our own hook client.
    pub filtered: u64,
    /// Times a kernel program was skipped by the kernel itself (recursion).
    pub program_misses: u64,
    /// Records that the agent could not keep because its backlog was full.
    pub agent_overflow: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
}
