//! One object in, one out.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use defenseclaw_detect::likeness::Ruled;
use defenseclaw_detect::{Surface, facts_of, tools};
use defenseclaw_model::call::{CallKind, ToolCall};
use defenseclaw_model::decision::{Decision, Finding, Mode, Posture, Severity, Verdict};
use defenseclaw_model::facts::Facts;
use defenseclaw_model::ids::{CallId, SessionId};
use defenseclaw_model::record::Binding;
use defenseclaw_policy::{DecideInput, PolicyError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Rules;

/// The home folder where the working folder tells none.
const SOME_HOME: &str = "/home/user";

/// What is to be inspected: a tool call (`tool` and `input`) or a text (`surface` and `text`). Other fields are not read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Item {
    /// Given back as it is.
    #[schemars(with = "Option<String>")]
    pub id: Value,
    /// The tool's name.
    pub tool: Option<String>,
    /// The tool's input.
    pub input: Option<Value>,
    /// Working folder, absolute.
    pub cwd: Option<String>,
    /// Where the text comes from.
    pub surface: Option<Side>,
    /// The text.
    pub text: Option<String>,
}

/// Where a text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// A person, to the agent.
    Prompt,
    /// The agent, to the person.
    Completion,
    /// A tool, to the agent.
    ToolResult,
}

/// What the rules say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Inspected {
    /// The item's.
    #[schemars(with = "Option<String>")]
    pub id: Value,
    /// What would happen to it where decisions are enforced.
    pub verdict: Verdict,
    /// The greatest severity among the findings.
    pub severity: Severity,
    /// What the rules found, the worst first.
    pub findings: Vec<Said>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Said {
    /// Stable rule id.
    pub rule: String,
    /// Its category.
    pub category: String,
    /// How bad.
    pub severity: Severity,
    /// One sentence for a person.
    pub message: String,
}

/// Everything that was made of an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Considered {
    /// What kind of call it is.
    pub kind: CallKind,
    /// What it declares.
    pub facts: Facts,
    /// What the policy says.
    pub decision: Decision,
}

