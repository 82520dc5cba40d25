//! A session's records, joined: prompts, calls with what they did, notes, in the order of the ledger.

use std::collections::{BTreeMap, HashMap};

use defenseclaw_audit::SessionSummary;
use defenseclaw_model::activity::{Activity, Explained};
use defenseclaw_model::call::CallKind;
use defenseclaw_model::decision::{Decision, Finding, Severity};
use defenseclaw_model::facts::Facts;
use defenseclaw_model::ids::CallId;
use defenseclaw_model::record::{Binding, Record, RecordBody};
use serde_json::Value;

use super::forest::{Forest, Noted, Seen};

/// A session, joined.
#[derive(Debug)]
pub struct Timeline {
    /// The ledger's own summary.
    pub summary: SessionSummary,
    /// What happened, in the order of the ledger.
    pub entries: Vec<Entry>,
    /// What no call explains.
    pub unexplained: Forest,
    /// What the harness does for itself, by its contract.
    pub housekeeping: Forest,
    /// Findings whose subject is not in the timeline.
    pub loose: Vec<Noted>,
}

/// One thing that happened.
#[derive(Debug)]
pub struct Entry {
    /// Number of the record.
    pub seq: u64,
    /// When, ns since the Unix epoch.
    pub time_ns: u64,
    /// What.
    pub event: Event,
    /// What was found about it.
    pub findings: Vec<Noted>,
}

/// What can happen.
#[derive(Debug)]
pub enum Event {
    /// A tool call with what it did.
    Call(Box<Call>),
    /// Anything else; never a call, an activity or a finding.
    Other(Box<RecordBody>),
}

/// A tool call with what it did.
#[derive(Debug)]
pub struct Call {
    /// Its id.
    pub id: Option<CallId>,
    /// The tool's name; `None` where only effects name the call and its declaration is not in the ledger.
    pub tool: Option<String>,
    /// What kind of action it is.
    pub kind: CallKind,
    /// The tool's input.
    pub input: Value,
    /// What it declares.
    pub facts: Facts,
    /// What the policy said.
    pub decision: Option<Decision>,
    /// Whether the kernel view was joined.
    pub binding: Binding,
    /// How it ended.
    pub end: Option<CallEnd>,
    /// What the kernel saw.
    pub effects: Forest,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub struct CallEnd {
    /// Number of the record.
    pub seq: u64,
    /// When.
    pub time_ns: u64,
    /// Whether the harness says that it failed.
    pub failed: bool,
}

impl Timeline {
    /// Severity of the worst finding in the timeline.
    pub fn worst(&self) -> Severity {
        self.summary.max_severity
    }
}

/// Takes records in any number of runs, each in the ledger's order.
#[derive(Default)]
pub struct Builder {
    entries: BTreeMap<u64, (u64, Option<CallId>, RecordBody)>,
    activities: Vec<(u64, Activity)>,
    findings: HashMap<u64, Vec<Noted>>,
    loose: Vec<Noted>,
}

impl Builder {
    /// Takes one record.
    pub fn take(&mut self, record: Record) {
        let Record { seq, draft, .. } = record;
        match draft.body {
            RecordBody::Activity { activity } => self.activities.push((seq, activity)),
            RecordBody::Finding { finding, about_seq } => {
                let noted = Noted {
                    seq: Some(seq),
                    finding,
                };
                match about_seq {
                    Some(about) => self.findings.entry(about).or_default().push(noted),
                    None => self.loose.push(noted),
                }
            }
            body => {
                self.entries.insert(seq, (draft.time_ns, draft.call, body));
            }
        }
    }

    /// Joins what was taken.
    pub fn finish(mut self, summary: SessionSummary) -> Timeline {
        let mut of_calls: HashMap<CallId, Vec<Seen>> = HashMap::new();
        let (mut unexplained, mut housekeeping) = (Vec::new(), Vec::new());
        for (seq, activity) in std::mem::take(&mut self.activities) {
            let findings = self.findings.remove(&seq).unwrap_or_default();
            let seen = Seen {
                seq,
                activity,
                findings,
            };
            match &seen.activity.attribution.call {
                Some(call) => of_calls.entry(call.clone()).or_default().push(seen),
                None if seen.activity.attribution.explained == Explained::Unexplained => {
                    unexplained.push(seen)
                }
                None => housekeeping.push(seen),
            }
        }
        let entries = self.join(of_calls);
        let mut loose = self.loose;
        loose.extend(self.findings.into_values().flatten());
        loose.sort_by_key(|noted| noted.seq);
        Timeline {
            summary,
            entries,
            unexplained: Forest::of(unexplained),
            housekeeping: Forest::of(housekeeping),
            loose,
        }
    }

    fn join(&mut self, mut of_calls: HashMap<CallId, Vec<Seen>>) -> Vec<Entry> {
        let mut ends: HashMap<CallId, CallEnd> = HashMap::new();
        let mut joined = Vec::with_capacity(self.entries.len());
        for (seq, (time_ns, call, body)) in std::mem::take(&mut self.entries) {
            let event = match body {
                RecordBody::CallEnd { failed, .. } if call.is_some() => {
                    ends.extend(call.map(|call| (call, CallEnd { seq, time_ns, failed })));
                    continue;
                }
                RecordBody::ToolCall {
                    tool,
                    call_kind,
                    input,
                    facts,
                    decision,
                    binding,
                    ..
                } => {
                    let seen = call
                        .as_ref()
                        .and_then(|call| of_calls.remove(call))
                        .unwrap_or_default();
                    Event::Call(Box::new(Call {
                        id: call,
                        tool: Some(tool),
                        kind: call_kind,
                        input,
                        facts,
                        decision: Some(decision),
                        binding,
                        end: None,
                        effects: Forest::of(seen),
                    }))
                }
                body => Event::Other(Box::new(body)),
            };
            let findings = self.findings.remove(&seq).unwrap_or_default();
            joined.push(Entry {
                seq,
                time_ns,
                event,
                findings,
            });
        }
        joined.extend(of_calls.into_iter().map(|(call, seen)| undeclared(call, seen)));
        joined.sort_by_key(|entry| entry.seq);
        for entry in &mut joined {
            entry.close(&ends);
        }
        joined
    }
}

/// A call that effects name but whose declaration is not in the ledger: shown where its first effect was recorded.
fn undeclared(call: CallId, seen: Vec<Seen>) -> Entry {
    let (seq, time_ns) = seen
        .first()
        .map_or((0, 0), |first| (first.seq, first.activity.time_ns));
    let event = Event::Call(Box::new(Call {
        id: Some(call),
        tool: None,
        kind: CallKind::Other,
        input: Value::Null,
        facts: Facts::default(),
        decision: None,
        binding: Binding::Bound,
        end: None,
        effects: Forest::of(seen),
    }));
    Entry {
        seq,
        time_ns,
        event,
        findings: Vec::new(),
    }
}

impl Entry {
    /// Adds the end of a call, and the findings of its decision that have no record of their own.
    fn close(&mut self, ends: &HashMap<CallId, CallEnd>) {
        let Event::Call(call) = &mut self.event else {
            return;
        };
        call.end = call.id.as_ref().and_then(|id| ends.get(id).copied());
        let decided = call.decision.iter().flat_map(|decision| &decision.findings);
        let known = |finding: &Finding| self.findings.iter().any(|noted| noted.finding == *finding);
        let more: Vec<Noted> = decided
            .filter(|&finding| !known(finding))
            .map(|finding| Noted {
                seq: None,
                finding: finding.clone(),
            })
            .collect();
        self.findings.extend(more);
    }
}
