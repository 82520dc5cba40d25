//! `audit tail`, `query`, `show`, `verify`, `export` through the real binary.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{self, Host, Teller, session, without_hashes};
use crate::story;
use defenseclaw_model::record::{Binding, RecordBody};

fn told() -> Host {
    let host = Host::new();
    story::tell(&host);
    host
}

#[test]
fn tail_prints_the_newest() {
    insta::assert_snapshot!("tail", told().run(&["audit", "tail"]).done());
    insta::assert_snapshot!(
        "tail_json",
        without_hashes(&told().run(&["audit", "tail", "-n", "2", "--json"]).done())
    );
    assert_eq!(told().run(&["audit", "tail", "-n", "0"]).done(), "");
}

#[test]
fn query_prints_what_matches() {
    let host = told();
    insta::assert_snapshot!(
        "query_severity",
        host.run(&["audit", "query", "--severity", "medium"]).done()
    );
    let kinds = host
        .run(&[
            "audit",
            "query",
            "--kind",
            "prompt,session_end",
            "--kind",
            "gap",
            "--session",
            "4f1c",
        ])
        .done();
    assert_eq!(kinds.lines().count(), 1 + 3, "{kinds}");
    let call = host
        .run(&["audit", "query", "--call", "toolu_edit", "--json"])
        .done();
    assert_eq!(call.lines().count(), 3, "{call}");
    let limited = host.run(&["audit", "query", "--limit", "4", "--json"]).done();
    assert!(
        limited.lines().count() == 4 && limited.contains("\"seq\":1,"),
        "the oldest first: {limited}"
    );
    let window = host
        .run(&[
            "audit",
            "query",
            "--since",
            "2026-11-21T10:00:06Z",
            "--until",
            "2026-11-21T09:00:07-01:00",
            "--json",
        ])
        .done();
    assert_eq!(window.lines().count(), 1, "{window}");
    assert_eq!(
        host.run(&["audit", "query", "--until", "2026-11-21T09:00"])
            .done(),
        "",
        "nothing matches"
    );
}

#[test]
fn export_is_every_record_as_one_line() {
    let host = told();
    let out = host.run(&["audit", "export", "--json"]).done();
    let records: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (i, record) in records.iter().enumerate() {
        assert_eq!(record["seq"], i as u64 + 1);
        assert!(record["time"].as_str().unwrap().ends_with('Z'), "{record}");
        // What the tool adds is the time alone: the rest reads back as the ledger's own type.
        serde_json::from_value::<defenseclaw_model::record::Record>(record.clone()).unwrap();
    }
    assert!(records.len() > 50);
    assert_eq!(
        host.run(&["audit", "export"]).done(),
        out,
        "JSON lines are the default"
    );
}

#[test]
fn more_records_than_a_page_come_whole_and_in_order() {
    let host = Host::new();
    let mut t = Teller::new(&host, session("many"));
    let draft = |i: u64| defenseclaw_model::record::Draft {
        time_ns: common::START + i,
        session: Some(session("many")),
        call: None,
        body: RecordBody::Prompt {
            text: format!("prompt {i}"),
        },
    };
    let drafts: Vec<_> = (0..2_500).map(draft).collect();
    t.ledger.append(&drafts).unwrap();
    let numbers = |arguments: &[&str]| -> Vec<u64> {
        let out = host.run(arguments).done();
        out.lines()
            .map(|l| {
                serde_json::from_str::<serde_json::Value>(l).unwrap()["seq"]
                    .as_u64()
                    .unwrap()
            })
            .collect()
    };
    assert!(numbers(&["audit", "export"]).into_iter().eq(1..=2_500));
    assert!(
        numbers(&["audit", "query", "--json", "--limit", "1001"])
            .into_iter()
            .eq(1..=1_001)
    );
    assert!(
        numbers(&["audit", "tail", "--json", "-n", "1500"])
            .into_iter()
            .eq(1_001..=2_500)
    );
}

