//! A tool call: facts, decision, the agent's word, the record, the reply, in this order.
//!
//! | Module | Holds |
//! |---|---|
//! | [`considered`] | what the call is, and what is kept and told of it |
//! | [`decider`] | the policy, asked on whatever thread |
//! | [`packages`] | what the call would install, looked into before |
//! | [`person`] | a call that a person is to be asked about |

mod considered;
mod decider;
mod packages;
mod person;

use std::sync::Arc;

use defenseclaw_model::call::{CallDeclaration, ToolCall};
use defenseclaw_model::decision::{Decision, Verdict};
use defenseclaw_model::facts::Facts;
use defenseclaw_model::ids::{DOCTOR_SESSION, SessionId};
use defenseclaw_model::record::{Binding, Draft};
use defenseclaw_model::wire::ToAgent;
use serde_json::Value;

use super::{Engine, Request};
use crate::clock;
use crate::connector::Reply;
use crate::judge::Declared;
use crate::ledger_writer::{AppendError, Bundle};
use crate::redact;
use considered::Shown;
pub(super) use considered::{Considered, consider};
use decider::Decider;
use person::Person;

/// How often a call is decided whose session goes on meanwhile, before its decision stands.
const MAX_LOOKS: u32 = 4;

/// A tool call and where it came from.
pub(super) struct Asked {
    pub(super) session: SessionId,
    /// The harness's own name of the event.
    pub(super) native: String,
    pub(super) cwd: Option<String>,
    pub(super) home: Option<String>,
    pub(super) call: ToolCall,
    /// Its input as it came, where a reply of ours had put the launcher before its command.
    pub(super) came: Option<Value>,
    /// The payload's size (bytes).
    pub(super) size: usize,
}

impl Engine {
    pub(super) async fn tool_call(&self, request: Request, mut asked: Asked) -> Reply {
        if asked.home.is_none() {
            asked.home = self.homes.of(request.peer.uid).await;
        }
        let modifies = request.connector.can(&asked.native).modify;
        let mut decider = self.decider(
            &asked.session,
            request.peer.uid,
            modifies,
            self.doors(request, &asked),
        );
        // What the binding will be if nothing goes wrong; where it turns out otherwise, the policy is asked again.
        let expected = if self.parts.agent.connected() {
            Binding::Bound
        } else {
            Binding::NoAgent
        };
        let native = asked.native.clone();
        let Some(mut considered) = consider(decider.clone(), asked, &expected).await else {
            return self.failed_inside(request.connector, Some(&native));
        };
        let packages = self
            .look_into_packages(request, &decider, &mut considered, &expected)
            .await;
        let person = self.put_before_a_person(request, &mut considered).await;
        if let (Person::Answered, Some(packages)) = (&person, &packages) {
            self.look_again(packages, &decider, &mut considered, &expected);
        }
        if let Person::Forged(binding) = &person {
            // Whoever forged the declaration is not asked about, but refused.
            considered.outcome = decider.decide(&considered, binding);
        }
        let ran = considered.outcome.decision.effective() != Verdict::Deny;
        let binding = self
            .register(request, &considered.asked, &considered.declaration, ran)
            .await;
        if binding != expected {
            let again = decider.decide(&considered, &binding);
            // What a person has answered stands, unless the call is refused now, for instance for who declared it.
            if !matches!(person, Person::Answered) || again.decision.verdict == Verdict::Deny {
                considered.outcome = again;
            }
        }
        if !matches!(binding, Binding::Forged { .. }) {
            self.settle(
                &mut decider,
                &mut considered,
                &binding,
                matches!(person, Person::Answered),
            );
        }
        self.conclude(request, considered, binding, ran).await
    }

    /// Notes the decision for the session's next calls. Where another call of it was decided since this one's past was looked at, the
    /// policy is asked again: of two that come at the same time, one knows of the other. It only becomes stricter by that.
    fn settle(&self, decider: &mut Decider, considered: &mut Considered, binding: &Binding, answered: bool) {
        let rules = self.parts.rules.current();
        for look in 1..=MAX_LOOKS {
            let past = self.sessions().decided(
                &considered.asked.session,
                (look < MAX_LOOKS).then(|| decider.seen()),
                (rules.policy.risk(), clock::now_ns()),
                &considered.facts,
                &considered.outcome.decision,
            );
            let Some(past) = past else { return };
            decider.see(past);
            let again = decider.decide(considered, binding);
            let (was, is) = (considered.outcome.decision.verdict, again.decision.verdict);
            // What a person has answered stands, unless the call is refused now.
            if is > was && (!answered || is == Verdict::Deny) {
                considered.outcome = again;
                considered.shown.posture = decider.shown_posture();
            }
        }
    }

