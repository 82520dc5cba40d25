//! What holds for any records, any queries and any damage.

use std::fs;
use std::path::Path;

use crate::drafts::{call, draft, open, session, severity, verified};
use defenseclaw_audit::{KINDS, Query, Reader, Verified, verify};
use defenseclaw_model::record::{Draft, Record};
use defenseclaw_model::wire::Cursor;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use rusqlite::Connection;
use rusqlite::types::Value;

fn query() -> impl Strategy<Value = Query> {
    (
        (option::of(0..45u64), option::of(0..45u64)),
        (option::weighted(0.3, session()), option::weighted(0.3, call())),
        option::of(severity()),
        subsequence(KINDS.to_vec(), 0..4),
        option::weighted(0.3, 0..40u64),
        (option::of(0..12usize), option::of(0..12usize)),
    )
        .prop_map(
            |((since_ns, until_ns), (session, call), min_severity, kinds, after_seq, (newest, limit))| {
                Query {
                    since_ns,
                    until_ns,
                    session,
                    call,
                    min_severity,
                    kinds: kinds.into_iter().map(str::to_owned).collect(),
                    after_seq,
                    newest,
                    limit,
                }
            },
        )
}

/// The same, said without SQL.
fn expected(records: &[Record], query: &Query) -> Vec<Record> {
    let mut found: Vec<Record> = records
        .iter()
        .filter(|record| {
            let draft = &record.draft;
            query.since_ns.is_none_or(|since| draft.time_ns >= since)
                && query.until_ns.is_none_or(|until| draft.time_ns <= until)
                && query
                    .session
                    .as_ref()
                    .is_none_or(|session| draft.session.as_ref() == Some(session))
                && query
                    .call
                    .as_ref()
                    .is_none_or(|call| draft.call.as_ref() == Some(call))
                && query
                    .min_severity
                    .is_none_or(|severity| draft.severity() >= severity)
                && (query.kinds.is_empty() || query.kinds.iter().any(|kind| kind == draft.body.kind()))
                && query.after_seq.is_none_or(|after| record.seq > after)
        })
        .cloned()
        .collect();
    match (query.newest, query.limit) {
        (Some(newest), limit) => {
            let kept = newest.min(limit.unwrap_or(usize::MAX));
            found.drain(..found.len().saturating_sub(kept));
        }
        (None, Some(limit)) => found.truncate(limit),
        (None, None) => {}
    }
    found
}

