//! The one writer.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use defenseclaw_audit::{Head, Ledger, LedgerError, Query, Reader};
use defenseclaw_model::config::Durability;
use defenseclaw_model::record::{Draft, RecordBody};
use defenseclaw_model::wire::Cursor;
use rusqlite::Connection;

use crate::drafts::{open, prompt, prompts, verified};

fn refused(path: &Path) -> LedgerError {
    match Ledger::open(path, Durability::Process) {
        Ok(ledger) => unreachable!("opened at {:?}", ledger.head()),
        Err(error) => error,
    }
}

#[test]
fn a_new_ledger_is_empty_private_and_valid() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = open(&path);
    assert_eq!(
        ledger.head(),
        Head {
            seq: 0,
            hash: "0".repeat(64)
        }
    );
    for file in ["ledger.db", "ledger.db-wal", "ledger.db.lock"] {
        let mode = fs::metadata(folder.path().join(file))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777;
        assert_eq!(mode & 0o137, 0, "{file} has mode {mode:o}");
    }
    assert!(verified(&path).is_valid());
    assert!(
        Reader::open(&path)
            .unwrap()
            .query(&Query::default())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn the_chain_goes_on_after_reopening_in_either_durability() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let first = open(&path).append(&prompts(0..3)).unwrap();
    assert_eq!((first.first, first.last), (1, 3));
    let mut ledger = Ledger::open(&path, Durability::Power).unwrap();
    assert_eq!(
        ledger.head(),
        Head {
            seq: 3,
            hash: first.head.clone()
        }
    );
    let second = ledger.append(&prompts(3..4)).unwrap();
    assert_eq!((second.first, second.last), (4, 4));
    let record = Reader::open(&path).unwrap().get(4).unwrap().unwrap();
    assert_eq!((record.prev_hash, record.hash), (first.head, second.head));
    drop(ledger);
    assert_eq!(verified(&path).records, 4);
}

#[test]
fn an_append_of_nothing_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(&folder.path().join("ledger.db"));
    ledger.append(&prompts(0..2)).unwrap();
    let head = ledger.head();
    let appended = ledger.append(&[]).unwrap();
    assert_eq!(
        (appended.first, appended.last, appended.head),
        (3, 2, head.hash.clone())
    );
    assert_eq!(ledger.head(), head);
}

#[test]
fn a_second_writer_is_told_who_has_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = open(&path);
    let error = refused(&path);
    let LedgerError::Locked { holder, .. } = &error else {
        unreachable!("{error}")
    };
    assert_eq!(*holder, Some(std::process::id()));
    assert!(
        error
            .to_string()
            .contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    drop(ledger);
    drop(open(&path));
}

#[test]
fn a_batch_goes_in_once_with_its_position() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = open(&path);
    let at = |security| Cursor {
        security,
        telemetry: u64::MAX - security,
    };
    assert_eq!(ledger.sensor_position("a").unwrap(), (0, Cursor::default()));
    assert!(
        ledger
            .append_batch("a", 1, at(10), &prompts(0..2))
            .unwrap()
            .is_some()
    );
    assert!(
        ledger
            .append_batch("a", 1, at(99), &prompts(2..4))
            .unwrap()
            .is_none(),
        "again"
    );
    assert!(
        ledger
            .append_batch("b", 1, at(5), &prompts(2..3))
            .unwrap()
            .is_some(),
        "another sensor"
    );
    assert!(
        ledger.append_batch("a", 3, at(30), &[]).unwrap().is_some(),
        "a number left out, no records"
    );
    assert!(
        ledger
            .append_batch("a", 2, at(20), &prompts(3..4))
            .unwrap()
            .is_none(),
        "an earlier number"
    );
    assert!(matches!(
        ledger.append_batch("a", 0, at(1), &[]),
        Err(LedgerError::BatchZero { .. })
    ));
    drop(ledger);
    let mut ledger = open(&path);
    assert_eq!(ledger.sensor_position("a").unwrap(), (3, at(30)));
    assert_eq!(ledger.sensor_position("b").unwrap(), (1, at(5)));
    assert!(
        ledger
            .append_batch("a", 3, at(30), &prompts(0..2))
            .unwrap()
            .is_none(),
        "again after a restart"
    );
    assert_eq!(ledger.head().seq, 3);
    assert!(verified(&path).is_valid());
}

