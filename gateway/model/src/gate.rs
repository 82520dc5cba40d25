//! The install gate: what the agent holds until it is admitted, and what was taken out of the way.
//!
//! The agent sees that something in a governed place is opened, makes a copy of the artifact, has it scanned by an
//! unprivileged process, and asks the gateway with [`GateQuestion`]. The gateway asks the admission policy, writes the ledger
//! and answers with [`GateAnswer`].

use serde::{Deserialize, Serialize};

use crate::admission::{AdmissionAction, ArtifactKind};
use crate::decision::Severity;
use crate::ids::SessionId;

/// An artifact as the gate sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GatedArtifact {
    /// What it is.
    pub kind: ArtifactKind,
    /// Whose place it lies in: a connector's name.
    pub connector: String,
    /// Its folder's or file's name.
    pub name: String,
    /// Where it lies: its folder, or its only file.
    pub path: String,
    /// `sha256:` and 64 hex digits over the canonical manifest of the copy that was scanned.
    pub digest: String,
    /// Who owns it on disk.
    pub uid: u32,
    /// Files in the copy.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What scanning the copy came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scan", rename_all = "snake_case")]
pub enum GateScan {
    /// The scanner's report: the JSON of a `ScanReport`, which the agent does not read.
    Report {
        /// The JSON.
        json: String,
    },
    /// There is none: the scanner crashed, ran out of time or memory, or the artifact is over a bound.
    Failed {
        /// Why, for a person.
        reason: String,
    },
}

/// The agent's question: may this be used?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateQuestion {
    /// What.
    pub artifact: GatedArtifact,
    /// The session whose process opens it, where it has one.
    pub session: Option<SessionId>,
    /// The program that opens it, for a person.
    pub opener: String,
    /// What the scan came to.
    pub scan: GateScan,
    /// From the open to the scan's end (ms).
    pub scan_ms: u64,
}

/// The gateway's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GateAnswer {
    /// What becomes of it.
    pub action: AdmissionAction,
    /// Why, for a person.
    pub reason: String,
    /// The worst that the scan found.
    pub severity: Severity,
    /// Whether the action takes effect; `false` in observe mode.
    pub enforced: bool,
    /// Rule ids of the worst findings, for the manifest of what is quarantined; at most 20.
    pub rules: Vec<String>,
}

/// An artifact in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QuarantineEntry {
    /// Its number, as operators name it: `q-` and 12 hex digits.
    pub id: String,
    /// What was taken away.
    pub artifact: GatedArtifact,
    /// When, ns since the Unix epoch.
    pub time_ns: u64,
    /// The gate's reason.
    pub reason: String,
    /// The worst that the scan found.
    pub severity: Severity,
    /// Rule ids of the worst findings.
    pub rules: Vec<String>,
    /// Where it lies now.
    pub held_at: String,
}

/// What an operator does with what is in quarantine. The gateway has checked who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum QuarantineVerb {
    /// Tell all entries.
    List,
    /// Put it back where it was. It is scanned again when it is opened. Whoever releases it adds its digest to the allow list
    /// first, so that it is admitted then.
    Restore {
        /// The entry.
        id: String,
    },
    /// Delete it for good.
    Delete {
        /// The entry.
        id: String,
    },
}

/// The agent's answer to a [`QuarantineVerb`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum QuarantineOutcome {
    /// Done. `entries`: all of them for `list`, else the one that was dealt with.
    Done {
        /// The entries.
        entries: Vec<QuarantineEntry>,
    },
    /// Not done.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// What the gateway tells the agent after `Welcome`, and again when it changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GateScope {
    /// Homes whose user-level places are governed, besides those that the agent finds in the password database.
    pub homes: Vec<String>,
    /// Projects (working directories of sessions) whose project-level places are governed.
    pub projects: Vec<String>,
    /// Rises when policy, lists or rules changed: what was admitted before is asked again (without a new scan where the
    /// agent kept the report).
    pub revision: u64,
}
