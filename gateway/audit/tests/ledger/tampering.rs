//! Each way to change a ledger behind the gateway's back, and what shows it.

use std::path::{Path, PathBuf};

use defenseclaw_audit::{Head, Ledger, Problem, ProblemKind, verify_against};
use defenseclaw_model::config::Durability;
use rusqlite::Connection;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::drafts::{open, prompts, verified};

/// A ledger of 300 records: longer than what is checked when it is opened.
struct Tampered {
    folder: TempDir,
    /// Its head while it was sound.
    head: Head,
}

const RECORDS: u64 = 300;

impl Tampered {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = open(&folder.path().join("ledger.db"));
        ledger.append(&prompts(0..RECORDS)).unwrap();
        let head = ledger.head();
        drop(ledger);
        Self { folder, head }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }

    /// Changes the ledger as somebody would who knows SQL: triggers are dropped and put back.
    fn with(sql: &str) -> Self {
        let tampered = Self::new();
        tampered.change(sql);
        tampered
    }

    fn change(&self, sql: &str) {
        let conn = Connection::open(self.path()).unwrap();
        let mut select = conn
            .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
            .unwrap();
        let triggers: Vec<(String, String)> = select
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        for (name, _) in &triggers {
            conn.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
        }
        conn.execute_batch(sql).unwrap();
        for (_, definition) in &triggers {
            conn.execute_batch(definition).unwrap();
        }
    }

    fn problems(&self) -> Vec<(u64, ProblemKind)> {
        verified(&self.path())
            .problems
            .iter()
            .map(|Problem { seq, kind, .. }| (*seq, *kind))
            .collect()
    }

    /// Where a writer finds the end broken, if it does.
    fn broken_tail(&self) -> Option<u64> {
        match Ledger::open(&self.path(), Durability::Process) {
            Ok(_) => None,
            Err(defenseclaw_audit::LedgerError::BrokenTail { seq, .. }) => Some(seq),
            Err(other) => unreachable!("{other}"),
        }
    }
}

use ProblemKind::{Column, Content, Head as AtHead, Known, Link, Missing, Schema, Session, Unreadable};

#[test]
fn an_untouched_ledger_has_no_problem() {
    let sound = Tampered::new();
    assert_eq!(sound.problems(), []);
    let verified = verified(&sound.path());
    assert_eq!(
        (verified.records, &verified.head, verified.more_problems),
        (RECORDS, &sound.head, 0)
    );
    assert_eq!(sound.broken_tail(), None);
}

#[test]
fn a_changed_body() {
    let tampered =
        Tampered::with("UPDATE record SET body = replace(body, 'prompt 6', 'nothing') WHERE seq = 7");
    assert_eq!(tampered.problems(), [(7, Content)]);
    assert_eq!(
        tampered.broken_tail(),
        None,
        "too far from the end: that is what `verify` is for"
    );
}

#[test]
fn a_changed_body_near_the_end_keeps_the_writer_away() {
    let tampered =
        Tampered::with("UPDATE record SET body = '{\"kind\":\"prompt\",\"text\":\"\"}' WHERE seq = 290");
    assert_eq!(tampered.problems(), [(290, Content)]);
    assert_eq!(tampered.broken_tail(), Some(290));
}

#[test]
fn each_changed_column_that_the_hash_covers() {
    for change in [
        "time_ns = time_ns + 1",
        "session = 'claude-code/x'",
        "session = NULL",
        "call = 'x'",
        "call = NULL",
    ] {
        let tampered = Tampered::with(&format!("UPDATE record SET {change} WHERE seq = 9"));
        let problems = tampered.problems();
        assert!(problems.contains(&(9, Content)), "{change}: {problems:?}");
    }
}

#[test]
fn a_changed_kind_or_severity() {
    let tampered = Tampered::with("UPDATE record SET kind = 'gap' WHERE seq = 9");
    assert_eq!(tampered.problems(), [(9, Content), (9, Column)]);
    let tampered = Tampered::with("UPDATE record SET severity = 4 WHERE seq = 9");
    assert_eq!(tampered.problems(), [(9, Column)]);
}

#[test]
fn an_empty_text_for_none() {
    let tampered = Tampered::with("UPDATE record SET call = '' WHERE seq = 2");
    assert_eq!(
        tampered.problems(),
        [(2, Unreadable)],
        "the hash is the same; it is no call id"
    );
}

