//! The room that a tool call runs in.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ids::{CallId, SessionId};

/// The profiles that `policies/sandbox/` holds, by name. An operator's `policies` folder can add others.
pub const PROFILES: [&str; 7] = [
    "read-only",
    "workspace",
    "build",
    "network-none",
    "network-allowlist",
    "gpu",
    "strict",
];
/// In place of a profile's name: no room.
pub const OFF: &str = "off";
/// The program that puts a command into a room (`defenseclaw-cli run`). It lies beside the others.
pub const LAUNCHER: &str = "defenseclaw-cli";
/// Where the whole tool lies from the launcher's folder: as packages install it, and among built programs. The launcher hands over to it
/// what it cannot do itself.
pub const WHOLE_TOOL: [&str; 2] = ["../lib/defenseclaw/defenseclaw-cli", "lib/defenseclaw-cli"];
/// Where the small programs may lie, in this order, for a program whose own real path that is: where packages put them if they put this one
/// into `lib/defenseclaw`, above the folder of the whole tool among built programs, and beside it.
pub fn small_programs(own: &Path) -> impl Iterator<Item = PathBuf> {
    let folder = own.parent().map(Path::to_owned);
    let packaged = own
        .ancestors()
        .nth(3)
        .filter(|_| {
            folder
                .as_deref()
                .is_some_and(|folder| folder.ends_with("lib/defenseclaw"))
        })
        .map(|prefix| prefix.join("bin"));
    let above = own
        .ancestors()
        .nth(2)
        .filter(|_| folder.as_deref().is_some_and(|folder| folder.ends_with("lib")))
        .map(Path::to_owned);
    packaged.into_iter().chain(above).chain(folder)
}

/// The program that a harness hands its shell lines to. It lies beside the others.
pub const SHELL: &str = "defenseclaw-shell";
/// Longest name of a profile (bytes).
const MAX_NAME: usize = 64;

/// Which room a call runs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sandbox {
    /// The profile's name.
    pub profile: String,
    /// How the call gets there. `None`: it was decided and not carried out, because nothing is enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<SandboxRoute>,
}

/// How a call gets into its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SandboxRoute {
    /// The harness hands each shell line to our program. The command stays as it was written.
    ShellPrefix,
    /// The hook's reply puts the launcher before the command.
    UpdatedInput,
    /// Only the harness as a whole can be put into a room.
    Session,
}

impl SandboxRoute {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ShellPrefix => "shell_prefix",
            Self::UpdatedInput => "updated_input",
            Self::Session => "session",
        }
    }

    /// For a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::ShellPrefix => "by the harness's shell prefix",
            Self::UpdatedInput => "by a changed input",
            Self::Session => "with the harness as a whole",
        }
    }
}

/// Whether a text has the form of a profile's name.
pub fn is_profile_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name != OFF
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(plain)
}

/// What the launcher's shell asks the gateway: the body of `POST /v1/sandbox`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RoomQuestion {
    /// The harness's connector.
    pub connector: String,
    /// The harness's own id of the session, where it told the shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The shell's line as the harness made it.
    pub line: String,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoomAnswer {
    /// The profile to run in; `None` for no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The call whose line it is; `None` where none matches, and the connector's own profile is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// The folder that the session was started in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// The connector's name of sessions that no harness has: a command that somebody put into a sandbox.
pub const RUN: &str = "run";
/// The one call of such a session.
pub const RUN_CALL: &str = "command";

/// What the launcher tells the gateway once its sandbox is closed: the body of `POST /v1/sandbox/entered`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SandboxEntered {
    /// What is in force.
    pub report: SandboxReport,
    /// The tool call that the command is, as the launcher was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The command and its arguments.
    pub command: Vec<String>,
}

/// What is in force around a command, as its launcher proved it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SandboxReport {
    /// The profile's name.
    pub profile: String,
    /// The folder that is worked in.
    pub project: String,
    /// Landlock's version on this kernel; 0 where there is none.
    pub landlock_abi: i32,
    /// Whether it was started without something that the profile requires.
    pub best_effort: bool,
    /// By family of actions.
    pub protections: Vec<SandboxProtection>,
    /// What a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What bounds one family of actions in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SandboxProtection {
    /// Which actions.
    pub family: String,
    /// The mechanism; `open` where the profile leaves them open, `missing` where this host has none.
    pub by: String,
    /// Whether the profile cannot do without.
    pub required: bool,
    /// `proven`, `no-witness`, `failed`, `not-needed`.
    pub proof: String,
    /// How far it goes, or why it is missing.
    pub detail: String,
}

impl SandboxProtection {
    /// Whether the profile requires it, and it is not there or let its canary through.
    pub fn lacks(&self) -> bool {
        self.required && (self.by == "missing" || self.proof == "failed")
    }
}

/// What the kernel tells of a process, whatever that says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SeenOutside {
    /// It can gain no privileges.
    pub no_new_privileges: bool,
    /// How many system call filters are in force.
    pub filters: u32,
}

/// The gateway's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SandboxNoted {
    /// The session that the command belongs to from now on.
    pub session: SessionId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_programs_are_looked_for_where_a_layout_has_them() {
        for (own, folders) in [
            (
                "/usr/lib/defenseclaw/defenseclaw-gateway",
                vec!["/usr/bin", "/usr/lib/defenseclaw"],
            ),
            (
                "/w/target/dist/lib/defenseclaw-cli",
                vec!["/w/target/dist", "/w/target/dist/lib"],
            ),
            ("/usr/bin/defenseclaw-gateway", vec!["/usr/bin"]),
            ("/home/lib-x/defenseclaw-gateway", vec!["/home/lib-x"]),
        ] {
            let found: Vec<_> = small_programs(Path::new(own)).collect();
            assert_eq!(
                found,
                folders.iter().map(PathBuf::from).collect::<Vec<_>>(),
                "{own}"
            );
        }
    }

    #[test]
    fn names_of_profiles_are_plain() {
        assert!(PROFILES.iter().all(|name| is_profile_name(name)));
        for name in [
            "",
            OFF,
            "Strict",
            "-x",
            "a b",
            "a'b",
            "../x",
            "x/y",
            &"x".repeat(65),
        ] {
            assert!(!is_profile_name(name), "{name}");
        }
    }

    #[test]
    fn a_route_is_written_by_its_stable_name() {
        for route in [
            SandboxRoute::ShellPrefix,
            SandboxRoute::UpdatedInput,
            SandboxRoute::Session,
        ] {
            assert_eq!(serde_json::to_value(route).unwrap(), route.as_str());
        }
    }
}
