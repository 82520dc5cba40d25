//! The timeline as JSON lines: complete, in the order in which a person reads it.

use std::io::{self, Write};

use defenseclaw_model::activity::{Action, Activity, Basis, ExitStatus, Explained};
use defenseclaw_model::call::CallKind;
use defenseclaw_model::decision::{Decision, Finding};
use defenseclaw_model::facts::Facts;
use defenseclaw_model::ids::{CallId, ImageId, ProcessId};
use defenseclaw_model::record::{Binding, RecordBody};
use serde::Serialize;
use serde_json::Value;

use super::forest::{Forest, Node, Noted, Seen};
use super::list::SessionLine;
use super::timeline::{Call, Entry, Event, Timeline};
use crate::{json, time};

/// One line of the timeline.
#[derive(Serialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line<'a> {
    /// The session; the first line.
    Session(SessionLine<'a>),
    /// Prompt, gap, start, end, …: the record's own body.
    Note {
        seq: u64,
        #[serde(flatten)]
        at: At,
        body: &'a RecordBody,
        findings: Vec<FindingLine<'a>>,
    },
    /// A tool call; its processes and effects follow.
    Call {
        seq: u64,
        #[serde(flatten)]
        at: At,
        call: Option<&'a CallId>,
        tool: Option<&'a str>,
        call_kind: &'a CallKind,
        input: &'a Value,
        facts: &'a Facts,
        decision: Option<&'a Decision>,
        would_block: bool,
        binding: &'a Binding,
        end: Option<EndLine>,
        activities: u64,
        findings: Vec<FindingLine<'a>>,
    },
    /// A program image; its effects follow, then the images that it started.
    Process(Box<ProcessLine<'a>>),
    /// A file, a connection, an io_uring.
    Effect {
        #[serde(flatten)]
        place: Place<'a>,
        depth: usize,
        seq: u64,
        #[serde(flatten)]
        at: At,
        process: ProcessId,
        image: ImageId,
        program: &'a str,
        #[serde(flatten)]
        action: &'a Action,
        #[serde(flatten)]
        why: Why,
        findings: Vec<FindingLine<'a>>,
    },
    /// A finding whose subject is not in the timeline.
    Finding(FindingLine<'a>),
}

/// A program image.
#[derive(Serialize)]
struct ProcessLine<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    depth: usize,
    /// Number of the exec's record; `null` for an image that was running before.
    seq: Option<u64>,
    #[serde(flatten)]
    at: Option<At>,
    process: ProcessId,
    image: ImageId,
    program: &'a str,
    #[serde(flatten)]
    exec: Option<&'a Action>,
    #[serde(flatten)]
    why: Option<Why>,
    end: Option<ProcessEnd>,
    replaced: bool,
    replaces_parent: bool,
    forks: u64,
    outlived_call: bool,
    findings: Vec<FindingLine<'a>>,
}

#[derive(Clone, Copy, Serialize)]
struct At {
    time: Time,
    time_ns: u64,
}

/// RFC 3339 when serialised.
#[derive(Clone, Copy)]
struct Time(u64);

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time::rfc3339(self.0))
    }
}

impl At {
    fn of(time_ns: u64) -> Self {
        Self {
            time: Time(time_ns),
            time_ns,
        }
    }
}

/// Where in the timeline a process or effect stands.
#[derive(Clone, Copy, Serialize)]
struct Place<'a> {
    section: Section,
    call: Option<&'a CallId>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Section {
    Call,
    Unexplained,
    Housekeeping,
}

#[derive(Serialize)]
struct Why {
    basis: Basis,
    explained: Explained,
    after_call: bool,
}

impl Why {
    fn of(activity: &Activity) -> Self {
        let attribution = &activity.attribution;
        Self {
            basis: attribution.basis,
            explained: attribution.explained,
            after_call: attribution.after_call,
        }
    }
}

#[derive(Serialize)]
struct EndLine {
    seq: u64,
    #[serde(flatten)]
    at: At,
    failed: bool,
    duration_ns: u64,
}

#[derive(Serialize)]
struct ProcessEnd {
    seq: u64,
    #[serde(flatten)]
    at: At,
    status: ExitStatus,
    duration_ns: u64,
}

