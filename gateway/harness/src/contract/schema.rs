//! The form of `policies/harness/NAME.yaml`.

use std::collections::BTreeMap;

use defenseclaw_detect::tools::{Selector, ToolRule};
use defenseclaw_model::sandbox::SandboxRoute;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A contract's file. The last three keys are the agent's: what the harness does by itself, without any tool call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) connector: String,
    pub(super) product: String,
    pub(super) evidence: Evidence,
    pub(super) hook: Hook,
    pub(super) payload: Payload,
    pub(super) primary: String,
    pub(super) events: BTreeMap<String, EventEntry>,
    pub(super) replies: BTreeMap<String, ReplyEntries>,
    pub(super) tools: Vec<ToolRule>,
    pub(super) sandbox: SandboxEntry,
    #[serde(default, rename = "temporary_suffix")]
    _temporary_suffix: IgnoredAny,
    #[serde(rename = "harness")]
    _harness: IgnoredAny,
    #[serde(rename = "housekeeping")]
    _housekeeping: IgnoredAny,
}

/// What a contract rests on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Versions of the harness that the tests run against this contract.
    #[serde(default)]
    pub tried: Vec<String>,
    /// Statements that the harness's own documentation or source makes.
    #[serde(default)]
    pub documented: Vec<String>,
    /// Statements that nobody has confirmed.
    #[serde(default)]
    pub assumed: Vec<String>,
}

/// How the harness reaches us, and what it does when we do not answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hook {
    pub(super) transport: Transport,
    pub(super) limit_ms: u64,
    pub(super) late: Outcome,
    pub(super) malformed: Outcome,
    pub(super) crashed: Outcome,
}

/// How a harness reaches us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// It starts `defenseclaw-hook`.
    Command,
    /// A plugin inside the harness speaks over the gateway's socket.
    Plugin,
}

/// What becomes of a tool call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It runs as if there were no hook.
    Runs,
    /// It does not run.
    Refused,
    /// The harness asks the person.
    Asks,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payload {
    #[serde(default)]
    pub(super) event: Option<String>,
    pub(super) session: Vec<Selector>,
    #[serde(default)]
    pub(super) no_session: NoSession,
    #[serde(default)]
    pub(super) call: Vec<Selector>,
    #[serde(default)]
    pub(super) cwd: Vec<Selector>,
    #[serde(default)]
    pub(super) tool: Vec<Selector>,
    #[serde(default)]
    pub(super) input: Vec<Selector>,
    #[serde(default)]
    pub(super) home: Vec<HomeSource>,
}

/// What is taken for the session where a payload names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NoSession {
    /// The payload is at fault.
    #[default]
    Fault,
    /// The working folder stands for the session.
    ByFolder,
}

/// Where the harness's home folder can be read off: the part of a path before a marker.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HomeSource {
    pub(super) at: Selector,
    pub(super) above: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventEntry {
    pub(super) kind: EventKind,
    #[serde(default)]
    pub(super) text: Vec<Selector>,
    #[serde(default)]
    pub(super) model: Vec<Selector>,
    #[serde(default)]
    pub(super) tool: Option<ToolEntry>,
    #[serde(default)]
    pub(super) input: Option<InputEntry>,
    #[serde(default)]
    pub(super) failed: Option<FailedEntry>,
    #[serde(default)]
    pub(super) result: Vec<Selector>,
    #[serde(default)]
    pub(super) said: Vec<Selector>,
    #[serde(default)]
    pub(super) replies: Option<String>,
}

/// What an event is in our words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EventKind {
    SessionStart,
    Prompt,
    Call,
    Permission,
    CallEnd,
    Completion,
    Stop,
    Notice,
    SessionEnd,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ToolEntry {
    At(Vec<Selector>),
    Is { is: String },
    Mcp { mcp: Vec<Selector> },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum InputEntry {
    At(Vec<Selector>),
    Pick { pick: BTreeMap<String, Selector> },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum FailedEntry {
    Always(bool),
    When { when: Selector },
    Says { at: Selector, says: Vec<String> },
}

/// The replies to one kind of event.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplyEntries {
    #[serde(default)]
    pub(super) allow: ReplyEntry,
    pub(super) deny: ReplyEntry,
    #[serde(default)]
    pub(super) ask: Option<ReplyEntry>,
    #[serde(default)]
    pub(super) modify: Option<ReplyEntry>,
    #[serde(default)]
    pub(super) ask_modify: Option<ReplyEntry>,
}

/// One reply: templates with `{reason}`, `{event}` and `{input}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ReplyEntry {
    pub(super) exit: u8,
    pub(super) body: String,
    pub(super) stderr: String,
}

/// How a command gets into a sandbox.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SandboxEntry {
    /// The best first.
    pub(super) routes: Vec<SandboxRoute>,
    /// The tools whose commands are run by a shell of their own.
    #[serde(default)]
    pub(super) tools: Vec<String>,
    /// The field of their input that holds the command.
    #[serde(default)]
    pub(super) field: String,
    /// Whether the shell that runs a command is there for that command only.
    #[serde(default)]
    pub(super) exec: bool,
}
