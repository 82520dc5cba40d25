//! Read-only views of the ledger.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use defenseclaw_model::record::Record;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params_from_iter};

use crate::chain::Head;
use crate::error::LedgerError;
use crate::ledger::stored_head;
use crate::lock::beside;
use crate::query::Query;
use crate::row::{COLUMNS, read_record, stored};
use crate::schema::{self, Found};
use crate::session::{self, SessionSummary};

/// A read-only view. Any number can be open, in any process, while a writer works or none does.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    conn: Connection,
    view: View,
}

/// How the file is read.
#[derive(Debug, PartialEq, Eq)]
enum View {
    /// Together with a writer's log; the number changes with every append by another connection.
    Live { version: i64 },
    /// As a file that nobody changes: no log lies beside it, and none can be made (a read-only folder or medium).
    Still { state: FileState },
}

/// What changes when a writer comes to a file that was still.
#[derive(Debug, PartialEq, Eq)]
struct FileState {
    modified: Option<SystemTime>,
    bytes: u64,
    has_log: bool,
}

impl Reader {
    /// Opens the ledger for reading. It is never created, nor is its end checked: a broken ledger can be looked at.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let path = std::path::absolute(path).map_err(|error| LedgerError::system(path, "find", &error))?;
        // A missing file is told apart here; whether it may be read, SQLite says.
        if matches!(fs::metadata(&path), Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
            return Err(LedgerError::NoLedger { path });
        }
        let (conn, view) = connect(&path)?;
        Ok(Self { path, conn, view })
    }

    /// The file, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The end of the chain.
    pub fn head(&self) -> Result<Head, LedgerError> {
        stored_head(&self.conn)
            .map(|tip| tip.head())
            .map_err(|error| self.failed(error))
    }

    /// The records that match, in the order of the chain.
    pub fn query(&self, query: &Query) -> Result<Vec<Record>, LedgerError> {
        let mut records = Vec::new();
        self.visit(query, |record| {
            records.push(record);
            ControlFlow::Continue(())
        })?;
        Ok(records)
    }

    /// Hands over the records that match one by one, in the order of the chain, until there are no more or the visitor
    /// breaks off. Nothing is collected. A visitor that takes its time keeps the writer from folding up its log.
    pub fn visit(
        &self,
        query: &Query,
        mut visitor: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), LedgerError> {
        let statement = query.statement();
        let mut select = self
            .conn
            .prepare_cached(&statement.sql)
            .map_err(|error| self.failed(error))?;
        let mut rows = select
            .query(params_from_iter(statement.parameters))
            .map_err(|error| self.failed(error))?;
        while let Some(row) = rows.next().map_err(|error| self.failed(error))? {
            if visitor(read_record(&self.path, row)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The record at that place.
    pub fn get(&self, seq: u64) -> Result<Option<Record>, LedgerError> {
        let Ok(_) = i64::try_from(seq) else {
            return Ok(None);
        };
        let sql = format!("SELECT {COLUMNS} FROM record WHERE seq = ?1");
        self.conn
            .prepare_cached(&sql)
            .and_then(|mut select| {
                select
                    .query_row([stored(seq)], |row| Ok(read_record(&self.path, row)))
                    .optional()
            })
            .map_err(|error| self.failed(error))?
            .transpose()
    }

    /// What each session adds up to, the one with the newest record first.
    pub fn sessions(&self) -> Result<Vec<SessionSummary>, LedgerError> {
        let rows = session::load(&self.conn).map_err(|error| self.failed(error))?;
        rows.into_iter()
            .map(|row| {
                row.ok_or_else(|| self.damaged("a session's summary holds what was never written there"))
            })
            .collect()
    }

    /// Whether anything was appended since the last call, or since this view was opened. Costs microseconds.
    pub fn changed(&mut self) -> Result<bool, LedgerError> {
        match &mut self.view {
            View::Live { version } => {
                let now = data_version(&self.conn)
                    .map_err(|error| LedgerError::sqlite(&self.path, "read", error))?;
                Ok(std::mem::replace(version, now) != now)
            }
            View::Still { state } => {
                if *state == FileState::of(&self.path) {
                    return Ok(false);
                }
                (self.conn, self.view) = connect(&self.path)?;
                Ok(true)
            }
        }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.conn
    }

    pub(crate) fn failed(&self, error: rusqlite::Error) -> LedgerError {
        LedgerError::sqlite(&self.path, "read", error)
    }

    fn damaged(&self, what: &str) -> LedgerError {
        LedgerError::Damaged {
            path: self.path.clone(),
            what: what.to_owned(),
        }
    }
}

impl FileState {
    fn of(path: &Path) -> Self {
        let found = fs::metadata(path).ok();
        Self {
            modified: found.as_ref().and_then(|found| found.modified().ok()),
            bytes: found.map_or(0, |found| found.len()),
            has_log: has_log(path),
        }
    }
}

/// Whether records may lie in a log that is not yet in the database.
fn has_log(path: &Path) -> bool {
    fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

fn connect(path: &Path) -> Result<(Connection, View), LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let still = FileState::of(path);
    let live = Connection::open_with_flags(path, flags).and_then(|conn| {
        schema::configure(&conn)?;
        let version = data_version(&conn)?;
        // The first real read, which is where a log that cannot be shared shows.
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok((conn, version))
    });
    let (conn, view) = match live {
        Ok((conn, version)) => (conn, View::Live { version }),
        Err(error) if cannot_share_log(&error) && !still.has_log => {
            let conn = open_still(path, flags).map_err(|error| LedgerError::sqlite(path, "read", error))?;
            (conn, View::Still { state: still })
        }
        Err(error) if cannot_share_log(&error) => {
            let why = format!(
                "its newest records are in its -wal file, which cannot be shared from here ({error})"
            );
            return Err(LedgerError::Unreadable {
                path: path.to_owned(),
                why,
            });
        }
        Err(error) => return Err(LedgerError::sqlite(path, "read", error)),
    };
    match schema::recognise(&conn, path)? {
        Found::Ledger => Ok((conn, view)),
        Found::Older(found) => Err(LedgerError::TooOld {
            path: path.to_owned(),
            found,
            known: schema::VERSION,
        }),
        Found::Empty => Err(LedgerError::NoLedger {
            path: path.to_owned(),
        }),
    }
}

fn cannot_share_log(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
    )
}

/// Opens a file that nobody changes: without a log, without locks.
fn open_still(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let mut uri = "file:".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => uri.push(char::from(byte)),
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    let conn = Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?;
    schema::configure(&conn)?;
    Ok(conn)
}

fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_and_the_writer_can_be_handed_to_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<Reader>();
        is_send::<crate::Ledger>();
    }
}
