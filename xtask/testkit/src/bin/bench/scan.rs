//! `scan`: what scanning an artifact costs and finds, beside other scanners that are installed here, on the same files in one run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use defenseclaw_testkit::evaluation::artifacts::{self, Skill};
use defenseclaw_testkit::evaluation::collection::Label;
use defenseclaw_testkit::evaluation::inspector::Severity;
use defenseclaw_testkit::evaluation::score::Rate;
use defenseclaw_testkit::learning::EXAMINATIONS;
use defenseclaw_testkit::statistics::Samples;
use serde_json::{Value, json};

use super::sandbox::find;
use super::summary;

/// Runs of our program on one artifact; its peers start for seconds, so that they get fewer.
const STARTS: usize = 40;
const PEER_STARTS: usize = 3;
/// How often a process's memory is looked at while it runs.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// An artifact as it lies on the disk.
struct Case<'a> {
    artifact: &'a Skill,
    folder: PathBuf,
}

/// A process's end: what it wrote, how long it took, and the most memory that it had resident (KiB).
struct Ended {
    output: Vec<u8>,
    took: Duration,
    peak_kib: u64,
}

/// See the module.
pub(crate) fn run(programs: &Path) -> Result<Vec<Value>> {
    let collections = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/evaluation/artifacts");
    let artifacts = artifacts::read(&collections)?;
    let folder = tempfile::tempdir()?;
    let of_kind = |kind: &str, fits: fn(&Skill) -> bool| -> Result<Vec<Case<'_>>> {
        let examined = artifacts
            .iter()
            .filter(|artifact| EXAMINATIONS.contains(&artifact.set.as_str()))
            .filter(|artifact| artifact.kind == kind && fits(artifact));
        let root = folder.path().join(kind);
        let cases = examined.map(|artifact| {
            let folder = artifacts::write(artifact, &root)?;
            Ok(Case { artifact, folder })
        });
        cases.collect()
    };
    let skills = of_kind("skill", |artifact| artifact.files.contains_key("SKILL.md"))?;
    let servers = of_kind("mcp", |artifact| artifact.files.contains_key("tools.json"))?;
    let own = programs.join("defenseclaw-cli");
    let mut results = ours(&own, "skill", &skills)?;
    match find("skill-scanner") {
        Some(peer) => results.extend(skill_scanner(&peer, &skills, &folder.path().join("skill"))?),
        None => eprintln!("skill-scanner (PyPI: cisco-ai-skill-scanner) is not in PATH: not measured."),
    }
    results.extend(ours(&own, "mcp", &servers)?);
    match find("mcp-scanner") {
        Some(peer) => results.extend(mcp_scanner(&peer, &servers)?),
        None => eprintln!("mcp-scanner (PyPI: cisco-ai-mcp-scanner) is not in PATH: not measured."),
    }
    Ok(results)
}

/// Our tool: one process for each artifact.
fn ours(program: &Path, kind: &str, cases: &[Case<'_>]) -> Result<Vec<Value>> {
    let scan = |case: &Case<'_>| {
        let mut command = Command::new(program);
        command.args(["scan", kind, "--built-in", "--format", "json"]);
        command.arg(&case.folder);
        ended(&mut command)
    };
    let mut said = Vec::with_capacity(cases.len());
    let began = Instant::now();
    let mut peak = 0;
    for case in cases {
        let ended = scan(case)?;
        peak = peak.max(ended.peak_kib);
        let answer: Value = serde_json::from_slice(&ended.output)
            .with_context(|| format!("no answer for {}", case.artifact.id))?;
        said.push(severity(&answer["verdict"]["severity"])?);
    }
    let took = began.elapsed();
    let first = cases.first().context("no artifact of that kind")?;
    let starts = (0..STARTS)
        .map(|_| Ok(scan(first)?.took))
        .collect::<Result<_>>()?;
    let mut command = Command::new(program);
    command.args(["scan", kind, "--built-in", "--format", "json"]);
    command.args(cases.iter().map(|case| &case.folder));
    let together = ended(&mut command)?;
    let of_line = |line: &[u8]| -> Result<Severity> {
        let answer: Value = serde_json::from_slice(line)?;
        severity(&answer["verdict"]["severity"])
    };
    let lines = together.output.split(|&byte| byte == b'\n');
    let again: Vec<Severity> = lines
        .filter(|line| !line.is_empty())
        .map(of_line)
        .collect::<Result<_>>()?;
    ensure!(
        again == said,
        "one process for all says other things than a process each"
    );
    Ok(vec![
        one_of("defenseclaw", kind, &Samples::new(starts)),
        all_of("defenseclaw, a process each", kind, cases, &said, took, peak),
        all_of(
            "defenseclaw, one process for all",
            kind,
            cases,
            &said,
            together.took,
            together.peak_kib,
        ),
    ])
}

