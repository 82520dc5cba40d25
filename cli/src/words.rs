//! What records say, in words for a person. Everything returned is safe for a terminal and one line long.

use defenseclaw_model::activity::{
    Action, Activity, Attribution, Basis, ExitStatus, Explained, FileAccess, Protocol,
};
use defenseclaw_model::admission::AdmissionAction;
use defenseclaw_model::call::CallKind;
use defenseclaw_model::decision::Decision;
use defenseclaw_model::gate::GateAnswer;
use defenseclaw_model::package::PackageState;
use defenseclaw_model::record::{Binding, RecordBody};
use defenseclaw_model::sandbox::{Sandbox, SandboxReport, SandboxRoute, SeenOutside};
use serde_json::Value;

use crate::text::{self, counted, safe};
use crate::time;
use crate::view::Ink;

/// Longest tool input that is shown of a tool whose input has no obvious main part (bytes).
const MAX_INPUT: usize = 400;

/// A record in one line.
pub fn summary(body: &RecordBody) -> String {
    match body {
        RecordBody::SessionStart {
            source,
            cwd,
            uid,
            binding,
        } => {
            let source = source.as_deref().unwrap_or("started");
            let folder = cwd
                .as_deref()
                .map(|cwd| format!(" in {}", safe(cwd)))
                .unwrap_or_default();
            format!("{}{folder}, uid {uid}; {}", safe(source), self::binding(binding))
        }
        RecordBody::Prompt { text } => safe(text).into_owned(),
        RecordBody::ToolCall {
            tool,
            call_kind,
            input,
            decision,
            ..
        } => {
            let reason = if decision.reason.is_empty() {
                String::new()
            } else {
                format!(" — {}", safe(&decision.reason))
            };
            format!(
                "{} {}: {}{reason}",
                safe(tool),
                verdict(decision),
                subject(call_kind, input)
            )
        }
        RecordBody::Approval {
            approval,
            state,
            scope,
            by_uid,
            detail,
        } => {
            let scope = scope
                .as_deref()
                .map(|scope| format!(" for {}", safe(scope)))
                .unwrap_or_default();
            let by = by_uid.map(|uid| format!(" by uid {uid}")).unwrap_or_default();
            format!(
                "approval {} {}{scope}{by}: {}",
                safe(approval),
                safe(state),
                safe(detail)
            )
        }
        RecordBody::Harness {
            connector,
            file,
            state,
            detail,
        } => format!(
            "{} hook {} in {}: {}",
            safe(connector),
            safe(state),
            safe(file),
            safe(detail)
        ),
        RecordBody::Sandbox { report, seen, .. } => entered(report, *seen),
        RecordBody::Admission {
            artifact,
            opener,
            answer,
            signed_by,
            unscanned,
            ..
        } => {
            let signed = signed_by
                .as_deref()
                .map(|signer| format!(", signed by {}", safe(signer)))
                .unwrap_or_default();
            let scan = if unscanned.is_some() { ", not scanned" } else { "" };
            format!(
                "{} {}: {} in {}{signed}{scan}, opened by {} — {}",
                artifact.kind,
                safe(&artifact.name),
                admission_action(answer),
                safe(&artifact.path),
                safe(opener),
                safe(&answer.reason)
            )
        }
        RecordBody::Quarantine { entry, state, by_uid } => {
            let by = by_uid.map(|uid| format!(" by uid {uid}")).unwrap_or_default();
            format!(
                "quarantine {} {}{by}: {} {} from {}",
                safe(&entry.id),
                safe(state),
                entry.artifact.kind,
                safe(&entry.artifact.name),
                safe(&entry.artifact.path)
            )
        }
        RecordBody::Package {
            package,
            state,
            release,
            severity,
            findings,
            detail,
            ..
        } => {
            let which = release
                .as_ref()
                .map(|release| format!(" {} ({})", safe(&release.version), safe(&release.integrity)));
            let outcome = match state {
                PackageState::Scanned if *findings == 0 => "fetched and scanned, nothing found".to_owned(),
                PackageState::Scanned => {
                    format!("fetched and scanned, {}, {findings} findings", severity.as_str())
                }
                state => format!("not scanned ({}) — {}", state.as_str(), safe(detail)),
            };
            format!(
                "package {}{}: {outcome}",
                safe(package),
                which.unwrap_or_default()
            )
        }
        RecordBody::ListChange {
            list,
            state,
            entry,
            by_uid,
        } => {
            let by = by_uid.map(|uid| format!(" by uid {uid}")).unwrap_or_default();
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            format!(
                "{} list, {} {}{by}: {} — {}",
                safe(list),
                safe(text("id")),
                safe(state),
                listed(entry),
                safe(text("reason"))
            )
        }
        RecordBody::Bundle {
            state,
            source,
            group,
            revision,
            signer,
            detail,
            by_uid,
            ..
        } => {
            let revision = revision.map(|number| format!(" {number}")).unwrap_or_default();
            let signer = signer.as_deref().map(|id| format!(", signed by {}", safe(id)));
            let by = by_uid.map(|uid| format!(" by uid {uid}")).unwrap_or_default();
            let detail = if detail.is_empty() {
                String::new()
            } else {
                format!(" — {}", safe(detail))
            };
            format!(
                "policy bundle{revision} {}{by}: for {} from {}{}{detail}",
                safe(&state.replace('_', " ")),
                safe(group),
                safe(source),
                signer.unwrap_or_default()
            )
        }
        RecordBody::Pin {
            pin,
            server,
            state,
            by_uid,
            detail,
            ..
        } => {
            let more = if detail.is_empty() {
                String::new()
            } else {
                format!(": {}", safe(detail))
            };
            let held = if state == "changed" { ", held" } else { "" };
            format!(
                "MCP server {} {}{held} (pin {}, uid {by_uid}){more}",
                safe(server),
                safe(state),
                safe(pin)
            )
        }
        RecordBody::Notice { name } => format!("the harness reported {}", safe(name)),
        RecordBody::Completion { text } => safe(text).into_owned(),
        RecordBody::CallEnd { tool, failed } => {
            format!("{} {}", safe(tool), if *failed { "failed" } else { "ended" })
        }
        RecordBody::Stop {} => "the agent finished its turn".to_owned(),
        RecordBody::SessionEnd { reason } => match reason {
            Some(reason) => format!("ended: {}", safe(reason)),
            None => "ended".to_owned(),
        },
        RecordBody::Activity { activity } => self::activity(activity),
        RecordBody::Finding { finding, about_seq } => {
            let about = about_seq.map(|seq| format!(" (about {seq})")).unwrap_or_default();
            format!("{}: {}{about}", safe(&finding.rule), safe(&finding.message))
        }
        RecordBody::Gap {
            cause,
            missing,
            detail,
        } => gap(cause, *missing, detail),
        RecordBody::Daemon {
            daemon,
            state,
            detail,
        } => self::daemon(daemon, state, detail),
    }
}

