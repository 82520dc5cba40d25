//! Every harness's replies and payloads, side by side.

use super::*;

/// Replies to one event, as text.
fn replies(contract: &Contract, event: &str) -> Vec<String> {
    let changed = |verdict| Decision {
        updated_input: Some(json!({"command": "true"})),
        ..decision(verdict, true)
    };
    [
        ("allow", contract.decided(event, &decision(Verdict::Allow, true))),
        ("ask", contract.decided(event, &decision(Verdict::Ask, true))),
        ("deny", contract.decided(event, &decision(Verdict::Deny, true))),
        (
            "deny, observed",
            contract.decided(event, &decision(Verdict::Deny, false)),
        ),
        ("changed", contract.decided(event, &changed(Verdict::Allow))),
        ("ask, changed", contract.decided(event, &changed(Verdict::Ask))),
        ("refused", contract.refused(Some(event), "the ledger is full")),
    ]
    .map(|(name, reply)| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (body, stderr) = (text(&reply.body), text(&reply.stderr));
        let stderr = if stderr.is_empty() {
            stderr
        } else {
            format!("  stderr: {stderr}")
        };
        format!("{name:15} exit {} {body}{stderr}", reply.exit)
    })
    .into()
}

#[test]
fn replies_are_each_harness_s_own() {
    for contract in Contracts::embedded().unwrap().iter() {
        let all: std::collections::BTreeMap<_, _> = contract
            .events()
            .into_iter()
            .filter(|event| contract.can(event).block)
            .map(|event| (event, replies(contract, event)))
            .collect();
        insta::with_settings!({snapshot_suffix => contract.name()}, {
            insta::assert_json_snapshot!("replies", all);
        });
    }
}

#[test]
fn an_event_that_nobody_answers_is_met_with_silence() {
    let claude = contract("claude-code");
    assert_eq!(
        claude.decided("PostToolUse", &decision(Verdict::Deny, true)),
        Reply::silence()
    );
    assert_eq!(
        claude.refused(None, "x"),
        claude.refused(Some("PreToolUse"), "x"),
        "what may be a call is refused as one"
    );
}

#[test]
fn a_reason_is_bounded_and_stays_text() {
    let mut long = decision(Verdict::Deny, true);
    long.reason = "\u{e4}\"\n\u{0}".repeat(100_000);
    for contract in Contracts::embedded().unwrap().iter() {
        let reply = contract.decided(contract.primary.as_str(), &long);
        assert!(
            reply.body.len() + reply.stderr.len() < 64 * 1024,
            "{}",
            contract.name()
        );
        if !reply.body.is_empty() {
            serde_json::from_slice::<Value>(&reply.body).unwrap();
        }
    }
}

/// Payloads of the harnesses' own documentation, or of what they sent: connector, event on the command line, payload.
const PAYLOADS: &str = include_str!("payloads/all.json");

fn payloads() -> Vec<(String, Option<String>, Value)> {
    serde_json::from_str(PAYLOADS).unwrap()
}

#[test]
fn every_harness_is_read() {
    let read: Vec<Value> = payloads()
        .into_iter()
        .map(|(connector, hint, payload)| {
            let parsed = contract(&connector)
                .parse(payload.to_string().as_bytes(), hint.as_deref())
                .unwrap_or_else(|fault| panic!("{connector}: {fault}: {payload}"));
            json!({"native": parsed.native, "home": parsed.home, "said": parsed.said, "event": parsed.event})
        })
        .collect();
    insta::assert_json_snapshot!(read);
    let connectors: std::collections::BTreeSet<_> =
        payloads().into_iter().map(|(connector, ..)| connector).collect();
    let known = Contracts::embedded().unwrap().names().len();
    assert_eq!(connectors.len() + 1, known, "Claude Code has tests of its own");
}

