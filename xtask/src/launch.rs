//! Demo and benchmarks: builds what they need and hands over to them.

use std::io::IsTerminal as _;
use std::process::Command;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::build;
use crate::host::{Host, copy_if_changed, find_in_path, run, step, succeeds};
use crate::setup::{self, Wanted};

/// Which session to show.
#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// Who plays the agent.
    #[arg(long, value_enum, default_value_t = Client::Scripted)]
    client: Client,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Client {
    /// A small agent of ours that speaks Claude Code's hook protocol and really runs the tools.
    Scripted,
    /// The real Claude Code (from npm), driven by a scripted model server on loopback.
    ClaudeCode,
}

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct BenchOptions {
    /// Which benchmarks, of hook, decision, decide, append, memory, sandbox, gate, scan; without a name, all.
    #[arg(value_name = "NAME", value_parser = ["hook", "decision", "decide", "append", "memory", "sandbox", "gate", "scan"])]
    names: Vec<String>,
    /// One JSON object per result.
    #[arg(long)]
    json: bool,
}

pub(crate) fn demo(host: &Host, options: &DemoOptions) -> Result<()> {
    let wanted = Wanted {
        client: options.client == Client::ClaudeCode,
        ..Wanted::build()
    };
    setup::install(host, wanted)?;
    let dist = build::build(host)?;
    step("the demo's programs", || {
        run(&mut kit(host, &["demo", "scripted-agent"])?)
    })?;
    let mut command = as_root(host, "demo");
    command
        .arg("--bin-dir")
        .arg(dist)
        .arg("--keep")
        .arg(host.target.join("demo"));
    if options.client == Client::ClaudeCode {
        command.arg("--claude-code").arg(host.target.join("npm"));
    }
    run(&mut command)
}

/// Builds programs of the test kit.
fn kit(host: &Host, programs: &[&str]) -> Result<Command> {
    let mut command = host.release(["build", "--profile=kit", "--package=defenseclaw-testkit"])?;
    command.args(programs.iter().map(|name| format!("--bin={name}")));
    Ok(command)
}

/// A program of the test kit: as we are if we are root, else through sudo where it lets us or can ask for a password.
fn as_root(host: &Host, program: &str) -> Command {
    let program = host.kit_folder().join(program);
    let quiet = succeeds(Command::new("sudo").args(["-n", "true"]));
    let asks = find_in_path("sudo").is_some() && std::io::stdin().is_terminal();
    if setup::is_root() || !(quiet || asks) {
        return Command::new(program);
    }
    eprintln!("The sensor needs root; going on through sudo.");
    let mut command = Command::new("sudo");
    command.arg("--").arg(program);
    command
}

pub(crate) fn bench(host: &Host, options: &BenchOptions) -> Result<()> {
    setup::install(
        host,
        Wanted {
            bench: true,
            ..Wanted::build()
        },
    )?;
    let dist = build::build(host)?;
    step("benchmark programs", || {
        let (kit_folder, release) = (host.kit_folder(), host.release_folder());
        run(&mut kit(host, &["bench", "scripted-agent"])?)?;
        let client = build::small_static(host, "defenseclaw-testkit", "echo-client")?;
        copy_if_changed(&client, &kit_folder.join("echo-client-static"))?;
        // What is measured from within is built as what is shipped.
        for (package, example) in [
            ("defenseclaw-audit", "append_cost"),
            ("defenseclaw-gateway", "decide_cost"),
        ] {
            let mut command = host.release(["build", "--release", "--package", package])?;
            run(command.args(["--example", example]))?;
            let built = release.join("examples").join(example);
            copy_if_changed(&built, &kit_folder.join("examples").join(example))?;
        }
        Ok(())
    })?;
    let mut command = as_root(host, "bench");
    command.arg("--bin-dir").arg(dist).args(&options.names);
    if options.json {
        command.arg("--json");
    }
    run(&mut command)
}
