//! Pins in SQLite. One process has the file, the gateway: it is locked for as long as it is open.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use defenseclaw_model::pins::{Pin, PinApproval, PinCheck, PinSeen, PinState};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use super::Content;
use super::lookup::Known;
use crate::canonical::hex;

/// By which the file is recognised (`PRAGMA application_id`): "dcPN".
const APPLICATION: i64 = 0x6463_504e;
/// The schema's version (`PRAGMA user_version`).
const VERSION: i64 = 1;
/// Most pins of one user. A busy host has some dozens of servers.
pub const MAX_OF_USER: usize = 1_000;
/// Largest content of one pin (bytes). Servers with very many tools have half a megabyte.
pub const MAX_CONTENT: usize = 4 << 20;
/// Longest name of a server, file or folder (bytes).
const MAX_NAME: usize = 4 << 10;
/// How long another process may still have the file: one that is just ending.
const BUSY: Duration = Duration::from_millis(500);
/// Hex digits of a pin's id: enough that two of one host's pins do not meet.
const ID: usize = 10;

const SCHEMA: &str = "CREATE TABLE pin (
    id TEXT PRIMARY KEY,
    uid INTEGER NOT NULL,
    server TEXT NOT NULL,
    scope TEXT NOT NULL,
    file TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('new', 'same', 'changed', 'gone')),
    pinned_ns INTEGER NOT NULL,
    seen_ns INTEGER NOT NULL,
    approved_by INTEGER,
    pinned TEXT NOT NULL,
    seen TEXT NOT NULL,
    pinned_digest TEXT NOT NULL,
    seen_digest TEXT NOT NULL
) STRICT, WITHOUT ROWID";

const COLUMNS: &str = "id, uid, server, scope, file, state, pinned_ns, seen_ns, approved_by, pinned, seen, pinned_digest, seen_digest";

/// Why pins cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The file.
    #[error("the pins of MCP servers in {} cannot be {doing}: {why}. If the file is damaged, move it away: every server is then new", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why.
        why: String,
    },
    /// Of another program, or a newer version.
    #[error("{} is no file of pins of this version. Upgrade, or move it away: every server is then new", .0.display())]
    Foreign(PathBuf),
    /// Not there.
    #[error("there is no pin {0:?}; `defenseclaw-cli mcp pins list` shows them")]
    Unknown(String),
    /// Not what was looked at.
    #[error(
        "the server {server} was seen again since, and is another: look at `defenseclaw-cli mcp pins diff {id}` again"
    )]
    Stale {
        /// The pin.
        id: String,
        /// The server.
        server: String,
    },
    /// Too much.
    #[error("{0}")]
    TooMuch(String),
}

/// What became of a pin; `what` is `new`, `changed`, `returned`, `gone`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub what: &'static str,
    /// The pin, with its differences.
    pub pin: Pin,
}

/// One row.
struct Kept {
    pin: Pin,
    pinned: Content,
    seen: Content,
}

/// All pins of this host.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    file: PathBuf,
}

fn error(file: &Path, doing: &'static str) -> impl Fn(rusqlite::Error) -> PinError + use<> {
    let file = file.to_owned();
    move |error| PinError::File {
        file: file.clone(),
        doing,
        why: error.to_string(),
    }
}

