//! Snapshots of inventories in SQLite: append-only, with a bound on how many are kept.
//!
//! What an item was is stored once, however many scans found it so. A scan or an item is never changed; the oldest scans go when
//! there are more than [`KEPT_SCANS`].

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use crate::item::{Inventory, Item, Trouble, sha256_of};

/// The file's name in the state folder.
pub const FILE: &str = "inventory.db";

/// Raised with every change of the tables. A file with a higher one is refused.
const VERSION: i64 = 1;

/// Marks the file as ours (`file(1)` shows it): "DCI" and a zero byte.
const APPLICATION_ID: i64 = 0x4443_4900;

/// How many scans are kept: one a day for more than a year. Most scans share nearly all items, which are stored once.
pub const KEPT_SCANS: u64 = 400;

/// How long another program's lock is waited for (ms).
const BUSY_MS: u64 = 5_000;

const TABLES: &str = "
CREATE TABLE scan (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns INTEGER NOT NULL CHECK (time_ns >= 0),
    head TEXT NOT NULL,
    items INTEGER NOT NULL,
    troubles TEXT NOT NULL
) STRICT;
CREATE TABLE body (
    hash TEXT PRIMARY KEY,
    item TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE found (
    scan INTEGER NOT NULL REFERENCES scan (id),
    place INTEGER NOT NULL,
    hash TEXT NOT NULL REFERENCES body (hash),
    PRIMARY KEY (scan, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX found_by_hash ON found (hash);
CREATE TRIGGER scan_stays BEFORE UPDATE ON scan BEGIN
    SELECT raise(ROLLBACK, 'scans are never changed');
END;
CREATE TRIGGER body_stays BEFORE UPDATE ON body BEGIN
    SELECT raise(ROLLBACK, 'items of scans are never changed');
END;
CREATE TRIGGER found_stays BEFORE UPDATE ON found BEGIN
    SELECT raise(ROLLBACK, 'items of scans are never changed');
END;
";

/// Why snapshots cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none yet.
    #[error("there is no inventory at {}. Make one with `defenseclaw-cli inventory scan`", .0.display())]
    None(PathBuf),
    /// No such scan.
    #[error("there is no scan {scan} in {}; `inventory scans` lists them", path.display())]
    NoScan {
        /// Which.
        scan: String,
        /// Where.
        path: PathBuf,
    },
    /// The file or its folder cannot be made or opened.
    #[error("{} cannot be opened: {source}. Name a folder that this user may write in DEFENSECLAW_STATE", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no inventory, or of a newer program.
    #[error("{}: {why}", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// SQLite refuses.
    #[error("{}: {source}. If it is damaged, move it away and scan anew", path.display())]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// What is stored is not what was stored.
    #[error("{}: scan {scan} cannot be read: {why}. Move the file away and scan anew", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which scan.
        scan: u64,
        /// What is wrong.
        why: String,
    },
}

/// One scan, without its items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanInfo {
    /// Its number: later scans have greater ones.
    pub scan: u64,
    /// When it began, ns since the Unix epoch.
    pub time_ns: u64,
    /// The host's name.
    pub host: String,
    /// The program that scanned.
    pub tool: String,
    /// The homes and projects that were looked at.
    pub roots: Vec<String>,
    /// Revision of rules and policy.
    pub policy: Option<String>,
    /// How many things it found.
    pub items: u64,
    /// How many it could not look at.
    pub troubles: u64,
}

/// What a scan says besides its items, as it is stored.
#[derive(Serialize, Deserialize)]
struct Head {
    host: String,
    tool: String,
    roots: Vec<String>,
    policy: Option<String>,
}

/// Snapshots in one file.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

/// Where snapshots are kept: in the state folder where this user may write it, else in the user's own.
pub fn place(state: &Path, home: Option<&Path>) -> PathBuf {
    let own = home.map(|home| home.join(".local/state/defenseclaw"));
    match own {
        Some(own) if !may_write(state) => own.join(FILE),
        _ => state.join(FILE),
    }
}

/// Whether this user may make files in a folder, and write the one that is there.
fn may_write(folder: &Path) -> bool {
    let allowed = |path: &Path, mode| nix::unistd::access(path, mode).is_ok();
    let write = nix::unistd::AccessFlags::W_OK;
    let file = folder.join(FILE);
    allowed(folder, write | nix::unistd::AccessFlags::X_OK) && (!file.exists() || allowed(&file, write))
}

