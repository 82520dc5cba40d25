//! The timeline for a person.

use std::borrow::Cow;
use std::io::{self, Write};

use defenseclaw_model::activity::Action;
use defenseclaw_model::call::CallKind;
use defenseclaw_model::decision::{Severity, Verdict};
use defenseclaw_model::record::{Binding, RecordBody};

use super::forest::{Forest, Noted};
use super::timeline::{Call, Entry, Event, Timeline};
use super::tree;
use crate::text::{self, counted, pad, safe};
use crate::view::{Ink, View, severity_ink, verdict_ink};
use crate::{time, words};

/// Width for output that is no terminal.
const DEFAULT_WIDTH: usize = 120;
/// Columns of the clock and the blanks behind it.
const MARGIN: usize = 14;
/// Columns that a label or path gets at least.
const NARROWEST: usize = 12;
/// Columns before everything that stands below a call or a heading.
const BELOW: usize = 2;
/// Lines of a prompt, a command or a finding that are shown without `--all`.
const MAX_LINES: usize = 3;
/// Columns of a tool's name that are shown.
const MAX_NAME: usize = 48;
/// Longest prompt or command that is looked at without `--all` (bytes).
const MAX_TEXT: usize = 2_000;

/// Where and how the page is written.
pub(super) struct Page<'a> {
    pub(super) view: &'a View,
    pub(super) out: &'a mut dyn Write,
    /// Everything, in full.
    pub(super) all: bool,
    /// Columns that lines are cut to.
    pub(super) width: usize,
    /// Whether trees say when they began: those of a call stand below its time.
    pub(super) timed: bool,
    /// Whether the last entry was a call, whose tree wants some air below it.
    below_call: bool,
}

/// Prints the session.
pub(super) fn print(timeline: &Timeline, all: bool, view: &View, out: &mut dyn Write) -> io::Result<()> {
    let width = view.width.unwrap_or(DEFAULT_WIDTH);
    let mut page = Page {
        view,
        out,
        all,
        width,
        timed: false,
        below_call: false,
    };
    page.head(timeline)?;
    let mut day = day_of(timeline.summary.started_ns, view);
    for entry in &timeline.entries {
        let today = day_of(entry.time_ns, view);
        if today != day {
            writeln!(page.out, "\n{}", view.paint(Ink::Strong, &today))?;
            day = today;
        }
        page.entry(entry)?;
    }
    page.timed = true;
    page.unexplained(&timeline.unexplained)?;
    page.housekeeping(&timeline.housekeeping)?;
    page.loose(&timeline.loose)
}

fn day_of(time_ns: u64, view: &View) -> String {
    let shown = time::local(time_ns, &view.zone);
    shown.split(' ').next().unwrap_or_default().to_owned()
}

