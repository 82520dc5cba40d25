//! `setup` and `teardown`: a harness's hooks, there and away again.
//!
//! | Module | Holds |
//! |---|---|
//! | [`site`] | for whom: the user, the state folder, the hook client |
//! | [`host`] | what belongs to the host: the mode in the configuration, the hook client's settings |
//! | [`rooms`] | in which sandbox a harness's calls can run, and how they get there |
//! | [`all`] | all hooks of everybody, away |
//! | [`detect`](mod@detect) | which harnesses are here, and the command that sets each up |
//! | [`people`] | the people of this host, and looking into their homes with their own rights |
//! | [`governed`] | the refusal of processes that belong to an agent's session |

mod all;
mod detect;
pub mod governed;
pub mod host;
mod people;
pub mod rooms;
pub mod site;

use std::io::{self, Write};
use std::path::Path;

use defenseclaw_harness::install::detect::{Running, running as running_now};
use defenseclaw_harness::install::{self, Change, ChangeKind, InstallError, Scope, Spec, spec};
use defenseclaw_model::config::SandboxDefault;
use defenseclaw_model::decision::Mode;
use serde::Serialize;

use crate::args::{SetupOptions, TeardownOptions};
use crate::text::safe;
use crate::view::{Ink, View};
use crate::{Answer, CliError, Context, json, time};
use site::Target;

/// What `setup` and `teardown` say to other programs.
#[derive(Debug, Serialize)]
struct Report<'a> {
    connector: &'a str,
    scope: &'static str,
    dry_run: bool,
    files: &'a [Change],
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<&'a SandboxDefault>,
    /// Processes that run without the change, until they are started anew.
    running: &'a [Running],
    /// What a person has to know or do.
    notes: &'a [String],
}

/// Installs a harness's hooks, or lists harnesses.
pub fn run(options: &SetupOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let Some(connector) = &options.connector else {
        return detect::run(options, context);
    };
    let spec = known(connector)?;
    let mut settings = context.settings.clone();
    // What follows is for the host as it will be.
    let own = settings.config.connectors.entry(connector.clone()).or_default();
    own.mode = options.mode.or(own.mode);
    if let Some(sandbox) = &options.sandbox {
        rooms::check(&context.settings, connector, sandbox)?;
        own.sandbox = Some(sandbox.clone());
    }
    let target = Target::for_setup(options, &settings, connector)?;
    governed::refuse(&settings.socket, "set up a harness")?;
    let place = spec.place(target.scope);
    let mut notes = target.notes.clone();
    if !options.dry_run {
        let (mode, sandbox) = (options.mode, options.sandbox.as_ref());
        notes.extend(host::write_connector(
            &context.settings,
            connector,
            mode,
            sandbox,
        )?);
        notes.extend(host::write_hook_settings(&target, &settings)?);
    }
    if !options.dry_run && install::leaves_something(&target.site, spec, target.scope)? {
        install::teardown(&target.site, spec, target.scope, false)?;
    }
    notes.extend(rooms::note(&settings, connector));
    let changes = install::setup(&target.site, spec, target.scope, options.dry_run, time::now_ns())?;
    notes.extend(
        place
            .map(|place| place.afterwards.clone())
            .filter(|text| !text.is_empty()),
    );
    let report = Report {
        connector,
        scope: target.scope.as_str(),
        dry_run: options.dry_run,
        files: &changes,
        mode: options.mode,
        sandbox: options.sandbox.as_ref(),
        running: &running(spec, &target, &changes),
        notes: &notes,
    };
    tell(&report, spec, options.json, context)?;
    Ok(Answer::Yes)
}

/// Takes a harness's hooks away.
pub fn teardown(options: &TeardownOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let Some(connector) = options.connector.as_ref().filter(|_| !options.all) else {
        return all::teardown(options, context);
    };
    let spec = known(connector)?;
    let target = Target::for_teardown(options, &context.settings)?;
    governed::refuse(&context.settings.socket, "take a harness's hooks away")?;
    let changes = install::teardown(&target.site, spec, target.scope, options.dry_run)?;
    let mut notes = target.notes.clone();
    if !options.dry_run {
        notes.extend(host::withdraw_hook_settings(&target, &context.settings)?);
    }
    let report = Report {
        connector,
        scope: target.scope.as_str(),
        dry_run: options.dry_run,
        files: &changes,
        mode: None,
        sandbox: None,
        running: &running(spec, &target, &changes),
        notes: &notes,
    };
    tell(&report, spec, options.json, context)?;
    Ok(Answer::Yes)
}

fn known(connector: &str) -> Result<&'static Spec, CliError> {
    let unknown = || {
        let names = spec::all().map(|all| all.iter().map(|spec| spec.connector.as_str()).collect::<Vec<_>>());
        let known = names.unwrap_or_default().join(", ");
        CliError::Usage(format!(
            "{connector:?} is no harness that is known here. Known: {known}"
        ))
    };
    spec::named(connector)
        .map_err(InstallError::from)?
        .ok_or_else(unknown)
}

/// Sessions that do not see the change. Where nothing changed there are none.
fn running(spec: &Spec, target: &Target, changes: &[Change]) -> Vec<Running> {
    if changes.iter().all(|change| change.kind == ChangeKind::Unchanged) {
        return Vec::new();
    }
    let uid = (target.scope == Scope::User).then_some(target.site.user.uid);
    running_now(Path::new("/proc"), spec, uid)
}

fn tell(report: &Report<'_>, spec: &Spec, as_json: bool, context: &mut Context<'_>) -> io::Result<()> {
    if as_json {
        return json::line(context.out, report);
    }
    let view = &context.view;
    for change in report.files {
        let word = if report.dry_run {
            would(change.kind)
        } else {
            did(change.kind)
        };
        let file = safe(&change.file.to_string_lossy()).into_owned();
        writeln!(context.out, "{} {file}", view.paint(Ink::Strong, word))?;
        if report.dry_run {
            diff(change, view, context.out)?;
        } else if let Some(backup) = &change.backup {
            writeln!(context.out, "  as it was: {}", safe(&backup.to_string_lossy()))?;
        }
    }
    for note in report.notes {
        writeln!(context.out, "note: {}", safe(note))?;
    }
    if !report.running.is_empty() {
        let pids: Vec<_> = report
            .running
            .iter()
            .map(|process| process.pid.to_string())
            .collect();
        let running = safe(&spec.detect.running).into_owned();
        writeln!(
            context.out,
            "running now: pid {}. For {}, {running}",
            pids.join(", "),
            safe(&spec.title)
        )?;
    }
    Ok(())
}

fn did(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Created => "created",
        ChangeKind::Changed => "changed",
        ChangeKind::Unchanged => "unchanged",
        ChangeKind::Restored => "restored",
        ChangeKind::Cleaned => "cleaned",
        ChangeKind::Removed => "removed",
    }
}

fn would(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Created => "would create",
        ChangeKind::Changed => "would change",
        ChangeKind::Unchanged => "would leave",
        ChangeKind::Restored => "would restore",
        ChangeKind::Cleaned => "would clean",
        ChangeKind::Removed => "would remove",
    }
}

fn diff(change: &Change, view: &View, out: &mut dyn Write) -> io::Result<()> {
    for line in change.diff.lines() {
        let ink = if line.starts_with('+') {
            Ink::Good
        } else {
            Ink::Bad
        };
        writeln!(out, "  {}", view.paint(ink, &safe(line)))?;
    }
    Ok(())
}
