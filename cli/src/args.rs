//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use defenseclaw_audit::{Head, KINDS, Query};
use defenseclaw_model::config::SandboxDefault;
use defenseclaw_model::decision::{Mode, Severity};
use defenseclaw_model::ids::CallId;

use crate::{CliError, time, view::View};

pub mod artifact;
pub mod bundle;
pub mod decide;
pub mod gate;
pub mod inventory;
pub mod mcp;
pub mod sandbox;
pub mod scan;

use artifact::ArtifactCommand;
use decide::{ApprovalsCommand, ExplainOptions, InspectOptions, PolicyCommand};
use gate::GateCommand;
use inventory::{AibomOptions, InventoryCommand};
use mcp::McpCommand;
use sandbox::{RunOptions, SandboxCommand};
use scan::ScanCommand;

const TOP_EXAMPLES: &str = "\
Examples:
  defenseclaw-cli setup claude-code          have that agent's tool calls decided
  defenseclaw-cli doctor                     what does not hold here, and what to do
  defenseclaw-cli status                     what is in force on this host, and what was lost
  defenseclaw-cli session show last          what the newest session said it would do, and did
  defenseclaw-cli audit tail -f              every record as it is written
  defenseclaw-cli audit query --since 1h --severity HIGH
  defenseclaw-cli audit verify               check the ledger's hash chain
  defenseclaw-cli approvals list             calls that wait for a person
  defenseclaw-cli explain 42                 why the call of record 42 was decided as it was
  defenseclaw-cli run -- npm test            a command that writes only in its project
  defenseclaw-cli scan skill DIR             what is wrong with a skill, before it is used
  defenseclaw-cli inventory scan             which agents, skills, plugins, servers and hooks are here

Environment:
  DEFENSECLAW_CONFIG  configuration file (default /etc/defenseclaw/config.yaml)
  DEFENSECLAW_SOCKET  the gateway's socket (default /run/defenseclaw/gateway.sock)
  DEFENSECLAW_STATE   state folder with the ledger (default /var/lib/defenseclaw)
  NO_COLOR            no colour, also on a terminal

Exit status:
  0 done; 1 the answer is \"no\" (not found, denied, not valid); 2 usage or configuration;
  3 the gateway cannot be reached or the ledger not be read; 4 not permitted";

const AUDIT_EXAMPLES: &str = "\
Examples:
  defenseclaw-cli audit tail -f                     every record as it is written
  defenseclaw-cli audit query --since 1h --severity HIGH
  defenseclaw-cli audit show 42
  defenseclaw-cli audit verify";

const SESSION_EXAMPLES: &str = "\
Examples:
  defenseclaw-cli session list
  defenseclaw-cli session show last                 the newest one, as a timeline";

const APPROVALS_EXAMPLES: &str = "\
Examples:
  defenseclaw-cli approvals list
  defenseclaw-cli approvals approve 3fa81c02 --for session
  defenseclaw-cli approvals deny 3fa81c02
  defenseclaw-cli approvals grants                  what was approved for more than one call

A harness that can ask asks its own user; only calls of the others wait here. Answers are taken
from an operator's process that no coding agent started.";

const POLICY_EXAMPLES: &str = "\
Examples:
  echo '{\"tool\":\"Bash\",\"input\":{\"command\":\"rm -rf /\"}}' | defenseclaw-cli policy check --input -
  defenseclaw-cli policy check --input artifact.json    whether an artifact would be admitted
  defenseclaw-cli policy test ./policies            the tests beside rules and policy
  defenseclaw-cli policy validate /etc/defenseclaw/policies && defenseclaw-cli policy reload";

const ARTIFACT_EXAMPLES: &str = "\
Examples:
  defenseclaw-cli artifact manifest ./pdf-forms
  defenseclaw-cli artifact keygen acme.key --signer acme
  defenseclaw-cli artifact sign ./pdf-forms --key acme.key --kind skill --name pdf-forms
  defenseclaw-cli artifact verify ./pdf-forms";

const SANDBOX_EXAMPLES: &str = "\
Examples:
  defenseclaw-cli sandbox list
  defenseclaw-cli sandbox show workspace
  defenseclaw-cli run --profile strict --explain     what is in force on this host";

const MCP_EXAMPLES: &str = "\
Examples:
  defenseclaw-cli mcp check                         all servers of the usual settings
  defenseclaw-cli mcp pins diff notes               what is different since it was pinned
  defenseclaw-cli mcp pins approve notes";

