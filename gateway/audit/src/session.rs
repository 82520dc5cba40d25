//! What a session adds up to.
//!
//! The writer keeps one row per session, in the same transaction as the records, so that listing sessions costs nothing
//! however long the ledger is. The rows are derived: [`verify`](mod@crate::verify) computes them again from the records
//! and compares.

use std::collections::BTreeMap;

use defenseclaw_model::decision::{Severity, Verdict};
use defenseclaw_model::ids::SessionId;
use defenseclaw_model::record::{Draft, RecordBody};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use serde::Serialize;

use crate::row::{severity_from, severity_rank, stored, unstored};

/// What a session adds up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionSummary {
    /// The session.
    pub session: SessionId,
    /// The earliest time of any of its records, ns since the Unix epoch.
    pub started_ns: u64,
    /// The latest.
    pub last_ns: u64,
    /// Whether it ended and was not resumed since.
    pub ended: bool,
    /// Prompts that the person sent.
    pub prompts: u64,
    /// Tool calls declared.
    pub calls: u64,
    /// Of these, refused.
    pub denied: u64,
    /// Of these, asked about or refused by the policy but let through because it only observed.
    pub would_block: u64,
    /// Actions that the kernel saw.
    pub activities: u64,
    /// Findings, those inside decisions included.
    pub findings: u64,
    /// The greatest severity of any of its records.
    pub max_severity: Severity,
}

/// The parameters are those of [`Tally::parameters`].
const INSERT: &str = "INSERT OR ROLLBACK INTO session VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
const UPDATE: &str = "UPDATE OR ROLLBACK session SET started_ns = min(started_ns, ?2), last_ns = max(last_ns, ?3), \
     ended = coalesce(?4, ended), prompts = prompts + ?5, calls = calls + ?6, denied = denied + ?7, \
     would_block = would_block + ?8, activities = activities + ?9, findings = findings + ?10, \
     max_severity = max(max_severity, ?11) WHERE name = ?1";

/// What some records add to their session's summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    started_ns: u64,
    last_ns: u64,
    /// `None`: these records say nothing of it.
    ended: Option<bool>,
    prompts: u64,
    calls: u64,
    denied: u64,
    would_block: u64,
    activities: u64,
    findings: u64,
    max_severity: Severity,
}

impl Tally {
    const NOTHING: Self = Self {
        started_ns: u64::MAX,
        last_ns: 0,
        ended: None,
        prompts: 0,
        calls: 0,
        denied: 0,
        would_block: 0,
        activities: 0,
        findings: 0,
        max_severity: Severity::None,
    };

    fn add(&mut self, draft: &Draft) {
        self.started_ns = self.started_ns.min(draft.time_ns);
        self.last_ns = self.last_ns.max(draft.time_ns);
        self.max_severity = self.max_severity.max(draft.severity());
        match &draft.body {
            RecordBody::SessionStart { .. } => self.ended = Some(false),
            RecordBody::SessionEnd { .. } => self.ended = Some(true),
            RecordBody::Prompt { .. } => self.prompts += 1,
            RecordBody::ToolCall { decision, .. } => {
                self.calls += 1;
                self.denied += u64::from(decision.effective() == Verdict::Deny);
                self.would_block += u64::from(decision.would_block());
                self.findings += decision.findings.len() as u64;
            }
            RecordBody::Activity { .. } => self.activities += 1,
            RecordBody::Finding { .. } => self.findings += 1,
            RecordBody::CallEnd { .. }
            | RecordBody::Approval { .. }
            | RecordBody::Harness { .. }
            | RecordBody::Pin { .. }
            | RecordBody::Bundle { .. }
            | RecordBody::Sandbox { .. }
            | RecordBody::Admission { .. }
            | RecordBody::Quarantine { .. }
            | RecordBody::Package { .. }
            | RecordBody::ListChange { .. }
            | RecordBody::Notice { .. }
            | RecordBody::Completion { .. }
            | RecordBody::Stop {}
            | RecordBody::Gap { .. }
            | RecordBody::Daemon { .. } => {}
        }
    }

