//! What it costs to decide on a tool call, from the payload's bytes to the native reply: reading it, its facts, the rule
//! packs, Rego, rendering. Without socket, ledger and agent. One JSON object per line. Takes the folder of another policy.
#![expect(clippy::print_stdout, reason = "a benchmark is what it prints")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use defenseclaw_detect::facts_of;
use defenseclaw_gateway::connector;
use defenseclaw_gateway::redact;
use defenseclaw_gateway::rules::Rules;
use defenseclaw_model::call::HookEventKind;
use defenseclaw_model::decision::{Mode, Posture};
use defenseclaw_model::record::Binding;
use defenseclaw_policy::DecideInput;
use serde_json::json;

const RUNS: usize = 5_000;
const WARM_UP: usize = 500;
/// The parts that are timed.
const PARTS: [&str; 7] = [
    "read",
    "facts",
    "rules",
    "policy",
    "reply",
    "record",
    "decision in process",
];

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let rules = Rules::load(folder.as_deref())?;
    let script = include_str!("../../xtask/testkit/src/bin/bench/one_kib.sh");
    let cases = [
        ("1 KiB script", script),
        ("1 KiB of one-liners", ONE_LINERS),
        ("git status && ls -la", "git status && ls -la"),
        ("npm ci && npm run build", "npm ci && npm run build"),
    ];
    for (name, command) in cases {
        let mut times: [Vec<Duration>; PARTS.len()] = Default::default();
        for run in 0..RUNS + WARM_UP {
            let took = once(&rules, command)?;
            if run >= WARM_UP {
                for (times, took) in times.iter_mut().zip(took) {
                    times.push(took);
                }
            }
        }
        for (part, mut times) in PARTS.into_iter().zip(times) {
            times.sort_unstable();
            let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
            println!(
                "{}",
                json!({
                    "what": format!("{part}, {name}"), "p50_us": micros(at(50)), "p99_us": micros(at(99)), "samples": RUNS,
                    "bytes": command.len(), "method": "gateway/examples/decide_cost.rs: one thread, all packs",
                })
            );
        }
    }
    Ok(())
}

fn micros(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e7).round() / 10.0
}

fn once(rules: &Rules, command: &str) -> Result<[Duration; PARTS.len()]> {
    let payload = json!({
        "session_id": "s", "transcript_path": "/tmp/none.jsonl", "cwd": "/home/u/project", "permission_mode": "default",
        "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_use_id": "c", "tool_input": {"command": command},
    })
    .to_string();
    let connector = connector::find("claude-code").context("no connector")?;
    let start = Instant::now();
    let parsed = connector.parse(payload.as_bytes(), None)?;
    let HookEventKind::PreToolUse(call) = parsed.event.kind else {
        bail!("no tool call");
    };
    let read = Instant::now();
    let facts = facts_of(&call, parsed.event.cwd.as_deref(), Some("/home/u"));
    let told = Instant::now();
    let findings = rules
        .detector
        .judge(&call, parsed.event.cwd.as_deref(), Some("/home/u"), &facts);
    let found = Instant::now();
    let decision = rules.policy.decide(&DecideInput {
        connector: "claude-code",
        session: &parsed.event.session,
        mode: Mode::Action,
        now_ns: 1,
        cwd: parsed.event.cwd.as_deref(),
        tool: &call.tool,
        call_kind: &call.kind,
        facts: &facts,
        findings: &findings,
        posture: &Posture::default(),
        binding: &Binding::Bound,
        sandbox: None,
        artifacts: &[],
        mcp: None,
        packages: &[],
    })?;
    let decided = Instant::now();
    std::hint::black_box(connector.decided(&parsed.native, &decision));
    let replied = Instant::now();
    // What the ledger and the agent get of it.
    std::hint::black_box(redact::declaration(&call, parsed.event.cwd.as_deref(), &facts));
    std::hint::black_box((
        redact::kind(&call.kind),
        redact::input(&call.input),
        redact::facts(&facts),
    ));
    let end = Instant::now();
    Ok([
        read - start,
        told - read,
        found - told,
        decided - found,
        replied - decided,
        end - replied,
        end - start,
    ])
}

/// As dense as a command gets: 37 programs in 1 KiB.
const ONE_LINERS: &str = "set -euo pipefail; cd /home/u/project && git fetch --all --prune && git status --short | head -20 && \
    cargo build --workspace --all-targets 2>&1 | tee /tmp/build.log | grep -E '^(warning|error)' | sort | uniq -c | sort -rn | \
    head -15; for f in $(git diff --name-only HEAD~1 -- '*.rs'); do rustfmt --check \"$f\" || echo \"needs formatting: $f\"; done; \
    find target -name '*.d' -newer Cargo.lock -print0 | xargs -0 -r ls -la | awk '{s+=$5} END {print s/1024 \" KiB\"}'; \
    python3 -m pytest -q tests/test_api.py tests/test_store.py -k 'not slow' --maxfail=3 | tail -30 && npm --prefix web run lint && \
    docker compose -f deploy/compose.yaml ps --format json | jq -r '.[] | [.Name, .State] | @tsv'; \
    curl -fsS http://localhost:8080/health | jq .status; sed -n '1,40p' README.md > /tmp/readme.head; \
    diff -u docs/old.md docs/new.md | tail -n +3 | grep '^[-+]' | wc -l; tar czf /tmp/reports.tgz reports/*.html && \
    ls -lh /tmp/reports.tgz; echo done with the whole thing at $(date +%H:%M); git log --oneline -5; make -j2 check";
