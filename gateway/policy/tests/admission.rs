//! Admission through the engine: the contract, the operator's lists and trust, folders of one's own, and the older syntax.

#![cfg(test)]

use std::path::{Path, PathBuf};

use defenseclaw_model::admission::{AdmissionAction, AdmissionInput, ArtifactKind, ScannerVerdict, Trust};
use defenseclaw_model::decision::Severity;
use defenseclaw_policy::{Policy, PolicyError, run_embedded_rego_tests, run_rego_tests};
use serde_json::{Value, json};
use tempfile::TempDir;

const NOW: u64 = 1_800_000_000_000_000_000;
const DIGEST: &str = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// A key of RFC 8032's examples.
const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn artifact(kind: ArtifactKind, severity: Severity, findings: Vec<Value>) -> AdmissionInput {
    AdmissionInput {
        kind,
        name: "pdf-forms".to_owned(),
        version: Some("1.4.0".to_owned()),
        scanner_verdict: ScannerVerdict {
            severity,
            findings,
            confidence: 90.0,
        },
        trust: Trust::default(),
        digest: Some(DIGEST.to_owned()),
        now_ns: Some(NOW),
    }
}

fn skill(severity: Severity) -> AdmissionInput {
    let findings = if severity == Severity::None {
        vec![]
    } else {
        vec![json!("x")]
    };
    artifact(ArtifactKind::Skill, severity, findings)
}

/// A folder as `policies` names it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("rego")).unwrap();
        Self(folder)
    }

    /// One with a copy of our own Rego.
    fn of_ours() -> Self {
        let folder = Self::new();
        for entry in std::fs::read_dir(rego()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.rego().join(path.file_name().unwrap())).unwrap();
        }
        folder
    }

    fn with_lists(lists: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("lists.yaml"), format!("version: 1\n{lists}")).unwrap();
        Self(folder)
    }

    fn rego(&self) -> PathBuf {
        self.0.path().join("rego")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.rego().join(name), text).unwrap();
    }

    fn load(&self) -> Result<Policy, PolicyError> {
        Policy::load(Some(self.0.path()), "rules")
    }

    fn answer(&self, input: &AdmissionInput) -> AdmissionAction {
        self.load().unwrap().admit(input).unwrap().action
    }
}

fn rego() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/rego"))
}

#[test]
fn every_kind_and_severity_answers_as_the_contract_says() {
    let policy = Policy::embedded().unwrap();
    for kind in ArtifactKind::ALL {
        let ask = |severity, findings| {
            let admission = policy.admit(&artifact(kind, severity, findings)).unwrap();
            assert_eq!(admission.policy, policy.revision());
            (admission.action, admission.reason)
        };
        let found = || {
            vec![
                json!("reads keys"),
                json!({"rule": "skill.exfiltration", "severity": "LOW", "line": 4}),
            ]
        };
        assert_eq!(ask(Severity::None, vec![]).0, AdmissionAction::Allow);
        assert_eq!(
            ask(Severity::Low, found()),
            (
                AdmissionAction::Warn,
                r#"low finding: ["reads keys", "skill.exfiltration"]"#.to_owned()
            )
        );
        assert_eq!(
            ask(Severity::Medium, found()),
            (
                AdmissionAction::Warn,
                r#"medium finding: ["reads keys", "skill.exfiltration"]"#.to_owned()
            )
        );
        assert_eq!(
            ask(Severity::High, found()),
            (
                AdmissionAction::Block,
                r#"HIGH: ["reads keys", "skill.exfiltration"]"#.to_owned()
            )
        );
        assert_eq!(
            ask(Severity::Critical, found()),
            (AdmissionAction::Block, "critical finding".to_owned())
        );
    }
}

