//! Verbs about artifacts: what is scanned, and how the answer is written.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::ScanKind;

use super::decide::RuleChoice;

/// What to scan.
#[derive(Debug, Subcommand)]
pub enum ScanCommand {
    /// Scan a skill: a folder with SKILL.md and every file beside it, or an archive of one
    Skill(ScanOptions),
    /// Scan settings of MCP servers (mcpServers), or an answer to tools/list, as JSON
    Mcp(ScanOptions),
    /// Scan a plugin: its commands, agents, skills, hooks and servers
    Plugin(ScanOptions),
    /// Scan source code: where data comes from and where it ends, across the files of a folder
    Code(ScanOptions),
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// One JSON object
    Json,
    /// SARIF 2.1.0, for forges and editors
    Sarif,
}

/// Options of `scan skill`, `scan mcp`, `scan plugin`, `scan code`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli scan skill ~/.claude/skills/pdf-forms
  defenseclaw-cli scan skill pdf-forms.skill --fail-on MEDIUM
  defenseclaw-cli scan mcp .mcp.json --format json | jq '.findings[] | {rule, severity, file, line}'
  defenseclaw-cli scan plugin ./my-plugin --format sarif --output scan.sarif
  defenseclaw-cli scan code ./my-server --fail-on MEDIUM

Nothing of what is scanned is run, and nothing is asked of the network. Archives (.zip .skill .whl
.vsix .mcpb .dxt .tar .tar.gz) are looked into, within bounds; what could not be looked at is a finding.

Exit status: 0 nothing at or above --fail-on, 1 something is, 2 usage, or the path cannot be read")]
pub struct ScanOptions {
    /// A folder, a file or an archive
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// From which severity on the answer is \"no\": LOW, MEDIUM, HIGH or CRITICAL
    #[arg(long, value_name = "SEVERITY", default_value = "HIGH", value_parser = fails_on)]
    pub fail_on: Severity,
    /// Write the answer to that file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Which rules
    #[command(flatten)]
    pub rules: RuleChoice,
}

impl ScanCommand {
    /// What is scanned, and how.
    pub fn parts(&self) -> (ScanKind, &ScanOptions) {
        match self {
            Self::Skill(options) => (ScanKind::Skill, options),
            Self::Mcp(options) => (ScanKind::Mcp, options),
            Self::Plugin(options) => (ScanKind::Plugin, options),
            Self::Code(options) => (ScanKind::Code, options),
        }
    }
}

fn fails_on(text: &str) -> Result<Severity, String> {
    match text.parse() {
        Ok(Severity::None) => Err("NONE would fail everything: use LOW, MEDIUM, HIGH or CRITICAL".to_owned()),
        other => other,
    }
}
