//! `policy test`: the tests beside a policy and its packs, and what they reach.

use std::path::Path;

use defenseclaw_detect::Detector;
use defenseclaw_inspect::Rules;
use defenseclaw_policy::{FileCoverage, PolicyError, TestReport, run_embedded_rego_tests, run_rego_tests};
use serde::Serialize;

use crate::args::decide::TestOptions;
use crate::inspect::refused;
use crate::text::{counted, safe};
use crate::view::Ink;
use crate::{Answer, CliError, Context, json};

/// A test that did not pass.
#[derive(Debug, Serialize)]
struct Failed {
    test: String,
    why: String,
}

/// What the tests reach of a file.
#[derive(Debug, Serialize)]
struct Covered<'a> {
    file: &'a str,
    branches: usize,
    covered: usize,
    /// Whether all of them must be.
    required: bool,
    uncovered: Vec<Uncovered<'a>>,
}

#[derive(Debug, Serialize)]
struct Uncovered<'a> {
    line: u32,
    text: &'a str,
    why: &'a str,
}

/// What was run.
#[derive(Debug, Default, Serialize)]
struct Counts {
    passed: usize,
    failed: usize,
    rules: usize,
    /// Branches of admission that no test reaches.
    uncovered: usize,
}

/// What came of all of it.
#[derive(Debug, Default)]
struct Outcome {
    counts: Counts,
    failures: Vec<Failed>,
    coverage: Vec<FileCoverage>,
}

pub(super) fn run(options: &TestOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let mut outcome = Outcome::default();
    match options.folder.as_deref() {
        None => {
            outcome.modules(run_embedded_rego_tests())?;
            outcome.packs(None)?;
        }
        Some(folder) => {
            // Also says where the folder is not there, or is none of rules.
            Rules::load(Some(folder)).map_err(refused)?;
            let (rego, rules) = (folder.join("rego"), folder.join("rules"));
            if !rego.is_dir() && !rules.is_dir() {
                return Err(CliError::Usage(format!(
                    "{} holds neither rego/ nor rules/: there is nothing to test. Without a folder the built-in packs are tested",
                    folder.display()
                )));
            }
            if rego.is_dir() {
                outcome.modules(run_rego_tests(&rego))?;
            }
            if rules.is_dir() {
                outcome.packs(Some(&rules))?;
            }
        }
    }
    outcome.count();
    outcome.print(options.json, context)?;
    Ok(if outcome.failures.is_empty() && outcome.counts.uncovered == 0 {
        Answer::Yes
    } else {
        Answer::No
    })
}

impl Outcome {
    fn modules(&mut self, report: Result<TestReport, PolicyError>) -> Result<(), CliError> {
        let report = report.map_err(|error| refused(error.into()))?;
        self.counts.passed += report.passed.len() + report.failed.len();
        self.failures
            .extend(report.failed.into_iter().map(|failure| Failed {
                test: failure.test,
                why: failure.why,
            }));
        self.coverage = report.coverage;
        Ok(())
    }

    fn packs(&mut self, folder: Option<&Path>) -> Result<(), CliError> {
        let report = match folder {
            Some(folder) => Detector::test_packs(folder),
            None => Detector::test_embedded(),
        };
        let report = report.map_err(|error| refused(error.into()))?;
        self.counts.passed += report.samples;
        self.counts.rules += report.rules;
        self.failures.extend(report.failures.into_iter().map(|failure| {
            // `FILE:LINE: what is not as the test says`
            let (test, why) = failure.split_once(": ").unwrap_or(("", &failure));
            Failed {
                test: test.to_owned(),
                why: why.to_owned(),
            }
        }));
        Ok(())
    }

    fn count(&mut self) {
        self.counts.failed = self.failures.len();
        self.counts.passed = self.counts.passed.saturating_sub(self.counts.failed);
        let required = self.coverage.iter().filter(|file| file.required);
        self.counts.uncovered = required.map(|file| file.missed.len()).sum();
    }

    fn print(&self, as_json: bool, context: &mut Context<'_>) -> Result<(), CliError> {
        if as_json {
            for failure in &self.failures {
                json::line(context.out, failure)?;
            }
            for file in &self.coverage {
                json::line(context.out, &Covered::from(file))?;
            }
            json::line(context.out, &self.counts)?;
            return Ok(());
        }
        for failure in &self.failures {
            let failed = context.view.paint(Ink::Bad, "failed");
            let (test, why) = (safe(&failure.test), safe(&failure.why));
            writeln!(context.out, "{failed} {test}: {why}")?;
        }
        for file in &self.coverage {
            print_coverage(&Covered::from(file), context)?;
        }
        let rules = counted(self.counts.rules as u64, "rule", "rules");
        let (passed, failed) = (self.counts.passed, self.counts.failed);
        writeln!(context.out, "{passed} passed, {failed} failed ({rules} in packs)")?;
        if self.counts.uncovered > 0 {
            let branches = counted(self.counts.uncovered as u64, "branch", "branches");
            let failed = context.view.paint(Ink::Bad, "not enough");
            writeln!(
                context.out,
                "{failed}: {branches} of admission without a test; write one for each"
            )?;
        }
        Ok(())
    }
}

impl<'a> From<&'a FileCoverage> for Covered<'a> {
    fn from(file: &'a FileCoverage) -> Self {
        let uncovered = file.missed.iter().map(|missed| Uncovered {
            line: missed.line,
            text: &missed.text,
            why: missed.why,
        });
        Self {
            file: &file.file,
            branches: file.branches,
            covered: file.branches.saturating_sub(file.missed.len()),
            required: file.required,
            uncovered: uncovered.collect(),
        }
    }
}

fn print_coverage(file: &Covered<'_>, context: &mut Context<'_>) -> Result<(), CliError> {
    let (name, branches, covered) = (safe(file.file), file.branches, file.covered);
    let percent = (covered * 100).checked_div(branches).unwrap_or(100);
    let must = if file.required { "" } else { " (not required)" };
    writeln!(context.out, "{name}: {percent} % of {branches} branches{must}")?;
    let ink = if file.required { Ink::Bad } else { Ink::Faint };
    for branch in &file.uncovered {
        let line = format!("  {name}:{}: {}: {}", branch.line, branch.why, safe(branch.text));
        writeln!(context.out, "{}", context.view.paint(ink, &line))?;
    }
    Ok(())
}
