//! Guests: the sensor's smoke test in one, the attacks on sandboxes here and in them, and the packages in a whole system
//! ([`packages`]).

mod packages;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::arch::Architecture;
use crate::build;
use crate::files;
use crate::host::{Host, run, step};
use crate::setup::{self, Wanted};

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
    #[command(flatten)]
    packages: packages::Options,
}

/// Where to attack.
#[derive(Debug, Args)]
pub(crate) struct AttackOptions {
    /// Attack in guests with these kernels, too (ten minutes each, and more beside other work).
    #[arg(long = "kernel", value_name = "VERSION", value_parser = ["6.1", "6.12", "7.2"])]
    kernels: Vec<String>,
    /// Leave this machine out.
    #[arg(long)]
    guests_only: bool,
    /// The guests' architecture.
    #[arg(long, value_enum, default_value_t = Architecture::own())]
    arch: Architecture,
    /// Write the table there; by default to target/attacks/table.md. Results of earlier runs on other kernels are kept in it.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
}

/// What the attacks need, once it is built.
struct Attacks {
    /// What it is built for.
    host: Host,
    dist: PathBuf,
    test: PathBuf,
    escape: PathBuf,
    init: PathBuf,
}

pub(crate) fn vm_test(host: &Host, options: &VmOptions) -> Result<()> {
    if options.packages.packages {
        return packages::test(host, &options.packages, options.lsm.as_deref());
    }
    if !options.sandbox && options.packages.arch != Architecture::own() {
        bail!("--arch is for --packages and --sandbox");
    }
    set_up(host, options.packages.arch)?;
    if options.sandbox {
        let attacks = build_attacks(host, options.packages.arch)?;
        return attack_in_guest(host, &attacks, options);
    }
    build::build(host)?;
    let mut command = guest(host, &options.kernel);
    if let Some(lsm) = &options.lsm {
        command.args(["--lsm", lsm]);
    }
    run(&mut command)
}

/// Attacks sandboxes here and in guests, and makes one table of all results.
pub(crate) fn attacks(host: &Host, options: &AttackOptions) -> Result<()> {
    set_up(host, options.arch)?;
    let here = (!options.guests_only)
        .then(|| build_attacks(host, Architecture::own()))
        .transpose()?;
    let there = match &here {
        _ if options.kernels.is_empty() => None,
        Some(here) if here.host.arch == options.arch => None,
        _ => Some(build_attacks(host, options.arch)?),
    };
    let results = host.target.join("attacks");
    fs::create_dir_all(&results)?;
    // All are run and told before one's failure ends this.
    let mut failures = Vec::new();
    if let Some(own) = &here {
        let report = fresh(&results.join("here.jsonl"))?;
        let outcome = step("attacks on this machine", || {
            run(Command::new(&own.test)
                .args(["--test-threads=1"])
                .env("DEFENSECLAW_BIN_DIR", &own.dist)
                .env("DEFENSECLAW_ESCAPE_REPORT", &report)
                .env("CI", "1"))
        });
        failures.extend(outcome.err());
    }
    for kernel in &options.kernels {
        let Some(attacks) = there.as_ref().or(here.as_ref()) else {
            continue;
        };
        let name = match options.arch {
            arch if arch == Architecture::own() => format!("linux-{kernel}"),
            arch => format!("linux-{kernel}-{}", arch.debian()),
        };
        let guest = VmOptions {
            kernel: kernel.clone(),
            sandbox: true,
            lsm: None,
            report: Some(fresh(&results.join(format!("{name}.jsonl")))?),
            only: None,
            packages: packages::Options::default(),
        };
        let outcome = step(&format!("attacks in {name}"), || {
            attack_in_guest(host, attacks, &guest)
        });
        failures.extend(outcome.err());
    }
    let table = options.table.clone().unwrap_or_else(|| results.join("table.md"));
    let mut files = files::within(&results)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    let output = table_of(host)?.arg("table").args(&files).output()?;
    if !output.status.success() {
        bail!("no table: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    fs::write(&table, &output.stdout).with_context(|| format!("cannot write {}", table.display()))?;
    eprintln!("The table is {}.", table.display());
    match failures.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn set_up(host: &Host, arch: Architecture) -> Result<()> {
    setup::install(
        host,
        Wanted {
            guests: true,
            systems: (arch != Architecture::own()).then_some(arch),
            ..Wanted::build()
        },
    )
}

/// The same path, with nothing there any more: results are appended.
fn fresh(file: &Path) -> Result<PathBuf> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot replace {}", file.display()))
        }
        _ => Ok(file.to_owned()),
    }
}

