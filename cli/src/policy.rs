//! `policy check`, `validate`, `test`, `reload`: rules tried before they decide, and put in force.

use std::io::Read;
use std::path::Path;

use defenseclaw_detect::Detector;
use defenseclaw_inspect::{Inspector, Item, Rules};
use defenseclaw_model::decision::Verdict;
use defenseclaw_policy::{PolicyError, run_rego_tests};
use serde::{Deserialize, Serialize};

use crate::args::decide::{CheckOptions, PolicyCommand, ReloadOptions, TestOptions, ValidateOptions};
use crate::inspect::{load, refused};
use crate::text::{counted, safe};
use crate::view::{Ink, severity_ink, verdict_ink};
use crate::{Answer, CliError, Context, gateway, json, words};

/// Largest input of `policy check` (bytes): the largest hook payload.
const MAX_INPUT: u64 = 16 << 20;

/// Runs one of them.
pub fn run(command: &PolicyCommand, context: &mut Context<'_>) -> Result<Answer, CliError> {
    match command {
        PolicyCommand::Check(options) => check(options, context),
        PolicyCommand::Validate(options) => validate(options, context),
        PolicyCommand::Test(options) => test(options, context),
        PolicyCommand::Reload(options) => reload(options, context),
    }
}

fn check(options: &CheckOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let text = read(&options.input)?;
    let wrong = |why: String| {
        CliError::Usage(format!(
            "the input {} is not understood: {why}",
            options.input.display()
        ))
    };
    let item: Item = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let inspector = Inspector::new(load(&options.rules, &context.settings)?);
    let decision = inspector
        .consider(item)
        .map_err(|error| wrong(error.to_string()))?
        .decision;
    let answer = if decision.verdict == Verdict::Deny {
        Answer::No
    } else {
        Answer::Yes
    };
    if options.json {
        json::line(context.out, &decision)?;
        return Ok(answer);
    }
    let (out, view) = (&mut *context.out, &context.view);
    let verdict = view.paint(verdict_ink(decision.verdict), &words::verdict(&decision));
    writeln!(out, "{verdict}: {}", safe(&decision.reason))?;
    if !decision.line.is_empty() {
        let rule = if decision.rule.is_empty() {
            String::new()
        } else {
            format!("by {} ", safe(&decision.rule))
        };
        writeln!(out, "decided {rule}at {}", safe(&decision.line))?;
    }
    for finding in &decision.findings {
        let severity = view.paint(severity_ink(finding.severity), finding.severity.as_str());
        writeln!(
            out,
            "  {severity} {}: {}",
            safe(&finding.rule),
            safe(&finding.message)
        )?;
    }
    Ok(answer)
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |error: std::io::Error| {
        CliError::Usage(format!("the input {} cannot be read: {error}", path.display()))
    };
    let mut text = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MAX_INPUT + 1)
            .read_to_end(&mut text)
            .map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_INPUT + 1).read_to_end(&mut text).map_err(failed)?;
    }
    if text.len() as u64 > MAX_INPUT {
        return Err(CliError::Usage(format!(
            "the input {} has more than {MAX_INPUT} bytes; no call is larger",
            path.display()
        )));
    }
    Ok(text)
}

#[derive(Serialize)]
struct Validated<'a> {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn validate(options: &ValidateOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    match Rules::load(Some(&options.folder)) {
        Ok(rules) => {
            if options.json {
                let validated = Validated {
                    valid: true,
                    policy: Some(rules.revision()),
                    error: None,
                };
                json::line(context.out, &validated)?;
            } else {
                writeln!(context.out, "valid: revision {}", rules.revision())?;
            }
            Ok(Answer::Yes)
        }
        Err(error) => match (refused(error), options.json) {
            (CliError::Refused(why), true) => {
                let validated = Validated {
                    valid: false,
                    policy: None,
                    error: Some(why),
                };
                json::line(context.out, &validated)?;
                Ok(Answer::No)
            }
            (error, _) => Err(error),
        },
    }
}

/// A test that did not pass.
#[derive(Debug, Serialize)]
struct Failed {
    test: String,
    why: String,
}

/// What was run.
#[derive(Debug, Default, Serialize)]
struct Counts {
    passed: usize,
    failed: usize,
    rules: usize,
}

fn test(options: &TestOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let (mut counts, mut failures) = (Counts::default(), Vec::new());
    match options.folder.as_deref() {
        None => packs(None, &mut counts, &mut failures)?,
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
                modules(&rego, &mut counts, &mut failures)?;
            }
            if rules.is_dir() {
                packs(Some(&rules), &mut counts, &mut failures)?;
            }
        }
    }
    counts.failed = failures.len();
    counts.passed = counts.passed.saturating_sub(counts.failed);
    report(&counts, &failures, options.json, context)?;
    Ok(if failures.is_empty() {
        Answer::Yes
    } else {
        Answer::No
    })
}

fn modules(folder: &Path, counts: &mut Counts, failures: &mut Vec<Failed>) -> Result<(), CliError> {
    let report = run_rego_tests(folder).map_err(|error: PolicyError| refused(error.into()))?;
    counts.passed += report.passed.len() + report.failed.len();
    failures.extend(report.failed.into_iter().map(|failure| Failed {
        test: failure.test,
        why: failure.why,
    }));
    Ok(())
}

fn packs(folder: Option<&Path>, counts: &mut Counts, failures: &mut Vec<Failed>) -> Result<(), CliError> {
    let report = match folder {
        Some(folder) => Detector::test_packs(folder),
        None => Detector::test_embedded(),
    };
    let report = report.map_err(|error| refused(error.into()))?;
    counts.passed += report.samples;
    counts.rules += report.rules;
    failures.extend(report.failures.into_iter().map(|failure| {
        // `FILE:LINE: what is not as the test says`
        let (test, why) = failure.split_once(": ").unwrap_or(("", &failure));
        Failed {
            test: test.to_owned(),
            why: why.to_owned(),
        }
    }));
    Ok(())
}

fn report(
    counts: &Counts,
    failures: &[Failed],
    as_json: bool,
    context: &mut Context<'_>,
) -> Result<(), CliError> {
    if as_json {
        for failure in failures {
            json::line(context.out, failure)?;
        }
        json::line(context.out, counts)?;
        return Ok(());
    }
    for failure in failures {
        let failed = context.view.paint(Ink::Bad, "failed");
        writeln!(
            context.out,
            "{failed} {}: {}",
            safe(&failure.test),
            safe(&failure.why)
        )?;
    }
    let rules = counted(counts.rules as u64, "rule", "rules");
    writeln!(
        context.out,
        "{} passed, {} failed ({rules} in packs)",
        counts.passed, counts.failed
    )?;
    Ok(())
}

/// What the gateway answers.
#[derive(Debug, Serialize, Deserialize)]
struct Reloaded {
    policy: String,
    before: String,
}

fn reload(options: &ReloadOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let reloaded: Reloaded = gateway::post(
        &context.settings.socket,
        "/v1/policy/reload",
        &serde_json::json!({}),
    )?;
    if options.json {
        json::line(context.out, &reloaded)?;
    } else if reloaded.policy == reloaded.before {
        writeln!(
            context.out,
            "read again, and the same as before: revision {}",
            safe(&reloaded.policy)
        )?;
    } else {
        let (now, before) = (safe(&reloaded.policy), safe(&reloaded.before));
        writeln!(context.out, "in force: revision {now} (before: {before})")?;
    }
    Ok(Answer::Yes)
}
