//! Demo, benchmarks and guests: builds what they need and hands over to them.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use crate::build;
use crate::host::{Host, find_in_path, run, step, succeeds};
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
    /// Which benchmarks, of hook, decision, decide, append, memory, sandbox; without a name, all.
    #[arg(value_name = "NAME", value_parser = ["hook", "decision", "decide", "append", "memory", "sandbox"])]
    names: Vec<String>,
    /// One JSON object per result.
    #[arg(long)]
    json: bool,
}

/// Which guest to boot.
#[derive(Debug, Args)]
pub(crate) struct VmOptions {
    /// The kernel's version.
    #[arg(long, default_value = "6.12", value_parser = ["6.1", "6.12", "7.2"])]
    kernel: String,
    /// Run the attacks on sandboxes there (minutes), in place of the sensor's smoke test.
    #[arg(long)]
    sandbox: bool,
    /// The kernel's list of security modules, as on its command line.
    #[arg(long, value_name = "LIST")]
    lsm: Option<String>,
    /// With --sandbox: write each attack's result there, one JSON object a line.
    #[arg(long, value_name = "FILE", requires = "sandbox")]
    report: Option<PathBuf>,
    /// With --sandbox: only the attacks whose names hold this.
    #[arg(long, value_name = "PART", requires = "sandbox")]
    only: Option<String>,
}

pub(crate) fn demo(host: &Host, options: &DemoOptions) -> Result<()> {
    let wanted = Wanted {
        client: options.client == Client::ClaudeCode,
        ..Wanted::build()
    };
    setup::install(host, wanted)?;
    let dist = build::build(host)?;
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

/// A program of the test kit: as we are if we are root, else through sudo where it lets us or can ask for a password.
fn as_root(host: &Host, program: &str) -> Command {
    let program = host.target.join("release").join(program);
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
        let client = build::small_static(host, "defenseclaw-testkit", "echo-client")?;
        crate::host::copy_if_changed(&client, &host.target.join("release/echo-client-static"))?;
        run(&mut host.cargo([
            "build",
            "--release",
            "--package=defenseclaw-testkit",
            "--bin=bench",
        ]))?;
        run(&mut host.cargo([
            "build",
            "--release",
            "--package=defenseclaw-audit",
            "--example=append_cost",
        ]))?;
        run(&mut host.cargo([
            "build",
            "--release",
            "--package=defenseclaw-gateway",
            "--example=decide_cost",
        ]))
    })?;
    let mut command = as_root(host, "bench");
    command.arg("--bin-dir").arg(dist).args(&options.names);
    if options.json {
        command.arg("--json");
    }
    run(&mut command)
}

pub(crate) fn vm_test(host: &Host, options: &VmOptions) -> Result<()> {
    setup::install(
        host,
        Wanted {
            guests: true,
            ..Wanted::build()
        },
    )?;
    let dist = build::build(host)?;
    let mut command = guest(host, &options.kernel);
    if options.sandbox {
        let folder = host.target.join("guest-sandbox");
        std::fs::create_dir_all(folder.join("lib"))?;
        let test = sandbox_test(host)?;
        let beside = test.parent().and_then(Path::parent).context("no output folder")?;
        stripped(&test, &folder.join("e2e_sandbox"))?;
        stripped(&beside.join("escape"), &folder.join("escape"))?;
        for tool in ["defenseclaw-cli", "lib/defenseclaw-cli"] {
            stripped(&dist.join(tool), &folder.join(tool))?;
        }
        command.arg("--sandbox").arg(folder);
        if let Some(report) = &options.report {
            command.arg("--report").arg(report);
        }
        if let Some(only) = &options.only {
            command.args(["--only", only]);
        }
    }
    if let Some(lsm) = &options.lsm {
        command.args(["--lsm", lsm]);
    }
    run(&mut command)
}

/// A copy without what only a debugger reads: the guest's files lie in its memory.
fn stripped(program: &Path, to: &Path) -> Result<()> {
    run(Command::new("strip")
        .arg("--strip-debug")
        .arg("-o")
        .arg(to)
        .arg(program))
}

/// Builds the attacks and the test that runs them; gives the test's program.
fn sandbox_test(host: &Host) -> Result<PathBuf> {
    let mut build = host.cargo([
        "test",
        "--no-run",
        "--message-format=json",
        "--package=defenseclaw-testkit",
        "--bin=escape",
        "--test=e2e_sandbox",
        "--release",
    ]);
    run(&mut host.cargo([
        "build",
        "--release",
        "--package=defenseclaw-testkit",
        "--bin=escape",
    ]))?;
    let output = build.stderr(std::process::Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let program = text.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        let (path, _) = rest.split_once('"')?;
        path.contains("/e2e_sandbox-").then(|| path.into())
    });
    program.context("cargo did not say where the test of sandboxes is")
}

/// The command that boots a guest, once everything is built.
pub(crate) fn guest(host: &Host, kernel: &str) -> Command {
    let mut command = Command::new(host.target.join("release/vm-test"));
    command
        .args(["--kernel", kernel, "--cache"])
        .arg(host.target.join("vm"));
    command.arg("--agent").arg(host.dist().join("defenseclaw-agent"));
    command.arg("--init").arg(host.target.join("release/guest-init"));
    command
}
