//! Typed statements derived from a tool call.

use serde::{Deserialize, Serialize};

/// Everything a tool call declares that it will do, as far as it can be told from its input.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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
    /// What could not be resolved, so that policy can weigh it.
    pub opaque: Vec<Opaque>,
}

/// One program and its arguments, as far as they are literal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The last path component: `curl` for `/usr/bin/curl`.
    pub name: String,
    /// As written, program first. A word that holds an expansion stands as its source text.
    pub argv: Vec<String>,
}

/// A path and what kind of path it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathFact {
    /// Absolute where it could be resolved, else as written.
    pub path: String,
    /// Its class by `policies/paths.yaml`, for instance `credential`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// A network destination named in the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFact {
    /// Name or address, lower case, without brackets.
    pub host: String,
    /// Port, where it was named or follows from the URL's scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// One pipe between two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipe {
    /// Index of the writer in [`Facts::programs`].
    pub from: usize,
    /// Index of the reader in [`Facts::programs`].
    pub to: usize,
}

/// A part of the call that could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opaque {
    /// Why, as a stable word: `expansion`, `substitution`, `eval`, `unterminated`, `too-deep`, `too-large`,
    /// `encoding`, `interpreter`.
    pub why: String,
    /// The source text, shortened and masked.
    pub text: String,
}
