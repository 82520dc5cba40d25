//! What a call is, what the policy says of it, and what is kept and told of it.

use defenseclaw_detect::facts_of;
use defenseclaw_detect::tools::kind_of;
use defenseclaw_model::call::{CallDeclaration, CallKind, ToolCall};
use defenseclaw_model::decision::{Decision, Finding, Posture, Verdict};
use defenseclaw_model::facts::Facts;
use defenseclaw_model::package::PackageFact;
use defenseclaw_model::record::{Binding, Draft, RecordBody};
use serde_json::Value;

use super::super::off_loop;
use super::Asked;
use super::decider::{Decider, Outcome, Weighed};
use crate::redact;

/// What is known of a call once the policy was asked.
pub(in crate::engine) struct Considered {
    pub(in crate::engine) asked: Asked,
    pub(super) facts: Facts,
    pub(super) findings: Vec<Finding>,
    /// What is known of what it would install.
    pub(super) packages: Vec<PackageFact>,
    pub(super) outcome: Outcome,
    /// What the agent is told that runs.
    pub(in crate::engine) declaration: CallDeclaration,
    pub(super) shown: Shown,
    /// What the kernel view of it is judged by.
    pub(in crate::engine) judged: Facts,
}

impl Considered {
    /// Its record, for a call that nobody waits for.
    pub(in crate::engine) fn draft(self, time_ns: u64, binding: Binding) -> Draft {
        let mut decision = self.outcome.decision;
        redact::decision(&mut decision);
        Draft {
            time_ns,
            session: Some(self.asked.session),
            call: Some(self.asked.call.call),
            body: self.shown.decided(decision, 0, binding),
        }
    }
}

/// The call as the ledger keeps it.
pub(super) struct Shown {
    pub(super) tool: String,
    pub(super) kind: CallKind,
    pub(super) input: Value,
    pub(super) facts: Facts,
    pub(super) posture: Option<Posture>,
}

impl Shown {
    /// Its record, with what was decided of it and how long that took (µs).
    pub(super) fn decided(self, decision: Decision, decision_us: u64, binding: Binding) -> RecordBody {
        RecordBody::ToolCall {
            tool: self.tool,
            call_kind: self.kind,
            input: self.input,
            facts: self.facts,
            decision,
            decision_us,
            binding,
            posture: self.posture,
        }
    }
}

/// Facts, findings, the policy's word, and what is kept and told of the call. `None`: it panicked.
pub(in crate::engine) async fn consider(
    decider: Decider,
    mut asked: Asked,
    binding: &Binding,
) -> Option<Considered> {
    let binding = binding.clone();
    off_loop(asked.size, move || {
        asked.came = decider.doors.take_off(&mut asked.call);
        let facts = facts_of(&asked.call, asked.cwd.as_deref(), asked.home.as_deref());
        let findings = decider.findings(&asked, &facts);
        let mut declaration = redact::declaration(&asked.call, asked.cwd.as_deref(), &facts);
        let shown = Shown {
            tool: redact::tool(&asked.call.tool),
            kind: redact::kind(&asked.call.kind),
            input: redact::input(&asked.call.input),
            facts: redact::facts(&facts),
            posture: decider.shown_posture(),
        };
        let weighed = Weighed {
            kind: &declaration.kind,
            facts: &facts,
            findings: &findings,
            packages: &[],
        };
        let outcome = decider.outcome(&asked, &weighed, &binding);
        let mut judged = shown.facts.clone();
        if let Some(changed) = changed(&asked, &outcome.decision) {
            // What runs is what the kernel view is compared with.
            let facts = facts_of(&changed, asked.cwd.as_deref(), asked.home.as_deref());
            declaration = redact::declaration(&changed, asked.cwd.as_deref(), &facts);
            judged = redact::facts(&facts);
        }
        // The same program in its room: only the line that the kernel sees is another.
        let line = outcome.carried.as_ref().or(asked.came.as_ref());
        if let Some(line) = line.and_then(|input| decider.doors.line(input))
            && let CallKind::Command { command, .. } = &mut declaration.kind
        {
            line.clone_into(command);
        }
        Considered {
            asked,
            facts,
            findings,
            packages: Vec::new(),
            outcome,
            declaration,
            shown,
            judged,
        }
    })
    .await
}

/// The call as it runs, where the policy changed its input.
fn changed(asked: &Asked, decision: &Decision) -> Option<ToolCall> {
    let input = decision
        .updated_input
        .clone()
        .filter(|_| decision.enforced && decision.verdict != Verdict::Deny)?;
    let tool = &asked.call.tool;
    let kind = kind_of(tool, &input, asked.cwd.as_deref(), asked.home.as_deref());
    Some(ToolCall {
        call: asked.call.call.clone(),
        tool: tool.clone(),
        kind,
        input,
    })
}
