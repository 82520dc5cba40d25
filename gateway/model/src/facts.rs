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
