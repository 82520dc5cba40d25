//! `defenseclaw-agent`: the root daemon.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use defenseclaw_agent::canary;
use defenseclaw_agent::daemon::Daemon;
use defenseclaw_agent::sensor::Sensor;
use defenseclaw_model::config::{Config, DEFAULT_CONFIG, MAX_CONFIG_BYTES};

/// Watches the process trees of AI coding agents through the kernel and tells the gateway what they did.
///
/// Runs in the foreground as root. SIGTERM unloads the kernel programs; after a crash they go on, and the next start takes
/// them over.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  defenseclaw-agent             run with /etc/defenseclaw/config.yaml\n  \
    DEFENSECLAW_CONFIG=./c.yaml defenseclaw-agent\n  defenseclaw-agent selftest    load the kernel programs, prove them, unload"
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Task>,
}

#[derive(Subcommand)]
enum Task {
    /// Loads the kernel programs, proves each family by a canary and unloads them. Exit status 0 if all was seen.
    Selftest,
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
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour)
        .with_writer(std::io::stderr)
        .init();
    let result = match arguments.command {
        Some(Task::Selftest) => selftest(),
        _ => run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("defenseclaw-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    require_root()?;
    let config = load_config()?;
    Daemon::start(&config)?.run()?;
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

/// The configuration file, with the environment's overrides.
fn load_config() -> anyhow::Result<Config> {
    let named = std::env::var_os("DEFENSECLAW_CONFIG").map(PathBuf::from);
    let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG));
    let mut config = match read_config(&path)? {
        Some(text) => Config::from_yaml(&path, &text)?,
        None if named.is_some() => bail!("{}: no such file (named by DEFENSECLAW_CONFIG)", path.display()),
        None => Config::default(),
    };
    if let Some(socket) = std::env::var_os("DEFENSECLAW_SOCKET") {
        config.socket = socket.into();
    }
    if let Some(state) = std::env::var_os("DEFENSECLAW_STATE") {
        config.state = state.into();
    }
    Ok(config)
}

fn read_config(path: &Path) -> anyhow::Result<Option<String>> {
    let meta = match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| path.display().to_string())?,
    };
    if meta.len() > MAX_CONFIG_BYTES {
        bail!(
            "{}: {} bytes; a configuration has at most {MAX_CONFIG_BYTES}",
            path.display(),
            meta.len()
        );
    }
    std::fs::read_to_string(path)
        .map(Some)
        .with_context(|| path.display().to_string())
}
