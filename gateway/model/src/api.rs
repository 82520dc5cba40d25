//! What the gateway answers to the operator's tool.

use serde::{Deserialize, Serialize};

use crate::config::InstallFetch;
use crate::decision::Mode;
use crate::ids::{CallId, SessionId};
use crate::sandbox::SandboxRoute;
use crate::wire::{AgentStatus, Tier};

/// Answer of `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// The connectors whose calls run in sandboxes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sandboxes: Vec<SandboxStatus>,
    /// The install gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateStatus>,
    /// The signed policy bundle, where one is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleStatus>,
    /// What becomes of packages that calls would install; `None` from an older gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<PackagesStatus>,
}

/// Packages that calls would install, fetched and scanned before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PackagesStatus {
    /// Whether that is done at all.
    pub fetch: InstallFetch,
    /// Waiting or under way.
    pub pending: u64,
    /// Fetched and scanned since the gateway started.
    pub scanned: u64,
    /// Of them, those in which something was found that refuses an installation.
    pub found: u64,
    /// Not fetched or not scanned.
    pub failed: u64,
    /// Why the last one was not; empty where the last one was.
    pub last_failure: String,
}

/// What is known of signed policy bundles.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BundleStatus {
    /// Where they come from: a file or an address.
    pub source: String,
    /// The group of hosts that this one belongs to.
    pub group: String,
    /// This host's ring.
    pub ring: u8,
    /// The one in force; `None`: the host's own folder and what is built in decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<BundleInForce>,
    /// Highest revision that was ever accepted for this group: none below it is taken.
    pub highest: u64,
    /// What came of the last look: `never`, `accepted`, `renewed`, `unchanged`, `held`, `refused`, `unavailable`.
    pub last: String,
    /// When that was, ns since the Unix epoch.
    pub last_ns: u64,
    /// More of it, for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Bundles that were refused since the gateway started.
    pub refused: u64,
    /// Looks since the gateway started that got no bundle to see.
    pub failed: u64,
}

/// A bundle that decides.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BundleInForce {
    /// Its revision.
    pub revision: u64,
    /// Who signed it.
    pub signer: String,
    /// SHA-256 over its archive.
    pub content: String,
    /// Until when it was signed for, ns since the Unix epoch.
    pub expires_ns: u64,
    /// Whether that has passed. It stays in force, because there is none after it.
    pub expired: bool,
}

/// Answer of `POST /v1/policy/bundle/pull` and `…/rollback`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BundleAnswer {
    /// What came of it: `accepted`, `renewed`, `unchanged`, `held`, `refused`, `unavailable`, `rolled_back`.
    pub state: String,
    /// More of it, for a person.
    pub detail: String,
    /// How things stand now.
    pub status: BundleStatus,
}

/// Why an operator goes back to the bundle before: the body of `POST /v1/policy/bundle/rollback`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BundleRollback {
    /// For the record.
    pub reason: String,
}

/// What the install gate does and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GateStatus {
    /// What holds an open until it is answered; `none` where nothing does.
    pub tier: Tier,
    /// What proved that, or why nothing does.
    pub detail: String,
    /// Answers since the gateway started: admitted.
    pub allowed: u64,
    /// Admitted, and a person is told.
    pub warned: u64,
    /// Refused, observed refusals included.
    pub blocked: u64,
    /// Of all these, answered by fail mode because there was no scan.
    pub unscanned: u64,
    /// Paths whose last answer was a refusal.
    pub blocked_paths: u64,
    /// Artifacts in quarantine, as far as the ledger tells.
    pub quarantined: u64,
    /// Entries of the lists that operators change at run time.
    pub listed: u64,
    /// Projects whose places are governed.
    pub projects: u64,
}

/// In which sandbox a connector's calls run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SandboxStatus {
    /// The connector.
    pub connector: String,
    /// The profile that its commands get unless the policy names another.
    pub profile: String,
    /// The ways that there are for its calls, the best first.
    pub routes: Vec<SandboxRoute>,
    /// Whether its mode enforces anything at all.
    pub enforced: bool,
}

/// The ledger's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// For how long an approval holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// For this call.
    #[default]
    Once,
    /// For the same call in this session.
    Session,
    /// For the same call in the same folder, for 30 days.
    AlwaysHere,
}

impl Scope {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Session => "session",
            Self::AlwaysHere => "always-here",
        }
    }
}

/// A call that waits for a person: an item of `GET /v1/approvals`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Approval {
    /// Its id, as a person types it.
    pub id: String,
    /// The session that the call belongs to.
    pub session: SessionId,
    /// The user who owns the session.
    pub owner: u32,
    /// The call.
    pub call: CallId,
    /// The tool's name.
    pub tool: String,
    /// What the call is about, masked: the command, the paths.
    pub summary: String,
    /// Why it was not simply allowed.
    pub reason: String,
    /// The rule that decided.
    pub rule: String,
    /// The folder in which it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Since when it waits, ns since the Unix epoch.
    pub asked_ns: u64,
    /// Seconds until it is answered without a person.
    pub left_s: u64,
}

/// A person's answer: the body of `POST /v1/approvals/{id}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApprovalAnswer {
    /// Whether the call may run.
    pub approve: bool,
    /// For how long an approval holds.
    #[serde(default, rename = "for")]
    pub scope: Scope,
}

/// What a supervised sandbox asks a person: the body of `POST /v1/sandbox/questions`. The texts are shown, masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SandboxAsk {
    /// The program that waits.
    pub program: String,
    /// What it wants to do, for instance `read /home/ada/notes.txt`.
    pub action: String,
    /// Why it is not simply allowed.
    pub reason: String,
    /// The sandbox's profile.
    pub profile: String,
    /// The project that is worked in.
    pub project: String,
    /// How long the program can wait (s).
    pub wait_s: u64,
}

/// Answer of `POST /v1/sandbox/questions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SandboxAsked {
    /// The question's id, for `GET /v1/sandbox/questions/{id}`.
    pub id: String,
}

/// What became of a question so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SandboxAnswer {
    /// A person has yet to answer.
    Waiting,
    /// A person allowed it.
    Approved {
        /// For how long: once, or for as long as the sandbox lives.
        scope: Scope,
    },
    /// A person refused it.
    Denied,
    /// Nobody answered in time, or nobody could be asked.
    Unanswered,
}
