//! `gate …`: what the install gate holds, asked of the gateway, and what operators allow and block.

use std::io::{self, Write};

use defenseclaw_model::gate::{LastAdmission, ListEntry, ListName, ListVerb, QuarantineEntry, Release};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::gate::{GateCommand, GateListingOptions};
use crate::table::{self, Cell};
use crate::text::{counted, cut, safe};
use crate::view::{Ink, View, severity_ink};
use crate::{Answer, CliError, Context, gateway, json, status, time, words};

#[derive(Deserialize)]
struct Held {
    entries: Vec<QuarantineEntry>,
}

#[derive(Deserialize)]
struct Listed {
    entries: Vec<ListEntry>,
}

#[derive(Deserialize)]
struct Artifacts {
    artifacts: Vec<LastAdmission>,
}

/// Runs one of them.
pub fn run(command: &GateCommand, context: &mut Context<'_>) -> Result<Answer, CliError> {
    match command {
        GateCommand::List(options) => list(options.json, context),
        GateCommand::Show(options) => show(&options.id, options.json, context),
        GateCommand::Restore(options) => deal_with(
            &options.id,
            "restore",
            &Value::Null,
            options.json,
            "restored",
            context,
        ),
        GateCommand::Delete(options) => deal_with(
            &options.id,
            "delete",
            &Value::Null,
            options.json,
            "deleted",
            context,
        ),
        GateCommand::Release(options) => {
            let release = Release {
                reason: options.reason.clone(),
                for_s: Some(options.expires),
            };
            let body = serde_json::to_value(&release).map_err(io::Error::from)?;
            deal_with(&options.id, "release", &body, options.json, "released", context)
        }
        GateCommand::Status(options) => gate_status(options.json, context),
        GateCommand::Allow(options) => add(ListName::Allow, options, context),
        GateCommand::Block(options) => add(ListName::Block, options, context),
        GateCommand::Lists(options) => lists(options.json, context),
        GateCommand::Forget(options) => {
            let verb = ListVerb::Forget {
                id: options.id.clone(),
            };
            change(&verb, options.json, context)
        }
    }
}

fn held(context: &Context<'_>) -> Result<Vec<QuarantineEntry>, CliError> {
    let Held { entries } = gateway::get(&context.settings.socket, "/v1/quarantine", gateway::PATIENT)?;
    Ok(entries)
}

fn list(as_json: bool, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let entries = held(context)?;
    if as_json {
        for entry in &entries {
            json::line(context.out, entry)?;
        }
        return Ok(Answer::Yes);
    }
    if entries.is_empty() {
        writeln!(context.out, "nothing is in quarantine")?;
        return Ok(Answer::Yes);
    }
    let columns = [
        table::left("ID", 14),
        table::left("SINCE", 19),
        table::left("SEVERITY", 8),
        table::left("WHAT", 4),
        table::left("FROM", 8),
        table::left("WHY", 8),
    ];
    let rows: Vec<Vec<Cell>> = entries
        .iter()
        .map(|entry| {
            let artifact = &entry.artifact;
            vec![
                Cell(safe(&entry.id).into_owned(), Ink::Strong),
                time::local(entry.time_ns, &context.view.zone).into(),
                Cell(entry.severity.as_str().to_owned(), severity_ink(entry.severity)),
                format!("{} {}", artifact.kind, safe(&artifact.name)).into(),
                safe(&artifact.path).into_owned().into(),
                safe(&entry.reason).into_owned().into(),
            ]
        })
        .collect();
    for line in table::whole(&columns, &rows, &context.view) {
        writeln!(context.out, "{line}")?;
    }
    Ok(Answer::Yes)
}

fn show(id: &str, as_json: bool, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let entry = held(context)?.into_iter().find(|entry| entry.id == id);
    let entry = entry.ok_or_else(|| {
        CliError::NotFound(format!(
            "there is nothing in quarantine as {id:?}; `defenseclaw-cli gate list` prints what there is"
        ))
    })?;
    if as_json {
        json::line(context.out, &entry)?;
        return Ok(Answer::Yes);
    }
    let view = &context.view;
    let artifact = &entry.artifact;
    let out = &mut context.out;
    let mut field = |name: &str, value: &str| {
        writeln!(
            out,
            "{} {value}",
            view.paint(Ink::Strong, &crate::text::pad(name, 9))
        )
    };
    field("entry", &safe(&entry.id))?;
    field(
        "what",
        &format!(
            "{} {}, of {}",
            artifact.kind,
            safe(&artifact.name),
            safe(&artifact.connector)
        ),
    )?;
    field("from", &safe(&artifact.path))?;
    field("held at", &safe(&entry.held_at))?;
    field("since", &time::local(entry.time_ns, &view.zone))?;
    let size = format!(
        "{}, {}, owned by uid {}",
        counted(artifact.files, "file", "files"),
        counted(artifact.bytes, "byte", "bytes"),
        artifact.uid
    );
    field("size", &size)?;
    field("digest", &safe(&artifact.digest))?;
    field(
        "severity",
        &view.paint(severity_ink(entry.severity), entry.severity.as_str()),
    )?;
    field("why", &safe(&entry.reason))?;
    for rule in &entry.rules {
        field("rule", &safe(rule))?;
    }
    field(
        "",
        "`audit query --kind admission`, and `audit show` of its record, tell what the scan found",
    )?;
    Ok(Answer::Yes)
}

