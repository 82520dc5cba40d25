//! Rows of the audit ledger.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::activity::Activity;
use crate::call::CallKind;
use crate::decision::{Decision, Finding, Posture, Severity};
use crate::facts::Facts;
use crate::gate::{GateAnswer, GatedArtifact, QuarantineEntry};
use crate::ids::{CallId, SessionId};
use crate::package::{PackageRelease, PackageState};
use crate::sandbox::{SandboxProtection, SandboxReport, SeenOutside};

/// A record before it has a place in the chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Draft {
    /// When it happened, ns since the Unix epoch.
    pub time_ns: u64,
    /// The session that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The call that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// What happened.
    pub body: RecordBody,
}

impl Draft {
    /// The severity that filters see: the decision's or the finding's, else `NONE`.
    pub fn severity(&self) -> Severity {
        match &self.body {
            RecordBody::ToolCall { decision, .. } => decision.severity,
            RecordBody::Finding { finding, .. } => finding.severity,
            // What is admitted has no severity beyond its findings': filters on what was refused see it.
            RecordBody::Admission { answer, .. } => answer.severity,
            RecordBody::Quarantine { entry, .. } => entry.severity,
            RecordBody::Package { severity, .. } => *severity,
            RecordBody::Gap { .. } => Severity::Medium,
            RecordBody::Sandbox { report, .. } if report.protections.iter().any(SandboxProtection::lacks) => {
                Severity::Low
            }
            // A server that says something else than what was approved is held until somebody has looked at it.
            RecordBody::Pin { state, .. } if state == "changed" => Severity::High,
            // Somebody offers a policy that the host does not take, or none has come for so long that the last one has ended.
            RecordBody::Bundle { state, .. } => match state.as_str() {
                "refused" => Severity::High,
                "expired" => Severity::Medium,
                "unavailable" | "rolled_back" => Severity::Low,
                _ => Severity::None,
            },
            _ => Severity::None,
        }
    }
}

/// A record in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Record {
    /// Place in the chain, from 1.
    pub seq: u64,
    /// What was recorded.
    #[serde(flatten)]
    pub draft: Draft,
    /// SHA-256 of the record before (hex), 64 zeros for the first.
    pub prev_hash: String,
    /// SHA-256 of this record (hex).
    pub hash: String,
}

