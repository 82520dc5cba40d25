//! Configuration file and environment: the environment wins over the file, the file over the defaults.

use std::ffi::OsString;
use std::path::PathBuf;

use defenseclaw_model::config::{Config, ConfigError, DEFAULT_CONFIG, files};

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The configuration cannot be read or is not valid.
    #[error("{0}")]
    Config(ConfigError),
    /// This user may not read it.
    #[error("{what}\n{remedy}")]
    NotPermitted {
        /// What was tried, on what.
        what: String,
        /// What to do.
        remedy: String,
    },
}

/// Where the gateway listens and where the ledger lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The gateway's socket.
    pub socket: PathBuf,
    /// The ledger's file.
    pub ledger: PathBuf,
    /// All of it.
    pub config: Config,
    /// The file that it was read from, or would be.
    pub file: PathBuf,
    /// Whether the environment names the socket: then it is one of several instances, or someone's attempt.
    pub socket_from_environment: bool,
    /// The folder with the operator's rules, where one is configured.
    pub policies: Option<PathBuf>,
}

impl Settings {
    /// Reads the environment and the file that it names.
    pub fn load() -> Result<Self, SettingsError> {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    /// As [`Settings::load`], with the environment given. An empty variable counts as unset.
    pub fn from_lookup(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, SettingsError> {
        let variable = |name| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let named = variable("DEFENSECLAW_CONFIG");
        let file = named.clone().unwrap_or_else(|| DEFAULT_CONFIG.into());
        let config = files::load(named.as_deref())?;
        Ok(Self::with(config, file, variable))
    }

    /// What is built in and what the environment says, for whoever has to look at a host whose configuration cannot be read.
    pub fn without_file() -> Self {
        let variable = |name: &str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        let file = variable("DEFENSECLAW_CONFIG").unwrap_or_else(|| DEFAULT_CONFIG.into());
        Self::with(Config::default(), file, variable)
    }

    fn with(mut config: Config, file: PathBuf, variable: impl Fn(&'static str) -> Option<PathBuf>) -> Self {
        let socket = variable("DEFENSECLAW_SOCKET");
        let socket_from_environment = socket.is_some();
        if let Some(socket) = socket {
            config.socket = socket;
        }
        if let Some(state) = variable("DEFENSECLAW_STATE") {
            config.state = state;
        }
        Self {
            ledger: config.ledger(),
            socket: config.socket.clone(),
            policies: config.policies.clone(),
            config,
            file,
            socket_from_environment,
        }
    }
}

impl From<ConfigError> for SettingsError {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::NotPermitted { file, message } => Self::NotPermitted {
                what: format!("the configuration {} {message}", file.display()),
                remedy: "Run as a user that may read it, or name another file in DEFENSECLAW_CONFIG."
                    .to_owned(),
            },
            error => Self::Config(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use defenseclaw_model::config::MAX_CONFIG_BYTES;

    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::from_lookup(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into()))
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, "socket: /a/g.sock\nstate: /a/state\n").unwrap();
        let file = file.to_str().unwrap();

        let from_file = load(&[("DEFENSECLAW_CONFIG", file)]).unwrap();
        assert_eq!(from_file.socket, Path::new("/a/g.sock"));
        assert_eq!(from_file.ledger, Path::new("/a/state/ledger.db"));

        let both = load(&[
            ("DEFENSECLAW_CONFIG", file),
            ("DEFENSECLAW_STATE", "/b"),
            ("DEFENSECLAW_SOCKET", ""),
        ])
        .unwrap();
        assert_eq!(
            both.socket,
            Path::new("/a/g.sock"),
            "an empty variable counts as unset"
        );
        assert_eq!(both.ledger, Path::new("/b/ledger.db"));
    }

    #[test]
    fn a_named_file_must_exist_be_small_and_hold_known_keys_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        let name = file.to_str().unwrap().to_owned();
        let error = || load(&[("DEFENSECLAW_CONFIG", name.as_str())]).unwrap_err();

        let missing = error();
        assert!(matches!(missing, SettingsError::Config(_)));
        assert!(missing.to_string().contains("DEFENSECLAW_CONFIG"), "{missing}");

        std::fs::write(&file, "sockett: /x\n").unwrap();
        assert!(
            error().to_string().contains("did you mean `socket`?"),
            "{}",
            error()
        );

        std::fs::write(&file, "#".repeat(MAX_CONFIG_BYTES as usize + 1)).unwrap();
        assert!(error().to_string().contains("larger than"), "{}", error());
    }
}
