//! The configuration file's one strict schema.
//!
//! `/etc/defenseclaw/config.yaml`, or the file that `DEFENSECLAW_CONFIG` names. Every key is optional; an unknown key
//! is an error that names the file, the line and the nearest key.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::decision::Mode;

/// Where the configuration lies unless `DEFENSECLAW_CONFIG` says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/defenseclaw/config.yaml";
/// Where the gateway listens unless `DEFENSECLAW_SOCKET` or the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/defenseclaw/gateway.sock";
/// Where state lies unless `DEFENSECLAW_STATE` or the configuration says otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/defenseclaw";
/// Where the hook client looks for its settings. It is written at set-up and owned by root, so that an agent's project
/// settings cannot redirect the client through its environment.
pub const HOOK_CONF: &str = "/etc/defenseclaw/hook.conf";
/// Largest configuration file that is read (bytes).
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether decisions take effect (`action`) or are only recorded (`observe`).
    pub mode: Mode,
    /// What a harness is told when we cannot decide.
    pub fail_mode: FailMode,
    /// What an acknowledged record survives.
    pub durability: Durability,
    /// The gateway's socket.
    pub socket: PathBuf,
    /// The state folder.
    pub state: PathBuf,
    /// A folder of Rego modules and data that replaces the built-in policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Observe,
            fail_mode: FailMode::Closed,
            durability: Durability::Process,
            socket: DEFAULT_SOCKET.into(),
            state: DEFAULT_STATE.into(),
            policies: None,
        }
    }
}

impl Config {
    /// The socket on which the gateway waits for the agent: beside the gateway's own.
    pub fn agent_socket(&self) -> PathBuf {
        let stem = self.socket.file_stem().unwrap_or_default().to_string_lossy();
        self.socket.with_file_name(format!("{stem}-agent.sock"))
    }

    /// The ledger's file.
    pub fn ledger(&self) -> PathBuf {
        self.state.join("ledger.db")
    }

    /// Reads the schema from YAML. `file` is named in errors.
    pub fn from_yaml(file: &Path, text: &str) -> Result<Self, ConfigError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| ConfigError::Invalid {
            file: file.to_owned(),
            message: describe(&error.to_string(), text),
        })
    }
}

/// Keys that the file may hold; kept equal to the fields of [`Config`] by a test.
const KEYS: [&str; 6] = ["mode", "fail_mode", "durability", "socket", "state", "policies"];

/// Adds the nearest known key to an "unknown field" message.
fn describe(message: &str, text: &str) -> String {
    let unknown = text
        .lines()
        .filter(|line| !line.starts_with([' ', '#', '-']))
        .filter_map(|line| line.split_once(':').map(|(key, _)| key.trim()))
        .find(|key| !KEYS.contains(key) && message.contains(&format!("`{key}`")));
    match unknown.and_then(nearest) {
        Some(near) => format!("{message}\ndid you mean `{near}`?"),
        None => message.to_owned(),
    }
}

fn nearest(key: &str) -> Option<&'static str> {
    let (near, distance) = KEYS
        .iter()
        .map(|k| (*k, edit_distance(key, k)))
        .min_by_key(|(_, d)| *d)?;
    (distance <= 3).then_some(near)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// What a harness is told when the gateway cannot be reached or cannot decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailMode {
    /// Nothing: the harness goes on as if there were no hook.
    Open,
    /// The call is refused.
    #[default]
    Closed,
}

/// What an acknowledged record survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The end of the process, `kill -9` included.
    #[default]
    Process,
    /// Power loss too, at the cost of one `fsync` for each append.
    Power,
}

impl Durability {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Power => "power",
        }
    }
}

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: {message}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        message: String,
    },
    /// The file is not valid.
    #[error("{file}: {message}")]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Line, what, and what to do.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::from_yaml(Path::new("config.yaml"), text).map_err(|e| e.to_string())
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(parse("").unwrap(), Config::default());
        assert_eq!(parse("# nothing\n").unwrap(), Config::default());
    }

    #[test]
    fn every_key_is_taken() {
        let config = parse(
            "mode: action\nfail_mode: open\ndurability: power\nsocket: /tmp/a/x.sock\nstate: /tmp/a\npolicies: /tmp/p\n",
        )
        .unwrap();
        assert_eq!(config.mode, Mode::Action);
        assert_eq!(config.agent_socket(), Path::new("/tmp/a/x-agent.sock"));
        let keys = serde_json::to_value(&config).unwrap();
        let mut names: Vec<_> = keys.as_object().unwrap().keys().map(String::as_str).collect();
        let mut known = KEYS.to_vec();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known);
    }

    #[test]
    fn an_unknown_key_names_line_and_nearest_key() {
        let error = parse("mode: action\nfailmode: open\n").unwrap_err();
        assert!(error.contains("config.yaml"), "{error}");
        assert!(error.contains("did you mean `fail_mode`?"), "{error}");
        assert!(error.contains('2'), "names the line: {error}");
    }

    #[test]
    fn a_bad_value_is_refused() {
        assert!(
            parse("mode: enforce\n").unwrap_err().contains("mode"),
            "names the key"
        );
    }
}
