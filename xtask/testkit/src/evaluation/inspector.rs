//! Runs `defenseclaw-cli inspect --jsonl` over cases.

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::collection::Case;
use super::synthetic;

/// What the tool would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Let it run.
    Allow,
    /// Ask a person.
    Ask,
    /// Stop it.
    Deny,
}

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// Nothing.
    None,
    /// A little.
    Low,
    /// Worth a look.
    Medium,
    /// Bad.
    High,
    /// As bad as can be.
    Critical,
}

/// One thing that the tool found.
#[derive(Debug, Clone, Deserialize)]
pub struct Found {
    /// The rule's id.
    pub rule: String,
    /// The detection category.
    pub category: String,
    /// How bad.
    pub severity: Severity,
}

/// The tool's answer to one case.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// It could not read or judge the case.
    Failed {
        /// Which case.
        id: Value,
        /// What it said.
        error: String,
    },
    /// It judged.
    Judged(Judged),
}

/// A judgement.
#[derive(Debug, Clone, Deserialize)]
pub struct Judged {
    /// Which case.
    pub id: String,
    /// What it would do.
    pub verdict: Verdict,
    /// What it found.
    pub findings: Vec<Found>,
}

impl Judged {
    /// Whether there is a finding of MEDIUM or more.
    pub fn found(&self) -> bool {
        self.findings
            .iter()
            .any(|found| found.severity >= Severity::Medium)
    }
}

impl Answer {
    fn is_for(&self, case: &Case) -> bool {
        match self {
            Self::Failed { id, .. } => *id == case.id,
            Self::Judged(judged) => judged.id == case.id,
        }
    }
}

/// The line that asks about a case, its marks filled. It holds the id and nothing that says what is right.
pub fn question(case: &Case) -> Result<String> {
    let mut value = serde_json::to_value(&case.question)?;
    synthetic::fill(&mut value, &case.id).with_context(|| format!("case {}", case.id))?;
    let mut line = json!({ "id": case.id });
    if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), value) {
        line.extend(fields);
    }
    Ok(line.to_string())
}

/// Asks `program inspect --jsonl` about every case, and says how long it took. The answers are in the cases' order.
pub fn ask(program: &Path, cases: &[&Case]) -> Result<(Vec<Answer>, Duration)> {
    let lines: Vec<String> = cases.iter().map(|case| question(case)).collect::<Result<_>>()?;
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(["inspect", "--jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let input = child.stdin.take().context("no pipe to the tool")?;
    let output = child.stdout.take().context("no pipe from the tool")?;
    // Its own thread: the tool answers while it reads, and both pipes are bounded.
    let writer = thread::spawn(move || -> std::io::Result<()> {
        let mut input = BufWriter::new(input);
        for line in lines {
            writeln!(input, "{line}")?;
        }
        input.flush()
    });
    let mut answers = Vec::with_capacity(cases.len());
    for line in BufReader::new(output).lines() {
        let line = line.context("the tool's answer cannot be read")?;
        let case = cases
            .get(answers.len())
            .with_context(|| format!("the tool gave more answers than questions: {line}"))?;
        let answer: Answer =
            serde_json::from_str(&line).with_context(|| format!("not an answer of inspect: {line}"))?;
        ensure!(
            answer.is_for(case),
            "the answer {line} came where that to {} was due: order is part of the contract",
            case.id
        );
        answers.push(answer);
    }
    let written = writer
        .join()
        .map_err(|_| anyhow!("the thread that writes questions panicked"))?;
    let status = child.wait().context("the tool cannot be waited for")?;
    let elapsed = start.elapsed();
    if !status.success() || answers.len() != cases.len() {
        bail!(
            "`{} inspect --jsonl` ended with {status} after {} of {} answers",
            program.display(),
            answers.len(),
            cases.len()
        );
    }
    written.context("the tool stopped reading")?;
    Ok((answers, elapsed))
}
