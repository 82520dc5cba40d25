//! Every event, every verdict, every way a request can be wrong.

use defenseclaw_model::decision::Verdict;
use defenseclaw_model::record::{Binding, RecordBody};
use serde_json::json;

use crate::world::{World, bash, payload};

const ACTION: &str = "mode: action";

#[test]
fn every_event_is_recorded_and_answered_with_silence() {
    let world = World::start(ACTION);
    let events = [
        ("SessionStart", json!({"source": "startup"})),
        ("UserPromptSubmit", json!({"prompt": "build it"})),
        ("PreToolUse", bash("t1", "make")),
        ("PostToolUse", bash("t1", "make")),
        (
            "PreToolUse",
            json!({"tool_name": "Edit", "tool_use_id": "t2", "tool_input": {"file_path": "a.c"}}),
        ),
        (
            "PostToolUseFailure",
            json!({"tool_name": "Edit", "tool_use_id": "t2", "error": "no such file"}),
        ),
        ("Stop", json!({})),
    ];
    for (event, more) in events {
        let answer = world.event(event, more);
        assert!(answer.is_silence(), "{event}: {answer:?}");
    }
    assert_eq!(world.status().open_sessions, 1);
    assert!(world.event("SessionEnd", json!({"reason": "exit"})).is_silence());
    assert_eq!(
        world.kinds(),
        [
            "session_start",
            "prompt",
            "tool_call",
            "call_end",
            "tool_call",
            "call_end",
            "stop",
            "session_end"
        ]
    );
    let failed: Vec<bool> = world
        .records()
        .iter()
        .filter_map(|record| match record.draft.body {
            RecordBody::CallEnd { failed, .. } => Some(failed),
            _ => None,
        })
        .collect();
    assert_eq!(failed, [false, true]);
    let status = world.status();
    assert_eq!(
        (status.hooks.allowed, status.hooks.bad, status.hooks.failed),
        (8, 0, 0)
    );
    assert_eq!((status.open_sessions, status.agent), (0, None));
    assert_eq!(status.ledger.records, 9, "the start of the gateway is one");
    world.verify();
}

#[test]
fn verdicts_are_given_natively_and_only_after_their_record() {
    let world = World::start(ACTION);
    assert!(world.bash("t1", "ls").is_silence());
    let (verdict, reason) = world.bash("t2", "ask-me").permission();
    assert_eq!(
        (verdict.as_str(), reason.as_str()),
        ("ask", "DefenseClaw: told to ask")
    );
    let (verdict, reason) = world.bash("t3", "deny-me").permission();
    assert_eq!(
        (verdict.as_str(), reason.as_str()),
        ("deny", "DefenseClaw: told to deny")
    );
    let decisions: Vec<_> = world
        .records()
        .into_iter()
        .filter_map(|record| match record.draft.body {
            RecordBody::ToolCall {
                decision, binding, ..
            } => Some((decision, binding)),
            _ => None,
        })
        .collect();
    let verdicts: Vec<_> = decisions.iter().map(|(decision, _)| decision.verdict).collect();
    assert_eq!(verdicts, [Verdict::Allow, Verdict::Ask, Verdict::Deny]);
    for (decision, binding) in decisions {
        assert!(decision.enforced);
        assert_eq!(decision.policy, world.status().policy);
        assert_eq!(binding, Binding::NoAgent);
    }
    let hooks = world.status().hooks;
    assert_eq!((hooks.allowed, hooks.asked, hooks.denied), (1, 1, 1));
}

#[test]
fn in_observe_mode_nothing_is_refused() {
    let world = World::start("mode: observe\nfail_mode: closed");
    for command in ["ls", "ask-me", "deny-me", "fail-me"] {
        assert!(world.bash("t", command).is_silence(), "{command}");
    }
    assert!(world.post("nonsense").is_silence());
    let would_block: Vec<bool> = world
        .records()
        .into_iter()
        .filter_map(|record| match record.draft.body {
            RecordBody::ToolCall { decision, .. } => Some(decision.would_block()),
            _ => None,
        })
        .collect();
    assert_eq!(
        would_block,
        [false, true, true, true],
        "what was let through is known"
    );
}

