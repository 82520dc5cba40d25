//! What a call would install, looked into before the call is decided.

use defenseclaw_model::decision::Verdict;
use defenseclaw_model::record::Binding;

use super::super::{Engine, Request};
use super::Considered;
use super::decider::Decider;
use crate::packages::OfCall;

impl Engine {
    /// Has what the call would install fetched and scanned, and asks the policy again with what came of it. What is refused anyway makes
    /// nobody ask a registry.
    pub(super) async fn look_into_packages(
        &self,
        request: Request,
        decider: &Decider,
        considered: &mut Considered,
        binding: &Binding,
    ) -> Option<OfCall> {
        if considered.outcome.decision.verdict == Verdict::Deny {
            return None;
        }
        let (session, installs) = (&considered.asked.session, &considered.facts.installs);
        let packages = &self.parts.packages;
        let of = packages.of_call(installs, session, request.peer.uid, request.arrived)?;
        considered.packages = packages.wait(&of).await;
        considered.outcome = decider.decide(considered, binding);
        Some(of)
    }

    /// A scan may have come to its end while a person was asked. Who let the call run did not know of what it found.
    pub(super) fn look_again(
        &self,
        of: &OfCall,
        decider: &Decider,
        considered: &mut Considered,
        binding: &Binding,
    ) {
        let facts = self.parts.packages.look(of);
        if facts == considered.packages {
            return;
        }
        considered.packages = facts;
        let again = decider.decide(considered, binding);
        if again.decision.verdict == Verdict::Deny {
            considered.outcome = again;
        }
    }
}
