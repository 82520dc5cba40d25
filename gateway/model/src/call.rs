//! Tool calls and the hook events around them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::facts::Facts;
use crate::ids::{CallId, SessionId};

/// One event that a harness's hook reported, in our words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HookEvent {
    /// The session.
    pub session: SessionId,
    /// The harness's working directory at the event, as it says; absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// What happened.
    pub kind: HookEventKind,
}

/// What a hook can report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum HookEventKind {
    /// A session began or was resumed.
    SessionStart {
        /// The harness's word for why: `startup`, `resume`, …
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        /// The model, if the harness says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
    },
    /// The person sent a prompt.
    UserPromptSubmit {
        /// Its text.
        prompt: String,
    },
    /// A tool is about to run.
    PreToolUse(ToolCall),
    /// A tool has run.
    PostToolUse {
        /// Which call.
        call: CallId,
        /// The tool's name.
        tool: String,
        /// Whether the harness says that it failed.
        failed: bool,
        /// What the tool gave back, as text and shortened; empty if the harness does not say.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        result: String,
    },
    /// The harness asks whether a tool may run, in place of its own prompt to the person. Decided like a tool call.
    PermissionRequest(ToolCall),
    /// The agent said something to the person.
    Completion {
        /// What.
        text: String,
    },
    /// The agent finished its turn.
    Stop,
    /// Something that we note and no more: a notification, a compaction, a sub-agent's start.
    Notice {
        /// The harness's name of the event.
        name: String,
    },
    /// The session ended.
    SessionEnd {
        /// The harness's word for why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// One declared action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ToolCall {
    /// The harness's id of the call.
    pub call: CallId,
    /// The tool's name, for instance `Bash`.
    pub tool: String,
    /// What kind of action that tool is.
    pub kind: CallKind,
    /// The tool's input as the harness gave it.
    pub input: Value,
}

/// What a tool does, as far as attribution is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CallKind {
    /// Runs a shell command in a child process of the harness.
    Command {
        /// The command line.
        command: String,
        /// Whether the harness was told not to wait for it.
        #[serde(default)]
        background: bool,
    },
    /// The harness process itself writes these files.
    FileWrite {
        /// Absolute paths.
        paths: Vec<String>,
    },
    /// The harness process itself reads these files.
    FileRead {
        /// Absolute paths.
        paths: Vec<String>,
    },
    /// The harness process (or a helper of it) searches below these folders.
    FileSearch {
        /// Absolute paths.
        paths: Vec<String>,
    },
    /// The harness process itself connects out.
    Network {
        /// The URLs or queries.
        targets: Vec<String>,
    },
    /// Anything else: MCP tools, sub-agents, planning tools.
    Other,
}

/// What the agent needs to know of a call to attribute activities to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CallDeclaration {
    /// The call.
    pub call: CallId,
    /// The tool's name.
    pub tool: String,
    /// What kind of action it is.
    pub kind: CallKind,
    /// Working directory at the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// What it declares.
    pub facts: Facts,
}