impl Store {
    /// Opens the file, or makes it, readable by its owner alone: it tells what lies in people's homes.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent() {
            let mut builder = std::fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(failed)?;
        }
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        match made {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let mut store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        store.prepare()?;
        Ok(store)
    }

    /// Opens the file to be read.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::None(path.to_owned()));
        }
        let store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        match store.version()? {
            0 => Err(StoreError::None(path.to_owned())),
            _ => Ok(store),
        }
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, StoreError> {
        let sqlite = |source| StoreError::Sqlite {
            path: path.to_owned(),
            source,
        };
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let path_real = path.parent().and_then(|folder| folder.canonicalize().ok());
        let path_real = path_real.map_or_else(
            || path.to_owned(),
            |folder| folder.join(path.file_name().unwrap_or_default()),
        );
        let connection = Connection::open_with_flags(path_real, flags).map_err(sqlite)?;
        let store = Self {
            connection,
            path: path.to_owned(),
        };
        store
            .connection
            .busy_timeout(std::time::Duration::from_millis(BUSY_MS))
            .map_err(sqlite)?;
        Ok(store)
    }

    /// The version of the tables; 0: there are none.
    fn version(&self) -> Result<i64, StoreError> {
        let number = |name: &str| {
            self.connection
                .query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
                .map_err(|source| self.sqlite(source))
        };
        let (id, version) = (number("application_id")?, number("user_version")?);
        let foreign = |why: String| StoreError::Foreign {
            path: self.path.clone(),
            why,
        };
        match (id, version) {
            (0, 0) => Ok(0),
            (APPLICATION_ID, VERSION) => Ok(version),
            (APPLICATION_ID, newer) => Err(foreign(format!(
                "it has version {newer} of the tables, this program knows {VERSION}; use the program that wrote it"
            ))),
            _ => Err(foreign("it is no inventory; move it away".to_owned())),
        }
    }

    fn prepare(&mut self) -> Result<(), StoreError> {
        if self.version()? == VERSION {
            return Ok(());
        }
        let made = || -> rusqlite::Result<()> {
            let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
            let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            // Another process may have made them meanwhile.
            if version == 0 {
                transaction.execute_batch(TABLES)?;
                transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
                transaction.pragma_update(None, "user_version", VERSION)?;
            }
            transaction.commit()
        };
        made().map_err(|source| self.sqlite(source))
    }

    fn sqlite(&self, source: rusqlite::Error) -> StoreError {
        StoreError::Sqlite {
            path: self.path.clone(),
            source,
        }
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps an inventory as the newest scan, and lets the oldest go.
    pub fn add(&mut self, inventory: &Inventory) -> Result<ScanInfo, StoreError> {
        self.add_keeping(inventory, KEPT_SCANS)
    }

    fn add_keeping(&mut self, inventory: &Inventory, kept: u64) -> Result<ScanInfo, StoreError> {
        let head = Head {
            host: inventory.host.clone(),
            tool: inventory.tool.clone(),
            roots: inventory.roots.clone(),
            policy: inventory.policy.clone(),
        };
        let scan =
            insert(&mut self.connection, inventory, &head, kept).map_err(|source| self.sqlite(source))?;
        Ok(ScanInfo {
            scan,
            time_ns: inventory.time_ns,
            host: head.host,
            tool: head.tool,
            roots: head.roots,
            policy: head.policy,
            items: inventory.items.len() as u64,
            troubles: inventory.troubles.len() as u64,
        })
    }

    /// All scans, the oldest first.
    pub fn scans(&self) -> Result<Vec<ScanInfo>, StoreError> {
        let read = || -> rusqlite::Result<Vec<(Stored, u64)>> {
            let query = "SELECT id, time_ns, head, troubles, items FROM scan ORDER BY id";
            let mut statement = self.connection.prepare(query)?;
            let rows = statement.query_map([], |row| Ok((Stored::of(row)?, row.get(4)?)))?;
            rows.collect()
        };
        let stored = read().map_err(|source| self.sqlite(source))?;
        stored
            .into_iter()
            .map(|(stored, items)| self.info(&stored, items))
            .collect()
    }

    fn info(&self, stored: &Stored, items: u64) -> Result<ScanInfo, StoreError> {
        let (head, troubles) = self.parts(stored)?;
        Ok(ScanInfo {
            scan: stored.id,
            time_ns: stored.time_ns,
            host: head.host,
            tool: head.tool,
            roots: head.roots,
            policy: head.policy,
            items,
            troubles: troubles.len() as u64,
        })
    }

    fn parts(&self, stored: &Stored) -> Result<(Head, Vec<Trouble>), StoreError> {
        let damaged = |error: serde_json::Error| self.damaged(stored.id, &error);
        let head = serde_json::from_str(&stored.head).map_err(damaged)?;
        let troubles = serde_json::from_str(&stored.troubles).map_err(damaged)?;
        Ok((head, troubles))
    }

    fn damaged(&self, scan: u64, why: &dyn std::fmt::Display) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            scan,
            why: why.to_string(),
        }
    }

    /// The newest inventory.
    pub fn last(&self) -> Result<Inventory, StoreError> {
        match self.stored(
            "SELECT id, time_ns, head, troubles FROM scan ORDER BY id DESC LIMIT 1",
            0,
        )? {
            Some(stored) => self.whole(&stored),
            None => Err(StoreError::None(self.path.clone())),
        }
    }

    /// The inventory of that number.
    pub fn scan(&self, scan: u64) -> Result<Inventory, StoreError> {
        let query = "SELECT id, time_ns, head, troubles FROM scan WHERE id = ?1";
        match self.stored(query, scan)? {
            Some(stored) => self.whole(&stored),
            None => Err(StoreError::NoScan {
                scan: scan.to_string(),
                path: self.path.clone(),
            }),
        }
    }

    /// The newest inventory that is not newer than a time (ns); where all are newer, the oldest.
    pub fn as_of(&self, time_ns: u64) -> Result<Inventory, StoreError> {
        let before = "SELECT id, time_ns, head, troubles FROM scan WHERE time_ns <= ?1 ORDER BY time_ns DESC, id DESC LIMIT 1";
        let oldest = "SELECT id, time_ns, head, troubles FROM scan ORDER BY time_ns, id LIMIT 1";
        let stored = match self.stored(before, time_ns)? {
            Some(stored) => Some(stored),
            None => self.stored(oldest, 0)?,
        };
        match stored {
            Some(stored) => self.whole(&stored),
            None => Err(StoreError::None(self.path.clone())),
        }
    }

    fn stored(&self, query: &str, value: u64) -> Result<Option<Stored>, StoreError> {
        // SQLite's numbers are signed; no time or number of a scan comes near.
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        let found = if query.contains("?1") {
            self.connection.query_row(query, [value], Stored::of)
        } else {
            self.connection.query_row(query, [], Stored::of)
        };
        found.optional().map_err(|source| self.sqlite(source))
    }

    fn whole(&self, stored: &Stored) -> Result<Inventory, StoreError> {
        let (head, troubles) = self.parts(stored)?;
        let read = || -> rusqlite::Result<Vec<String>> {
            let query = "SELECT item FROM found JOIN body USING (hash) WHERE scan = ?1 ORDER BY place";
            let mut statement = self.connection.prepare(query)?;
            let rows = statement.query_map([stored.id], |row| row.get(0))?;
            rows.collect()
        };
        let texts = read().map_err(|source| self.sqlite(source))?;
        let items: Result<Vec<Item>, _> = texts.iter().map(|text| serde_json::from_str(text)).collect();
        Ok(Inventory {
            time_ns: stored.time_ns,
            host: head.host,
            tool: head.tool,
            roots: head.roots,
            policy: head.policy,
            items: items.map_err(|error| self.damaged(stored.id, &error))?,
            troubles,
        })
    }
}

