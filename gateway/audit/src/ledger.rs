//! The one writer.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use defenseclaw_model::config::Durability;
use defenseclaw_model::record::Draft;
use defenseclaw_model::wire::Cursor;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::chain::{ChainHash, Head, Tip};
use crate::error::LedgerError;
use crate::lock::{Lock, beside};
use crate::row::{COLUMNS, Encoded, Stored, severity_rank, stored, unstored};
use crate::schema;
use crate::session::Tallies;

/// How many of the newest records are checked when the ledger is opened. A write that was torn shows there; the whole
/// chain is [`verify`](crate::verify())'s business.
const TAIL: i64 = 256;

/// [`Ledger::maintain`] folds the WAL into the database once about this many pages have been written to it.
const WORTH_A_CHECKPOINT: u64 = 1_000;

/// Pages that one transaction writes beside its bodies: the last leaf of the table and of each index, head and session.
const PAGES_PER_APPEND: u64 = 8;

const PAGE: u64 = 4_096;

/// What an append added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The first record's place. `last + 1` if there were no drafts.
    pub first: u64,
    /// The last record's place.
    pub last: u64,
    /// The last record's hash (hex).
    pub head: String,
}

/// The one writer of a ledger. While it lives, no other can open the same file.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    conn: Connection,
    /// The end of the chain; `None` after an error, until the file has been looked at again.
    tip: Option<Tip>,
    /// The last end that was known, for [`Ledger::head`] after an error.
    acknowledged: Tip,
    files: Files,
    unfolded_pages: u64,
    // Last, so that the connection is closed before another writer may open the file.
    _lock: Lock,
}

