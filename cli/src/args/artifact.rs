//! The command line of `artifact`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use defenseclaw_model::admission::ArtifactKind;

use super::decide::RuleChoice;

/// What to do with an artifact.
#[derive(Debug, Subcommand)]
pub enum ArtifactCommand {
    /// Print the files of an artifact and the digest over them
    Manifest(ManifestOptions),
    /// Make a key to sign with
    Keygen(KeygenOptions),
    /// Sign an artifact under a kind, name and version
    Sign(SignOptions),
    /// Say who signed an artifact, if a trusted signer did
    Verify(VerifyArtifactOptions),
}

/// Options of `artifact manifest`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli artifact manifest ~/.claude/skills/pdf-forms
  defenseclaw-cli artifact manifest ./server.py --json | jq -r .digest

The digest is for `digest` of an entry in lists.yaml. The signature file is no part of it; empty
folders, times and owners are not either.

Exit status: 0 printed, 2 the artifact cannot be read (a link that leads out of it, a device, a name
that is not UTF-8).")]
pub struct ManifestOptions {
    /// The artifact: a folder or a single file
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `artifact keygen`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli artifact keygen acme.key --signer acme

The secret key is written to the file, for its owner alone; a file that is there stays. What is
printed goes into lists.yaml of those who trust it.")]
pub struct KeygenOptions {
    /// The file for the secret key
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The signer's id
    #[arg(long, value_name = "ID")]
    pub signer: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `artifact sign`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:
  defenseclaw-cli artifact sign ./forms --key acme.key --kind skill --name forms --version 1.4.0
  defenseclaw-cli artifact sign ./tool.py --key acme.key --kind tool --name tool

The signature is put into the folder as defenseclaw.sig.json, or beside the file as
FILE.defenseclaw.sig.json. It holds for this content under this kind, name and version.",
    disable_version_flag = true
)]
pub struct SignOptions {
    /// The artifact: a folder or a single file
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// The key file, as `artifact keygen` made it
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// skill, mcp, plugin or tool
    #[arg(long, value_name = "KIND")]
    pub kind: ArtifactKind,
    /// The name under which it is used
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// The version
    #[arg(long = "version", value_name = "VERSION")]
    pub artifact_version: Option<String>,
    /// Write the signature to this file instead
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `artifact verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:
  defenseclaw-cli artifact verify ./pdf-forms --kind skill --name pdf-forms --version 1.4.0
  defenseclaw-cli artifact verify ./pdf-forms            as what it says it is, which is printed
  defenseclaw-cli artifact verify ./pdf-forms --json | jq -r .signed_by

Trusted are the public keys in `trust.signers` of lists.yaml and of rego/data.json.

Exit status: 0 signed by a trusted signer, 1 not (with the reason), 2 usage.",
    disable_version_flag = true
)]
pub struct VerifyArtifactOptions {
    /// The artifact: a folder or a single file
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// As what it is used: skill, mcp, plugin or tool
    #[arg(long, value_name = "KIND", requires = "name")]
    pub kind: Option<ArtifactKind>,
    /// The name under which it is used
    #[arg(long, value_name = "NAME", requires = "kind")]
    pub name: Option<String>,
    /// The version that is used
    #[arg(long = "version", value_name = "VERSION", requires = "name")]
    pub artifact_version: Option<String>,
    /// The signature file, where it does not lie in its usual place
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// Which rules
    #[command(flatten)]
    pub rules: RuleChoice,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