    /// Records the decision and gives the reply. `noted`: the agent was told that the call runs.
    async fn conclude(
        &self,
        request: Request,
        considered: Considered,
        binding: Binding,
        noted: bool,
    ) -> Reply {
        let Considered {
            asked,
            mut outcome,
            shown,
            judged,
            ..
        } = considered;
        let verdict = outcome.decision.effective();
        // A forged declaration was not noted, and must not end the call whose id it may bear.
        let forged = matches!(binding, Binding::Forged { .. });
        if noted && verdict == Verdict::Deny && !forged {
            self.withdraw(&asked);
        }
        let runs = verdict != Verdict::Deny && !forged;
        if verdict == Verdict::Deny && !forged {
            outcome.decision.sandbox = None;
            self.sessions().refuse_call(&asked.session, &asked.call.call);
        } else if !forged {
            self.give_ticket(request, &asked, &outcome.decision);
        }
        // The harness gets the input as the policy made it, within its room; the record shows it masked, and names the room.
        let own = outcome.decision.updated_input.clone();
        outcome.decision.updated_input = outcome.carried.take().or(own.clone());
        let reply = request.connector.decided(&asked.native, &outcome.decision);
        outcome.decision.updated_input = own;
        redact::decision(&mut outcome.decision);
        let recorded = self
            .record(request, &asked, shown, outcome.decision, binding)
            .await;
        if runs && recorded.is_ok() {
            self.declare(&asked, judged);
        }
        if !forged && asked.session.harness_session().starts_with(DOCTOR_SESSION) {
            self.end_of_test(&asked.session).await;
        }
        match recorded {
            Ok(()) if outcome.policy_failed => self.counters.failed(),
            Ok(()) => self.counters.answered(verdict),
            Err(error) => {
                self.counters.failed();
                // The decision is not in the ledger, so it is not given out; the fail mode answers. A refusal stands all
                // the same: a full disk must not open what the policy closes.
                if verdict != Verdict::Deny {
                    return self.unrecorded(request, &asked, runs, &error);
                }
            }
        }
        reply
    }

    /// Tells the agent of the call, and notes it as open if it is going to run.
    async fn register(
        &self,
        request: Request,
        asked: &Asked,
        declaration: &CallDeclaration,
        runs: bool,
    ) -> Binding {
        let before = self.parts.agent.connection();
        let binding = self
            .bind(request.peer, &asked.session, Some(declaration.clone()), !runs)
            .await;
        if matches!(binding, Binding::Forged { .. }) || !runs {
            return binding;
        }
        self.sessions()
            .open_call(&asked.session, Arc::new(declaration.clone()));
        // An agent that connected before the line above was not told of the call, and one that connects after it is.
        let now = self.parts.agent.connection();
        if now.is_none() || now == before {
            return binding;
        }
        self.bind(request.peer, &asked.session, Some(declaration.clone()), !runs)
            .await
    }

    /// The call will not run after all.
    fn withdraw(&self, asked: &Asked) {
        self.sessions().forget_call(&asked.session, &asked.call.call);
        self.parts.agent.tell(&ToAgent::CallEnd {
            session: asked.session.clone(),
            call: asked.call.call.clone(),
        });
    }

    async fn record(
        &self,
        request: Request,
        asked: &Asked,
        shown: Shown,
        decision: Decision,
        binding: Binding,
    ) -> Result<(), AppendError> {
        let decision_us = u64::try_from(request.arrived.elapsed().as_micros()).unwrap_or(u64::MAX);
        let draft = Draft {
            time_ns: clock::now_ns(),
            session: Some(asked.session.clone()),
            call: Some(asked.call.call.clone()),
            body: shown.decided(decision, decision_us, binding),
        };
        self.parts.ledger.append(Bundle::one(draft)).await
    }

    /// Tells the judge of a call that runs.
    fn declare(&self, asked: &Asked, facts: Facts) {
        self.parts.judge.declare(Declared {
            session: asked.session.clone(),
            call: asked.call.call.clone(),
            tool: redact::tool(&asked.call.tool),
            facts,
        });
    }

    fn unrecorded(&self, request: Request, asked: &Asked, noted: bool, error: &AppendError) -> Reply {
        if !self.fail_refuses(asked.session.connector()) {
            return request.connector.passed(&asked.native);
        }
        if noted {
            self.withdraw(asked);
        }
        let reason = format!("the decision on this call could not be recorded: {error}");
        request.connector.refused(Some(&asked.native), &reason)
    }
}
