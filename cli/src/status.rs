//! `status`: what is in force, and what was lost.

use std::io::{self, Write};
use std::path::Path;

use defenseclaw_model::api::{GateStatus, PackagesStatus, SandboxStatus, Status};
use defenseclaw_model::config::InstallFetch;
use defenseclaw_model::decision::Mode;
use defenseclaw_model::wire::{AgentStatus, Counters, Tier};

use crate::args::StatusOptions;
use crate::table::{self, Cell};
use crate::text::{self, count, counted, safe};
use crate::view::{Ink, View};
use crate::{Answer, CliError, Context, gateway, json, time};

/// Asks the gateway and prints its answer.
pub fn run(options: &StatusOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let status = fetch(&context.settings.socket)?;
    if options.json {
        json::line(context.out, &status)?;
    } else {
        print(&status, &context.view, context.out)?;
    }
    Ok(Answer::Yes)
}

/// The gateway's status.
pub fn fetch(socket: &Path) -> Result<Status, CliError> {
    gateway::get(socket, "/v1/status", gateway::QUICK)
}

/// Prints for a person.
pub fn print(status: &Status, view: &View, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let mut field =
        |name: &str, value: &str| writeln!(out, "{} {value}", view.paint(Ink::Strong, &text::pad(name, 9)));
    field(
        "gateway",
        &format!(
            "{}, up {}, {}",
            safe(&status.version),
            time::duration(status.uptime_s.saturating_mul(1_000_000_000)),
            memory(status.rss_kib)
        ),
    )?;
    field(
        "mode",
        match status.mode {
            Mode::Observe => "observe: everything is decided and recorded, nothing is refused",
            Mode::Action => "action: decisions take effect",
            Mode::Hitl => "hitl: decisions take effect, and a person is asked where the policy would refuse",
        },
    )?;
    field("policy", &safe(&status.policy))?;
    field("ledger", &safe(&status.ledger.path))?;
    let survives = match status.ledger.durability.as_str() {
        "process" => "acknowledged records survive kill -9",
        "power" => "acknowledged records survive power loss",
        other => other,
    };
    let head = text::cut(&status.ledger.head, 13);
    let records = counted(status.ledger.records, "record", "records");
    field(
        "",
        &format!("{records}, head {}, {}", safe(&head), safe(survives)),
    )?;
    if let Some(error) = &status.ledger.error {
        field(
            "",
            &view.paint(Ink::Bad, &format!("records cannot be appended: {}", safe(error))),
        )?;
    }
    field("hooks", &hooks(status, view))?;
    field("sessions", &format!("{} open", count(status.open_sessions)))?;
    for sandbox in &status.sandboxes {
        field("sandbox", &in_sandbox(sandbox, view))?;
    }
    if let Some(gate) = &status.gate {
        for (i, line) in gate_lines(gate, view).iter().enumerate() {
            field(if i == 0 { "gate" } else { "" }, line)?;
        }
    }
    if let Some(bundle) = &status.bundle {
        for (i, line) in crate::policy::bundle::lines(bundle, view).iter().enumerate() {
            field(if i == 0 { "bundle" } else { "" }, line)?;
        }
    }
    if let Some(packages) = &status.packages {
        for (i, line) in package_lines(packages, view).iter().enumerate() {
            field(if i == 0 { "packages" } else { "" }, line)?;
        }
    }
    match &status.agent {
        Some(agent) => print_agent(agent, view, out),
        None => {
            field(
                "agent",
                &view.paint(Ink::Bad, "none is connected: only hooks are in force"),
            )?;
            field(
                "",
                "what programs really do is not seen; start defenseclaw-agent as root",
            )
        }
    }
}

/// The install gate's lines by themselves.
pub fn print_gate(gate: &GateStatus, view: &View, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    gate_lines(gate, view)
        .iter()
        .try_for_each(|line| writeln!(out, "{line}"))
}

/// What holds opens, and what came of it.
fn gate_lines(gate: &GateStatus, view: &View) -> Vec<String> {
    let (tier, ink) = tier(gate.tier);
    let mut lines = vec![format!("{}, {}", view.paint(ink, tier), safe(&gate.detail))];
    let mut answers = format!(
        "{} admitted, {} with a warning, {} refused",
        count(gate.allowed),
        count(gate.warned),
        count(gate.blocked)
    );
    if gate.unscanned > 0 {
        let unscanned = format!(", {} of them without a scan", count(gate.unscanned));
        answers.push_str(&view.paint(Ink::Bad, &unscanned));
    }
    lines.push(answers);
    lines.push(format!(
        "{} refused last, {} in quarantine, {} on lists, {} governed",
        counted(gate.blocked_paths, "path", "paths"),
        count(gate.quarantined),
        counted(gate.listed, "entry", "entries"),
        counted(gate.projects, "project", "projects")
    ));
    lines
}

/// What becomes of packages that calls would install.
fn package_lines(packages: &PackagesStatus, view: &View) -> Vec<String> {
    if packages.fetch == InstallFetch::Off {
        let off = "not fetched before they are installed (installs.fetch in the configuration)";
        return vec![view.paint(Ink::Faint, off)];
    }
    let mut lines = vec![format!(
        "{} fetched and scanned, {} of them with findings that refuse an installation, {} waiting, {} not scanned",
        count(packages.scanned),
        count(packages.found),
        count(packages.pending),
        count(packages.failed)
    )];
    if !packages.last_failure.is_empty() {
        lines.push(view.paint(Ink::Warn, &safe(&packages.last_failure)));
    }
    lines
}