#[test]
fn one_bad_draft_keeps_the_whole_append_out_and_the_next_goes_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = open(&path);
    let bad = Draft {
        time_ns: u64::MAX,
        ..prompt(1)
    };
    let error = ledger
        .append_batch("a", 1, Cursor::default(), &[prompt(0), bad])
        .unwrap_err();
    assert!(
        matches!(error, LedgerError::Refused { index: 1, .. }) && !error.is_transient(),
        "{error}"
    );
    assert_eq!(
        (ledger.head().seq, ledger.sensor_position("a").unwrap().0),
        (0, 0)
    );
    assert_eq!(
        ledger
            .append_batch("a", 1, Cursor::default(), &[prompt(0)])
            .unwrap()
            .unwrap()
            .last,
        1
    );
}

#[test]
fn a_clock_that_goes_backwards_changes_no_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = open(&path);
    for time_ns in [3_000, 2_000, 0, 4_000] {
        ledger.append(&[Draft { time_ns, ..prompt(0) }]).unwrap();
    }
    let reader = Reader::open(&path).unwrap();
    let times = |query: &Query| -> Vec<u64> {
        reader
            .query(query)
            .unwrap()
            .iter()
            .map(|record| record.draft.time_ns)
            .collect()
    };
    assert_eq!(
        times(&Query::default()),
        [3_000, 2_000, 0, 4_000],
        "the chain keeps the order of appending"
    );
    assert_eq!(
        times(&Query {
            since_ns: Some(2_000),
            until_ns: Some(3_000),
            ..Query::default()
        }),
        [3_000, 2_000]
    );
    let session = reader.sessions().unwrap().remove(0);
    assert_eq!((session.started_ns, session.last_ns), (0, 4_000));
    assert!(verified(&path).is_valid());
}

#[test]
fn the_log_is_folded_up_between_appends_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = open(&path);
    let text = "x".repeat(40_000);
    for number in 0..400 {
        ledger
            .append(&[Draft {
                body: RecordBody::Prompt { text: text.clone() },
                ..prompt(number)
            }])
            .unwrap();
        ledger.maintain().unwrap();
    }
    let log = fs::metadata(folder.path().join("ledger.db-wal")).unwrap().len();
    assert!(log < 8 << 20, "the log kept {log} bytes of 16 MB");
    assert!(verified(&path).is_valid());
    assert_eq!(verified(&path).records, 400);
}

#[test]
fn a_missing_folder_is_named_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("state");
    let error = refused(&missing.join("ledger.db"));
    assert!(matches!(error, LedgerError::NoFolder { .. }), "{error}");
    assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
    assert!(!missing.exists());
}

