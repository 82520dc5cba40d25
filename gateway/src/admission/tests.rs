//! Questions answered with the real policy, hostile reports among them.

mod claims;

use std::fs;

use defenseclaw_artifact::{Identity, Manifest, SignerKey, sign, signature_path, write_signature};
use defenseclaw_audit::{Ledger, Query, Reader};
use defenseclaw_model::admission::ArtifactKind;
use defenseclaw_model::gate::{GateScan, GatedArtifact, ListName, WORKER_REPORT};
use defenseclaw_policy::Policy;
use serde_json::{Value, json};

use super::judge::{MAX_FINDINGS, judge};
use super::*;

const DIGEST: &str = "sha256:0101010101010101010101010101010101010101010101010101010101010101";

fn artifact() -> GatedArtifact {
    GatedArtifact {
        kind: ArtifactKind::Skill,
        connector: "claude-code".to_owned(),
        name: "pdf-forms".to_owned(),
        path: "/h/.claude/skills/pdf-forms".to_owned(),
        digest: DIGEST.to_owned(),
        uid: 1000,
        files: 2,
        bytes: 40,
    }
}

fn question(scan: GateScan) -> GateQuestion {
    GateQuestion {
        artifact: artifact(),
        session: None,
        opener: "/usr/bin/node".to_owned(),
        scan,
        scan_ms: 3,
    }
}

fn finding(severity: &str, rule: &str) -> Value {
    json!({"rule": rule, "category": "exfiltration", "severity": severity, "confidence": 90, "file": "SKILL.md", "line": 3,
           "message": "it sends credentials away", "evidence": "curl", "remedy": "Do not use it"})
}

fn report(findings: &[Value]) -> Value {
    json!({"kind": "skill", "name": "pdf-forms", "version": "1.0", "target": "/h", "digest": DIGEST, "files": 2, "bytes": 40,
           "findings": findings, "verdict": {"severity": findings.first().map_or("NONE", |f| f["severity"].as_str().unwrap()),
                                             "confidence": 90}})
}

fn setting(policy: &Policy, fail_mode: FailMode) -> Setting<'_> {
    Setting {
        policy,
        enforced: true,
        fail_mode,
        now_ns: 1_000,
    }
}

/// The answer to a report under the built-in policy.
fn answer(report: &Value) -> Judged {
    let policy = Policy::embedded().unwrap();
    let scan = GateScan::Report {
        json: report.to_string(),
    };
    judge(&setting(&policy, FailMode::Open), &question(scan))
}

#[test]
fn what_the_scan_found_decides_and_the_worst_is_told() {
    let clean = answer(&report(&[]));
    assert_eq!(
        (clean.answer.action, clean.answer.severity),
        (AdmissionAction::Allow, Severity::None)
    );
    let low = answer(&report(&[finding("LOW", "skill.low")]));
    assert_eq!(low.answer.action, AdmissionAction::Warn);
    let mut many: Vec<Value> = (0..30)
        .map(|n| finding("MEDIUM", &format!("skill.m{n}")))
        .collect();
    many.push(finding("HIGH", "skill.exfil"));
    let mut said = report(&many);
    said["verdict"]["severity"] = json!("LOW");
    let high = answer(&said);
    assert_eq!(
        (high.answer.action, high.answer.severity),
        (AdmissionAction::Block, Severity::High)
    );
    assert_eq!(
        (high.answer.rules.len(), high.findings.len()),
        (MAX_FINDINGS, MAX_FINDINGS)
    );
    assert_eq!(
        (high.answer.rules[0].as_str(), &high.findings[0].evidence[0]),
        ("skill.exfil", &"SKILL.md:3".to_owned())
    );
    assert!(high.answer.enforced && high.signed_by.is_none());
}