/// What a record says.
#[expect(
    clippy::large_enum_variant,
    reason = "a record lives from its making to its append; boxing what most of them hold costs more than it saves"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RecordBody {
    /// A session began.
    SessionStart {
        /// The harness's word for why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        /// Working directory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cwd: Option<String>,
        /// User id of the hook client.
        uid: u32,
        /// Whether the kernel view is bound to the session, or why not.
        binding: Binding,
    },
    /// The person sent a prompt.
    Prompt {
        /// Its text, masked and shortened.
        text: String,
    },
    /// A tool call was declared and decided.
    ToolCall {
        /// The tool's name.
        tool: String,
        /// What kind of action it is.
        call_kind: CallKind,
        /// The tool's input, masked and shortened.
        input: Value,
        /// What it declares.
        facts: Facts,
        /// What the policy said.
        decision: Decision,
        /// From the request's arrival to the decision, microseconds.
        decision_us: u64,
        /// Whether the agent had the call before the harness was answered, or why not.
        binding: Binding,
        /// What the session had done so far, where that bore on the decision.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        posture: Option<Posture>,
    },
    /// A call waited for a person.
    Approval {
        /// The approval's id, as operators name it.
        approval: String,
        /// What became of it: `requested`, `approved`, `denied`, `timed_out`, `withdrawn`.
        state: String,
        /// For how long an approval holds: `once`, `session`, `always-here`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
        /// User id of whoever answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by_uid: Option<u32>,
        /// For a person: what was asked, or why the answer was what it was.
        detail: String,
    },
    /// A harness's hook was installed, removed, found changed, or put back.
    Harness {
        /// The connector.
        connector: String,
        /// The harness's file.
        file: String,
        /// `installed`, `removed`, `changed`, `missing`, `repaired`, `unrepaired`, `unwatched`.
        state: String,
        /// More, for a person.
        detail: String,
    },
    /// A command entered a sandbox.
    Sandbox {
        /// What is in force, as the launcher proved it.
        report: SandboxReport,
        /// What the kernel says of the process; `None` where that cannot be told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<SeenOutside>,
        /// The process, as the gateway sees it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// Its user.
        uid: u32,
    },
    /// Whether an artifact may be used.
    Admission {
        /// What.
        artifact: GatedArtifact,
        /// The program that opened it.
        opener: String,
        /// What the policy said.
        answer: GateAnswer,
        /// The policy's revision.
        policy: String,
        /// Id of the signer whose signature over it was verified.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signed_by: Option<String>,
        /// Why there is no scan, where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unscanned: Option<String>,
        /// From the open to the scan's end (ms).
        scan_ms: u64,
    },
    /// Something went into quarantine, or came out of it.
    Quarantine {
        /// What, and where it lies or lay.
        entry: QuarantineEntry,
        /// `held`, `restored`, `released`, `deleted`.
        state: String,
        /// User id of whoever asked; `None`: the gate itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by_uid: Option<u32>,
    },
    /// A package that a call would install was fetched and scanned, or could not be.
    Package {
        /// As the worker was asked for it: `npm:left-pad`, `pypi:six==1.17.0`.
        package: String,
        /// How far that came.
        state: PackageState,
        /// Which version and file its registry gave, where it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<PackageRelease>,
        /// The worst that was found.
        severity: Severity,
        /// How much was found; the worst follow as records of their own.
        findings: u64,
        /// From the question to the scan's end (ms).
        scan_ms: u64,
        /// Why there is no scan, where there is none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// An operator's list of artifacts was changed.
    ListChange {
        /// `allow` or `block`.
        list: String,
        /// `added` or `removed`.
        state: String,
        /// The entry, as the list holds it.
        entry: Value,
        /// User id of whoever did it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by_uid: Option<u32>,
    },
    /// An MCP server was compared with its pin, or somebody answered for one.
    Pin {
        /// The pin's id, as operators name it.
        pin: String,
        /// The server's name.
        server: String,
        /// The folder in which it is used; empty: everywhere.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        scope: String,
        /// `new`, `changed` (it is held), `returned`, `gone`, `approved`, `withdrawn`, `forgotten`.
        state: String,
        /// SHA-256 over what was seen of it.
        digest: String,
        /// Who saw it, or who answered (user id).
        by_uid: u32,
        /// What is different, for a person.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// A signed policy bundle was taken, refused or put aside.
    Bundle {
        /// `accepted`, `renewed`, `refused`, `held`, `unavailable`, `expired`, `rolled_back`.
        state: String,
        /// Where it came from: a file or an address.
        source: String,
        /// The group of hosts that this one belongs to.
        group: String,
        /// Its revision, where its signature holds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
        /// Who signed it, where the signature holds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signer: Option<String>,
        /// SHA-256 over its archive, where its signature holds.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        content: String,
        /// The policy that decides from then on.
        policy: String,
        /// More, for a person.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
        /// User id of whoever asked for it; `None`: the gateway by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by_uid: Option<u32>,
    },
    /// Something that a harness reported and that is noted, no more.
    Notice {
        /// The harness's name of the event.
        name: String,
    },
    /// What the agent said to the person.
    Completion {
        /// Its text, masked and shortened.
        text: String,
    },
    /// A tool call ended.
    CallEnd {
        /// The tool's name.
        tool: String,
        /// Whether the harness says that it failed.
        failed: bool,
    },
    /// The agent finished its turn.
    Stop {},
    /// A session ended.
    SessionEnd {
        /// The harness's word for why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The kernel saw a labelled process act.
    Activity {
        /// What it did.
        activity: Activity,
    },
    /// A rule found something.
    Finding {
        /// What.
        finding: Finding,
        /// The record that it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        about_seq: Option<u64>,
    },
    /// Activities are missing.
    Gap {
        /// Why: `ring_full`, `agent_restart`, `agent_overflow`, …
        cause: String,
        /// How many, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing: Option<u64>,
        /// What to make of it, for a person.
        detail: String,
    },
    /// A daemon started, stopped or changed its state.
    Daemon {
        /// `gateway` or `agent`.
        daemon: String,
        /// `started`, `stopped`, `connected`, `disconnected`.
        state: String,
        /// More, for a person.
        detail: String,
    },
}

impl RecordBody {
    /// The record's kind, as in its JSON form.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SessionStart { .. } => "session_start",
            Self::Prompt { .. } => "prompt",
            Self::ToolCall { .. } => "tool_call",
            Self::Approval { .. } => "approval",
            Self::Harness { .. } => "harness",
            Self::Sandbox { .. } => "sandbox",
            Self::Admission { .. } => "admission",
            Self::Quarantine { .. } => "quarantine",
            Self::Package { .. } => "package",
            Self::ListChange { .. } => "list_change",
            Self::Pin { .. } => "pin",
            Self::Bundle { .. } => "bundle",
            Self::Notice { .. } => "notice",
            Self::Completion { .. } => "completion",
            Self::CallEnd { .. } => "call_end",
            Self::Stop {} => "stop",
            Self::SessionEnd { .. } => "session_end",
            Self::Activity { .. } => "activity",
            Self::Finding { .. } => "finding",
            Self::Gap { .. } => "gap",
            Self::Daemon { .. } => "daemon",
        }
    }
}

/// Whether the kernel view was bound to a session or call before the harness was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Binding {
    /// The agent acknowledged.
    Bound,
    /// No agent is connected: only hooks are in force.
    NoAgent,
    /// The agent refused or failed.
    Failed {
        /// Why, for a person.
        reason: String,
    },
    /// The hook was called from inside a tool call's own process tree: the declaration is not the harness's.
    Forged {
        /// Who called, for a person.
        caller: String,
    },
}