fn attack_in_guest(host: &Host, attacks: &Attacks, options: &VmOptions) -> Result<()> {
    let (debian, objcopy) = (attacks.host.arch.debian(), attacks.host.objcopy());
    let folder = host.target.join(format!("guest-sandbox-{debian}"));
    fs::create_dir_all(folder.join("lib"))?;
    // Without what only a debugger reads: the guest's files lie in its memory.
    let stripped = |program: &Path, to: &str| {
        run(Command::new(&objcopy)
            .arg("--strip-debug")
            .arg(program)
            .arg(folder.join(to)))
    };
    stripped(&attacks.test, "e2e_sandbox")?;
    stripped(&attacks.escape, "escape")?;
    for tool in ["defenseclaw-cli", "lib/defenseclaw-cli"] {
        stripped(&attacks.dist.join(tool), tool)?;
    }
    let mut command = guest_of(host, &options.kernel, &attacks.dist, &attacks.init);
    command.args(["--arch", debian, "--sandbox"]).arg(folder);
    if let Some(report) = &options.report {
        command.arg("--report").arg(report);
    }
    if let Some(only) = &options.only {
        command.args(["--only", only]);
    }
    if let Some(lsm) = &options.lsm {
        command.args(["--lsm", lsm]);
    }
    run(&mut command)
}

fn build_attacks(host: &Host, arch: Architecture) -> Result<Attacks> {
    let built_for = host.built_for(arch)?;
    let dist = build::build(&built_for)?;
    let test = sandbox_test(&built_for)?;
    let mut init = built_for.release(["build", "--release", "--package=defenseclaw-vm-tests"])?;
    run(init.arg("--bin=guest-init"))?;
    if arch != Architecture::own() {
        let mut emulator = host.release(["build", "--release", "--package=defenseclaw-vm-tests"])?;
        run(emulator.arg("--bin=vm-test"))?;
    }
    let release = built_for.release_folder();
    Ok(Attacks {
        escape: built_for.kit_folder().join("escape"),
        host: built_for,
        dist,
        test,
        init: release.join("guest-init"),
    })
}

/// Builds the attacks and the test that runs them; gives the test's program.
fn sandbox_test(host: &Host) -> Result<PathBuf> {
    let mut build = host.release([
        "test",
        "--no-run",
        "--message-format=json",
        "--package=defenseclaw-testkit",
        "--bin=escape",
        "--test=e2e_sandbox",
        "--profile=kit",
    ])?;
    run(&mut escape(host)?)?;
    let output = build.stderr(std::process::Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let program = text.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        let (path, _) = rest.split_once('"')?;
        path.contains("/e2e_sandbox-").then(|| path.into())
    });
    program.context("cargo did not say where the test of sandboxes is")
}

/// Builds the attacks themselves.
fn escape(host: &Host) -> Result<Command> {
    host.release([
        "build",
        "--profile=kit",
        "--package=defenseclaw-testkit",
        "--bin=escape",
    ])
}

/// What makes tables of results: it runs here, wherever the attacks did.
fn table_of(host: &Host) -> Result<Command> {
    run(&mut escape(host)?)?;
    Ok(Command::new(host.kit_folder().join("escape")))
}

/// The command that boots a guest, once everything is built.
pub(crate) fn guest(host: &Host, kernel: &str) -> Command {
    guest_of(
        host,
        kernel,
        &host.dist(),
        &host.target.join("release/guest-init"),
    )
}

/// The same with programs from elsewhere.
fn guest_of(host: &Host, kernel: &str, dist: &Path, init: &Path) -> Command {
    let mut command = Command::new(host.target.join("release/vm-test"));
    command
        .args(["--kernel", kernel, "--cache"])
        .arg(host.target.join("vm"));
    command.arg("--agent").arg(dist.join("defenseclaw-agent"));
    command.arg("--init").arg(init);
    command
}
