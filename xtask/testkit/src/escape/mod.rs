//! Escapes: what a hostile program inside a sandbox may try, and the outside that it tries it on.
//!
//! The program `escape` holds the attacks and runs inside; this module prepares the outside, starts the program in a
//! [`cage`], and judges from outside. Every attack has a twin: the closest legitimate thing, which must keep working.
//!
//! | Module | Gives |
//! |---|---|
//! | [`scene`] | what an attack is told about the outside, what the outside noticed |
//! | [`ground`] | a home folder with secrets, a project in it, and what of them has changed |
//! | [`trial`] | one attack or twin run in one cage, and its result |
//! | [`table`] | results of many runs as one table |
//! | [`cage`] | how a sandbox is started: ours, and the peers that it is compared with |

pub mod cage;
pub mod ground;
pub mod scene;
pub mod table;
pub mod trial;

use serde::{Deserialize, Serialize};

/// Every profile of `defenseclaw-cli run`.
pub const PROFILES: [&str; 7] = [
    "read-only",
    "workspace",
    "build",
    "network-none",
    "network-allowlist",
    "gpu",
    "strict",
];

/// A made-up user without an entry in any database.
pub const UNPRIVILEGED: u32 = 54_321;

/// What `escape list --json` says of one attack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseInfo {
    /// Its name.
    pub name: String,
    /// What it belongs to.
    pub theme: String,
    /// What it does.
    pub attack: String,
    /// The closest legitimate thing.
    pub twin: String,
    /// Profiles that promise to refuse it. With none, what happens is reported and nothing is demanded.
    pub holds: Vec<String>,
    /// What a sandbox needs from the host in order to refuse it.
    pub needs: Vec<Facility>,
    /// Who knows whether it succeeded.
    pub judge: Judge,
    /// Whether standard input must be a terminal.
    pub terminal: bool,
    /// Whether the sandbox is to renew its covers: what is attacked was replaced meanwhile.
    pub renewed: bool,
}

/// Something that a host's kernel may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Facility {
    /// Landlock of at least this ABI.
    Landlock(u32),
    /// A mount namespace of the sandbox's own.
    MountNamespace,
    /// An IPC namespace of the sandbox's own.
    IpcNamespace,
    /// Seccomp filters.
    Seccomp,
    /// No host facility beyond capabilities and `no_new_privs`.
    Capabilities,
}

/// Who knows whether an attack succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judge {
    /// The attack: it has read a secret, or holds what it must not hold.
    Attack,
    /// The outside: a file has changed, a listener was reached, a signal came. A sandbox with a private copy of the place
    /// lets the attack believe that it succeeded.
    Outside,
    /// The attack, by an error number: success would do harm, so the call is made with a value that its handler refuses.
    /// The handler's own error number shows that it was reached.
    ErrorNumber,
}

/// Exit status of `escape run` and `escape twin`.
pub mod status {
    /// The attack was refused; the twin worked.
    pub const FINE: i32 = 0;
    /// The attack succeeded; the twin was refused.
    pub const BAD: i32 = 10;
    /// There is nothing here to attack or to use.
    pub const ABSENT: i32 = 20;
}
