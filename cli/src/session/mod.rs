//! `session list`, `session show`.
//!
//! A session's records become a [`timeline::Timeline`] of prompts, calls and notes in the order of the ledger; what the
//! kernel saw of each call becomes a [`forest::Forest`] of program images. The timeline is then either printed for a
//! person (`page`, `tree`) or as JSON lines (`lines`).

use defenseclaw_audit::{Query, SessionSummary};

use crate::args::ShowSessionOptions;
use crate::ledger::Ledger;
use crate::{Answer, CliError, Context};

pub mod forest;
mod lines;
pub mod list;
mod page;
pub mod timeline;
mod tree;

/// Shows one session.
pub fn show(options: &ShowSessionOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let ledger = Ledger::open(&context.settings.ledger)?;
    let summary = ledger.resolve(&options.session)?;
    let timeline = read(&ledger, summary)?;
    if options.json {
        lines::print(&timeline, context.out)?;
    } else {
        page::print(&timeline, options.all, &context.view, context.out)?;
    }
    Ok(Answer::Yes)
}

/// Everything the ledger holds of the session, and the gaps and daemon changes that fell into its time.
fn read(ledger: &Ledger, summary: SessionSummary) -> Result<timeline::Timeline, CliError> {
    let mut builder = timeline::Builder::default();
    let of_session = Query {
        session: Some(summary.session.clone()),
        ..Query::default()
    };
    ledger.each(&of_session, |record| {
        builder.take(record);
        Ok(())
    })?;
    let around = Query {
        since_ns: Some(summary.started_ns),
        until_ns: Some(summary.last_ns),
        kinds: vec!["gap".to_owned(), "daemon".to_owned()],
        ..Query::default()
    };
    ledger.each(&around, |record| {
        if record.draft.session.is_none() {
            builder.take(record);
        }
        Ok(())
    })?;
    Ok(builder.finish(summary))
}
