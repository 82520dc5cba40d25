//! `doctor bundle`: what a person sends to whoever helps. Nothing in it is the content of a file, a prompt, a command or an
//! answer; every text that is in it went through the masking of secrets.
//!
//! What goes in is chosen, not what stays out: a part that has no place here is left behind, however harmless it looks.

mod parts;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use defenseclaw_detect::mask::mask_text;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Check, Scene, examine, show};
use crate::args::BundleOptions;
use crate::text::safe;
use crate::view::View;
use crate::{Answer, CliError, Context, json};

/// Longest text of a check, a log line or an answer in a bundle (bytes).
const MAX_TEXT: usize = 2_000;

/// One file of a bundle.
struct Part {
    name: &'static str,
    bytes: Vec<u8>,
}

/// Packs what the checks found, and what they looked at.
pub(super) fn run(options: &BundleOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let settings = context.settings.clone();
    let scene = Scene::of(&options.root, !options.no_canary, &settings);
    let mut checks = Vec::new();
    let status = examine(&scene, &mut |check| {
        checks.push(masked(check));
        Ok(())
    })?;
    let mut all = vec![found(&checks)?, table(&checks)?];
    all.extend(parts::of(&scene, status.as_ref(), usize::from(options.last))?);
    all.insert(0, readme(&all));
    let bytes = write(&options.output, &all, scene.host.now_ns / 1_000_000_000)
        .map_err(|error| refused(&options.output, &error))?;
    writeln!(
        context.out,
        "{}: {} files, {} KiB, for {} alone to read",
        safe(&options.output.display().to_string()),
        all.len(),
        bytes / 1024 + 1,
        if scene.host.is_root() { "root" } else { "you" }
    )?;
    writeln!(
        context.out,
        "Names of users and folders are in it; look at it before you send it: tar -tzf {}",
        safe(&options.output.display().to_string())
    )?;
    Ok(Answer::Yes)
}

fn refused(output: &Path, error: &io::Error) -> CliError {
    CliError::Usage(match error.kind() {
        io::ErrorKind::AlreadyExists => format!(
            "{} is there already and was left alone. Name another file, or remove it",
            output.display()
        ),
        _ => format!(
            "{} cannot be written: {error}. Name a file in a folder of yours",
            output.display()
        ),
    })
}

/// Checks whose words may quote what somebody else wrote: a line of a file, a hook's reply.
const QUOTING: [&str; 4] = ["configuration", "policies", "canary", "hooks"];

/// Without what looks like a secret or is quoted from elsewhere, and bounded.
fn masked(check: Check) -> Check {
    let text = |text: String| mask_text(&text, MAX_TEXT);
    let detail = if QUOTING.contains(&check.check) {
        unquoted(&check.detail)
    } else {
        check.detail
    };
    Check {
        about: text(check.about),
        detail: text(detail),
        remedy: text(check.remedy),
        ..check
    }
}

/// With `…` in place of what stands in quotation marks or backquotes.
fn unquoted(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        kept.push(c);
        if !matches!(c, '"' | '`') {
            continue;
        }
        kept.push('…');
        let mut escaped = false;
        // One that does not end takes all of the rest with it.
        for inner in chars.by_ref() {
            if inner == c && !escaped {
                kept.push(c);
                break;
            }
            escaped = inner == '\\' && !escaped;
        }
    }
    kept
}

fn found(checks: &[Check]) -> io::Result<Part> {
    let mut bytes = Vec::new();
    checks
        .iter()
        .try_for_each(|check| json::line(&mut bytes, check))?;
    Ok(Part {
        name: "doctor.jsonl",
        bytes,
    })
}

fn table(checks: &[Check]) -> io::Result<Part> {
    let view = View {
        colour: false,
        width: Some(120),
        zone: jiff::tz::TimeZone::UTC,
    };
    let mut bytes = Vec::new();
    let mut counts = show::Counts::default();
    show::heading(&view, &mut bytes)?;
    for check in checks {
        counts.add(check.state);
        show::line(check, &view, &mut bytes)?;
    }
    show::summary(&counts, &view, &mut bytes)?;
    Ok(Part {
        name: "doctor.txt",
        bytes,
    })
}

fn readme(parts: &[Part]) -> Part {
    let names: Vec<&str> = parts.iter().map(|part| part.name).collect();
    let text = format!(
        "DefenseClaw support bundle, made by `defenseclaw-cli doctor bundle`, version {}.\n\n\
         In it: {}.\n\n\
         doctor     the checks, with what to do about each\n\
         status     what the gateway says of itself, the agent and the install gate\n\
         versions   this tool, the system, the kernel and what it has\n\
         config     the configuration as it was understood; of hook.conf the known keys\n\
         files      name, kind, mode, owner and size of our files; no contents\n\
         records    of the ledger's last records number, time, kind, verdict and rule; sessions by a number made of their name\n\
         log        the last lines that the services logged; payloads are never logged\n\n\
         Not in it: prompts, commands, paths and answers of records, contents of any file, keys and tokens. What looks like a\n\
         secret was masked. Names of users and folders are in it.\n",
        super::versions::OWN,
        names.join(", ")
    );
    Part {
        name: "README.txt",
        bytes: text.into_bytes(),
    }
}

/// Makes the file, and gives its size. Nothing of it is left where that fails half-way.
fn write(output: &Path, parts: &[Part], time_s: u64) -> io::Result<u64> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(output)?;
    let outcome = pack(file, parts, time_s);
    if outcome.is_err() {
        let _ = std::fs::remove_file(output);
    }
    outcome
}

fn pack(file: std::fs::File, parts: &[Part], time_s: u64) -> io::Result<u64> {
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for part in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(part.bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(time_s);
        archive.append_data(
            &mut header,
            format!("defenseclaw/{}", part.name),
            part.bytes.as_slice(),
        )?;
    }
    let file = archive.into_inner()?.finish()?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_left_out_and_what_is_said_stays() {
        assert_eq!(
            unquoted("line 3: unknown field `hunter2`, expected a mode"),
            "line 3: unknown field `…`, expected a mode"
        );
        assert_eq!(
            unquoted(r#"said "a \"secret\" b" and "c""#),
            "said \"…\" and \"…\""
        );
        assert_eq!(unquoted("cut off \"secret"), "cut off \"…");
        assert_eq!(unquoted("the hook's own words"), "the hook's own words");
    }
}