#[test]
fn a_report_that_does_not_fit_is_refused_whatever_it_says_and_whatever_the_fail_mode() {
    let with = |key: &str, value: Value| {
        let mut report = report(&[finding("LOW", "skill.low")]);
        report[key] = value;
        report.to_string()
    };
    let odd = |key: &str, value: Value| {
        let mut found = finding("LOW", "skill.low");
        found[key] = value;
        report(&[found]).to_string()
    };
    let cases = [
        (with("digest", json!(DIGEST.replace('1', "2"))), "other content"),
        (with("digest", json!("")), "other content"),
        (with("kind", json!("mcp")), "something else: a mcp"),
        (with("kind", json!("code")), "something else: a code"),
        (
            with("verdict", json!({"severity": "HIGH", "confidence": 1})),
            "bears out",
        ),
        (
            with("findings", json!(vec![finding("LOW", "a.b"); 501])),
            "more findings",
        ),
        (odd("rule", json!("\u{1b}[2J")), "proper name"),
        (odd("rule", json!("")), "proper name"),
        (odd("category", json!("a b")), "proper name"),
        (odd("confidence", json!(101)), "proper name"),
        (odd("severity", json!("FATAL")), "not understood"),
        ("[]".to_owned(), "not understood"),
        ("[".repeat(100_000), "not understood"),
        (" ".repeat(WORKER_REPORT + 1), "bytes"),
    ];
    let policy = Policy::embedded().unwrap();
    for (json, said) in cases {
        let judged = judge(
            &setting(&policy, FailMode::Open),
            &question(GateScan::Report { json }),
        );
        assert_eq!(judged.answer.action, AdmissionAction::Block, "{said}");
        assert!(
            judged.answer.reason.contains(said),
            "{said}: {}",
            judged.answer.reason
        );
        assert!(judged.answer.reason.len() <= 1_000);
    }
}

#[test]
fn texts_of_a_report_are_masked_and_cut() {
    let mut found = finding("LOW", "skill.low");
    // Not a real key; of the form that the masks know.
    let key = format!("ghp_{}", "A1b2".repeat(9));
    found["message"] = json!(format!("key {key} {}", "x y ".repeat(2_000)));
    let judged = answer(&report(&[found]));
    let message = &judged.findings[0].message;
    assert!(message.len() < 700, "{}", message.len());
    assert!(!message.contains(&key), "{message}");
}

#[test]
fn without_a_scan_the_fail_mode_answers_and_lists_still_count() {
    let policy = Policy::embedded().unwrap();
    let failed = || {
        question(GateScan::Failed {
            reason: "the scanner ran out of time.".to_owned(),
        })
    };
    let closed = judge(&setting(&policy, FailMode::Closed), &failed());
    assert_eq!(closed.answer.action, AdmissionAction::Block);
    assert_eq!(
        closed.answer.reason,
        "It could not be scanned: the scanner ran out of time. The gate's fail mode (closed) refuses it."
    );
    assert_eq!(closed.unscanned.as_deref(), Some("the scanner ran out of time."));
    let open = judge(&setting(&policy, FailMode::Open), &failed());
    assert_eq!(open.answer.action, AdmissionAction::Warn);
    let entry = |list, name: Option<&str>, digest: Option<&str>| ListEntry {
        id: "l-1".to_owned(),
        list,
        kind: Some(ArtifactKind::Skill),
        name: name.map(str::to_owned),
        digest: digest.map(str::to_owned),
        owner: "ana".to_owned(),
        reason: "r".to_owned(),
        expires_ns: Some(5_000),
        added_ns: 1,
        by_uid: 0,
    };
    let listed = |entry| policy.relisted(&[entry]).unwrap();
    let allowed = listed(entry(ListName::Allow, None, Some(DIGEST)));
    assert_eq!(
        judge(&setting(&allowed, FailMode::Closed), &failed())
            .answer
            .action,
        AdmissionAction::Allow
    );
    // A name is not these bytes.
    let named = listed(entry(ListName::Allow, Some("pdf-forms"), None));
    assert_eq!(
        judge(&setting(&named, FailMode::Closed), &failed()).answer.action,
        AdmissionAction::Block
    );
    let blocked = listed(entry(ListName::Block, Some("PDF-*"), None));
    let refused = judge(&setting(&blocked, FailMode::Open), &failed());
    assert_eq!(refused.answer.action, AdmissionAction::Block);
    assert!(
        refused.answer.reason.contains("block list of ana"),
        "{}",
        refused.answer.reason
    );
    // It may claim another name than that of its folder.
    let mut scan = report(&[]);
    scan["name"] = json!("harmless");
    let claims = |name: &str| {
        let policy = listed(entry(ListName::Block, Some(name), None));
        let scan = GateScan::Report {
            json: scan.to_string(),
        };
        judge(&setting(&policy, FailMode::Open), &question(scan))
            .answer
            .action
    };
    assert_eq!(
        (claims("harmless"), claims("pdf-forms")),
        (AdmissionAction::Block, AdmissionAction::Block)
    );
    assert_eq!(claims("other"), AdmissionAction::Allow);
}