const SCAN_EXAMPLES: &str = "\
Examples:
  defenseclaw-cli scan skill ~/.claude/skills/pdf-forms
  defenseclaw-cli scan mcp .mcp.json --live         also asks its servers, in sandboxes
  defenseclaw-cli scan plugin ./my-plugin --format sarif --output scan.sarif
  defenseclaw-cli scan code ./my-server
  defenseclaw-cli scan package npm:left-pad@1.3.0";

const GATE_EXAMPLES: &str = "\
Examples:
  defenseclaw-cli gate status                       what holds opens, and the last answers
  defenseclaw-cli gate list                         what was taken away
  defenseclaw-cli gate release q-3fa81c02bd10 --reason 'read in full'
  defenseclaw-cli gate block --kind skill --name 'pdf-*' --reason 'takes form data elsewhere'";

const INVENTORY_EXAMPLES: &str = "\
Examples:
  defenseclaw-cli inventory scan                     look, and keep the answer
  defenseclaw-cli inventory list --kind mcp_server
  defenseclaw-cli inventory show github
  defenseclaw-cli inventory diff --since 7d          what was added, removed, changed
  defenseclaw-cli aibom --output bom.json            the same as CycloneDX 1.6";

/// What coding agents on this host said they would do, and what the kernel saw them do.
#[derive(Debug, Parser)]
#[command(name = "defenseclaw-cli", version, after_help = TOP_EXAMPLES, arg_required_else_help = true)]
#[command(propagate_version = true, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what is in force: mode, policy, ledger, what the kernel sensor sees and what it lost
    Status(StatusOptions),
    /// Install a harness's hooks, keeping every other byte of its settings
    Setup(SetupOptions),
    /// Take a harness's hooks away again
    Teardown(TeardownOptions),
    /// Find what does not hold on this host, and say what to do: kernel, daemons, files, each hook by a call that must be denied
    Doctor(DoctorOptions),
    /// Read and check the audit ledger
    #[command(subcommand, after_help = AUDIT_EXAMPLES)]
    Audit(AuditCommand),
    /// List sessions; show one as a timeline of calls and their effects
    #[command(subcommand, after_help = SESSION_EXAMPLES)]
    Session(SessionCommand),
    /// List the calls that wait for a person, and answer them
    #[command(subcommand, after_help = APPROVALS_EXAMPLES)]
    Approvals(ApprovalsCommand),
    /// Say what the rules make of tool calls and texts, line by line, without any daemon
    Inspect(InspectOptions),
    /// Explain a decision: facts, findings, and the line of the policy that decided
    Explain(ExplainOptions),
    /// Try, check, test and reload the rules
    #[command(subcommand, after_help = POLICY_EXAMPLES)]
    Policy(PolicyCommand),
    /// Say what an artifact (skill, MCP server, plugin, tool) is made of; sign it, and verify who did
    #[command(subcommand, after_help = ARTIFACT_EXAMPLES)]
    Artifact(ArtifactCommand),
    /// Run a command in a sandbox: it reaches what a profile grants, and nothing else
    Run(RunOptions),
    /// List, show and check the profiles of `run`
    #[command(subcommand, after_help = SANDBOX_EXAMPLES)]
    Sandbox(SandboxCommand),
    /// Scan a skill, MCP servers' settings, a plugin, code or a package before it is used
    #[command(subcommand, after_help = SCAN_EXAMPLES)]
    Scan(ScanCommand),
    /// Look at what the install gate took away; release it, allow and block artifacts
    #[command(subcommand, after_help = GATE_EXAMPLES)]
    Gate(GateCommand),
    /// The scanner's worker: the install gate starts it, and speaks with it over standard input
    #[command(hide = true)]
    ScanWorker,
    /// Fetches one package and has it scanned: the gateway starts it, and speaks with it over its standard streams
    #[command(hide = true)]
    FetchWorker,
    /// Say which harnesses, skills, plugins, MCP servers, tools, models, hooks and memory files are on this host
    #[command(subcommand, after_help = INVENTORY_EXAMPLES)]
    Inventory(InventoryCommand),
    /// Print the bill of materials of what coding agents here are made of (CycloneDX 1.6)
    Aibom(AibomOptions),
    /// Ask MCP servers what they offer, in sandboxes, and see when one becomes another
    #[command(subcommand, after_help = MCP_EXAMPLES)]
    Mcp(McpCommand),
}

