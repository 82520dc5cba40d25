//! The command line of `policy bundle`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::time;

/// What to do with policy bundles.
#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Make an unsigned bundle of a folder with policies, after its tests have passed
    Build(BuildOptions),
    /// Sign a bundle for a group of hosts
    Sign(SignBundleOptions),
    /// Say who signed a bundle, and whether it could be put in force
    Verify(VerifyBundleOptions),
    /// Have the gateway look for a bundle now
    Pull(PullOptions),
    /// Print which bundle is in force, and what came of the last look
    Status(BundleStatusOptions),
    /// Have the gateway go back to the bundle before
    Rollback(RollbackOptions),
}

/// Options of `policy bundle build`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli policy bundle build ./policies --revision 7 --output policies-7.tar.gz
  tar tzf policies-7.tar.gz

Takes rego/*.rego, rego/data.json, rules/*.yaml and lists.yaml. The archive has the layout of OPA's
bundles; the same folder gives the same bytes. Exit 0 written, 1 a test does not pass or something
cannot be put in force, 2 usage.")]
pub struct BuildOptions {
    /// A folder as `policies` in the configuration names it
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Its revision: higher than that of every bundle of the group before
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub revision: u64,
    /// The archive to write
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `policy bundle sign`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli artifact keygen release.key --signer release@corp.example
  defenseclaw-cli policy bundle sign policies-7.tar.gz --key release.key --group workstations \\
    --ring 0 --output workstations.bundle
  defenseclaw-cli policy bundle sign policies-7.tar.gz --key release.key --group workstations \\
    --valid 30d --output workstations.bundle      the same for everybody, once ring 0 is content

The archive may also be one that `opa build` made, if its manifest's revision is a number.")]
pub struct SignBundleOptions {
    /// The archive, as `policy bundle build` made it
    #[arg(value_name = "FILE")]
    pub archive: PathBuf,
    /// The key file, as `artifact keygen` made it
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The group of hosts that it is for
    #[arg(long, value_name = "NAME")]
    pub group: String,
    /// The outermost ring that takes it, 0 to 9
    #[arg(long, value_name = "NUMBER", default_value_t = 9, value_parser = clap::value_parser!(u8).range(0..=9))]
    pub ring: u8,
    /// For how long it is accepted
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = time::parse_span)]
    pub valid: u64,
    /// The bundle file to write
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `policy bundle verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli policy bundle verify workstations.bundle
  defenseclaw-cli policy bundle verify workstations.bundle --key \"release@corp.example=11qYAY…\"

Without --key the keys are those of `bundle.keys` in the configuration. Exit 0 if a host would take
it, 1 if not (with the reason), 2 usage.")]
pub struct VerifyBundleOptions {
    /// The bundle file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// A signer's public key instead of the configured ones, as ID=KEY
    #[arg(long, value_name = "ID=KEY")]
    pub key: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `policy bundle pull`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli policy bundle pull

Exit 0 if the bundle there is in force now, 1 if it was refused, held, or could not be had. Needs an
operator, like approvals.")]
pub struct PullOptions {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `policy bundle status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli policy bundle status
  defenseclaw-cli policy bundle status --json | jq .in_force.revision
  defenseclaw-cli audit query --kind bundle

Exit 0 if one is in force, 1 if none is, or none is configured.")]
pub struct BundleStatusOptions {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `policy bundle rollback`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli policy bundle rollback --reason \"revision 8 asks about every push\"

The bundle that is left is not taken again: a higher revision is waited for. Needs an operator, like
approvals, in a process that no coding agent started.")]
pub struct RollbackOptions {
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
