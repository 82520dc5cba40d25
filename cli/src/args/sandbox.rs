//! The command line of `run` and `sandbox`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
pub use defenseclaw_run::RunOptions;

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