impl Ledger {
    /// Opens the ledger for appending, and creates the file (mode 0640) if there is none; its folder must exist.
    ///
    /// Refused with a reason: a second writer, a folder or file that cannot be written, a file that is no ledger or of a
    /// newer version, a file whose tables were altered, and an end that does not check out.
    pub fn open(path: &Path, durability: Durability) -> Result<Self, LedgerError> {
        // SQLite would take a relative path that begins with `file:` for a URI.
        let path = std::path::absolute(path).map_err(|error| LedgerError::system(path, "find", &error))?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        match fs::metadata(folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Err(LedgerError::NoFolder {
                    folder: folder.to_owned(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LedgerError::NoFolder {
                    folder: folder.to_owned(),
                });
            }
            Err(error) => return Err(LedgerError::system(folder, "look into", &error)),
        }
        let lock = Lock::take(&path)?;
        create_file(&path, folder)?;
        let conn = schema::open_writer(&path, durability)?;
        let tip = check_tail(&conn, &path)?;
        let files = Files::of(&path)?;
        Ok(Self {
            path,
            conn,
            tip: Some(tip),
            acknowledged: tip,
            files,
            unfolded_pages: 0,
            _lock: lock,
        })
    }

    /// Appends the drafts in order, all or none. When this returns, they are acknowledged.
    pub fn append(&mut self, drafts: &[Draft]) -> Result<Appended, LedgerError> {
        let appended = self.write(drafts, None)?;
        // Only a batch can be in already.
        Ok(appended.unwrap_or_else(|| self.nothing()))
    }

    /// Appends a sensor's batch and notes its number and position, all or none. `None`: that batch, or a later one, is in
    /// already and nothing was done. Batches are numbered from 1; a number may be left out, never used twice.
    pub fn append_batch(
        &mut self,
        sensor: &str,
        batch: u64,
        cursor: Cursor,
        drafts: &[Draft],
    ) -> Result<Option<Appended>, LedgerError> {
        if batch == 0 {
            return Err(LedgerError::BatchZero {
                sensor: sensor.to_owned(),
            });
        }
        self.write(
            drafts,
            Some(Position {
                sensor,
                batch,
                cursor,
            }),
        )
    }

    /// The number of the last batch of that sensor that is in, and its position; zeros if there is none.
    pub fn sensor_position(&self, sensor: &str) -> Result<(u64, Cursor), LedgerError> {
        position(&self.conn, sensor).map_err(|error| LedgerError::sqlite(&self.path, "read", error))
    }

    /// The newest acknowledged record.
    pub fn head(&self) -> Head {
        self.acknowledged.head()
    }

    /// The file, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Folds the write-ahead log into the database if that has become worth the while. It waits for the disk, so call it
    /// when no append is waiting; without it an append does so itself every few thousand records.
    ///
    /// An error changes nothing for appends.
    pub fn maintain(&mut self) -> Result<(), LedgerError> {
        if self.unfolded_pages < WORTH_A_CHECKPOINT {
            return Ok(());
        }
        // Not again at once after a failure either.
        self.unfolded_pages = 0;
        self.conn
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            .map_err(|error| LedgerError::sqlite(&self.path, "tidy up", error))
    }

    fn nothing(&self) -> Appended {
        let Tip { seq, hash } = self.acknowledged;
        Appended {
            first: seq + 1,
            last: seq,
            head: hash.to_string(),
        }
    }

    fn write(
        &mut self,
        drafts: &[Draft],
        position: Option<Position<'_>>,
    ) -> Result<Option<Appended>, LedgerError> {
        let rows: Vec<Encoded<'_>> = drafts
            .iter()
            .enumerate()
            .map(|(index, draft)| Encoded::new(index, draft))
            .collect::<Result<_, _>>()?;
        if rows.is_empty() && position.is_none() {
            return Ok(None);
        }
        let mut tallies = Tallies::default();
        drafts.iter().for_each(|draft| tallies.add(draft));
        let result = self.transact(&rows, &tallies, position);
        match &result {
            Ok(_) => {
                let bytes: u64 = rows.iter().map(|row| row.body.len() as u64).sum();
                self.unfolded_pages += PAGES_PER_APPEND + bytes / PAGE;
            }
            Err(_) => self.tip = None,
        }
        result
    }

    fn transact(
        &mut self,
        rows: &[Encoded<'_>],
        tallies: &Tallies,
        position: Option<Position<'_>>,
    ) -> Result<Option<Appended>, LedgerError> {
        self.files.check()?;
        let before = match self.tip {
            Some(tip) => tip,
            None => check_tail(&self.conn, &self.path)?,
        };
        if before.seq < self.acknowledged.seq {
            let what = format!(
                "records up to {} were acknowledged and are gone",
                self.acknowledged.seq
            );
            return Err(LedgerError::BrokenTail {
                path: self.path.clone(),
                seq: before.seq + 1,
                what,
            });
        }
        let after = match commit(&self.conn, before, rows, tallies, position) {
            Ok(Some(tip)) => tip,
            Ok(None) => {
                self.tip = Some(before);
                return Ok(None);
            }
            Err(Interrupted::Foreign) => {
                return Err(LedgerError::Foreign {
                    path: self.path.clone(),
                    seq: before.seq,
                });
            }
            Err(Interrupted::Sqlite(error)) => {
                return Err(LedgerError::sqlite(&self.path, "append to", error));
            }
        };
        self.tip = Some(after);
        self.acknowledged = after;
        Ok(Some(Appended {
            first: before.seq + 1,
            last: after.seq,
            head: after.hash.to_string(),
        }))
    }
}

/// A sensor's batch.
#[derive(Debug, Clone, Copy)]
struct Position<'a> {
    sensor: &'a str,
    batch: u64,
    cursor: Cursor,
}

/// Why a transaction was rolled back.
enum Interrupted {
    Foreign,
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Interrupted {
    fn from(error: rusqlite::Error) -> Self {
        // The trigger or the primary key found that a record stands where this one belongs.
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => Self::Foreign,
            _ => Self::Sqlite(error),
        }
    }
}

/// One append, as one transaction. Gives the new end, or `None` if the batch is in already.
fn commit(
    conn: &Connection,
    before: Tip,
    rows: &[Encoded<'_>],
    tallies: &Tallies,
    position: Option<Position<'_>>,
) -> Result<Option<Tip>, Interrupted> {
    // Rolls back when dropped. "Immediate" waits for another program's lock here, not half-way.
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    if let Some(Position {
        sensor,
        batch,
        cursor,
    }) = position
    {
        if self::position(conn, sensor)?.0 >= batch {
            return Ok(None);
        }
        conn.prepare_cached(
            "INSERT OR ROLLBACK INTO sensor VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO UPDATE SET batch = excluded.batch, \
             security = excluded.security, telemetry = excluded.telemetry",
        )?
        .execute(params![sensor, stored(batch), stored(cursor.security), stored(cursor.telemetry)])?;
    }
    let after = insert(conn, before, rows)?;
    tallies.store(conn)?;
    if after != before {
        let moved = conn
            .prepare_cached(
                "UPDATE OR ROLLBACK head SET seq = ?1, hash = ?2 WHERE only = 1 AND seq = ?3 AND hash = ?4",
            )?
            .execute(params![
                stored(after.seq),
                after.hash.0,
                stored(before.seq),
                before.hash.0
            ])?;
        if moved != 1 {
            return Err(Interrupted::Foreign);
        }
    }
    transaction.commit()?;
    Ok(Some(after))
}

fn insert(conn: &Connection, before: Tip, rows: &[Encoded<'_>]) -> rusqlite::Result<Tip> {
    let mut insert =
        conn.prepare_cached("INSERT OR ROLLBACK INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
    let mut tip = before;
    for row in rows {
        let next = row.follow(tip);
        insert.execute(params![
            stored(next.seq),
            stored(row.time_ns),
            row.session,
            row.call,
            row.kind,
            severity_rank(row.severity),
            tip.hash.0,
            next.hash.0,
            row.body_sql(),
        ])?;
        tip = next;
    }
    Ok(tip)
}

fn position(conn: &Connection, sensor: &str) -> rusqlite::Result<(u64, Cursor)> {
    let found = conn
        .prepare_cached("SELECT batch, security, telemetry FROM sensor WHERE name = ?1")?
        .query_row([sensor], |row| {
            let number = |index| row.get(index).map(unstored);
            Ok((
                number(0)?,
                Cursor {
                    security: number(1)?,
                    telemetry: number(2)?,
                },
            ))
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Reads the stored head: the end of the chain as the last append left it.
pub(crate) fn stored_head(conn: &Connection) -> rusqlite::Result<Tip> {
    conn.prepare_cached("SELECT seq, hash FROM head")?
        .query_row([], |row| {
            Ok(Tip {
                seq: unstored(row.get(0)?),
                hash: ChainHash(row.get(1)?),
            })
        })
}

/// Checks that the newest records form a chain that ends at the stored head, and gives that end.
fn check_tail(conn: &Connection, path: &Path) -> Result<Tip, LedgerError> {
    let sqlite = |error| LedgerError::sqlite(path, "read", error);
    let broken = |seq, what: &str| LedgerError::BrokenTail {
        path: path.to_owned(),
        seq,
        what: what.to_owned(),
    };
    let head = stored_head(conn).map_err(sqlite)?;
    let sql = format!("SELECT {COLUMNS} FROM record ORDER BY seq DESC LIMIT {TAIL}");
    let mut select = conn.prepare(&sql).map_err(sqlite)?;
    let mut rows = select.query([]).map_err(sqlite)?;
    // From the head backwards: what the record under review must be.
    let mut expected = head;
    while let Some(row) = rows.next().map_err(sqlite)? {
        let found = Stored::from_row(row).map_err(|fault| broken(expected.seq, &fault.to_string()))?;
        if found.content.seq > expected.seq {
            return Err(broken(found.content.seq, "it was not put there by an append"));
        }
        if found.content.seq < expected.seq {
            return Err(broken(
                found.content.seq + 1,
                &format!("it is missing, as is all up to {}", expected.seq),
            ));
        }
        if found.hash != expected.hash {
            return Err(broken(
                expected.seq,
                "its hash is not the one that what follows was built on",
            ));
        }
        if !found.is_sealed() {
            return Err(broken(expected.seq, "its content does not match its hash"));
        }
        expected = Tip {
            seq: expected.seq - 1,
            hash: found.prev_hash,
        };
    }
    // With no more than TAIL records the walk must end where every chain begins; with none, it has not moved.
    if head.seq.saturating_sub(expected.seq) < TAIL.unsigned_abs() && expected != Tip::START {
        return Err(broken(
            expected.seq.max(1),
            "it is missing, or the first record does not begin the chain",
        ));
    }
    Ok(head)
}

/// Creates the file so that the group may read it and nobody else.
fn create_file(path: &Path, folder: &Path) -> Result<(), LedgerError> {
    // An existing file must not be opened here: closing it would drop the locks of every other connection that this
    // process has on it (the readers').
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(path)
    {
        // SQLite makes the content durable; that the folder lists the file is for whoever created it.
        Ok(_) => File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| LedgerError::system(folder, "write", &error)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(LedgerError::system(path, "create", &error)),
    }
}

/// The files that the open connection writes to, to notice that they are no longer the ones under these names: what is
/// appended to a deleted file is gone with the process.
#[derive(Debug)]
struct Files([(PathBuf, (u64, u64)); 2]);

impl Files {
    fn of(ledger: &Path) -> Result<Self, LedgerError> {
        let identified = |path: PathBuf| match identity(&path) {
            Ok(id) => Ok((path, id)),
            Err(error) => Err(LedgerError::system(&path, "find", &error)),
        };
        Ok(Self([
            identified(ledger.to_owned())?,
            identified(beside(ledger, "-wal"))?,
        ]))
    }

    fn check(&self) -> Result<(), LedgerError> {
        match self.0.iter().find(|(path, id)| identity(path).ok() != Some(*id)) {
            None => Ok(()),
            Some((path, _)) => Err(LedgerError::Replaced { path: path.clone() }),
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}
