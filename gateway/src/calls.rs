//! What calls declared and did so far, to judge what they do next.
//!
//! The memory is bounded; what it has lost, or lost with a restart, is read back from the ledger.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;

use defenseclaw_audit::{Query, Reader};
use defenseclaw_detect::paths::PathRules;
use defenseclaw_model::activity::{Action, Activity, FileAccess};
use defenseclaw_model::call::CallKind;
use defenseclaw_model::facts::Facts;
use defenseclaw_model::ids::{CallId, SessionId};
use defenseclaw_model::record::{Binding, RecordBody};
use defenseclaw_policy::CallEffects;

use crate::redact;

/// Most calls that are kept.
const MAX_CALLS: usize = 2_048;
/// About how much memory they may take (bytes).
const MAX_WEIGHT: usize = 8 << 20;
/// Most distinct paths or destinations that are kept of a call: rules ask whether there were any, and which.
const MAX_EFFECTS: usize = 32;
/// Most activities of a call that are read back to find its effects.
const RECALL_RECORDS: usize = 10_000;

/// What one call declared and did.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The tool's name; empty if the call was never declared to us.
    pub tool: String,
    /// What it declared; `None` if the call was never declared to us.
    pub facts: Option<Facts>,
    /// What it did so far.
    pub effects: CallEffects,
}

/// The calls.
#[derive(Debug)]
pub struct Calls {
    calls: HashMap<(SessionId, CallId), Known>,
    order: VecDeque<((SessionId, CallId), usize)>,
    weight: usize,
    ledger: PathBuf,
}

impl Calls {
    /// None so far; `ledger` is where lost ones are looked up.
    pub fn new(ledger: PathBuf) -> Self {
        Self {
            calls: HashMap::new(),
            order: VecDeque::new(),
            weight: 0,
            ledger,
        }
    }

    /// Notes what a call declares, as its record says it.
    pub fn declare(&mut self, session: &SessionId, call: &CallId, tool: &str, facts: Facts) {
        let known = Known {
            tool: tool.to_owned(),
            facts: Some(facts),
            effects: CallEffects::default(),
        };
        self.keep((session.clone(), call.clone()), known);
    }

    /// The call, from memory or from the ledger.
    pub fn get(&mut self, session: &SessionId, call: &CallId) -> &mut Known {
        let key = (session.clone(), call.clone());
        if !self.calls.contains_key(&key) {
            let known = self.recall(session, call);
            self.keep(key.clone(), known);
        }
        self.calls.entry(key).or_insert_with(|| Known {
            tool: String::new(),
            facts: None,
            effects: CallEffects::default(),
        })
    }

    fn keep(&mut self, key: (SessionId, CallId), known: Known) {
        let empty = Facts::default();
        let weight = redact::weight(
            &known.tool,
            &CallKind::Other,
            known.facts.as_ref().unwrap_or(&empty),
        );
        self.weight += weight;
        if self.calls.insert(key.clone(), known).is_some() {
            // The same id again: its older place in the order goes.
            if let Some(at) = self.order.iter().position(|(kept, _)| *kept == key) {
                self.weight -= self.order.remove(at).map_or(0, |(_, weight)| weight);
            }
        }
        self.order.push_back((key, weight));
        while self.order.len() > MAX_CALLS || (self.weight > MAX_WEIGHT && self.order.len() > 1) {
            if let Some((oldest, weight)) = self.order.pop_front() {
                self.weight -= weight;
                self.calls.remove(&oldest);
            }
        }
    }

    fn recall(&self, session: &SessionId, call: &CallId) -> Known {
        let mut known = Known {
            tool: String::new(),
            facts: None,
            effects: CallEffects::default(),
        };
        let query = Query {
            session: Some(session.clone()),
            call: Some(call.clone()),
            kinds: vec!["activity".into()],
            newest: Some(RECALL_RECORDS),
            ..Query::default()
        };
        // Asked for apart, because the activities of a busy call would crowd it out.
        let declared = Query {
            kinds: vec!["tool_call".into()],
            newest: Some(16),
            ..query.clone()
        };
        let records = Reader::open(&self.ledger).and_then(|reader| {
            let mut records = reader.query(&declared)?;
            records.extend(reader.query(&query)?);
            Ok(records)
        });
        match records {
            Ok(records) => records.into_iter().for_each(|record| match record.draft.body {
                // A forged declaration declares nothing.
                RecordBody::ToolCall {
                    binding: Binding::Forged { .. },
                    ..
                } => {}
                RecordBody::ToolCall { tool, facts, .. } => (known.tool, known.facts) = (tool, Some(facts)),
                RecordBody::Activity { activity } => note(&mut known.effects, &activity),
                _ => {}
            }),
            // Judged as a call that declared nothing: stricter than it may deserve, and said.
            Err(error) => {
                tracing::error!(%session, %call, "cannot read a call back from the ledger: {error}")
            }
        }
        known
    }
}

/// Adds an activity to what its call did. Its class is known by then.
pub fn note(effects: &mut CallEffects, activity: &Activity) {
    let add = |list: &mut Vec<String>, text: String| {
        if list.len() < MAX_EFFECTS && !list.contains(&text) {
            list.push(text);
        }
    };
    match &activity.action {
        Action::Exec { .. } => effects.execs += 1,
        Action::Open {
            path,
            access: FileAccess::Read,
            class,
            ..
        } => {
            if class
                .as_deref()
                .is_some_and(|class| PathRules::embedded().is_secret(class))
            {
                add(&mut effects.credential_reads, path.clone());
            }
        }
        Action::Open { .. } => effects.writes += 1,
        Action::Connect { address, port, .. } => {
            add(
                &mut effects.connects,
                std::net::SocketAddr::new(*address, *port).to_string(),
            );
        }
        Action::Exit { .. } | Action::IoUring { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(call: &str) -> (SessionId, CallId) {
        (
            SessionId::new("claude-code", "s").unwrap(),
            CallId::new(call).unwrap(),
        )
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut calls = Calls::new("/nowhere/ledger.db".into());
        for number in 0..MAX_CALLS + 10 {
            let (session, call) = ids(&number.to_string());
            calls.declare(&session, &call, "Bash", Facts::default());
            calls.declare(&session, &call, "Bash", Facts::default());
        }
        assert_eq!((calls.calls.len(), calls.order.len()), (MAX_CALLS, MAX_CALLS));
        let heavy = Facts {
            privilege: vec!["x".repeat(MAX_WEIGHT / 3)],
            ..Facts::default()
        };
        for number in 0..10 {
            let (session, call) = ids(&format!("heavy{number}"));
            calls.declare(&session, &call, "Bash", heavy.clone());
        }
        assert!(calls.weight <= MAX_WEIGHT && calls.calls.len() == 2);
        let (session, call) = ids("heavy9");
        assert_eq!(calls.get(&session, &call).facts.as_ref(), Some(&heavy));
    }

    #[test]
    fn a_call_of_which_nothing_is_known_declared_nothing() {
        let mut calls = Calls::new("/nowhere/ledger.db".into());
        let (session, call) = ids("x");
        assert_eq!(calls.get(&session, &call).facts, None);
    }
}
