//! `scripted-agent HOOK`: reads a script from standard input, plays it with that hook in the current folder, and prints
//! what became of each call. See `defenseclaw_testkit::scripted_agent`.
#![expect(clippy::print_stdout, reason = "the report is this program's product")]

use anyhow::{Context as _, Result};
use defenseclaw_testkit::scripted_agent::play;

fn main() -> Result<()> {
    let hook = std::env::args()
        .nth(1)
        .context("usage: scripted-agent HOOK < SCRIPT")?;
    let script = serde_json::from_reader(std::io::stdin()).context("no script on standard input")?;
    println!("{}", serde_json::to_string(&play(&script, &hook)?)?);
    Ok(())
}
