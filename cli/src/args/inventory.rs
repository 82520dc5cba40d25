//! Verbs about what lies on this host: `inventory`, `aibom`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use defenseclaw_inventory::ItemKind;

use super::decide::RuleChoice;

/// What to do with the inventory.
#[derive(Debug, Subcommand)]
pub enum InventoryCommand {
    /// Look for harnesses and what extends them, scan it, and keep the answer
    Scan(ScanInventoryOptions),
    /// List what the last scan found
    List(ListInventoryOptions),
    /// Show everything about one thing
    Show(ShowItemOptions),
    /// Say what was added, removed and changed since an earlier scan
    Diff(DiffOptions),
    /// Find things by a part of their name, path, command, package or finding
    Search(SearchOptions),
    /// Print the last scan for other programs
    Export(ExportInventoryOptions),
    /// List the scans that are kept
    Scans(ScansOptions),
}

/// Where to look, and by which rules.
#[derive(Debug, Default, Args)]
pub struct Where {
    /// A home to look at instead of your own; may be given several times
    #[arg(long = "home", value_name = "DIR")]
    pub homes: Vec<PathBuf>,
    /// A project to look at instead of the current folder; may be given several times
    #[arg(long = "project", value_name = "DIR")]
    pub projects: Vec<PathBuf>,
    /// The homes of everyone on this host; what this user may not read is told
    #[arg(long, conflicts_with = "homes")]
    pub all_users: bool,
    /// Do not scan what is found, and do not ask the policy about it
    #[arg(long)]
    pub no_scan: bool,
    /// Where the host's files begin
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub root: PathBuf,
    /// Which rules
    #[command(flatten)]
    pub rules: RuleChoice,
}

/// Options of `inventory scan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli inventory scan                          your home, and the project you stand in
  defenseclaw-cli inventory scan --project ~/src/app --project ~/src/lib
  sudo defenseclaw-cli inventory scan --all-users
  defenseclaw-cli inventory scan --json | jq 'select(.admission.action == \"block\") | .path'

Nothing is run and nothing is asked of the network: versions are read from packages, settings by their own
formats. Values of environment variables and headers are never kept; secrets in arguments are masked.
What could not be looked at is told at the end. The answer is kept in inventory.db of the state folder, or
in ~/.local/state/defenseclaw where that may not be written.

With --json each thing is one line; then {\"trouble\":…} for what could not be looked at, and {\"scan\":…}.")]
pub struct ScanInventoryOptions {
    /// Where
    #[command(flatten)]
    pub at: Where,
    /// Print one JSON object per thing
    #[arg(long)]
    pub json: bool,
}

/// Options of `inventory list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli inventory list
  defenseclaw-cli inventory list --kind mcp_server --kind hook
  defenseclaw-cli inventory list --kind skill --json | jq -r '[.name, .digest] | @tsv'

Kinds: harness, plugin, marketplace, skill, prompt, settings, mcp_server, tool, model, hook, memory.
WORST is the greatest severity of its findings: - where nothing was found, ? where it was not scanned.
ADMITTED is what the policy says of it, - where it is nothing that is admitted by itself.")]
pub struct ListInventoryOptions {
    /// Of that kind; may be given several times
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    pub kinds: Vec<ItemKind>,
    /// Of that scan instead of the last
    #[arg(long, value_name = "SCAN")]
    pub scan: Option<u64>,
    /// Print one JSON object per thing
    #[arg(long)]
    pub json: bool,
}

/// Options of `inventory show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli inventory show pdf-forms
  defenseclaw-cli inventory show 3f9a1c                   any unambiguous beginning of an id
  defenseclaw-cli inventory show github --json | jq .details")]
pub struct ShowItemOptions {
    /// Its id, the beginning of its id, or its name
    #[arg(value_name = "ID|NAME")]
    pub item: String,
    /// Print one JSON object per thing
    #[arg(long)]
    pub json: bool,
}

/// Options of `inventory diff`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli inventory diff                          since the scan before the last
  defenseclaw-cli inventory diff --since 7d
  defenseclaw-cli inventory diff --since 12               since scan 12, as `inventory scans` numbers them
  defenseclaw-cli inventory diff --json | jq 'select(.became == \"changed\") | {name, fields}'")]
pub struct DiffOptions {
    /// A scan's number, or a time: RFC 3339, a local date or time, or how long ago (10m, 2h, 3d)
    #[arg(long, value_name = "TIME|SCAN")]
    pub since: Option<String>,
    /// Print one JSON object per change
    #[arg(long)]
    pub json: bool,
}

/// Options of `inventory search`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli inventory search @acme/server
  defenseclaw-cli inventory search sha256:3f9a            things of that content
  defenseclaw-cli inventory search mcp.unpinned-server    things about which that rule found something")]
pub struct SearchOptions {
    /// The text, in any case
    #[arg(value_name = "TEXT")]
    pub text: String,
    /// Print one JSON object per thing
    #[arg(long)]
    pub json: bool,
}

/// For which programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// The whole inventory as one JSON object
    Json,
    /// A table for spreadsheets
    Csv,
    /// CycloneDX 1.6, as `aibom` prints it
    Cyclonedx,
}

/// Options of `inventory export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli inventory export --format json | jq '.items | length'
  defenseclaw-cli inventory export --format csv --output inventory.csv
  defenseclaw-cli inventory export --format cyclonedx --scan 12 --output bom.json")]
pub struct ExportInventoryOptions {
    /// For which programs
    #[arg(long, value_enum, default_value_t = ExportFormat::Json)]
    pub format: ExportFormat,
    /// Of that scan instead of the last
    #[arg(long, value_name = "SCAN")]
    pub scan: Option<u64>,
    /// Write to that file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Options of `inventory scans`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli inventory scans
  defenseclaw-cli inventory scans --json | jq -r 'select(.troubles > 0).scan'")]
pub struct ScansOptions {
    /// Print one JSON object per scan
    #[arg(long)]
    pub json: bool,
}

/// Options of `aibom`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli aibom --output bom.json                 of the last scan
  defenseclaw-cli aibom --fresh --all-users > bom.json    scan first
  SOURCE_DATE_EPOCH=0 defenseclaw-cli aibom | sha256sum   the same for the same scan

CycloneDX 1.6 in JSON: harnesses, plugins, skills, prompts, servers, tools, models, hooks and memory, with hashes,
who needs whom, findings and admission. Values of variables and headers are not in it.")]
pub struct AibomOptions {
    /// Write to that file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Scan first, and keep that scan
    #[arg(long)]
    pub fresh: bool,
    /// Where
    #[command(flatten)]
    pub at: Where,
}