#[test]
fn a_changed_body_with_a_new_hash() {
    let tampered = Tampered::new();
    let (previous, time): (Vec<u8>, i64) = Connection::open(tampered.path())
        .unwrap()
        .query_row("SELECT prev_hash, time_ns FROM record WHERE seq = 8", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    let body = r#"{"kind":"prompt","text":"nothing"}"#;
    let mut bytes = b"defenseclaw.ledger.v1\0".to_vec();
    bytes.extend(previous);
    bytes.extend(8u64.to_le_bytes());
    bytes.extend(time.to_le_bytes());
    for part in ["claude-code/s1", "", "prompt", body] {
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend(part.as_bytes());
    }
    let hash: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    tampered.change(&format!(
        "UPDATE record SET body = '{body}', hash = x'{hash}' WHERE seq = 8"
    ));
    assert_eq!(
        tampered.problems(),
        [(9, Link)],
        "it is sound in itself; the next record was built on another"
    );
}

#[test]
fn deleted_records() {
    assert_eq!(
        Tampered::with("DELETE FROM record WHERE seq = 5").problems(),
        [(5, Missing), (0, Session)]
    );
    let several = Tampered::with("DELETE FROM record WHERE seq BETWEEN 1 AND 3 OR seq BETWEEN 10 AND 20");
    let problems = verified(&several.path()).problems;
    assert!(
        problems[0].what.contains("1 to 3") && problems[1].what.contains("10 to 20"),
        "{problems:?}"
    );
    let near = Tampered::with("DELETE FROM record WHERE seq = 295");
    assert_eq!(near.broken_tail(), Some(295));
}

#[test]
fn a_deleted_tail_shows_by_the_stored_head() {
    let tampered = Tampered::with("DELETE FROM record WHERE seq > 280");
    assert_eq!(tampered.problems()[0], (281, Missing));
    assert_eq!(tampered.broken_tail(), Some(281));
    let all = Tampered::with("DELETE FROM record");
    assert_eq!(all.problems()[0], (1, Missing));
    assert_eq!(all.broken_tail(), Some(300));
}

#[test]
fn a_renumbered_hole() {
    let tampered =
        Tampered::with("DELETE FROM record WHERE seq = 5; UPDATE record SET seq = seq - 1 WHERE seq > 5");
    let problems = tampered.problems();
    assert!(
        problems.contains(&(5, Content)) && problems.contains(&(5, Link)),
        "{:?}",
        &problems[..4]
    );
}

#[test]
fn swapped_records() {
    let tampered = Tampered::with(
        "UPDATE record SET seq = 1000 WHERE seq = 20; UPDATE record SET seq = 20 WHERE seq = 21; \
         UPDATE record SET seq = 21 WHERE seq = 1000",
    );
    assert_eq!(
        tampered.problems(),
        [(20, Link), (20, Content), (21, Link), (21, Content), (22, Link)]
    );
}

#[test]
fn inserted_records() {
    let copy = "INSERT INTO record SELECT 301, time_ns, session, call, kind, severity, prev_hash, hash, body FROM record \
                WHERE seq = 300";
    let past = Tampered::with(copy);
    assert_eq!(
        past.problems(),
        [(301, Link), (301, Content), (301, AtHead), (0, Session)]
    );
    assert_eq!(past.broken_tail(), Some(301));
    let between = Tampered::with(
        "UPDATE record SET seq = seq + 1000 WHERE seq >= 10; UPDATE record SET seq = seq - 999 WHERE seq > 1000; \
         INSERT INTO record SELECT 10, time_ns, session, call, kind, severity, prev_hash, hash, body FROM record WHERE seq = 9",
    );
    let problems = between.problems();
    assert!(
        problems.contains(&(10, Content)) && problems.contains(&(11, Content)),
        "{:?}",
        &problems[..4]
    );
}

#[test]
fn a_changed_head() {
    let tampered = Tampered::with("UPDATE head SET hash = zeroblob(32)");
    assert_eq!(tampered.problems(), [(300, AtHead)]);
    assert_eq!(tampered.broken_tail(), Some(300));
    assert_eq!(
        Tampered::with("UPDATE head SET seq = 299").problems(),
        [(300, AtHead)]
    );
    assert_eq!(Tampered::with("DELETE FROM head").problems(), [(0, AtHead)]);
}

#[test]
fn a_changed_summary() {
    for change in [
        "UPDATE session SET prompts = prompts - 1 WHERE name = 'claude-code/s1'",
        "DELETE FROM session WHERE name = 'claude-code/s1'",
        "UPDATE session SET name = 'x' WHERE name = 'claude-code/s1'",
        "INSERT INTO session SELECT 'claude-code/new', 1, 1, 0, 0, 0, 0, 0, 0, 0, 0",
    ] {
        let tampered = Tampered::with(change);
        let problems = tampered.problems();
        assert!(
            !problems.is_empty() && problems.iter().all(|problem| *problem == (0, Session)),
            "{change}: {problems:?}"
        );
    }
}

#[test]
fn dropped_and_added_definitions() {
    let tampered = Tampered::new();
    let conn = Connection::open(tampered.path()).unwrap();
    conn.execute_batch("DROP TRIGGER record_stays; CREATE TABLE notes (x)")
        .unwrap();
    drop(conn);
    assert_eq!(tampered.problems(), [(0, Schema), (0, Schema)]);
    let error = Ledger::open(&tampered.path(), Durability::Process).unwrap_err();
    assert!(
        matches!(error, defenseclaw_audit::LedgerError::Altered { .. }),
        "{error}"
    );
}

#[test]
fn an_index_that_hides_a_record() {
    let tampered = Tampered::new();
    let conn = Connection::open(tampered.path()).unwrap();
    let sql = "SELECT sql FROM sqlite_schema WHERE name = 'record_by_session'";
    let definition: String = conn.query_row(sql, [], |row| row.get(0)).unwrap();
    // An index over fewer rows, under the definition of the true one.
    conn.execute_batch(
        "DROP INDEX record_by_session; CREATE INDEX record_by_session ON record (session) WHERE seq <> 7; \
         PRAGMA writable_schema = ON",
    )
    .unwrap();
    conn.execute(
        "UPDATE sqlite_schema SET sql = ?1 WHERE name = 'record_by_session'",
        [definition],
    )
    .unwrap();
    drop(conn);
    let verified = verified(&tampered.path());
    assert!(
        verified
            .problems
            .iter()
            .all(|problem| problem.kind == ProblemKind::Damaged),
        "{:?}",
        verified.problems
    );
    assert!(!verified.is_valid());
}

fn against(path: &Path, known: &[Head]) -> Vec<(u64, ProblemKind)> {
    let verified = verify_against(path, known, &mut |_, _| {}).unwrap();
    verified
        .problems
        .iter()
        .map(|problem| (problem.seq, problem.kind))
        .collect()
}

#[test]
fn what_an_unsigned_chain_cannot_show_a_head_noted_elsewhere_does() {
    let cut = Tampered::with(
        "DELETE FROM record WHERE seq > 297; UPDATE head SET seq = 297, hash = (SELECT hash FROM record WHERE seq = 297); \
         UPDATE session SET prompts = prompts - 1, last_ns = last_ns - 3",
    );
    assert_eq!(cut.problems(), [], "records and head went back together");
    assert_eq!(
        against(&cut.path(), std::slice::from_ref(&cut.head)),
        [(300, Known)]
    );

    let rewritten = Tampered::new();
    let known = rewritten.head.clone();
    std::fs::remove_file(rewritten.path()).unwrap();
    open(&rewritten.path()).append(&prompts(1..RECORDS + 1)).unwrap();
    assert_eq!(rewritten.problems(), []);
    let start = Head {
        seq: 0,
        hash: "0".repeat(64),
    };
    assert_eq!(against(&rewritten.path(), &[start, known]), [(300, Known)]);

    let grown = Tampered::new();
    open(&grown.path()).append(&prompts(0..5)).unwrap();
    assert_eq!(against(&grown.path(), std::slice::from_ref(&grown.head)), []);
}

#[test]
fn progress_runs_to_the_end_and_problems_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = open(&path);
    for round in 0..10 {
        ledger
            .append(&prompts(round * 1_000..(round + 1) * 1_000))
            .unwrap();
    }
    drop(ledger);
    let conn = Connection::open(&path).unwrap();
    let sql = "SELECT sql FROM sqlite_schema WHERE name = 'record_stays'";
    let trigger: String = conn.query_row(sql, [], |row| row.get(0)).unwrap();
    conn.execute_batch(&format!(
        "DROP TRIGGER record_stays; UPDATE record SET time_ns = 7 WHERE seq > 1500; {trigger}"
    ))
    .unwrap();
    let mut steps = Vec::new();
    let verified = defenseclaw_audit::verify(&path, &mut |done, total| steps.push((done, total))).unwrap();
    assert_eq!(steps, [(4_096, 10_000), (8_192, 10_000), (10_000, 10_000)]);
    assert_eq!(verified.problems.len(), defenseclaw_audit::verify::MAX_PROBLEMS);
    // Each of the 8,500 records, and the three sessions' earliest time.
    assert_eq!(verified.more_problems, 8_503 - 1_000);
}