/// Payloads that are wrong, the rule that their record names, and whether they may be a tool call.
fn bad_payloads() -> Vec<(Vec<u8>, &'static str, bool)> {
    let deep = format!(
        r#"{{"hook_event_name":"PreToolUse","session_id":"s","x":{}{}}}"#,
        "[".repeat(70),
        "]".repeat(70)
    );
    let many = format!(
        r#"{{"hook_event_name":"PreToolUse","session_id":"s","x":[0{}]}}"#,
        ",0".repeat(300_000)
    );
    let pre = |more| payload("PreToolUse", more).into_bytes();
    vec![
        (b"".to_vec(), "hook.malformed", true),
        (
            b"{\"hook_event_name\":\"PreToolUse\"".to_vec(),
            "hook.malformed",
            true,
        ),
        (b"[]".to_vec(), "hook.malformed", true),
        (b"{\"a\":\"\xff\"}".to_vec(), "hook.not-utf8", true),
        (deep.into_bytes(), "hook.too-deep", true),
        (many.into_bytes(), "hook.too-many-values", true),
        (b"{}".to_vec(), "hook.missing-field", true),
        (pre(json!({"tool_input": {}})), "hook.missing-field", true),
        (
            pre(json!({"tool_name": "Bash", "tool_use_id": "t", "tool_input": {}})),
            "hook.missing-field",
            true,
        ),
        (pre(json!({"tool_name": 7})), "hook.wrong-type", true),
        (
            pre(json!({"tool_name": "X", "tool_use_id": "a b"})),
            "hook.bad-id",
            true,
        ),
        (
            pre(json!({"session_id": "x".repeat(200), "tool_name": "X"})),
            "hook.bad-id",
            true,
        ),
        (
            payload("NewEvent", json!({})).into_bytes(),
            "hook.unknown-event",
            false,
        ),
        (
            payload("UserPromptSubmit", json!({})).into_bytes(),
            "hook.missing-field",
            false,
        ),
        (
            payload("PostToolUse", json!({})).into_bytes(),
            "hook.missing-field",
            false,
        ),
    ]
}

#[test]
fn a_bad_payload_is_counted_recorded_and_refused_if_it_may_be_a_call() {
    let world = World::start(ACTION);
    let bad = bad_payloads();
    for (payload, rule, may_be_call) in &bad {
        let answer = world.post(payload);
        if *may_be_call {
            let (verdict, reason) = answer.permission();
            assert_eq!(verdict, "deny", "{rule}");
            assert!(reason.len() > 40, "it says what, where and what to do: {reason}");
        } else {
            assert!(answer.is_silence(), "{rule}: {answer:?}");
        }
    }
    let rules: Vec<_> = bad.iter().map(|(_, rule, _)| (*rule).to_owned()).collect();
    assert_eq!(world.rules(), rules);
    assert_eq!(world.status().hooks.bad, bad.len() as u64);
}

#[test]
fn in_fail_mode_open_a_bad_payload_passes() {
    let world = World::start("mode: action\nfail_mode: open");
    for (payload, rule, _) in bad_payloads() {
        assert!(world.post(payload).is_silence(), "{rule}");
    }
    assert_eq!(
        world.rules().len(),
        bad_payloads().len(),
        "and is recorded all the same"
    );
}

#[test]
fn a_flood_of_bad_payloads_does_not_fill_the_ledger() {
    let world = World::start(ACTION);
    for _ in 0..100 {
        assert!(world.post("nonsense").is_denied());
    }
    assert_eq!(world.status().hooks.bad, 100);
    let recorded = world.rules().len();
    assert!((20..40).contains(&recorded), "{recorded}");
}

#[test]
fn a_policy_that_fails_is_answered_by_fail_mode_and_recorded() {
    for (config, denied) in [(ACTION, true), ("mode: action\nfail_mode: open", false)] {
        let world = World::start(config);
        let answer = world.bash("t1", "fail-me");
        if denied {
            assert!(
                answer.permission().1.contains("the policy could not decide"),
                "{answer:?}"
            );
        } else {
            assert!(answer.is_silence());
        }
        assert_eq!(world.kinds(), ["tool_call"]);
        assert_eq!(world.status().hooks.failed, 1);
    }
}

#[test]
fn the_largest_payload_is_taken_and_a_larger_one_is_not() {
    let world = World::start(ACTION);
    let write = |size: usize| {
        let empty = json!({"tool_name": "Write", "tool_use_id": "t", "tool_input": {"file_path": "/a", "content": ""}});
        let empty = payload("PreToolUse", empty);
        empty.replace(
            "\"content\":\"\"",
            &format!("\"content\":\"{}\"", "x".repeat(size - empty.len())),
        )
    };
    let limit = 16 << 20;
    assert!(world.post(write(limit)).is_silence());
    assert_eq!(world.kinds(), ["tool_call"]);
    let stored = serde_json::to_vec(&world.records().last().unwrap().draft)
        .unwrap()
        .len();
    assert!(stored < 100_000, "{stored} bytes in the ledger");
    // Refused by its length, before it is sent.
    let head = format!(
        "POST /v1/hooks/claude-code HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        limit + 1
    );
    let answer = world.raw(head.as_bytes());
    assert!(answer.permission().1.contains("16 MiB"), "{answer:?}");
    assert_eq!(world.rules(), ["hook.too-large"]);
}

