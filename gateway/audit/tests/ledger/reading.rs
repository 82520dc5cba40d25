//! Read-only views.

use std::fs;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use defenseclaw_audit::{KINDS, Query, Reader};
use defenseclaw_model::decision::Severity;
use defenseclaw_model::ids::SessionId;
use defenseclaw_model::record::{Draft, RecordBody};
use serde_json::json;

use crate::drafts::{open, prompt, prompts, verified};

fn draft(time_ns: u64, session: &str, body: serde_json::Value) -> Draft {
    serde_json::from_value(json!({"time_ns": time_ns, "session": session, "call": "c1", "body": body}))
        .unwrap()
}

fn tool_call(verdict: &str, severity: &str, enforced: bool) -> serde_json::Value {
    let finding =
        json!({"rule": "r", "category": "c", "severity": severity, "message": "m", "confidence": 90});
    json!({
        "kind": "tool_call", "tool": "Bash", "call_kind": {"kind": "other"}, "input": {}, "facts": {}, "decision_us": 5,
        "decision": {"verdict": verdict, "severity": severity, "reason": "r", "findings": [finding], "policy": "p",
                     "enforced": enforced},
        "binding": {"state": "bound"},
    })
}

#[test]
fn a_session_adds_up_over_several_appends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = open(&path);
    let start = json!({"kind": "session_start", "uid": 1000, "binding": {"state": "bound"}});
    ledger
        .append(&[
            draft(50, "codex/a", start.clone()),
            draft(60, "codex/a", json!({"kind": "prompt", "text": "do"})),
        ])
        .unwrap();
    ledger
        .append(&[draft(70, "codex/a", tool_call("deny", "HIGH", true))])
        .unwrap();
    ledger
        .append(&[
            draft(40, "codex/a", tool_call("ask", "LOW", false)),
            draft(90, "codex/b", start.clone()),
        ])
        .unwrap();
    let finding =
        json!({"rule": "r", "category": "c", "severity": "CRITICAL", "message": "m", "confidence": 90});
    ledger
        .append(&[draft(
            75,
            "codex/a",
            json!({"kind": "finding", "finding": finding}),
        )])
        .unwrap();
    ledger
        .append(&[draft(80, "codex/a", json!({"kind": "session_end"}))])
        .unwrap();
    let reader = Reader::open(&path).unwrap();
    let sessions = reader.sessions().unwrap();
    assert_eq!(
        sessions[0].session,
        SessionId::new("codex", "b").unwrap(),
        "the one with the newest record first"
    );
    let a = serde_json::to_value(&sessions[1]).unwrap();
    let expected = json!({
        "session": "codex/a", "started_ns": 40, "last_ns": 80, "ended": true, "prompts": 1, "calls": 2, "denied": 1,
        "would_block": 1, "activities": 0, "findings": 3, "max_severity": "CRITICAL",
    });
    assert_eq!(a, expected);
    ledger.append(&[draft(95, "codex/a", start)]).unwrap();
    let resumed = reader.sessions().unwrap().remove(0);
    assert_eq!((resumed.session.harness_session(), resumed.ended), ("a", false));
    assert!(verified(&path).is_valid());
}

#[test]
fn the_newest_are_given_in_the_order_of_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    open(&path).append(&prompts(0..100)).unwrap();
    let reader = Reader::open(&path).unwrap();
    let seqs = |query: Query| -> Vec<u64> {
        reader
            .query(&query)
            .unwrap()
            .iter()
            .map(|record| record.seq)
            .collect()
    };
    let session = Some(SessionId::new("claude-code", "s1").unwrap());
    assert_eq!(
        seqs(Query {
            newest: Some(3),
            ..Query::default()
        }),
        [98, 99, 100]
    );
    assert_eq!(
        seqs(Query {
            limit: Some(2),
            session: session.clone(),
            ..Query::default()
        }),
        [2, 5]
    );
    assert_eq!(
        seqs(Query {
            newest: Some(2),
            session,
            ..Query::default()
        }),
        [95, 98]
    );
    assert_eq!(
        seqs(Query {
            after_seq: Some(98),
            limit: Some(1),
            ..Query::default()
        }),
        [99]
    );
    assert_eq!(
        seqs(Query {
            after_seq: Some(u64::MAX),
            ..Query::default()
        }),
        [0u64; 0]
    );
    assert_eq!(
        seqs(Query {
            newest: Some(0),
            ..Query::default()
        }),
        [0u64; 0]
    );
    assert_eq!(
        seqs(Query {
            newest: Some(usize::MAX),
            min_severity: Some(Severity::None),
            ..Query::default()
        })
        .len(),
        100
    );
    assert!(reader.get(0).unwrap().is_none() && reader.get(101).unwrap().is_none());
    assert!(reader.get(u64::MAX).unwrap().is_none());
}

