//! A call that a person is to be asked about.

use defenseclaw_model::decision::Verdict;
use defenseclaw_model::record::Binding;

use super::super::{Engine, Request};
use super::Considered;
use crate::approvals::{Fingerprint, Pending};
use crate::late;
use crate::redact;

/// What came of a call that a person was to be asked about.
pub(super) enum Person {
    /// There was nothing to ask here: the harness asks its own person, or the policy asks nobody.
    NotAsked,
    /// Somebody has answered, or the time was up.
    Answered,
    /// The declaration did not come from the harness.
    Forged(Binding),
}

impl Engine {
    /// Settles an `ask`: by an approval given earlier, or by waiting for an operator where the harness cannot ask its own
    /// person. The call is not registered before: what waits explains nothing.
    pub(super) async fn put_before_a_person(&self, request: Request, considered: &mut Considered) -> Person {
        let decision = &mut considered.outcome.decision;
        if !decision.enforced || decision.verdict != Verdict::Ask {
            return Person::NotAsked;
        }
        let asked = &considered.asked;
        let binding = self.bind(request.peer, &asked.session, None, false).await;
        if matches!(binding, Binding::Forged { .. }) {
            return Person::Forged(binding);
        }
        let owner = request.peer.uid;
        let approvals = &self.parts.approvals;
        let fingerprint = Fingerprint::of(&asked.call, decision);
        if let Some(grant) = approvals.matches(&asked.session, owner, &fingerprint, asked.cwd.as_deref()) {
            decision.verdict = Verdict::Allow;
            decision.reason = format!(
                "{} Approved earlier by user {} ({}, approval {}).",
                decision.reason,
                grant.by_uid,
                grant.scope.as_str(),
                grant.id
            );
            return Person::Answered;
        }
        if request.connector.can(&asked.native).ask {
            return Person::NotAsked;
        }
        let mut shown = decision.clone();
        redact::decision(&mut shown);
        let answer = approvals
            .ask(Pending {
                session: asked.session.clone(),
                owner,
                call: asked.call.call.clone(),
                tool: considered.shown.tool.clone(),
                summary: redact::summary(&considered.shown.kind, &considered.shown.input),
                reason: shown.reason,
                rule: shown.rule,
                fingerprint,
                cwd: asked.cwd.clone(),
                deadline: approvals.deadline(request.arrived, late::wait(request.connector)),
            })
            .await;
        decision.verdict = if answer.allows() {
            Verdict::Allow
        } else {
            Verdict::Deny
        };
        decision.reason = format!(
            "{} This call was put before a person: {}.",
            decision.reason,
            answer.words()
        );
        Person::Answered
    }
}