/// `curl[4711] connect tcp 192.0.2.1:443 (lineage, derived)`.
pub fn activity(activity: &Activity) -> String {
    let what = match &activity.action {
        Action::Exec {
            argv, argv_truncated, ..
        } => format!("exec {}", text::command_line(argv, *argv_truncated)),
        Action::Exit { status, duration_ns } => {
            format!("{} after {}", exit(*status), time::duration(*duration_ns))
        }
        Action::Open {
            path,
            path_truncated,
            access,
            class,
            ..
        } => {
            format!(
                "{} {}",
                self::access(*access),
                self::path(path, *path_truncated, class.as_deref())
            )
        }
        Action::Connect {
            protocol,
            address,
            port,
        } => format!("connect {}", destination(*protocol, *address, *port)),
        Action::IoUring { entries } => io_uring(*entries),
    };
    let program = base_name(&activity.program);
    format!(
        "{}[{}] {what} ({})",
        safe(program),
        activity.process.tgid,
        attribution(&activity.attribution)
    )
}

/// What a call is about: the command, the paths, the targets, or the beginning of its input.
pub fn subject(kind: &CallKind, input: &Value) -> String {
    match kind {
        CallKind::Command { command, background } => {
            let note = if *background { " (in the background)" } else { "" };
            format!("{}{note}", safe(command.trim_end()))
        }
        CallKind::FileWrite { paths } | CallKind::FileRead { paths } | CallKind::FileSearch { paths } => {
            joined(paths)
        }
        CallKind::Network { targets } => joined(targets),
        CallKind::Other => match input {
            Value::Null => String::new(),
            Value::Object(fields) if fields.is_empty() => String::new(),
            input => {
                let mut shown = input.to_string();
                if let Some((end, _)) = shown.char_indices().find(|(at, _)| *at >= MAX_INPUT) {
                    shown.truncate(end);
                    shown.push('…');
                }
                safe(&shown).into_owned()
            }
        },
    }
}

fn joined(items: &[String]) -> String {
    items.iter().map(|item| safe(item)).collect::<Vec<_>>().join(", ")
}

/// `deny`, or `deny, not enforced` where the mode let it pass.
pub fn verdict(decision: &Decision) -> String {
    let note = if decision.would_block() {
        " (not enforced)"
    } else {
        ""
    };
    format!("{}{note}", decision.verdict.as_str())
}

/// `block`, or `block (not enforced)` where the mode let it pass.
pub fn admission_action(answer: &GateAnswer) -> String {
    let stopped = answer.action == AdmissionAction::Block && !answer.enforced;
    let note = if stopped { " (not enforced)" } else { "" };
    format!("{}{note}", answer.action.as_str())
}

/// How an answer of the gate is shown.
pub fn admission_ink(action: AdmissionAction) -> Ink {
    match action {
        AdmissionAction::Allow => Ink::Good,
        AdmissionAction::Warn => Ink::Warn,
        AdmissionAction::Block => Ink::Bad,
    }
}