#[test]
fn a_call_without_an_id_gets_one_that_its_end_shares() {
    let world = World::start(ACTION);
    let call = json!({"tool_name": "Bash", "tool_input": {"command": "ls"}});
    assert!(world.event("PreToolUse", call.clone()).is_silence());
    assert!(world.event("PostToolUse", call).is_silence());
    let ids: Vec<_> = world
        .records()
        .into_iter()
        .filter_map(|record| record.draft.call)
        .collect();
    assert_eq!(ids.len(), 2);
    assert!(
        ids[0] == ids[1] && ids[0].as_str().starts_with("derived-"),
        "{ids:?}"
    );
}

#[test]
fn requests_that_are_no_hook_calls_are_refused_in_words() {
    let world = World::start(ACTION);
    let ask =
        |request: &str| world.raw(format!("{request}\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
    let unknown = ask("POST /v1/hooks/other HTTP/1.1\r\ncontent-length: 0");
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("claude-code"), "{unknown:?}");
    assert_eq!(ask("GET /v1/hooks/claude-code HTTP/1.1").status, 405);
    assert_eq!(ask("POST /v1/status HTTP/1.1\r\ncontent-length: 0").status, 405);
    assert_eq!(ask("GET / HTTP/1.1").status, 404);
    assert_eq!(ask("POST /v1/hooks/claude-code HTTP/1.1").status, 411);
    let chunked = "POST /v1/hooks/claude-code HTTP/1.1\r\ntransfer-encoding: chunked";
    assert_eq!(ask(chunked).status, 411);
    let two = "POST /v1/hooks/claude-code HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3";
    assert_eq!(ask(two).status, 400);
    assert_eq!(ask("nonsense").status, 400);
    assert_eq!(
        ask(&format!("GET /v1/status HTTP/1.1\r\nx: {}", "x".repeat(20_000))).status,
        431
    );
    assert_eq!(world.status().hooks, Default::default());
}

#[test]
fn a_connection_can_carry_one_request_after_another() {
    use std::io::{Read, Write};
    let world = World::start(ACTION);
    let mut stream = world.connect();
    for _ in 0..3 {
        let body = payload("Stop", json!({}));
        write!(
            stream,
            "POST /v1/hooks/claude-code HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = [0; 4096];
        let count = stream.read(&mut answer).unwrap();
        assert!(answer[..count].starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
    assert_eq!(world.kinds(), ["stop"; 3]);
}

#[test]
fn a_call_that_ran_although_it_was_refused_is_a_finding() {
    let world = World::start("mode: action");
    assert!(world.bash("t1", "deny-me").is_denied());
    assert!(world.bash("t2", "ls").is_silence());
    let ended = |call: &str, event: &str| {
        let more = json!({"tool_name": "Bash", "tool_use_id": call, "tool_input": {}, "tool_response": {}});
        assert!(world.event(event, more).is_silence());
    };
    ended("t2", "PostToolUse");
    ended("t1", "PostToolUseFailure");
    assert!(world.rules().is_empty(), "nothing ran that should not");
    ended("t1", "PostToolUse");
    ended("t1", "PostToolUse");
    assert_eq!(world.rules(), ["trust.refused-call-ran"]);
    // Refused, asked about again and allowed: that may run.
    assert!(world.bash("t3", "deny-me").is_denied());
    assert!(world.bash("t3", "ls").is_silence());
    ended("t3", "PostToolUse");
    assert_eq!(world.rules().len(), 1);
}

#[test]
fn doctor_s_test_call_leaves_no_session_open() {
    let world = World::start("mode: action");
    let mut call = bash("t1", "deny-me");
    call["session_id"] = json!("defenseclaw-doctor-1-2");
    let answer = world.event("PreToolUse", call);
    assert!(answer.is_denied());
    assert_eq!(world.kinds(), ["tool_call", "session_end"]);
    assert_eq!(world.status().open_sessions, 0);
}