/// Writes the drafts in appends and batches of several sizes.
fn write(path: &Path, drafts: &[Draft], sizes: &[usize]) {
    let mut ledger = open(path);
    let mut rest = drafts;
    for (number, size) in sizes.iter().cycle().enumerate() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*size).min(rest.len()));
        if number % 2 == 0 {
            ledger.append(now).unwrap();
        } else {
            ledger
                .append_batch("s", number as u64, Cursor::default(), now)
                .unwrap()
                .unwrap();
        }
        rest = later;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// What is appended is read back as it was, the chain is valid, and every query gives what a plain filter gives.
    #[test]
    fn records_and_queries_come_back_as_written(
        drafts in vec(draft(), 0..40),
        sizes in vec(1..9usize, 1..5),
        queries in vec(query(), 1..12),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        write(&path, &drafts, &sizes);
        let reader = Reader::open(&path).unwrap();
        let records = reader.query(&Query::default()).unwrap();
        prop_assert_eq!(records.iter().map(|record| &record.draft).collect::<Vec<_>>(), drafts.iter().collect::<Vec<_>>());
        prop_assert!(records.iter().zip(1..).all(|(record, seq)| record.seq == seq));
        prop_assert!(records.is_sorted_by(|a, b| a.hash == b.prev_hash));
        for query in queries {
            prop_assert_eq!(reader.query(&query).unwrap(), expected(&records, &query), "{:?}", query);
        }
        let verified = verified(&path);
        prop_assert!(verified.is_valid(), "{:?}", verified.problems);
        prop_assert_eq!(verified.records, drafts.len() as u64);
    }

    /// A row that holds anything at all is reported, not believed, and nothing panics: neither check nor reader nor writer.
    #[test]
    fn a_row_of_anything_is_a_finding(
        drafts in vec(draft(), 3..8),
        at in any::<Index>(),
        (column, value) in damage(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        write(&path, &drafts, &[3]);
        let seq = at.index(drafts.len()) as u64 + 1;
        let changed = replace(&path, seq, column, &value);
        let verified = verified(&path);
        prop_assert_eq!(verified.is_valid(), !changed, "{:?}", verified.problems);
        let reader = Reader::open(&path).unwrap();
        let _ = reader.query(&Query::default());
        let _ = reader.get(seq);
        let _ = reader.sessions();
        let _ = defenseclaw_audit::Ledger::open(&path, Default::default());
    }

    /// Whatever is left of the log after a power failure, the ledger opens at an earlier end of the same chain.
    #[test]
    fn a_torn_log_leaves_a_shorter_valid_chain(cut in any::<Index>(), flip in option::of(any::<Index>())) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let torn = folder.path().join("torn.db");
        let mut ledger = open(&path);
        let mut heads = vec![ledger.head()];
        for number in 0..30 {
            ledger.append(&[crate::drafts::prompt(number)]).unwrap();
            heads.push(ledger.head());
        }
        // As a crash leaves them: the writer still holds both.
        fs::copy(&path, &torn).unwrap();
        let mut log = fs::read(folder.path().join("ledger.db-wal")).unwrap();
        log.truncate(cut.index(log.len() + 1));
        if let Some(flip) = flip.filter(|_| !log.is_empty()) {
            let at = flip.index(log.len());
            log[at] ^= 0x10;
        }
        fs::write(folder.path().join("torn.db-wal"), log).unwrap();
        let mut ledger = open(&torn);
        prop_assert!(heads.contains(&ledger.head()));
        ledger.append(&[crate::drafts::prompt(99)]).unwrap();
        let records = ledger.head().seq;
        drop(ledger);
        let verified = verified(&torn);
        prop_assert!(verified.is_valid(), "{:?}", verified.problems);
        prop_assert_eq!(verified.records, records);
    }

    /// A file with any bytes changed is checked, read and opened without a panic, and a valid outcome means that every
    /// record is the one that was written.
    #[test]
    fn a_damaged_file_never_passes_for_another(drafts in vec(draft(), 1..30), hits in vec((any::<Index>(), any::<u8>()), 1..6)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        write(&path, &drafts, &[7]);
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fs::write(&path, bytes).unwrap();
        if verify(&path, &mut |_, _| {}).as_ref().is_ok_and(Verified::is_valid) {
            let records = Reader::open(&path).unwrap().query(&Query::default()).unwrap();
            let read: Vec<Draft> = records.into_iter().map(|record| record.draft).collect();
            prop_assert_eq!(read, drafts);
        }
        let _ = defenseclaw_audit::Ledger::open(&path, Default::default());
    }
}

/// Puts a value into a column behind the triggers' back, and tells whether the column is another then. STRICT tables refuse
/// some values; what they refuse needs no check.
fn replace(path: &Path, seq: u64, column: &str, value: &Value) -> bool {
    let conn = Connection::open(path).unwrap();
    conn.pragma_update(None, "ignore_check_constraints", true)
        .unwrap();
    let trigger: String = conn
        .query_row(
            "SELECT sql FROM sqlite_schema WHERE name = 'record_stays'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let read = || -> Value {
        let sql = format!("SELECT {column} FROM record WHERE seq = ?1");
        conn.query_row(&sql, [seq.cast_signed()], |row| row.get(0))
            .unwrap()
    };
    let before = read();
    conn.execute_batch("DROP TRIGGER record_stays").unwrap();
    let sql = format!("UPDATE record SET {column} = ?1 WHERE seq = ?2");
    let _ = conn.execute(&sql, (value, seq.cast_signed()));
    conn.execute_batch(&trigger).unwrap();
    read() != before
}

/// A column of a record and something to put there.
fn damage() -> impl Strategy<Value = (&'static str, Value)> {
    let column = select(vec![
        "time_ns",
        "session",
        "call",
        "kind",
        "severity",
        "prev_hash",
        "hash",
        "body",
    ]);
    let value = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        any::<f64>().prop_map(Value::Real),
        any::<String>().prop_map(Value::Text),
        "[a-z-]{1,5}/[a-z]{1,5}".prop_map(Value::Text),
        select(KINDS.to_vec()).prop_map(|kind| Value::Text(kind.to_owned())),
        vec(any::<u8>(), 0..40).prop_map(Value::Blob),
        vec(any::<u8>(), 32).prop_map(Value::Blob),
        (0..5i64).prop_map(Value::Integer),
    ];
    (column, value)
}
