//! Claude Code: hook payloads as of 2.1, replies by `hookSpecificOutput`.
//!
//! Facts that are easy to get wrong: an explicit `allow` skips the person's own permission prompt, so "no objection" is
//! said by saying nothing; a refusal is exit status 0 with a JSON `deny`, which unlike exit status 2 carries its reason.

use std::time::Duration;

use defenseclaw_model::call::{CallKind, HookEvent, HookEventKind, ToolCall};
use defenseclaw_model::decision::{Decision, Verdict};
use defenseclaw_model::ids::{CallId, SessionId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::payload::check_bounds;
use super::{Connector, Fault, FaultKind, Parsed, Reply};

/// The connector for Claude Code.
pub struct ClaudeCode;

const NAME: &str = "claude-code";
/// The only event that can be refused.
const PRE_TOOL_USE: &str = "PreToolUse";
/// Before a call id that was derived because the payload has none.
const DERIVED: &str = "derived-";
/// Longest of the harness's one-word remarks (source, model, reason) that is kept (characters).
const MAX_REMARK: usize = 128;

impl Connector for ClaudeCode {
    fn name(&self) -> &'static str {
        NAME
    }

    fn parse(&self, payload: &[u8]) -> Result<Parsed, Fault> {
        let text = check_bounds(payload).map_err(Fault::unreadable)?;
        let payload = Payload::from_json(text).map_err(Fault::unreadable)?;
        let event = match payload.event() {
            Ok(event) => event.to_owned(),
            Err(kind) => {
                return Err(Fault {
                    kind,
                    may_be_call: true,
                    session: payload.session().ok(),
                });
            }
        };
        let blame = |kind, session| Fault {
            kind,
            may_be_call: event == PRE_TOOL_USE,
            session,
        };
        let session = payload.session().map_err(|kind| blame(kind, None))?;
        let home = payload.home();
        let cwd = payload.cwd();
        match payload.into_kind(&event, &session, cwd.as_deref(), home.as_deref()) {
            Ok(kind) => Ok(Parsed {
                event: HookEvent { session, cwd, kind },
                home,
            }),
            Err(kind) => Err(blame(kind, Some(session))),
        }
    }

    fn decided(&self, decision: &Decision) -> Reply {
        match decision.effective() {
            Verdict::Allow => Reply::silence(),
            Verdict::Ask => permission("ask", &decision.reason),
            Verdict::Deny => permission("deny", &decision.reason),
        }
    }

    fn asks(&self) -> bool {
        true
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn refused(&self, reason: &str) -> Reply {
        permission("deny", reason)
    }
}

fn permission(verdict: &'static str, reason: &str) -> Reply {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Output<'a> {
        hook_specific_output: Specific<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Specific<'a> {
        hook_event_name: &'static str,
        permission_decision: &'static str,
        permission_decision_reason: &'a str,
    }
    let reason = format!("DefenseClaw: {reason}");
    let output = Output {
        hook_specific_output: Specific {
            hook_event_name: PRE_TOOL_USE,
            permission_decision: verdict,
            permission_decision_reason: &reason,
        },
    };
    // Strings into a vector: neither can fail. Were it to, exit status 2 is Claude Code's other way to block.
    serde_json::to_vec(&output).map_or(
        Reply {
            exit: 2,
            body: Vec::new(),
        },
        |body| Reply { exit: 0, body },
    )
}

/// The fields that we read. Everything else (a tool's response above all) is skipped without being stored.
#[derive(Deserialize)]
struct Payload {
    hook_event_name: Option<Value>,
    session_id: Option<Value>,
    transcript_path: Option<Value>,
    cwd: Option<Value>,
    tool_name: Option<Value>,
    tool_input: Option<Value>,
    tool_use_id: Option<Value>,
    prompt: Option<Value>,
    source: Option<Value>,
    model: Option<Value>,
    reason: Option<Value>,
}

impl Payload {
    fn from_json(text: &str) -> Result<Self, FaultKind> {
        // serde would take an array for the object, field by field.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(FaultKind::Malformed("it does not start with '{'".into()));
        }
        serde_json::from_str(text).map_err(|error| FaultKind::Malformed(error.to_string()))
    }

    fn event(&self) -> Result<&str, FaultKind> {
        required(&self.hook_event_name, "an event", "hook_event_name")
    }

    fn session(&self) -> Result<SessionId, FaultKind> {
        let event = self.event().unwrap_or("an event");
        Ok(SessionId::new(
            NAME,
            required(&self.session_id, event, "session_id")?,
        )?)
    }

    /// Only an absolute folder helps to resolve a path.
    fn cwd(&self) -> Option<String> {
        self.cwd
            .as_ref()?
            .as_str()
            .filter(|cwd| cwd.starts_with('/'))
            .map(normalise)
    }

    /// The folder above `.claude`, where Claude Code keeps its transcripts: the home that `~` means to it, which need
    /// not be the one in the user database.
    fn home(&self) -> Option<String> {
        let (home, _) = self.transcript_path.as_ref()?.as_str()?.split_once("/.claude/")?;
        (home.starts_with('/') && !home.contains("/../")).then(|| home.to_owned())
    }

    fn into_kind(
        self,
        event: &str,
        session: &SessionId,
        cwd: Option<&str>,
        home: Option<&str>,
    ) -> Result<HookEventKind, FaultKind> {
        Ok(match event {
            "SessionStart" => HookEventKind::SessionStart {
                source: remark(&self.source),
                model: remark(&self.model),
            },
            "UserPromptSubmit" => HookEventKind::UserPromptSubmit {
                prompt: required(&self.prompt, event, "prompt")?.to_owned(),
            },
            PRE_TOOL_USE => {
                let tool = required(&self.tool_name, event, "tool_name")?.to_owned();
                let call = self.call(event, session, &tool)?;
                let input = self.tool_input.unwrap_or(Value::Null);
                let kind = Input {
                    event,
                    fields: input.as_object(),
                    cwd,
                    home,
                }
                .kind(&tool)?;
                HookEventKind::PreToolUse(ToolCall {
                    call,
                    tool,
                    kind,
                    input,
                })
            }
            "PostToolUse" | "PostToolUseFailure" => {
                let tool = required(&self.tool_name, event, "tool_name")?.to_owned();
                let call = self.call(event, session, &tool)?;
                HookEventKind::PostToolUse {
                    call,
                    tool,
                    failed: event == "PostToolUseFailure",
                    result: String::new(),
                }
            }
            "Stop" => HookEventKind::Stop,
            "SessionEnd" => HookEventKind::SessionEnd {
                reason: remark(&self.reason),
            },
            other => return Err(FaultKind::UnknownEvent(other.chars().take(MAX_REMARK).collect())),
        })
    }

    /// The call's id; where the payload has none, one derived from what the events before and after the tool share.
    /// Two equal calls of one session then share it, which the prefix tells to whoever reads the ledger.
    fn call(&self, event: &str, session: &SessionId, tool: &str) -> Result<CallId, FaultKind> {
        if self.tool_use_id.is_some() {
            return Ok(CallId::new(required(&self.tool_use_id, event, "tool_use_id")?)?);
        }
        let input = self.tool_input.as_ref().map(Value::to_string).unwrap_or_default();
        let mut hash = Sha256::new();
        for part in [session.harness_session(), tool, &input] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let id = hash.finalize()[..16]
            .iter()
            .fold(DERIVED.to_owned(), |id, byte| format!("{id}{byte:02x}"));
        tracing::info!(%session, call = %id, "{event} without tool_use_id: the call's id is derived from its input");
        Ok(CallId::new(&id)?)
    }
}