/// What to do with the ledger.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Print the newest records; with -f, also every one that follows
    Tail(TailOptions),
    /// Print the records that match, oldest first
    Query(QueryOptions),
    /// Print one record whole, with the findings about it
    Show(ShowRecordOptions),
    /// Check the hash chain over every record
    Verify(VerifyOptions),
    /// Print the records that match as JSON lines, for other programs
    Export(ExportOptions),
}

/// What to do with sessions.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List sessions, newest first
    List(ListOptions),
    /// Show a session: each prompt, its calls and verdicts, and what the kernel saw each call do
    Show(ShowSessionOptions),
}

/// Options of `status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli status
  defenseclaw-cli status --json | jq '.agent.families[] | {family, tier}'
  defenseclaw-cli status --json | jq -e '.agent != null'    exit 1 where only hooks are in force")]
pub struct StatusOptions {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Whose hooks.
#[derive(Debug, Clone, Default, Args)]
pub struct Whose {
    /// For the whole host, in the place that users and their agents cannot change (needs root)
    #[arg(long, conflicts_with = "user")]
    pub system: bool,
    /// For that user (needs root); by default for who runs this, also through sudo
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Where the host's files begin
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub root: PathBuf,
}

/// Options of `setup`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli setup --detect                   which harnesses are here, and which are set up
  defenseclaw-cli setup claude-code --dry-run      what would be written where
  defenseclaw-cli setup claude-code                for yourself
  sudo defenseclaw-cli setup codex --system        for everyone on this host, out of users' reach
  sudo defenseclaw-cli setup cursor --user ada --mode action
  defenseclaw-cli setup claude-code --mode action --sandbox workspace

The file's other bytes stay, comments and order too. It is kept as it was, with its SHA-256, in the
state folder. A file that cannot be parsed is left alone, and its line is named.
Doing it again changes nothing. Sessions that run already have to be started anew.

Modes: observe (decide and record, refuse nothing), action (refuse), hitl (ask a person where the
policy would refuse). Sandboxes: `defenseclaw-cli sandbox list`; each command then runs in one of its own.
Both are written to the configuration file; restart the gateway after that.")]
pub struct SetupOptions {
    /// The harness: claude-code, codex, cursor, gemini-cli, copilot-cli, windsurf, opencode, openclaw,
    /// hermes, antigravity, openhands
    #[arg(value_name = "CONNECTOR", required_unless_present = "detect")]
    pub connector: Option<String>,
    /// What becomes of its calls: observe, action or hitl
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    pub mode: Option<Mode>,
    /// In which sandbox its commands run: a profile's name, or off
    #[arg(long, value_name = "PROFILE", value_parser = parse_sandbox)]
    pub sandbox: Option<SandboxDefault>,
    /// Whose hooks
    #[command(flatten)]
    pub whose: Whose,
    /// List the harnesses on this host, and change nothing
    #[arg(long, conflicts_with_all = ["mode", "sandbox", "dry_run", "connector"])]
    pub detect: bool,
    /// Print what would be written, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The hook client that the harness is to run; by default the one beside this program
    #[arg(long, value_name = "PATH")]
    pub client: Option<PathBuf>,
    /// Look into the home of who runs this alone, and start none of its programs
    #[arg(long, hide = true)]
    pub only_own: bool,
    /// Print JSON, one object per line
    #[arg(long)]
    pub json: bool,
}

/// Options of `teardown`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli teardown claude-code --dry-run
  defenseclaw-cli teardown claude-code
  sudo defenseclaw-cli teardown codex --system
  sudo defenseclaw-cli teardown --all --dry-run    every harness of every user, and of the host

A file that nobody changed since set-up becomes, byte for byte, what it was. From another one only
our entries are taken. Refused to every process that belongs to an agent's session.")]
pub struct TeardownOptions {
    /// The harness
    #[arg(value_name = "CONNECTOR", required_unless_present = "all")]
    pub connector: Option<String>,
    /// Every harness: as root of every user and of the host, else your own
    #[arg(long, conflicts_with_all = ["connector", "system"])]
    pub all: bool,
    /// What the host's manifest names for that home
    #[arg(long, value_name = "HOME", hide = true, requires = "all")]
    pub kept_for: Option<PathBuf>,
    /// The home of who runs this alone
    #[arg(long, hide = true, requires = "all")]
    pub only_own: bool,
    /// Say nothing where nothing was found
    #[arg(long, hide = true, requires = "all")]
    pub quiet: bool,
    /// Whose hooks
    #[command(flatten)]
    pub whose: Whose,
    /// Print what would become of the files, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Reads a sandbox's name.
fn parse_sandbox(text: &str) -> Result<SandboxDefault, String> {
    text.parse()
}

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  defenseclaw-cli doctor
  sudo defenseclaw-cli doctor                      also what only root may look at
  defenseclaw-cli doctor --json | jq 'select(.state != \"ok\")'
  sudo defenseclaw-cli doctor bundle --output support.tar.gz

Results: ok; note (as it may be, or not to be seen by you); warning (less is protected than could
be); problem (it does not hold). Below each that is not ok stands what to do.

Each installed hook is run, as its harness would run it, with a call that the policy always denies
(defenseclaw-canary-denied). The hook is proven only if what comes back blocks the call in the
harness's own words. In mode observe nothing is blocked, so nothing can be proven.

Exit status: 0 no problem, 1 problems found.")]
pub struct DoctorOptions {
    /// What to do in place of printing
    #[command(subcommand)]
    pub command: Option<DoctorCommand>,
    /// Where the host's files begin
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub root: PathBuf,
    /// Do not run the installed hooks
    #[arg(long)]
    pub no_canary: bool,
    /// Print one JSON object per check
    #[arg(long)]
    pub json: bool,
}

/// What `doctor` can do besides printing.
#[derive(Debug, Subcommand)]
pub enum DoctorCommand {
    /// Pack the checks, versions, settings and facts of this host for whoever helps, without secrets
    Bundle(BundleOptions),
}

/// Options of `doctor bundle`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sudo defenseclaw-cli doctor bundle --output support.tar.gz
  tar -tzf support.tar.gz && tar -xzOf support.tar.gz defenseclaw/README.txt

It holds the checks, the gateway's status, versions, the configuration, facts of the kernel, the
services' last log lines, and of the last records number, time, kind and verdict. It holds no
prompt, command, path of a record or content of any file; what looks like a secret is masked.
Names of users and folders are in it. Look at it before you send it.")]
pub struct BundleOptions {
    /// The file to make; one that is there is not overwritten
    #[arg(short, long, value_name = "FILE.tar.gz")]
    pub output: PathBuf,
    /// How many of the last records and log lines to tell of
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(0..=5_000))]
    pub last: u16,
    /// Where the host's files begin
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub root: PathBuf,
    /// Do not run the installed hooks
    #[arg(long)]
    pub no_canary: bool,
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    [Mode::Observe, Mode::Action, Mode::Hitl]
        .into_iter()
        .find(|mode| mode.as_str() == text)
        .ok_or_else(|| format!("{text:?} is no mode: use observe, action or hitl"))
}

