//! One thing that was found, and a whole inventory of them.

use std::collections::BTreeMap;

use defenseclaw_model::admission::AdmissionAction;
use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::{ScanFinding, ScanVerdict};
use defenseclaw_places::Level;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Most findings that an item keeps by themselves, the worst first; the rest is counted.
pub const MAX_FINDINGS: usize = 20;

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// An installed agent product.
    Harness,
    /// An extension in a folder or file of its own.
    Plugin,
    /// A clone that plugins are installed from. What lies in it is not in use by itself.
    Marketplace,
    /// Instructions in a folder with `SKILL.md`.
    Skill,
    /// One document that is followed when it is called, or when its rule fits: command, agent, rule.
    Prompt,
    /// A file of settings that names servers, hooks or a model.
    Settings,
    /// One MCP server of a settings file or a plugin.
    McpServer,
    /// A tool that a server or plugin declares.
    Tool,
    /// A model that settings name.
    Model,
    /// Something that runs at an event of the harness.
    Hook,
    /// A file that is read into every session.
    Memory,
}

impl ItemKind {
    /// Every kind, in the order in which people read them.
    pub const ALL: [Self; 11] = [
        Self::Harness,
        Self::Plugin,
        Self::Marketplace,
        Self::Skill,
        Self::Prompt,
        Self::Settings,
        Self::McpServer,
        Self::Tool,
        Self::Model,
        Self::Hook,
        Self::Memory,
    ];

    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Harness => "harness",
            Self::Plugin => "plugin",
            Self::Marketplace => "marketplace",
            Self::Skill => "skill",
            Self::Prompt => "prompt",
            Self::Settings => "settings",
            Self::McpServer => "mcp_server",
            Self::Tool => "tool",
            Self::Model => "model",
            Self::Hook => "hook",
            Self::Memory => "memory",
        }
    }
}

impl std::str::FromStr for ItemKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
            format!("{text:?} is no kind: use {}", all.join(", "))
        })
    }
}

/// Whose place something lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The host's.
    System,
    /// A person's.
    User,
    /// A project's.
    Project,
}

impl Scope {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Project => "project",
        }
    }
}

impl From<Level> for Scope {
    fn from(level: Level) -> Self {
        match level {
            Level::System => Self::System,
            Level::User => Self::User,
            Level::Project => Self::Project,
        }
    }
}

/// What the scanner said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanSummary {
    /// The greatest severity, and how sure.
    pub verdict: ScanVerdict,
    /// How many findings of each severity.
    pub counts: BTreeMap<String, u64>,
    /// The worst of them; evidence is masked.
    pub findings: Vec<ScanFinding>,
    /// Which rules scanned.
    pub rules: String,
}

impl ScanSummary {
    /// Of findings, the worst first.
    pub fn of(findings: &[ScanFinding], rules: &str) -> Self {
        let mut counts = BTreeMap::new();
        for finding in findings {
            *counts.entry(finding.severity.as_str().to_owned()).or_insert(0) += 1;
        }
        let mut kept: Vec<&ScanFinding> = findings.iter().collect();
        kept.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Self {
            verdict: ScanVerdict::of(findings),
            counts,
            findings: kept.into_iter().take(MAX_FINDINGS).cloned().collect(),
            rules: rules.to_owned(),
        }
    }

    /// How many findings there are.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// Whether something may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmissionState {
    /// What becomes of it.
    pub action: AdmissionAction,
    /// Why, for a person.
    pub reason: String,
    /// Who says so.
    pub source: AdmissionSource,
    /// The policy's revision.
    pub policy: String,
    /// Whose signature over it was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
}

/// Who says whether something may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdmissionSource {
    /// The policy, asked here and now. Nothing was enforced by that.
    Policy,
    /// The gateway: what it answered last when the gate asked.
    Gateway,
}

/// A package of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// `npm`, `pypi`, `deb`, `oci`.
    pub registry: String,
    /// Its name there.
    pub name: String,
    /// The version that is named; `None`: whichever is newest at each start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What only things of one kind have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Details {
    /// Nothing more.
    None,
    /// A harness.
    Harness {
        /// For people.
        product: String,
        /// Who makes it.
        supplier: String,
        /// `npm`, `pypi`, `dpkg`, `native`, `package`, `program`, or `traces`: only its settings are there.
        how: String,
        /// The package, where a registry has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        package: Option<Package>,
    },
    /// A plugin, skill or prompt.
    Extension {
        /// What its manifest says of its licence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        license: Option<String>,
        /// Who it says wrote it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        author: Option<String>,
        /// The marketplace that it was installed from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        marketplace: Option<String>,
        /// Whether it is DefenseClaw's own, byte for byte.
        #[serde(default)]
        ours: bool,
    },
    /// An MCP server.
    Server(ServerDetails),
    /// A hook.
    Hook {
        /// At which event.
        event: String,
        /// For which tools.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        matcher: Option<String>,
        /// What runs, masked.
        command: String,
        /// Whether it is DefenseClaw's own hook client.
        ours: bool,
    },
    /// A model.
    Model {
        /// Who serves it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider: Option<String>,
        /// Where the settings say so: `env.ANTHROPIC_MODEL`.
        setting: String,
    },
    /// A tool.
    Tool {
        /// Who told of it: `manifest`, `settings`, `pins`.
        source: String,
    },
}

