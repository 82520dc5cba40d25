//! The configuration file's one strict schema.
//!
//! `/etc/defenseclaw/config.yaml`, or the file that `DEFENSECLAW_CONFIG` names, and what lies in the folder beside it ([`files`]). Every
//! key is optional; an unknown key is an error that names the file, the line and the nearest key.

pub mod files;
mod installs;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::admission::ArtifactKind;
use crate::decision::Mode;
use crate::sandbox::{OFF, PROFILES, is_profile_name};

pub use installs::{InstallFetch, InstallRegistries, InstallsConfig, PackageAnswer};

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
    /// A folder whose subfolders replace parts of the built-in policy: `rego/` (modules and `data.json`), `rules/` (rule
    /// packs). A part that it does not hold stays built in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<PathBuf>,
    /// What differs for single connectors, by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub connectors: BTreeMap<String, ConnectorConfig>,
    /// User ids that may answer approvals and change things at run time, besides root and the gateway's own user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<u32>,
    /// What happens to calls that wait for a person.
    pub approvals: ApprovalConfig,
    /// The API on loopback TCP; without it there is only the Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiConfig>,
    /// What must be admitted before it is used.
    pub gate: GateConfig,
    /// Signed policy bundles; without it nothing is looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleConfig>,
    /// Whether packages are fetched and scanned before a call may install them.
    pub installs: InstallsConfig,
}

/// Where signed policy bundles come from, and whose are taken. Exactly one of `path` and `url` is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BundleConfig {
    /// A file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// An https address; `{group}` in it stands for the group. Trust is the host's own store of authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The public keys of those whose bundles are taken (Ed25519, base64), by their ids.
    pub keys: BTreeMap<String, String>,
    /// The group that this host belongs to: bundles for others are refused.
    pub group: String,
    /// This host's ring, 0 to 9: a bundle for rings up to 2 is taken by the hosts of 0, 1 and 2.
    pub ring: u8,
    /// How long to wait between two looks (seconds).
    pub interval_s: u64,
    /// Whether `url` may be http on this very host: for a proxy that speaks https to the server.
    pub plain_loopback: bool,
}

impl Default for BundleConfig {
    fn default() -> Self {
        Self {
            path: None,
            url: None,
            keys: BTreeMap::new(),
            group: "default".to_owned(),
            // A host of which nothing is said is one of the many, and those come last.
            ring: 9,
            interval_s: 300,
            plain_loopback: false,
        }
    }
}

/// The install gate: artifacts in governed places wait until they were scanned and admitted. In observe mode no file waits; what
/// would have been refused is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateConfig {
    /// Whether there is a gate at all.
    pub enabled: bool,
    /// What an open gets whose artifact could not be scanned or asked about in time; the host's fail mode unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_mode: Option<FailMode>,
    /// Longest time from the open to the answer (ms).
    pub timeout_ms: u64,
    /// Whether what is blocked is moved into quarantine; else it stays and every open is refused.
    pub quarantine: bool,
    /// Homes whose places are governed; unless said, those of the people in the password database. The homes of sessions are
    /// governed in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub homes: Option<Vec<PathBuf>>,
    /// Further folders whose entries are artifacts, with what they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<GatePlace>,
    /// The user that the scanner runs as.
    pub scanner_user: String,
}

/// A folder whose entries are artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatePlace {
    /// Whose: a connector's name.
    pub connector: String,
    /// What its entries are.
    pub kind: ArtifactKind,
    /// An absolute path.
    pub folder: PathBuf,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            fail_mode: None,
            // A harness starts within a second or two and people wait for it; a scan takes milliseconds.
            timeout_ms: 5_000,
            quarantine: true,
            homes: None,
            places: Vec::new(),
            scanner_user: "nobody".to_owned(),
        }
    }
}

/// What differs for one connector.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectorConfig {
    /// Instead of the host's mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Instead of the host's fail mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_mode: Option<FailMode>,
    /// The profile of the room that its commands run in, unless the policy names another: `off`, or a name from
    /// `policies/sandbox`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxDefault>,
}

/// The room that a connector's commands run in: `off`, or a profile's name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SandboxDefault {
    /// None.
    #[default]
    Off,
    /// That profile's.
    Profile(String),
}

