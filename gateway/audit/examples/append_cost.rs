//! What an append costs, as one JSON object per line.
//!
//! `cargo run --release -p defenseclaw-audit --example append_cost [FOLDER]`
//!
//! For each durability, records are appended one by one and in batches of 64, into a fresh ledger in FOLDER (default: a
//! folder of its own beside the build, so that it lies on a real disk and not in memory), and the log is folded up between
//! appends as the gateway does it. Beside each stands the least that the same promise can cost in the same run on the same
//! disk: the same records written as JSON lines with one `write(2)`, followed by `fdatasync(2)` for `power`. `ratio` is
//! the median of ours over the median of that. It has no chain, no index and no idempotence.
//! Then the whole of the longest ledger is checked, and read by several queries.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use defenseclaw_audit::{Ledger, Query, Reader, verify};
use defenseclaw_model::config::Durability;
use defenseclaw_model::decision::Severity;
use defenseclaw_model::ids::CallId;
use defenseclaw_model::record::Draft;
use defenseclaw_model::wire::Cursor;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

/// Records per tool call: the call, and what its processes did.
const PER_CALL: usize = 8;

/// Records per session.
const PER_SESSION: usize = 512;

#[expect(clippy::print_stdout, reason = "its output is what it is for")]
fn main() -> Result<(), Failure> {
    let named = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"));
    let folder = tempfile::Builder::new()
        .prefix("append-cost-")
        .tempdir_in(folder)?;
    measure(folder.path(), &mut |line| println!("{line}"))
}

fn measure(folder: &Path, print: &mut dyn FnMut(Value)) -> Result<(), Failure> {
    let templates: Vec<Draft> = (0..PER_CALL)
        .map(|number| serde_json::from_value(template(number)))
        .collect::<Result<_, _>>()?;
    let bytes: usize = templates
        .iter()
        .map(|draft| serde_json::to_vec(&draft.body).map_or(0, |body| body.len()))
        .sum();
    for (durability, appends) in [(Durability::Process, 20_000), (Durability::Power, 2_000)] {
        for batch in [1, 64] {
            let appends = if batch == 1 { appends } else { appends / 8 };
            let name = format!("{}-{batch}", durability.as_str());
            let ours = ledger(
                &folder.join(format!("{name}.db")),
                durability,
                &templates,
                batch,
                appends,
            )?;
            let theirs = lines(
                &folder.join(format!("{name}.jsonl")),
                durability,
                &templates,
                batch,
                appends,
            )?;
            print(json!({
                "bench": "append_cost",
                "durability": durability.as_str(),
                "batch": batch,
                "appends": appends,
                "body_bytes": bytes / templates.len(),
                "appends_per_s": per_second(&ours),
                "records_per_s": per_second(&ours) * batch as u64,
                "us_p50": micros(&ours, 50.0),
                "us_p99": micros(&ours, 99.0),
                "us_max": micros(&ours, 100.0),
                "json_lines": { "us_p50": micros(&theirs, 50.0), "us_p99": micros(&theirs, 99.0) },
                "ratio": (micros(&ours, 50.0) / micros(&theirs, 50.0) * 100.0).round() / 100.0,
                "cpus": std::thread::available_parallelism().map_or(0, usize::from),
            }));
        }
    }
    read(&folder.join("process-64.db"), print)
}

/// What reading the longest of these ledgers costs.
fn read(path: &Path, print: &mut dyn FnMut(Value)) -> Result<(), Failure> {
    let started = Instant::now();
    let verified = verify(path, &mut |_, _| {})?;
    let seconds = started.elapsed().as_secs_f64();
    print(json!({
        "bench": "verify",
        "records": verified.records,
        "valid": verified.is_valid(),
        "seconds": (seconds * 1000.0).round() / 1000.0,
        "records_per_s": (verified.records as f64 / seconds) as u64,
    }));
    let reader = Reader::open(path)?;
    let middle = reader.get(verified.records / 2)?.map(|record| record.draft);
    let session = middle.as_ref().and_then(|draft| draft.session.clone());
    let call = middle.and_then(|draft| draft.call);
    for (name, query) in [
        (
            "newest 50",
            Query {
                newest: Some(50),
                ..Query::default()
            },
        ),
        (
            "follow",
            Query {
                after_seq: Some(verified.records - 10),
                ..Query::default()
            },
        ),
        (
            "session",
            Query {
                session,
                ..Query::default()
            },
        ),
        (
            "call",
            Query {
                call,
                ..Query::default()
            },
        ),
        (
            "newest 50 calls",
            Query {
                newest: Some(50),
                kinds: vec!["tool_call".into()],
                ..Query::default()
            },
        ),
        (
            "severity",
            Query {
                min_severity: Some(Severity::Low),
                ..Query::default()
            },
        ),
    ] {
        let mut times = Vec::new();
        let mut records = 0;
        for _ in 0..50 {
            let started = Instant::now();
            records = reader.query(&query)?.len();
            times.push(started.elapsed());
        }
        times.sort_unstable();
        print(json!({"bench": "query", "query": name, "records": records, "us_p50": micros(&times, 50.0)}));
    }
    let started = Instant::now();
    let sessions = reader.sessions()?.len();
    print(json!({"bench": "sessions", "sessions": sessions, "us": started.elapsed().as_micros() as u64}));
    Ok(())
}

