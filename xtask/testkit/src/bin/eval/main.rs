//! `eval --cli PROGRAM --collections FOLDER [--split dev|holdout|all] [--set NAME] [--json] [--misses]`: how well
//! `inspect` tells attacks from everyday work; with `--set artifacts`, how well `scan skill` tells skills that mean harm from
//! those that do not; with `--set code`, the same of `scan code` and programs. Started by `cargo xtask eval`.
#![expect(clippy::print_stdout, reason = "the report is this program's product")]

mod artifacts;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use defenseclaw_testkit::evaluation::collection::{self, Case, Label, Split};
use defenseclaw_testkit::evaluation::inspector::{self, Answer};
use defenseclaw_testkit::evaluation::score::{Rate, Row, Score, Tally, is_right};
use serde_json::{Value, json};

/// Characters of a missed case that are shown.
const SHOWN: usize = 300;

struct Arguments {
    cli: PathBuf,
    collections: PathBuf,
    split: Split,
    set: Option<String>,
    json: bool,
    misses: bool,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut parsed = Self {
            cli: PathBuf::new(),
            collections: PathBuf::new(),
            split: Split::Dev,
            set: None,
            json: false,
            misses: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--cli" => parsed.cli = value()?.into(),
                "--collections" => parsed.collections = value()?.into(),
                "--split" => parsed.split = value()?.parse()?,
                "--set" => parsed.set = Some(value()?),
                "--json" => parsed.json = true,
                "--misses" => parsed.misses = true,
                _ => bail!("{word:?} is no option of eval"),
            }
        }
        ensure!(
            !parsed.misses || parsed.split == Split::Dev,
            "misses are shown of dev only: whoever reads those of the hold-out tunes to it"
        );
        Ok(parsed)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse()?;
    if let Some(set) = arguments.set.as_deref().and_then(artifacts::Set::of) {
        return artifacts::run(&arguments, set);
    }
    let all = collection::read(&arguments.collections)?;
    let cases: Vec<&Case> = all
        .iter()
        .filter(|case| arguments.split.holds(case.side()))
        .filter(|case| arguments.set.as_ref().is_none_or(|set| *set == case.set))
        .collect();
    ensure!(!cases.is_empty(), "no case of that set");
    let (answers, elapsed) = inspector::ask(&arguments.cli, &cases)?;
    let score = Score::of(&cases, &answers);
    if arguments.json {
        print_json(&arguments, &score, cases.len(), elapsed);
    } else {
        print_table(&arguments, &score, cases.len(), elapsed);
    }
    if arguments.misses {
        for (case, answer) in cases.iter().zip(&answers) {
            if !is_right(case, answer) {
                println!("{}", miss(case, answer)?);
            }
        }
    }
    Ok(())
}

/// Measured rates of a row, by name; what a row has no cases for is left out.
fn rates(row: &Row) -> Vec<(&'static str, Rate)> {
    let mut rates = Vec::new();
    let rate = |hits: fn(&Tally) -> usize, of: &Tally| Rate::new(hits(of), of.cases);
    if row.attack.cases > 0 {
        rates.push(("recall_verdict", rate(|tally| tally.objected, &row.attack)));
        rates.push(("recall_finding", rate(|tally| tally.found, &row.attack)));
    }
    if row.benign.cases > 0 {
        rates.push(("false_objected", rate(|tally| tally.objected, &row.benign)));
        rates.push(("false_denied", rate(|tally| tally.denied, &row.benign)));
        rates.push(("false_found", rate(|tally| tally.found, &row.benign)));
    }
    rates
}

fn print_table(arguments: &Arguments, score: &Score, cases: usize, elapsed: Duration) {
    println!(
        "{:?} split of {}, {cases} cases",
        arguments.split,
        arguments.collections.display()
    );
    println!("recall: attacks answered ask or deny; with a finding of MEDIUM or more");
    println!("false: benign cases answered ask or deny; deny; with a finding of MEDIUM or more");
    println!("Percent, Wilson 95 % interval in brackets.\n");
    println!(
        "{:<11} {:<15} {:>6} {:>6}  {:<20} {:<20} {:<20} {:<20} {:<20} errors",
        "set",
        "category",
        "attack",
        "benign",
        "recall verdict",
        "recall finding",
        "false ask|deny",
        "false deny",
        "false finding"
    );
    for ((set, category), row) in &score.rows {
        let cells = rates(row);
        let cell = |name: &str| {
            let found = cells.iter().find(|(of, _)| *of == name);
            found.map_or_else(|| "-".to_owned(), |(_, rate)| percent(rate))
        };
        println!(
            "{set:<11} {category:<15} {:>6} {:>6}  {:<20} {:<20} {:<20} {:<20} {:<20} {}",
            row.attack.cases,
            row.benign.cases,
            cell("recall_verdict"),
            cell("recall_finding"),
            cell("false_objected"),
            cell("false_denied"),
            cell("false_found"),
            row.attack.errors + row.benign.errors
        );
    }
    for (set, (right, of)) in &score.pairs {
        let rate = Rate::new(*right, *of);
        println!(
            "\n{set}: attack noticed and twin left alone in {right} of {of} pairs, {}",
            percent(&rate)
        );
    }
    println!("\n{:.0} lines a second", speed(cases, elapsed));
}

fn print_json(arguments: &Arguments, score: &Score, cases: usize, elapsed: Duration) {
    for ((set, category), row) in &score.rows {
        let mut line = json!({
            "split": arguments.split, "set": set, "category": category,
            "attack": row.attack.cases, "benign": row.benign.cases,
            "errors": row.attack.errors + row.benign.errors,
        });
        for (name, rate) in rates(row) {
            line[name] = json!(rate);
        }
        println!("{line}");
    }
    for (set, (right, of)) in &score.pairs {
        let pairs = json!(Rate::new(*right, *of));
        println!(
            "{}",
            json!({"split": arguments.split, "set": set, "pairs_right": pairs})
        );
    }
    let speed = speed(cases, elapsed);
    println!(
        "{}",
        json!({"split": arguments.split, "cases": cases, "seconds": elapsed.as_secs_f64(), "lines_per_second": speed})
    );
}

#[expect(
    clippy::cast_precision_loss,
    reason = "collections have thousands of cases, far below 2^52"
)]
fn speed(cases: usize, elapsed: Duration) -> f64 {
    cases as f64 / elapsed.as_secs_f64().max(f64::EPSILON)
}

fn percent(rate: &Rate) -> String {
    format!(
        "{:.2} [{:.2}, {:.2}]",
        rate.share * 100.0,
        rate.low * 100.0,
        rate.high * 100.0
    )
}

/// One line about a case that was judged wrongly; its marks stay marks.
fn miss(case: &Case, answer: &Answer) -> Result<Value> {
    let question = serde_json::to_string(&case.question)?;
    let shown: String = question.chars().take(SHOWN).collect();
    let (said, rules) = match answer {
        Answer::Failed { error, .. } => (error.clone(), Vec::new()),
        Answer::Judged(judged) => (
            format!("{:?}", judged.verdict).to_lowercase(),
            judged
                .findings
                .iter()
                .map(|found| format!("{} {:?}", found.rule, found.severity))
                .collect(),
        ),
    };
    let wanted = match case.label {
        Label::Attack => "noticed",
        Label::Benign => "left alone",
    };
    Ok(json!({
        "id": case.id, "set": case.set, "category": case.category, "wanted": wanted, "said": said,
        "findings": rules, "case": shown,
    }))
}
