//! `approvals list`, `approve`, `deny`, `grants`, `revoke`: people's answers, given to the gateway.

use std::io::{self, Write};

use defenseclaw_model::api::{Approval, ApprovalAnswer, Scope};
use serde::Deserialize;
use serde_json::Value;

use crate::args::decide::ApprovalsCommand;
use crate::table::{self, Cell};
use crate::text::safe;
use crate::view::{Ink, View};
use crate::{Answer, CliError, Context, gateway, json, time, words};

#[derive(Deserialize)]
struct Waiting {
    approvals: Vec<Approval>,
}

#[derive(Deserialize)]
struct Held {
    grants: Vec<Value>,
}

/// What is shown of an approval that holds.
#[derive(Deserialize)]
struct Grant {
    id: String,
    scope: Scope,
    cwd: Option<String>,
    summary: String,
    by_uid: u32,
    until_ns: u64,
}

/// Runs one of them.
pub fn run(command: &ApprovalsCommand, context: &mut Context<'_>) -> Result<Answer, CliError> {
    match command {
        ApprovalsCommand::List(options) => list(options.json, context),
        ApprovalsCommand::Approve(options) => {
            let answer = ApprovalAnswer {
                approve: true,
                scope: options.scope.into(),
            };
            give(&options.id, answer, options.json, context)
        }
        ApprovalsCommand::Deny(options) => {
            let answer = ApprovalAnswer {
                approve: false,
                scope: Scope::Once,
            };
            give(&options.id, answer, options.json, context)
        }
        ApprovalsCommand::Grants(options) => grants(options.json, context),
        ApprovalsCommand::Revoke(options) => revoke(&options.id, options.json, context),
    }
}

fn list(as_json: bool, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let Waiting { approvals } = gateway::get(&context.settings.socket, "/v1/approvals", gateway::QUICK)?;
    if as_json {
        for approval in &approvals {
            json::line(context.out, approval)?;
        }
    } else if approvals.is_empty() {
        writeln!(context.out, "nothing waits for a person")?;
    } else {
        print(&approvals, &context.view, context.out)?;
    }
    Ok(Answer::Yes)
}

fn print(approvals: &[Approval], view: &View, out: &mut dyn Write) -> io::Result<()> {
    let columns = [
        table::left("ID", 8),
        table::right("LEFT", 4),
        table::left("SESSION", 8),
        table::left("TOOL", 4),
        table::left("CALL", 10),
    ];
    let rows: Vec<Vec<Cell>> = approvals
        .iter()
        .map(|approval| {
            let session = words::short_session(approval.session.harness_session());
            vec![
                Cell(safe(&approval.id).into_owned(), Ink::Strong),
                format!("{} s", approval.left_s).into(),
                format!("{} {session}", approval.session.connector()).into(),
                safe(&approval.tool).into_owned().into(),
                safe(&approval.summary).into_owned().into(),
            ]
        })
        .collect();
    let mut lines = table::whole(&columns, &rows, view).into_iter();
    if let Some(heading) = lines.next() {
        writeln!(out, "{heading}")?;
    }
    for (line, approval) in lines.zip(approvals) {
        writeln!(out, "{line}")?;
        let folder = approval.cwd.as_deref().unwrap_or("a folder that is not known");
        let rule = view.paint(Ink::Warn, &safe(&approval.rule));
        writeln!(out, "          {rule}: {}", safe(&approval.reason))?;
        let owner = format!("in {}, uid {}", safe(folder), approval.owner);
        writeln!(out, "          {}", view.paint(Ink::Faint, &owner))?;
    }
    Ok(())
}

fn give(
    id: &str,
    answer: ApprovalAnswer,
    as_json: bool,
    context: &mut Context<'_>,
) -> Result<Answer, CliError> {
    let path = format!("/v1/approvals/{}", gateway::part(id));
    let approval: Approval = gateway::post(&context.settings.socket, &path, &answer)?;
    if as_json {
        json::line(context.out, &approval)?;
        return Ok(Answer::Yes);
    }
    let what = match (answer.approve, answer.scope) {
        (false, _) => "refused".to_owned(),
        (true, Scope::Once) => "approved once".to_owned(),
        (true, Scope::Session) => "approved for this session".to_owned(),
        (true, Scope::AlwaysHere) => {
            let folder = approval.cwd.as_deref().unwrap_or_default();
            format!("approved in {} for 30 days", safe(folder))
        }
    };
    let (tool, summary) = (safe(&approval.tool), safe(&approval.summary));
    writeln!(context.out, "{what}: {tool} {summary}")?;
    Ok(Answer::Yes)
}

fn grants(as_json: bool, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let Held { grants } = gateway::get(&context.settings.socket, "/v1/grants", gateway::QUICK)?;
    if as_json {
        for grant in &grants {
            json::line(context.out, grant)?;
        }
        return Ok(Answer::Yes);
    }
    let grants: Vec<Grant> = grants
        .into_iter()
        .map(serde_json::from_value)
        .collect::<Result<_, _>>()
        .map_err(|error| CliError::Unreachable {
            socket: context.settings.socket.clone(),
            why: format!("its answer is not understood: {error}"),
            remedy: "The gateway and this tool are probably of different versions.".to_owned(),
        })?;
    if grants.is_empty() {
        writeln!(context.out, "no approval holds for more than one call")?;
        return Ok(Answer::Yes);
    }
    let columns = [
        table::left("ID", 8),
        table::left("FOR", 7),
        table::left("UNTIL", 19),
        table::right("BY", 4),
        table::left("FOLDER", 8),
        table::left("CALL", 10),
    ];
    let zone = &context.view.zone;
    let rows: Vec<Vec<Cell>> = grants
        .iter()
        .map(|grant| {
            let until = match grant.scope {
                Scope::AlwaysHere => time::local(grant.until_ns, zone),
                Scope::Once | Scope::Session => "its end".to_owned(),
            };
            vec![
                Cell(safe(&grant.id).into_owned(), Ink::Strong),
                grant.scope.as_str().to_owned().into(),
                until.into(),
                format!("uid {}", grant.by_uid).into(),
                safe(grant.cwd.as_deref().unwrap_or("-")).into_owned().into(),
                safe(&grant.summary).into_owned().into(),
            ]
        })
        .collect();
    for line in table::whole(&columns, &rows, &context.view) {
        writeln!(context.out, "{line}")?;
    }
    Ok(Answer::Yes)
}

fn revoke(id: &str, as_json: bool, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let path = format!("/v1/grants/{}", gateway::part(id));
    let grant: Value = gateway::delete(&context.settings.socket, &path)?;
    if as_json {
        json::line(context.out, &grant)?;
    } else {
        let summary = grant.get("summary").and_then(Value::as_str).unwrap_or_default();
        writeln!(context.out, "taken back: {}", safe(summary))?;
    }
    Ok(Answer::Yes)
}