/// `inspect`, which knows no harness, sees a tool as its harness's contract does.
#[test]
fn the_table_of_all_tools_agrees_with_every_contract() {
    use defenseclaw_detect::tools::{Place, kind_of};
    let place = Place {
        cwd: Some("/w"),
        home: None,
    };
    let (mut compared, mut differing) = (0, Vec::new());
    for contract in Contracts::embedded().unwrap().iter() {
        for rule in contract.tools.rules() {
            let mut input = json!({});
            for (field, words) in &rule.only {
                input[field] = json!(words[0]);
            }
            let patch = "*** Begin Patch\n*** Delete File: /x\n*** End Patch\n";
            match (rule.at.first(), rule.patch.first()) {
                (Some(at), _) => input[at.as_str()] = json!("/x"),
                (None, Some(at)) => input[at.as_str()] = json!(patch),
                (None, None) => {}
            }
            for name in rule.names.iter().filter(|name| !name.ends_with('*')) {
                let ours = contract.tools.kind(name, &input, place).unwrap().unwrap();
                let theirs = kind_of(name, &input, place.cwd, place.home);
                compared += 1;
                if ours != theirs {
                    differing.push(format!(
                        "{} {name} {input}: {ours:?}, {theirs:?}",
                        contract.name()
                    ));
                }
            }
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert!(compared > 150, "{compared}");
}

#[test]
fn a_harness_whose_payload_names_no_event_needs_it_on_the_command_line() {
    let payload = br#"{"sessionId": "s", "cwd": "/w", "toolName": "bash", "toolArgs": {"command": "ls"}}"#;
    let fault = contract("copilot-cli").parse(payload, None).unwrap_err();
    assert!(fault.may_be_call);
    assert!(
        fault.to_string().contains("defenseclaw-hook copilot-cli EVENT"),
        "{fault}"
    );
    let fault = contract("copilot-cli")
        .parse(b"cut", Some("postToolUse"))
        .unwrap_err();
    assert!(!fault.may_be_call, "the command line says that it is none");
    let fault = contract("copilot-cli")
        .parse(b"cut", Some("newEvent"))
        .unwrap_err();
    assert!(fault.may_be_call, "nobody knows what that is");
}

#[test]
fn a_call_and_its_end_have_one_id_where_the_harness_gives_none() {
    let call = |connector: &str, event: &str, payload: Value| {
        let parsed = contract(connector)
            .parse(payload.to_string().as_bytes(), Some(event))
            .unwrap();
        match parsed.event.kind {
            HookEventKind::PreToolUse(call) => call.call,
            HookEventKind::PostToolUse { call, .. } => call,
            other => panic!("{other:?}"),
        }
    };
    let gemini = |event: &str| json!({"session_id": "s", "hook_event_name": event, "cwd": "/w", "tool_name": "glob", "tool_input": {"pattern": "*"}});
    assert_eq!(
        call("gemini-cli", "", gemini("BeforeTool")),
        call("gemini-cli", "", gemini("AfterTool"))
    );
    let windsurf = |event: &str| {
        json!({"agent_action_name": event, "trajectory_id": "t",
               "tool_info": {"command_line": "ls", "cwd": "/w", "more": event}})
    };
    assert_eq!(
        call("windsurf", "", windsurf("pre_run_command")),
        call("windsurf", "", windsurf("post_run_command"))
    );
}

#[test]
fn a_result_is_taken_from_both_ends() {
    let long = format!("start{}end", "x".repeat(1 << 20));
    let payload = json!({"session_id": "s", "hook_event_name": "PostToolUse", "cwd": "/w", "tool_name": "Bash",
                         "tool_use_id": "c", "tool_response": long});
    let parsed = contract("codex")
        .parse(payload.to_string().as_bytes(), None)
        .unwrap();
    let HookEventKind::PostToolUse { result, .. } = parsed.event.kind else {
        panic!("{:?}", parsed.event)
    };
    assert!(result.len() <= 257 * 1024 && result.starts_with("start") && result.ends_with("end"));
}

#[test]
fn a_command_that_works_elsewhere_is_judged_there() {
    let event = |args: Value| {
        let name = args.get("CommandLine").map_or("list_dir", |_| "run_command");
        let payload = json!({"conversationId": "c", "stepIdx": 1, "workspacePaths": ["/w"],
                             "toolCall": {"name": name, "args": args}});
        let parsed = contract("antigravity").parse(payload.to_string().as_bytes(), Some("PreToolUse"));
        parsed.unwrap().event
    };
    let elsewhere = event(json!({"CommandLine": "cat id_rsa", "Cwd": "/home/kim/.ssh"}));
    assert_eq!(elsewhere.cwd.as_deref(), Some("/home/kim/.ssh"));
    let below = event(json!({"CommandLine": "ls", "Cwd": "sub"}));
    assert_eq!(below.cwd.as_deref(), Some("/w/sub"));
    let here = event(json!({}));
    assert_eq!(here.cwd.as_deref(), Some("/w"));
    let HookEventKind::PreToolUse(call) = here.kind else {
        panic!("{:?}", here.kind)
    };
    assert_eq!(
        call.kind,
        CallKind::FileSearch {
            paths: vec!["/w".into()]
        }
    );
}

proptest! {
    #[test]
    fn no_payload_makes_any_harness_panic(
        at in 0usize..36, cut in 0usize..700, swap in any_json(), field in "[a-zA-Z_]{3,12}",
    ) {
        let (connector, hint, mut payload) = payloads().swap_remove(at);
        let fields: Vec<String> = payload.as_object().unwrap().keys().cloned().collect();
        let name = fields.iter().find(|name| **name >= field).unwrap_or(&fields[0]).clone();
        payload[&name] = swap;
        let text = payload.to_string();
        let contract = contract(&connector);
        let _ = contract.parse(text.as_bytes(), hint.as_deref());
        let mut end = cut.min(text.len() - 1);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let fault = contract.parse(&text.as_bytes()[..end], None).unwrap_err();
        prop_assert!(fault.may_be_call, "a cut payload is never taken for another event");
    }
}
