//! Claude Code, whose contract uses every part of the engine: payloads in, kinds of action and native replies out.

use defenseclaw_model::call::{CallKind, HookEventKind};
use defenseclaw_model::decision::{Decision, Severity, Verdict};
use defenseclaw_model::ids::SessionId;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod harnesses;
mod loading;

const NAME: &str = "claude-code";

fn contract(connector: &str) -> &'static Contract {
    Contracts::embedded().unwrap().find(connector).unwrap()
}

fn parse_bytes(payload: &[u8]) -> Result<Parsed, Fault> {
    contract(NAME).parse(payload, None)
}

fn parse(payload: Value) -> Result<Parsed, Fault> {
    parse_bytes(payload.to_string().as_bytes())
}

fn payload(event: &str, more: Value) -> Value {
    let mut all = json!({
        "session_id": "5f3c1f0e-7f6f-4f0e-9c9b-2f2d7d9c0001",
        "transcript_path": "/home/kim/.claude/projects/-w/5f3c.jsonl",
        "cwd": "/home/kim/w",
        "hook_event_name": event,
    });
    all.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    all
}

fn kind_of(tool: &str, input: Value) -> Result<CallKind, FaultKind> {
    let all = payload(
        "PreToolUse",
        json!({"tool_name": tool, "tool_input": input, "tool_use_id": "toolu_1"}),
    );
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
        payload(
            "PostToolUseFailure",
            json!({"tool_name": "Bash", "tool_use_id": "toolu_2", "error": "no"}),
        ),
        payload("Stop", json!({"stop_hook_active": false})),
        payload("SessionEnd", json!({"reason": "exit"})),
    ];
    let read: Vec<_> = events
        .into_iter()
        .map(|event| parse(event).unwrap().event)
        .collect();
    insta::assert_json_snapshot!(read);
}

#[test]
fn tools_become_kinds_of_action() {
    let write = |path: &str| CallKind::FileWrite {
        paths: vec![path.into()],
    };
    let search = |path: &str| CallKind::FileSearch {
        paths: vec![path.into()],
    };
    for (tool, input, expected) in [
        (
            "Write",
            json!({"file_path": "/w/a", "content": "x"}),
            write("/w/a"),
        ),
        ("Edit", json!({"file_path": "src/../b"}), write("/home/kim/w/b")),
        ("MultiEdit", json!({"file_path": "./c"}), write("/home/kim/w/c")),
        (
            "NotebookEdit",
            json!({"notebook_path": "n.ipynb"}),
            write("/home/kim/w/n.ipynb"),
        ),
        (
            "Read",
            json!({"file_path": "~/.ssh/id"}),
            CallKind::FileRead {
                paths: vec!["/home/kim/.ssh/id".into()],
            },
        ),
        (
            "Read",
            json!({"file_path": "../../../../etc/x"}),
            CallKind::FileRead {
                paths: vec!["/etc/x".into()],
            },
        ),
        ("Grep", json!({"pattern": "x"}), search("/home/kim/w")),
        ("Glob", json!({"pattern": "*", "path": "/etc"}), search("/etc")),
        ("LS", json!({"path": "sub"}), search("/home/kim/w/sub")),
        (
            "WebFetch",
            json!({"url": "https://a.example"}),
            CallKind::Network {
                targets: vec!["https://a.example".into()],
            },
        ),
        (
            "WebSearch",
            json!({"query": "rust"}),
            CallKind::Network {
                targets: vec!["rust".into()],
            },
        ),
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
    assert!(message("Bash", json!({"command": {"a": 1}})).contains("tool_input.command"));
    assert!(message("Write", json!({"file_path": null})).contains("no tool_input.file_path"));
    assert!(message("WebFetch", json!(7)).contains("no tool_input.url"));
    let no_cwd = json!({"session_id": "s", "hook_event_name": "PreToolUse", "tool_name": "Read",
                        "tool_use_id": "t", "tool_input": {"file_path": "a"}, "cwd": "relative"});
    assert!(parse(no_cwd).unwrap_err().to_string().contains("cwd"));
}

#[test]
fn only_what_may_be_a_call_is_blamed_as_one() {
    let fault = |text: &str| parse_bytes(text.as_bytes()).unwrap_err();
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
        r#"{"hook_event_name":"NewEvent","session_id":"s"}"#,
        r#"{"hook_event_name":"Stop","session_id":"has space"}"#,
    ] {
        assert!(!fault(text).may_be_call, "{text}");
    }
    let unknown = fault(r#"{"hook_event_name":"NewEvent","session_id":"s"}"#);
    assert_eq!(unknown.kind, FaultKind::UnknownEvent("NewEvent".into()));
    assert_eq!(unknown.session, Some(SessionId::new(NAME, "s").unwrap()));
}

#[test]
fn a_missing_call_id_is_derived_alike_before_and_after_the_tool() {
    let call_of = |event: &str, command: &str| {
        let all = payload(
            event,
            json!({"tool_name": "Bash", "tool_input": {"command": command}}),
        );
        match parse(all).unwrap().event.kind {
            HookEventKind::PreToolUse(call) => call.call,
            HookEventKind::PostToolUse { call, .. } => call,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(call_of("PreToolUse", "ls"), call_of("PostToolUse", "ls"));
    assert_ne!(call_of("PreToolUse", "ls"), call_of("PreToolUse", "pwd"));
    assert!(call_of("PreToolUse", "ls").as_str().starts_with("derived-"));
}

#[test]
fn home_comes_from_the_transcript() {
    assert_eq!(
        parse(payload("Stop", json!({}))).unwrap().home.as_deref(),
        Some("/home/kim")
    );
    let other = payload("Stop", json!({"transcript_path": "/data/t.jsonl"}));
    assert_eq!(parse(other).unwrap().home, None);
}

fn decision(verdict: Verdict, enforced: bool) -> Decision {
    Decision {
        verdict,
        severity: Severity::High,
        reason: "\"rm -rf /\" removes everything".into(),
        findings: Vec::new(),
        rule: String::new(),
        line: String::new(),
        updated_input: None,
        sandbox: None,
        policy: "000000000000".into(),
        enforced,
    }
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
        let _ = parse_bytes(&bytes);
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
        prop_assert!(parse_bytes(part).unwrap_err().may_be_call);
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
