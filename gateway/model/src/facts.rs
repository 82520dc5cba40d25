//! Typed statements derived from a tool call.

use serde::{Deserialize, Serialize};

/// Everything a tool call declares that it will do, as far as it can be told from its input.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Facts {
    /// Programs that the call runs, in order of appearance.
    pub programs: Vec<Program>,
    /// Paths that the call reads: absolute and lexically normalised where that is possible.
    pub reads: Vec<PathFact>,
    /// Paths that the call writes, creates or removes.
    pub writes: Vec<PathFact>,
    /// Hosts that the call names.
    pub hosts: Vec<HostFact>,
    /// Program pairs connected by a pipe, as indices into `programs`.
    pub pipes: Vec<Pipe>,
    /// Privilege changes, for instance `sudo`, `setuid`.
    pub privilege: Vec<String>,
    /// Where data goes: from a secret to the network, from the network into a shell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<Flow>,
    /// What the programs do beyond reading and writing, where their arguments tell it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub behaviours: Vec<Behaviour>,
    /// What the call would install: packages, scripts, and what an agent itself is extended by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub installs: Vec<Install>,
    /// What could not be resolved, so that policy can weigh it.
    pub opaque: Vec<Opaque>,
}

/// One program and its arguments, as far as they are literal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Program {
    /// The last path component: `curl` for `/usr/bin/curl`.
    pub name: String,
    /// As written, program first. A word that holds an expansion stands as its source text.
    pub argv: Vec<String>,
}

/// A path and what kind of path it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PathFact {
    /// Absolute where it could be resolved, else as written.
    pub path: String,
    /// Its class by `policies/paths.yaml`, for instance `credential`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The programs that read or write it, as indices into [`Facts::programs`]; none where that is not known. Not kept: what is
    /// recorded says which programs and which paths there were.
    #[serde(skip)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub by: Vec<usize>,
}

/// A network destination named in the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostFact {
    /// Name or address, lower case, without brackets.
    pub host: String,
    /// Port, where it was named or follows from the URL's scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// One pipe between two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pipe {
    /// Index of the writer in [`Facts::programs`].
    pub from: usize,
    /// Index of the reader in [`Facts::programs`].
    pub to: usize,
}

/// Data that moves from one place to another within the call: through pipes, substitutions, redirections, variables, files
/// that the call itself writes and then reads, and options such as `curl -d @FILE`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Flow {
    /// Where the data comes from.
    pub from: FlowEnd,
    /// Where it goes.
    pub to: FlowEnd,
    /// Programs that it passes on the way, in order: `base64`, `gzip`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub through: Vec<String>,
}

/// One end of a [`Flow`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FlowEnd {
    /// What kind of place it is.
    pub kind: FlowKind,
    /// Which: a path, a host, a program, a variable. Empty where it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
}

/// The kinds of places where data comes from or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FlowKind {
    /// A file of a secret class.
    Secret,
    /// Another file.
    File,
    /// A host on the network (not this one).
    Network,
    /// A text that was encoded (base64, hex, octal escapes, compression) and is decoded in the call.
    Encoded,
    /// The environment or a variable of it.
    Environment,
    /// What a program prints: `history`, `env`, `ps`, `security find-generic-password`.
    Command,
    /// Text that stands in the call itself.
    Text,
    /// A shell or interpreter that runs the data as code.
    Code,
}

/// Something that the call does, by its purpose rather than its program.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Behaviour {
    /// What kind of purpose.
    pub kind: BehaviourKind,
    /// How, as a stable word: `cron`, `history-off`, `delete-tree`.
    pub technique: String,
    /// On what: a path, a unit, an account, a host. Empty where it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// For destruction, how far it reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius: Option<Radius>,
}

/// The purposes that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BehaviourKind {
    /// Becomes, or may later become, another user or more than it was: `sudo`, setuid bits, capabilities, sudoers.
    Privilege,
    /// Will run again without anyone asking: cron, units, start-up files, keys, hooks.
    Persistence,
    /// Hides what was done, or stops what watches: histories, logs, audit, firewalls, time stamps.
    Evasion,
    /// Destroys or takes away: deletes, overwrites, drops, resets, encrypts.
    Destruction,
    /// Collects credentials: dumps memory, keyrings, browser stores, instance metadata.
    Credential,
    /// Looks around: accounts, networks, security products.
    Discovery,
    /// Waits for, or reaches, another host in a way that hands over control: listeners, tunnels, reverse shells.
    Control,
    /// Runs code that nobody could read before: decoded, downloaded, assembled, injected into another process.
    Execution,
    /// Sends data away: uploads, mails, DNS, pastes.
    Exfiltration,
    /// Uses this host's power for others: miners, scanners, floods.
    Abuse,
}

