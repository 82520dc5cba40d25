//! Rego tests: every rule `test_*` of every package, in the files `*_test.rego` beside the policy.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use regorus::Value;
use regorus::utils::limits::ExecutionTimerConfig;

use crate::bundle::BundleFiles;
use crate::coverage::{self, FileCoverage};
use crate::source::{Source, package_of};
use crate::{PolicyError, engine};

/// Longest time of one test of a bundle: a gateway that answers hooks waits for it. Ours take milliseconds.
const TEST_TIME: ExecutionTimerConfig = ExecutionTimerConfig {
    limit: Duration::from_secs(10),
    check_interval: NonZeroU32::new(256).unwrap(),
};

/// The outcome of a test run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestReport {
    /// The tests that passed, as `data.package.test_name`.
    pub passed: Vec<String>,
    /// The tests that did not.
    pub failed: Vec<Failure>,
    /// What the tests that passed reach of each file of the policy.
    pub coverage: Vec<FileCoverage>,
}

impl TestReport {
    /// Whether every test passed and every branch that must be reached is.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty()
            && self
                .coverage
                .iter()
                .all(|file| !file.required || file.missed.is_empty())
    }
}

/// A test that did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The test, as `data.package.test_name`.
    pub test: String,
    /// What it gave instead of `true`.
    pub why: String,
}

/// Runs every Rego test in `dir`.
pub fn run_rego_tests(dir: &Path) -> Result<TestReport, PolicyError> {
    run(&Source::read(dir)?)
}

/// Runs the tests of the policy that this program was built with.
pub fn run_embedded_rego_tests() -> Result<TestReport, PolicyError> {
    run(&Source::embedded_with_tests())
}

/// Runs the tests of a bundle against what it says, without a look at what they reach.
pub fn run_bundle_tests(bundle: &BundleFiles) -> Result<TestReport, PolicyError> {
    passed(&Source::of_bundle(bundle)?, Some(TEST_TIME))
}

fn run(source: &Source) -> Result<TestReport, PolicyError> {
    let mut report = passed(source, None)?;
    report.coverage = coverage::measure(source, &report.passed)?;
    Ok(report)
}

/// Runs the tests; `limit`: the longest that one may take.
fn passed(source: &Source, limit: Option<ExecutionTimerConfig>) -> Result<TestReport, PolicyError> {
    let mut template = engine::load(source)?;
    if let Some(limit) = limit {
        template.set_execution_timer_config(limit);
    }
    let mut tests = Vec::new();
    for (name, text) in &source.tests {
        engine::add(&mut template, name, text)?;
        let package = package_of(text).ok_or_else(|| PolicyError::Syntax {
            file: name.clone(),
            why: "it names no package".to_owned(),
        })?;
        for rule in test_rules(text) {
            let test = format!("data.{package}.{rule}");
            if !tests.contains(&test) {
                tests.push(test);
            }
        }
    }
    if let Some(test) = tests.first() {
        engine::prepare(&mut template, test);
    }
    let mut report = TestReport::default();
    for test in tests {
        let mut engine = template.clone();
        let why = match engine.eval_rule(test.clone()) {
            Ok(Value::Bool(true)) => {
                report.passed.push(test);
                continue;
            }
            Ok(Value::Undefined) => "a condition does not hold".to_owned(),
            Ok(value) => format!("it gave {value}, not true"),
            Err(error) => error.to_string(),
        };
        report.failed.push(Failure { test, why });
    }
    Ok(report)
}

/// Names of the rules that begin with `test_` at the start of a line.
fn test_rules(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.starts_with("test_")).map(|line| {
        let end = line
            .find(|c: char| c != '_' && !c.is_ascii_alphanumeric())
            .unwrap_or(line.len());
        &line[..end]
    })
}
