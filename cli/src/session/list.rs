//! `session list`: every session, newest first.

use defenseclaw_audit::SessionSummary;
use defenseclaw_model::decision::Severity;
use defenseclaw_model::ids::SessionId;
use serde::Serialize;

use crate::args::ListOptions;
use crate::ledger::Ledger;
use crate::table::{self, Cell, left, right};
use crate::text::{count, safe};
use crate::view::{Ink, View, severity_ink};
use crate::{Answer, CliError, Context, json, time, words};

/// A session as programs get it.
#[derive(Debug, Serialize)]
pub struct SessionLine<'a> {
    session: &'a SessionId,
    started: String,
    started_ns: u64,
    last: String,
    last_ns: u64,
    ended: bool,
    prompts: u64,
    calls: u64,
    denied: u64,
    would_block: u64,
    activities: u64,
    findings: u64,
    max_severity: Severity,
}

impl<'a> From<&'a SessionSummary> for SessionLine<'a> {
    fn from(summary: &'a SessionSummary) -> Self {
        Self {
            session: &summary.session,
            started: time::rfc3339(summary.started_ns),
            started_ns: summary.started_ns,
            last: time::rfc3339(summary.last_ns),
            last_ns: summary.last_ns,
            ended: summary.ended,
            prompts: summary.prompts,
            calls: summary.calls,
            denied: summary.denied,
            would_block: summary.would_block,
            activities: summary.activities,
            findings: summary.findings,
            max_severity: summary.max_severity,
        }
    }
}

/// Prints the sessions.
pub fn run(options: &ListOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let sessions = Ledger::open(&context.settings.ledger)?.sessions()?;
    if options.json {
        for summary in &sessions {
            json::line(context.out, &SessionLine::from(summary))?;
        }
    } else if sessions.is_empty() {
        writeln!(context.notes, "the ledger holds no session yet")?;
    } else {
        for line in rows(&sessions, &context.view) {
            writeln!(context.out, "{line}")?;
        }
    }
    Ok(Answer::Yes)
}

fn rows(sessions: &[SessionSummary], view: &View) -> Vec<String> {
    let observed = sessions.iter().any(|summary| summary.would_block > 0);
    let mut columns = vec![
        left("SESSION", 8),
        left("STARTED", 16),
        left("LASTED", 6),
        right("CALLS", 0),
        right("DENIED", 0),
        right("ACTIVITIES", 0),
        left("FINDINGS", 10),
        left("ID", 0),
    ];
    if observed {
        columns.insert(5, right("WOULD BLOCK", 0));
    }
    let rows: Vec<Vec<Cell>> = sessions
        .iter()
        .map(|summary| {
            let mut row = cells(summary, view);
            if observed {
                let ink = if summary.would_block > 0 {
                    Ink::Warn
                } else {
                    Ink::Plain
                };
                row.insert(5, Cell(count(summary.would_block), ink));
            }
            row
        })
        .collect();
    table::whole(&columns, &rows, view)
}

fn cells(summary: &SessionSummary, view: &View) -> Vec<Cell> {
    // To the minute: more tells nothing here.
    let started = time::local(summary.started_ns, &view.zone);
    let started = started
        .rsplit_once(':')
        .map_or(started.as_str(), |(minute, _)| minute)
        .to_owned();
    let lasted = match summary.ended {
        true => time::duration(summary.last_ns.saturating_sub(summary.started_ns)),
        false => "open".to_owned(),
    };
    let severity = summary.max_severity;
    let (findings, ink) = match (summary.findings, severity) {
        (0, Severity::None) => ("-".to_owned(), Ink::Faint),
        (number, severity) => (
            format!("{} {}", count(number), severity.as_str()),
            severity_ink(severity),
        ),
    };
    let denied = if summary.denied > 0 { Ink::Bad } else { Ink::Plain };
    vec![
        Cell(
            words::short_session(summary.session.harness_session()),
            Ink::Strong,
        ),
        started.into(),
        lasted.into(),
        count(summary.calls).into(),
        Cell(count(summary.denied), denied),
        count(summary.activities).into(),
        Cell(findings, ink),
        Cell(safe(&summary.session.to_string()).into_owned(), Ink::Faint),
    ]
}
