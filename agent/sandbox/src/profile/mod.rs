//! Profiles: what a sandbox grants and what it closes, as data.
//!
//! A profile is one YAML file of `policies/sandbox/`. It may extend another one: lists grow, single values replace. What stands in
//! braces is filled in for each launch: `{project}`, `{home}`, `{tmp}`.

mod load;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use load::{EMBEDDED, ProfileError, Profiles};

/// A profile with everything that it inherits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// Its name, which is also its file's.
    pub name: String,
    /// What it is for, in one sentence.
    pub summary: String,
    /// Whether it only serves to be extended.
    #[serde(rename = "abstract")]
    pub is_abstract: bool,
    /// Files and folders.
    pub files: Files,
    /// Internet sockets.
    pub network: Network,
    /// Unix sockets.
    pub unix_sockets: UnixSockets,
    /// The temporary folders.
    pub tmp: Tmp,
    /// Environment variables.
    pub environment: Environment,
    /// What must be in force before anything runs.
    pub requires: Vec<Family>,
}

/// Files and folders of a profile, as patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// What may be read and executed, with everything below it.
    pub read: Vec<String>,
    /// What may be written, too.
    pub write: Vec<String>,
    /// Device nodes that may be read, written and controlled.
    pub devices: Vec<String>,
    /// Neither read nor written, wherever a grant would reach them.
    pub closed: Vec<String>,
    /// What `closed` would close, but stays open: the same place, or names that the search passes over.
    pub open: Vec<String>,
    /// Read, but not written, replaced or moved away.
    pub sealed: Vec<String>,
    /// Sealed also where it is missing.
    pub reserved: Vec<Reserved>,
}

/// A path that nobody may make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reserved {
    /// Which.
    pub path: String,
    /// Only where one of these exists.
    #[serde(rename = "if")]
    pub if_exists: Vec<String>,
}

/// Internet sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Which of them.
    pub mode: NetworkMode,
    /// For [`NetworkMode::Allowlist`]: `NAME:PORT`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// Which internet sockets a sandbox has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// TCP and UDP.
    #[default]
    Full,
    /// None at all.
    None,
    /// TCP to named hosts.
    Allowlist,
}

/// Which Unix sockets a sandbox reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnixSockets {
    /// All that the user reaches.
    Any,
    /// Those in the project and the temporary folder, and the gateway's.
    #[default]
    Inside,
}

/// What the temporary folders are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tmp {
    /// The host's.
    #[default]
    Shared,
    /// Empty ones that vanish with the sandbox.
    Private,
}

/// Environment variables, by patterns over their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Environment {
    /// Those that are kept; where this is empty, all.
    pub keep: Vec<String>,
    /// Those that are taken away, also from what is kept.
    pub drop: Vec<String>,
    /// Those that are kept in spite of `drop`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pass: Vec<String>,
}

/// A family of actions that a sandbox closes or bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Reading files that are not granted.
    FileReads,
    /// Writing, making, deleting and renaming files that are not granted.
    FileWrites,
    /// What stays closed inside what is granted.
    ClosedFiles,
    /// What may not be changed inside what may be written.
    SealedFiles,
    /// Device nodes' controls.
    Devices,
    /// Internet sockets.
    Network,
    /// Path Unix sockets outside of the sandbox.
    UnixSockets,
    /// Abstract Unix sockets outside of the sandbox.
    AbstractSockets,
    /// Signals to processes outside of the sandbox.
    Signals,
    /// System calls that serve to get out, or that other protections do not see.
    SystemCalls,
    /// Temporary folders of the sandbox's own.
    PrivateTmp,
    /// Gaining privileges by set-user-id programs and file capabilities.
    NewPrivileges,
    /// Capabilities that root brings along.
    Capabilities,
    /// Descriptors that the caller left open.
    Descriptors,
}

impl Family {
    /// The stable name, as in profiles.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FileReads => "file-reads",
            Self::FileWrites => "file-writes",
            Self::ClosedFiles => "closed-files",
            Self::SealedFiles => "sealed-files",
            Self::Devices => "devices",
            Self::Network => "network",
            Self::UnixSockets => "unix-sockets",
            Self::AbstractSockets => "abstract-sockets",
            Self::Signals => "signals",
            Self::SystemCalls => "system-calls",
            Self::PrivateTmp => "private-tmp",
            Self::NewPrivileges => "new-privileges",
            Self::Capabilities => "capabilities",
            Self::Descriptors => "descriptors",
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
