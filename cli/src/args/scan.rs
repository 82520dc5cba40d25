//! Verbs about artifacts: what is scanned, and how the answer is written.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use defenseclaw_model::decision::Severity;

use super::decide::RuleChoice;
use super::mcp::AskOptions;
use crate::CliError;

/// What to scan.
#[derive(Debug, Subcommand)]
pub enum ScanCommand {
    /// Scan a skill: a folder with SKILL.md and every file beside it, or an archive of one
    Skill(ScanOptions),
    /// Scan settings of MCP servers (mcpServers), or an answer to tools/list; with --live what the servers say now
    Mcp(McpScanOptions),
    /// Scan a plugin: its commands, agents, skills, hooks and servers
    Plugin(ScanOptions),
    /// Scan source code: where data comes from and where it ends, across the files of a folder
    Code(ScanOptions),
    /// Fetch a package from its registry into quarantine, and scan it there before anybody installs it
    Package(PackageOptions),
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
  defenseclaw-cli scan skill ~/.claude/skills/* --format json | jq -r '[.verdict.severity, .name] | @tsv'

Several paths are scanned in one process, side by side, and answered in their order: tables below each other,
JSON objects line by line, SARIF as one log with a run each. One that cannot be read does not keep the others
from being answered.

Nothing of what is scanned is run, and nothing is asked of the network. Archives (.zip .skill .whl
.vsix .mcpb .dxt .tar .tar.gz) are looked into, within bounds; what could not be looked at is a finding.

Exit status: 0 nothing at or above --fail-on, 1 something is, 2 usage, or a path cannot be read")]
pub struct ScanOptions {
    /// A folder, a file or an archive, or several
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// How the answer is written
    #[command(flatten)]
    pub answer: AnswerOptions,
}

/// Options of `scan package`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli scan package npm:left-pad@1.3.0
  defenseclaw-cli scan package pypi:requests==2.32.3 --format json
  defenseclaw-cli scan package crates:serde && cargo add serde
  defenseclaw-cli scan package npm:@acme/ui --registry https://npm.acme.example

This asks the registry over https, and sends no login. The file has to have the checksum that the registry
names; nothing of it is installed or run, and it is deleted afterwards. What runs at an installation
(install scripts, setup.py, build.rs) counts a step more.

Exit status: 0 nothing at or above --fail-on, 1 something is, or the file is not the announced one,
2 usage, or the package cannot be had")]
pub struct PackageOptions {
    /// npm:NAME[@VERSION], pypi:NAME[==VERSION] or crates:NAME[@VERSION]; without a version the newest
    #[arg(value_name = "PACKAGE")]
    pub package: String,
    /// Ask that registry instead of the ecosystem's own: https, or http on this host
    #[arg(long, value_name = "URL")]
    pub registry: Option<String>,
    /// How the answer is written
    #[command(flatten)]
    pub answer: AnswerOptions,
}

/// How a scan's answer is given.
#[derive(Debug, Args)]
pub struct AnswerOptions {
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

/// Options of `scan mcp`.
#[derive(Debug, Args)]
pub struct McpScanOptions {
    /// What is scanned
    #[command(flatten)]
    pub scan: ScanOptions,
    /// Start each server in a sandbox (no network, no secrets), ask for its tools, prompts and resources, and scan these
    #[arg(long)]
    pub live: bool,
    /// How servers are asked
    #[command(flatten)]
    pub ask: AskOptions,
}

impl ScanCommand {
    /// How servers are asked, where that is wanted.
    ///
    /// # Errors
    /// Where options say how, and none is to be asked.
    pub fn live(&self) -> Result<Option<&AskOptions>, CliError> {
        match self {
            Self::Mcp(options) if options.live => Ok(Some(&options.ask)),
            Self::Mcp(options) if options.ask.server.is_some() || options.ask.allow_network => {
                Err(CliError::Usage(
                    "no server is asked without --live: add it, or leave out --server and --allow-network"
                        .to_owned(),
                ))
            }
            _ => Ok(None),
        }
    }
}

fn fails_on(text: &str) -> Result<Severity, String> {
    match text.parse() {
        Ok(Severity::None) => Err("NONE would fail everything: use LOW, MEDIUM, HIGH or CRITICAL".to_owned()),
        other => other,
    }
}
