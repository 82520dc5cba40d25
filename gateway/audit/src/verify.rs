//! The whole chain, and what is wrong with it.
//!
//! | What was done to the file | What shows it |
//! |---|---|
//! | a body, time, session, call or kind was changed | the record's hash is no longer that of its content |
//! | a severity was changed, a session's summary | they are computed again from the bodies |
//! | a record was deleted from the middle, or several changed places | the numbers have a hole, the links do not join |
//! | a record was put in | it does not follow on the one before, or lies past the head |
//! | the newest records were deleted | the stored head is further on |
//! | a trigger was dropped, an index edited, a page damaged | the definitions are compared; SQLite's own check |
//! | the newest records **and** the head were set back together | only a head that was noted elsewhere: [`verify_against`] |
//! | everything was written anew with new hashes | only a head that was noted elsewhere: [`verify_against`] |
//!
//! The last two lines are the limit of a chain without a signature: it is made of nothing that its writer could not make
//! again. Note `head` of a [`Verified`] where the writer of the file cannot reach it, and hand it in the next time.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};
use serde::Serialize;

use crate::chain::{ChainHash, Head, Tip};
use crate::error::{LedgerError, RowFault};
use crate::ledger::stored_head;
use crate::reader::Reader;
use crate::row::{COLUMNS, Stored, severity_rank, stored};
use crate::schema;
use crate::session::{self, SessionSummary, Tallies};

/// Records per read transaction: a check of a long ledger must not keep the writer from folding up its log.
const CHUNK: u64 = 4_096;

/// Problems that are listed one by one; more are counted.
pub const MAX_PROBLEMS: usize = 1_000;

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Records that were read.
    pub records: u64,
    /// The newest record that was read.
    pub head: Head,
    /// What is wrong, in the order of the chain, at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// Problems beyond those.
    pub more_problems: u64,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }

    fn report(&mut self, seq: u64, kind: ProblemKind, what: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem {
                seq,
                kind,
                what: what.into(),
            });
        } else {
            self.more_problems += 1;
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The record; 0 where it is about the file as a whole.
    pub seq: u64,
    /// What kind of thing, as a stable word.
    pub kind: ProblemKind,
    /// One sentence for a person.
    pub what: String,
}

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProblemKind {
    /// A record's content does not match its hash.
    Content,
    /// A record does not follow on the one before.
    Link,
    /// Records are missing.
    Missing,
    /// Records lie past the stored head, or the head's hash is not theirs.
    Head,
    /// A record's columns or body hold what was never written there.
    Unreadable,
    /// An indexed column is not what the body says.
    Column,
    /// A session's summary is not what its records add up to.
    Session,
    /// A head that was known from elsewhere is not in the chain.
    Known,
    /// Tables, indices or triggers were altered.
    Schema,
    /// The file is damaged.
    Damaged,
}