/// Why an item was not judged.
#[derive(Debug, thiserror::Error)]
pub enum ItemError {
    /// It is neither.
    #[error(
        "an item is a tool call with \"tool\" and \"input\", or a text with \"surface\" and \"text\"; {0}"
    )]
    Shape(&'static str),
    /// The policy failed.
    #[error("the policy could not decide: {0}")]
    Policy(#[from] PolicyError),
}

/// The session and call of everything that is inspected.
static NOWHERE: LazyLock<Option<(SessionId, CallId)>> = LazyLock::new(|| {
    let session = SessionId::new("inspect", "inspect").ok()?;
    Some((session, CallId::new("inspect").ok()?))
});

/// Judges items by the rules that it was given.
#[derive(Debug, Clone)]
pub struct Inspector {
    rules: Rules,
    /// Whether the model that learned from labelled calls is asked, too.
    learned: bool,
}

impl Inspector {
    /// By these rules.
    pub fn new(rules: Rules) -> Self {
        Self { rules, learned: true }
    }

    /// By rules alone: what the model is trained with.
    #[must_use]
    pub fn without_model(mut self) -> Self {
        self.learned = false;
        self
    }

    /// What the rules say of an item, in short.
    pub fn inspect(&self, item: Item) -> Result<Inspected, ItemError> {
        let id = item.id.clone();
        let decision = self.consider(item)?.decision;
        let said = decision.findings.into_iter().map(|finding| Said {
            rule: finding.rule,
            category: finding.category,
            severity: finding.severity,
            message: finding.message,
        });
        Ok(Inspected {
            id,
            verdict: decision.verdict,
            severity: decision.severity,
            findings: said.collect(),
        })
    }

    /// What of a call a finding of rules needs. `None` where it has too many pieces to tell.
    pub fn narrowed(&self, call: &ToolCall, cwd: Option<&str>, finding: &Finding) -> Option<Ruled> {
        let home = home_of(cwd);
        self.rules.detector.narrowed(call, cwd, Some(&home), finding)
    }

    /// Everything that is made of an item.
    pub fn consider(&self, item: Item) -> Result<Considered, ItemError> {
        let Some((session, call)) = NOWHERE.as_ref() else {
            return Err(ItemError::Shape("and the session's own name is refused"));
        };
        let Item {
            tool,
            input,
            cwd,
            surface,
            text,
            ..
        } = item;
        let (call, findings, facts) = match (tool, surface) {
            (Some(_), Some(_)) => return Err(ItemError::Shape("this one has both a tool and a surface")),
            (None, None) => return Err(ItemError::Shape("this one has neither a tool nor a surface")),
            (Some(tool), None) => {
                let input = input.ok_or(ItemError::Shape("this one has no input"))?;
                let home = home_of(cwd.as_deref());
                let call = ToolCall {
                    call: call.clone(),
                    kind: tools::kind_of(&tool, &input, cwd.as_deref(), Some(&home)),
                    tool,
                    input,
                };
                let facts = facts_of(&call, cwd.as_deref(), Some(&home));
                let findings = if self.learned {
                    self.rules
                        .detector
                        .judge(&call, cwd.as_deref(), Some(&home), &facts)
                } else {
                    self.rules.detector.call(&call, &facts)
                };
                (call, findings, facts)
            }
            (None, Some(surface)) => {
                let text = text.ok_or(ItemError::Shape("this one has no text"))?;
                let surface = match surface {
                    Side::Prompt => Surface::Prompt,
                    Side::Completion => Surface::Completion,
                    Side::ToolResult => Surface::ToolResult,
                };
                let call = ToolCall {
                    call: call.clone(),
                    tool: String::new(),
                    kind: CallKind::Other,
                    input: Value::Null,
                };
                (call, self.rules.detector.text(surface, &text), Facts::default())
            }
        };
        let decision = self.rules.policy.decide(&DecideInput {
            connector: session.connector(),
            session,
            mode: Mode::Action,
            now_ns: now_ns(),
            cwd: cwd.as_deref(),
            tool: &call.tool,
            call_kind: &call.kind,
            facts: &facts,
            findings: &findings,
            posture: &Posture::default(),
            binding: &Binding::NoAgent,
            sandbox: None,
            artifacts: &[],
            mcp: None,
            packages: &[],
        })?;
        Ok(Considered {
            kind: call.kind,
            facts,
            decision,
        })
    }
}

fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The home folder of whoever works in that folder.
fn home_of(cwd: Option<&str>) -> String {
    let mut parts = cwd.unwrap_or_default().split('/').skip(1);
    match (parts.next(), parts.next()) {
        (Some("root"), _) => "/root".to_owned(),
        (Some("home"), Some(user)) if !user.is_empty() => format!("/home/{user}"),
        (Some("Users"), Some(user)) if !user.is_empty() => format!("/Users/{user}"),
        _ => SOME_HOME.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_home_is_told_from_the_working_folder() {
        for (cwd, home) in [
            (Some("/home/kim/app/x"), "/home/kim"),
            (Some("/root/a"), "/root"),
            (Some("/srv/app"), SOME_HOME),
            (Some("/home"), SOME_HOME),
            (Some("home/kim"), SOME_HOME),
            (None, SOME_HOME),
        ] {
            assert_eq!(home_of(cwd), home, "{cwd:?}");
        }
    }

    #[test]
    fn an_item_that_is_no_call_and_no_text_is_refused_in_words() {
        let inspector = Inspector::new(Rules::load(None).unwrap());
        for (item, words) in [
            (json!({"id": 1}), "neither"),
            (json!({"tool": "Bash"}), "no input"),
            (json!({"surface": "prompt"}), "no text"),
            (json!({"tool": "Bash", "surface": "prompt"}), "both"),
        ] {
            let item: Item = serde_json::from_value(item).unwrap();
            let error = inspector.inspect(item).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_same_path_decides_as_in_a_hook() {
        let inspector = Inspector::new(Rules::load(None).unwrap());
        let ask = |item: Value| {
            let item: Item = serde_json::from_value(item).unwrap();
            inspector.inspect(item).unwrap()
        };
        let fine =
            ask(json!({"id": "a", "tool": "Bash", "input": {"command": "ls -l"}, "cwd": "/w", "set": "x"}));
        assert_eq!(
            (fine.id, fine.verdict, fine.severity),
            (json!("a"), Verdict::Allow, Severity::None)
        );
        let canary = ask(json!({"id": 7, "tool": "Bash", "input": {"command": "defenseclaw-canary-denied"}}));
        assert_eq!((canary.id, canary.verdict), (json!(7), Verdict::Deny));
        assert_eq!(canary.findings[0].rule, "doctor.canary");
        let text = ask(json!({"surface": "tool_result", "text": "two files changed"}));
        assert_eq!((text.id, text.verdict), (Value::Null, Verdict::Allow));
    }
}
