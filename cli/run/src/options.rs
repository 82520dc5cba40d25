//! The command line of `run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// The profile where none is named.
pub(crate) const DEFAULT_PROFILE: &str = "workspace";

/// Options of `run`.
#[derive(Debug, PartialEq, Eq, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli run -- npm test                    writes only in the project, secrets stay closed
  defenseclaw-cli run --profile network-none -- make check
  defenseclaw-cli run --profile read-only -- rg TODO
  defenseclaw-cli run --explain                      what would be in force here, proven by attempts
  defenseclaw-cli run --profile agent -- claude      a whole agent in one sandbox

No root and no daemon is needed. The command keeps its process id (but at a terminal, where a process
stays beside it), terminal, working directory and streams. Profiles: defenseclaw-cli sandbox list.

Exit status: the command's own; 125 nothing was started (the sandbox could not be closed as its profile
requires), 126 the command cannot be executed, 127 it was not found.")]
pub struct RunOptions {
    /// What the command may reach
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PROFILE)]
    pub profile: String,
    /// The folder that is worked in; by default the repository around the current folder, else that folder
    #[arg(long, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Start also without what the profile requires and this host has not; what is missing is told
    #[arg(long)]
    pub best_effort: bool,
    /// Ask a person, by `approvals`, about what lies outside of the profile, instead of failing at once. Not for a
    /// whole agent: the gateway is out of reach inside
    #[arg(long)]
    pub supervise: bool,
    /// Close also what comes with a secret's name while the command runs, whoever makes it, and close or seal again what
    /// is replaced. At a terminal, what is replaced is closed again without this option
    #[arg(long)]
    pub watch: bool,
    /// Take profiles from this folder, too
    #[arg(long, value_name = "DIR")]
    pub profiles: Option<PathBuf>,
    /// Print what is in force to standard error before the command starts; without a command, only that
    #[arg(long)]
    pub explain: bool,
    /// Take the profile that the configuration names for that harness, where it names one
    #[arg(long, value_name = "CONNECTOR", hide = true, conflicts_with = "profile")]
    pub connector: Option<String>,
    /// The tool call that the command is: whoever sees this process can tell
    #[arg(long, value_name = "ID", hide = true)]
    pub call: Option<String>,
    /// Keep the gateway out of reach, and tell it nothing: for what must not speak to it, or be a session of its own
    #[arg(long, hide = true)]
    pub without_gateway: bool,
    /// With --explain: print one JSON object
    #[arg(long, requires = "explain")]
    pub json: bool,
    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, required_unless_present = "explain")]
    pub command: Vec<OsString>,
}
