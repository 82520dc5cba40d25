//! Verbs about MCP servers: asked, compared with their pins.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

/// How servers are asked.
#[derive(Debug, Clone, Args)]
pub struct AskOptions {
    /// Only the server of that name
    #[arg(long, value_name = "NAME")]
    pub server: Option<String>,
    /// How long one server may take, in seconds
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
    /// Give servers the network, and ask those behind addresses of other hosts
    #[arg(long)]
    pub allow_network: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds @ 1..=600) => Ok(Duration::from_secs(seconds)),
        _ => Err("a number of seconds from 1 to 600".to_owned()),
    }
}

/// What to do about MCP servers.
#[derive(Debug, Subcommand)]
pub enum McpCommand {
    /// Ask all servers of an agent's settings what they offer, in sandboxes, and compare with their pins
    Check(CheckOptions),
    /// What servers were when somebody looked: list, show, compare, approve, forget
    #[command(subcommand)]
    Pins(PinsCommand),
}

/// Options of `mcp check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli mcp check                      the settings of this user, this folder and this host
  defenseclaw-cli mcp check .mcp.json --server notes
  defenseclaw-cli mcp check --json | jq 'select(.state == \"changed\")'

Each server is started in a sandbox without network, without secrets and with a temporary folder of
its own; variables of its settings get placeholders. The gateway compares and keeps the pins: a
server that changed is held, its tools are refused, until `mcp pins approve`.

Exit status: 0 nothing is held, 1 a server is, 2 usage, 3 the gateway cannot be reached")]
pub struct CheckOptions {
    /// Settings files, or folders of projects; by default those in the usual places
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// How servers are asked
    #[command(flatten)]
    pub ask: AskOptions,
    /// Print one JSON object per server
    #[arg(long)]
    pub json: bool,
}

/// What to do with pins.
#[derive(Debug, Subcommand)]
pub enum PinsCommand {
    /// List the pins
    List(ListPinsOptions),
    /// Show one pin: how the server is started, what it offers
    Show(PinOptions),
    /// Show what is different since it was pinned
    Diff(PinOptions),
    /// Pin what the server is now; it is no longer held
    Approve(ApprovePinOptions),
    /// Forget a pin: when its server is seen again, it is new
    Forget(PinOptions),
}

/// Options of `mcp pins list`.
#[derive(Debug, Args)]
pub struct ListPinsOptions {
    /// Print one JSON object per pin
    #[arg(long)]
    pub json: bool,
}

/// Which pin.
#[derive(Debug, Args)]
pub struct PinOptions {
    /// The pin's id, or its server's name where that is one pin's
    #[arg(value_name = "PIN")]
    pub pin: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `mcp pins approve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  defenseclaw-cli mcp pins diff notes
  defenseclaw-cli mcp pins approve notes --digest 3fa81c02d4e5

Approvals are taken from an operator's process that no coding agent started. With --digest only what
`diff` showed is approved, and not what came since.

Exit status: 0 approved, 1 there is no such pin, 3 the gateway cannot be reached, 4 not permitted")]
pub struct ApprovePinOptions {
    /// The pin's id, or its server's name where that is one pin's
    #[arg(value_name = "PIN")]
    pub pin: String,
    /// The beginning of the digest that `diff` showed
    #[arg(long, value_name = "HEX", value_parser = digest)]
    pub digest: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

fn digest(text: &str) -> Result<String, String> {
    let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex && (8..=64).contains(&text.len()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("8 to 64 hex digits".to_owned())
    }
}