#[test]
fn show_prints_one_record_whole() {
    let host = told();
    let read = host
        .run(&["audit", "query", "--kind", "activity", "--json"])
        .done();
    let line = read
        .lines()
        .find(|line| line.contains(".aws/credentials"))
        .unwrap();
    let seq = serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].to_string();
    insta::assert_snapshot!(
        "show_activity",
        without_hashes(&host.run(&["audit", "show", &seq]).done())
    );
    assert_eq!(
        host.run(&["audit", "show", &seq, "--json"]).done(),
        format!("{line}\n")
    );
    let denied = host
        .run(&["audit", "query", "--call", "toolu_denied", "--json"])
        .done();
    let seq = serde_json::from_str::<serde_json::Value>(&denied).unwrap()["seq"].to_string();
    insta::assert_snapshot!(
        "show_denied",
        without_hashes(&host.run(&["audit", "show", &seq]).done())
    );
    insta::assert_snapshot!("show_missing", host.run(&["audit", "show", "4000"]).whole());
}

#[test]
fn verify_says_what_it_checked_and_what_it_cannot() {
    let host = told();
    insta::assert_snapshot!("verify", without_hashes(&host.run(&["audit", "verify"]).done()));
    let json = host.run(&["audit", "verify", "--json"]).done();
    insta::assert_snapshot!("verify_json", without_hashes(&json));
    let head = &serde_json::from_str::<serde_json::Value>(&json).unwrap()["head"];
    let noted = format!("{}:{}", head["seq"], head["hash"].as_str().unwrap());
    insta::assert_snapshot!(
        "verify_head",
        without_hashes(&host.run(&["audit", "verify", "--head", &noted]).done())
    );
    let other = format!("3:{}", "ab".repeat(32));
    let rewritten = host.run(&["audit", "verify", "--head", &noted, "--head", &other]);
    assert_eq!(rewritten.status, 1, "{}", rewritten.out);
    assert!(rewritten.out.contains("record 3: "), "{}", rewritten.out);
    assert_eq!(host.run(&["audit", "verify", "--head", "3:xyz"]).status, 2);
}

#[test]
fn a_changed_byte_makes_the_chain_invalid() {
    let host = told();
    let file = host.ledger();
    // Without a writer the log is folded into the file, so the bytes are there to be changed.
    let mut bytes = std::fs::read(&file).unwrap();
    let needle = b"http://203.0.113.7/x.sh";
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, w)| w == needle)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "the command is in the file");
    for at in places {
        bytes[at + 10] = b'9';
    }
    std::fs::write(&file, bytes).unwrap();
    let answer = host.run(&["audit", "verify"]);
    assert_eq!(answer.status, 1, "{}", answer.whole());
    assert!(answer.out.contains("NOT VALID: 1 problem"), "{}", answer.out);
    insta::assert_snapshot!("verify_invalid", without_hashes(&answer.out));
    let json: serde_json::Value =
        serde_json::from_str(&host.run(&["audit", "verify", "--json"]).out).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(json["problems"].as_array().unwrap().len(), 1);
}

