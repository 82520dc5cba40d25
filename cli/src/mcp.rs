//! `scan mcp --live`, `mcp check`, `mcp pins`: servers asked in sandboxes, and their pins in the gateway.

mod person;
mod pins;

use std::io::Write;
use std::path::PathBuf;

use defenseclaw_detect::mask::mask_text;
use defenseclaw_detect::scan::Scanner;
use defenseclaw_mcp::ask::{Asked, Options, ask_all};
use defenseclaw_mcp::host::Host;
use defenseclaw_mcp::settings::{self, Server};
use defenseclaw_mcp::{findings, pins as pinned};
use defenseclaw_model::decision::Severity;
use defenseclaw_model::pins::{Pin, PinCheck, PinState, Pins};
use defenseclaw_model::scan::{ScanFinding, ScanReport, ScanVerdict};
use serde_json::json;

use crate::args::decide::RuleChoice;
use crate::args::mcp::{AskOptions, CheckOptions, McpCommand};
use crate::table::{Cell, left, right, whole};
use crate::text::safe;
use crate::view::{Ink, View, severity_ink};
use crate::{Answer, CliError, Context, gateway, json as output, scan};

/// Most of a server's standard error that is shown (bytes).
const MAX_STDERR: usize = 4 << 10;

/// Runs `mcp`.
pub fn run(command: &McpCommand, context: &mut Context<'_>) -> Result<Answer, CliError> {
    match command {
        McpCommand::Check(options) => check(options, context),
        McpCommand::Pins(command) => pins::run(command, context),
    }
}

/// The settings files that are meant, and their servers. `given`: a file that cannot be read is an error, not only told.
fn servers(
    files: &[PathBuf],
    host: &Host,
    given: bool,
    notes: &mut dyn Write,
) -> Result<(Vec<PathBuf>, Vec<Server>), CliError> {
    let (mut read, mut servers) = (Vec::new(), Vec::new());
    for file in files {
        match settings::read(file, host.home.as_deref()) {
            Ok(found) => {
                read.push(file.canonicalize().unwrap_or_else(|_| file.clone()));
                servers.extend(found);
            }
            Err(error) if given => return Err(unreadable(error)),
            Err(error) => writeln!(notes, "{}", safe(&error.to_string()))?,
        }
    }
    Ok((read, servers))
}

fn unreadable(error: settings::SettingsError) -> CliError {
    CliError::Usage(error.to_string())
}

fn only(servers: &mut Vec<Server>, name: Option<&str>) -> Result<(), CliError> {
    let Some(name) = name else { return Ok(()) };
    let known: Vec<String> = servers.iter().map(|server| server.name.clone()).collect();
    servers.retain(|server| server.name == name);
    if servers.is_empty() {
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        return Err(CliError::Usage(format!(
            "no server is called {name:?}; there are: {known}"
        )));
    }
    Ok(())
}

fn options(ask: &AskOptions) -> Result<Options, CliError> {
    let launcher = std::env::current_exe().map_err(|error| {
        CliError::Usage(format!(
            "this program cannot be found to start sandboxes with: {error}"
        ))
    })?;
    Ok(Options {
        launcher,
        network: ask.allow_network,
        timeout: ask.timeout,
    })
}

/// Adds to the report of settings what their servers say when they are asked.
pub(crate) fn live(
    report: &mut ScanReport,
    path: &std::path::Path,
    ask: &AskOptions,
    scanner: &Scanner,
    notes: &mut dyn Write,
) -> Result<(), CliError> {
    let host = Host::here();
    let files = settings::at(path).map_err(unreadable)?;
    let (_, mut found) = servers(&files, &host, true, notes)?;
    only(&mut found, ask.server.as_deref())?;
    let asked = ask_all(&found, &host, &options(ask)?);
    for one in &asked {
        told(one, notes)?;
    }
    report.findings.extend(findings::findings(&asked, scanner));
    report
        .findings
        .sort_by(|a, b| (b.severity, &a.file, a.line, &a.rule).cmp(&(a.severity, &b.file, b.line, &b.rule)));
    report.verdict = ScanVerdict::of(&report.findings);
    Ok(())
}

/// One line about what came of asking.
fn told(asked: &Asked, notes: &mut dyn Write) -> std::io::Result<()> {
    let answers = &asked.answers;
    let counts: Vec<String> = answers
        .lists()
        .iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, list)| format!("{} {name}", list.len()))
        .collect();
    let counts = if counts.is_empty() {
        "nothing".to_owned()
    } else {
        counts.join(", ")
    };
    let how = if answers.complete() {
        ""
    } else {
        ", not all that it offers"
    };
    let name = safe(&asked.server.name);
    if answers.protocol.is_empty() {
        writeln!(notes, "{name}: not asked")
    } else {
        writeln!(notes, "{name}: {counts}{how} ({:.1} s)", asked.took.as_secs_f64())
    }
}

