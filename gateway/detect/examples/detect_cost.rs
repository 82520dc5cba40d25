//! What facts and rules cost, without the rest of the gateway: loading the packs, the facts of a call, all that is
//! said of it, and of its text alone. One line each, in microseconds.
#![expect(clippy::print_stdout, reason = "a benchmark is what it prints")]

use std::time::{Duration, Instant};

use defenseclaw_detect::{Detector, PackError, Surface, facts_of};
use defenseclaw_model::call::{CallKind, ToolCall};
use defenseclaw_model::ids::CallId;
use serde_json::json;

const RUNS: usize = 5_000;
const WARM_UP: usize = 500;

fn main() -> Result<(), PackError> {
    let start = Instant::now();
    let detector = Detector::embedded()?;
    println!("load {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    for (name, command) in [
        (
            "script",
            include_str!("../../../xtask/testkit/src/bin/bench/one_kib.sh"),
        ),
        ("dense", DENSE),
        ("short", "git status && ls -la"),
    ] {
        let Ok(id) = CallId::new("c") else { continue };
        let call = ToolCall {
            call: id,
            tool: "Bash".to_owned(),
            kind: CallKind::Command {
                command: command.to_owned(),
                background: false,
            },
            input: json!({ "command": command }),
        };
        let mut times: [Vec<Duration>; 3] = Default::default();
        for run in 0..RUNS + WARM_UP {
            let start = Instant::now();
            let facts = facts_of(&call, Some("/home/u/project"), Some("/home/u"));
            let told = Instant::now();
            std::hint::black_box(detector.call(&call, &facts));
            let found = Instant::now();
            std::hint::black_box(detector.text(Surface::ToolInput, command));
            let read = Instant::now();
            if run >= WARM_UP {
                for (times, took) in times.iter_mut().zip([told - start, found - told, read - found]) {
                    times.push(took);
                }
            }
        }
        let middle = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times
                .get(times.len() / 2)
                .map_or(0.0, |took| took.as_secs_f64() * 1e6)
        };
        let [facts, call, text] = &mut times;
        let (facts, call, text) = (middle(facts), middle(call), middle(text));
        println!(
            "{name}: facts {facts:.1}, rules {:.1}, text {text:.1}",
            call - text
        );
    }
    Ok(())
}
/// As dense as a command gets: 37 programs in 1 KiB.
const DENSE: &str = "set -euo pipefail; cd /home/u/project && git fetch --all --prune && git status --short | head -20 && \
    cargo build --workspace --all-targets 2>&1 | tee /tmp/build.log | grep -E '^(warning|error)' | sort | uniq -c | sort -rn | \
    head -15; for f in $(git diff --name-only HEAD~1 -- '*.rs'); do rustfmt --check \"$f\" || echo \"needs formatting: $f\"; done; \
    find target -name '*.d' -newer Cargo.lock -print0 | xargs -0 -r ls -la | awk '{s+=$5} END {print s/1024 \" KiB\"}'; \
    python3 -m pytest -q tests/test_api.py tests/test_store.py -k 'not slow' --maxfail=3 | tail -30 && npm --prefix web run lint && \
    docker compose -f deploy/compose.yaml ps --format json | jq -r '.[] | [.Name, .State] | @tsv'; \
    curl -fsS http://localhost:8080/health | jq .status; sed -n '1,40p' README.md > /tmp/readme.head; \
    diff -u docs/old.md docs/new.md | tail -n +3 | grep '^[-+]' | wc -l; tar czf /tmp/reports.tgz reports/*.html && \
    ls -lh /tmp/reports.tgz; echo done with the whole thing at $(date +%H:%M); git log --oneline -5; make -j2 check";
