//! What can go wrong with the ledger, in words for the person who has to mend it.

use std::io;
use std::path::{Path, PathBuf};

use defenseclaw_model::ids::IdError;
use rusqlite::ErrorCode;

/// What failed, on which file, and what to do.
///
/// After any error of an append nothing of that append is in the ledger, everything acknowledged before still is, and
/// the same [`Ledger`](crate::Ledger) can be tried again: it looks at the file afresh first.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// There is no file, or it is still empty.
    #[error("there is no ledger at {}: the gateway makes it when it first starts", path.display())]
    NoLedger {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The folder that should hold the ledger does not exist.
    #[error("the folder {} for the ledger does not exist: create it, writable for the gateway's user", folder.display())]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// Another writer has the ledger open.
    #[error(
        "the ledger {} is already being written by {}: only one gateway can use it; stop that one, or give this one its \
         own state folder (DEFENSECLAW_STATE)",
        path.display(), holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The ledger.
        path: PathBuf,
        /// The writer's process id, if it could be read.
        holder: Option<u32>,
    },
    /// A file or folder cannot be written by this user, or lies on a read-only file system.
    #[error(
        "cannot {doing} {}: it or its folder is read-only for this process; make it writable for the gateway's user ({why})",
        path.display()
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        why: String,
    },
    /// The file may not be read by this user.
    #[error("cannot read {}: {why}; read it as root or as the gateway's user", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The file system has no room.
    #[error(
        "no room to {doing} {}: its file system (or this user's quota) is full; free some space, and appends go on by \
         themselves; nothing acknowledged is lost",
        path.display()
    )]
    Full {
        /// The ledger.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
    },
    /// Reading or writing failed below SQLite.
    #[error(
        "input/output error while trying to {doing} {}: {why}; look at the free space, at limits on file size and at the \
         kernel log of that disk",
        path.display()
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system or SQLite said.
        why: String,
    },
    /// Another program holds SQLite's own lock on the file.
    #[error(
        "cannot {doing} {}: another program (an sqlite3 shell, a backup) has locked it; end that program's transaction",
        path.display()
    )]
    Busy {
        /// The ledger.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
    },
    /// The file is something else.
    #[error("{} is not a DefenseClaw ledger: {what}; it was left untouched, move it away or name another state folder", path.display())]
    NotALedger {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// A newer version wrote the file.
    #[error(
        "the ledger {} has schema version {found} and this version knows {known}: a newer DefenseClaw wrote it; upgrade this \
         one, or name another state folder",
        path.display()
    )]
    TooNew {
        /// The ledger.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that this build knows.
        known: i64,
    },
    /// An older version wrote the file, and the gateway has not been started since.
    #[error(
        "the ledger {} has schema version {found} and this version reads {known}: start the gateway, which keeps a copy of it \
         and brings it forward",
        path.display()
    )]
    TooOld {
        /// The ledger.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The one that this build reads.
        known: i64,
    },
    /// The file is damaged.
    #[error(
        "the ledger {} is damaged ({what}): run `defenseclaw-cli audit verify` to see how far it can be read, keep the file \
         with its -wal file as evidence, and move both away so that the gateway can begin a new ledger",
        path.display()
    )]
    Damaged {
        /// The ledger.
        path: PathBuf,
        /// What SQLite said.
        what: String,
    },
    /// The newest records do not form a chain, so nothing may be appended to them.
    #[error(
        "the end of the ledger {} does not check out at record {seq}: {what}. Nothing is appended to a broken chain: run \
         `defenseclaw-cli audit verify`, keep the file with its -wal file as evidence, and move both away so that the gateway \
         can begin a new ledger",
        path.display()
    )]
    BrokenTail {
        /// The ledger.
        path: PathBuf,
        /// The first record that is wrong.
        seq: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The tables or triggers are not the ones that this version makes.
    #[error(
        "the ledger {} has been altered: {what}. Nothing is appended to it: run `defenseclaw-cli audit verify`, keep the file \
         with its -wal file as evidence, and move both away so that the gateway can begin a new ledger",
        path.display()
    )]
    Altered {
        /// The ledger.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// The file was moved, deleted or replaced under the writer.
    #[error(
        "{} was moved, deleted or replaced while the gateway was writing the ledger: what is appended now would be lost; put \
         the file back, or restart the gateway to begin a new ledger",
        path.display()
    )]
    Replaced {
        /// The file that is gone.
        path: PathBuf,
    },
    /// Something other than this writer has appended.
    #[error(
        "something else has written to the ledger {}: its end is no longer record {seq}; only the gateway may write it",
        path.display()
    )]
    Foreign {
        /// The ledger.
        path: PathBuf,
        /// Where this writer left it.
        seq: u64,
    },
    /// A draft cannot be a record. Trying again is of no use; the caller records a gap in its place.
    #[error("record {index} of this append cannot be recorded: {what}; nothing of the append was written", index = index + 1)]
    Refused {
        /// The draft's index in the append.
        index: usize,
        /// Why.
        what: String,
    },
    /// A batch has the number 0, which stands for "none yet".
    #[error("sensor {sensor} sent a batch with number 0; batches are numbered from 1")]
    BatchZero {
        /// The sensor.
        sensor: String,
    },
    /// A row cannot be read as a record.
    #[error("record {seq} of {} cannot be read: {fault}; run `defenseclaw-cli audit verify`", path.display())]
    Row {
        /// The ledger.
        path: PathBuf,
        /// The record.
        seq: u64,
        /// What is wrong with it.
        fault: RowFault,
    },
    /// Any other failure of SQLite.
    #[error("could not {doing} {}: {source}", path.display())]
    Sqlite {
        /// The ledger.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// Why a row is no record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowFault {
    /// A column holds what it cannot hold.
    #[error("its column {0} holds something that was never written there")]
    Column(&'static str),
    /// The session is no session id.
    #[error("its session is not valid: {0}")]
    Session(IdError),
    /// The call is no call id.
    #[error("its call is not valid: {0}")]
    Call(IdError),
    /// The body is no record of a known kind.
    #[error("its body is not a record that this version knows: {0}")]
    Body(serde_json::Error),
}

impl LedgerError {
    /// Whether the same append may succeed later without anybody touching the ledger itself: a full disk, an I/O error,
    /// another program's lock, a permission.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Full { .. } | Self::Io { .. } | Self::Busy { .. } | Self::ReadOnly { .. }
        )
    }

    /// Names what SQLite reports.
    pub(crate) fn sqlite(path: &Path, doing: &'static str, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let why = source.to_string();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path, doing },
            Some(ErrorCode::SystemIoFailure) => Self::Io { path, doing, why },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path, doing, why },
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Self::Unreadable { path, why },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path, doing },
            Some(ErrorCode::NotADatabase) => Self::NotALedger {
                path,
                what: "it is not an SQLite file".to_owned(),
            },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, what: why },
            // Nothing that was ever written is over the reading limit.
            Some(ErrorCode::TooBig) => Self::Damaged {
                path,
                what: "a record is larger than any ever written".into(),
            },
            _ => Self::Sqlite { path, doing, source },
        }
    }

    /// Names what the operating system reports of `path`.
    pub(crate) fn system(path: &Path, doing: &'static str, source: &io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly {
                path,
                doing,
                why: source.to_string(),
            },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, doing },
            _ => Self::Io {
                path,
                doing,
                why: source.to_string(),
            },
        }
    }
}