#[test]
fn what_is_malformed_is_answered_with_the_default() {
    let policy = Policy::embedded().unwrap();
    let good = serde_json::to_value(skill(Severity::None)).unwrap();
    assert_eq!(policy.admit_json(&good).unwrap().action, AdmissionAction::Allow);
    type Break = fn(&mut Value);
    let breaks: [Break; 10] = [
        |input| input["kind"] = json!("agent"),
        |input| input["scanner_verdict"]["severity"] = json!("none"),
        |input| input["scanner_verdict"]["findings"] = json!(["x"]),
        |input| input["scanner_verdict"]["findings"] = json!([7]),
        |input| input["scanner_verdict"]["findings"] = Value::Null,
        |input| input["scanner_verdict"] = Value::Null,
        |input| input["trust"] = json!("acme"),
        |input| input["name"] = json!(7),
        |input| *input = json!([]),
        |input| *input = json!("NONE"),
    ];
    for (number, change) in breaks.into_iter().enumerate() {
        let mut input = good.clone();
        change(&mut input);
        let admission = policy.admit_json(&input).unwrap();
        assert_eq!(
            (admission.action, admission.reason.as_str()),
            (AdmissionAction::Block, "no match"),
            "{number}"
        );
    }
}

#[test]
fn an_answer_of_another_form_is_none() {
    for answer in [
        r#"{"action": "permit", "reason": "r"}"#,
        r#"{"action": "allow"}"#,
        r#"{"action": "allow", "reason": ""}"#,
        r#"{"action": "allow", "reason": 3}"#,
        r#"{"action": "allow", "reason": "r", "also": 1}"#,
        r#""allow""#,
        "true",
    ] {
        let folder = Folder::of_ours();
        folder.write(
            "admission.rego",
            &format!("package admission\n\nweighed := 1\n\ndecision := {answer}\n"),
        );
        let error = folder.load().unwrap().admit(&skill(Severity::None)).unwrap_err();
        assert!(matches!(error, PolicyError::Answer { .. }), "{answer}: {error}");
    }
    let folder = Folder::of_ours();
    folder.write(
        "admission.rego",
        "package admission\n\nweighed := 1\n\ndecision := {\"action\": \"allow\", \"reason\": \"r\"} if input.kind == \"mcp\"\n",
    );
    let policy = folder.load().unwrap();
    assert!(
        matches!(
            policy.admit(&skill(Severity::None)),
            Err(PolicyError::Answer { .. })
        ),
        "undefined"
    );
    assert!(
        policy
            .admit(&artifact(ArtifactKind::Mcp, Severity::None, vec![]))
            .is_ok()
    );
}

#[test]
fn signers_and_origins_of_the_operator_s_data_are_trusted() {
    let folder = Folder::new();
    folder.write(
        "data.json",
        r#"{"trust": {"signers": {"acme": {"auto_allow_up_to": "HIGH"}}, "origins": {}}}"#,
    );
    let mut signed = skill(Severity::High);
    assert_eq!(folder.answer(&signed), AdmissionAction::Block);
    signed.trust.signed_by = Some("acme".to_owned());
    assert_eq!(folder.answer(&signed), AdmissionAction::Allow);
    signed.scanner_verdict.severity = Severity::Critical;
    assert_eq!(folder.answer(&signed), AdmissionAction::Block);
    // The rest of the data stayed built in.
    let risk = |policy: &Policy| format!("{:?}", policy.risk());
    assert_eq!(risk(&folder.load().unwrap()), risk(&Policy::embedded().unwrap()));
}

#[test]
fn lists_yaml_says_who_is_trusted_and_what_is_listed() {
    let folder = Folder::with_lists(&format!(
        "trust:\n  signers:\n    acme: {{ public_key: '{KEY}', auto_allow_up_to: MEDIUM, owner: o, reason: r }}\n\
         artifacts:\n  block:\n    - {{ kind: mcp, name: 'bad*', owner: o, reason: r }}\n  allow:\n    \
         - {{ kind: skill, digest: '{DIGEST}', owner: o, reason: r, expires: 2099-01-01 }}\n    \
         - {{ kind: tool, name: pdf-forms, owner: o, reason: r, expires: 2026-01-01 }}\n"
    ));
    let policy = folder.load().unwrap();
    assert_eq!(policy.trusted_keys().ids().collect::<Vec<_>>(), ["acme"]);
    let ask = |input: &AdmissionInput| policy.admit(input).unwrap().action;
    // By digest, whatever was found; other content of the same name is not.
    assert_eq!(ask(&skill(Severity::Critical)), AdmissionAction::Allow);
    let changed = AdmissionInput {
        digest: None,
        ..skill(Severity::High)
    };
    assert_eq!(ask(&changed), AdmissionAction::Block);
    // By signer.
    let mut signed = artifact(ArtifactKind::Mcp, Severity::Medium, vec![json!("x")]);
    assert_eq!(ask(&signed), AdmissionAction::Warn);
    signed.trust.signed_by = Some("acme".to_owned());
    assert_eq!(ask(&signed), AdmissionAction::Allow);
    // Blocked, whoever signed it.
    signed.name = "bad-files".to_owned();
    assert_eq!(ask(&signed), AdmissionAction::Block);
    // Past its end an entry does nothing, and is told.
    assert_eq!(
        ask(&artifact(ArtifactKind::Tool, Severity::High, vec![])),
        AdmissionAction::Block
    );
    assert_eq!(policy.expired(NOW), ["artifacts.allow: tool, name pdf-forms"]);
}

