//! The command line of `run` and `sandbox`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Options of `run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli run -- npm test                    writes only in the project, secrets stay closed
  defenseclaw-cli run --profile network-none -- make check
  defenseclaw-cli run --profile read-only -- rg TODO
  defenseclaw-cli run --explain                      what would be in force here, proven by attempts
  defenseclaw-cli run -- claude                      a whole agent in one sandbox

No root and no daemon is needed. The command keeps its process id, terminal, working directory and
streams. Profiles: defenseclaw-cli sandbox list.

Exit status: the command's own; 125 nothing was started (the sandbox could not be closed as its profile
requires), 126 the command cannot be executed, 127 it was not found.")]
pub struct RunOptions {
    /// What the command may reach
    #[arg(long, value_name = "NAME", default_value = "workspace")]
    pub profile: String,
    /// The folder that is worked in; by default the repository around the current folder, else that folder
    #[arg(long, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Start also without what the profile requires and this host has not; what is missing is told
    #[arg(long)]
    pub best_effort: bool,
    /// Ask a person, by `approvals`, about what lies outside of the profile, instead of failing at once
    #[arg(long)]
    pub supervise: bool,
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
    /// With --explain: print one JSON object
    #[arg(long, requires = "explain")]
    pub json: bool,
    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, required_unless_present = "explain")]
    pub command: Vec<OsString>,
}

/// What to do with sandbox profiles.
#[derive(Debug, Subcommand)]
pub enum SandboxCommand {
    /// List the profiles
    List(ListProfilesOptions),
    /// Print a profile whole, with what it inherits
    Show(ShowProfileOptions),
    /// Check the operator's profiles
    Validate(ValidateProfilesOptions),
    /// Run a command without a sandbox, note what it uses, and print the tightest profile for it
    Learn(LearnOptions),
    /// Tell what going from one profile to another newly allows and newly refuses
    Diff(DiffOptions),
}

/// Options of `sandbox list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli sandbox list
  defenseclaw-cli sandbox list --json | jq -r .name")]
pub struct ListProfilesOptions {
    /// Print one JSON object per profile
    #[arg(long)]
    pub json: bool,
}

/// Options of `sandbox show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli sandbox show workspace
  defenseclaw-cli sandbox show strict | jq .files.read")]
pub struct ShowProfileOptions {
    /// Which
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Options of `sandbox validate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli sandbox validate /etc/defenseclaw/policies/sandbox

Exit status: 0 every profile is valid, 2 one is not; each that is not is named with what is wrong.")]
pub struct ValidateProfilesOptions {
    /// The folder with the profiles; by default the operator's
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// Options of `sandbox learn`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli sandbox learn -- make check > check.yaml
  defenseclaw-cli sandbox learn --name docs --output profiles/docs.yaml -- npm run docs
  defenseclaw-cli run --profiles profiles --profile docs -- npm run docs

The command runs with all that you may do: learn from what you trust. What it did not use this time is
not granted. Read the profile before you use it.

Exit status: 0 the command succeeded, 1 it did not (the profile is printed all the same), 2 usage.")]
pub struct LearnOptions {
    /// The profile's name
    #[arg(long, value_name = "NAME", default_value = "learned")]
    pub name: String,
    /// The folder that is worked in; by default as for `run`
    #[arg(long, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Where the profile is written; by default standard output, behind the command's own
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    pub command: Vec<OsString>,
}

/// Options of `sandbox diff`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli sandbox diff workspace build
  defenseclaw-cli sandbox diff strict ./profiles/docs.yaml
  defenseclaw-cli sandbox diff workspace strict --json

Exit status: 0 no difference, 1 there is one.")]
pub struct DiffOptions {
    /// A profile's name, or its file
    #[arg(value_name = "BEFORE")]
    pub before: String,
    /// Another
    #[arg(value_name = "AFTER")]
    pub after: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
