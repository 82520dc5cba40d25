//! The tables, their version, and how a file is recognised.

use std::path::Path;

use defenseclaw_model::config::Durability;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::LedgerError;
use crate::migrate;
use crate::row::MAX_BODY_BYTES;

/// Raised with every change of the tables. A file with a higher one is refused.
pub(crate) const VERSION: i64 = 1;

/// Marks the file as ours (`file(1)` shows it): "DCL" and a zero byte.
const APPLICATION_ID: i64 = 0x4443_4c00;

/// How long a statement waits for another program's lock (ms). Below the time that a hook waits for its answer.
const BUSY_MS: u64 = 1_000;

/// The WAL is folded into the database at a commit that finds this many pages in it, if
/// [`Ledger::maintain`](crate::Ledger::maintain) did not do so before.
const BACKSTOP_PAGES: i64 = 8_192;

/// A WAL that grew past this (a reader that stayed long) is cut back to it once it has been folded in (bytes).
const WAL_KEPT_BYTES: i64 = 64 << 20;

/// What SQLite may hand out as one value or row: more than any record that was ever written, less than what would hurt.
const VALUE_LIMIT: i32 = (MAX_BODY_BYTES + (64 << 10)) as i32;

/// Name and definition of everything in a ledger, in order of creation. SQLite keeps the text of each definition, so the
/// list is also what a file is compared with.
const OBJECTS: [(&str, &str); 17] = [
    (
        "record",
        "CREATE TABLE record (
    seq INTEGER PRIMARY KEY CHECK (seq > 0),
    time_ns INTEGER NOT NULL CHECK (time_ns >= 0),
    session TEXT,
    call TEXT,
    kind TEXT NOT NULL,
    severity INTEGER NOT NULL CHECK (severity BETWEEN 0 AND 4),
    prev_hash BLOB NOT NULL CHECK (length(prev_hash) = 32),
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    body TEXT NOT NULL
) STRICT",
    ),
    ("record_by_time", "CREATE INDEX record_by_time ON record (time_ns)"),
    ("record_by_session", "CREATE INDEX record_by_session ON record (session) WHERE session IS NOT NULL"),
    ("record_by_call", "CREATE INDEX record_by_call ON record (call) WHERE call IS NOT NULL"),
    ("record_by_kind", "CREATE INDEX record_by_kind ON record (kind)"),
    ("record_by_severity", "CREATE INDEX record_by_severity ON record (severity) WHERE severity > 0"),
    (
        "record_stays",
        "CREATE TRIGGER record_stays BEFORE UPDATE ON record BEGIN
    SELECT raise(ROLLBACK, 'the ledger is append-only: records are never changed');
END",
    ),
    (
        "record_remains",
        "CREATE TRIGGER record_remains BEFORE DELETE ON record BEGIN
    SELECT raise(ROLLBACK, 'the ledger is append-only: records are never deleted');
END",
    ),
    (
        "record_follows",
        "CREATE TRIGGER record_follows BEFORE INSERT ON record WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM record) BEGIN
    SELECT raise(ROLLBACK, 'the ledger is append-only: a record follows on the newest');
END",
    ),
    (
        "head",
        "CREATE TABLE head (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT",
    ),
    (
        "head_rises",
        "CREATE TRIGGER head_rises BEFORE UPDATE ON head WHEN NEW.seq <= OLD.seq BEGIN
    SELECT raise(ROLLBACK, 'the ledger is append-only: its head only moves on');
END",
    ),
    (
        "head_is_one",
        "CREATE TRIGGER head_is_one BEFORE INSERT ON head WHEN EXISTS (SELECT 1 FROM head) BEGIN
    SELECT raise(ROLLBACK, 'the ledger is append-only: it has one head');
END",
    ),
    (
        "head_remains",
        "CREATE TRIGGER head_remains BEFORE DELETE ON head BEGIN
    SELECT raise(ROLLBACK, 'the ledger is append-only: its head is never deleted');
END",
    ),
    (
        "session",
        "CREATE TABLE session (
    name TEXT PRIMARY KEY,
    started_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    prompts INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    denied INTEGER NOT NULL,
    would_block INTEGER NOT NULL,
    activities INTEGER NOT NULL,
    findings INTEGER NOT NULL,
    max_severity INTEGER NOT NULL
) STRICT, WITHOUT ROWID",
    ),
    (
        "session_remains",
        "CREATE TRIGGER session_remains BEFORE DELETE ON session BEGIN
    SELECT raise(ROLLBACK, 'the ledger is append-only: sessions are never deleted');
END",
    ),
    (
        "sensor",
        "CREATE TABLE sensor (
    name TEXT PRIMARY KEY,
    batch INTEGER NOT NULL,
    security INTEGER NOT NULL,
    telemetry INTEGER NOT NULL
) STRICT, WITHOUT ROWID",
    ),
    (
        "sensor_remains",
        "CREATE TRIGGER sensor_remains BEFORE DELETE ON sensor BEGIN
    SELECT raise(ROLLBACK, 'the ledger is append-only: a sensor''s position is never deleted');
END",
    ),
];

