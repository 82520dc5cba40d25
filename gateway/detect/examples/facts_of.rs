//! Prints what command lines from the standard input declare: one line in, one JSON object out. With a number as its
//! argument it says instead what a line costs, over that many rounds.
//!
//! `cargo run -p defenseclaw-detect --example facts_of < lines.txt`

use std::hint::black_box;
use std::io::{BufRead as _, Write as _};
use std::time::Instant;

use defenseclaw_detect::facts_of;
use defenseclaw_model::call::{CallKind, ToolCall};
use defenseclaw_model::ids::CallId;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds: Option<u32> = std::env::args().nth(1).map(|text| text.parse()).transpose()?;
    let lines: Vec<String> = std::io::stdin().lock().lines().collect::<Result<_, _>>()?;
    let mut out = std::io::stdout().lock();
    for line in &lines {
        let call = ToolCall {
            call: CallId::new("line")?,
            tool: "Bash".to_owned(),
            kind: CallKind::Command {
                command: line.replace("\\n", "\n"),
                background: false,
            },
            input: serde_json::Value::Null,
        };
        let facts = || facts_of(&call, Some("/home/u/project"), Some("/home/u"));
        let Some(rounds) = rounds else {
            writeln!(out, "{line}\n    {}", serde_json::to_string(&facts())?)?;
            continue;
        };
        // The least of several batches: what else runs on the machine only adds.
        const BATCHES: u32 = 50;
        let each = (rounds / BATCHES).max(1);
        let batch = |_| {
            let started = Instant::now();
            (0..each).for_each(|_| {
                black_box(facts());
            });
            started.elapsed().as_secs_f64() * 1e6 / f64::from(each)
        };
        let micros = (0..BATCHES).map(batch).fold(f64::INFINITY, f64::min);
        writeln!(
            out,
            "{micros:9.2} µs  {:5} bytes  {}",
            line.len(),
            line.chars().take(80).collect::<String>()
        )?;
    }
    Ok(())
}
