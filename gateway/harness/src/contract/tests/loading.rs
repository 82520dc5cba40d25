//! Contracts that are refused, and why.

use super::*;

const CODEX: &str = include_str!("../../../../../policies/harness/codex.yaml");

fn refused(from: &str, to: &str) -> String {
    assert!(CODEX.contains(from), "{from}");
    Contract::from_yaml("codex", &CODEX.replacen(from, to, 1))
        .unwrap_err()
        .to_string()
}

#[test]
fn every_contract_is_valid_and_says_what_it_rests_on() {
    for contract in Contracts::embedded().unwrap().iter() {
        let evidence = contract.evidence();
        assert!(
            !evidence.documented.is_empty() || !evidence.tried.is_empty(),
            "{}: nothing confirms it",
            contract.name()
        );
        assert!(contract.limit() >= Duration::from_secs(10), "{}", contract.name());
        for event in contract.events() {
            if contract.is_call(event) {
                assert!(contract.can(event).block, "{} {event}", contract.name());
            }
        }
    }
}

#[test]
fn a_mistake_is_named_with_its_place() {
    for (from, to, said) in [
        ("product: Codex CLI", "prodct: Codex CLI", "prodct"),
        ("connector: codex", "connector: codec", "`connector` is \"codec\""),
        ("primary: PreToolUse", "primary: Stop", "no event of kind call"),
        ("primary: PreToolUse", "primary: Pre", "no event of kind call"),
        (
            "kind: call, replies: tool",
            "kind: call, replies: tol",
            "no replies \"tol\"",
        ),
        (
            "kind: call, replies: tool",
            "kind: call",
            "a call needs `replies`",
        ),
        ("session: [session_id]", "session: []", "`session`"),
        ("  tool: [tool_name]\n", "", "which tool it is"),
        ("  input: [tool_input]\n", "", "where the tool's input stands"),
        (
            "kind: prompt, text: [prompt]",
            "kind: prompt",
            "where the prompt stands",
        ),
        ("[session_id]", "[\"a..b\"]", "selects nothing"),
        (
            "DefenseClaw: {reason}\"}}'",
            "DefenseClaw: {reson}\"}}'",
            "{reson} is no gap",
        ),
        (
            "DefenseClaw: {reason}\"}}'",
            "DefenseClaw: {reason}\"}'",
            "not JSON",
        ),
        (
            "\"updatedInput\":{input}",
            "\"updatedInput\":{}",
            "no place for {input}",
        ),
        (
            "\"permissionDecision\":\"deny\"",
            "\"permissionDecision\":{input}",
            "changes no input",
        ),
        (
            "  prompt:\n    deny:",
            "  unused:\n    deny: { exit: 2 }\n  prompt:\n    deny:",
            "no event uses them",
        ),
        (
            "  prompt:\n    deny:\n",
            "  prompt:\n    deny: {}\n    ask:\n",
            "refuses nothing",
        ),
        ("late: runs", "late: maybe", "maybe"),
        ("names: [apply_patch]", "names: [Bash]", "given twice"),
    ] {
        let message = refused(from, to);
        assert!(message.contains(said), "{from} -> {to}: {message}");
        assert!(message.starts_with("policies/harness/codex.yaml: "), "{message}");
    }
}

#[test]
fn a_missing_own_section_is_refused_too() {
    let message = refused("housekeeping:", "houskeeping:");
    assert!(message.contains("houskeeping"), "{message}");
}
