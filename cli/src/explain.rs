//! `explain`: what was known of a call, what the rules found, and the line of the policy that decided.

use std::io::{self, Write};

use defenseclaw_model::call::CallKind;
use defenseclaw_model::decision::{Decision, Finding, Posture};
use defenseclaw_model::facts::{Facts, FlowEnd};
use defenseclaw_model::record::{Binding, Record, RecordBody};
use defenseclaw_policy::clause_in;
use serde::Serialize;
use serde_json::Value;

use crate::args::decide::ExplainOptions;
use crate::ledger::Ledger;
use crate::text::{self, safe};
use crate::view::{Ink, View, severity_ink, verdict_ink};
use crate::{Answer, CliError, Context, json, time, words};

/// What is explained.
struct Call<'a> {
    tool: &'a str,
    kind: &'a CallKind,
    input: &'a Value,
    facts: &'a Facts,
    decision: &'a Decision,
    binding: &'a Binding,
    posture: Option<&'a Posture>,
}

/// The same for programs.
#[derive(Serialize)]
struct Explained<'a> {
    time: String,
    seq: u64,
    session: Option<String>,
    call: Option<String>,
    tool: &'a str,
    call_kind: &'a CallKind,
    input: &'a Value,
    facts: &'a Facts,
    decision: &'a Decision,
    would_block: bool,
    binding: &'a Binding,
    #[serde(skip_serializing_if = "Option::is_none")]
    posture: Option<&'a Posture>,
    /// The clause that decided, where the policy at hand is the one that did.
    #[serde(skip_serializing_if = "Option::is_none")]
    clause: Option<String>,
}

/// Explains the record.
pub fn run(options: &ExplainOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let ledger = Ledger::open(&context.settings.ledger)?;
    let Some(record) = ledger.get(options.seq)? else {
        let head = ledger.head_seq()?;
        return Err(CliError::NotFound(format!(
            "there is no record {}: the newest is {head}",
            options.seq
        )));
    };
    let RecordBody::ToolCall {
        tool,
        call_kind,
        input,
        facts,
        decision,
        binding,
        posture,
        ..
    } = &record.draft.body
    else {
        return Err(CliError::Usage(format!(
            "record {} is a {} record: only tool calls are decided on. `audit query --kind tool_call` lists them",
            options.seq,
            record.draft.body.kind()
        )));
    };
    let clause = clause(decision, context);
    let posture = posture.as_ref();
    if options.json {
        let explained = Explained {
            time: time::rfc3339(record.draft.time_ns),
            seq: record.seq,
            session: record.draft.session.as_ref().map(ToString::to_string),
            call: record.draft.call.as_ref().map(ToString::to_string),
            tool,
            call_kind,
            input,
            facts,
            decision,
            would_block: decision.would_block(),
            binding,
            posture,
            clause,
        };
        json::line(context.out, &explained)?;
        return Ok(Answer::Yes);
    }
    let call = Call {
        tool,
        kind: call_kind,
        input,
        facts,
        decision,
        binding,
        posture,
    };
    print(&record, &call, clause.as_deref(), &context.view, context.out)?;
    Ok(Answer::Yes)
}

/// The text of the clause that decided. Another revision of the policy may have something else on that line, so that it is
/// shown only where the rules at hand are the ones that decided.
fn clause(decision: &Decision, context: &Context<'_>) -> Option<String> {
    let folder = context.settings.policies.as_deref();
    let bundle = crate::inspect::bundle(&context.settings).ok()?;
    let rules = defenseclaw_inspect::Rules::load_layers(bundle.as_ref(), folder, &[]).ok()?;
    if rules.revision() != decision.policy {
        return None;
    }
    clause_in(bundle.as_ref(), folder, &decision.line).ok().flatten()
}