fn check(options_given: &CheckOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let socket = context.settings.socket.clone();
    // Before anything is started: without a gateway there is nothing to compare with.
    let _: Pins = gateway::get(&socket, "/v1/pins", gateway::QUICK)?;
    let mut host = Host::here();
    if let Some(home) = person::become_caller(context.notes)? {
        host.home = Some(home);
    }
    let here = std::env::current_dir().ok();
    let files = match options_given.paths.as_slice() {
        [] => settings::usual(host.home.as_deref(), here.as_deref()).map_err(unreadable)?,
        paths => {
            let each = paths.iter().map(|path| settings::at(path));
            let each: Vec<Vec<PathBuf>> = each.collect::<Result<_, _>>().map_err(unreadable)?;
            each.concat()
        }
    };
    let (files, mut found) = servers(&files, &host, !options_given.paths.is_empty(), context.notes)?;
    let whole_files = options_given.ask.server.is_none();
    only(&mut found, options_given.ask.server.as_deref())?;
    if found.is_empty() {
        writeln!(context.notes, "no settings here name an MCP server")?;
    }
    let asked = ask_all(&found, &host, &options(&options_given.ask)?);
    let seen: Vec<_> = asked.iter().filter_map(pinned::seen).collect();
    let names = |path: &PathBuf| path.display().to_string();
    let unasked = asked.iter().filter(|one| one.answers.protocol.is_empty());
    let question = PinCheck {
        files: if whole_files {
            files.iter().map(names).collect()
        } else {
            Vec::new()
        },
        unasked: unasked
            .map(|one| (names(&one.server.file), one.server.name.clone()))
            .collect(),
        servers: seen,
    };
    let Pins { pins: compared } = gateway::post(&socket, "/v1/pins/check", &question)?;
    let all: Pins = gateway::get(&socket, "/v1/pins", gateway::QUICK)?;
    let uid = nix::unistd::geteuid().as_raw();
    let files: Vec<String> = files.iter().map(names).collect();
    let mut pins = all.pins;
    pins.retain(|pin| {
        let meant = whole_files || found.iter().any(|server| server.name == pin.server);
        pin.uid == uid && files.contains(&pin.file) && meant
    });
    for pin in &mut pins {
        if let Some(found) = compared.iter().find(|found| found.id == pin.id) {
            pin.changes.clone_from(&found.changes);
        }
    }
    let scanner = scan::scanner(&RuleChoice::default(), &context.settings)?;
    let found = findings::findings(&asked, &scanner);
    if options_given.json {
        as_json(&asked, &pins, &found, context)?;
    } else {
        as_text(&asked, &pins, &found, context)?;
    }
    let held = pins.iter().any(|pin| pin.state == PinState::Changed);
    Ok(if held { Answer::No } else { Answer::Yes })
}

fn as_json(
    asked: &[Asked],
    pins: &[Pin],
    found: &[ScanFinding],
    context: &mut Context<'_>,
) -> Result<(), CliError> {
    for pin in pins {
        output::line(context.out, pin)?;
    }
    for one in asked.iter().filter(|one| !one.answers.complete()) {
        let problems: Vec<_> = one
            .answers
            .problems
            .iter()
            .map(|problem| &problem.message)
            .collect();
        let line = json!({
            "server": one.server.name,
            "file": one.server.file,
            "state": if one.answers.protocol.is_empty() { "not_asked" } else { "not_whole" },
            "problems": problems,
            "stderr": mask_text(&one.stderr, MAX_STDERR),
        });
        output::line(context.out, &line)?;
    }
    for finding in found {
        output::line(context.out, &json!({"finding": finding}))?;
    }
    Ok(())
}

fn as_text(
    asked: &[Asked],
    pins: &[Pin],
    found: &[ScanFinding],
    context: &mut Context<'_>,
) -> Result<(), CliError> {
    print(pins, &context.view, context.out)?;
    for one in asked.iter().filter(|one| !one.answers.complete()) {
        let name = safe(&one.server.name).into_owned();
        for problem in one
            .answers
            .problems
            .iter()
            .filter(|problem| problem.trouble.leaves_out())
        {
            let line = format!("{name}: {}", safe(&problem.message));
            writeln!(context.out, "{}", context.view.paint(Ink::Warn, &line))?;
        }
    }
    for pin in pins.iter().filter(|pin| pin.state == PinState::Changed) {
        pins::differences(pin, &context.view, context.out)?;
    }
    for finding in found
        .iter()
        .filter(|finding| finding.severity >= Severity::Medium)
    {
        let severity = context
            .view
            .paint(severity_ink(finding.severity), finding.severity.as_str());
        let (place, message) = (safe(&finding.file), safe(&finding.message));
        writeln!(
            context.out,
            "{severity} {} {place}: {message}",
            safe(&finding.rule)
        )?;
    }
    Ok(())
}

/// Pins in columns.
fn print(pins: &[Pin], view: &View, out: &mut dyn Write) -> std::io::Result<()> {
    if pins.is_empty() {
        return writeln!(out, "no server is pinned");
    }
    let columns = [
        left("PIN", 10),
        left("STATE", 7),
        left("SERVER", 8),
        right("ITEMS", 5),
        left("APPROVED", 8),
        left("FILE", 10),
    ];
    let rows: Vec<Vec<Cell>> = pins
        .iter()
        .map(|pin| {
            let ink = match pin.state {
                PinState::Changed => Ink::Bad,
                PinState::Same => Ink::Good,
                PinState::New | PinState::Gone => Ink::Warn,
            };
            let approved = pin.approved_by.map(|uid| format!("uid {uid}"));
            let file = match pin.scope.as_str() {
                "" => pin.file.clone(),
                scope if pin.file.starts_with(scope) => pin.file.clone(),
                scope => format!("{} for {scope}", pin.file),
            };
            vec![
                Cell(safe(&pin.id).into_owned(), Ink::Strong),
                Cell(state(pin.state).to_owned(), ink),
                safe(&pin.server).into_owned().into(),
                pin.items.to_string().into(),
                approved.unwrap_or_else(|| "-".to_owned()).into(),
                safe(&file).into_owned().into(),
            ]
        })
        .collect();
    for line in whole(&columns, &rows, view) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn state(state: PinState) -> &'static str {
    match state {
        PinState::Changed => "held",
        other => other.as_str(),
    }
}
