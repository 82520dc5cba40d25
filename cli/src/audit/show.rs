//! `audit show`: one record whole, with the findings about it.

use std::io::{self, Write};

use defenseclaw_audit::Query;
use defenseclaw_model::record::{Record, RecordBody};
use serde_json::Value;

use crate::args::ShowRecordOptions;
use crate::ledger::Ledger;
use crate::text::{pad, safe};
use crate::view::{Ink, View, severity_ink};
use crate::{Answer, CliError, Context, json, time, words};

/// How many findings after a record are looked through for those about it: they are appended right behind it.
const FINDINGS_LOOKED_AT: usize = 2_000;

/// Prints the record.
pub fn run(options: &ShowRecordOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let ledger = Ledger::open(&context.settings.ledger)?;
    let Some(record) = ledger.get(options.seq)? else {
        let head = ledger.head_seq()?;
        return Err(CliError::NotFound(format!(
            "there is no record {}: the newest is {head}",
            options.seq
        )));
    };
    if options.json {
        json::line(context.out, &json::RecordLine::from(&record))?;
        return Ok(Answer::Yes);
    }
    print(&record, &context.view, context.out)?;
    print_findings(&about(&ledger, &record)?, &context.view, context.out)?;
    Ok(Answer::Yes)
}

fn about(ledger: &Ledger, record: &Record) -> Result<Vec<Record>, CliError> {
    let query = Query {
        session: record.draft.session.clone(),
        kinds: vec!["finding".to_owned()],
        after_seq: Some(record.seq),
        limit: Some(FINDINGS_LOOKED_AT),
        ..Query::default()
    };
    let mut about = Vec::new();
    ledger.each(&query, |finding| {
        if matches!(finding.draft.body, RecordBody::Finding { about_seq: Some(seq), .. } if seq == record.seq)
        {
            about.push(finding);
        }
        Ok(())
    })?;
    Ok(about)
}

fn print(record: &Record, view: &View, out: &mut dyn Write) -> io::Result<()> {
    let draft = &record.draft;
    let severity = draft.severity();
    let zone = time::zone_name(draft.time_ns, &view.zone);
    let mut field =
        |name: &str, value: &str| writeln!(out, "{} {value}", view.paint(Ink::Strong, &pad(name, 9)));
    field("record", &record.seq.to_string())?;
    field(
        "time",
        &format!(
            "{} {zone}  {}",
            time::local(draft.time_ns, &view.zone),
            time::rfc3339(draft.time_ns)
        ),
    )?;
    field("kind", draft.body.kind())?;
    field("severity", &view.paint(severity_ink(severity), severity.as_str()))?;
    if let Some(session) = &draft.session {
        field("session", &safe(&session.to_string()))?;
    }
    if let Some(call) = &draft.call {
        field("call", &safe(call.as_str()))?;
    }
    field("summary", &words::summary(&draft.body))?;
    field("hash", &record.hash)?;
    field("previous", &record.prev_hash)?;
    let body = serde_json::to_value(&draft.body).map_err(io::Error::from)?;
    print_value(&body, 1, view, out)
}

/// JSON as indented names and values. The ledger bounds a body's depth; this bounds the indentation.
fn print_value(value: &Value, depth: usize, view: &View, out: &mut dyn Write) -> io::Result<()> {
    let indent = "  ".repeat(depth.min(32));
    let mut entry = |name: &str, value: &Value| match value {
        value if is_empty(value) => Ok(()),
        Value::Object(_) | Value::Array(_) => {
            writeln!(out, "{indent}{}", view.paint(Ink::Faint, name))?;
            print_value(value, depth + 1, view, out)
        }
        Value::String(text) => writeln!(out, "{indent}{} {}", view.paint(Ink::Faint, name), safe(text)),
        other => writeln!(out, "{indent}{} {other}", view.paint(Ink::Faint, name)),
    };
    match value {
        Value::Object(fields) => fields
            .iter()
            .try_for_each(|(name, value)| entry(&format!("{}:", safe(name)), value)),
        Value::Array(items) => items.iter().try_for_each(|item| entry("-", item)),
        other => entry("-", other),
    }
}

/// Whether nothing is said: a list or an object without anything in it.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(items) => items.iter().all(is_empty),
        _ => false,
    }
}

fn print_findings(findings: &[Record], view: &View, out: &mut dyn Write) -> io::Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    writeln!(out, "{}", view.paint(Ink::Strong, "findings about it"))?;
    for record in findings {
        if let RecordBody::Finding { finding, .. } = &record.draft.body {
            let severity = view.paint(severity_ink(finding.severity), finding.severity.as_str());
            writeln!(
                out,
                "  {} {severity} {}: {}",
                record.seq,
                safe(&finding.rule),
                safe(&finding.message)
            )?;
        }
    }
    Ok(())
}
