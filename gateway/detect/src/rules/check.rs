//! The tests that stand beside each rule.

use defenseclaw_model::call::ToolCall;
use defenseclaw_model::ids::CallId;
use serde_json::json;

use super::FactRules;
use super::schema::{Sample, SampleCall};
use crate::facts::facts_of;
use crate::tools::kind_of;

/// Where the calls of tests are made.
const CWD: &str = "/home/u/project";
const HOME: &str = "/home/u";

/// What the tests of rule packs gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Rules that were tested.
    pub rules: usize,
    /// Samples that were looked at.
    pub samples: usize,
    /// What was not as the rules' tests say: sentences that name pack, rule and sample.
    pub failures: Vec<String>,
}

impl FactRules {
    /// Runs every rule's own tests.
    pub(crate) fn check(&self) -> Report {
        let mut report = Report {
            rules: self.rules.len(),
            ..Report::default()
        };
        for rule in &self.rules {
            let samples = rule.tests.positive.iter().map(|sample| (sample, true));
            for (sample, wanted) in samples.chain(rule.tests.negative.iter().map(|sample| (sample, false))) {
                report.samples += 1;
                if self.finds(&rule.id, sample) != wanted {
                    let what = if wanted { "misses" } else { "objects to" };
                    let (file, line, id) = (&rule.file, rule.line, &rule.id);
                    report
                        .failures
                        .push(format!("{file}:{line}: {id} {what}: {}", shown(sample)));
                }
            }
        }
        report
    }

    fn finds(&self, id: &str, sample: &Sample) -> bool {
        let Some((call, cwd)) = call_of(sample) else {
            return false;
        };
        let facts = facts_of(&call, Some(&cwd), Some(HOME));
        let mut found = false;
        self.each(&call, &facts, |rule, _| found |= rule.id == id);
        found
    }
}

fn shown(sample: &Sample) -> String {
    match sample {
        Sample::Command(text) => text.clone(),
        Sample::Call(SampleCall { tool, input, .. }) => format!("{tool} {input}"),
    }
}

/// A sample as the call that it stands for.
pub(super) fn call_of(sample: &Sample) -> Option<(ToolCall, String)> {
    let SampleCall { tool, input, cwd } = match sample {
        Sample::Call(call) => call.clone(),
        Sample::Command(text) => SampleCall {
            tool: "Bash".to_owned(),
            input: json!({ "command": text }),
            cwd: None,
        },
    };
    let cwd = cwd.unwrap_or_else(|| CWD.to_owned());
    let kind = kind_of(&tool, &input, Some(&cwd), Some(HOME));
    let call = CallId::new("test").ok()?;
    Some((
        ToolCall {
            call,
            tool,
            kind,
            input,
        },
        cwd,
    ))
}