impl SandboxDefault {
    /// The profile's name; `None` for none.
    pub fn profile(&self) -> Option<&str> {
        match self {
            Self::Off => None,
            Self::Profile(name) => Some(name),
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        self.profile().unwrap_or(OFF)
    }
}

impl std::str::FromStr for SandboxDefault {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            OFF => Ok(Self::Off),
            name if is_profile_name(name) => Ok(Self::Profile(name.to_owned())),
            _ => Err(format!(
                "{text:?} is no sandbox: use `{OFF}` or a profile's name ({})",
                PROFILES.join(", ")
            )),
        }
    }
}

impl TryFrom<String> for SandboxDefault {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SandboxDefault> for String {
    fn from(sandbox: SandboxDefault) -> Self {
        sandbox.as_str().to_owned()
    }
}

/// What happens to calls that wait for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApprovalConfig {
    /// Longest wait (seconds). A harness's own time limit, less a margin, bounds it too.
    pub timeout_s: u64,
    /// What a call gets that nobody answered in time.
    pub on_timeout: TimeoutAnswer,
    /// Whether the user who owns the session may answer, from a process outside of it. Off by default: an agent that runs as
    /// that user has ways to start processes that are not its descendants (a timer, a user service, a terminal's keys).
    pub by_owner: bool,
}

impl Default for ApprovalConfig {
    fn default() -> Self {
        Self {
            timeout_s: 120,
            on_timeout: TimeoutAnswer::Deny,
            by_owner: false,
        }
    }
}

/// What a call gets that nobody answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutAnswer {
    /// It is refused.
    #[default]
    Deny,
    /// It runs, and the record says that nobody answered.
    Allow,
}

/// The API on loopback TCP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// A loopback address and port.
    pub listen: SocketAddr,
    /// The file that holds the bearer token; nobody but its owner may read it. Made at start where it is missing. Without a
    /// path it is `api-token` in the state folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 18970)),
            token_file: None,
        }
    }
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
            connectors: BTreeMap::new(),
            operators: Vec::new(),
            approvals: ApprovalConfig::default(),
            api: None,
            gate: GateConfig::default(),
            bundle: None,
            installs: InstallsConfig::default(),
        }
    }
}

impl Config {
    /// The socket on which the gateway waits for the agent: beside the gateway's own.
    pub fn agent_socket(&self) -> PathBuf {
        let stem = self.socket.file_stem().unwrap_or_default().to_string_lossy();
        self.socket.with_file_name(format!("{stem}-agent.sock"))
    }

    /// The mode for a connector.
    pub fn mode_of(&self, connector: &str) -> Mode {
        self.connectors
            .get(connector)
            .and_then(|own| own.mode)
            .unwrap_or(self.mode)
    }

    /// The fail mode for a connector.
    pub fn fail_mode_of(&self, connector: &str) -> FailMode {
        self.connectors
            .get(connector)
            .and_then(|own| own.fail_mode)
            .unwrap_or(self.fail_mode)
    }

    /// The profile of the room that a connector's commands run in unless the policy names another; `None` for no room.
    pub fn sandbox_of(&self, connector: &str) -> Option<&str> {
        self.connectors.get(connector)?.sandbox.as_ref()?.profile()
    }

    /// The ledger's file.
    pub fn ledger(&self) -> PathBuf {
        self.state.join("ledger.db")
    }

    /// Reads the schema from YAML. `file` is named in errors.
    pub fn from_yaml(file: &Path, text: &str) -> Result<Self, ConfigError> {
        if says_nothing(text) {
            return Ok(Self::default());
        }
        defenseclaw_yaml::from_str(text).map_err(|error| ConfigError::Invalid {
            file: file.to_owned(),
            message: describe(&error.to_string()),
        })
    }
}

/// Whether there is nothing but comments.
fn says_nothing(text: &str) -> bool {
    text.lines()
        .map(str::trim_start)
        .all(|line| line.is_empty() || line.starts_with('#'))
}

/// Adds the nearest known key to an "unknown field" message, which names the keys that there are at that place.
fn describe(message: &str) -> String {
    let near = message.lines().find_map(|line| {
        let (_, rest) = line.split_once("unknown field `")?;
        let (key, rest) = rest.split_once('`')?;
        let (_, known) = rest.split_once("expected ")?;
        let known = known.strip_prefix("one of ").unwrap_or(known);
        nearest(key, known)
    });
    match near {
        Some(near) => format!("{message}\ndid you mean `{near}`?"),
        None => message.to_owned(),
    }
}

