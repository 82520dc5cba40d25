//! One record in one line.

use defenseclaw_model::decision::Severity;
use defenseclaw_model::record::{Record, RecordBody};

use crate::table::{self, Cell, Column, left, right};
use crate::view::{Ink, View, severity_ink, verdict_ink};
use crate::{time, words};

const COLUMNS: [Column; 6] = [
    right("SEQ", 7),
    left("TIME", 23),
    left("SEVERITY", 8),
    left("KIND", 13),
    left("SESSION", 8),
    left("WHAT", 0),
];

/// The heading over the lines.
pub(super) fn heading(view: &View) -> String {
    table::heading(&COLUMNS, view)
}

/// The line of that record.
pub(super) fn of(record: &Record, view: &View) -> String {
    let draft = &record.draft;
    let severity = draft.severity();
    let severity_name = if severity == Severity::None {
        "-"
    } else {
        severity.as_str()
    };
    let session = draft
        .session
        .as_ref()
        .map(|session| words::short_session(session.harness_session()));
    let ink = match &draft.body {
        RecordBody::ToolCall { decision, .. } if decision.findings.is_empty() => Ink::Plain,
        RecordBody::ToolCall { decision, .. } => match verdict_ink(decision.verdict) {
            Ink::Good => Ink::Plain,
            ink => ink,
        },
        RecordBody::Prompt { .. } => Ink::Strong,
        RecordBody::Admission { answer, .. } => match words::admission_ink(answer.action) {
            Ink::Good => Ink::Plain,
            ink => ink,
        },
        RecordBody::Quarantine { .. } => Ink::Warn,
        RecordBody::Package { .. } => severity_ink(severity),
        RecordBody::Finding { .. } | RecordBody::Gap { .. } => severity_ink(severity),
        _ => Ink::Plain,
    };
    let cells = [
        Cell(record.seq.to_string(), Ink::Plain),
        Cell(time::local(draft.time_ns, &view.zone), Ink::Faint),
        Cell(severity_name.to_owned(), severity_ink(severity)),
        Cell(draft.body.kind().to_owned(), Ink::Plain),
        Cell(session.unwrap_or_else(|| "-".to_owned()), Ink::Faint),
        Cell(words::summary(&draft.body), ink),
    ];
    table::row(&COLUMNS, &cells, view)
}
