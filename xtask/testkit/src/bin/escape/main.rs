//! Hostile programs and their benign twins, for tests of sandboxes.
//!
//! `escape list --json` prints the cases. `escape run NAME SCENE` attacks from inside whatever it was started in and exits
//! 0 (held), 10 (escaped) or 20 (not applicable here); `escape twin NAME SCENE` does the closest legitimate thing, which
//! must work. `escape peers --json` compares sandboxes. `SCENE` is one JSON argument, because a sandbox may clean the
//! environment. Whatever succeeds does no harm beyond the scene.
#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

mod case;
mod compat;
mod descriptors;
mod enter;
mod execution;
mod ipc;
mod kernel;
mod meanwhile;
mod namespaces;
mod network;
mod outliving;
mod outside;
mod peers;
mod privilege;
mod processes;
mod reading;
mod ring;
mod sealed;
mod sockets;
mod sys;
mod terminal;
mod writing;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use defenseclaw_testkit::escape::scene::Scene;
use defenseclaw_testkit::escape::trial::{RESULT, STARTED, Told, Verdict};
use defenseclaw_testkit::escape::{CaseInfo, status, table};

use case::{Case, Theme};
use sys::{Attempt, Refused};

static THEMES: [Theme; 17] = [
    reading::THEME,
    writing::THEME,
    sealed::THEME,
    descriptors::THEME,
    execution::THEME,
    processes::THEME,
    sockets::THEME,
    network::THEME,
    ring::THEME,
    ipc::THEME,
    namespaces::THEME,
    terminal::THEME,
    kernel::THEME,
    compat::THEME,
    privilege::THEME,
    meanwhile::THEME,
    outliving::THEME,
];

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("escape: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["list"] => list(false),
        ["list", "--json"] => list(true),
        ["run", name, scene] => perform(name, scene, |case| case.run, ATTACK),
        ["twin", name, scene] => perform(name, scene, |case| case.run_twin, TWIN),
        ["enter", entrance, ref command @ ..] => enter::enter(entrance, command),
        ["outside", scene] => outside::watch(serde_json::from_str(scene).context("SCENE is not one")?),
        ["peers", ref options @ ..] => peers::compare(options),
        ["table", ref files @ ..] if !files.is_empty() => table_of(files),
        ["executed", ref words @ ..] => execution::executed(words),
        _ => bail!(
            "usage: escape list [--json] | run NAME SCENE | twin NAME SCENE | peers [--json] [PART OF A NAME] | \
             table FILE…"
        ),
    }
}

fn exit(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
}

fn cases() -> impl Iterator<Item = (&'static Theme, &'static Case)> {
    THEMES
        .iter()
        .flat_map(|theme| theme.cases.iter().map(move |case| (theme, case)))
}

fn infos() -> Vec<CaseInfo> {
    cases().map(|(theme, case)| case.info(theme.name)).collect()
}

fn list(json: bool) -> Result<ExitCode> {
    for info in infos() {
        if json {
            println!("{}", serde_json::to_string(&info)?);
        } else {
            println!("{:28} {}", info.name, info.attack);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What stands above the table.
const TABLE_HEAD: &str = "\
# What hostile programs tried in sandboxes

Made by `cargo xtask attacks`. Each attack ran in `defenseclaw-cli run` as root and as an ordinary user, beside a benign twin that must
work: natively under every profile that promises to hold it, in guests (an emulated processor) under one of them in turn.

- *held*: refused, or without effect outside; without a sandbox it works. *held anyway*: it fails there without a sandbox, too.
- *open*: it works, and no profile promises otherwise, or this kernel's Landlock is too old, which `--explain` says.
- *–*: there is nothing to attack there. *ESCAPED*: it works although a profile promises to hold it. *not run*: as it says.
- †: the twin is refused, too: on purpose, and with its reason in the test.

";

/// Prints the results in `files` as one table.
fn table_of(files: &[&str]) -> Result<ExitCode> {
    let mut lines = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        lines.extend(table::read(&text).with_context(|| (*file).to_owned())?);
    }
    print!("{TABLE_HEAD}{}", table::markdown(&lines));
    Ok(ExitCode::SUCCESS)
}

/// What is said when it was done and when it was not, and the exit status for each.
#[derive(Clone, Copy)]
struct Words {
    done: (&'static str, i32),
    refused: (&'static str, i32),
}

const ATTACK: Words = Words {
    done: ("ESCAPED", status::BAD),
    refused: ("HELD", status::FINE),
};
const TWIN: Words = Words {
    done: ("WORKS", status::FINE),
    refused: ("OVER-BLOCKED", status::BAD),
};

fn perform(name: &str, scene: &str, act: fn(&Case) -> case::Act, words: Words) -> Result<ExitCode> {
    let scene: Scene = serde_json::from_str(scene).context("SCENE is not one")?;
    let (_, case) = cases()
        .find(|(_, case)| case.name == name)
        .with_context(|| format!("no case {name}: see `escape list`"))?;
    println!("{STARTED}");
    Ok(say(act(case)(&scene), words))
}

/// Prints how it went, for a person and for the harness.
fn say(attempt: Attempt, words: Words) -> ExitCode {
    let (verdict, (word, status), detail) = match attempt {
        Ok(detail) => (Verdict::Escaped, words.done, detail),
        Err(Refused::By(detail)) => (Verdict::Held, words.refused, detail),
        Err(Refused::Absent(detail)) => (Verdict::Absent, ("NOT APPLICABLE", status::ABSENT), detail),
    };
    println!("{word}: {detail}");
    let told = Told { verdict, detail };
    // A verdict and a text always have a JSON form.
    println!("{RESULT}{}", serde_json::to_string(&told).unwrap_or_default());
    exit(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use defenseclaw_testkit::escape::PROFILES;

    #[test]
    fn every_case_has_its_own_name_and_known_profiles() {
        let infos = infos();
        let names: BTreeSet<&String> = infos.iter().map(|info| &info.name).collect();
        assert_eq!(names.len(), infos.len());
        assert!(infos.len() >= 50, "only {}", infos.len());
        for info in &infos {
            assert!(
                info.holds.iter().all(|name| PROFILES.contains(&name.as_str())),
                "{}",
                info.name
            );
            assert!(!info.needs.is_empty(), "{}", info.name);
        }
    }
}