/// The nearest to `key` of the words in `known`.
fn nearest<'a>(key: &str, known: &'a str) -> Option<&'a str> {
    let words = known.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
    let (near, distance) = words
        .filter(|word| !word.is_empty())
        .map(|word| (word, edit_distance(key, word)))
        .min_by_key(|(_, distance)| *distance)?;
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
    /// This user may not read the file.
    #[error("{file}: {message}")]
    NotPermitted {
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
            "mode: action\nfail_mode: open\ndurability: power\nsocket: /tmp/a/x.sock\nstate: /tmp/a\npolicies: /tmp/p\n\
             connectors:\n  codex: { mode: hitl }\noperators: [1000]\napprovals: { timeout_s: 5 }\napi: { listen: \"127.0.0.1:1\" }\n\
             bundle: { path: /b, keys: { acme: k }, group: g }\n",
        )
        .unwrap();
        assert_eq!(config.mode, Mode::Action);
        assert_eq!(config.mode_of("codex"), Mode::Hitl);
        assert_eq!(config.mode_of("cursor"), Mode::Action);
        assert_eq!(config.fail_mode_of("codex"), FailMode::Open);
        assert_eq!(config.approvals.on_timeout, TimeoutAnswer::Deny);
        assert_eq!(config.agent_socket(), Path::new("/tmp/a/x-agent.sock"));
    }

    /// The file that is installed, each of its paragraphs with what is commented out in it taken as it stands.
    fn installed_settings() -> Vec<String> {
        let text = include_str!("../../../packaging/config.yaml");
        assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')));
        let setting = |line: &str| -> Option<String> {
            let rest = line.strip_prefix('#')?;
            (!rest.is_empty() && (!rest.starts_with(' ') || rest.starts_with("  ")))
                .then(|| format!("{rest}\n"))
        };
        let parts = text
            .split("\n\n")
            .map(|part| part.lines().filter_map(setting).collect());
        parts.filter(|part: &String| !part.is_empty()).collect()
    }

    /// Every key that the schema knows, as the error about another one names them.
    fn known_keys() -> Vec<String> {
        let error = parse("no_such_key: 1\n").unwrap_err();
        let (_, known) = error.split_once("expected one of ").unwrap();
        let known = known.lines().next().unwrap_or_default();
        let words = known.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn the_installed_file_names_every_key_and_its_default() {
        let (settings, mut names) = (installed_settings(), Vec::new());
        for text in &settings {
            let config = parse(text).unwrap_or_else(|error| panic!("{text}{error}"));
            let name = text.split(':').next().unwrap_or_default();
            names.push(name);
            // Of these nothing is said unless somebody says it; what is shown is an example.
            if !["policies", "connectors", "operators", "api", "bundle"].contains(&name) {
                assert_eq!(config, Config::default(), "{text}");
            }
        }
        let mut known = known_keys();
        assert!(known.len() > 12, "{known:?}");
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known);
        parse(&settings.concat()).expect("all of them together");
        assert_eq!(
            parse(include_str!("../../../packaging/config.yaml")).unwrap(),
            Config::default()
        );
    }

    #[test]
    fn an_unknown_key_names_line_and_nearest_key() {
        let error = parse("mode: action\nfailmode: open\n").unwrap_err();
        assert!(error.contains("config.yaml"), "{error}");
        assert!(error.contains("did you mean `fail_mode`?"), "{error}");
        assert!(error.contains('2'), "names the line: {error}");
    }

    #[test]
    fn a_connector_s_room_is_off_unless_it_is_named() {
        let config = parse("connectors: { codex: { sandbox: build }, cursor: { sandbox: off } }\n").unwrap();
        assert_eq!(config.sandbox_of("codex"), Some("build"));
        assert_eq!(
            (config.sandbox_of("cursor"), config.sandbox_of("hermes")),
            (None, None)
        );
        let error = parse("connectors: { codex: { sandbox: Build Me } }\n").unwrap_err();
        assert!(error.contains("is no sandbox"), "{error}");
    }

    #[test]
    fn a_bad_value_is_refused() {
        assert!(
            parse("mode: enforce\n").unwrap_err().contains("mode"),
            "names the key"
        );
    }
}