/// A row of `scan`.
struct Stored {
    id: u64,
    time_ns: u64,
    head: String,
    troubles: String,
}

impl Stored {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            time_ns: row.get(1)?,
            head: row.get(2)?,
            troubles: row.get(3)?,
        })
    }
}

/// A structure of texts and numbers as JSON, which cannot fail but must not panic either.
fn text_of(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn insert(
    connection: &mut Connection,
    inventory: &Inventory,
    head: &Head,
    kept: u64,
) -> rusqlite::Result<u64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute(
        "INSERT INTO scan (time_ns, head, items, troubles) VALUES (?1, ?2, ?3, ?4)",
        params![
            inventory.time_ns,
            text_of(head)?,
            inventory.items.len() as u64,
            text_of(&inventory.troubles)?
        ],
    )?;
    let scan = transaction.last_insert_rowid();
    {
        let mut body =
            transaction.prepare("INSERT INTO body (hash, item) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
        let mut found = transaction.prepare("INSERT INTO found (scan, place, hash) VALUES (?1, ?2, ?3)")?;
        for (place, item) in inventory.items.iter().enumerate() {
            let text = text_of(item)?;
            let hash = sha256_of(text.as_bytes());
            body.execute(params![hash, text])?;
            found.execute(params![scan, place as u64, hash])?;
        }
    }
    let oldest = scan.saturating_sub(i64::try_from(kept).unwrap_or(i64::MAX));
    let gone = "SELECT id FROM scan WHERE id <= ?1";
    transaction.execute(&format!("DELETE FROM found WHERE scan IN ({gone})"), [oldest])?;
    if transaction.execute("DELETE FROM scan WHERE id <= ?1", [oldest])? > 0 {
        transaction.execute("DELETE FROM body WHERE hash NOT IN (SELECT hash FROM found)", [])?;
    }
    transaction.commit()?;
    Ok(u64::try_from(scan).unwrap_or_default())
}

#[cfg(test)]
mod tests;
