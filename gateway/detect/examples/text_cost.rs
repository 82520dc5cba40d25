//! What it costs to load the text packs and to look at texts with them: time to load, memory they keep, microseconds for
//! 1 KiB of benign text on each surface, milliseconds for 1 MiB. One line each; the least of several batches, because
//! what else runs on the machine only adds.
//!
//! `cargo run --release -p defenseclaw-detect --example text_cost`
#![expect(clippy::print_stdout, reason = "a benchmark is what it prints")]

use std::hint::black_box;
use std::time::Instant;

use defenseclaw_detect::Surface;
use defenseclaw_detect::mask::mask;
use defenseclaw_detect::text::{EMBEDDED, TextRules};

/// Batches of which the quickest counts.
const BATCHES: u32 = 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let before = resident();
    let started = Instant::now();
    let rules = TextRules::load(EMBEDDED)?;
    let loaded = started.elapsed();
    println!(
        "load: {:.1} ms, {} KiB more resident",
        loaded.as_secs_f64() * 1e3,
        resident().saturating_sub(before)
    );
    let script = include_str!("../../../xtask/testkit/src/bin/bench/one_kib.sh");
    let readme = include_str!("../../../policies/rules/README.md");
    let readme = readme.get(..readme.floor_char_boundary(1024)).unwrap_or_default();
    let code = include_str!("../src/shell/brace.rs");
    let code = code.get(..code.floor_char_boundary(1024)).unwrap_or_default();
    for (name, surface, text) in [
        ("script, tool input", Surface::ToolInput, script),
        ("code, tool input", Surface::ToolInput, code),
        ("prose, tool input", Surface::ToolInput, readme),
        ("script, tool result", Surface::ToolResult, script),
        ("code, tool result", Surface::ToolResult, code),
        ("prose, prompt", Surface::Prompt, readme),
    ] {
        let micros = least(200, || {
            black_box(rules.find(surface, black_box(text)));
        });
        println!("{micros:8.2} µs  {} bytes  {name}", text.len());
    }
    println!(
        "{:8.2} µs  {} bytes  masking a script",
        least(200, || {
            black_box(mask(black_box(script)));
        }),
        script.len()
    );
    for (name, unit) in [("script", script), ("prose", readme), ("code", code)] {
        let text = unit.repeat((1 << 20) / unit.len());
        let micros = least(1, || {
            black_box(rules.find(Surface::ToolResult, black_box(&text)));
        });
        println!(
            "{:8.2} ms  {} bytes  {name}, tool result",
            micros / 1e3,
            text.len()
        );
    }
    println!(
        "at the end: {} KiB more resident",
        resident().saturating_sub(before)
    );
    Ok(())
}

fn least(runs: u32, mut once: impl FnMut()) -> f64 {
    let batch = |_| {
        let started = Instant::now();
        (0..runs).for_each(|_| once());
        started.elapsed().as_secs_f64() * 1e6 / f64::from(runs)
    };
    (0..BATCHES).map(batch).fold(f64::INFINITY, f64::min)
}

/// Resident memory of this process in KiB; 0 where the system does not tell.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}