#[test]
fn a_visitor_can_break_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    open(&path).append(&prompts(0..10)).unwrap();
    let mut seen = Vec::new();
    Reader::open(&path)
        .unwrap()
        .visit(&Query::default(), |record| {
            seen.push(record.seq);
            if record.seq == 4 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    assert_eq!(seen, [1, 2, 3, 4]);
}

#[test]
fn a_change_is_seen_once_and_by_every_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = open(&path);
    let mut readers = [Reader::open(&path).unwrap(), Reader::open(&path).unwrap()];
    for number in 0..3 {
        ledger.append(&[prompt(number)]).unwrap();
        for reader in &mut readers {
            assert!(reader.changed().unwrap());
            assert!(!reader.changed().unwrap());
            assert_eq!(reader.head().unwrap(), ledger.head());
        }
    }
}

/// The tail of a ledger as `tail -f` reads it, while it grows by single appends and batches, with the log folded up in
/// between and a check of the whole going on beside it.
#[test]
fn readers_and_checks_go_on_while_the_writer_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = open(&path);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let followers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut reader = Reader::open(&path).unwrap();
                    let mut last = 0;
                    loop {
                        let finished = done.load(Ordering::SeqCst);
                        for record in reader
                            .query(&Query {
                                after_seq: Some(last),
                                ..Query::default()
                            })
                            .unwrap()
                        {
                            assert_eq!(record.seq, last + 1);
                            last = record.seq;
                        }
                        if finished {
                            return last;
                        }
                        while !reader.changed().unwrap() && !done.load(Ordering::SeqCst) {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let checker = scope.spawn(|| {
            let mut checks = 0;
            while !done.load(Ordering::SeqCst) {
                let verified = verified(&path);
                assert!(verified.is_valid(), "{:?}", verified.problems);
                checks += 1;
            }
            checks
        });
        for number in 0..1_500u64 {
            let size = if number % 10 == 0 { 20 } else { 1 };
            ledger.append(&prompts(number..number + size)).unwrap();
            ledger.maintain().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        for follower in followers {
            assert_eq!(
                follower.join().unwrap(),
                ledger.head().seq,
                "each record was seen once, in order"
            );
        }
        assert!(checker.join().unwrap() > 0);
    });
}

#[test]
fn a_ledger_is_read_where_no_writer_is_and_none_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = open(&path);
    ledger.append(&prompts(0..5)).unwrap();
    drop(ledger);
    let copy = folder.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    for path in [&path, &copy] {
        let reader = Reader::open(path).unwrap();
        assert_eq!(reader.query(&Query::default()).unwrap().len(), 5);
        assert!(verified(path).is_valid());
    }
}

#[test]
fn a_missing_ledger_is_named_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let error = Reader::open(&path).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(!path.exists());
}

#[test]
fn the_kinds_are_those_of_the_model() {
    let artifact = json!({
        "kind": "skill", "connector": "", "name": "", "path": "", "digest": "", "uid": 0, "files": 0, "bytes": 0,
    });
    let bodies = [
        json!({"kind": "session_start", "uid": 0, "binding": {"state": "bound"}}),
        json!({"kind": "prompt", "text": ""}),
        tool_call("allow", "NONE", true),
        json!({"kind": "approval", "approval": "", "state": "requested", "detail": ""}),
        json!({"kind": "harness", "connector": "", "file": "", "state": "", "detail": ""}),
        json!({"kind": "sandbox", "uid": 0, "report": {
            "profile": "", "project": "", "landlock_abi": 0, "best_effort": false, "protections": [],
        }}),
        json!({"kind": "admission", "artifact": artifact, "opener": "", "policy": "", "scan_ms": 0, "answer": {
            "action": "allow", "reason": "", "severity": "NONE", "enforced": true, "rules": [],
        }}),
        json!({"kind": "quarantine", "state": "held", "entry": {
            "id": "", "artifact": artifact, "time_ns": 0, "reason": "", "severity": "HIGH", "rules": [], "held_at": "",
        }}),
        json!({"kind": "package", "package": "npm:a", "state": "scanned", "severity": "NONE", "findings": 0, "scan_ms": 0}),
        json!({"kind": "list_change", "list": "allow", "state": "added", "entry": {}}),
        json!({"kind": "pin", "pin": "", "server": "", "state": "", "digest": "", "by_uid": 0}),
        json!({"kind": "bundle", "state": "accepted", "source": "", "group": "", "policy": ""}),
        json!({"kind": "notice", "name": ""}),
        json!({"kind": "completion", "text": ""}),
        json!({"kind": "call_end", "tool": "", "failed": false}),
        json!({"kind": "stop"}),
        json!({"kind": "session_end"}),
        json!({"kind": "activity", "activity": {
            "time_ns": 0, "session": "a/b", "process": {"tgid": 1, "start_ns": 1}, "image": {"tgid": 1, "exec_ns": 1},
            "program": "", "action": {"action": "io_uring", "entries": 1},
            "attribution": {"call": null, "basis": "none", "explained": "unexplained"},
        }}),
        json!({"kind": "finding", "finding": {
            "rule": "", "category": "", "severity": "LOW", "message": "", "confidence": 1,
        }}),
        json!({"kind": "gap", "cause": "", "detail": ""}),
        json!({"kind": "daemon", "daemon": "", "state": "", "detail": ""}),
    ];
    let kinds = bodies.map(|body| serde_json::from_value::<RecordBody>(body).unwrap().kind());
    assert_eq!(kinds, KINDS);
}
