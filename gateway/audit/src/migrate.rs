//! An older version's ledger becomes one of this version, after a copy of it was kept.
//!
//! The copy lies beside the ledger as `ledger.db.schema-N.bak`, and is a whole ledger of that version: whoever has to go back moves it
//! into the ledger's place. All steps are one transaction, so that a migration that is cut short leaves the older ledger. Records
//! are never rewritten: their hashes stand.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use crate::error::LedgerError;
use crate::lock::beside;

/// What makes a ledger of version N + 1 of one of version N: the statement at index N - 1. There has been one version so far.
pub(crate) const STEPS: [&str; 0] = [];

/// Brings the file from version `found` to `wanted`.
pub(crate) fn forward(
    conn: &Connection,
    path: &Path,
    found: i64,
    wanted: i64,
    steps: &[&str],
) -> Result<(), LedgerError> {
    let missing = || LedgerError::NotALedger {
        path: path.to_owned(),
        what: format!("its version is {found}, which this program cannot bring to {wanted}"),
    };
    let first = usize::try_from(found - 1).map_err(|_| missing())?;
    let last = usize::try_from(wanted - 1).map_err(|_| missing())?;
    let steps = steps.get(first..last).ok_or_else(missing)?;
    keep(conn, path, found)?;
    let sqlite = |error| LedgerError::sqlite(path, "migrate", error);
    let transaction =
        rusqlite::Transaction::new_unchecked(conn, TransactionBehavior::Immediate).map_err(sqlite)?;
    for step in steps {
        transaction.execute_batch(step).map_err(sqlite)?;
    }
    transaction
        .pragma_update(None, "user_version", wanted)
        .map_err(sqlite)?;
    transaction.commit().map_err(sqlite)?;
    // The file's own header says the version, to programs that do not read the write-ahead log.
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(sqlite)
}

/// Where the copy of a ledger of that version lies.
fn kept(path: &Path, version: i64) -> PathBuf {
    beside(path, &format!(".schema-{version}.bak"))
}

/// Copies the ledger as it is. A copy that is there already is of an earlier attempt at the same, and is made anew.
fn keep(conn: &Connection, path: &Path, version: i64) -> Result<(), LedgerError> {
    let kept = kept(path, version);
    let new = beside(&kept, ".new");
    let system = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| LedgerError::system(&path, "keep a copy of the older ledger in", &error)
    };
    if new.symlink_metadata().is_ok() {
        fs::remove_file(&new).map_err(system(&new))?;
    }
    // SQLite fills an empty file and keeps its mode; a new one would get whatever the process's mask leaves.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(&new);
    let file = file.map_err(system(&new))?;
    let name = new.to_string_lossy();
    conn.execute("VACUUM INTO ?1", [&name])
        .map_err(|error| LedgerError::sqlite(&new, "keep a copy of the older ledger in", error))?;
    file.sync_all().map_err(system(&new))?;
    fs::rename(&new, &kept).map_err(system(&kept))
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::config::Durability;
    use defenseclaw_model::record::{Draft, RecordBody};

    use super::*;
    use crate::{Ledger, verify};

    const TO_TWO: &str = "CREATE TABLE note (text TEXT) STRICT";

    /// A ledger with a record, and its path.
    fn ledger() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let mut ledger = Ledger::open(&path, Durability::Process).unwrap();
        let body = RecordBody::Daemon {
            daemon: "test".into(),
            state: "noted".into(),
            detail: "before".into(),
        };
        ledger
            .append(&[Draft {
                time_ns: 1,
                session: None,
                call: None,
                body,
            }])
            .unwrap();
        (folder, path)
    }

    fn version(conn: &Connection) -> i64 {
        conn.pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn a_migration_keeps_the_older_ledger_whole_and_every_record() {
        let (_folder, path) = ledger();
        let conn = Connection::open(&path).unwrap();
        forward(&conn, &path, 1, 2, &[TO_TWO]).unwrap();
        assert_eq!(version(&conn), 2);
        let records: i64 = conn
            .query_row("SELECT count(*) FROM record", [], |row| row.get(0))
            .unwrap();
        assert_eq!(records, 1);
        // What preinst reads: the header, without the write-ahead log.
        assert_eq!(fs::read(&path).unwrap()[60..64], [0, 0, 0, 2]);
        // What was kept is a ledger of the older version, which that version takes and finds in order.
        let kept = kept(&path, 1);
        let back = path.with_file_name("back.db");
        fs::copy(&kept, &back).unwrap();
        assert_eq!(Ledger::open(&back, Durability::Process).unwrap().head().seq, 1);
        assert!(verify(&back, &mut |_, _| {}).unwrap().problems.is_empty());
    }

    #[test]
    fn a_step_that_fails_leaves_the_older_ledger() {
        let (_folder, path) = ledger();
        let conn = Connection::open(&path).unwrap();
        let error = forward(&conn, &path, 1, 3, &[TO_TWO, "CREATE NONSENSE"]).unwrap_err();
        assert!(error.to_string().contains("migrate"), "{error}");
        assert_eq!(version(&conn), 1);
        drop(conn);
        assert_eq!(Ledger::open(&path, Durability::Process).unwrap().head().seq, 1);
    }

    #[test]
    fn a_version_without_its_steps_is_refused_and_untouched() {
        let (_folder, path) = ledger();
        let conn = Connection::open(&path).unwrap();
        assert!(forward(&conn, &path, 1, 3, &[TO_TWO]).is_err());
        assert_eq!(version(&conn), 1);
        assert!(!kept(&path, 1).exists());
    }

    #[test]
    fn every_version_has_its_step_and_the_package_knows_the_newest() {
        assert_eq!(STEPS.len() as i64, crate::schema::VERSION - 1);
        let preinst = include_str!("../../../packaging/debian/preinst");
        let line = format!("SCHEMA={}", crate::schema::VERSION);
        assert!(
            preinst.lines().any(|known| known == line),
            "{line} stands in no line of preinst"
        );
    }
}