/// Which records are meant.
#[derive(Debug, Clone, Default, Args)]
pub struct Filters {
    /// Not before: RFC 3339, a local date or time, or how long ago (10m, 2h, 3d)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Not after: the same forms
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Of that session: its id, an unambiguous part of it, or `last`
    #[arg(long, value_name = "SESSION")]
    pub session: Option<String>,
    /// Of the tool call with that id
    #[arg(long, value_name = "CALL", value_parser = CallId::new)]
    pub call: Option<CallId>,
    /// At least that severe: LOW, MEDIUM, HIGH or CRITICAL
    #[arg(long, value_name = "SEVERITY")]
    pub severity: Option<Severity>,
    /// Of that kind; may be given several times
    #[arg(long = "kind", value_name = "KIND", value_parser = KINDS, value_delimiter = ',')]
    pub kinds: Vec<String>,
}

impl Filters {
    /// The ledger's form of the filters, but for the session, which only the ledger can resolve.
    pub fn query(&self, view: &View) -> Result<Query, CliError> {
        let now = time::now_ns();
        let instant = |option: &str, text: &Option<String>| {
            text.as_ref().map(|text| {
                time::parse_instant(text, now, &view.zone)
                    .map_err(|error| CliError::Usage(format!("--{option}: {error}")))
            })
        };
        let since_ns = instant("since", &self.since).transpose()?;
        let until_ns = instant("until", &self.until).transpose()?;
        if let (Some(since), Some(until)) = (since_ns, until_ns)
            && since > until
        {
            return Err(CliError::Usage(
                "--since lies after --until: no record can match".to_owned(),
            ));
        }
        Ok(Query {
            since_ns,
            until_ns,
            call: self.call.clone(),
            min_severity: self.severity,
            kinds: self.kinds.clone(),
            ..Query::default()
        })
    }
}

