//! Opening, paging and following the ledger.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use defenseclaw_audit::{LedgerError, Query, Reader, SessionSummary};
use defenseclaw_model::ids::SessionId;
use defenseclaw_model::record::Record;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::CliError;

/// Records that are read at once: enough to be quick, few enough to need little memory.
const PAGE: usize = 1_000;
/// How often a followed ledger is looked at (ms).
const LOOK_MS: u16 = 100;
/// Looks between two checks whether the file was replaced.
const LOOKS_PER_REPLACE_CHECK: u32 = 10;

/// The ledger, for reading.
pub struct Ledger {
    reader: Reader,
}

impl Ledger {
    /// Opens it; a missing or forbidden file is told apart, because what to do differs.
    pub fn open(path: &Path) -> Result<Self, CliError> {
        check(path)?;
        Ok(Self {
            reader: Reader::open(path).map_err(explain)?,
        })
    }

    /// Calls `take` with each matching record, oldest first, until the query's limit.
    pub fn each(
        &self,
        query: &Query,
        mut take: impl FnMut(Record) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        if query.newest.is_some() {
            return self.page(query)?.into_iter().try_for_each(take);
        }
        let mut left = query.limit.unwrap_or(usize::MAX);
        let mut next = query.clone();
        while left > 0 {
            next.limit = Some(left.min(PAGE));
            let page = self.page(&next)?;
            let (Some(last), got) = (page.last().map(|record| record.seq), page.len()) else {
                break;
            };
            left -= got.min(left);
            next.after_seq = Some(last);
            page.into_iter().try_for_each(&mut take)?;
            if got < next.limit.unwrap_or(PAGE) {
                break;
            }
        }
        Ok(())
    }

    fn page(&self, query: &Query) -> Result<Vec<Record>, CliError> {
        self.reader.query(query).map_err(explain)
    }

    /// The record with that number.
    pub fn get(&self, seq: u64) -> Result<Option<Record>, CliError> {
        self.reader.get(seq).map_err(explain)
    }

    /// Number of the newest record; 0 where there is none.
    pub fn head_seq(&self) -> Result<u64, CliError> {
        Ok(self.reader.head().map_err(explain)?.seq)
    }

    /// Every session, newest first.
    pub fn sessions(&self) -> Result<Vec<SessionSummary>, CliError> {
        self.reader.sessions().map_err(explain)
    }

    /// The session that a person means: by its id, an unambiguous part of it, or `last`.
    pub fn resolve(&self, wanted: &str) -> Result<SessionSummary, CliError> {
        let mut sessions = self.sessions()?;
        if wanted == "last" {
            let none = || CliError::NotFound("the ledger holds no session yet".to_owned());
            return if sessions.is_empty() {
                Err(none())
            } else {
                Ok(sessions.swap_remove(0))
            };
        }
        let exact =
            |s: &SessionSummary| s.session.to_string() == wanted || s.session.harness_session() == wanted;
        let mut matching: Vec<SessionSummary> = match sessions.iter().filter(|s| exact(s)).count() {
            1 => sessions.into_iter().filter(exact).collect(),
            _ => sessions
                .into_iter()
                .filter(|s| s.session.to_string().contains(wanted))
                .collect(),
        };
        match matching.len() {
            1 => Ok(matching.swap_remove(0)),
            0 => Err(CliError::NotFound(format!(
                "no session in the ledger has {wanted:?} in its id; `defenseclaw-cli session list` shows what there is"
            ))),
            many => {
                let mut message = format!("{} is part of {many} session ids; write more of it:", wanted);
                for summary in matching.iter().take(10) {
                    message.push_str(&format!("\n  {}", summary.session));
                }
                if many > 10 {
                    message.push_str(&format!("\n  … and {} more", many - 10));
                }
                Err(CliError::Usage(message))
            }
        }
    }
}

/// Whether the file is there and may be read. `Reader::open` would fail too, but with SQLite's words.
pub fn check(path: &Path) -> Result<(), CliError> {
    match std::fs::File::open(path).map(drop) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(CliError::NoLedger(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(forbidden(path, &error.to_string()))
        }
        Err(error) => {
            let source = LedgerError::Io {
                path: path.to_owned(),
                doing: "open",
                why: error.to_string(),
            };
            Err(CliError::Ledger(source))
        }
    }
}