#[test]
fn a_signature_counts_only_over_these_bytes_by_a_trusted_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pdf-forms");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("SKILL.md"), "# Forms\n").unwrap();
    let key = SignerKey::generate("acme").unwrap();
    let identity = Identity {
        kind: ArtifactKind::Skill,
        name: "pdf-forms".to_owned(),
        version: Some("1.4.0".to_owned()),
    };
    let signature = sign(&path, &identity, &key).unwrap();
    write_signature(&signature, &signature_path(&path)).unwrap();
    let text = fs::read_to_string(signature_path(&path)).unwrap();
    let digest = Manifest::of(&path).unwrap().digest().to_owned();
    let policies = folder.path().join("policies");
    fs::create_dir(&policies).unwrap();
    let lists = format!(
        "version: 1\ntrust:\n  signers:\n    acme: {{ public_key: \"{}\", auto_allow_up_to: MEDIUM, owner: o, reason: r }}\n",
        key.public_key()
    );
    fs::write(policies.join("lists.yaml"), lists).unwrap();
    let policy = Policy::load(Some(&policies), "rules").unwrap();
    let ask = |name: &str, real: &str, text: Option<&str>| {
        let mut said = report(&[finding("MEDIUM", "skill.medium")]);
        said["digest"] = json!(real);
        said["signature"] = json!(text);
        let mut question = question(GateScan::Report {
            json: said.to_string(),
        });
        question.artifact.digest = real.to_owned();
        question.artifact.name = name.to_owned();
        let judged = judge(&setting(&policy, FailMode::Closed), &question);
        (judged.answer.action, judged.signed_by)
    };
    let acme = Some("acme".to_owned());
    assert_eq!(
        ask("pdf-forms", &digest, Some(&text)),
        (AdmissionAction::Allow, acme)
    );
    let not = (AdmissionAction::Warn, None);
    assert_eq!(ask("pdf-forms", &digest, None), not);
    assert_eq!(ask("pdf-forms", DIGEST, Some(&text)), not, "other bytes");
    assert_eq!(ask("pdf", &digest, Some(&text)), not, "another name");
    assert_eq!(
        ask("pdf-forms", &digest, Some(&text.replace("acme", "corp"))),
        not
    );
    assert_eq!(
        ask("pdf-forms", &digest, Some(&text.replace("1.4.0", "1.4.1"))),
        not
    );
    assert_eq!(ask("pdf-forms", &digest, Some("{}")), not);
}

fn config(text: &str, state: &std::path::Path) -> Config {
    let mut config = Config::from_yaml(std::path::Path::new("c.yaml"), text).unwrap();
    config.state = state.to_owned();
    config
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// The ledger's writer and its end.
struct Writer(LedgerWriter, crate::ledger_writer::Ended);

impl Writer {
    /// The next gateway can open the ledger.
    async fn close(self) {
        self.0.stop().await;
        let _ = self.1.await;
    }
}

fn admissions(config: &Config) -> (Admissions, Writer) {
    let ledger = Ledger::open(&config.ledger(), config.durability).unwrap();
    let (ledger, ended) = LedgerWriter::start(ledger, config.durability).unwrap();
    let kept = lists::load(&config.state.join(lists::FILE)).unwrap();
    let rules = Arc::new(RulesInForce::start_with(None, kept).unwrap());
    let admissions = Admissions::start(config, rules, ledger.clone(), Arc::default()).unwrap();
    (admissions, Writer(ledger, ended))
}

fn high() -> GateQuestion {
    let json = report(&[finding("HIGH", "skill.exfil"), finding("LOW", "skill.low")]).to_string();
    question(GateScan::Report { json })
}

#[test]
fn an_answer_is_recorded_with_its_findings_and_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("mode: action\n", folder.path());
    runtime().block_on(async {
        let (admissions, ledger) = admissions(&config);
        let answer = admissions.admit(high()).await;
        assert_eq!((answer.action, answer.enforced), (AdmissionAction::Block, true));
        assert_eq!(admissions.refused()[0].name, "pdf-forms");
        let status = admissions.status();
        assert_eq!(
            (status.blocked, status.blocked_paths, status.tier),
            (1, 1, Tier::None)
        );
        ledger.close().await;
    });
    let records = Reader::open(&config.ledger())
        .unwrap()
        .query(&Query::default())
        .unwrap();
    let about: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.draft.body {
            RecordBody::Finding { finding, about_seq } => Some((finding.rule.as_str(), *about_seq)),
            _ => None,
        })
        .collect();
    assert_eq!(about, [("skill.exfil", Some(1)), ("skill.low", Some(1))]);
    assert_eq!(records[0].draft.severity(), Severity::High);
    runtime().block_on(async {
        let (admissions, _ledger) = admissions(&config);
        assert_eq!(admissions.artifacts()[0].artifact.path, artifact().path);
        assert_eq!(admissions.refused().len(), 1);
    });
}

