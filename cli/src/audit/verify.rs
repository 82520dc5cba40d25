//! `audit verify`: the hash chain, and what it cannot show.

use std::io::{self, Write};
use std::path::Path;

use defenseclaw_audit::Verified;
use serde::Serialize;

use crate::args::VerifyOptions;
use crate::text::{self, count, counted, pad, safe};
use crate::view::{Ink, View};
use crate::{Answer, CliError, Context, json, ledger};

/// What a chain without signatures leaves open. Said every time: a "valid" that promises more than it checked is worse
/// than none.
const LIMITS: [&str; 2] = [
    "The chain is not signed: whoever can write the file can write all of it anew, or cut it off and set its head back, \
     and it verifies.",
    "Only a head that was noted elsewhere shows that: hand it in with --head SEQ:HASH.",
];
/// The same where heads were handed in.
const LIMITS_WITH_HEADS: [&str; 2] = [
    "The chain is not signed: what was written before the heads that were handed in still stands as it did then.",
    "Records after the newest of these heads could have been written anew or cut off by whoever can write the file.",
];

/// Most problems that are named to a person.
const MAX_NAMED: usize = 100;

/// Checks every record.
pub fn run(options: &VerifyOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let Context {
        settings,
        view,
        out,
        notes,
        notes_are_terminal,
    } = context;
    ledger::check(&settings.ledger)?;
    let mut shown = None;
    let outcome = defenseclaw_audit::verify_against(&settings.ledger, &options.heads, &mut |done, total| {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        if *notes_are_terminal && shown != Some(percent) {
            shown = Some(percent);
            // Progress that cannot be drawn is no reason to stop checking.
            let _ = write!(
                notes,
                "\rchecking {} of {} ({percent} %)\x1b[K",
                count(done),
                count(total)
            );
        }
    });
    if shown.is_some() {
        let _ = write!(notes, "\r\x1b[K");
    }
    let verified = outcome.map_err(ledger::explain)?;
    let limits: &[&str] = match (options.heads.is_empty(), verified.is_valid()) {
        (true, _) => &LIMITS,
        (false, true) => &LIMITS_WITH_HEADS,
        (false, false) => &LIMITS[..1],
    };
    if options.json {
        let valid = verified.is_valid();
        let ledger = settings.ledger.display().to_string();
        let verdict = Verdict {
            valid,
            ledger,
            verified: &verified,
            signed: false,
            cannot_show: limits,
        };
        json::line(&mut **out, &verdict)?;
    } else {
        print(&settings.ledger, &verified, limits, view, &mut **out)?;
    }
    Ok(if verified.is_valid() {
        Answer::Yes
    } else {
        Answer::No
    })
}

#[derive(Serialize)]
struct Verdict<'a> {
    valid: bool,
    ledger: String,
    #[serde(flatten)]
    verified: &'a Verified,
    signed: bool,
    cannot_show: &'a [&'a str],
}

fn print(
    path: &Path,
    verified: &Verified,
    limits: &[&str],
    view: &View,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut field =
        |name: &str, value: &str| writeln!(out, "{} {value}", view.paint(Ink::Strong, &pad(name, 8)));
    field("ledger", &safe(&path.display().to_string()))?;
    field("records", &count(verified.records))?;
    field("head", &format!("{}:{}", verified.head.seq, verified.head.hash))?;
    if verified.is_valid() {
        field(
            "chain",
            &format!(
                "{}: every record is as it was written, in its place",
                view.paint(Ink::Good, "valid")
            ),
        )?;
    } else {
        let number = verified.problems.len() as u64 + verified.more_problems;
        let number = format!("NOT VALID: {}", counted(number, "problem", "problems"));
        field("chain", &view.paint(Ink::Bad, &number))?;
        for problem in verified.problems.iter().take(MAX_NAMED) {
            let place = if problem.seq == 0 {
                "file".to_owned()
            } else {
                format!("record {}", problem.seq)
            };
            field("", &format!("{place}: {}", safe(&problem.what)))?;
        }
        let more = verified.problems.len().saturating_sub(MAX_NAMED) as u64 + verified.more_problems;
        if more > 0 {
            field(
                "",
                &format!(
                    "… and {} more; --json names the first {}",
                    count(more),
                    count(verified.problems.len() as u64)
                ),
            )?;
        }
    }
    let columns = view.width.unwrap_or(usize::MAX).saturating_sub(9);
    let lines = limits.iter().flat_map(|limit| text::wrap(limit, columns));
    lines
        .enumerate()
        .try_for_each(|(i, line)| field(if i == 0 { "limits" } else { "" }, &line))
}