/// What an entry of a list of artifacts is about: `skill pdf-*`, `any sha256:…`.
pub fn listed(entry: &Value) -> String {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let mut what = text("kind").unwrap_or("any").to_owned();
    for part in [text("name"), text("digest")].into_iter().flatten() {
        what.push(' ');
        what.push_str(part);
    }
    safe(&what).into_owned()
}

/// `strict, by a changed input`.
pub fn sandbox(sandbox: &Sandbox) -> String {
    let way = sandbox.by.map_or("not carried out here", SandboxRoute::words);
    format!("{}, {way}", safe(&sandbox.profile))
}

/// Whether the kernel view is joined.
pub fn binding(binding: &Binding) -> String {
    match binding {
        Binding::Bound => "the kernel view is joined".to_owned(),
        Binding::NoAgent => "no agent: what programs really did was not seen".to_owned(),
        Binding::Failed { reason } => format!("the kernel view is not joined: {}", safe(reason)),
        Binding::Forged { caller } => format!(
            "not the harness's own word: the hook was called by {}",
            safe(caller)
        ),
    }
}

/// `lineage, derived`, with `after its call` where the call had ended.
pub fn attribution(attribution: &Attribution) -> String {
    let after = if attribution.after_call {
        ", after its call"
    } else {
        ""
    };
    match (attribution.basis, attribution.explained) {
        (Basis::None, Explained::Unexplained) => format!("unexplained{after}"),
        (basis, explained) => format!("{}, {}{after}", self::basis(basis), self::explained(explained)),
    }
}

/// The stable name.
pub fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Lineage => "lineage",
        Basis::Argv => "argv",
        Basis::Path => "path",
        Basis::Window => "window",
        Basis::Contract => "contract",
        Basis::None => "none",
    }
}

/// The stable name.
pub fn explained(explained: Explained) -> &'static str {
    match explained {
        Explained::Declared => "declared",
        Explained::Derived => "derived",
        Explained::Unexplained => "unexplained",
    }
}

/// The stable name.
pub fn access(access: FileAccess) -> &'static str {
    match access {
        FileAccess::Read => "read",
        FileAccess::Write => "write",
        FileAccess::Create => "create",
    }
}

/// A path with `…` where its start was cut, and its class.
pub fn path(path: &str, truncated: bool, class: Option<&str>) -> String {
    let start = if truncated { "…" } else { "" };
    let class = class
        .map(|class| format!(" [{}]", safe(class)))
        .unwrap_or_default();
    format!("{start}{}{class}", safe(path))
}

/// `tcp 192.0.2.1:443`, `udp [2001:db8::1]:53`.
pub fn destination(protocol: Protocol, address: std::net::IpAddr, port: u16) -> String {
    let protocol = match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{protocol} {}", std::net::SocketAddr::new(address, port))
}

/// What setting up an io_uring means.
pub fn io_uring(entries: u32) -> String {
    format!("io_uring set up with {entries} entries: files opened through it are not seen")
}

/// `exit 0`, `signal 9`.
pub fn exit(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exit {code}"),
        ExitStatus::Signal(signal) => format!("signal {signal}"),
    }
}

/// Why activities are missing, and how many.
pub fn gap(cause: &str, missing: Option<u64>, detail: &str) -> String {
    let missing = match missing {
        Some(number) => counted(number, "activity", "activities"),
        None => "an unknown number of activities".to_owned(),
    };
    format!("{}: {missing} missing; {}", safe(cause), safe(detail))
}

/// What became of a daemon.
pub fn daemon(daemon: &str, state: &str, detail: &str) -> String {
    let detail = if detail.is_empty() {
        String::new()
    } else {
        format!(": {}", safe(detail))
    };
    format!("{} {}{detail}", safe(daemon), safe(state))
}

/// The last component of a path.
pub fn base_name(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
}

/// The end of a session id that tells sessions apart at a glance: the first eight characters of the harness's part.
pub fn short_session(harness_session: &str) -> String {
    safe(&harness_session.chars().take(8).collect::<String>()).into_owned()
}
/// What is in force around a command that entered a sandbox.
fn entered(report: &SandboxReport, seen: Option<SeenOutside>) -> String {
    let proven = report
        .protections
        .iter()
        .filter(|one| one.proof == "proven")
        .count();
    let lacking: Vec<_> = report
        .protections
        .iter()
        .filter(|one| one.lacks())
        .map(|one| safe(&one.family))
        .collect();
    let mut words = format!(
        "entered the sandbox {} in {}: {proven} protections proven",
        safe(&report.profile),
        safe(&report.project)
    );
    if !lacking.is_empty() {
        words.push_str(&format!(", WITHOUT {}", lacking.join(", ")));
    }
    if seen.is_some_and(|seen| !seen.no_new_privileges || seen.filters == 0) {
        words.push_str("; the kernel shows NO system call filter on that process");
    }
    words
}