fn forbidden(path: &Path, why: &str) -> CliError {
    CliError::NotPermitted {
        what: format!("the ledger {} cannot be read: {why}", path.display()),
        remedy: "Run as root, or as a member of the group that owns the ledger.".to_owned(),
    }
}

/// With the exit status that fits.
pub fn explain(error: LedgerError) -> CliError {
    match error {
        LedgerError::NoLedger { path } => CliError::NoLedger(path),
        LedgerError::Unreadable { path, why } => forbidden(&path, &why),
        source => CliError::Ledger(source),
    }
}

/// Everything that matches from now on, until the reader of our output goes away or the process is interrupted.
pub struct Follow<'a> {
    /// The ledger's file, which need not exist yet.
    pub path: &'a Path,
    /// What to print; its session is resolved from `session` once the ledger exists.
    pub query: Query,
    /// The session that is wanted, as a person wrote it.
    pub session: Option<&'a str>,
}

impl Follow<'_> {
    /// Prints by calling `take` for each record and `settle` after each burst. Returns only with an error; a reader that
    /// went away is one too ([`CliError::is_broken_pipe`]).
    pub fn run(
        mut self,
        notes: &mut dyn Write,
        mut take: impl FnMut(Option<Record>) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        loop {
            let mut ledger = self.wait(notes)?;
            self.query.session = self.session_of(&ledger, notes)?;
            let (mut identity, mut looks) = (identity(self.path), 0);
            loop {
                // Asked before the records are read, so that a change in between is seen at the next look.
                ledger.reader.changed().map_err(explain)?;
                let head = ledger.head_seq()?;
                let mut last = None;
                ledger.each(&self.query, |record| {
                    last = Some(record.seq);
                    take(Some(record))
                })?;
                take(None)?;
                if self.query.newest.take().is_some() && last.is_none() {
                    last = Some(head);
                }
                self.query.after_seq = last.or(self.query.after_seq);
                while !ledger.reader.changed().map_err(explain)? {
                    pause()?;
                    looks += 1;
                    if looks % LOOKS_PER_REPLACE_CHECK == 0 && identity != self::identity(self.path) {
                        identity = None;
                        break;
                    }
                }
                if identity.is_none() {
                    break;
                }
            }
            writeln!(
                notes,
                "the ledger was replaced: going on with the new one from its first record"
            )?;
            self.query.after_seq = None;
        }
    }

    /// Opens the ledger, waiting for it where it does not exist yet.
    fn wait(&self, notes: &mut dyn Write) -> Result<Ledger, CliError> {
        let mut told = false;
        loop {
            match Ledger::open(self.path) {
                Err(CliError::NoLedger(path)) => {
                    if !told {
                        writeln!(
                            notes,
                            "waiting for the ledger: there is none at {} yet",
                            path.display()
                        )?;
                        told = true;
                    }
                    pause()?;
                }
                outcome => return outcome,
            }
        }
    }

    /// A full id may name a session that is yet to come; anything else must be found.
    fn session_of(&self, ledger: &Ledger, notes: &mut dyn Write) -> Result<Option<SessionId>, CliError> {
        let Some(wanted) = self.session else {
            return Ok(None);
        };
        match (ledger.resolve(wanted), wanted.parse::<SessionId>()) {
            (Ok(summary), _) => Ok(Some(summary.session)),
            (Err(CliError::NotFound(_)), Ok(id)) => {
                writeln!(
                    notes,
                    "waiting for the session: the ledger has no record of it yet"
                )?;
                Ok(Some(id))
            }
            (Err(error), _) => Err(error),
        }
    }
}

/// Device and inode: another file at the same path has others.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Waits for one look's time, or fails with a broken pipe once nobody reads our output any more: without that,
/// `tail -f | head -1` would hang until the next record.
fn pause() -> Result<(), CliError> {
    let stdout = io::stdout();
    let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    match poll(&mut watched, PollTimeout::from(LOOK_MS)) {
        Ok(0) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Ok(_) => {
            let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
            if watched[0].revents().is_some_and(|events| events.intersects(gone)) {
                return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
            }
            std::thread::sleep(std::time::Duration::from_millis(LOOK_MS.into()));
            Ok(())
        }
        Err(errno) => Err(io::Error::from(errno).into()),
    }
}
