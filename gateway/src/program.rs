//! The gateway's program: arguments, log, exit status.

use std::process::ExitCode;

use defenseclaw_service::journal;
use tracing::Level;

use crate::{config, daemon, memory};

const USAGE: &str = "\
The DefenseClaw gateway: answers the hooks of AI coding agents and keeps the ledger.

Usage: defenseclaw-gateway [--allow-root]

  --allow-root   run even as root, which is advised against
  --version      print the version
  --help         print this

Environment:
  DEFENSECLAW_CONFIG   configuration file (default /etc/defenseclaw/config.yaml)
  DEFENSECLAW_SOCKET   socket, in place of the configured one
  DEFENSECLAW_STATE    state folder, in place of the configured one
  DEFENSECLAW_LOG      error, warn, info (default), debug or trace

Examples:
  defenseclaw-gateway
  DEFENSECLAW_SOCKET=/tmp/dc/gateway.sock DEFENSECLAW_STATE=/tmp/dc/state defenseclaw-gateway
";

/// Exit status for a misused command line.
const EXIT_USAGE: u8 = 2;

/// Runs it, by the arguments of this process, until it ends.
#[expect(clippy::print_stdout, reason = "help and version belong on standard output")]
pub fn main() -> ExitCode {
    let mut allow_root = false;
    for argument in std::env::args_os().skip(1) {
        match argument.to_str() {
            Some("--allow-root") => allow_root = true,
            Some("--version") => {
                println!("defenseclaw-gateway {}", env!("CARGO_PKG_VERSION"));
                return ExitCode::SUCCESS;
            }
            Some("--help" | "-h") => {
                print!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            _ => {
                eprintln!("defenseclaw-gateway: unknown argument {argument:?}\n\n{USAGE}");
                return ExitCode::from(EXIT_USAGE);
            }
        }
    }
    start_log();
    let outcome = config::load()
        .map_err(Into::into)
        .and_then(|config| daemon::run(&config, allow_root, memory::give_back));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            journal::complain("defenseclaw-gateway", &error);
            ExitCode::FAILURE
        }
    }
}

/// Logs to standard error, which a service manager keeps. Payloads are never logged.
fn start_log() {
    let level = std::env::var("DEFENSECLAW_LOG")
        .ok()
        .and_then(|level| level.parse().ok())
        .unwrap_or(Level::INFO);
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    if journal::is_stderr() {
        log.event_format(journal::Lines).init();
    } else {
        log.init();
    }
}
