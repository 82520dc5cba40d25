//! `teardown --all`: our hooks out of every harness's files, so that nothing calls a program that is about to go.
//!
//! ```text
//! as a user    every harness of that user: what the user's manifest names, and what lies there without one
//! as root      what the host's manifest names (each home in a process of its own, which knows the kept files),
//!              then for each person of the host a process with that person's rights, as above
//! ```
//!
//! One file that is refused, one home that is in the way of its own, stops nothing else. What was done and what was not is printed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use defenseclaw_harness::install::{
    Change, ChangeKind, InstallError, Installed, Scope, Store, User, spec, withdraw,
};
use serde::Serialize;

use super::people::{self, Person, Said};
use super::site::Target;
use super::{did, governed, host, would};
use crate::args::TeardownOptions;
use crate::text::safe;
use crate::view::Ink;
use crate::{Answer, CliError, Context, json};

/// Begins a line about what is still hooked.
const LEFT: &str = "left: ";

/// One file, for other programs.
#[derive(Debug, Serialize)]
struct Line<'a> {
    connector: &'a str,
    scope: &'static str,
    file: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<ChangeKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

/// What was done so far.
#[derive(Debug, Default)]
struct Tally {
    files: usize,
    failures: usize,
}

/// Takes all hooks away. The answer is "no" if some are left.
pub(super) fn teardown(options: &TeardownOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    governed::refuse(&context.settings.socket, "take hooks away")?;
    let mut tally = Tally::default();
    if let Some(home) = &options.kept_for {
        let target = Target::for_teardown(options, &context.settings)?;
        kept(&target, Some(home), options, &mut tally, context)?;
        return Ok(answer(&tally));
    }
    if nix::unistd::geteuid().is_root() && options.whose.user.is_none() && !options.only_own {
        everybody(options, &mut tally, context)?;
    } else {
        let target = Target::for_taking_away(&options.whose, &context.settings)?;
        own(&target, options, &mut tally, context)?;
    }
    if !options.json && tally.files + tally.failures == 0 && !options.quiet {
        writeln!(context.out, "no hook of ours is in any harness's settings")?;
    }
    Ok(answer(&tally))
}

fn answer(tally: &Tally) -> Answer {
    if tally.failures == 0 {
        Answer::Yes
    } else {
        Answer::No
    }
}

/// Every person of this host.
fn everybody(
    options: &TeardownOptions,
    tally: &mut Tally,
    context: &mut Context<'_>,
) -> Result<(), CliError> {
    let target = Target::for_teardown(options, &context.settings)?;
    let manifest = match Store::new(&target.site.state).load() {
        Ok(manifest) => manifest.installed,
        // What lies in homes is found without it, too; what lies for the whole host is looked for below.
        Err(error) => {
            tally.failures += 1;
            say_failure(context, &error.to_string())?;
            Vec::new()
        }
    };
    let users = manifest.iter().filter(|installed| installed.scope == Scope::User);
    let homes: BTreeSet<&PathBuf> = users.map(|installed| &installed.home).collect();
    for home in homes {
        let home = home.to_string_lossy();
        let mut arguments = arguments(options);
        arguments.extend(["--kept-for", home.as_ref()]);
        let said = people::apart(&options.whose.root, &arguments);
        heard(&home, said, tally, context)?;
    }
    kept(&target, None, options, tally, context)?;
    for spec in spec::all().map_err(InstallError::from)? {
        if spec.system.is_some() {
            one(&target, spec, Scope::System, options, tally, context)?;
        }
    }
    match people::all(&options.whose.root) {
        Ok(people) => {
            for person in people {
                in_home(&person, options, tally, context)?;
            }
        }
        Err(error) => {
            tally.failures += 1;
            say_failure(context, &error.to_string())?;
        }
    }
    if !options.dry_run {
        for note in host::withdraw_hook_settings(&target, &context.settings)? {
            writeln!(context.notes, "note: {}", safe(&note))?;
        }
    }
    Ok(())
}

fn arguments(options: &TeardownOptions) -> Vec<&'static str> {
    let mut arguments = vec!["teardown", "--all", "--quiet"];
    arguments.extend(options.dry_run.then_some("--dry-run"));
    arguments.extend(options.json.then_some("--json"));
    arguments
}

/// What lies in a person's home and the host's manifest does not know.
fn in_home(
    person: &Person,
    options: &TeardownOptions,
    tally: &mut Tally,
    context: &mut Context<'_>,
) -> Result<(), CliError> {
    let mut arguments = arguments(options);
    arguments.push("--only-own");
    let said = people::as_person(person, &options.whose.root, &arguments);
    heard(&person.name, said, tally, context)
}

