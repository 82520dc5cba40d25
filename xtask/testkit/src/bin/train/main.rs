//! Trains the model that stands beside the rules about artifacts, and prints how good it is on collections that it has not seen.
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool: what it prints is its product"
)]

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use defenseclaw_code::CodeGuard;
use defenseclaw_detect::scan::{Scanner, learned};
use defenseclaw_model::decision::Severity;
use defenseclaw_testkit::evaluation::score::Rate;
use defenseclaw_testkit::learning::cross::{Outcome, cross};
use defenseclaw_testkit::learning::examples::{Example, examples};
use defenseclaw_testkit::learning::{digest, material};

const USAGE: &str = "usage: train COLLECTIONS WEIGHTS [--misses]";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    ensure!(arguments.len() >= 2, "{USAGE}");
    let (folder, file) = (PathBuf::from(&arguments[0]), PathBuf::from(&arguments[1]));
    let misses = arguments.iter().any(|one| one == "--misses");
    let skills = material(&folder)?;
    let trained = digest(&skills, learned::concepts());
    let scanner = Scanner::embedded()?
        .with_code(Box::new(CodeGuard::embedded()?))
        .without_model();
    let examples = examples(&scanner, skills)?;
    let (outcomes, mut model) = cross(&examples);
    model.trained = trained;
    let rows: Vec<(&Example, Outcome)> = examples.iter().zip(outcomes).collect();
    table(&rows);
    if misses {
        for (example, outcome) in rows.iter().filter(|(example, _)| !example.tuned) {
            if example.attack != (outcome.both >= Severity::High) {
                println!(
                    "{} {} {:?} {:?} {}",
                    example.id, example.category, outcome.rules, outcome.both, outcome.score
                );
            }
        }
    }
    let bytes = model.write();
    println!("{} weights, {} bytes", model.weights.len(), bytes.len());
    fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

/// A row for each collection, and one for those that no rule was tuned with.
fn table(rows: &[(&Example, Outcome)]) {
    println!(
        "{:22} {:>16} {:>16} {:>16} {:>16} {:>16}",
        "left out", "recall HIGH", "recall MEDIUM", "twins HIGH", "ordinary HIGH", "harmless MEDIUM"
    );
    let mut sets: Vec<&str> = rows.iter().map(|(example, _)| example.set.as_str()).collect();
    sets.dedup();
    for set in sets {
        line(
            set,
            rows.iter()
                .filter(|(example, _)| example.set == set)
                .copied()
                .collect(),
        );
    }
    line(
        "not tuned with",
        rows.iter()
            .filter(|(example, _)| !example.tuned)
            .copied()
            .collect(),
    );
}

fn line(name: &str, rows: Vec<(&Example, Outcome)>) {
    let rate = |which: fn(&Example) -> bool, of: fn(&Outcome) -> Severity, least: Severity| {
        let those: Vec<_> = rows.iter().filter(|(example, _)| which(example)).collect();
        let hits = those.iter().filter(|(_, outcome)| of(outcome) >= least).count();
        percent(&Rate::new(hits, those.len()))
    };
    for (what, of) in [
        ("rules", (|one| one.rules) as fn(&Outcome) -> Severity),
        ("and model", |one| one.both),
    ] {
        println!(
            "{:12} {what:9} {:>16} {:>16} {:>16} {:>16} {:>16}",
            name,
            rate(|one| one.attack, of, Severity::High),
            rate(|one| one.attack, of, Severity::Medium),
            rate(|one| !one.attack && !one.ordinary, of, Severity::High),
            rate(|one| one.ordinary, of, Severity::High),
            rate(|one| !one.attack, of, Severity::Medium)
        );
    }
}

/// A share with its interval.
fn percent(rate: &Rate) -> String {
    let whole = |share: f64| format!("{:.0}", share * 100.0);
    format!(
        "{} % [{}, {}]",
        whole(rate.share),
        whole(rate.low),
        whole(rate.high)
    )
}