#[test]
fn lists_and_trust_that_are_wrong_are_refused_and_named() {
    for (lists, named) in [
        (
            "artifacts:\n  allow:\n    - { kind: skill, name: x, owner: o, reason: r }\n",
            "artifacts.allow[0]",
        ),
        ("artifacts:\n  blocked: []\n", "blocked"),
        (
            "trust:\n  signers:\n    acme: { public_key: AAAA, owner: o, reason: r }\n",
            "trust.signers.acme",
        ),
        (
            "trust:\n  origins:\n    npm: { auto_allow_up_to: medium, owner: o, reason: r }\n",
            "medium",
        ),
        (
            "trust:\n  origins:\n    npm: { auto_allow_up_to: LOW, reason: r }\n",
            "owner",
        ),
    ] {
        let error = Folder::with_lists(lists).load().unwrap_err().to_string();
        assert!(error.contains(named), "{lists}: {error}");
    }
    let folder = Folder::new();
    folder.write(
        "data.json",
        r#"{"trust": {"signers": {"acme": {"auto_allow_up_to": "medium"}}}}"#,
    );
    let error = folder.load().unwrap_err().to_string();
    assert!(
        error.contains("trust.signers.acme") && error.contains("MEDIUM"),
        "{error}"
    );
}

#[test]
fn a_folder_without_admission_has_ours_and_one_with_it_has_its_own() {
    let folder = Folder::of_ours();
    for name in [
        "admission",
        "admission_mcp",
        "admission_plugin",
        "admission_skill",
        "admission_tool",
    ] {
        std::fs::remove_file(folder.rego().join(format!("{name}.rego"))).unwrap();
    }
    std::fs::remove_file(folder.rego().join("admission_test.rego")).unwrap();
    std::fs::remove_file(folder.rego().join("artifacts_test.rego")).unwrap();
    assert_eq!(folder.answer(&skill(Severity::Medium)), AdmissionAction::Warn);
    // One kind of one's own beside our rest.
    folder.write(
        "admission_skill.rego",
        "package admission_skill\n\ndecision := {\"action\": \"block\", \"reason\": \"no skills here\"}\n",
    );
    assert_eq!(folder.answer(&skill(Severity::None)), AdmissionAction::Block);
    assert_eq!(
        folder.answer(&artifact(ArtifactKind::Tool, Severity::None, vec![])),
        AdmissionAction::Allow
    );
    // All of one's own.
    folder.write("admission_skill.rego", "package other\n\nx := 1\n");
    folder.write(
        "admission.rego",
        "package admission\n\ndefault decision := {\"action\": \"warn\", \"reason\": \"all of it\"}\n",
    );
    assert_eq!(folder.answer(&skill(Severity::Critical)), AdmissionAction::Warn);
}

