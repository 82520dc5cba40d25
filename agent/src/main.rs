//! `defenseclaw-agent`: the root daemon.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, Subcommand};
use defenseclaw_agent::canary;
use defenseclaw_agent::daemon::{self, Daemon};
use defenseclaw_agent::sensor::Sensor;
use defenseclaw_model::config::{Config, files};
use defenseclaw_service::journal;

/// Watches the process trees of AI coding agents through the kernel and tells the gateway what they did.
///
/// Runs in the foreground as root. SIGTERM unloads the kernel programs, unless they are to be left; after a crash they go on. The
/// next start takes over what is there.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  defenseclaw-agent             run with /etc/defenseclaw/config.yaml\n  \
    DEFENSECLAW_CONFIG=./c.yaml defenseclaw-agent\n  defenseclaw-agent selftest    load the kernel programs, prove them, unload\n  \
    defenseclaw-agent unload      take away what an agent left in the kernel"
)]
struct Arguments {
    /// When told to stop, leave the kernel programs for the next start: every process stays in its session
    #[arg(long)]
    leave_sensor: bool,
    #[command(subcommand)]
    command: Option<Task>,
}

#[derive(Subcommand)]
enum Task {
    /// Loads the kernel programs, proves each family by a canary and unloads them. Exit status 0 if all was seen.
    Selftest,
    /// Takes away the kernel programs that an agent with this configuration left. Stop the agent first.
    Unload,
    /// The canary itself.
    #[command(hide = true, name = canary::ARGUMENT)]
    Canary,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if matches!(arguments.command, Some(Task::Canary)) {
        return canary::act();
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("DEFENSECLAW_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,aya=error,aya_obj=error"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if journal::is_stderr() {
        log.with_ansi(false).event_format(journal::Lines).init();
    } else {
        log.with_ansi(colour).init();
    }
    let result = match arguments.command {
        Some(Task::Selftest) => selftest(),
        Some(Task::Unload) => unload(),
        _ => run(arguments.leave_sensor),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            journal::complain("defenseclaw-agent", &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(leave_sensor: bool) -> anyhow::Result<ExitCode> {
    require_root()?;
    let config = load_config()?;
    Daemon::start(&config)?.leaving_sensor(leave_sensor).run()?;
    Ok(ExitCode::SUCCESS)
}

fn unload() -> anyhow::Result<ExitCode> {
    require_root()?;
    let sensors = daemon::unload(&load_config()?)?;
    tracing::info!(sensors, "unloaded");
    Ok(ExitCode::SUCCESS)
}

fn require_root() -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the kernel programs need root: start it with sudo, or as the service defenseclaw-agent");
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the self-test's answer")]
fn selftest() -> anyhow::Result<ExitCode> {
    require_root()?;
    let mut sensor = Sensor::start(&format!("selftest-{}", std::process::id()))?;
    let checks = canary::check(&mut sensor).map_err(anyhow::Error::msg)?;
    let counters = sensor.counters();
    sensor.stop()?;
    for check in &checks {
        println!(
            "{}  {:8} {}",
            if check.seen { "ok  " } else { "FAIL" },
            check.family,
            check.what
        );
    }
    println!(
        "records: {} security, {} telemetry",
        counters.security_events, counters.telemetry_events
    );
    let all = checks.iter().all(|check| check.seen);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The configuration's files, with the environment's overrides.
fn load_config() -> anyhow::Result<Config> {
    let named = std::env::var_os("DEFENSECLAW_CONFIG").map(PathBuf::from);
    let mut config = files::load(named.as_deref())?;
    if let Some(socket) = std::env::var_os("DEFENSECLAW_SOCKET") {
        config.socket = socket.into();
    }
    if let Some(state) = std::env::var_os("DEFENSECLAW_STATE") {
        config.state = state.into();
    }
    Ok(config)
}
