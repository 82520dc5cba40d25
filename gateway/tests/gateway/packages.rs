//! Packages that calls would install, with a worker that a test plays: what is asked of it, what its outcomes come to at the hook, what
//! is remembered, recorded and told.

use std::fs;

use defenseclaw_model::config::InstallFetch;
use defenseclaw_model::package::PackageState;
use defenseclaw_model::record::RecordBody;
use serde_json::{Value, json};

use crate::world::World;

/// The embedded policy, and calls that wait as long as a test does.
const SCAN: &str = "mode: action\ninstalls: { fetch: scan, timeout_ms: 15000";

/// A gateway whose worker keeps what it was asked in `tasks`, waits while `hold` is there, and says what `outcome` holds.
fn world(config: &str) -> World {
    let mut world = World::prepare("");
    fs::write(world.path("config.yaml"), config).unwrap();
    let here = |name: &str| world.path(name).display().to_string();
    let script = format!(
        "#!/bin/sh\ncat >> {0}\necho >> {0}\nwhile [ -e {1} ]; do sleep 0.05; done\ncat {2}\n",
        here("tasks"),
        here("hold"),
        here("outcome")
    );
    world.beside_tool(&script);
    world.start_gateway();
    world
}

fn release(integrity: &str) -> Value {
    json!({"version": "1.0.0", "integrity": integrity, "url": "https://h.example/quuxpad-1.0.0.tgz"})
}

/// What the worker says from now on: it was scanned, with a finding of that severity.
fn scans(world: &World, integrity: &str, severity: &str) {
    let findings = match severity {
        "NONE" => json!([]),
        _ => {
            json!([{"rule": "package.runs-at-install", "category": "command-execution", "severity": severity, "confidence": 90,
            "file": "x.tgz!/package/package.json", "line": 1, "message": "It sends keys away when it is installed"}])
        }
    };
    let report = json!({"kind": "code", "name": "quuxpad", "target": "npm:quuxpad", "digest": "", "files": 1, "bytes": 9,
        "findings": findings, "verdict": {"severity": severity, "confidence": 90}});
    says(
        world,
        &json!({"outcome": "scanned", "release": release(integrity), "report": report}),
    );
}

fn fails(world: &World, why: &str) {
    says(
        world,
        &json!({"outcome": "failed", "why": why, "reason": "h.example did not answer"}),
    );
}

fn says(world: &World, outcome: &Value) {
    fs::write(world.path("outcome"), outcome.to_string()).unwrap();
}