/// The same policy in the syntax before v1, in three ways of writing it.
#[test]
fn policies_in_the_older_syntax_load_and_answer() {
    let bodies = [
        "package admission\n\ndefault decision = {\"action\": \"block\", \"reason\": \"no match\"}\n\n\
         decision = {\"action\": \"allow\", \"reason\": \"old\"} { input.kind == \"skill\"; count(bad) == 0 }\n\n\
         bad[found] { found := input.scanner_verdict.findings[_] }\n",
        "package admission\n\nimport future.keywords.in\n\ndecision = {\"action\": \"allow\", \"reason\": \"old\"} {\n\
         \tinput.kind in [\"skill\"]\n\tcount(input.scanner_verdict.findings) == 0\n} else = {\"action\": \"block\", \"reason\": \"old\"} {\n\ttrue\n}\n",
        "package admission\n\nimport future.keywords\n\nallowed {\n\tevery found in input.scanner_verdict.findings { found == \"fine\" }\n}\n\n\
         decision := {\"action\": \"allow\", \"reason\": \"old\"} if allowed\n\n\
         decision := {\"action\": \"block\", \"reason\": \"old\"} if not allowed\n",
    ];
    for text in bodies {
        let folder = Folder::of_ours();
        for kind in ArtifactKind::ALL {
            std::fs::remove_file(folder.rego().join(format!("admission_{kind}.rego"))).unwrap();
        }
        folder.write("admission.rego", text);
        assert_eq!(
            folder.answer(&skill(Severity::None)),
            AdmissionAction::Allow,
            "{text}"
        );
        assert_eq!(
            folder.answer(&skill(Severity::High)),
            AdmissionAction::Block,
            "{text}"
        );
    }
}

#[test]
fn what_is_neither_old_nor_new_is_named_with_file_and_line() {
    let folder = Folder::of_ours();
    folder.write(
        "mine.rego",
        "package mine\n\nfine := 1\n\nbroken {\n\tinput.x ==\n}\n",
    );
    let error = folder.load().unwrap_err().to_string();
    assert!(
        error.contains("as Rego v1: mine.rego:5:8: ") && error.contains("older syntax: mine.rego:5:8: "),
        "{error}"
    );
    assert!(
        error.contains("as Rego v1: ") && error.contains("in the older syntax: "),
        "{error}"
    );
    // Who says that it is v1 is not asked about the older syntax.
    folder.write(
        "mine.rego",
        "package mine\n\nimport rego.v1\n\nbroken { input.x }\n",
    );
    let error = folder.load().unwrap_err().to_string();
    assert!(
        error.contains("mine.rego:5:") && !error.contains("older syntax"),
        "{error}"
    );
    folder.write("mine.rego", "package mine\n\nwhole { input.x }\n");
    folder.load().unwrap();
}

#[test]
fn every_branch_of_our_admission_is_tested() {
    let report = run_embedded_rego_tests().unwrap();
    assert!(report.failed.is_empty(), "{:#?}", report.failed);
    let required: Vec<_> = report.coverage.iter().filter(|file| file.required).collect();
    let names: Vec<_> = required.iter().map(|file| file.file.as_str()).collect();
    assert_eq!(
        names,
        [
            "admission.rego",
            "admission_mcp.rego",
            "admission_plugin.rego",
            "admission_skill.rego",
            "admission_tool.rego",
            "artifacts.rego"
        ]
    );
    for file in required {
        assert!(file.branches > 0 && file.missed.is_empty(), "{file:#?}");
    }
    assert!(report.is_good());
}

/// The twin: a clause that no test reaches fails, and so does one whose test is gone.
#[test]
fn a_branch_of_admission_without_a_test_is_named() {
    let folder = Folder::of_ours();
    assert!(run_rego_tests(&folder.rego()).unwrap().is_good());
    folder.write(
        "admission_mcp.rego",
        "package admission_mcp\n\nimport rego.v1\n\ndecision := data.admission.weighed\n\n\
         decision := {\"action\": \"block\", \"reason\": \"never\"} if input.name == \"never\"\n",
    );
    let report = run_rego_tests(&folder.rego()).unwrap();
    assert!(report.failed.is_empty() && !report.is_good());
    let missed: Vec<_> = report
        .coverage
        .iter()
        .filter(|file| file.required)
        .flat_map(|file| file.missed.iter().map(|missed| (file.file.as_str(), missed.line)))
        .collect();
    assert_eq!(missed, [("admission_mcp.rego", 7)]);
    let folder = Folder::of_ours();
    std::fs::remove_file(folder.rego().join("artifacts_test.rego")).unwrap();
    let report = run_rego_tests(&folder.rego()).unwrap();
    let lists = report
        .coverage
        .iter()
        .find(|file| file.file == "artifacts.rego")
        .unwrap();
    assert_eq!(lists.missed.len(), lists.branches);
    assert!(!report.is_good());
}
