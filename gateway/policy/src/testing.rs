//! Rego tests: every rule `test_*` of every package, in the files `*_test.rego` beside the policy.

use std::path::Path;

use regorus::Value;

use crate::source::Source;
use crate::{PolicyError, engine};

/// The outcome of a test run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestReport {
    /// The tests that passed, as `data.package.test_name`.
    pub passed: Vec<String>,
    /// The tests that did not.
    pub failed: Vec<Failure>,
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
    let source = Source::read(dir)?;
    let mut template = engine::load(&source)?;
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
    let mut report = TestReport::default();
    for test in tests {
        let mut engine = template.clone();
        match engine.eval_rule(test.clone()) {
            Ok(Value::Bool(true)) => report.passed.push(test),
            Ok(Value::Undefined) => report.failed.push(Failure {
                test,
                why: "a condition does not hold".to_owned(),
            }),
            Ok(value) => report.failed.push(Failure {
                test,
                why: format!("it gave {value}, not true"),
            }),
            Err(error) => report.failed.push(Failure {
                test,
                why: error.to_string(),
            }),
        }
    }
    Ok(report)
}

fn package_of(text: &str) -> Option<&str> {
    text.lines()
        .find_map(|line| line.strip_prefix("package "))
        .map(str::trim)
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