fn required<'a>(value: &'a Option<Value>, event: &str, field: &'static str) -> Result<&'a str, FaultKind> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(FaultKind::WrongType {
            field,
            expected: "a string",
        }),
        None => Err(FaultKind::Missing {
            event: event.to_owned(),
            field,
        }),
    }
}

fn remark(value: &Option<Value>) -> Option<String> {
    let text = value.as_ref()?.as_str()?;
    Some(
        text.chars()
            .filter(|c| !c.is_control())
            .take(MAX_REMARK)
            .collect(),
    )
}

/// A tool's input, as far as it tells what kind of action the tool is.
struct Input<'a> {
    event: &'a str,
    fields: Option<&'a Map<String, Value>>,
    cwd: Option<&'a str>,
    home: Option<&'a str>,
}

impl Input<'_> {
    fn kind(&self, tool: &str) -> Result<CallKind, FaultKind> {
        Ok(match tool {
            "Bash" => CallKind::Command {
                command: self.text("command", "tool_input.command")?.to_owned(),
                background: self
                    .field("run_in_background")
                    .and_then(Value::as_bool)
                    .unwrap_or(false),
            },
            "Write" | "Edit" | "MultiEdit" => CallKind::FileWrite {
                paths: vec![self.path("file_path", "tool_input.file_path")?],
            },
            "NotebookEdit" => CallKind::FileWrite {
                paths: vec![self.path("notebook_path", "tool_input.notebook_path")?],
            },
            "Read" => CallKind::FileRead {
                paths: vec![self.path("file_path", "tool_input.file_path")?],
            },
            "Glob" | "Grep" | "LS" => CallKind::FileSearch {
                paths: self.search()?,
            },
            "WebFetch" => CallKind::Network {
                targets: vec![self.text("url", "tool_input.url")?.to_owned()],
            },
            "WebSearch" => CallKind::Network {
                targets: vec![self.text("query", "tool_input.query")?.to_owned()],
            },
            _ => CallKind::Other,
        })
    }

    fn field(&self, key: &str) -> Option<&Value> {
        self.fields?.get(key)
    }

    fn text(&self, key: &str, field: &'static str) -> Result<&str, FaultKind> {
        match self.field(key) {
            Some(Value::String(text)) => Ok(text),
            None | Some(Value::Null) => Err(FaultKind::Missing {
                event: self.event.to_owned(),
                field,
            }),
            Some(_) => Err(FaultKind::WrongType {
                field,
                expected: "a string",
            }),
        }
    }

    fn path(&self, key: &str, field: &'static str) -> Result<String, FaultKind> {
        self.absolute(self.text(key, field)?)
    }

    /// The folder that a search starts from: the one named, else the working directory.
    fn search(&self) -> Result<Vec<String>, FaultKind> {
        match self.field("path") {
            None | Some(Value::Null) => Ok(self.cwd.map(str::to_owned).into_iter().collect()),
            Some(_) => Ok(vec![self.path("path", "tool_input.path")?]),
        }
    }

    fn absolute(&self, path: &str) -> Result<String, FaultKind> {
        let missing = |field| FaultKind::Missing {
            event: self.event.to_owned(),
            field,
        };
        if path.starts_with('/') {
            return Ok(normalise(path));
        }
        let below_home = path
            .strip_prefix('~')
            .filter(|below| below.is_empty() || below.starts_with('/'));
        if let (Some(below), Some(home)) = (below_home, self.home) {
            return Ok(normalise(&format!("{home}{below}")));
        }
        let cwd = self
            .cwd
            .ok_or(missing("cwd (absolute), which a relative path needs"))?;
        Ok(normalise(&format!("{cwd}/{path}")))
    }
}

/// An absolute path without `.`, `..` and empty components. Lexical: links are the kernel view's business.
fn normalise(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests;