/// Options of `audit tail`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli audit tail                       the newest 10 records
  defenseclaw-cli audit tail -f                    … and every one that follows, until interrupted
  defenseclaw-cli audit tail -n 0 -f --severity HIGH
  defenseclaw-cli audit tail -f --kind finding --json | jq .body.finding.message

With -f a ledger that does not exist yet is waited for.")]
pub struct TailOptions {
    /// Go on with every record that follows
    #[arg(short, long)]
    pub follow: bool,
    /// How many of the newest matching records to begin with
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 10)]
    pub lines: usize,
    /// Which records
    #[command(flatten)]
    pub filters: Filters,
    /// Print one JSON object per record
    #[arg(long)]
    pub json: bool,
}

/// Options of `audit query`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli audit query --since 2h --severity MEDIUM
  defenseclaw-cli audit query --session last --kind tool_call --kind finding
  defenseclaw-cli audit query --since 2026-11-21T08:00:00Z --until 2026-11-21T09:00:00Z --json
  defenseclaw-cli audit query --call toolu_01ABC --kind activity --json | jq .body.activity.action
  defenseclaw-cli audit query --kind finding --follow")]
pub struct QueryOptions {
    /// Which records
    #[command(flatten)]
    pub filters: Filters,
    /// At most that many, the oldest first
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    pub limit: Option<usize>,
    /// Go on with every matching record that follows
    #[arg(short, long, conflicts_with = "until")]
    pub follow: bool,
    /// Print one JSON object per record
    #[arg(long)]
    pub json: bool,
}

/// Options of `audit show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli audit show 42
  defenseclaw-cli audit show 42 --json | jq .body")]
pub struct ShowRecordOptions {
    /// The record's number, as the other commands print it
    #[arg(value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    pub seq: u64,
    /// Print the record as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `audit verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli audit verify                     exit 0 valid, 1 not valid
  defenseclaw-cli audit verify --json | jq -r '\"\\(.head.seq):\\(.head.hash)\"' > /somewhere/else/head
  defenseclaw-cli audit verify --head \"$(cat /somewhere/else/head)\"

The chain is not signed. Keep a head where nobody on this host can write, and hand it in later:
that shows whether records were cut off or the whole chain was written anew.")]
pub struct VerifyOptions {
    /// A head noted earlier and kept elsewhere, which must still be in the chain; may be given several times
    #[arg(long = "head", value_name = "SEQ:HASH", value_parser = parse_head)]
    pub heads: Vec<Head>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Reads `SEQ:HASH`.
fn parse_head(text: &str) -> Result<Head, String> {
    let error = || "a head is written SEQ:HASH: a record's number and its 64 hex digits".to_owned();
    let (seq, hash) = text.trim().split_once(':').ok_or_else(error)?;
    let seq = seq.parse().map_err(|_| error())?;
    if hash.len() != 64 || !hash.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(error());
    }
    Ok(Head {
        seq,
        hash: hash.to_ascii_lowercase(),
    })
}

/// Options of `audit export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli audit export --json > ledger.jsonl
  defenseclaw-cli audit export --json --since 1d --severity HIGH | gzip > findings.jsonl.gz")]
pub struct ExportOptions {
    /// Which records
    #[command(flatten)]
    pub filters: Filters,
    /// JSON lines: the only form, and the default
    #[arg(long)]
    pub json: bool,
}

/// Options of `session list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli session list
  defenseclaw-cli session list --json | jq -r 'select(.findings > 0).session'")]
pub struct ListOptions {
    /// Print one JSON object per session
    #[arg(long)]
    pub json: bool,
}

/// Options of `session show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli session show last
  defenseclaw-cli session show 4f1c                any unambiguous part of the id
  defenseclaw-cli session show last --all | less -R
  defenseclaw-cli session show last --json | jq 'select(.line==\"process\") | {depth, argv, end}'

How to read it:
  argv, lineage, path, window   how an effect was found to belong to the call
  declared                      named in the call
  derived                       a consequence of something declared
  unexplained                   by nothing that was declared
  exec cat ...                  the process above became cat
Processes that hold something notable (a finding, a classified path, a connection) are
always shown. Others are counted where they are many; --all shows them.")]
pub struct ShowSessionOptions {
    /// The session's id, an unambiguous part of it, or `last`
    #[arg(value_name = "SESSION")]
    pub session: String,
    /// Show every process and file, the harness's own housekeeping, and texts in full
    #[arg(long)]
    pub all: bool,
    /// Print one JSON object per line of the timeline, complete
    #[arg(long)]
    pub json: bool,
}