impl Store {
    /// Opens the file, and makes it (for its owner alone) if there is none.
    ///
    /// # Errors
    /// When it cannot be opened, belongs to another process, or is no file of pins.
    pub fn open(file: &Path) -> Result<Self, PinError> {
        let file = std::path::absolute(file).map_err(|source| PinError::File {
            file: file.to_owned(),
            doing: "found",
            why: source.to_string(),
        })?;
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&file);
        made.and_then(|made| made.set_permissions(PermissionsExt::from_mode(0o600)))
            .map_err(|source| PinError::File {
                file: file.clone(),
                doing: "opened",
                why: source.to_string(),
            })?;
        let failed = error(&file, "opened");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&file, flags).map_err(&failed)?;
        // No second process comes between a look and a change.
        db.busy_timeout(BUSY).map_err(&failed)?;
        db.pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(()))
            .map_err(&failed)?;
        db.pragma_update(None, "trusted_schema", false).map_err(&failed)?;
        db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
            .map_err(&failed)?;
        // What was approved stays approved when the power goes.
        db.pragma_update(None, "synchronous", "full").map_err(&failed)?;
        let mut store = Self { db, file };
        store.recognise()?;
        Ok(store)
    }

    fn recognise(&mut self) -> Result<(), PinError> {
        let failed = error(&self.file, "read");
        let number = |name: &str| {
            self.db
                .query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
        };
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 = self.db.query_row(tables, [], |row| row.get(0)).map_err(&failed)?;
        let found = (
            number("application_id").map_err(&failed)?,
            number("user_version").map_err(&failed)?,
        );
        match (found, tables) {
            ((APPLICATION, VERSION), 1..) => Ok(()),
            ((0, 0), 0) => {
                let begun = self.db.transaction_with_behavior(TransactionBehavior::Immediate);
                let made = begun.and_then(|new| {
                    new.execute_batch(SCHEMA)?;
                    new.pragma_update(None, "application_id", APPLICATION)?;
                    new.pragma_update(None, "user_version", VERSION)?;
                    new.commit()
                });
                made.map_err(failed)
            }
            _ => Err(PinError::Foreign(self.file.clone())),
        }
    }

    /// Compares what `uid` has seen with its pins. Gives the pins of the servers that were seen, with their differences, and what
    /// is to be recorded. A server that is held stays held, whatever it says now.
    ///
    /// # Errors
    /// When there is too much of it, or the file fails; nothing is changed then.
    pub fn check(
        &mut self,
        uid: u32,
        check: &PinCheck,
        now_ns: u64,
    ) -> Result<(Vec<Pin>, Vec<Event>), PinError> {
        let failed = error(&self.file, "written");
        let read_failed = error(&self.file, "read");
        let begun = self.db.transaction_with_behavior(TransactionBehavior::Immediate);
        let change = begun.map_err(&failed)?;
        let (mut pins, mut events) = (Vec::new(), Vec::new());
        for seen in &check.servers {
            let (content, text) = content_of(seen)?;
            let id = id_of(uid, &seen.scope, &seen.server);
            let kept = one(&change, &id).map_err(&read_failed)?;
            let (kept, what) = match kept {
                None => {
                    if count(&change, uid).map_err(&read_failed)? >= MAX_OF_USER {
                        let why = format!(
                            "user {uid} has {MAX_OF_USER} pins already; `mcp pins forget` those of servers that are gone"
                        );
                        return Err(PinError::TooMuch(why));
                    }
                    (first(uid, &id, seen, content, now_ns), Some("new"))
                }
                Some(kept) => again(kept, seen, content, now_ns),
            };
            put(&change, &kept, &text).map_err(&failed)?;
            let pin = kept.shown();
            if let Some(what) = what {
                events.push(Event {
                    what,
                    pin: pin.clone(),
                });
            }
            pins.push(pin);
        }
        for mut kept in missing(&change, uid, check).map_err(&read_failed)? {
            kept.pin.state = PinState::Gone;
            let text = serde_json::to_string(&kept.seen).unwrap_or_default();
            put(&change, &kept, &text).map_err(&failed)?;
            let pin = kept.shown();
            events.push(Event {
                what: "gone",
                pin: pin.clone(),
            });
            pins.push(pin);
        }
        change.commit().map_err(failed)?;
        Ok((pins, events))
    }

    /// The pins of `uid`, or of everybody, without their differences.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn list(&self, uid: Option<u32>) -> Result<Vec<Pin>, PinError> {
        let all = self.all().map_err(error(&self.file, "read"))?;
        let mine = all
            .into_iter()
            .filter(|kept| uid.is_none_or(|uid| uid == kept.pin.uid));
        Ok(mine.map(|kept| kept.pin).collect())
    }

    /// One pin, with everything.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<Pin>, PinError> {
        let kept = one(&self.db, id).map_err(error(&self.file, "read"))?;
        Ok(kept.map(|kept| {
            let mut pin = kept.shown();
            pin.launch = kept.seen.launch.clone();
            pin.offers = kept.seen.digests();
            pin
        }))
    }

    /// Pins what was seen last, if it is what the person looked at.
    ///
    /// # Errors
    /// When there is no such pin, it was seen again since, or the file fails.
    pub fn approve(&mut self, approval: &PinApproval, by_uid: u32, now_ns: u64) -> Result<Pin, PinError> {
        let failed = error(&self.file, "written");
        let begun = self.db.transaction_with_behavior(TransactionBehavior::Immediate);
        let change = begun.map_err(&failed)?;
        let kept = one(&change, &approval.id).map_err(error(&self.file, "read"))?;
        let mut kept = kept.ok_or_else(|| PinError::Unknown(approval.id.clone()))?;
        if kept.pin.seen_digest != approval.digest {
            return Err(PinError::Stale {
                id: approval.id.clone(),
                server: kept.pin.server,
            });
        }
        kept.pinned = kept.seen.clone();
        kept.pin.digest.clone_from(&kept.pin.seen_digest);
        kept.pin.state = PinState::Same;
        kept.pin.approved_by = Some(by_uid);
        kept.pin.pinned_ns = now_ns;
        let text = serde_json::to_string(&kept.seen).unwrap_or_default();
        put(&change, &kept, &text).map_err(&failed)?;
        change.commit().map_err(failed)?;
        Ok(kept.shown())
    }

    /// Forgets a pin: when its server is seen again, it is new.
    ///
    /// # Errors
    /// When the file fails.
    pub fn forget(&mut self, id: &str) -> Result<Option<Pin>, PinError> {
        let found = self.get(id)?;
        self.db
            .execute("DELETE FROM pin WHERE id = ?1", [id])
            .map_err(error(&self.file, "written"))?;
        Ok(found)
    }

    /// All pins, as far as calls are concerned.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn known(&self) -> Result<Vec<Known>, PinError> {
        let all = self.all().map_err(error(&self.file, "read"))?;
        Ok(all.into_iter().map(Kept::known).collect())
    }

    fn all(&self) -> rusqlite::Result<Vec<Kept>> {
        let mut query = self.db.prepare(&format!(
            "SELECT {COLUMNS} FROM pin ORDER BY server, file, scope, uid"
        ))?;
        query.query_map([], kept)?.collect()
    }
}

