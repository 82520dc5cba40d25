//! Trains the models that stand beside the rules about artifacts and about tool calls, and prints how good each is on collections
//! that it has not seen.
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool: what it prints is its product"
)]

mod calls;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use defenseclaw_code::CodeGuard;
use defenseclaw_detect::linear::{self, Model};
use defenseclaw_detect::scan::Scanner;
use defenseclaw_model::decision::Severity;
use defenseclaw_testkit::evaluation::score::Rate;
use defenseclaw_testkit::learning::cross::{Outcome, cross};
use defenseclaw_testkit::learning::examples::{Example, examples};
use defenseclaw_testkit::learning::{digest, material};

const USAGE: &str = "usage: train artifacts|calls COLLECTIONS WEIGHTS [--misses]";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, folder, file, options @ ..] = arguments.as_slice() else {
        bail!("{USAGE}");
    };
    let (folder, file) = (PathBuf::from(folder), PathBuf::from(file));
    let misses = options.iter().any(|one| one == "--misses");
    let model = match what.as_str() {
        "artifacts" => of_artifacts(&folder, misses)?,
        "calls" => calls::train(&folder, misses)?,
        _ => bail!("{USAGE}"),
    };
    let bytes = model.write();
    println!("{} weights, {} bytes", model.weights.len(), bytes.len());
    fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

fn of_artifacts(folder: &Path, misses: bool) -> Result<Model> {
    let skills = material(folder)?;
    let trained = digest(&skills, linear::concepts());
    let scanner = Scanner::embedded()?
        .with_code(Box::new(CodeGuard::embedded()?))
        .without_model();
    let examples = examples(&scanner, skills)?;
    let (outcomes, mut model) = cross(&examples);
    model.trained = trained;
    let rows: Vec<(&Example, Outcome)> = examples.iter().zip(outcomes).collect();
    table(&rows);
    if misses {
        for (example, outcome) in rows.iter().filter(|(example, _)| !example.lesson.tuned) {
            if example.lesson.attack != (outcome.both >= Severity::High) {
                println!(
                    "{} {} {:?} {:?} {}",
                    example.id, example.category, outcome.rules, outcome.both, outcome.score
                );
            }
        }
    }
    Ok(model)
}

/// A row for each collection, and one for those that no rule was tuned with.
fn table(rows: &[(&Example, Outcome)]) {
    println!(
        "{:22} {:>16} {:>16} {:>16} {:>16} {:>16}",
        "left out", "recall HIGH", "recall MEDIUM", "twins HIGH", "ordinary HIGH", "harmless MEDIUM"
    );
    let mut sets: Vec<&str> = rows
        .iter()
        .map(|(example, _)| example.lesson.set.as_str())
        .collect();
    sets.dedup();
    for set in sets {
        line(
            set,
            rows.iter()
                .filter(|(example, _)| example.lesson.set == set)
                .copied()
                .collect(),
        );
    }
    line(
        "not tuned with",
        rows.iter()
            .filter(|(example, _)| !example.lesson.tuned)
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
            rate(|one| one.lesson.attack, of, Severity::High),
            rate(|one| one.lesson.attack, of, Severity::Medium),
            rate(
                |one| !one.lesson.attack && !one.lesson.ordinary,
                of,
                Severity::High
            ),
            rate(|one| one.lesson.ordinary, of, Severity::High),
            rate(|one| !one.lesson.attack, of, Severity::Medium)
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
