//! Plugins by the name of their place, by a name that they claim, and by where they come from.

use super::*;

/// A plugin in a cache, which says that it is something well-known.
fn plugin(path: &str, name: &str, severity: &str) -> GateQuestion {
    let mut said = report(&[finding(severity, "plugin.x")]);
    said["kind"] = json!("plugin");
    said["name"] = json!("security-guidance");
    let mut question = question(GateScan::Report {
        json: said.to_string(),
    });
    question.artifact.kind = ArtifactKind::Plugin;
    question.artifact.path = path.to_owned();
    question.artifact.name = name.to_owned();
    question
}

const CACHED: &str = "/h/.claude/plugins/cache/market/formatter/1.2.0";

fn with_lists(lists: &str) -> Policy {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("lists.yaml"), format!("version: 1\n{lists}")).unwrap();
    Policy::load(Some(folder.path()), "rules").unwrap()
}

fn action(policy: &Policy, question: &GateQuestion) -> AdmissionAction {
    judge(&setting(policy, FailMode::Closed), question).answer.action
}

#[test]
fn a_plugin_gains_nothing_by_the_name_that_it_claims_and_loses_by_either() {
    let found = plugin(CACHED, "formatter", "HIGH");
    let harmless = plugin(CACHED, "formatter", "LOW");
    let listed = |list: &str, name: &str| {
        with_lists(&format!(
            "artifacts:\n  {list}:\n    - {{ kind: plugin, name: {name}, owner: o, reason: r, expires: 2199-01-01 }}\n"
        ))
    };
    for (name, expected) in [
        ("formatter", AdmissionAction::Allow),
        ("security-guidance", AdmissionAction::Block),
        ("1.2.0", AdmissionAction::Block),
    ] {
        assert_eq!(action(&listed("allow", name), &found), expected, "{name}");
    }
    for (name, expected) in [
        ("formatter", AdmissionAction::Block),
        ("security-guidance", AdmissionAction::Block),
        ("1.2.0", AdmissionAction::Warn),
    ] {
        assert_eq!(action(&listed("block", name), &harmless), expected, "{name}");
    }
}

#[test]
fn a_marketplace_counts_only_where_an_operator_trusts_the_claim_itself() {
    let trusting = |origin: &str| {
        with_lists(&format!(
            "trust:\n  origins:\n    \"{origin}\": {{ auto_allow_up_to: MEDIUM, owner: o, reason: r }}\n"
        ))
    };
    let cached = plugin(CACHED, "formatter", "MEDIUM");
    let embedded = Policy::embedded().unwrap();
    assert_eq!(action(&embedded, &cached), AdmissionAction::Warn);
    let claimed = trusting("claimed:claude-code/market");
    assert_eq!(action(&claimed, &cached), AdmissionAction::Allow);
    for other in [
        "market",
        "claude-code/market",
        "claimed:codex/market",
        "claimed:claude-code/other",
    ] {
        assert_eq!(
            action(&trusting(other), &cached),
            AdmissionAction::Warn,
            "{other}"
        );
    }
    for (path, name) in [
        ("/h/.claude/plugins/cache/other/formatter/1.2.0", "formatter"),
        ("/h/src/market/formatter/1.2.0", "1.2.0"),
        ("/h/.gemini/extensions/market", "market"),
    ] {
        let elsewhere = plugin(path, name, "MEDIUM");
        assert_eq!(action(&claimed, &elsewhere), AdmissionAction::Warn, "{path}");
    }
    let worse = plugin(CACHED, "formatter", "HIGH");
    assert_eq!(action(&claimed, &worse), AdmissionAction::Block);
}
