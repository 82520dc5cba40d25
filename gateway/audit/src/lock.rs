//! One writer at a time.
//!
//! The lock is `flock(2)` on a file beside the ledger, so it ends with its holder however that dies. The file itself
//! stays: removing it would let two writers lock two different files. The ledger's own file cannot be used, because
//! closing any descriptor of it drops the locks that SQLite holds on it for the whole process.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::LedgerError;

/// Held as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of `ledger` or says who has it.
    pub(crate) fn take(ledger: &Path) -> Result<Self, LedgerError> {
        let path = beside(ledger, ".lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(&path)
            .map_err(|error| LedgerError::system(&path, "open", &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Without a readable number the message names no process; the lock is what counts.
                let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut text);
                return Err(LedgerError::Locked {
                    path: ledger.to_owned(),
                    holder: text.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(LedgerError::system(&path, "lock", &error)),
        }
        // The number is a courtesy to the next who tries: a full disk must not keep the ledger from being opened.
        let _ = file.set_len(0).and_then(|()| file.rewind());
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Else the next holder would be mistaken for this one until it has written its own number.
        let _ = self.file.set_len(0);
        // Closing is not enough: a child process that this one is just starting shares the lock until its `execve`.
        let _ = self.file.unlock();
    }
}

/// The file that SQLite or the lock keeps beside the ledger.
pub(crate) fn beside(ledger: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(ledger);
    name.push(suffix);
    PathBuf::from(name)
}