impl Kept {
    fn shown(&self) -> Pin {
        let mut pin = self.pin.clone();
        pin.changes = self.pinned.changes(&self.seen);
        pin
    }

    fn known(self) -> Known {
        let items = self.pinned.items.keys().chain(self.seen.items.keys());
        let tools: BTreeSet<String> = items
            .filter_map(|item| item.strip_prefix("tool "))
            .map(str::to_owned)
            .collect();
        Known {
            id: self.pin.id,
            uid: self.pin.uid,
            server: self.pin.server,
            scope: self.pin.scope,
            state: self.pin.state,
            tools: tools.into_iter().collect(),
        }
    }
}

fn id_of(uid: u32, scope: &str, server: &str) -> String {
    let digest = Sha256::digest(format!("{uid}\0{scope}\0{server}"));
    hex(&digest).chars().take(ID).collect()
}

fn content_of(seen: &PinSeen) -> Result<(Content, String), PinError> {
    let content = Content {
        launch: seen.launch.clone(),
        items: seen.items.clone(),
        complete: seen.complete,
    };
    let text = serde_json::to_string(&content).unwrap_or_default();
    let names = [&seen.server, &seen.scope, &seen.file];
    if text.len() > MAX_CONTENT
        || names
            .iter()
            .any(|name| name.len() > MAX_NAME || name.contains('\0'))
    {
        let why = format!(
            "what the server {} offers is more than {MAX_CONTENT} bytes, or its names are none",
            super::readable(&seen.server.chars().take(80).collect::<String>())
        );
        return Err(PinError::TooMuch(why));
    }
    Ok((content, text))
}

fn first(uid: u32, id: &str, seen: &PinSeen, content: Content, now_ns: u64) -> Kept {
    let digest = content.digest();
    Kept {
        pin: Pin {
            id: id.to_owned(),
            uid,
            server: seen.server.clone(),
            scope: seen.scope.clone(),
            file: seen.file.clone(),
            state: PinState::New,
            items: content.items.len() as u64,
            digest: digest.clone(),
            seen_digest: digest,
            pinned_ns: now_ns,
            seen_ns: now_ns,
            approved_by: None,
            changes: Vec::new(),
            launch: serde_json::Value::Null,
            offers: std::collections::BTreeMap::new(),
        },
        pinned: content.clone(),
        seen: content,
    }
}