fn deal_with(
    id: &str,
    verb: &str,
    body: &Value,
    as_json: bool,
    done: &str,
    context: &mut Context<'_>,
) -> Result<Answer, CliError> {
    let path = format!("/v1/quarantine/{}/{verb}", gateway::part(id));
    let entry: QuarantineEntry = gateway::post(&context.settings.socket, &path, body)?;
    if as_json {
        json::line(context.out, &entry)?;
        return Ok(Answer::Yes);
    }
    let artifact = &entry.artifact;
    let what = format!("{} {}", artifact.kind, safe(&artifact.name));
    let path = safe(&artifact.path);
    match verb {
        "delete" => writeln!(context.out, "{done}: {what}, from {path}")?,
        _ => writeln!(context.out, "{done}: {what} is again at {path}")?,
    }
    Ok(Answer::Yes)
}

fn gate_status(as_json: bool, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let Artifacts { artifacts } = gateway::get(&context.settings.socket, "/v1/artifacts", gateway::QUICK)?;
    if as_json {
        for last in &artifacts {
            json::line(context.out, last)?;
        }
        return Ok(Answer::Yes);
    }
    let state = status::fetch(&context.settings.socket)?;
    if let Some(gate) = &state.gate {
        status::print_gate(gate, &context.view, context.out)?;
    }
    if artifacts.is_empty() {
        writeln!(context.out, "nothing was asked about yet")?;
        return Ok(Answer::Yes);
    }
    writeln!(context.out)?;
    let columns = [
        table::left("ANSWER", 6),
        table::left("SEVERITY", 8),
        table::left("WHAT", 4),
        table::left("WHERE", 8),
        table::left("WHY", 8),
    ];
    let rows: Vec<Vec<Cell>> = artifacts.iter().map(answer_row).collect();
    for line in table::whole(&columns, &rows, &context.view) {
        writeln!(context.out, "{line}")?;
    }
    Ok(Answer::Yes)
}

fn answer_row(last: &LastAdmission) -> Vec<Cell> {
    let (artifact, answer) = (&last.artifact, &last.answer);
    let ink = words::admission_ink(answer.action);
    vec![
        Cell(words::admission_action(answer), ink),
        Cell(answer.severity.as_str().to_owned(), severity_ink(answer.severity)),
        format!("{} {}", artifact.kind, safe(&artifact.name)).into(),
        safe(&artifact.path).into_owned().into(),
        safe(&cut(&answer.reason, 120)).into_owned().into(),
    ]
}

fn add(list: ListName, options: &GateListingOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let verb = ListVerb::Add {
        list,
        kind: options.kind,
        name: options.name.clone(),
        digest: options.digest.clone(),
        reason: options.reason.clone(),
        for_s: options.expires,
    };
    change(&verb, options.json, context)
}

fn change(verb: &ListVerb, as_json: bool, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let entry: ListEntry = gateway::post(&context.settings.socket, "/v1/artifact-lists", verb)?;
    if as_json {
        json::line(context.out, &entry)?;
        return Ok(Answer::Yes);
    }
    let done = match (verb, entry.list) {
        (ListVerb::Forget { .. }, list) => format!("off the {} list", list.as_str()),
        (ListVerb::Add { .. }, ListName::Allow) => "allowed".to_owned(),
        (ListVerb::Add { .. }, ListName::Block) => "blocked".to_owned(),
    };
    let until = match (verb, entry.expires_ns) {
        (ListVerb::Add { .. }, Some(at)) => format!(", until {}", time::local(at, &context.view.zone)),
        _ => String::new(),
    };
    writeln!(
        context.out,
        "{} {done}: {}{until}",
        safe(&entry.id),
        words::listed(&json!(entry))
    )?;
    Ok(Answer::Yes)
}

fn lists(as_json: bool, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let Listed { entries } = gateway::get(&context.settings.socket, "/v1/artifact-lists", gateway::QUICK)?;
    if as_json {
        for entry in &entries {
            json::line(context.out, entry)?;
        }
        return Ok(Answer::Yes);
    }
    if entries.is_empty() {
        writeln!(context.out, "nothing is allowed or blocked beside lists.yaml")?;
        return Ok(Answer::Yes);
    }
    let columns = [
        table::left("ID", 10),
        table::left("LIST", 5),
        table::left("WHAT", 8),
        table::left("UNTIL", 19),
        table::left("BY", 4),
        table::left("WHY", 8),
    ];
    let rows: Vec<Vec<Cell>> = entries
        .iter()
        .map(|entry| entry_row(entry, &context.view))
        .collect();
    for line in table::whole(&columns, &rows, &context.view) {
        writeln!(context.out, "{line}")?;
    }
    Ok(Answer::Yes)
}

fn entry_row(entry: &ListEntry, view: &View) -> Vec<Cell> {
    let until = match entry.expires_ns {
        Some(at) if at <= time::now_ns() => "expired".to_owned(),
        Some(at) => time::local(at, &view.zone),
        None => "taken off".to_owned(),
    };
    vec![
        Cell(safe(&entry.id).into_owned(), Ink::Strong),
        entry.list.as_str().to_owned().into(),
        words::listed(&json!(entry)).into(),
        until.into(),
        safe(&entry.owner).into_owned().into(),
        safe(&entry.reason).into_owned().into(),
    ]
}
