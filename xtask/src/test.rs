//! Every check and every test, and one table at the end.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::build;
use crate::deb;
use crate::guests;
use crate::host::{Host, describe, run};
use crate::setup::{self, Wanted};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only this step (what it builds on must have been built).
    #[arg(long, value_enum)]
    only: Option<Step>,
}

/// The steps, in order: what fails fastest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Install what is missing.
    Setup,
    /// rustfmt.
    Fmt,
    /// Kernel programs and release programs.
    Build,
    /// Lints of every target, as errors.
    Clippy,
    /// Licences, bans and sources of dependencies.
    Deny,
    /// Tests of each crate.
    Unit,
    /// Debian packages of the release programs.
    Packages,
    /// Whole stacks: scripted agent and real client; the packages in a clean root.
    E2e,
    /// The sensor on other kernels.
    Vm,
}

/// How a step went.
#[derive(Debug, Default, Clone, Copy)]
struct Outcome {
    passed: usize,
    failed: usize,
}

impl Outcome {
    fn of(result: &Result<()>) -> Self {
        Self {
            passed: result.is_ok().into(),
            failed: result.is_err().into(),
        }
    }
}

pub(crate) fn test(host: &Host, options: &Options) -> Result<()> {
    let skipped = host.target.join("skipped-tests.txt");
    fs::create_dir_all(&host.target).with_context(|| format!("cannot create {}", host.target.display()))?;
    fs::write(&skipped, "").with_context(|| format!("cannot write {}", skipped.display()))?;
    let mut table = Vec::new();
    for step in Step::value_variants() {
        if options.only.is_some_and(|only| only != *step) {
            continue;
        }
        let name = step
            .to_possible_value()
            .map(|v| v.get_name().to_owned())
            .unwrap_or_default();
        eprintln!("── {name}");
        let start = Instant::now();
        let outcome = step.run(host, &skipped);
        let took = start.elapsed();
        eprintln!("── {name}: {:.1} s", took.as_secs_f64());
        table.push((name, outcome, took));
        // Without tools or programs every later step would fail for the same reason.
        if outcome.failed > 0 && matches!(step, Step::Setup | Step::Build) {
            break;
        }
    }
    let skipped = fs::read_to_string(&skipped).unwrap_or_default();
    report(&table, &skipped)
}

impl Step {
    fn run(self, host: &Host, skipped: &PathBuf) -> Outcome {
        let single = |result: Result<()>| {
            if let Err(error) = &result {
                eprintln!("error: {error:#}");
            }
            Outcome::of(&result)
        };
        match self {
            Self::Setup => single(setup::install(
                host,
                Wanted {
                    bench: false,
                    ..Wanted::everything()
                },
            )),
            Self::Fmt => single(format(host)),
            Self::Build => single(build::build(host).map(drop)),
            Self::Clippy => {
                let mut command =
                    host.cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
                single(run(with_object(host, &mut command)))
            }
            Self::Deny => single(deny(host)),
            Self::Unit => cargo_test(host, skipped, &["--skip", "e2e::"], &[]),
            Self::Packages => single(deb::deb(host, &deb::Options::of_built(host)).map(drop)),
            Self::E2e => cargo_test(host, skipped, &["--test-threads=1"], &["--test", "e2e_*"]),
            Self::Vm => vm(host),
        }
    }
}

fn with_object<'a>(host: &Host, command: &'a mut Command) -> &'a mut Command {
    let folder = if cfg!(target_arch = "aarch64") {
        "aarch64"
    } else {
        "x86_64"
    };
    command.env(
        "DEFENSECLAW_EBPF_OBJECT",
        host.target.join("ebpf").join(folder).join("defenseclaw-ebpf.o"),
    )
}

/// rustfmt over the workspace and over the kernel programs, which are none of its members.
fn format(host: &Host) -> Result<()> {
    run(&mut host.cargo(["fmt", "--all", "--check"]))?;
    run(&mut host.cargo(["fmt", "--manifest-path", "ebpf/Cargo.toml", "--check"]))
}