#[test]
fn other_files_are_refused_and_left_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.db");
    fs::write(
        &text,
        "not a database, and longer than the header of one: ".repeat(20),
    )
    .unwrap();
    let other = folder.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        .unwrap();
    for path in [text, other] {
        let before = fs::read(&path).unwrap();
        let error = refused(&path);
        assert!(matches!(error, LedgerError::NotALedger { .. }), "{error}");
        assert!(matches!(Reader::open(&path), Err(LedgerError::NotALedger { .. })));
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_ledger_of_a_newer_version_is_refused_with_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    open(&path).append(&prompts(0..1)).unwrap();
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 7)
        .unwrap();
    for error in [refused(&path), Reader::open(&path).unwrap_err()] {
        assert!(
            matches!(
                error,
                LedgerError::TooNew {
                    found: 7,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn a_creation_that_was_cut_short_is_completed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    fs::write(&path, "").unwrap();
    assert!(matches!(Reader::open(&path), Err(LedgerError::NoLedger { .. })));
    assert_eq!(open(&path).append(&prompts(0..1)).unwrap().last, 1);
}

#[test]
fn a_file_deleted_or_replaced_under_the_writer_is_no_acknowledgement() {
    for victim in ["ledger.db", "ledger.db-wal"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let mut ledger = open(&path);
        ledger.append(&prompts(0..1)).unwrap();
        let away = folder.path().join("away");
        fs::rename(folder.path().join(victim), &away).unwrap();
        let error = ledger.append(&prompts(1..2)).unwrap_err();
        assert!(
            matches!(&error, LedgerError::Replaced { path } if path.ends_with(victim)),
            "{error}"
        );
        fs::copy(&away, folder.path().join(victim)).unwrap();
        assert!(
            matches!(ledger.append(&prompts(1..2)), Err(LedgerError::Replaced { .. })),
            "a copy is not it"
        );
        fs::rename(&away, folder.path().join(victim)).unwrap();
        assert_eq!(
            ledger.append(&prompts(1..2)).unwrap().last,
            2,
            "put back, it goes on"
        );
        drop(ledger);
        assert!(verified(&path).is_valid());
    }
}

#[test]
fn another_programs_lock_is_waited_for_then_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = open(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = ledger.append(&prompts(0..1)).unwrap_err();
    assert!(
        matches!(error, LedgerError::Busy { .. }) && error.is_transient(),
        "{error}"
    );
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(ledger.append(&prompts(0..1)).unwrap().last, 1);
}

#[test]
fn a_record_that_something_else_wrote_is_not_built_upon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = open(&path);
    ledger.append(&prompts(0..2)).unwrap();
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch(
            "INSERT INTO record SELECT 3, time_ns, session, call, kind, severity, prev_hash, hash, body FROM record WHERE seq = 2",
        )
        .unwrap();
    let error = ledger.append(&prompts(2..3)).unwrap_err();
    assert!(matches!(error, LedgerError::Foreign { seq: 2, .. }), "{error}");
    let error = ledger.append(&prompts(2..3)).unwrap_err();
    assert!(matches!(error, LedgerError::BrokenTail { seq: 3, .. }), "{error}");
    assert_eq!(ledger.head().seq, 2, "what was acknowledged");
    drop(ledger);
    assert!(matches!(refused(&path), LedgerError::BrokenTail { seq: 3, .. }));
}

#[test]
fn a_ledger_set_back_to_an_older_copy_is_noticed_by_its_writer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = open(&path);
    ledger.append(&prompts(0..2)).unwrap();
    let sql = "DROP TRIGGER record_remains; DROP TRIGGER head_rises; DELETE FROM record WHERE seq = 2; \
               UPDATE head SET seq = 1, hash = (SELECT hash FROM record WHERE seq = 1)";
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    assert!(matches!(
        ledger.append(&prompts(2..3)),
        Err(LedgerError::Foreign { seq: 2, .. })
    ));
    let error = ledger.append(&prompts(2..3)).unwrap_err();
    assert!(matches!(error, LedgerError::BrokenTail { seq: 2, .. }), "{error}");
}

#[test]
fn a_relative_path_that_looks_like_a_uri_is_a_file_name() {
    let folder = tempfile::tempdir().unwrap();
    // The working folder of the tests is shared, so the path goes through it and back down.
    let up = "../".repeat(std::env::current_dir().unwrap().components().count());
    let path = format!(
        "{up}{}/file:a b%?mode=memory",
        folder.path().strip_prefix("/").unwrap().display()
    );
    let mut ledger = open(Path::new(&path));
    ledger.append(&prompts(0..1)).unwrap();
    assert!(ledger.path().is_absolute() && ledger.path().exists());
    assert_eq!(Reader::open(Path::new(&path)).unwrap().head().unwrap().seq, 1);
}

#[test]
fn a_head_that_something_else_moved_is_not_built_upon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut ledger = open(&path);
    ledger.append(&prompts(0..2)).unwrap();
    let sql = "DROP TRIGGER head_rises; UPDATE head SET hash = zeroblob(32)";
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let error = ledger.append(&prompts(2..3)).unwrap_err();
    assert!(matches!(error, LedgerError::Foreign { seq: 2, .. }), "{error}");
    assert_eq!(
        Reader::open(&path)
            .unwrap()
            .query(&Query::default())
            .unwrap()
            .len(),
        2,
        "it was rolled back"
    );
    let error = ledger.append(&prompts(2..3)).unwrap_err();
    assert!(matches!(error, LedgerError::BrokenTail { seq: 2, .. }), "{error}");
}