fn print(
    record: &Record,
    call: &Call<'_>,
    clause: Option<&str>,
    view: &View,
    out: &mut dyn Write,
) -> io::Result<()> {
    let decision = call.decision;
    let field = |out: &mut dyn Write, name: &str, value: &str| {
        writeln!(out, "{} {value}", view.paint(Ink::Strong, &text::pad(name, 9)))
    };
    let subject = words::subject(call.kind, call.input);
    field(out, "call", &format!("{}: {subject}", safe(call.tool)))?;
    field(out, "when", &time::local(record.draft.time_ns, &view.zone))?;
    if let Some(session) = &record.draft.session {
        field(out, "session", &safe(&session.to_string()))?;
    }
    let verdict = view.paint(verdict_ink(decision.verdict), &words::verdict(decision));
    field(out, "verdict", &verdict)?;
    field(out, "reason", &safe(&decision.reason))?;
    if !decision.rule.is_empty() {
        field(out, "rule", &safe(&decision.rule))?;
    }
    if let Some(sandbox) = &decision.sandbox {
        field(out, "sandbox", &words::sandbox(sandbox))?;
    }
    let place = match (decision.line.is_empty(), clause) {
        (true, _) => format!(
            "policy {}, which does not say which line decided",
            safe(&decision.policy)
        ),
        (false, Some(_)) => format!("{} of policy {}", safe(&decision.line), safe(&decision.policy)),
        (false, None) => format!(
            "{} of policy {}, which is not the one at hand",
            safe(&decision.line),
            safe(&decision.policy)
        ),
    };
    field(out, "decided", &place)?;
    for line in clause.unwrap_or_default().lines() {
        writeln!(
            out,
            "          {}",
            view.paint(Ink::Faint, &safe(&line.replace('\t', "    ")))
        )?;
    }
    field(out, "kernel", &words::binding(call.binding))?;
    if let Some(posture) = call.posture {
        field(out, "before", &so_far(posture))?;
    }
    print_findings(&decision.findings, view, out)?;
    print_facts(call.facts, view, out)
}

/// What the session had done before the call.
fn so_far(posture: &Posture) -> String {
    let mut words = vec![format!("risk {:.1}", posture.risk)];
    match posture.denied {
        0 => {}
        1 => words.push("1 call refused".into()),
        denied => words.push(format!("{denied} calls refused")),
    }
    words.extend(posture.taints.iter().map(|taint| safe(taint).into_owned()));
    words.join(", ")
}

fn print_findings(findings: &[Finding], view: &View, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", view.paint(Ink::Strong, "findings"))?;
    if findings.is_empty() {
        return writeln!(out, "  none");
    }
    for finding in findings {
        let severity = view.paint(severity_ink(finding.severity), finding.severity.as_str());
        writeln!(
            out,
            "  {severity} {} ({}, {} % sure): {}",
            safe(&finding.rule),
            safe(&finding.category),
            finding.confidence,
            safe(&finding.message)
        )?;
        for evidence in &finding.evidence {
            writeln!(out, "    saw {}", safe(evidence))?;
        }
        if !finding.remedy.is_empty() {
            writeln!(out, "    instead: {}", safe(&finding.remedy))?;
        }
    }
    Ok(())
}

fn print_facts(facts: &Facts, view: &View, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", view.paint(Ink::Strong, "facts"))?;
    let mut lines: Vec<(&str, String)> = Vec::new();
    for program in &facts.programs {
        lines.push(("runs", text::command_line(&program.argv, false)));
    }
    let path = |path: &str, class: &Option<String>| words::path(path, false, class.as_deref());
    lines.extend(
        facts
            .reads
            .iter()
            .map(|read| ("reads", path(&read.path, &read.class))),
    );
    lines.extend(
        facts
            .writes
            .iter()
            .map(|write| ("writes", path(&write.path, &write.class))),
    );
    for host in &facts.hosts {
        let port = host.port.map(|port| format!(":{port}")).unwrap_or_default();
        lines.push(("names", format!("{}{port}", safe(&host.host))));
    }
    for flow in &facts.flows {
        let through = if flow.through.is_empty() {
            String::new()
        } else {
            format!(" through {}", safe(&flow.through.join(", ")))
        };
        lines.push((
            "moves",
            format!("{} to {}{through}", end(&flow.from), end(&flow.to)),
        ));
    }
    for behaviour in &facts.behaviours {
        let on = if behaviour.object.is_empty() {
            String::new()
        } else {
            format!(" on {}", safe(&behaviour.object))
        };
        let radius = behaviour
            .radius
            .map(|radius| format!(", reaches {}", name(&radius)))
            .unwrap_or_default();
        lines.push((
            "does",
            format!(
                "{}: {}{on}{radius}",
                name(&behaviour.kind),
                safe(&behaviour.technique)
            ),
        ));
    }
    lines.extend(
        facts
            .privilege
            .iter()
            .map(|privilege| ("becomes", safe(privilege).into_owned())),
    );
    for opaque in &facts.opaque {
        lines.push(("hides", format!("{}: {}", safe(&opaque.why), safe(&opaque.text))));
    }
    if lines.is_empty() {
        return writeln!(out, "  none");
    }
    for (verb, what) in lines {
        writeln!(out, "  {} {what}", text::pad(verb, 7))?;
    }
    Ok(())
}

fn end(end: &FlowEnd) -> String {
    if end.what.is_empty() {
        name(&end.kind)
    } else {
        format!("{} {}", name(&end.kind), safe(&end.what))
    }
}

/// The stable name, as JSON has it.
fn name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}
