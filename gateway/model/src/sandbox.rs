//! The room that a tool call runs in.

use serde::{Deserialize, Serialize};

use crate::ids::CallId;

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

#[cfg(test)]
mod tests {
    use super::*;

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