/// `tail -f` on a ledger that does not exist yet waits for it, prints what comes, and ends with its reader.
#[test]
fn following_survives_a_ledger_that_does_not_exist_yet() {
    let host = Host::new();
    let mut child = host
        .command(&["audit", "tail", "-f", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap());
    let mut note = String::new();
    notes.read_line(&mut note).unwrap();
    assert!(
        note.starts_with("waiting for the ledger: there is none at "),
        "{note}"
    );

    let mut t = Teller::new(&host, session("followed"));
    let mut out = BufReader::new(child.stdout.take().unwrap());
    t.start(0, Binding::Bound);
    assert!(line(&mut out).contains("\"session_start\""));
    let written = Instant::now();
    t.prompt(1, "one");
    assert!(line(&mut out).contains("\"one\""));
    assert!(
        written.elapsed() < Duration::from_millis(1_500),
        "{:?}",
        written.elapsed()
    );
    t.prompt(2, "two");
    t.prompt(3, "three");
    assert!(line(&mut out).contains("\"two\""));
    assert!(line(&mut out).contains("\"three\""));

    // Nobody reads any more: it ends by itself, without another record, and that is no failure.
    drop(out);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    notes.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn following_goes_on_with_a_ledger_that_was_replaced() {
    let host = Host::new();
    let mut first = Teller::new(&host, session("first"));
    first.prompt(0, "in the first");
    let mut child = host
        .command(&["audit", "query", "--follow", "--kind", "prompt", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    assert!(line(&mut out).contains("in the first"));
    drop(first);
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _ = std::fs::remove_file(host.path().join(name));
    }
    let mut second = Teller::new(&host, session("second"));
    second.start(0, Binding::Bound);
    second.prompt(1, "in the second");
    assert!(line(&mut out).contains("in the second"));
    drop(out);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut notes = String::new();
    child.stderr.take().unwrap().read_to_string(&mut notes).unwrap();
    assert!(notes.contains("the ledger was replaced"), "{notes}");
}

#[test]
fn following_takes_up_a_session_that_is_yet_to_come() {
    let host = told();
    let mut child = host
        .command(&[
            "audit",
            "query",
            "--follow",
            "--session",
            "claude-code/later",
            "--json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut note = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut note)
        .unwrap();
    assert!(note.contains("waiting for the session"), "{note}");
    Teller::new(&host, session("other")).prompt(0, "not this one");
    Teller::new(&host, session("later")).prompt(0, "this one");
    let mut out = BufReader::new(child.stdout.take().unwrap());
    assert!(line(&mut out).contains("this one"));
    drop(out);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn line(out: &mut impl BufRead) -> String {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    line
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let host = Host::new();
    let mut t = Teller::new(&host, session("many"));
    for i in 0..300 {
        t.prompt(i, &"long ".repeat(100));
    }
    let mut child = host
        .command(&["audit", "export"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    line(&mut out);
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn what_people_and_harnesses_did_is_found_by_its_kind_and_read_in_a_line() {
    let host = Host::new();
    let mut teller = Teller::new(&host, session("people"));
    teller.start(0, Binding::Bound);
    teller.add(
        1,
        Some("t1"),
        RecordBody::Approval {
            approval: "00c0ffee".into(),
            state: "approved".into(),
            scope: Some("session".into()),
            by_uid: Some(1000),
            detail: "Bash make deploy".into(),
        },
    );
    teller.add_to_none(
        2,
        RecordBody::Harness {
            connector: "codex".into(),
            file: "/home/dev/.codex/hooks.json".into(),
            state: "missing".into(),
            detail: "our entry is gone".into(),
        },
    );
    teller.add_to_none(
        2,
        RecordBody::Pin {
            pin: "0a1b2c3d4e".into(),
            server: "notes".into(),
            scope: String::new(),
            state: "changed".into(),
            digest: String::new(),
            by_uid: 1000,
            detail: "tool add/description changed".into(),
        },
    );
    teller.add(
        3,
        None,
        RecordBody::Notice {
            name: "PreCompact".into(),
        },
    );
    teller.add(
        4,
        None,
        RecordBody::Completion {
            text: "All tests pass.".into(),
        },
    );
    for (kind, words) in [
        (
            "approval",
            "approval 00c0ffee approved for session by uid 1000: Bash make deploy",
        ),
        (
            "harness",
            "codex hook missing in /home/dev/.codex/hooks.json: our entry is gone",
        ),
        (
            "pin",
            "MCP server notes changed, held (pin 0a1b2c3d4e, uid 1000): tool add/description changed",
        ),
        ("notice", "the harness reported PreCompact"),
        ("completion", "All tests pass."),
    ] {
        let found = host.run(&["audit", "query", "--kind", kind]).done();
        assert_eq!(found.lines().count(), 1 + 1, "{found}");
        assert!(found.contains(words), "{found}");
    }
    let tail = host.run(&["audit", "tail", "-n", "5"]).done();
    for kind in ["approval", "harness", "pin", "notice", "completion"] {
        assert!(tail.contains(kind), "{kind}: {tail}");
    }
}
