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