fn tasks(world: &World) -> Vec<Value> {
    let text = fs::read_to_string(world.path("tasks")).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What was recorded of packages: state, checksum, findings.
fn recorded(world: &World) -> Vec<(PackageState, String, u64)> {
    let records = world.records().into_iter();
    let packages = records.filter_map(|record| match record.draft.body {
        RecordBody::Package {
            state,
            release,
            findings,
            ..
        } => Some((state, release.unwrap_or_default().integrity, findings)),
        _ => None,
    });
    packages.collect()
}

/// Rules of what the policy found in calls.
fn objections(world: &World) -> Vec<String> {
    let records = world.records().into_iter();
    let decided = records.filter_map(|record| match record.draft.body {
        RecordBody::ToolCall { decision, .. } => Some(decision.findings),
        _ => None,
    });
    decided.flatten().map(|finding| finding.rule).collect()
}

#[test]
fn a_clean_package_passes_and_its_twin_is_refused_with_version_and_checksum() {
    let world = world(&format!("{SCAN} }}"));
    scans(&world, "sha512-AAAA", "NONE");
    assert!(world.bash("c1", "npm install quuxpad@1.0.0").is_silence());
    assert_eq!(tasks(&world)[0]["package"], "npm:quuxpad@1.0.0");
    assert_eq!(
        recorded(&world),
        [(PackageState::Scanned, "sha512-AAAA".to_owned(), 0)]
    );
    let status = world.status().packages.unwrap();
    assert_eq!(
        (status.fetch, status.scanned, status.pending),
        (InstallFetch::Scan, 1, 0)
    );

    scans(&world, "sha512-BBBB", "CRITICAL");
    let answer = world.bash("c2", "uvx quuxpad==1.0.0");
    assert!(answer.is_denied());
    let reason = answer.permission().1;
    assert!(reason.contains("pypi:quuxpad 1.0.0 (sha512-BBBB)"), "{reason}");
    assert!(reason.contains("It sends keys away"), "{reason}");
    assert_eq!(recorded(&world).len(), 2);
    let found = world.records().into_iter().any(|record| {
        matches!(record.draft.body, RecordBody::Finding { finding, about_seq: Some(_) } if finding.rule == "package.runs-at-install")
    });
    assert!(found, "what was found is in the ledger");
    assert_eq!(world.status().packages.unwrap().found, 1);
}

#[test]
fn a_call_that_leaves_the_version_open_is_told_which_was_scanned() {
    let world = world(&format!("{SCAN} }}"));
    scans(&world, "sha512-AAAA", "NONE");
    assert!(world.bash("c1", "npm install quuxpad").is_silence());
    assert!(
        objections(&world).contains(&"install.open-version".to_owned()),
        "{:?}",
        objections(&world)
    );
    // What would not take the version that was scanned has not been looked at.
    let answer = world.bash("c2", "npm install 'quuxpad@^2.0.0'");
    let (verdict, reason) = answer.permission();
    assert_eq!(verdict, "ask", "{reason}");
    assert!(reason.contains("npm:quuxpad 1.0.0 (sha512-AAAA)"), "{reason}");
    // And a server that is added from it is asked about with what is known of it.
    let (verdict, reason) = world
        .bash("c3", "claude mcp add q -- npx -y quuxpad")
        .permission();
    assert_eq!(verdict, "ask");
    assert!(
        reason.contains("npm:quuxpad 1.0.0 (sha512-AAAA), worst finding NONE"),
        "{reason}"
    );
    assert_eq!(tasks(&world).len(), 1, "one name, one registry's word");
}

#[test]
fn who_cannot_wait_is_asked_and_passes_when_the_scan_is_done() {
    let world = world("mode: action\ninstalls: { fetch: scan, timeout_ms: 50 }");
    scans(&world, "sha512-AAAA", "NONE");
    fs::write(world.path("hold"), "").unwrap();
    let (verdict, reason) = world.bash("c1", "npm install quuxpad@1.0.0").permission();
    assert_eq!(verdict, "ask");
    assert!(reason.contains("npm:quuxpad is still being fetched"), "{reason}");
    assert!(reason.contains("audit query --kind package"), "{reason}");
    assert_eq!(world.status().packages.unwrap().pending, 1);
    fs::remove_file(world.path("hold")).unwrap();
    world.until("the scan is done", |world| recorded(world).len() == 1);
    world.until("nothing waits", |world| {
        world.status().packages.unwrap().pending == 0
    });
    assert!(world.bash("c2", "npm install quuxpad@1.0.0").is_silence());
    assert_eq!(tasks(&world).len(), 1);
}

#[test]
fn what_a_registry_gives_later_is_another_package_under_the_same_name() {
    let world = world(&format!("{SCAN}, fresh_s: 0 }}"));
    scans(&world, "sha512-AAAA", "NONE");
    assert!(world.bash("c1", "npm install quuxpad@1.0.0").is_silence());
    // The twin: the registry says the same again, and nothing is fetched.
    says(
        &world,
        &json!({"outcome": "known", "release": release("sha512-AAAA")}),
    );
    assert!(world.bash("c2", "npm install quuxpad@1.0.0").is_silence());
    assert_eq!(tasks(&world)[1]["known"], json!(["sha512-AAAA"]));
    assert_eq!(recorded(&world).len(), 1, "the same word again is no news");
    scans(&world, "sha512-BBBB", "CRITICAL");
    let answer = world.bash("c3", "npm install quuxpad@1.0.0");
    assert!(answer.is_denied());
    assert!(answer.permission().1.contains("sha512-BBBB"));
    // A worker that claims to know what nobody scanned is not believed.
    says(
        &world,
        &json!({"outcome": "known", "release": release("sha512-CCCC")}),
    );
    let (verdict, reason) = world.bash("c4", "npm install quuxpad@1.0.0").permission();
    assert_eq!(verdict, "ask", "{reason}");
}

#[test]
fn a_registry_that_cannot_be_reached_is_answered_as_configured() {
    for (config, expected) in [
        ("", "ask"),
        (", unreachable: deny", "deny"),
        (", unreachable: allow", ""),
    ] {
        let world = world(&format!("{SCAN}{config} }}"));
        fails(&world, "unreachable");
        let answer = world.bash("c1", "npm install quuxpad@1.0.0");
        if expected.is_empty() {
            assert!(answer.is_silence(), "{answer:?}");
        } else {
            let (verdict, reason) = answer.permission();
            assert_eq!(verdict, expected, "{reason}");
            assert!(reason.contains("h.example did not answer"), "{reason}");
        }
        assert!(objections(&world).contains(&"install.unreachable".to_owned()));
        let status = world.status().packages.unwrap();
        assert_eq!(status.failed, 1);
        assert!(status.last_failure.contains("did not answer"), "{status:?}");
    }
}

#[test]
fn a_report_that_no_scanner_writes_is_none() {
    let world = world(&format!("{SCAN} }}"));
    let report = json!({"kind": "code", "name": "quuxpad", "target": "", "digest": "", "files": 1, "bytes": 9,
        "findings": [{"rule": "<b>", "category": "x", "severity": "LOW", "confidence": 1, "file": "", "message": ""}],
        "verdict": {"severity": "LOW", "confidence": 1}});
    says(
        &world,
        &json!({"outcome": "scanned", "release": release("sha512-AAAA"), "report": report}),
    );
    assert_eq!(
        world.bash("c1", "npm install quuxpad@1.0.0").permission().0,
        "ask"
    );
    assert_eq!(recorded(&world)[0].0, PackageState::Unscanned);
}

#[test]
fn no_registry_is_asked_for_what_is_refused_anyway_or_comes_from_elsewhere() {
    let world = world(&format!("{SCAN} }}"));
    scans(&world, "sha512-AAAA", "NONE");
    assert!(world.bash("c1", "npm install expresss").is_denied());
    let (verdict, reason) = world
        .bash("c2", "npm install quuxpad --registry https://collect.example/")
        .permission();
    assert_eq!(verdict, "ask");
    assert!(reason.contains("another registry"), "{reason}");
    assert!(world.bash("c3", "ls -la").is_silence());
    assert!(tasks(&world).is_empty());
}

#[test]
fn nothing_is_fetched_unless_somebody_wants_it() {
    let world = world("mode: action");
    assert!(world.bash("c1", "npm install quuxpad@1.0.0").is_silence());
    assert!(tasks(&world).is_empty() && recorded(&world).is_empty());
    assert_eq!(world.status().packages.unwrap().fetch, InstallFetch::Off);
}