/// Prints what a process in a home said, and counts it.
fn heard(
    who: &str,
    said: std::io::Result<Said>,
    tally: &mut Tally,
    context: &mut Context<'_>,
) -> Result<(), CliError> {
    let said = match said {
        Ok(said) => said,
        Err(error) => {
            tally.failures += 1;
            return say_failure(context, &format!("{who}: could not be looked at: {error}"));
        }
    };
    for line in said.out.lines() {
        tally.files += 1;
        writeln!(context.out, "{}", safe(line))?;
    }
    if said.status != Some(0) {
        tally.failures += 1;
    }
    for line in said.notes.lines() {
        let line = line.strip_prefix(LEFT).unwrap_or(line);
        say_failure(context, &format!("{who}: {line}"))?;
    }
    Ok(())
}

/// What the host's manifest names: for one home, or for the whole host.
fn kept(
    target: &Target,
    home: Option<&Path>,
    options: &TeardownOptions,
    tally: &mut Tally,
    context: &mut Context<'_>,
) -> Result<(), CliError> {
    let manifest = Store::new(&target.site.state).load().unwrap_or_default();
    let meant = |installed: &&Installed| match home {
        Some(home) => installed.scope == Scope::User && installed.home == home,
        None => installed.scope == Scope::System,
    };
    for installed in manifest.installed.iter().rev().filter(meant) {
        let Some(spec) = spec::named(&installed.connector).map_err(InstallError::from)? else {
            tally.failures += 1;
            let what = format!(
                "{} is set up, and this program does not know it",
                installed.connector
            );
            say_failure(context, &what)?;
            continue;
        };
        let user = User {
            uid: installed.uid,
            gid: installed.gid,
            home: installed.home.clone(),
        };
        let mut own = target.clone();
        own.site.privileged = nix::unistd::geteuid().is_root() && user.uid != 0;
        own.site.user = user;
        one(&own, spec, installed.scope, options, tally, context)?;
    }
    Ok(())
}

/// Every harness of the user that `target` is for.
fn own(
    target: &Target,
    options: &TeardownOptions,
    tally: &mut Tally,
    context: &mut Context<'_>,
) -> Result<(), CliError> {
    for spec in spec::all().map_err(InstallError::from)? {
        one(target, spec, Scope::User, options, tally, context)?;
    }
    if !options.dry_run && !target.site.privileged {
        Store::new(&target.site.state).clear();
    }
    Ok(())
}

/// One harness. Where nothing of ours is, nothing is said.
fn one(
    target: &Target,
    spec: &spec::Spec,
    scope: Scope,
    options: &TeardownOptions,
    tally: &mut Tally,
    context: &mut Context<'_>,
) -> Result<(), CliError> {
    let withdrawn = match withdraw(&target.site, spec, scope, options.dry_run) {
        Ok(withdrawn) => withdrawn,
        Err(InstallError::NotInstalled { .. }) => return Ok(()),
        Err(error) => {
            tally.failures += 1;
            return say_failure(context, &format!("{}: {error}", spec.connector));
        }
    };
    for change in &withdrawn.changes {
        tally.files += 1;
        say_change(&spec.connector, scope, change, options, context)?;
    }
    for (file, error) in &withdrawn.failed {
        tally.failures += 1;
        if options.json {
            let line = Line {
                connector: &spec.connector,
                scope: scope.as_str(),
                file,
                kind: None,
                failed: Some(error.to_string()),
            };
            json::line(context.out, &line)?;
        }
        say_failure(context, &format!("{}: {error}", spec.connector))?;
    }
    Ok(())
}

fn say_change(
    connector: &str,
    scope: Scope,
    change: &Change,
    options: &TeardownOptions,
    context: &mut Context<'_>,
) -> Result<(), CliError> {
    if options.json {
        let line = Line {
            connector,
            scope: scope.as_str(),
            file: &change.file,
            kind: Some(change.kind),
            failed: None,
        };
        return Ok(json::line(context.out, &line)?);
    }
    let word = if options.dry_run {
        would(change.kind)
    } else {
        did(change.kind)
    };
    let word = context.view.paint(Ink::Strong, word);
    writeln!(
        context.out,
        "{word} {}  ({connector})",
        safe(&change.file.to_string_lossy())
    )?;
    Ok(())
}

fn say_failure(context: &mut Context<'_>, what: &str) -> Result<(), CliError> {
    // What is printed stays in order where both go to one place.
    context.out.flush()?;
    writeln!(context.notes, "{LEFT}{}", safe(what))?;
    Ok(())
}
