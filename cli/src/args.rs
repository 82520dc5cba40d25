//! The command line.

use clap::{Args, Parser, Subcommand};
use defenseclaw_audit::{Head, KINDS, Query};
use defenseclaw_model::decision::Severity;
use defenseclaw_model::ids::CallId;

use crate::{CliError, time, view::View};

pub mod decide;

use decide::{ApprovalsCommand, ExplainOptions, InspectOptions, PolicyCommand};

const TOP_EXAMPLES: &str = "\
Examples:
  defenseclaw-cli status                     what is in force on this host, and what was lost
  defenseclaw-cli session show last          what the newest session said it would do, and did
  defenseclaw-cli audit tail -f              every record as it is written
  defenseclaw-cli audit query --since 1h --severity HIGH
  defenseclaw-cli audit verify               check the ledger's hash chain
  defenseclaw-cli approvals list             calls that wait for a person
  defenseclaw-cli explain 42                 why the call of record 42 was decided as it was

Environment:
  DEFENSECLAW_CONFIG  configuration file (default /etc/defenseclaw/config.yaml)
  DEFENSECLAW_SOCKET  the gateway's socket (default /run/defenseclaw/gateway.sock)
  DEFENSECLAW_STATE   state folder with the ledger (default /var/lib/defenseclaw)
  NO_COLOR            no colour, also on a terminal

Exit status:
  0 done; 1 the answer is \"no\" (not found, denied, not valid); 2 usage or configuration;
  3 the gateway cannot be reached or the ledger not be read; 4 not permitted";

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
    /// Read and check the audit ledger
    #[command(subcommand)]
    Audit(AuditCommand),
    /// List sessions; show one as a timeline of calls and their effects
    #[command(subcommand)]
    Session(SessionCommand),
    /// List the calls that wait for a person, and answer them
    #[command(subcommand)]
    Approvals(ApprovalsCommand),
    /// Say what the rules make of tool calls and texts, line by line, without any daemon
    Inspect(InspectOptions),
    /// Explain a decision: facts, findings, and the line of the policy that decided
    Explain(ExplainOptions),
    /// Try, check, test and reload the rules
    #[command(subcommand)]
    Policy(PolicyCommand),
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