#[derive(Serialize)]
struct FindingLine<'a> {
    seq: Option<u64>,
    #[serde(flatten)]
    finding: &'a Finding,
}

fn findings<'a>(noted: impl IntoIterator<Item = &'a Noted>) -> Vec<FindingLine<'a>> {
    noted
        .into_iter()
        .map(|noted| FindingLine {
            seq: noted.seq,
            finding: &noted.finding,
        })
        .collect()
}

/// Prints the session.
pub(super) fn print(timeline: &Timeline, out: &mut dyn Write) -> io::Result<()> {
    json::line(out, &Line::Session(SessionLine::from(&timeline.summary)))?;
    for entry in &timeline.entries {
        match &entry.event {
            Event::Other(body) => {
                let findings = findings(&entry.findings);
                json::line(
                    out,
                    &Line::Note {
                        seq: entry.seq,
                        at: At::of(entry.time_ns),
                        body,
                        findings,
                    },
                )?;
            }
            Event::Call(call) => {
                json::line(out, &call_line(entry, call))?;
                forest(
                    &call.effects,
                    Place {
                        section: Section::Call,
                        call: call.id.as_ref(),
                    },
                    out,
                )?;
            }
        }
    }
    forest(
        &timeline.unexplained,
        Place {
            section: Section::Unexplained,
            call: None,
        },
        out,
    )?;
    forest(
        &timeline.housekeeping,
        Place {
            section: Section::Housekeeping,
            call: None,
        },
        out,
    )?;
    findings(&timeline.loose)
        .into_iter()
        .try_for_each(|finding| json::line(out, &Line::Finding(finding)))
}

fn call_line<'a>(entry: &'a Entry, call: &'a Call) -> Line<'a> {
    Line::Call {
        seq: entry.seq,
        at: At::of(entry.time_ns),
        call: call.id.as_ref(),
        tool: call.tool.as_deref(),
        call_kind: &call.kind,
        input: &call.input,
        facts: &call.facts,
        decision: call.decision.as_ref(),
        would_block: call.decision.as_ref().is_some_and(Decision::would_block),
        binding: &call.binding,
        end: call.end.map(|end| EndLine {
            seq: end.seq,
            at: At::of(end.time_ns),
            failed: end.failed,
            duration_ns: end.time_ns.saturating_sub(entry.time_ns),
        }),
        activities: call.effects.activities,
        findings: findings(&entry.findings),
    }
}

fn forest(forest: &Forest, place: Place<'_>, out: &mut dyn Write) -> io::Result<()> {
    for (at, depth) in forest.walk() {
        let node = &forest.nodes[at];
        json::line(out, &Line::Process(Box::new(process_line(node, place, depth))))?;
        for seen in &node.effects {
            json::line(out, &effect_line(seen, place, depth + 1))?;
        }
    }
    Ok(())
}

fn process_line<'a>(node: &'a Node, place: Place<'a>, depth: usize) -> ProcessLine<'a> {
    let exec = node.exec.as_ref();
    ProcessLine {
        place,
        depth,
        seq: exec.map(|seen| seen.seq),
        at: exec.map(|seen| At::of(seen.activity.time_ns)),
        process: node.process,
        image: node.image,
        program: &node.program,
        exec: exec.map(|seen| &seen.activity.action),
        why: exec.map(|seen| Why::of(&seen.activity)),
        end: node.end.map(|end| ProcessEnd {
            seq: end.seq,
            at: At::of(end.time_ns),
            status: end.status,
            duration_ns: end.duration_ns,
        }),
        replaced: node.replaced,
        replaces_parent: node.replaces,
        forks: node.forks,
        outlived_call: node.outlived,
        findings: findings(
            exec.into_iter()
                .flat_map(|seen| &seen.findings)
                .chain(&node.end_findings),
        ),
    }
}

fn effect_line<'a>(seen: &'a Seen, place: Place<'a>, depth: usize) -> Line<'a> {
    let activity = &seen.activity;
    Line::Effect {
        place,
        depth,
        seq: seen.seq,
        at: At::of(activity.time_ns),
        process: activity.process,
        image: activity.image,
        program: &activity.program,
        action: &activity.action,
        why: Why::of(activity),
        findings: findings(&seen.findings),
    }
}
