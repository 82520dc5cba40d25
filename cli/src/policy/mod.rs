//! `policy check`, `validate`, `test`, `reload`, `bundle`: rules tried before they decide, and put in force.

use std::io::Read;
use std::path::Path;

use defenseclaw_inspect::{Inspector, Item, Rules};
use defenseclaw_model::decision::Verdict;
use serde::{Deserialize, Serialize};

use crate::args::decide::{CheckOptions, PolicyCommand, ReloadOptions, ValidateOptions};
use crate::inspect::{load, refused};
use crate::text::safe;
use crate::view::{severity_ink, verdict_ink};
use crate::{Answer, CliError, Context, admission, gateway, json, time, words};

pub(crate) mod bundle;
mod testing;

/// Largest input of `policy check` (bytes): the largest hook payload.
const MAX_INPUT: u64 = 16 << 20;

/// Runs one of them.
pub fn run(command: &PolicyCommand, context: &mut Context<'_>) -> Result<Answer, CliError> {
    match command {
        PolicyCommand::Check(options) => check(options, context),
        PolicyCommand::Validate(options) => validate(options, context),
        PolicyCommand::Test(options) => testing::run(options, context),
        PolicyCommand::Reload(options) => reload(options, context),
        PolicyCommand::Bundle(command) => bundle::run(command, context),
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
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if admission::is_admission(&value) {
        return admission::check(value, &load(&options.rules, &context.settings)?, context);
    }
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
    /// Entries of lists that no longer count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    expired: Vec<String>,
    /// What counts otherwise than it is written.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
}

fn validate(options: &ValidateOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    match Rules::load(Some(&options.folder)) {
        Ok(rules) => {
            let expired = rules.policy.expired(time::now_ns());
            if options.json {
                let validated = Validated {
                    valid: true,
                    policy: Some(rules.revision()),
                    error: None,
                    expired,
                    notes: rules.policy.notes(),
                };
                json::line(context.out, &validated)?;
            } else {
                writeln!(context.out, "valid: revision {}", rules.revision())?;
                for entry in &expired {
                    writeln!(context.out, "expired, so it does nothing: {}", safe(entry))?;
                }
                for note in rules.policy.notes() {
                    writeln!(context.out, "note: {}", safe(note))?;
                }
            }
            Ok(Answer::Yes)
        }
        Err(error) => match (refused(error), options.json) {
            (CliError::Refused(why), true) => {
                let validated = Validated {
                    valid: false,
                    policy: None,
                    error: Some(why),
                    expired: Vec::new(),
                    notes: &[],
                };
                json::line(context.out, &validated)?;
                Ok(Answer::No)
            }
            (error, _) => Err(error),
        },
    }
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
