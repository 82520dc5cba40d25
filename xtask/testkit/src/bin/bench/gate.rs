//! `gate`: what an open costs where the install gate has admitted the file, beside the same file where no gate is.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use defenseclaw_model::decision::Mode;
use defenseclaw_testkit::script::{Call, Script, Turn};
use defenseclaw_testkit::scripted_agent::Running;
use defenseclaw_testkit::workplace::{Workplace, outside};
use defenseclaw_testkit::{Stack, StackOptions};
use serde_json::{Value, json};

/// Opens of each file that are counted.
const OPENS: usize = 20_000;
/// Opens before them, which warm caches.
const WARM_UP: usize = 500;
/// The skill's name.
const NAME: &str = "bench-ledger";
/// A skill that nothing is said against.
const SKILL: &str = "---\nname: bench-ledger\ndescription: Keeps the ledger of this project in order\n---\n\n# The ledger\n\n\
    Sort the entries by date, and keep one line for each:\n\n```sh\nsort -o ledger.txt ledger.txt\n```\n";

/// See the module.
pub(crate) fn run(programs: &Path) -> Result<Vec<Value>> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("Without root there is no gate to measure.");
        return Ok(Vec::new());
    }
    let mut stack = Stack::start(StackOptions {
        programs: Some(programs.to_owned()),
        mode: Mode::Action,
        ..StackOptions::default()
    })?;
    let place = Workplace::make(stack.folder(), outside()?)?;
    let governed = write(&place.project.join(".claude/skills").join(NAME))?;
    let plain = write(&place.project.join("docs/skills").join(NAME))?;
    // A session in that folder makes its places known to the gate.
    let script = Script {
        prompt: "go".into(),
        turns: vec![Turn::serial(vec![Call::bash("g-0", "git status")])],
    };
    Running::start(
        &script,
        &stack.hook_command(),
        &place.project,
        &stack.environment(),
    )?
    .finish()?;
    let first = timed(&governed)?;
    stack.settle()?;
    ensure_admitted(&stack)?;
    for _ in 0..WARM_UP {
        timed(&governed)?;
        timed(&plain)?;
    }
    let (mut with, mut without) = (Vec::with_capacity(OPENS), Vec::with_capacity(OPENS));
    for _ in 0..OPENS {
        with.push(timed(&governed)?);
        without.push(timed(&plain)?);
    }
    let method = "open and close in turn, one thread, sensor and gate running; both files have the same bytes and were opened before";
    let more = median(&mut with).as_secs_f64() - median(&mut without).as_secs_f64();
    let mut line = result("open of an admitted file", &with, method);
    line["more_us"] = json!((more * 1e8).round() / 100.0);
    Ok(vec![
        json!({
            "what": "first open, until admitted", "p50_us": micros(first), "samples": 1,
            "method": "copy, scan in the worker, policy, record",
        }),
        line,
        result("open of the same file, no gate", &without, method),
    ])
}

fn write(folder: &Path) -> Result<std::path::PathBuf> {
    fs::create_dir_all(folder)?;
    let file = folder.join("SKILL.md");
    fs::write(&file, SKILL)?;
    Ok(file)
}

fn timed(file: &Path) -> Result<Duration> {
    let start = Instant::now();
    drop(File::open(file).with_context(|| format!("cannot open {}", file.display()))?);
    Ok(start.elapsed())
}

/// An open that nobody holds costs nothing more: the ledger must say that the gate judged this skill.
fn ensure_admitted(stack: &Stack) -> Result<()> {
    let told = stack.cli(&["audit", "query", "--kind", "admission", "--json"])?;
    let judged = told.lines().any(|line| line.contains(NAME));
    ensure!(
        judged,
        "the gate has not judged the skill: these times would mean nothing\n{}",
        stack.logs()
    );
    Ok(())
}

fn median(samples: &mut [Duration]) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

/// `samples` in order.
fn result(what: &str, samples: &[Duration], method: &str) -> Value {
    let at = |percent: usize| micros(samples[(samples.len() * percent / 100).min(samples.len() - 1)]);
    json!({"what": what, "p50_us": at(50), "p99_us": at(99), "samples": samples.len(), "method": method})
}

fn micros(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e8).round() / 100.0
}