/// The pin after another look, and what is to be recorded of it.
fn again(mut kept: Kept, seen: &PinSeen, content: Content, now_ns: u64) -> (Kept, Option<&'static str>) {
    let digest = content.digest();
    let news = digest != kept.pin.seen_digest;
    let before = kept.pin.state;
    kept.pin.state = match before {
        // Only a person ends that.
        PinState::Changed => PinState::Changed,
        _ if digest != kept.pin.digest => PinState::Changed,
        PinState::Gone if kept.pin.approved_by.is_some() => PinState::Same,
        PinState::Gone => PinState::New,
        state => state,
    };
    kept.pin.seen_ns = now_ns;
    kept.pin.file.clone_from(&seen.file);
    kept.pin.seen_digest = digest;
    kept.seen = content;
    let what = match (before, kept.pin.state) {
        (_, PinState::Changed) if news || before != PinState::Changed => Some("changed"),
        (PinState::Gone, _) => Some("returned"),
        _ => None,
    };
    (kept, what)
}

/// Pins of servers that stood in these files and do so no longer. One that is held stays so: it may come back.
fn missing(db: &Connection, uid: u32, check: &PinCheck) -> rusqlite::Result<Vec<Kept>> {
    let there = |kept: &Kept| {
        let seen = check
            .servers
            .iter()
            .any(|seen| seen.server == kept.pin.server && seen.scope == kept.pin.scope);
        let unasked = check
            .unasked
            .iter()
            .any(|(file, server)| *server == kept.pin.server && *file == kept.pin.file);
        seen || unasked
    };
    let mut query = db.prepare(&format!(
        "SELECT {COLUMNS} FROM pin WHERE uid = ?1 AND state IN ('new', 'same')"
    ))?;
    let mut gone = Vec::new();
    for row in query.query_map([uid], kept)? {
        let row = row?;
        if check.files.contains(&row.pin.file) && !there(&row) {
            gone.push(row);
        }
    }
    Ok(gone)
}

fn one(db: &Connection, id: &str) -> rusqlite::Result<Option<Kept>> {
    let query = format!("SELECT {COLUMNS} FROM pin WHERE id = ?1");
    db.query_row(&query, [id], kept).optional()
}

fn count(db: &Connection, uid: u32) -> rusqlite::Result<usize> {
    let count: i64 = db.query_row("SELECT count(*) FROM pin WHERE uid = ?1", [uid], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let content = |place: usize| -> rusqlite::Result<Content> {
        let text: String = row.get(place)?;
        serde_json::from_str(&text).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(place, rusqlite::types::Type::Text, Box::new(error))
        })
    };
    let time = |place: usize| {
        row.get::<_, i64>(place)
            .map(|time| u64::try_from(time).unwrap_or_default())
    };
    let state: String = row.get(5)?;
    let states = [PinState::New, PinState::Same, PinState::Changed, PinState::Gone];
    let pinned = content(9)?;
    Ok(Kept {
        pin: Pin {
            id: row.get(0)?,
            uid: row.get(1)?,
            server: row.get(2)?,
            scope: row.get(3)?,
            file: row.get(4)?,
            // The table takes no other word; one that got in all the same is held.
            state: states
                .into_iter()
                .find(|known| known.as_str() == state)
                .unwrap_or(PinState::Changed),
            items: pinned.items.len() as u64,
            pinned_ns: time(6)?,
            seen_ns: time(7)?,
            approved_by: row.get(8)?,
            digest: row.get(11)?,
            seen_digest: row.get(12)?,
            changes: Vec::new(),
            launch: serde_json::Value::Null,
            offers: std::collections::BTreeMap::new(),
        },
        pinned,
        seen: content(10)?,
    })
}

fn put(db: &Connection, kept: &Kept, seen: &str) -> rusqlite::Result<()> {
    let Pin {
        id,
        uid,
        server,
        scope,
        file,
        state,
        digest,
        seen_digest,
        approved_by,
        ..
    } = &kept.pin;
    let time = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    let pinned = serde_json::to_string(&kept.pinned).unwrap_or_default();
    let (pinned_ns, seen_ns) = (time(kept.pin.pinned_ns), time(kept.pin.seen_ns));
    let places: Vec<String> = (1..=13).map(|place| format!("?{place}")).collect();
    db.execute(
        &format!(
            "INSERT OR REPLACE INTO pin ({COLUMNS}) VALUES ({})",
            places.join(", ")
        ),
        params![
            id,
            uid,
            server,
            scope,
            file,
            state.as_str(),
            pinned_ns,
            seen_ns,
            approved_by,
            pinned,
            seen,
            digest,
            seen_digest
        ],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
