//! Claude Code: hook payloads as of 2.1, replies by `hookSpecificOutput`.
//!
//! Facts that are easy to get wrong: an explicit `allow` skips the person's own permission prompt, so "no objection" is
//! said by saying nothing; a refusal is exit status 0 with a JSON `deny`, which unlike exit status 2 carries its reason.

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
            Err(kind) => return Err(Fault { kind, may_be_call: true, session: payload.session().ok() }),
        };
        let blame = |kind, session| Fault { kind, may_be_call: event == PRE_TOOL_USE, session };
        let session = payload.session().map_err(|kind| blame(kind, None))?;
        let home = payload.home();
        let cwd = payload.cwd();
        match payload.into_kind(&event, &session, cwd.as_deref(), home.as_deref()) {
            Ok(kind) => Ok(Parsed { event: HookEvent { session, cwd, kind }, home }),
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
    serde_json::to_vec(&output).map_or(Reply { exit: 2, body: Vec::new() }, |body| Reply { exit: 0, body })
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
        Ok(SessionId::new(NAME, required(&self.session_id, event, "session_id")?)?)
    }

    /// Only an absolute folder helps to resolve a path.
    fn cwd(&self) -> Option<String> {
        self.cwd.as_ref()?.as_str().filter(|cwd| cwd.starts_with('/')).map(normalise)
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
            "SessionStart" => {
                HookEventKind::SessionStart { source: remark(&self.source), model: remark(&self.model) }
            }
            "UserPromptSubmit" => {
                HookEventKind::UserPromptSubmit { prompt: required(&self.prompt, event, "prompt")?.to_owned() }
            }
            PRE_TOOL_USE => {
                let tool = required(&self.tool_name, event, "tool_name")?.to_owned();
                let call = self.call(event, session, &tool)?;
                let input = self.tool_input.unwrap_or(Value::Null);
                let kind = Input { event, fields: input.as_object(), cwd, home }.kind(&tool)?;
                HookEventKind::PreToolUse(ToolCall { call, tool, kind, input })
            }
            "PostToolUse" | "PostToolUseFailure" => {
                let tool = required(&self.tool_name, event, "tool_name")?.to_owned();
                let call = self.call(event, session, &tool)?;
                HookEventKind::PostToolUse { call, tool, failed: event == "PostToolUseFailure" }
            }
            "Stop" => HookEventKind::Stop,
            "SessionEnd" => HookEventKind::SessionEnd { reason: remark(&self.reason) },
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
        let id = hash.finalize()[..16].iter().fold(DERIVED.to_owned(), |id, byte| format!("{id}{byte:02x}"));
        tracing::info!(%session, call = %id, "{event} without tool_use_id: the call's id is derived from its input");
        Ok(CallId::new(&id)?)
    }
}

fn required<'a>(value: &'a Option<Value>, event: &str, field: &'static str) -> Result<&'a str, FaultKind> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(FaultKind::WrongType { field, expected: "a string" }),
        None => Err(FaultKind::Missing { event: event.to_owned(), field }),
    }
}

