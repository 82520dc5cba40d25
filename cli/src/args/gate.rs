//! Verbs about the install gate: what it held, and what operators allow and block.

use clap::{Args, Subcommand};
use defenseclaw_model::admission::ArtifactKind;

use crate::time;

/// What to do at the install gate.
#[derive(Debug, Subcommand)]
pub enum GateCommand {
    /// Print what lies in quarantine
    List(GateListOptions),
    /// Print one entry of the quarantine whole
    Show(GateShowOptions),
    /// Put an entry back where it was; it is scanned again when it is opened
    Restore(GateEntryOptions),
    /// Allow exactly this content for a time, and put it back
    Release(GateReleaseOptions),
    /// Delete an entry of the quarantine for good
    Delete(GateEntryOptions),
    /// Say what holds opens here, and the last answer about each artifact
    Status(GateStatusOptions),
    /// Allow an artifact, by its content or by its name
    Allow(GateListingOptions),
    /// Block an artifact, by its content or by its name
    Block(GateListingOptions),
    /// Print what operators allow and block at run time
    Lists(GateListsOptions),
    /// Take an entry off its list
    Forget(GateForgetOptions),
}

/// Options of `gate list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli gate list
  defenseclaw-cli gate list --json | jq -r '\"\\(.id) \\(.artifact.path)\"'")]
pub struct GateListOptions {
    /// Print one JSON object per entry
    #[arg(long)]
    pub json: bool,
}

/// Options of `gate show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli gate show q-3fa81c02bd10
  defenseclaw-cli gate show q-3fa81c02bd10 --json | jq .rules")]
pub struct GateShowOptions {
    /// The entry's number, as `gate list` prints it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `gate restore` and `gate delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli gate restore q-3fa81c02bd10      scanned again when something opens it
  defenseclaw-cli gate delete q-3fa81c02bd10

Needs root, the gateway's user, or one named in `operators` of the configuration, in a process that
no coding agent started.")]
pub struct GateEntryOptions {
    /// The entry's number, as `gate list` prints it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Print the entry as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `gate release`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli gate release q-3fa81c02bd10 --reason 'read in full, ticket 4711'
  defenseclaw-cli gate release q-3fa81c02bd10 --reason 'for the demo' --expires 2d

What is released is these very bytes: their digest goes onto the allow list, and one changed byte is
another artifact. A block entry still wins.")]
pub struct GateReleaseOptions {
    /// The entry's number, as `gate list` prints it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Why; it is recorded, and shown wherever the entry decides
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// For how long (90m, 12h, 30d, 8w)
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = time::parse_span)]
    pub expires: u64,
    /// Print the entry as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `gate status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli gate status
  defenseclaw-cli gate status --json | jq 'select(.answer.action == \"block\") | .artifact.path'")]
pub struct GateStatusOptions {
    /// Print one JSON object per artifact
    #[arg(long)]
    pub json: bool,
}

/// Options of `gate allow` and `gate block`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli gate block --kind skill --name 'pdf-*' --reason 'takes form data elsewhere'
  defenseclaw-cli gate allow --digest sha256:… --reason 'read in full' --expires 90d
  defenseclaw-cli gate allow --kind mcp --name files --reason 'our own server'

A name is what the artifact's folder or file is called, or a pattern with one * at its start or end; a
digest is what `artifact manifest` prints. Block wins over allow, a name does not lift a critical finding,
and what is allowed ends (after 30 days unless you say otherwise). Entries in lists.yaml stand beside these.")]
pub struct GateListingOptions {
    /// The content: sha256: and 64 hex digits
    #[arg(long, value_name = "DIGEST", required_unless_present = "name")]
    pub digest: Option<String>,
    /// The kind: skill, mcp, plugin or tool
    #[arg(long, value_name = "KIND", required_unless_present = "digest")]
    pub kind: Option<ArtifactKind>,
    /// The name
    #[arg(long, value_name = "NAME", requires = "kind")]
    pub name: Option<String>,
    /// Why; it is recorded, and shown wherever the entry decides
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// For how long (90m, 12h, 30d, 8w)
    #[arg(long, value_name = "TIME", value_parser = time::parse_span)]
    pub expires: Option<u64>,
    /// Print the entry as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `gate lists`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli gate lists
  defenseclaw-cli gate lists --json | jq 'select(.list == \"allow\")'

Entries of lists.yaml are the operator's own file and are not shown.")]
pub struct GateListsOptions {
    /// Print one JSON object per entry
    #[arg(long)]
    pub json: bool,
}

/// Options of `gate forget`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli gate forget l-3fa81c02")]
pub struct GateForgetOptions {
    /// The entry's number, as `gate lists` prints it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Print the entry as one JSON object
    #[arg(long)]
    pub json: bool,
}
