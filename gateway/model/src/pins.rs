//! Pins of MCP servers: what a server was when somebody looked, to compare with what it is now.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What was seen of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PinSeen {
    /// Its name in the settings.
    pub server: String,
    /// The folder in which these settings hold; empty: everywhere for their user.
    pub scope: String,
    /// The settings file.
    pub file: String,
    /// How it is started or reached: program, arguments, package, names of variables; nothing secret.
    pub launch: Value,
    /// What it offers, each as it said it: `tool NAME`, `prompt NAME`, `instructions`.
    pub items: BTreeMap<String, Value>,
    /// Whether that is all: `false` where its answers went over a bound or broke off.
    pub complete: bool,
}

/// Request of `POST /v1/pins/check`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PinCheck {
    /// The settings files that were looked through: a server of theirs that is neither seen nor named below is gone.
    pub files: Vec<String>,
    /// Servers that stand there and could not be asked, as settings file and name.
    pub unasked: Vec<(String, String)>,
    /// What was seen.
    pub servers: Vec<PinSeen>,
}

/// How a server compares with its pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PinState {
    /// Seen, and not approved yet. What was seen first is what later answers are compared with.
    New,
    /// As it was approved.
    Same,
    /// Another than its pin: held until somebody approves what it is now.
    Changed,
    /// No longer in its settings.
    Gone,
}

impl PinState {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Same => "same",
            Self::Changed => "changed",
            Self::Gone => "gone",
        }
    }
}

/// One difference between a pin and what was seen last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PinChange {
    /// What it is about: `launch`, `tool NAME`, `prompt NAME`, `instructions`, `answer`.
    pub item: String,
    /// The field, as a JSON pointer; empty: the whole item.
    pub pointer: String,
    /// `added`, `removed` or `changed`.
    pub what: String,
    /// Old and new text in unified form, masked and bounded.
    pub diff: String,
}

/// One pin, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pin {
    /// By which operators name it.
    pub id: String,
    /// Whose server it is (user id).
    pub uid: u32,
    /// The server's name.
    pub server: String,
    /// The folder in which it is used; empty: everywhere.
    pub scope: String,
    /// The settings file.
    pub file: String,
    /// How it compares.
    pub state: PinState,
    /// How many tools, prompts and instructions are pinned.
    pub items: u64,
    /// SHA-256 over what is pinned.
    pub digest: String,
    /// SHA-256 over what was seen last.
    pub seen_digest: String,
    /// When it was pinned, ns since the Unix epoch.
    pub pinned_ns: u64,
    /// When it was seen last, ns since the Unix epoch.
    pub seen_ns: u64,
    /// Who approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<u32>,
    /// What is different; only where one pin was asked for, and in answers to a check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<PinChange>,
    /// How it is started, as it was seen last; only where one pin was asked for.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub launch: Value,
    /// What was seen last, each with its SHA-256; only where one pin was asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub offers: BTreeMap<String, String>,
}

/// Answer of `GET /v1/pins` and `POST /v1/pins/check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pins {
    /// The pins, by server and settings file.
    pub pins: Vec<Pin>,
}

/// Request of `POST /v1/pins/approve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PinApproval {
    /// Which pin.
    pub id: String,
    /// `seen_digest` of what the person looked at: what came since is not approved with it.
    pub digest: String,
}

/// What the policy is told of the server whose tool is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpFact {
    /// The server's name as pinned, or as the tool's name says it; empty where the harness does not tell.
    pub server: String,
    /// The tool's own name.
    pub tool: String,
    /// `same`, `changed` or `unknown`.
    pub pin: PinStanding,
    /// The pin, for a person who is to look at it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
}

/// How a server stands where one of its tools is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinStanding {
    /// Approved, and the same when it was asked last.
    Same,
    /// Never asked, or never approved.
    Unknown,
    /// Changed since, and held.
    Changed,
}