fn remark(value: &Option<Value>) -> Option<String> {
    let text = value.as_ref()?.as_str()?;
    Some(text.chars().filter(|c| !c.is_control()).take(MAX_REMARK).collect())
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
                background: self.field("run_in_background").and_then(Value::as_bool).unwrap_or(false),
            },
            "Write" | "Edit" | "MultiEdit" => {
                CallKind::FileWrite { paths: vec![self.path("file_path", "tool_input.file_path")?] }
            }
            "NotebookEdit" => {
                CallKind::FileWrite { paths: vec![self.path("notebook_path", "tool_input.notebook_path")?] }
            }
            "Read" => CallKind::FileRead { paths: vec![self.path("file_path", "tool_input.file_path")?] },
            "Glob" | "Grep" | "LS" => CallKind::FileSearch { paths: self.search()? },
            "WebFetch" => CallKind::Network { targets: vec![self.text("url", "tool_input.url")?.to_owned()] },
            "WebSearch" => CallKind::Network { targets: vec![self.text("query", "tool_input.query")?.to_owned()] },
            _ => CallKind::Other,
        })
    }

    fn field(&self, key: &str) -> Option<&Value> {
        self.fields?.get(key)
    }

    fn text(&self, key: &str, field: &'static str) -> Result<&str, FaultKind> {
        match self.field(key) {
            Some(Value::String(text)) => Ok(text),
            None | Some(Value::Null) => Err(FaultKind::Missing { event: self.event.to_owned(), field }),
            Some(_) => Err(FaultKind::WrongType { field, expected: "a string" }),
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
        let missing = |field| FaultKind::Missing { event: self.event.to_owned(), field };
        if path.starts_with('/') {
            return Ok(normalise(path));
        }
        let below_home = path.strip_prefix('~').filter(|below| below.is_empty() || below.starts_with('/'));
        if let (Some(below), Some(home)) = (below_home, self.home) {
            return Ok(normalise(&format!("{home}{below}")));
        }
        let cwd = self.cwd.ok_or(missing("cwd (absolute), which a relative path needs"))?;
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
mod tests {
    use defenseclaw_model::decision::Severity;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(payload: Value) -> Result<Parsed, Fault> {
        ClaudeCode.parse(payload.to_string().as_bytes())
    }

    fn payload(event: &str, more: Value) -> Value {
        let mut all = json!({
            "session_id": "5f3c1f0e-7f6f-4f0e-9c9b-2f2d7d9c0001",
            "transcript_path": "/home/kim/.claude/projects/-w/5f3c.jsonl",
            "cwd": "/home/kim/w",
            "hook_event_name": event,
        });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    }

    fn kind_of(tool: &str, input: Value) -> Result<CallKind, FaultKind> {
        let all = payload("PreToolUse", json!({"tool_name": tool, "tool_input": input, "tool_use_id": "toolu_1"}));
        match parse(all).map_err(|fault| fault.kind)?.event.kind {
            HookEventKind::PreToolUse(call) => Ok(call.kind),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_event_is_read() {
        let events = [
            payload("SessionStart", json!({"source": "startup", "model": "claude-x"})),
            payload("UserPromptSubmit", json!({"prompt": "build it"})),
            payload(
                "PreToolUse",
                json!({"tool_name": "Bash", "tool_use_id": "toolu_1",
                       "tool_input": {"command": "make", "run_in_background": true}}),
            ),
            payload(
                "PostToolUse",
                json!({"tool_name": "Bash", "tool_use_id": "toolu_1", "tool_input": {"command": "make"},
                       "tool_response": {"stdout": "ok"}}),
            ),
            payload("PostToolUseFailure", json!({"tool_name": "Bash", "tool_use_id": "toolu_2", "error": "no"})),
            payload("Stop", json!({"stop_hook_active": false})),
            payload("SessionEnd", json!({"reason": "exit"})),
        ];
        let read: Vec<_> = events.into_iter().map(|event| parse(event).unwrap().event).collect();
        insta::assert_json_snapshot!(read);
    }

    #[test]
    fn tools_become_kinds_of_action() {
        let write = |path: &str| CallKind::FileWrite { paths: vec![path.into()] };
        let search = |path: &str| CallKind::FileSearch { paths: vec![path.into()] };
        for (tool, input, expected) in [
            ("Write", json!({"file_path": "/w/a", "content": "x"}), write("/w/a")),
            ("Edit", json!({"file_path": "src/../b"}), write("/home/kim/w/b")),
            ("MultiEdit", json!({"file_path": "./c"}), write("/home/kim/w/c")),
            ("NotebookEdit", json!({"notebook_path": "n.ipynb"}), write("/home/kim/w/n.ipynb")),
            ("Read", json!({"file_path": "~/.ssh/id"}), CallKind::FileRead { paths: vec!["/home/kim/.ssh/id".into()] }),
            ("Read", json!({"file_path": "../../../../etc/x"}), CallKind::FileRead { paths: vec!["/etc/x".into()] }),
            ("Grep", json!({"pattern": "x"}), search("/home/kim/w")),
            ("Glob", json!({"pattern": "*", "path": "/etc"}), search("/etc")),
            ("LS", json!({"path": "sub"}), search("/home/kim/w/sub")),
            ("WebFetch", json!({"url": "https://a.example"}), CallKind::Network { targets: vec!["https://a.example".into()] }),
            ("WebSearch", json!({"query": "rust"}), CallKind::Network { targets: vec!["rust".into()] }),
            ("mcp__x__y", json!({"command": "rm"}), CallKind::Other),
            ("Task", Value::Null, CallKind::Other),
        ] {
            assert_eq!(kind_of(tool, input).unwrap(), expected, "{tool}");
        }
    }

    #[test]
    fn a_field_that_a_tool_needs_is_named_when_it_is_missing_or_wrong() {
        let message = |tool, input| kind_of(tool, input).unwrap_err().to_string();
        assert!(message("Bash", json!({})).contains("no tool_input.command"));
        assert!(message("Bash", json!({"command": ["ls"]})).contains("tool_input.command"));
        assert!(message("Write", json!({"file_path": null})).contains("no tool_input.file_path"));
        assert!(message("WebFetch", json!("x")).contains("no tool_input.url"));
        let no_cwd = json!({"session_id": "s", "hook_event_name": "PreToolUse", "tool_name": "Read",
                            "tool_use_id": "t", "tool_input": {"file_path": "a"}, "cwd": "relative"});
        assert!(parse(no_cwd).unwrap_err().to_string().contains("cwd"));
    }

    #[test]
    fn only_what_may_be_a_call_is_blamed_as_one() {
        let fault = |text: &str| ClaudeCode.parse(text.as_bytes()).unwrap_err();
        for text in [
            "",
            "nonsense",
            "[]",
            r#"["PreToolUse"]"#,
            r#"{"session_id":"s"}"#,
            r#"{"session_id":"s","hook_event_name":["Stop"]}"#,
            r#"{"session_id":"s","hook_event_name":"PreToolUse"}"#,
            r#"{"hook_event_name":"PreToolUse"}"#,
            r#"{"hook_event_name":"Stop","hook_event_name":"PreToolUse","session_id":"s"}"#,
        ] {
            assert!(fault(text).may_be_call, "{text}");
        }
        for text in [
            r#"{"hook_event_name":"Stop"}"#,
            r#"{"hook_event_name":"PostToolUse","session_id":"s"}"#,
            r#"{"hook_event_name":"UserPromptSubmit","session_id":"s","prompt":7}"#,
            r#"{"hook_event_name":"Notification","session_id":"s"}"#,
            r#"{"hook_event_name":"Stop","session_id":"has space"}"#,
        ] {
            assert!(!fault(text).may_be_call, "{text}");
        }
        let unknown = fault(r#"{"hook_event_name":"Notification","session_id":"s"}"#);
        assert_eq!(unknown.kind, FaultKind::UnknownEvent("Notification".into()));
        assert_eq!(unknown.session, Some(SessionId::new(NAME, "s").unwrap()));
    }

    #[test]
    fn a_missing_call_id_is_derived_alike_before_and_after_the_tool() {
        let call_of = |event: &str, command: &str| {
            let all = payload(event, json!({"tool_name": "Bash", "tool_input": {"command": command}}));
            match parse(all).unwrap().event.kind {
                HookEventKind::PreToolUse(call) => call.call,
                HookEventKind::PostToolUse { call, .. } => call,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(call_of("PreToolUse", "ls"), call_of("PostToolUse", "ls"));
        assert_ne!(call_of("PreToolUse", "ls"), call_of("PreToolUse", "pwd"));
        assert!(call_of("PreToolUse", "ls").as_str().starts_with(DERIVED));
    }

    #[test]
    fn home_comes_from_the_transcript() {
        assert_eq!(parse(payload("Stop", json!({}))).unwrap().home.as_deref(), Some("/home/kim"));
        let other = payload("Stop", json!({"transcript_path": "/data/t.jsonl"}));
        assert_eq!(parse(other).unwrap().home, None);
    }

    #[test]
    fn replies_are_claude_code_s_own() {
        let decision = |verdict, enforced| Decision {
            verdict,
            severity: Severity::High,
            reason: "\"rm -rf /\" removes everything".into(),
            findings: Vec::new(),
            policy: "000000000000".into(),
            enforced,
        };
        let shown = |reply: Reply| (reply.exit, String::from_utf8(reply.body).unwrap());
        let replies: Vec<_> = [
            ("allow", ClaudeCode.decided(&decision(Verdict::Allow, true))),
            ("ask", ClaudeCode.decided(&decision(Verdict::Ask, true))),
            ("deny", ClaudeCode.decided(&decision(Verdict::Deny, true))),
            ("deny, observed", ClaudeCode.decided(&decision(Verdict::Deny, false))),
            ("refused", ClaudeCode.refused("the ledger is full")),
        ]
        .map(|(name, reply)| (name, shown(reply)))
        .into();
        insta::assert_json_snapshot!(replies);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-z_]{0,8}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = ClaudeCode.parse(&bytes);
        }

        #[test]
        fn no_fields_make_it_panic(
            event in prop_oneof![Just("PreToolUse"), Just("PostToolUse"), Just("UserPromptSubmit"), Just("SessionStart"), Just("Other")],
            tool in prop_oneof![Just("Bash"), Just("Edit"), Just("Grep"), Just("WebFetch"), Just("Else")],
            input in any_json(), id in any_json(), cwd in any_json(), prompt in any_json(),
        ) {
            let all = payload(event, json!({"tool_name": tool, "tool_input": input, "tool_use_id": id, "cwd": cwd,
                                            "prompt": prompt, "transcript_path": cwd}));
            if let Err(fault) = parse(all) {
                prop_assert_eq!(fault.may_be_call, event == "PreToolUse");
                prop_assert!(!fault.to_string().is_empty());
            }
        }

        #[test]
        fn a_cut_payload_is_never_taken_for_another_event(cut in 0usize..200) {
            let whole = payload("PreToolUse", json!({"tool_name": "Bash", "tool_use_id": "t", "tool_input": {"command": "ls"}})).to_string();
            let part = &whole.as_bytes()[..cut.min(whole.len() - 1)];
            prop_assert!(ClaudeCode.parse(part).unwrap_err().may_be_call);
        }

        #[test]
        fn paths_come_out_absolute_and_plain(path in "[a-z./~]{0,24}") {
            let input = json!({"file_path": path});
            if let Ok(CallKind::FileRead { paths }) = kind_of("Read", input) {
                prop_assert!(paths[0].starts_with('/') && !paths[0].contains("//"));
                prop_assert!(!paths[0].split('/').any(|part| part == ".." || part == "."));
            }
        }
    }
}