/// The peer's analyzers that need no network and no key: one process for all folders.
fn skill_scanner(program: &Path, cases: &[Case<'_>], root: &Path) -> Result<Vec<Value>> {
    let one = |case: &Case<'_>| {
        let mut command = offline(program);
        command
            .args(["scan", "--use-behavioral", "--format", "json"])
            .arg(&case.folder);
        ended(&mut command)
    };
    let first = cases.first().context("no skill")?;
    let starts = (0..PEER_STARTS)
        .map(|_| Ok(one(first)?.took))
        .collect::<Result<_>>()?;
    let report = root.with_extension("peer.json");
    let mut command = offline(program);
    command
        .args(["scan-all", "--use-behavioral", "--format", "json", "--output"])
        .args([&report, root]);
    let ended = ended(&mut command)?;
    let answer: Value = serde_json::from_slice(&fs::read(&report)?)?;
    let results = answer["results"]
        .as_array()
        .context("the peer's report has no results")?;
    let mut worst = BTreeMap::new();
    for result in results {
        let path = result["skill_path"]
            .as_str()
            .context("a result without skill_path")?;
        worst.insert(PathBuf::from(path), severity(&result["max_severity"])?);
    }
    let said = cases.iter().map(|case| {
        let own = worst
            .get(&case.folder)
            .or_else(|| worst.get(&case.folder.canonicalize().ok()?));
        own.copied()
            .with_context(|| format!("the peer says nothing of {}", case.artifact.id))
    });
    let said: Vec<Severity> = said.collect::<Result<_>>()?;
    let name = "cisco-ai-skill-scanner, one process for all";
    Ok(vec![
        one_of("cisco-ai-skill-scanner", "skill", &Samples::new(starts)),
        all_of(name, "skill", cases, &said, ended.took, ended.peak_kib),
    ])
}

/// The peer's YARA rules on a dump of tools: one process each, as it takes one dump.
fn mcp_scanner(program: &Path, cases: &[Case<'_>]) -> Result<Vec<Value>> {
    let (mut said, mut times, mut peak) = (Vec::with_capacity(cases.len()), Vec::new(), 0);
    let began = Instant::now();
    for case in cases {
        let mut command = offline(program);
        command.args(["--analyzers", "yara", "--raw", "static", "--tools"]);
        command.arg(case.folder.join("tools.json"));
        let ended = ended(&mut command)?;
        peak = peak.max(ended.peak_kib);
        times.push(ended.took);
        let answer: Value = serde_json::from_slice(&ended.output)
            .with_context(|| format!("the peer has no answer for {}", case.artifact.id))?;
        let findings = answer
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tool| tool["findings"].as_object());
        let severities = findings
            .flatten()
            .map(|(_, finding)| severity(&finding["severity"]));
        said.push(
            severities
                .collect::<Result<Vec<_>>>()?
                .into_iter()
                .max()
                .unwrap_or(Severity::None),
        );
    }
    let took = began.elapsed();
    let name = "cisco-ai-mcp-scanner, a process each";
    Ok(vec![
        one_of("cisco-ai-mcp-scanner", "mcp", &Samples::new(times)),
        all_of(name, "mcp", cases, &said, took, peak),
    ])
}

/// A peer in a network namespace of its own: nothing of these files leaves the machine.
fn offline(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "--"]).arg(program);
    command
}

fn severity(said: &Value) -> Result<Severity> {
    let word = said.as_str().context("a severity that is no text")?;
    Ok(match word.to_ascii_uppercase().as_str() {
        "NONE" | "SAFE" | "INFO" | "UNKNOWN" => Severity::None,
        "LOW" => Severity::Low,
        "MEDIUM" => Severity::Medium,
        "HIGH" => Severity::High,
        "CRITICAL" => Severity::Critical,
        other => anyhow::bail!("a severity that is none: {other:?}"),
    })
}

/// Runs to the end; 0 and 1 are both answers.
fn ended(command: &mut Command) -> Result<Ended> {
    let mut output = tempfile::tempfile()?;
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    let ended = loop {
        // The peak of the program itself: `unshare` becomes it.
        peak_kib = fs::read_to_string(&status)
            .map_or(0, |text| high_water(&text))
            .max(peak_kib);
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        std::thread::sleep(LOOK_EVERY);
    };
    let took = start.elapsed();
    ensure!(
        matches!(ended.code(), Some(0 | 1)),
        "{command:?} ended with {ended}"
    );
    let mut bytes = Vec::new();
    std::io::Seek::rewind(&mut output)?;
    std::io::Read::read_to_end(&mut output, &mut bytes)?;
    Ok(Ended {
        output: bytes,
        took,
        peak_kib,
    })
}

fn high_water(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

fn one_of(name: &str, kind: &str, samples: &Samples) -> Value {
    summary(
        &format!("one {kind}, {name}"),
        "start to end of a process that scans the first artifact; looked at every 5 ms",
        samples,
    )
}

fn all_of(
    name: &str,
    kind: &str,
    cases: &[Case<'_>],
    said: &[Severity],
    took: Duration,
    peak_kib: u64,
) -> Value {
    let high_of = |label: Label| {
        let of_label = || {
            cases
                .iter()
                .zip(said)
                .filter(move |(case, _)| case.artifact.label == label)
        };
        let high = of_label()
            .filter(|(_, severity)| **severity >= Severity::High)
            .count();
        share(Rate::new(high, of_label().count()))
    };
    let files: usize = cases.iter().map(|case| case.artifact.files.len()).sum();
    let seconds = took.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "there are some hundred artifacts")]
    let (each, files) = (1e3 * seconds / cases.len() as f64, files as f64 / seconds);
    json!({
        "what": format!("all, {kind}, {name}"), "artifacts": cases.len(), "ms_each": (each * 10.0).round() / 10.0,
        "files_per_s": (files * 10.0).round() / 10.0, "peak_kib": peak_kib,
        "recall_high": high_of(Label::Attack), "benign_high": high_of(Label::Benign),
        "method": format!("collections {}, percent with Wilson's 95 % interval; no network, no keys", EXAMINATIONS.join(" and ")),
    })
}

fn share(rate: Rate) -> String {
    let percent = |share: f64| (share * 100.0).round();
    format!(
        "{} [{}, {}] of {}",
        percent(rate.share),
        percent(rate.low),
        percent(rate.high),
        rate.of
    )
}
