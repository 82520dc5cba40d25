//! What the gateway answers to the operator's tool.

use serde::{Deserialize, Serialize};

use crate::decision::Mode;
use crate::wire::AgentStatus;

/// Answer of `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The gateway's version.
    pub version: String,
    /// Seconds since the gateway started.
    pub uptime_s: u64,
    /// Whether decisions take effect.
    pub mode: Mode,
    /// The policy's revision.
    pub policy: String,
    /// The ledger.
    pub ledger: LedgerStatus,
    /// The agent, if one is connected. `None` means that only hooks are in force.
    pub agent: Option<AgentStatus>,
    /// Resident memory of the gateway (KiB).
    pub rss_kib: u64,
    /// Sessions that have not ended.
    pub open_sessions: u64,
    /// Hook requests answered, by outcome.
    pub hooks: HookCounters,
}

/// The ledger's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerStatus {
    /// Its file.
    pub path: String,
    /// Number of records.
    pub records: u64,
    /// Hash of the newest (hex).
    pub head: String,
    /// `process` or `power`.
    pub durability: String,
    /// Why appends fail at present, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Hook requests since the gateway started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HookCounters {
    /// Answered `allow` (or nothing).
    pub allowed: u64,
    /// Answered `ask`.
    pub asked: u64,
    /// Answered `deny`.
    pub denied: u64,
    /// Refused as malformed, oversized, unknown.
    pub bad: u64,
    /// Answered by fail mode because of a fault of ours (ledger, policy).
    pub failed: u64,
}
