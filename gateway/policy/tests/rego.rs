//! The Rego tests, and the agreement of the policy's data with what other crates derive facts from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use defenseclaw_detect::paths::PathRules;
use defenseclaw_model::call::CallKind;
use defenseclaw_model::decision::{Decision, Finding, Mode, Posture, Severity, Verdict};
use defenseclaw_model::facts::{Facts, PathFact};
use defenseclaw_model::record::Binding;
use defenseclaw_policy::{DecideInput, Policy, PolicyError, run_rego_tests};
use serde_json::{Value, json};

fn rego() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/rego"))
}

#[test]
fn the_rego_tests_pass() {
    let report = run_rego_tests(&rego()).unwrap();
    assert!(report.failed.is_empty(), "{:#?}", report.failed);
    assert!(report.passed.len() > 40, "only {} tests ran", report.passed.len());
}

#[test]
fn a_failing_rego_test_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.rego", "package a\n\nx := 1\n");
    write(
        "a_test.rego",
        "package a_test\n\ntest_good if data.a.x == 1\n\ntest_bad if data.a.x == 2\n\ntest_odd := 3\n",
    );
    let report = run_rego_tests(folder.path()).unwrap();
    assert_eq!(report.passed, ["data.a_test.test_good"]);
    let failed: Vec<_> = report
        .failed
        .iter()
        .map(|failure| failure.test.as_str())
        .collect();
    assert_eq!(failed, ["data.a_test.test_bad", "data.a_test.test_odd"]);
}

#[test]
fn the_embedded_policy_is_the_one_in_the_folder() {
    assert_eq!(
        Policy::embedded().unwrap().revision(),
        Policy::from_dir(&rego()).unwrap().revision()
    );
}

#[test]
fn the_policy_knows_the_path_classes_as_they_are() {
    let data = std::fs::read_to_string(rego().join("data.json")).unwrap();
    let data: BTreeMap<String, Value> = serde_json::from_str(&data).unwrap();
    let rules = PathRules::embedded();
    let classes: serde_json::Map<_, _> = rules
        .classes()
        .map(|class| {
            let traits = json!({
                "description": rules.describes(class),
                "guarded": rules.is_guarded(class),
                "secret": rules.is_secret(class),
                "severity": rules.severity(class),
            });
            (class.to_owned(), traits)
        })
        .collect();
    assert_eq!(
        data["classes"],
        Value::Object(classes),
        "bring policies/rego/data.json in line with policies/paths.yaml"
    );
}

#[test]
fn a_policy_that_cannot_decide_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    assert!(matches!(
        Policy::from_dir(folder.path()),
        Err(PolicyError::Empty(_))
    ));
    assert!(matches!(
        Policy::from_dir(&folder.path().join("none")),
        Err(PolicyError::Read { .. })
    ));
    write("a.rego", "package a\n\nx := \n");
    assert!(matches!(
        Policy::from_dir(folder.path()),
        Err(PolicyError::Syntax { .. })
    ));
    write("a.rego", "package a\n\nx := 1\n");
    assert!(matches!(
        Policy::from_dir(folder.path()),
        Err(PolicyError::Missing { .. })
    ));
    write("data.json", "{");
    assert!(matches!(
        Policy::from_dir(folder.path()),
        Err(PolicyError::Data(_))
    ));
    write("data.json", &" ".repeat(5 << 20));
    assert!(matches!(
        Policy::from_dir(folder.path()),
        Err(PolicyError::TooLarge { .. })
    ));
}

/// Asks `policy` about a read of this path.
fn ask_about(policy: &Policy, path: &str) -> Result<Decision, PolicyError> {
    let Ok(session) = &"claude-code/s".parse() else {
        panic!("it is a session id")
    };
    let facts = Facts {
        reads: vec![PathFact {
            path: path.to_owned(),
            class: Some("credential".to_owned()),
            by: Vec::new(),
        }],
        ..Facts::default()
    };
    let finding = Finding {
        rule: "credential.read".to_owned(),
        category: "secret".to_owned(),
        severity: Severity::High,
        message: "it reads that".to_owned(),
        remedy: String::new(),
        evidence: vec![path.to_owned()],
        confidence: 90,
    };
    policy.decide(&DecideInput {
        connector: "claude-code",
        session,
        mode: Mode::Observe,
        now_ns: 0,
        cwd: None,
        tool: "Read",
        call_kind: &CallKind::Other,
        facts: &facts,
        findings: &[finding],
        posture: &Posture::default(),
        binding: &Binding::Bound,
        sandbox: None,
        artifacts: &[],
        mcp: None,
        packages: &[],
    })
}

#[test]
fn evaluation_is_bounded_in_time_and_input() {
    let folder = tempfile::tempdir().unwrap();
    let slow = "package defenseclaw.decision\n\ndecision := 1 if {\n\tcount(input.facts.reads) > 0\n\tsome a in numbers.range(1, 20000)\n\t\
                some b in numbers.range(1, 20000)\n\ta + b < 0\n}\n";
    std::fs::write(folder.path().join("decision.rego"), slow).unwrap();
    std::fs::write(
        folder.path().join("effect.rego"),
        "package defenseclaw.effect\n\nfindings := set()\n",
    )
    .unwrap();
    let policy = Policy::from_dir(folder.path()).unwrap();
    let started = Instant::now();
    assert!(matches!(
        ask_about(&policy, "/x"),
        Err(PolicyError::Evaluation { .. })
    ));
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    let huge = ask_about(&Policy::embedded().unwrap(), &"x".repeat(3 << 20));
    assert!(matches!(huge, Err(PolicyError::InputTooLarge)));
}

#[test]
fn one_policy_answers_many_threads() {
    let policy = Policy::embedded().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let policy = policy.clone();
            scope.spawn(move || {
                for round in 0..50 {
                    let path = format!("/home/u/{thread}/{round}");
                    let decision = ask_about(&policy, &path).unwrap();
                    assert_eq!(decision.verdict, Verdict::Deny);
                    assert_eq!(decision.findings[0].evidence, [path]);
                    assert!(decision.would_block());
                }
            });
        }
    });
}
