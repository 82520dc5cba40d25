//! What a decision and a judgement are made from: the `input` document of the Rego packages.

use defenseclaw_model::activity::Activity;
use defenseclaw_model::admission::ArtifactKind;
use defenseclaw_model::call::CallKind;
use defenseclaw_model::decision::{Finding, Mode, Posture};
use defenseclaw_model::facts::Facts;
use defenseclaw_model::ids::SessionId;
use defenseclaw_model::package::PackageFact;
use defenseclaw_model::pins::McpFact;
use defenseclaw_model::record::Binding;
use serde::Serialize;

/// A tool call to decide on.
#[derive(Debug, Serialize)]
pub struct DecideInput<'a> {
    /// The harness's connector.
    pub connector: &'a str,
    /// The session.
    pub session: &'a SessionId,
    /// Whether decisions take effect, and whether a person may let pass what is refused.
    pub mode: Mode,
    /// When the call was declared, ns since the Unix epoch: entries of lists expire.
    pub now_ns: u64,
    /// Working directory at the event.
    pub cwd: Option<&'a str>,
    /// The tool's name.
    pub tool: &'a str,
    /// What kind of action it is.
    pub call_kind: &'a CallKind,
    /// What it declares.
    pub facts: &'a Facts,
    /// What the rule packs found in it, the worst first.
    pub findings: &'a [Finding],
    /// What the session did before.
    pub posture: &'a Posture,
    /// Whether the kernel view is bound to the call, or why not.
    pub binding: &'a Binding,
    /// The profile of the room that the call runs in unless the policy says otherwise. `None`: it runs in none, or it is no
    /// command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<&'a str>,
    /// Artifacts that were refused and that the call would use, while nothing else keeps it from that.
    #[serde(skip_serializing_if = "<[RefusedArtifact]>::is_empty")]
    pub artifacts: &'a [RefusedArtifact],
    /// The MCP server whose tool is called, and how it compares with its pin. `None`: it is no server's tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp: Option<&'a McpFact>,
    /// What is known of the packages that the call would install. Empty: there are none, or none are fetched on this host.
    #[serde(skip_serializing_if = "<[PackageFact]>::is_empty")]
    pub packages: &'a [PackageFact],
}

/// An artifact whose last admission was a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedArtifact {
    /// What it is, for a person.
    pub kind: ArtifactKind,
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub path: String,
    /// Why it was refused.
    pub reason: String,
}

/// An activity to judge.
#[derive(Debug, Serialize)]
pub struct JudgeInput<'a> {
    /// What a process did, with its attribution.
    pub activity: &'a Activity,
    /// What the call that it is attributed to declares; `None` without such a call or where its facts are not known.
    pub declared: Option<&'a Facts>,
    /// That call's tool.
    pub tool: Option<&'a str>,
    /// What the same call did before.
    pub call_effects: CallEffects,
}

/// What a call has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CallEffects {
    /// Paths of secret classes that its processes read.
    pub credential_reads: Vec<String>,
    /// Destinations that they connected to, as `address:port`.
    pub connects: Vec<String>,
    /// Files opened for writing.
    pub writes: u64,
    /// Programs executed.
    pub execs: u64,
}