/// What needs no network must hold; known vulnerabilities are looked up where their database can be reached.
fn deny(host: &Host) -> Result<()> {
    let program = host
        .find("cargo-deny")
        .context("cargo-deny is missing: run `cargo xtask setup`")?;
    let check = |manifest: &str, what: &[&str]| {
        let mut command = Command::new(&program);
        command
            .current_dir(&host.root)
            .args(["--config", "deny.toml", "--manifest-path", manifest]);
        command
            .args(["--workspace", "check", "--hide-inclusion-graph"])
            .args(what);
        command
    };
    for manifest in ["Cargo.toml", "ebpf/Cargo.toml"] {
        run(&mut check(manifest, &["bans", "licenses", "sources"]))?;
    }
    let mut fetch = Command::new(&program);
    fetch.current_dir(&host.root).args(["fetch", "db"]);
    if !crate::host::succeeds(&mut fetch) {
        eprintln!(
            "The advisory database cannot be reached from here: known vulnerabilities were not looked up."
        );
        return Ok(());
    }
    run(&mut check("Cargo.toml", &["advisories"]))
}

/// `cargo test` with its output passed on, and its result lines added up.
fn cargo_test(host: &Host, skipped: &PathBuf, harness: &[&str], select: &[&str]) -> Outcome {
    let mut command = host.cargo(["test", "--workspace", "--no-fail-fast"]);
    command.args(select).arg("--").args(harness);
    command.env("DEFENSECLAW_SKIPPED", skipped).stdout(Stdio::piped());
    with_object(host, &mut command);
    let mut counted = || -> Result<Outcome> {
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", describe(&command)))?;
        let stdout = child.stdout.take().context("cargo's output was not piped")?;
        let mut outcome = Outcome::default();
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            println!("{line}");
            if let Some((passed, failed)) = counts(&line) {
                outcome.passed += passed;
                outcome.failed += failed;
            }
        }
        if !child.wait()?.success() && outcome.failed == 0 {
            eprintln!("error: `cargo test` failed before or beside its tests");
            outcome.failed = 1;
        }
        Ok(outcome)
    };
    counted().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        Outcome { passed: 0, failed: 1 }
    })
}

/// `test result: ok. 3 passed; 0 failed; …`
fn counts(line: &str) -> Option<(usize, usize)> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut parts = rest.split("; ");
    let passed = parts.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = parts.next()?.strip_suffix(" failed")?.parse().ok()?;
    Some((passed, failed))
}

fn vm(host: &Host) -> Outcome {
    let mut sum = Outcome::default();
    // The oldest verifier, too: it can take minutes over a program that newer ones check in no time.
    for kernel in ["6.1", "6.12"] {
        let result = run(&mut guests::guest(host, kernel));
        if let Err(error) = &result {
            eprintln!("error: Linux {kernel}: {error:#}");
        }
        let outcome = Outcome::of(&result);
        sum.passed += outcome.passed;
        sum.failed += outcome.failed;
    }
    sum
}

fn report(table: &[(String, Outcome, Duration)], skipped: &str) -> Result<()> {
    println!("\n{:<8} {:>7} {:>7} {:>8}", "step", "passed", "failed", "seconds");
    let mut total = Outcome::default();
    for (name, outcome, took) in table {
        println!(
            "{name:<8} {:>7} {:>7} {:>8.1}",
            outcome.passed,
            outcome.failed,
            took.as_secs_f64()
        );
        total.passed += outcome.passed;
        total.failed += outcome.failed;
    }
    let mut skipped: Vec<&str> = skipped.lines().collect();
    skipped.sort_unstable();
    skipped.dedup();
    let strict = std::env::var_os("CI").is_some();
    if !skipped.is_empty() {
        println!("\nNot run on this host:");
        for line in &skipped {
            println!("  {line}");
        }
        if strict {
            println!("In CI each of them counts as failed.");
            total.failed += skipped.len();
        }
    }
    println!("\n{} passed, {} failed", total.passed, total.failed);
    if total.failed > 0 {
        bail!("not everything passed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted_and_others_are_not() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 5 filtered out; finished in 1s";
        assert_eq!(counts(line), Some((12, 3)));
        assert_eq!(counts("test something::ok ... ok"), None);
    }
}
