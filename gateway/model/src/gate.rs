//! The install gate: what the agent holds until it is admitted, and what was taken out of the way.
//!
//! The agent sees that something in a governed place is opened, makes a copy of the artifact, has it scanned by an
//! unprivileged process, and asks the gateway with [`GateQuestion`]. The gateway asks the admission policy, writes the ledger
//! and answers with [`GateAnswer`].

use serde::{Deserialize, Serialize};

use crate::admission::{AdmissionAction, ArtifactKind};
use crate::decision::Severity;
use crate::ids::SessionId;
use crate::scan::ScanReport;

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

/// What a scanner's worker writes: its report, and what the gateway needs to verify who signed. Neither is believed: the gateway
/// compares the digest with the agent's, and verifies the signature itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// The report.
    #[serde(flatten)]
    pub report: ScanReport,
    /// The text of the artifact's signature file, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// What a scanner's worker is asked, beside the copy's descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerTask {
    /// What it is.
    pub kind: ArtifactKind,
    /// Its folder's or file's name.
    pub name: String,
    /// Where it lies.
    pub path: String,
    /// Whose place that is.
    pub connector: String,
    /// For a package from a registry: which. The copy's one entry is its file, and what it is is told by its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageTask>,
}

/// A package that a scanner's worker looks into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageTask {
    /// The package as a person writes it: `npm:left-pad@1.3.0`.
    pub package: String,
    /// Its exact version.
    pub version: String,
}

/// The verb of the whole tool that is the scanner's worker.
pub const WORKER_VERB: &str = "scan-worker";

/// Largest message of the worker's protocol, either way (bytes).
pub const WORKER_MESSAGE: usize = 64 << 10;

/// Largest report of a worker (bytes of JSON): far below a frame, also when it is quoted in one.
pub const WORKER_REPORT: usize = 4 << 20;

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

/// The last answer about what lies at a path: an item of `GET /v1/artifacts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LastAdmission {
    /// When, ns since the Unix epoch.
    pub time_ns: u64,
    /// What.
    pub artifact: GatedArtifact,
    /// What the policy said.
    pub answer: GateAnswer,
    /// The policy's revision.
    pub policy: String,
    /// Id of the signer whose signature over it was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// Why there is no scan, where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unscanned: Option<String>,
}

/// Which of an operator's lists of artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ListName {
    /// What may be used.
    Allow,
    /// What may not.
    Block,
}

impl ListName {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Block => "block",
        }
    }
}

/// An entry of a list that operators change at run time, beside those in `lists.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ListEntry {
    /// Its number, as operators name it: `l-` and 8 hex digits.
    pub id: String,
    /// On which list.
    pub list: ListName,
    /// What kind of artifact; `None`: of any, where the digest says which bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ArtifactKind>,
    /// Its name, or a pattern with one `*` at its start or its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its content: `sha256:` and 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Who answers for it.
    pub owner: String,
    /// Why it is there.
    pub reason: String,
    /// Until when it counts, ns since the Unix epoch; `None`: until somebody takes it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ns: Option<u64>,
    /// When it was added, ns since the Unix epoch.
    pub added_ns: u64,
    /// User id of whoever added it.
    pub by_uid: u32,
}

/// What an operator changes: the body of `POST /v1/artifact-lists`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum ListVerb {
    /// Put something on a list.
    Add {
        /// On which.
        list: ListName,
        /// What kind of artifact; needed with a name alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<ArtifactKind>,
        /// Its name or a pattern.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Its content.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
        /// Why.
        reason: String,
        /// For how long (seconds). What is allowed must end; without it that is 30 days.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_s: Option<u64>,
    },
    /// Take an entry off.
    Forget {
        /// The entry.
        id: String,
    },
}

/// Why and for how long something is released: the body of `POST /v1/quarantine/{id}/release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Why.
    pub reason: String,
    /// For how long its content is allowed (seconds); without it 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<u64>,
}