impl Page<'_> {
    fn head(&mut self, timeline: &Timeline) -> io::Result<()> {
        let summary = &timeline.summary;
        let zone = &self.view.zone;
        let lasted = time::duration(summary.last_ns.saturating_sub(summary.started_ns));
        let state = if summary.ended { "ended" } else { "still open" };
        let started = time::local(summary.started_ns, zone);
        self.field(
            "session",
            &self.view.paint(Ink::Strong, &safe(&summary.session.to_string())),
        )?;
        self.field(
            "started",
            &format!(
                "{started} {}, lasted {lasted}, {state}",
                time::zone_name(summary.started_ns, zone)
            ),
        )?;
        let worst = match timeline.worst() {
            Severity::None => String::new(),
            severity => format!(
                ", worst {}",
                self.view.paint(severity_ink(severity), severity.as_str())
            ),
        };
        let mut refused = format!("{} denied", text::count(summary.denied));
        if summary.would_block > 0 {
            refused.push_str(&format!(
                ", {} would have been in action mode",
                text::count(summary.would_block)
            ));
        }
        let totals = format!(
            "{}, {} ({refused}), {}, {}{worst}",
            counted(summary.prompts, "prompt", "prompts"),
            counted(summary.calls, "call", "calls"),
            counted(summary.activities, "activity", "activities"),
            counted(summary.findings, "finding", "findings"),
        );
        self.field("totals", &totals)?;
        writeln!(self.out)
    }

    fn field(&mut self, name: &str, value: &str) -> io::Result<()> {
        writeln!(
            self.out,
            "{}{value}",
            self.view.paint(Ink::Faint, &pad(name, MARGIN))
        )
    }

    fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let is_call = matches!(entry.event, Event::Call(_));
        let is_prompt =
            matches!(&entry.event, Event::Other(body) if matches!(**body, RecordBody::Prompt { .. }));
        if is_call || is_prompt || self.below_call {
            writeln!(self.out)?;
        }
        self.below_call = is_call;
        match &entry.event {
            Event::Call(call) => self.call(entry, call),
            Event::Other(body) => {
                self.other(entry, body)?;
                self.findings(&entry.findings)
            }
        }
    }

    fn other(&mut self, entry: &Entry, body: &RecordBody) -> io::Result<()> {
        let (name, text, ink): (&str, Cow<'_, str>, Ink) = match body {
            RecordBody::Prompt { text } => ("prompt", text.into(), Ink::Strong),
            RecordBody::Gap { .. } => ("GAP", words::summary(body).into(), Ink::Bad),
            RecordBody::SessionStart { binding, .. } => {
                let ink = if matches!(binding, Binding::Bound) {
                    Ink::Faint
                } else {
                    Ink::Warn
                };
                ("session", words::summary(body).into(), ink)
            }
            RecordBody::SessionEnd { .. } => ("session", words::summary(body).into(), Ink::Faint),
            RecordBody::Admission { answer, .. } => {
                let ink = words::admission_ink(answer.action);
                ("admission", words::summary(body).into(), ink)
            }
            RecordBody::Quarantine { .. } => ("quarantine", words::summary(body).into(), Ink::Warn),
            RecordBody::Daemon { .. } => ("daemon", words::summary(body).into(), Ink::Warn),
            body => (body.kind(), words::summary(body).into(), Ink::Faint),
        };
        self.titled(entry.time_ns, name, &text, ink)
    }

    /// Clock, name and text; the text's further lines stand below its first.
    fn titled(&mut self, time_ns: u64, name: &str, text: &str, ink: Ink) -> io::Result<()> {
        let clock = self
            .view
            .paint(Ink::Faint, &time::local_clock(time_ns, &self.view.zone));
        let name = safe(name);
        let name = text::cut(&name, MAX_NAME);
        let indent = MARGIN + text::width(&name) + 2;
        let lines = self.lines(text, self.width.saturating_sub(indent).max(20));
        for (i, line) in lines.iter().enumerate() {
            let line = self.view.paint(ink, line);
            match i {
                0 => writeln!(self.out, "{clock}  {}  {line}", self.view.paint(ink, &name))?,
                _ => writeln!(self.out, "{:indent$}{line}", "")?,
            }
        }
        Ok(())
    }

    /// A foreign text as safe lines: all of it with `--all`, else its beginning.
    fn lines(&self, text: &str, columns: usize) -> Vec<String> {
        let shown = if self.all { text } else { beginning(text) };
        let mut lines: Vec<String> = shown
            .trim_end()
            .split('\n')
            .flat_map(|line| text::wrap(&safe(line), columns))
            .collect();
        if !self.all && (lines.len() > MAX_LINES || shown.len() < text.len()) {
            lines.truncate(MAX_LINES);
            if let Some(last) = lines.last_mut() {
                *last = format!("{} …", text::cut(last, columns.saturating_sub(2)));
            }
        }
        lines
    }

    fn call(&mut self, entry: &Entry, call: &Call) -> io::Result<()> {
        let tool = call
            .tool
            .as_deref()
            .unwrap_or("(a call whose declaration is not in the ledger)");
        let subject = match &call.kind {
            // Its line breaks are shown as such, not written out.
            CallKind::Command { command, background } => {
                let note = if *background { "  (in the background)" } else { "" };
                format!("{}{note}", command.trim_end())
            }
            kind => words::subject(kind, &call.input),
        };
        self.titled(entry.time_ns, tool, &subject, Ink::Strong)?;
        let mut outcome = self.end_of(entry, call);
        if let Some(decision) = &call.decision {
            let verdict = self
                .view
                .paint(verdict_ink(decision.verdict), &words::verdict(decision));
            let colon = if decision.reason.is_empty() { "" } else { ": " };
            outcome = format!(
                "{verdict}{colon}{}; {outcome}",
                safe(decision.reason.trim_end_matches('.'))
            );
        }
        writeln!(self.out, "{:BELOW$}{outcome}", "")?;
        if !matches!(call.binding, Binding::Bound) {
            let note = self.view.paint(Ink::Warn, &words::binding(&call.binding));
            writeln!(self.out, "{:BELOW$}{note}", "")?;
        }
        self.findings(&entry.findings)?;
        tree::print(&call.effects, self, BELOW)
    }

    /// How the call ended, painted.
    fn end_of(&self, entry: &Entry, call: &Call) -> String {
        let refused = call
            .decision
            .as_ref()
            .is_some_and(|decision| decision.effective() == Verdict::Deny);
        if refused && call.effects.activities > 0 {
            let number = counted(call.effects.activities, "activity", "activities");
            return self
                .view
                .paint(Ink::Bad, &format!("RAN ALTHOUGH IT WAS DENIED: {number}"));
        }
        let Some(end) = call.end else {
            return if refused { "did not run" } else { "no end reported" }.to_owned();
        };
        let took = time::duration(end.time_ns.saturating_sub(entry.time_ns));
        match end.failed {
            true => format!("{} after {took}", self.view.paint(Ink::Warn, "failed")),
            false => format!("took {took}"),
        }
    }

    fn findings(&mut self, findings: &[Noted]) -> io::Result<()> {
        findings
            .iter()
            .try_for_each(|noted| self.finding(noted, 1, &" ".repeat(BELOW)))
    }

    /// `! HIGH rule: message` behind a prefix that repeats on each line; `times` is how often the same was found.
    pub(super) fn finding(&mut self, noted: &Noted, times: usize, prefix: &str) -> io::Result<()> {
        let finding = &noted.finding;
        let severity = finding.severity.as_str();
        let times = if times > 1 {
            format!(" ×{}", text::count(times as u64))
        } else {
            String::new()
        };
        let shown = format!("{}: {}{times}", safe(&finding.rule), safe(&finding.message));
        let indent = severity.len() + 3;
        let lines = self.lines(
            &shown,
            self.width.saturating_sub(text::width(prefix) + indent).max(20),
        );
        let prefix = self.view.paint(Ink::Faint, prefix);
        for (i, line) in lines.iter().enumerate() {
            match i {
                0 => {
                    let mark = self
                        .view
                        .paint(severity_ink(finding.severity), &format!("! {severity}"));
                    writeln!(self.out, "{prefix}{mark} {line}")?;
                }
                _ => writeln!(self.out, "{prefix}{:indent$}{line}", "")?,
            }
        }
        Ok(())
    }

    /// Columns left behind an indentation; no bound with `--all`.
    pub(super) fn room(&self, indent: usize) -> usize {
        if self.all {
            usize::MAX
        } else {
            self.width.saturating_sub(indent).max(NARROWEST)
        }
    }

    fn unexplained(&mut self, forest: &Forest) -> io::Result<()> {
        if forest.activities == 0 {
            return Ok(());
        }
        let title = self.view.paint(Ink::Bad, &pad("UNEXPLAINED", MARGIN));
        writeln!(self.out, "\n{title}{} that no call explains", amount(forest))?;
        tree::print(forest, self, BELOW)
    }

    fn housekeeping(&mut self, forest: &Forest) -> io::Result<()> {
        if forest.activities == 0 {
            return Ok(());
        }
        let found = forest
            .nodes
            .iter()
            .any(|node| tree::findings_of(node).next().is_some());
        let hint = if self.all || found {
            ""
        } else {
            "; --all shows them"
        };
        let title = self.view.paint(Ink::Faint, &pad("housekeeping", MARGIN));
        writeln!(
            self.out,
            "\n{title}{} of the harness itself, by its contract{hint}",
            amount(forest)
        )?;
        if self.all || found {
            return tree::print(forest, self, BELOW);
        }
        Ok(())
    }

    fn loose(&mut self, findings: &[Noted]) -> io::Result<()> {
        if findings.is_empty() {
            return Ok(());
        }
        let title = self.view.paint(Ink::Warn, &pad("findings", MARGIN));
        writeln!(
            self.out,
            "\n{title}{} about none of the above",
            counted(findings.len() as u64, "is", "are")
        )?;
        self.findings(findings)
    }
}

fn beginning(text: &str) -> &str {
    match text.char_indices().find(|(at, _)| *at >= MAX_TEXT) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// `12 activities (2 programs, 9 files, 1 connection)`.
fn amount(forest: &Forest) -> String {
    let (mut files, mut connections) = (0, 0);
    for effect in forest.nodes.iter().flat_map(|node| &node.effects) {
        match effect.activity.action {
            Action::Open { .. } => files += 1,
            Action::Connect { .. } => connections += 1,
            Action::Exec { .. } | Action::Exit { .. } | Action::IoUring { .. } => {}
        }
    }
    let programs = forest.nodes.iter().filter(|node| node.exec.is_some()).count() as u64;
    let parts = [
        (programs, "program", "programs"),
        (files, "file", "files"),
        (connections, "connection", "connections"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(n, _, _)| *n > 0)
        .map(|(n, one, many)| counted(n, one, many))
        .collect();
    let number = counted(forest.activities, "activity", "activities");
    if parts.is_empty() {
        number
    } else {
        format!("{number} ({})", parts.join(", "))
    }
}
