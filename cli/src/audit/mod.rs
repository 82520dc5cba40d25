//! `audit tail`, `query`, `show`, `verify`, `export`.

use std::io::Write;

use defenseclaw_audit::Query;
use defenseclaw_model::record::Record;

use crate::args::{ExportOptions, Filters, QueryOptions, TailOptions};
use crate::ledger::{Follow, Ledger};
use crate::{Answer, CliError, Context, json};

mod line;
pub mod show;
pub mod verify;

/// The newest records; with `--follow` every one that comes after them.
pub fn tail(options: &TailOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let mut query = options.filters.query(&context.view)?;
    query.newest = Some(options.lines);
    print(query, &options.filters, options.follow, options.json, context)
}

/// The records that match.
pub fn query(options: &QueryOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let mut query = options.filters.query(&context.view)?;
    query.limit = options.limit;
    print(query, &options.filters, options.follow, options.json, context)
}

/// The records that match, as JSON lines.
pub fn export(options: &ExportOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let query = options.filters.query(&context.view)?;
    print(query, &options.filters, false, true, context)
}

fn print(
    mut query: Query,
    filters: &Filters,
    follow: bool,
    as_json: bool,
    context: &mut Context<'_>,
) -> Result<Answer, CliError> {
    let Context {
        settings,
        view,
        out,
        notes,
        ..
    } = context;
    let mut headed = as_json;
    let mut take = |record: Option<Record>| -> Result<(), CliError> {
        let Some(record) = record else {
            return Ok(out.flush()?);
        };
        if !headed {
            headed = true;
            writeln!(out, "{}", line::heading(view))?;
        }
        if as_json {
            json::line(&mut **out, &json::RecordLine::from(&record))?;
        } else {
            writeln!(out, "{}", line::of(&record, view))?;
        }
        Ok(())
    };
    if follow {
        let follow = Follow {
            path: &settings.ledger,
            query,
            session: filters.session.as_deref(),
        };
        return follow.run(*notes, take).map(|()| Answer::Yes);
    }
    let ledger = Ledger::open(&settings.ledger)?;
    if let Some(wanted) = &filters.session {
        query.session = Some(ledger.resolve(wanted)?.session);
    }
    ledger.each(&query, |record| take(Some(record)))?;
    Ok(Answer::Yes)
}