/// In which sandbox a connector's commands run, and how they get there.
fn in_sandbox(sandbox: &SandboxStatus, view: &View) -> String {
    let ways: Vec<_> = sandbox.routes.iter().map(|route| route.words()).collect();
    let mut line = format!(
        "{}: {}, {}",
        safe(&sandbox.connector),
        safe(&sandbox.profile),
        ways.join(", else ")
    );
    if !sandbox.enforced {
        let but = "; not in force: its mode observes";
        line.push_str(&view.paint(Ink::Warn, but));
    }
    line
}

fn hooks(status: &Status, view: &View) -> String {
    let hooks = &status.hooks;
    let mut line = format!(
        "{} allowed, {} asked, {} denied",
        count(hooks.allowed),
        count(hooks.asked),
        count(hooks.denied)
    );
    for (number, what) in [
        (hooks.bad, "malformed"),
        (hooks.failed, "answered by fail mode because of a fault of ours"),
    ] {
        if number > 0 {
            line.push_str(", ");
            line.push_str(&view.paint(Ink::Bad, &format!("{} {what}", count(number))));
        }
    }
    line
}

fn print_agent(agent: &AgentStatus, view: &View, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let strong = |name: &str| view.paint(Ink::Strong, &text::pad(name, 9));
    writeln!(
        out,
        "{} kernel {}, {} bound, {} labelled, {}",
        strong("agent"),
        safe(&agent.kernel),
        counted(agent.sessions, "session", "sessions"),
        counted(agent.labelled_processes, "process", "processes"),
        memory(agent.rss_kib)
    )?;
    let counters = &agent.counters;
    let mut seen = format!(
        "{} security and {} telemetry events",
        count(counters.security_events),
        count(counters.telemetry_events)
    );
    if counters.filtered > 0 {
        seen.push_str(&format!(
            ", {} reads looked at and of no concern",
            count(counters.filtered)
        ));
    }
    if agent.backlog > 0 {
        seen.push_str(&format!(
            ", {} waiting for the gateway",
            counted(agent.backlog, "record", "records")
        ));
    }
    writeln!(out, "{} {seen}", strong("seen"))?;
    print_losses(counters, view, out)?;
    writeln!(out)?;
    print_families(agent, view, out)
}

/// The tiers. Their details are wrapped, not cut: why a protection is missing is the last thing to leave out.
fn print_families(agent: &AgentStatus, view: &View, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    if agent.families.is_empty() {
        let nothing = "the agent reports no action family: nothing is watched";
        return writeln!(out, "{}", view.paint(Ink::Bad, nothing));
    }
    let columns = [
        table::left("FAMILY", 8),
        table::left("TIER", 8),
        table::left("DETAIL", 0),
    ];
    let names = agent
        .families
        .iter()
        .map(|family| text::width(&safe(&family.family)));
    let before = names.max().unwrap_or(0).max(8) + 2 + 8 + 2;
    let room = view.width.unwrap_or(usize::MAX).saturating_sub(before).max(20);
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for family in &agent.families {
        for (i, detail) in text::wrap(&safe(&family.detail), room).into_iter().enumerate() {
            let (tier, ink) = tier(family.tier);
            let first = |text: &str| if i == 0 { text.to_owned() } else { String::new() };
            rows.push(vec![
                first(&safe(&family.family)).into(),
                Cell(first(tier), ink),
                detail.into(),
            ]);
        }
    }
    table::whole(&columns, &rows, view)
        .iter()
        .try_for_each(|line| writeln!(out, "{line}"))
}

fn print_losses(counters: &Counters, view: &View, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let lost: Vec<_> = losses(counters)
        .into_iter()
        .filter(|(number, _, _)| *number > 0)
        .collect();
    let name = view.paint(Ink::Strong, "lost     ");
    if lost.is_empty() {
        return writeln!(out, "{name} nothing");
    }
    for (i, (number, cause, what)) in lost.iter().enumerate() {
        let name = if i == 0 { name.as_str() } else { "         " };
        writeln!(
            out,
            "{name} {}",
            view.paint(Ink::Bad, &format!("{} {what} ({cause})", count(*number)))
        )?;
    }
    Ok(())
}

/// The counters that mean that something was not seen, or not whole, with their stable names.
fn losses(counters: &Counters) -> [(u64, &'static str, &'static str); 8] {
    let c = counters;
    [
        (
            c.security_ring_full,
            "security_ring_full",
            "security records lost: the kernel's ring was full",
        ),
        (
            c.telemetry_ring_full,
            "telemetry_ring_full",
            "telemetry records lost: the kernel's ring was full",
        ),
        (
            c.label_map_full,
            "label_map_full",
            "processes not labelled, so not seen: the label map was full",
        ),
        (
            c.read_faults,
            "read_faults",
            "reads of kernel or program memory failed",
        ),
        (
            c.truncated,
            "truncated",
            "records hold a cut path or cut arguments",
        ),
        (
            c.program_misses,
            "program_misses",
            "times the kernel skipped a sensor program",
        ),
        (
            c.agent_overflow,
            "agent_overflow",
            "records dropped: the agent's backlog was full",
        ),
        (c.undecodable, "undecodable", "records could not be decoded"),
    ]
}

fn tier(tier: Tier) -> (&'static str, Ink) {
    match tier {
        Tier::Lsm => ("lsm", Ink::Good),
        Tier::Cgroup => ("cgroup", Ink::Good),
        Tier::Fanotify => ("fanotify", Ink::Good),
        Tier::Landlock => ("landlock", Ink::Good),
        Tier::Kill => ("kill", Ink::Warn),
        Tier::Observe => ("observe", Ink::Plain),
        Tier::None => ("none", Ink::Bad),
    }
}

fn memory(kib: u64) -> String {
    format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024)
}