/// Checks every record and everything derived from them. `progress` is told how many of how many records are done.
///
/// Time is linear in the number of records, memory in the number of sessions. A writer may go on meanwhile. What is wrong
/// with the chain is in the answer; an error means that there is no ledger to check.
pub fn verify(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified, LedgerError> {
    verify_against(path, &[], progress)
}

/// Checks like [`verify()`], and also that each head in `known`, noted earlier and kept elsewhere, is still part of the
/// chain. That shows a ledger that was cut back or written anew.
pub fn verify_against(
    path: &Path,
    known: &[Head],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Verified, LedgerError> {
    let reader = Reader::open(path)?;
    let conn = reader.connection();
    let mut walk = Walk::new(known);
    if let Err(error) = walk.whole(conn, progress) {
        walk.damaged(reader.failed(error))?;
    }
    walk.missing_known();
    for check in [altered, unsound] {
        match check(conn) {
            Ok(found) => found
                .into_iter()
                .for_each(|(kind, what)| walk.verified.report(0, kind, what)),
            Err(error) => walk.damaged(reader.failed(error))?,
        }
    }
    Ok(walk.verified)
}

/// The walk along the chain.
struct Walk {
    verified: Verified,
    /// The place of the record that the next one must follow on.
    seq: u64,
    /// Its hash, if that could be read.
    hash: Option<ChainHash>,
    /// Heads known from elsewhere that were not passed yet, by place.
    known: BTreeMap<u64, Vec<String>>,
    tallies: Tallies,
    /// Whether every body could be read, so that the tallies are whole.
    counted_all: bool,
}

impl Walk {
    fn new(known: &[Head]) -> Self {
        let mut by_place = BTreeMap::<u64, Vec<String>>::new();
        for head in known.iter().filter(|head| head.seq > 0) {
            by_place
                .entry(head.seq)
                .or_default()
                .push(head.hash.to_ascii_lowercase());
        }
        Self {
            verified: Verified {
                records: 0,
                head: Tip::START.head(),
                problems: Vec::new(),
                more_problems: 0,
            },
            seq: 0,
            hash: Some(ChainHash::START),
            known: by_place,
            tallies: Tallies::default(),
            counted_all: true,
        }
    }

    /// Walks chunk by chunk. The chunk that comes to the end compares with head and sessions as they were at that moment.
    fn whole(&mut self, conn: &Connection, progress: &mut dyn FnMut(u64, u64)) -> rusqlite::Result<()> {
        loop {
            let snapshot = rusqlite::Transaction::new_unchecked(conn, TransactionBehavior::Deferred)?;
            let head = stored_head(conn);
            let total = head.as_ref().map_or(0, |head| head.seq);
            let read = self.chunk(conn)?;
            progress(self.verified.records, total.max(self.verified.records));
            if read < CHUNK {
                match head {
                    Ok(head) => self.compare_head(head),
                    Err(error) => self.verified.report(
                        0,
                        ProblemKind::Head,
                        format!("there is no stored head: {error}"),
                    ),
                }
                self.compare_sessions(conn)?;
                return Ok(());
            }
            drop(snapshot);
        }
    }

    /// Reads one chunk and tells how many rows there were.
    fn chunk(&mut self, conn: &Connection) -> rusqlite::Result<u64> {
        let sql =
            format!("SELECT {COLUMNS} FROM record NOT INDEXED WHERE seq > ?1 ORDER BY seq LIMIT {CHUNK}");
        let mut select = conn.prepare_cached(&sql)?;
        // Below 1 no record was ever written, but one may have been put there.
        let after = if self.verified.records == 0 {
            i64::MIN
        } else {
            stored(self.seq)
        };
        let mut rows = select.query([after])?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            read += 1;
            self.verified.records += 1;
            match Stored::from_row(row) {
                Ok(found) => self.record(&found),
                Err(fault) => self.unreadable(row.get(0)?, &fault),
            }
        }
        Ok(read)
    }

    fn unreadable(&mut self, place: i64, fault: &RowFault) {
        self.counted_all = false;
        // No append gives a place below 1: it is no step of the chain.
        let seq = u64::try_from(place).unwrap_or(0);
        self.verified
            .report(seq, ProblemKind::Unreadable, fault.to_string());
        if seq > 0 {
            self.step_to(seq);
            (self.seq, self.hash) = (seq, None);
        }
    }

    fn record(&mut self, found: &Stored<'_>) {
        let seq = found.content.seq;
        let in_sequence = self.step_to(seq);
        if in_sequence && self.hash.is_some_and(|hash| hash != found.prev_hash) {
            let what = format!(
                "it does not follow on record {}: its previous hash is another",
                seq - 1
            );
            self.verified.report(seq, ProblemKind::Link, what);
        }
        if !found.is_sealed() {
            let what =
                "its content does not match its hash: body, time, session, call, kind or place was changed";
            self.verified.report(seq, ProblemKind::Content, what);
        }
        self.compare_columns(found);
        self.compare_known(found);
        (self.seq, self.hash) = (seq, Some(found.hash));
        self.verified.head = found.tip().head();
    }

    /// Notices a hole before `seq`. Gives whether `seq` is the next.
    fn step_to(&mut self, seq: u64) -> bool {
        let next = self.seq + 1;
        if seq > next {
            let what = match seq - next {
                1 => format!("record {next} is missing"),
                more => format!("records {next} to {} are missing ({more})", seq - 1),
            };
            self.verified.report(next, ProblemKind::Missing, what);
        }
        seq == next
    }

    /// What is not part of the hash must be what the body says.
    fn compare_columns(&mut self, found: &Stored<'_>) {
        let seq = found.content.seq;
        let draft = match found.draft() {
            Ok(draft) => draft,
            Err(fault) => {
                self.counted_all = false;
                return self
                    .verified
                    .report(seq, ProblemKind::Unreadable, fault.to_string());
            }
        };
        if draft.body.kind() != found.content.kind {
            let what = format!(
                "its kind is {:?} but its body says {:?}",
                found.content.kind,
                draft.body.kind()
            );
            self.verified.report(seq, ProblemKind::Column, what);
        }
        if severity_rank(draft.severity()) != found.severity {
            let what = format!(
                "its severity is stored as {} but its body says {}",
                found.severity,
                draft.severity().as_str()
            );
            self.verified.report(seq, ProblemKind::Column, what);
        }
        self.tallies.add(&draft);
    }

    fn compare_known(&mut self, found: &Stored<'_>) {
        let Some(hashes) = self.known.remove(&found.content.seq) else {
            return;
        };
        let here = found.hash.to_string();
        if hashes.iter().any(|hash| *hash != here) {
            let what = "its hash is not the one noted elsewhere: the ledger was written anew up to here";
            self.verified.report(found.content.seq, ProblemKind::Known, what);
        }
    }

    fn compare_head(&mut self, head: Tip) {
        let last = self.seq;
        if head.seq > last {
            let what = format!(
                "the newest {} records are missing: the stored head is record {}",
                head.seq - last,
                head.seq
            );
            self.verified.report(last + 1, ProblemKind::Missing, what);
        } else if head.seq < last {
            let what = format!("it lies past the stored head, record {}", head.seq);
            self.verified.report(head.seq + 1, ProblemKind::Head, what);
        } else if self.hash.is_some_and(|hash| hash != head.hash) {
            self.verified
                .report(last, ProblemKind::Head, "its hash is not that of the stored head");
        }
    }

    fn compare_sessions(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        if !self.counted_all {
            return Ok(());
        }
        let mut found = BTreeMap::new();
        for row in session::load(conn)? {
            match row {
                Some(row) => drop(found.insert(row.session.clone(), row)),
                None => self
                    .verified
                    .report(0, ProblemKind::Session, "a session's summary cannot be read"),
            }
        }
        for expected in self.tallies.summaries() {
            match found.remove(&expected.session) {
                Some(stored) if stored == expected => {}
                other => {
                    let what = describe_session(&expected, other.as_ref());
                    self.verified.report(0, ProblemKind::Session, what);
                }
            }
        }
        for session in found.into_keys() {
            let what = format!("there is a summary of session {session}, which has no record");
            self.verified.report(0, ProblemKind::Session, what);
        }
        Ok(())
    }

    fn missing_known(&mut self) {
        for seq in std::mem::take(&mut self.known).into_keys() {
            let what = format!(
                "record {seq}, noted elsewhere, is not there: the ledger was cut back or written anew"
            );
            self.verified.report(seq, ProblemKind::Known, what);
        }
    }

    /// Turns damage that SQLite met into a finding; any other failure stays one.
    fn damaged(&mut self, error: LedgerError) -> Result<(), LedgerError> {
        let LedgerError::Damaged { what, .. } = error else {
            return Err(error);
        };
        let what = format!("the file cannot be read on after this record: {what}");
        self.verified.report(self.seq, ProblemKind::Damaged, what);
        Ok(())
    }
}

fn describe_session(expected: &SessionSummary, stored: Option<&SessionSummary>) -> String {
    match stored {
        None => format!("the summary of session {} is missing", expected.session),
        Some(_) => format!(
            "the summary of session {} is not what its records add up to",
            expected.session
        ),
    }
}

type Findings = Vec<(ProblemKind, String)>;

fn altered(conn: &Connection) -> rusqlite::Result<Findings> {
    Ok(schema::alterations(conn)?
        .into_iter()
        .map(|what| (ProblemKind::Schema, what))
        .collect())
}

/// SQLite's own check: pages, and whether each index lists what its table holds.
fn unsound(conn: &Connection) -> rusqlite::Result<Findings> {
    let mut check = conn.prepare("PRAGMA integrity_check(20)")?;
    let lines = check.query_map([], |row| row.get::<_, String>(0))?;
    let mut found = Findings::new();
    for line in lines {
        let line = line?;
        if line != "ok" {
            found.push((
                ProblemKind::Damaged,
                format!("SQLite finds the file unsound: {line}"),
            ));
        }
    }
    Ok(found)
}
