//! What a case is.

use defenseclaw_testkit::escape::scene::{SECRET, Scene};
use defenseclaw_testkit::escape::{CaseInfo, Facility, Judge, PROFILES};

use crate::sys::{Attempt, refused};

/// Does something to, or in, a scene.
pub(crate) type Act = fn(&Scene) -> Attempt;

/// An attack and its benign twin.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What the attack does.
    pub(crate) attack: &'static str,
    /// What the twin does.
    pub(crate) twin: &'static str,
    /// Profiles that promise to refuse it.
    pub(crate) holds: &'static [&'static str],
    pub(crate) needs: &'static [Facility],
    pub(crate) judge: Judge,
    pub(crate) terminal: bool,
    /// Whether it takes a sandbox whose covers are renewed.
    pub(crate) renewed: bool,
    pub(crate) run: Act,
    pub(crate) run_twin: Act,
}

/// Cases that belong together.
pub(crate) struct Theme {
    pub(crate) name: &'static str,
    pub(crate) cases: &'static [Case],
}

impl Case {
    pub(crate) fn info(&self, theme: &str) -> CaseInfo {
        CaseInfo {
            name: self.name.to_owned(),
            theme: theme.to_owned(),
            attack: self.attack.to_owned(),
            twin: self.twin.to_owned(),
            holds: self.holds.iter().map(|&name| name.to_owned()).collect(),
            needs: self.needs.to_vec(),
            judge: self.judge,
            terminal: self.terminal,
            renewed: self.renewed,
        }
    }
}

/// Every profile.
pub(crate) const ALL: &[&str] = &PROFILES;
/// Profiles without any network.
pub(crate) const OFFLINE: &[&str] = &["read-only", "network-none", "strict"];
/// Profiles that reach no address but named ones.
pub(crate) const NAMED_HOSTS: &[&str] = &["read-only", "network-none", "network-allowlist", "strict"];
/// Profiles with a temporary folder of their own.
pub(crate) const OWN_TMP: &[&str] = &["read-only", "strict"];
/// No profile promises it: what happens is reported.
pub(crate) const REPORTED: &[&str] = &[];

/// Landlock from ABI 1: opening, making, removing and executing files; ptrace.
pub(crate) const LANDLOCK: &[Facility] = &[Facility::Landlock(1)];
/// Landlock from ABI 2: links and renames between folders.
pub(crate) const LANDLOCK_REFER: &[Facility] = &[Facility::Landlock(2)];
/// Landlock from ABI 3: truncation by path.
pub(crate) const LANDLOCK_TRUNCATE: &[Facility] = &[Facility::Landlock(3)];
/// Landlock from ABI 6: signals and abstract sockets.
pub(crate) const LANDLOCK_SCOPES: &[Facility] = &[Facility::Landlock(6)];
/// Landlock cannot say "all but this": what is closed in an open folder is hidden by mounts.
pub(crate) const MOUNTS: &[Facility] = &[Facility::MountNamespace];
pub(crate) const IPC: &[Facility] = &[Facility::IpcNamespace];
pub(crate) const SECCOMP: &[Facility] = &[Facility::Seccomp];
pub(crate) const CAPABILITIES: &[Facility] = &[Facility::Capabilities];

/// One case; `$judge` is `Attack` unless said otherwise.
macro_rules! case {
    ($name:literal: $attack:literal, $run:expr; twin $twin:literal, $run_twin:expr; $holds:expr, $needs:expr
     $(, renewed $renewed:literal)? $(, judge $judge:ident)? $(, terminal $terminal:literal)?) => {
        $crate::case::Case {
            name: $name,
            attack: $attack,
            twin: $twin,
            holds: $holds,
            needs: $needs,
            judge: $crate::case::judge!($($judge)?),
            terminal: $crate::case::flag!($($terminal)?),
            renewed: $crate::case::flag!($($renewed)?),
            run: $run,
            run_twin: $run_twin,
        }
    };
}
macro_rules! judge {
    () => {
        defenseclaw_testkit::escape::Judge::Attack
    };
    ($judge:ident) => {
        defenseclaw_testkit::escape::Judge::$judge
    };
}
macro_rules! flag {
    () => {
        false
    };
    ($flag:literal) => {
        $flag
    };
}
pub(crate) use {case, flag, judge};

/// An escape if the bytes are a secret's.
pub(crate) fn loot(bytes: &[u8]) -> Attempt {
    let text = String::from_utf8_lossy(bytes);
    match text.find(SECRET) {
        Some(at) => Ok(format!(
            "read {:?}",
            text[at..].lines().next().unwrap_or_default()
        )),
        None if bytes.is_empty() => refused("there is nothing in it"),
        None => refused("what is there is not the secret"),
    }
}