/// Sorted times of each append.
fn ledger(
    path: &Path,
    durability: Durability,
    templates: &[Draft],
    batch: usize,
    appends: usize,
) -> Result<Vec<Duration>, Failure> {
    let mut ledger = Ledger::open(path, durability)?;
    timed(templates, batch, appends, |number, drafts| {
        if batch == 1 {
            ledger.append(drafts)?;
        } else {
            ledger.append_batch("bench", number + 1, Cursor::default(), drafts)?;
        }
        let done = Instant::now();
        ledger.maintain()?;
        Ok(done)
    })
}

/// Sorted times of each write of the same records as JSON lines.
fn lines(
    path: &Path,
    durability: Durability,
    templates: &[Draft],
    batch: usize,
    appends: usize,
) -> Result<Vec<Duration>, Failure> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    timed(templates, batch, appends, |_, drafts| {
        let mut text = Vec::new();
        for draft in drafts {
            serde_json::to_writer(&mut text, draft)?;
            text.push(b'\n');
        }
        file.write_all(&text)?;
        if durability == Durability::Power {
            file.sync_data()?;
        }
        Ok(Instant::now())
    })
}

/// Runs `append`, which tells when it had its records safe, on batch after batch.
fn timed(
    templates: &[Draft],
    batch: usize,
    appends: usize,
    mut append: impl FnMut(u64, &[Draft]) -> Result<Instant, Failure>,
) -> Result<Vec<Duration>, Failure> {
    let mut times = Vec::with_capacity(appends);
    for number in 0..appends {
        let first = number * batch;
        let drafts: Vec<Draft> = (first..first + batch)
            .map(|number| draft(templates, number))
            .collect::<Result<_, _>>()?;
        let started = Instant::now();
        times.push(append(number as u64, &drafts)?.duration_since(started));
    }
    times.sort_unstable();
    Ok(times)
}

fn per_second(times: &[Duration]) -> u64 {
    (times.len() as f64 / times.iter().sum::<Duration>().as_secs_f64()) as u64
}

fn micros(times: &[Duration], percentile: f64) -> f64 {
    let index = ((times.len() - 1) as f64 * percentile / 100.0).round() as usize;
    (times[index].as_secs_f64() * 1e7).round() / 10.0
}

/// The record with that number of an endless run of sessions. Call ids come in no order, as real ones do.
fn draft(templates: &[Draft], number: usize) -> Result<Draft, Failure> {
    let mut draft = templates[number % PER_CALL].clone();
    let id = (number / PER_CALL) as u64;
    draft.time_ns += number as u64 * 1_000_000;
    draft.session =
        Some(format!("claude-code/6f9d4c1e-0b1a-4c61-9a39-{:012}", number / PER_SESSION).parse()?);
    draft.call = Some(CallId::new(&format!(
        "toolu_01{:022}",
        id.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    ))?);
    Ok(draft)
}

/// The first record of a call declares it, the others are what its processes did.
fn template(number: usize) -> Value {
    let body = if number == 0 {
        json!({
            "kind": "tool_call", "tool": "Bash",
            "call_kind": {"kind": "command", "command": "cargo test --workspace 2>&1 | tail -40", "background": false},
            "input": {"command": "cargo test --workspace 2>&1 | tail -40", "description": "Run the tests"},
            "facts": {
                "programs": [
                    {"name": "cargo", "argv": ["cargo", "test", "--workspace"]},
                    {"name": "tail", "argv": ["tail", "-40"]},
                ],
                "pipes": [{"from": 0, "to": 1}],
            },
            "decision": {
                "verdict": "allow", "severity": "NONE", "reason": "nothing objects", "policy": "0123456789ab",
                "enforced": true,
            },
            "decision_us": 212, "binding": {"state": "bound"},
        })
    } else {
        json!({
            "kind": "activity",
            "activity": {
                "time_ns": 1_790_000_000_000_000_000u64,
                "session": "claude-code/6f9d4c1e-0b1a-4c61-9a39-000000000000",
                "process": {"tgid": 4242, "start_ns": 81_234_567_890u64},
                "image": {"tgid": 4242, "exec_ns": 81_234_567_999u64},
                "program": "/usr/bin/rustc",
                "action": {
                    "action": "open", "path": format!("/home/dev/project/target/debug/deps/unit-{number:08x}.rcgu.o"),
                    "path_truncated": false, "access": "create",
                    "file": {"dev": 265_289_728u32, "ino": 7_654_321u64},
                },
                "attribution": {"call": "toolu_010123456789abcdefghijkl", "basis": "lineage", "explained": "derived"},
            },
        })
    };
    json!({"time_ns": 1_790_000_000_000_000_000u64, "body": body})
}