/// What a file was recognised as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing yet: a new file, or one whose creation was cut short.
    Empty,
    /// A ledger of this version.
    Ledger,
    /// A ledger of that earlier version.
    Older(i64),
}

/// Opens the file for the one writer and makes it a ledger if it is still empty.
pub(crate) fn open_writer(path: &Path, durability: Durability) -> Result<Connection, LedgerError> {
    let sqlite = |error| LedgerError::sqlite(path, "open", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    // SQLite falls back to reading when it may not write, and would fail at the first append instead of here.
    if conn.is_readonly("main").map_err(sqlite)? {
        let why = "it can only be opened for reading".to_owned();
        return Err(LedgerError::ReadOnly {
            path: path.to_owned(),
            doing: "write",
            why,
        });
    }
    configure(&conn).map_err(sqlite)?;
    let found = recognise(&conn, path)?;
    if let Found::Older(version) = found {
        migrate::forward(&conn, path, version, VERSION, &migrate::STEPS)?;
    }
    let mode: String = conn
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(|error| writing_beside(path, error))?;
    if mode != "wal" {
        let why = "its file system cannot share memory between processes, which the write-ahead log needs"
            .to_owned();
        return Err(LedgerError::Io {
            path: path.to_owned(),
            doing: "open",
            why,
        });
    }
    let synchronous = match durability {
        Durability::Process => "normal",
        Durability::Power => "full",
    };
    conn.pragma_update(None, "synchronous", synchronous)
        .map_err(sqlite)?;
    conn.pragma_update(None, "wal_autocheckpoint", BACKSTOP_PAGES)
        .map_err(sqlite)?;
    conn.pragma_update_and_check(None, "journal_size_limit", WAL_KEPT_BYTES, |_| Ok(()))
        .map_err(sqlite)?;
    if found == Found::Empty {
        create(&conn).map_err(|error| writing_beside(path, error))?;
    } else if let Some(what) = alterations(&conn).map_err(sqlite)?.into_iter().next() {
        return Err(LedgerError::Altered {
            path: path.to_owned(),
            what,
        });
    }
    Ok(conn)
}

/// "Cannot open" from a file that is open means that its `-wal` or `-shm` could not be made beside it.
fn writing_beside(path: &Path, error: rusqlite::Error) -> LedgerError {
    match LedgerError::sqlite(path, "write", error) {
        LedgerError::Unreadable { path, why } => LedgerError::ReadOnly {
            path,
            doing: "make files beside",
            why,
        },
        other => other,
    }
}

/// What holds for every connection.
pub(crate) fn configure(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
    // The file may have been prepared by somebody else: its schema may call nothing, and nothing may rewrite it.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_LIMIT)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    Ok(())
}

/// Tells a ledger from an empty file and from everything else.
pub(crate) fn recognise(conn: &Connection, path: &Path) -> Result<Found, LedgerError> {
    let sqlite = |error| LedgerError::sqlite(path, "open", error);
    let number = |pragma: &str| {
        conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .map_err(sqlite)
    };
    let (id, version) = (number("application_id")?, number("user_version")?);
    if id == APPLICATION_ID {
        return match version {
            VERSION => Ok(Found::Ledger),
            found if found > VERSION => Err(LedgerError::TooNew {
                path: path.to_owned(),
                found,
                known: VERSION,
            }),
            found if found > 0 => Ok(Found::Older(found)),
            found => Err(LedgerError::NotALedger {
                path: path.to_owned(),
                what: format!("its version is {found}"),
            }),
        };
    }
    let objects: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(sqlite)?;
    if (id, version, objects) == (0, 0, 0) {
        return Ok(Found::Empty);
    }
    Err(LedgerError::NotALedger {
        path: path.to_owned(),
        what: "it is an SQLite file of something else".to_owned(),
    })
}

/// Makes everything in one transaction, so that a creation cut short leaves an empty file.
fn create(conn: &Connection) -> rusqlite::Result<()> {
    let transaction = rusqlite::Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    for (_, definition) in OBJECTS {
        transaction.execute(definition, [])?;
    }
    transaction.execute("INSERT INTO head VALUES (1, 0, zeroblob(32))", [])?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// How the file's tables, indices and triggers differ from the ones that this version makes, one sentence each.
pub(crate) fn alterations(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    // SQLite's own names (statistics, the automatic index of a text key) are no alteration.
    let mut select =
        conn.prepare("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut found = rows.collect::<rusqlite::Result<std::collections::BTreeMap<String, Option<String>>>>()?;
    let mut differences = Vec::new();
    for (name, definition) in OBJECTS {
        match found.remove(name) {
            None => differences.push(format!("its {name} (table, index or trigger) is missing")),
            Some(sql) if sql.as_deref() != Some(definition) => {
                differences.push(format!("its {name} is not defined as it was made"));
            }
            Some(_) => {}
        }
    }
    differences.extend(found.into_keys().map(|name| format!("{name:?} was added to it")));
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SQLite documents 1 (`NORMAL`) as "a commit in WAL mode is not synced" and 2 (`FULL`) as "it is, before it returns".
    #[test]
    fn durability_chooses_what_a_commit_waits_for() {
        let folder = tempfile::tempdir().unwrap();
        for (durability, expected) in [(Durability::Process, 1), (Durability::Power, 2)] {
            let path = folder.path().join(durability.as_str());
            std::fs::write(&path, "").unwrap();
            let conn = open_writer(&path, durability).unwrap();
            let number = |pragma| {
                conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
                    .unwrap()
            };
            assert_eq!(number("synchronous"), expected);
            assert_eq!(number("wal_autocheckpoint"), BACKSTOP_PAGES);
        }
    }

    #[test]
    fn what_is_created_is_recognised_as_unaltered() {
        let conn = Connection::open_in_memory().unwrap();
        assert_eq!(recognise(&conn, Path::new("x")).unwrap(), Found::Empty);
        create(&conn).unwrap();
        assert_eq!(recognise(&conn, Path::new("x")).unwrap(), Found::Ledger);
        assert_eq!(alterations(&conn).unwrap(), Vec::<String>::new());
        conn.execute_batch("ANALYZE").unwrap();
        assert_eq!(
            alterations(&conn).unwrap(),
            Vec::<String>::new(),
            "SQLite's own tables do not count"
        );
    }

    #[test]
    fn each_alteration_is_named() {
        let conn = Connection::open_in_memory().unwrap();
        create(&conn).unwrap();
        conn.execute_batch(
            "DROP TRIGGER record_remains; DROP INDEX record_by_kind; CREATE INDEX record_by_kind ON record (call); \
             CREATE TRIGGER eats AFTER INSERT ON record BEGIN DELETE FROM session; END",
        )
        .unwrap();
        let found = alterations(&conn).unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        for name in ["record_remains", "record_by_kind", "\"eats\""] {
            assert!(
                found.iter().any(|what| what.contains(name)),
                "{name} in {found:?}"
            );
        }
    }

    #[test]
    fn the_triggers_refuse_every_change_but_an_append() {
        let conn = Connection::open_in_memory().unwrap();
        create(&conn).unwrap();
        let insert = |seq: i64, verb: &str| {
            conn.execute(
                &format!("{verb} INTO record VALUES (?1, 0, NULL, NULL, 'stop', 0, zeroblob(32), zeroblob(32), '{{}}')"),
                [seq],
            )
        };
        insert(1, "INSERT").unwrap();
        insert(2, "INSERT").unwrap();
        conn.execute("UPDATE head SET seq = 2", []).unwrap();
        let refused = [
            insert(4, "INSERT"),
            insert(2, "INSERT OR REPLACE"),
            conn.execute("UPDATE record SET kind = 'gap' WHERE seq = 1", []),
            conn.execute("DELETE FROM record WHERE seq = 2", []),
            conn.execute("UPDATE head SET seq = 1", []),
            conn.execute("DELETE FROM head", []),
            conn.execute("INSERT OR REPLACE INTO head VALUES (1, 9, zeroblob(32))", []),
        ];
        for (index, result) in refused.into_iter().enumerate() {
            assert!(result.is_err(), "case {index}");
        }
        insert(3, "INSERT").unwrap();
    }
}