/// How far a destruction reaches. Ordered: the farther is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Radius {
    /// What is built again or was temporary: `target/`, `node_modules`, `/tmp/x`.
    Scratch,
    /// Named files.
    Files,
    /// A project or repository as a whole, its history included.
    Project,
    /// A person's home.
    Home,
    /// This host: its system folders, disks, accounts.
    System,
    /// Beyond this host: databases, clusters, clouds, remote repositories.
    Remote,
}

/// One thing that the call would install.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Install {
    /// Whose package it is, or what else.
    pub ecosystem: Ecosystem,
    /// The name as the ecosystem compares it. Empty: what a list or a lock file names, or what could not be told.
    pub name: String,
    /// How far the call says which version.
    pub version: VersionAsked,
    /// The version as it was written; empty where none was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub asked: String,
    /// What kind of place it comes from.
    pub source: InstallSource,
    /// Which place: a URL without user and password, a path, the package that an alias stands for. Empty for a registry.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// The host of `from`, or of `registry`; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The URL of a registry that the call names; empty where it is the ecosystem's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub registry: String,
    /// Whether that registry is asked beside the ecosystem's own, so that whoever has the higher version wins.
    #[serde(default, skip_serializing_if = "is_false")]
    pub extra_registry: bool,
    /// Whether a user name and password stand in the URL.
    #[serde(default, skip_serializing_if = "is_false")]
    pub credentials: bool,
    /// For whom it is installed.
    pub into: InstallInto,
    /// Where, for what extends an agent: the file or folder, or the connector whose tool keeps it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// Whether it is run at once and not only installed: `npx`, `uvx`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub runs_now: bool,
    /// Whether installing it may run programs of its own.
    #[serde(default, skip_serializing_if = "is_false")]
    pub scripts: bool,
    /// Whether the name is one that our own list of well-known packages and publishers holds.
    #[serde(default, skip_serializing_if = "is_false")]
    pub known: bool,
    /// The well-known name that this one is a slip away from; empty where it is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub like: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What kind of thing is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Ecosystem {
    /// A package of JavaScript's registry.
    Npm,
    /// A package of Python's.
    Pypi,
    /// A crate.
    Crates,
    /// A gem.
    Gem,
    /// A Go module.
    Go,
    /// A package of the system or its like: apt, dnf, apk, Homebrew, conda.
    System,
    /// A container image.
    Docker,
    /// A repository that is cloned.
    Git,
    /// A skill or another document that an agent follows.
    Skill,
    /// A plugin or extension of an agent, or a marketplace of them.
    Plugin,
    /// An MCP server in an agent's settings.
    Mcp,
    /// A command that an agent product runs at its events.
    Hook,
    /// An extension of an editor.
    Vscode,
    /// A script from the network that is run as it comes.
    Script,
}

impl Ecosystem {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pypi => "pypi",
            Self::Crates => "crates",
            Self::Gem => "gem",
            Self::Go => "go",
            Self::System => "system",
            Self::Docker => "docker",
            Self::Git => "git",
            Self::Skill => "skill",
            Self::Plugin => "plugin",
            Self::Mcp => "mcp",
            Self::Hook => "hook",
            Self::Vscode => "vscode",
            Self::Script => "script",
        }
    }
}

/// How far a call says which version it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum VersionAsked {
    /// One, or what a lock file holds.
    Exact,
    /// One of several: `^1.2`, `>=3`.
    Range,
    /// Whatever a moving name stands for on that day: `latest`, `main`.
    Tag,
    /// None.
    None,
}

/// What kind of place something is installed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum InstallSource {
    /// A registry.
    Registry,
    /// A git repository.
    Git,
    /// A URL.
    Url,
    /// A file or folder of this host.
    File,
    /// A registry, by another package's name.
    Alias,
    /// The text of the call itself: what is written is what is installed.
    Inline,
}

/// For whom something is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum InstallInto {
    /// The project, or a folder for this one run.
    Project,
    /// The user or the whole host.
    Host,
    /// An agent: it is something that the agent can do from then on.
    Agent,
}

/// A part of the call that could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Opaque {
    /// Why, as a stable word: `expansion`, `substitution`, `eval`, `unterminated`, `too-deep`, `too-large`,
    /// `encoding`, `interpreter`.
    pub why: String,
    /// The source text, shortened and masked.
    pub text: String,
}
