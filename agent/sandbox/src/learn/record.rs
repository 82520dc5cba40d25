//! What a command used.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::supervise::{Address, ConnectRequest, Judge, OpenRequest, Transport, Verdict};

/// Distinct paths and addresses that are noted. A build of a large project opens some ten thousand files; what goes
/// beyond this is counted, and the profile says that it is not whole.
pub const MAX_RECORDED: usize = 200_000;

/// Canonical paths and addresses that were used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Files whose content was read.
    pub read: BTreeSet<PathBuf>,
    /// Folders that were listed.
    pub listed: BTreeSet<PathBuf>,
    /// Existing files that were written.
    pub written: BTreeSet<PathBuf>,
    /// Files that were created; for an unnamed file its folder.
    pub created: BTreeSet<PathBuf>,
    /// Executables of the processes that opened or connected.
    pub programs: BTreeSet<PathBuf>,
    /// Where connections and messages went.
    pub addresses: BTreeSet<(Reach, String)>,
    /// Unix sockets in the file system.
    pub sockets: BTreeSet<PathBuf>,
    /// What was not noted because there was too much of it.
    pub missed: u64,
}

/// What kind of place an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// TCP: `address:port`.
    Tcp,
    /// UDP: `address:port`.
    Udp,
    /// An abstract Unix socket: its name.
    Abstract,
    /// Anything else, in words.
    Other,
}

impl Record {
    fn len(&self) -> usize {
        self.read.len()
            + self.listed.len()
            + self.written.len()
            + self.created.len()
            + self.addresses.len()
            + self.sockets.len()
    }
}

/// A judge that allows everything and notes it.
#[derive(Debug, Default)]
pub struct Recorder {
    record: Mutex<Record>,
}

impl Recorder {
    /// What was noted so far.
    pub fn record(&self) -> Record {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        // Sets are never half changed.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, pid: i32, note: impl FnOnce(&mut Record)) -> Verdict {
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        let mut record = self.lock();
        if record.len() >= MAX_RECORDED {
            record.missed += 1;
        } else {
            note(&mut record);
            record.programs.extend(program);
        }
        Verdict::Allow
    }
}

impl Judge for Recorder {
    fn open(&self, request: &OpenRequest) -> Verdict {
        self.note(request.pid, |record| {
            let path = || request.path.clone();
            match (request.access.create, request.access.write, request.folder) {
                // A file that has lost its name is reached by a descriptor: no path leads to it.
                _ if request.removed => {}
                (true, _, _) => drop(record.created.insert(path())),
                (_, _, true) => drop(record.listed.insert(path())),
                (_, writes, _) => {
                    if writes {
                        record.written.insert(path());
                    }
                    if request.access.read {
                        record.read.insert(path());
                    }
                }
            }
        })
    }

    fn connect(&self, request: &ConnectRequest) -> Verdict {
        self.note(request.pid, |record| {
            let reach = match (&request.address, request.transport) {
                (Address::UnixPath(path), _) => {
                    record.sockets.insert(path.clone());
                    return;
                }
                (Address::Ip(_), Transport::Stream) => Reach::Tcp,
                (Address::Ip(_), Transport::Datagram) => Reach::Udp,
                (Address::UnixAbstract(_), _) => Reach::Abstract,
                _ => Reach::Other,
            };
            record.addresses.insert((reach, request.address.to_string()));
        })
    }
}
