//! Why a command failed, and which exit status says so.

use std::io;
use std::path::PathBuf;

use defenseclaw_audit::LedgerError;
use defenseclaw_harness::install::InstallError;
use defenseclaw_model::config::ConfigError;
use defenseclaw_run::RunError;
use defenseclaw_run::settings::SettingsError;

/// Why a command failed. The text tells a person what failed, on what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration cannot be read or is not valid.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The command line asks for something that does not exist or is not one thing.
    #[error("{0}")]
    Usage(String),
    /// What was asked for is not in the ledger.
    #[error("{0}")]
    NotFound(String),
    /// The gateway does not answer.
    #[error("the gateway at {socket} cannot be reached: {why}\n{remedy}")]
    Unreachable {
        /// Its socket.
        socket: PathBuf,
        /// What happened.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// There is no ledger yet.
    #[error(
        "there is no ledger at {0}\nIt is made when the gateway first starts. If the gateway runs with another state \
         folder, name that folder in DEFENSECLAW_STATE, or its configuration file in DEFENSECLAW_CONFIG."
    )]
    NoLedger(PathBuf),
    /// This user may not do that.
    #[error("{what}\n{remedy}")]
    NotPermitted {
        /// What was tried, on what.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The gateway does not let this process do that.
    #[error("{0}")]
    Forbidden(String),
    /// The answer is "no": what was handed in is not taken.
    #[error("{0}")]
    Refused(String),
    /// The ledger cannot be read.
    #[error("{0}")]
    Ledger(LedgerError),
    /// A harness's hooks cannot be set up, taken away or looked at.
    #[error("{0}")]
    Install(#[from] InstallError),
    /// The answer cannot be printed.
    #[error("the answer cannot be written to standard output: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// The process's exit status.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::NotFound(_) | Self::Refused(_) | Self::Install(InstallError::NotInstalled { .. }) => 1,
            Self::Install(InstallError::File { source, .. } | InstallError::State { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                4
            }
            Self::Config(_) | Self::Usage(_) | Self::Install(_) => 2,
            Self::Unreachable { .. } | Self::NoLedger(_) | Self::Ledger(_) | Self::Output(_) => 3,
            Self::NotPermitted { .. } | Self::Forbidden(_) => 4,
        }
    }

    /// Whether the reader of our output went away (`… | head`), which is no failure.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<SettingsError> for CliError {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::Config(error) => Self::Config(error),
            SettingsError::NotPermitted { what, remedy } => Self::NotPermitted { what, remedy },
        }
    }
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Settings(error) => error.into(),
            other => Self::Usage(other.to_string()),
        }
    }
}
