//! `scan package`: a package from its registry.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use defenseclaw_fetch::{FetchError, Wanted, fetch};

use super::{Answers, scanner};
use crate::args::scan::PackageOptions;
use crate::{Answer, CliError, Context};

/// Fetches, scans, and prints what was found.
pub(super) fn run(options: &PackageOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let usage = |error: &dyn std::fmt::Display| CliError::Usage(error.to_string());
    let wanted: Wanted = options.package.parse().map_err(|error| usage(&error))?;
    let scanner = scanner(&options.answer.rules, &context.settings)?;
    let quarantine = quarantine(context);
    let fetched = fetch(&wanted, options.registry.as_deref(), &quarantine).map_err(|error| match error {
        // Somebody changed it: that is an answer, and it is no.
        FetchError::Integrity { .. } => CliError::Refused(error.to_string()),
        other => usage(&other),
    })?;
    let mut report = defenseclaw_fetch::scan(&fetched, &scanner).map_err(|error| usage(&error))?;
    report.target = format!("{} ({})", fetched.url, fetched.integrity);
    let mut answers = Answers::new(&scanner, &options.answer, 1);
    answers.add(&report, context)?;
    answers.end(context)
}

/// A folder for what is fetched: in the state folder where this user may write there, else among the temporary ones. Each file gets a
/// folder of its own in it that nobody else can open.
fn quarantine(context: &Context<'_>) -> PathBuf {
    let own = context.settings.config.state.join("fetched");
    let made = DirBuilder::new().mode(0o700).create(&own);
    let there = made.is_ok() || own.is_dir();
    let writable = there && tempfile::tempdir_in(&own).is_ok();
    if writable { own } else { std::env::temp_dir() }
}