#[test]
fn what_cannot_be_recorded_is_answered_by_fail_mode_and_a_refusal_stands() {
    let clean = || {
        question(GateScan::Report {
            json: report(&[]).to_string(),
        })
    };
    for (text, expected) in [
        ("mode: action\n", AdmissionAction::Block),
        ("mode: action\nfail_mode: open\n", AdmissionAction::Warn),
        (
            "mode: action\nfail_mode: open\ngate: { fail_mode: closed }\n",
            AdmissionAction::Block,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = config(text, folder.path());
        runtime().block_on(async {
            let (admissions, ledger) = admissions(&config);
            assert_eq!(admissions.admit(clean()).await.action, AdmissionAction::Allow);
            ledger.0.stop().await;
            let answer = admissions.admit(clean()).await;
            assert_eq!(answer.action, expected, "{text}");
            assert!(
                answer.reason.contains("could not be recorded"),
                "{}",
                answer.reason
            );
            assert_eq!(admissions.admit(high()).await.action, AdmissionAction::Block);
        });
    }
}

#[test]
fn lists_change_what_is_admitted_and_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("mode: observe\n", folder.path());
    let allow = || ListVerb::Add {
        list: ListName::Allow,
        kind: None,
        name: None,
        digest: Some(DIGEST.to_owned()),
        reason: "read in full".to_owned(),
        for_s: None,
    };
    let id = runtime().block_on(async {
        let (admissions, ledger) = admissions(&config);
        assert!(!admissions.admit(high()).await.enforced, "it only observes");
        let entry = admissions.change_lists(allow(), 0).await.unwrap();
        assert_eq!(entry.owner, "user root");
        assert!(
            admissions.refused().is_empty(),
            "what was refused before is open again"
        );
        let answer = admissions.admit(high()).await;
        assert_eq!(answer.action, AdmissionAction::Allow);
        assert!(answer.reason.contains("user root") && answer.reason.contains("read in full"));
        let bad = ListVerb::Add {
            list: ListName::Block,
            kind: Some(ArtifactKind::Skill),
            name: Some("*".to_owned()),
            digest: None,
            reason: "r".to_owned(),
            for_s: None,
        };
        let refused = admissions.change_lists(bad, 0).await.unwrap_err();
        assert!(refused.to_string().contains("fits everything"), "{refused}");
        assert_eq!(admissions.listed().len(), 1);
        ledger.close().await;
        entry.id
    });
    runtime().block_on(async {
        let (admissions, _ledger) = admissions(&config);
        assert_eq!(admissions.admit(high()).await.action, AdmissionAction::Allow);
        admissions.change_lists(ListVerb::Forget { id }, 7).await.unwrap();
        assert_eq!(admissions.admit(high()).await.action, AdmissionAction::Block);
    });
    let records = Reader::open(&config.ledger())
        .unwrap()
        .query(&Query::default())
        .unwrap();
    let changes: Vec<_> = records
        .into_iter()
        .filter_map(|record| match record.draft.body {
            RecordBody::ListChange {
                list, state, by_uid, ..
            } => Some((list, state, by_uid)),
            _ => None,
        })
        .collect();
    assert_eq!(
        changes,
        [
            ("allow".to_owned(), "added".to_owned(), Some(0)),
            ("allow".to_owned(), "removed".to_owned(), Some(7)),
        ]
    );
}