    fn parameters<'a>(&self, name: &'a str, ended: Option<bool>) -> [ToSqlOutput<'a>; 11] {
        let number = |number: i64| ToSqlOutput::Owned(Value::Integer(number));
        [
            ToSqlOutput::Borrowed(ValueRef::Text(name.as_bytes())),
            number(stored(self.started_ns)),
            number(stored(self.last_ns)),
            ended.map_or(ToSqlOutput::Owned(Value::Null), |ended| number(i64::from(ended))),
            number(stored(self.prompts)),
            number(stored(self.calls)),
            number(stored(self.denied)),
            number(stored(self.would_block)),
            number(stored(self.activities)),
            number(stored(self.findings)),
            number(severity_rank(self.max_severity)),
        ]
    }

    fn summary(&self, session: &SessionId) -> SessionSummary {
        SessionSummary {
            session: session.clone(),
            started_ns: self.started_ns,
            last_ns: self.last_ns,
            ended: self.ended.unwrap_or(false),
            prompts: self.prompts,
            calls: self.calls,
            denied: self.denied,
            would_block: self.would_block,
            activities: self.activities,
            findings: self.findings,
            max_severity: self.max_severity,
        }
    }
}

/// What a run of records adds to each of their sessions.
#[derive(Debug, Default)]
pub(crate) struct Tallies(BTreeMap<SessionId, Tally>);

impl Tallies {
    /// Counts one record, if it belongs to a session.
    pub(crate) fn add(&mut self, draft: &Draft) {
        let Some(session) = &draft.session else { return };
        match self.0.get_mut(session) {
            Some(tally) => tally.add(draft),
            None => {
                let mut tally = Tally::NOTHING;
                tally.add(draft);
                self.0.insert(session.clone(), tally);
            }
        }
    }

    /// Adds everything counted to the stored rows.
    pub(crate) fn store(&self, conn: &Connection) -> rusqlite::Result<()> {
        for (session, tally) in &self.0 {
            let name = session.to_string();
            // Two statements, because SQLite keeps a journal within the transaction for one that does both.
            if conn
                .prepare_cached(UPDATE)?
                .execute(params_from_iter(tally.parameters(&name, tally.ended)))?
                == 0
            {
                let ended = Some(tally.ended.unwrap_or(false));
                conn.prepare_cached(INSERT)?
                    .execute(params_from_iter(tally.parameters(&name, ended)))?;
            }
        }
        Ok(())
    }

    /// What the stored rows must be when every record has been counted, by session.
    pub(crate) fn summaries(&self) -> Vec<SessionSummary> {
        self.0
            .iter()
            .map(|(session, tally)| tally.summary(session))
            .collect()
    }
}

/// The stored rows, newest first. `None` stands for a row that was never written like that.
pub(crate) fn load(conn: &Connection) -> rusqlite::Result<Vec<Option<SessionSummary>>> {
    let mut select = conn.prepare_cached(
        "SELECT name, started_ns, last_ns, ended, prompts, calls, denied, would_block, activities, findings, \
         max_severity FROM session ORDER BY last_ns DESC, name",
    )?;
    let rows = select.query_map([], |row| Ok(from_row(row)))?;
    rows.collect()
}

fn from_row(row: &Row<'_>) -> Option<SessionSummary> {
    let number = |index: usize| row.get::<_, i64>(index).ok().map(unstored);
    Some(SessionSummary {
        session: row.get_ref(0).ok()?.as_str().ok()?.parse().ok()?,
        started_ns: number(1)?,
        last_ns: number(2)?,
        ended: row.get(3).ok()?,
        prompts: number(4)?,
        calls: number(5)?,
        denied: number(6)?,
        would_block: number(7)?,
        activities: number(8)?,
        findings: number(9)?,
        max_severity: severity_from(row.get(10).ok()?)?,
    })
}