/// How a server is started or reached. Values of variables and headers are not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerDetails {
    /// `stdio`, `http`, `sse`, `ws`, or `unknown`.
    pub transport: String,
    /// The program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Its arguments, masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its address, without user, password and values of its query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The package that a runner fetches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Package>,
    /// Names of environment variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Names of headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Whether the settings switch it off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// The project that the settings name it for, where a user's settings do so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Twelve hex digits over what it is and where it lies: the same thing in the same place keeps it.
    pub id: String,
    /// What it is.
    pub kind: ItemKind,
    /// Its name, as it says itself, else that of its folder or file.
    pub name: String,
    /// Its version, where one is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where it lies; for what stands in a file, the file.
    pub path: String,
    /// Where a link at that path leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Whose place that is.
    pub level: Scope,
    /// The harnesses that read it there.
    pub connectors: Vec<String>,
    /// Who owns it on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_uid: Option<u32>,
    /// `sha256:` and 64 hex digits: for what lies in a folder or file, the digest that the scanner and the admission policy have
    /// of it; for what stands in a file (a server, a hook), over its definition without values of variables and headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// When it was last written, ns since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_ns: Option<u64>,
    /// The item that it belongs to: the plugin of a skill, the settings of a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<String>,
    /// What the scanner said; `None`: it was not scanned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<ScanSummary>,
    /// Whether it may be used; `None`: nobody was asked, or it is nothing that is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<AdmissionState>,
    /// What only things of its kind have.
    pub details: Details,
}

impl Item {
    /// An item with nothing but its identity. `key` tells things of one path apart; `named` stands for the path where the path
    /// changes with the version.
    pub(crate) fn new(
        kind: ItemKind,
        name: &str,
        path: &str,
        level: Scope,
        (named, key): (&str, &str),
    ) -> Self {
        Self {
            id: id_of(kind, named, key),
            kind,
            name: name.to_owned(),
            version: None,
            path: path.to_owned(),
            link: None,
            level,
            connectors: Vec::new(),
            owner_uid: None,
            digest: None,
            size: None,
            files: None,
            modified_ns: None,
            part_of: None,
            scan: None,
            admission: None,
            details: Details::None,
        }
    }

    /// The greatest severity of its findings; `None` where it was not scanned.
    pub fn severity(&self) -> Option<Severity> {
        Some(self.scan.as_ref()?.verdict.severity)
    }

    /// What runs, in one line: a server's command or address, a hook's command.
    pub fn command(&self) -> Option<String> {
        match &self.details {
            Details::Server(server) => match (&server.command, &server.url) {
                (Some(command), _) => {
                    let words = std::iter::once(command).chain(&server.args);
                    Some(words.map(String::as_str).collect::<Vec<_>>().join(" "))
                }
                (None, url) => url.clone(),
            },
            Details::Hook { command, .. } => Some(command.clone()),
            _ => None,
        }
    }
}

fn id_of(kind: ItemKind, path: &str, key: &str) -> String {
    let mut digest = Sha256::new();
    for part in [kind.as_str(), path, key] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    hex(&digest.finalize()).chars().take(12).collect()
}

/// `sha256:` and the hex digits of some bytes' hash.
pub(crate) fn sha256_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Something that could not be looked at, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Trouble {
    /// Where.
    pub path: String,
    /// What it is: `unreadable`, `invalid`, `limit`, `special`, `outside`.
    pub kind: String,
    /// One sentence for a person, with what to do.
    pub message: String,
}

impl Trouble {
    pub(crate) fn new(path: impl Into<String>, kind: &str, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            kind: kind.to_owned(),
            message: message.into(),
        }
    }
}

/// Everything that one scan found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// When it began, ns since the Unix epoch.
    pub time_ns: u64,
    /// The host's name.
    pub host: String,
    /// The program that scanned.
    pub tool: String,
    /// The homes and projects that were looked at.
    pub roots: Vec<String>,
    /// Revisions of rules and policy; `None`: nothing was scanned for findings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// What was found, ordered by kind, path and name.
    pub items: Vec<Item>,
    /// What could not be looked at.
    pub troubles: Vec<Trouble>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_their_exact_names() {
        for kind in ItemKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("skills".parse::<ItemKind>().unwrap_err().contains("mcp_server"));
    }

    #[test]
    fn an_id_tells_kind_path_and_key_apart() {
        let id = |kind, path, key| Item::new(kind, "n", path, Scope::User, (path, key)).id;
        let ids = [
            id(ItemKind::Skill, "/a", "b"),
            id(ItemKind::Skill, "/ab", ""),
            id(ItemKind::Skill, "/a", ""),
            id(ItemKind::Prompt, "/a", "b"),
        ];
        for (i, one) in ids.iter().enumerate() {
            assert_eq!(one.len(), 12);
            assert!(!ids[i + 1..].contains(one), "{ids:?}");
        }
    }

    #[test]
    fn a_summary_keeps_the_worst_and_counts_all() {
        let finding = |severity| ScanFinding {
            rule: "r".to_owned(),
            category: "c".to_owned(),
            severity,
            confidence: 50,
            file: String::new(),
            line: 0,
            message: String::new(),
            evidence: String::new(),
            remedy: String::new(),
        };
        let mut findings = vec![finding(Severity::Low); MAX_FINDINGS + 5];
        findings.push(finding(Severity::High));
        let summary = ScanSummary::of(&findings, "rev");
        assert_eq!(
            (summary.total(), summary.findings.len()),
            (MAX_FINDINGS as u64 + 6, MAX_FINDINGS)
        );
        assert_eq!(summary.findings[0].severity, Severity::High);
        assert_eq!(
            (summary.counts["LOW"], summary.counts["HIGH"]),
            (MAX_FINDINGS as u64 + 5, 1)
        );
    }
}
