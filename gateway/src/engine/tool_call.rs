//! A tool call: facts, decision, the agent's word, the record, the reply, in this order.

use std::sync::Arc;

use defenseclaw_detect::facts_of;
use defenseclaw_model::call::{CallDeclaration, CallKind, ToolCall};
use defenseclaw_model::config::FailMode;
use defenseclaw_model::decision::{Decision, Finding, Mode, Severity, Verdict};
use defenseclaw_model::facts::Facts;
use defenseclaw_model::ids::SessionId;
use defenseclaw_model::record::{Binding, Draft, RecordBody};
use defenseclaw_model::wire::ToAgent;
use defenseclaw_policy::{DecideInput, Policy, PolicyError};
use serde_json::Value;

use super::{Engine, Request, off_loop};
use crate::clock;
use crate::connector::Reply;
use crate::judge::Declared;
use crate::ledger_writer::{AppendError, Bundle};
use crate::redact;

/// A tool call and where it came from.
pub(super) struct Asked {
    pub(super) session: SessionId,
    /// The harness's own name of the event.
    pub(super) native: String,
    pub(super) cwd: Option<String>,
    pub(super) home: Option<String>,
    pub(super) call: ToolCall,
    /// The payload's size (bytes).
    pub(super) size: usize,
}

/// What is known of a call once the policy was asked.
struct Considered {
    asked: Asked,
    facts: Facts,
    outcome: Outcome,
    declaration: CallDeclaration,
    shown: Shown,
}

/// The call as the ledger keeps it.
struct Shown {
    tool: String,
    kind: CallKind,
    input: Value,
    facts: Facts,
}

struct Outcome {
    decision: Decision,
    /// The policy could not decide; the fail mode did.
    policy_failed: bool,
}

impl Engine {
    pub(super) async fn tool_call(&self, request: Request, mut asked: Asked) -> Reply {
        if asked.home.is_none() {
            asked.home = self.homes.of(request.peer.uid).await;
        }
        // What the binding will be if nothing goes wrong; where it turns out otherwise, the policy is asked again.
        let expected = if self.agent.connected() {
            Binding::Bound
        } else {
            Binding::NoAgent
        };
        let native = asked.native.clone();
        let Some(considered) = self.consider(asked, &expected).await else {
            return self.failed_inside(request.connector, Some(&native));
        };
        let Considered {
            asked,
            facts,
            mut outcome,
            declaration,
            shown,
        } = considered;
        let ran = outcome.decision.effective() != Verdict::Deny;
        let binding = self.register(request, &asked, &declaration, ran).await;
        if binding != expected {
            outcome = self.decider().decide(&asked, &declaration.kind, &facts, &binding);
        }
        redact::decision(&mut outcome.decision);
        let verdict = outcome.decision.effective();
        // A forged declaration was not noted, and must not end the call whose id it may bear.
        let forged = matches!(binding, Binding::Forged { .. });
        if ran && verdict == Verdict::Deny && !forged {
            self.withdraw(&asked);
        }
        let runs = verdict != Verdict::Deny && !forged;
        let reply = request.connector.decided(&native, &outcome.decision);
        match self
            .record(request, &asked, shown, outcome.decision, binding, runs)
            .await
        {
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

    /// Facts, the policy's word, and what is kept and told of the call. `None`: it panicked.
    async fn consider(&self, asked: Asked, binding: &Binding) -> Option<Considered> {
        let decider = self.decider();
        let binding = binding.clone();
        off_loop(asked.size, move || {
            let facts = facts_of(&asked.call, asked.cwd.as_deref(), asked.home.as_deref());
            let declaration = redact::declaration(&asked.call, asked.cwd.as_deref(), &facts);
            let outcome = decider.decide(&asked, &declaration.kind, &facts, &binding);
            let shown = Shown {
                tool: redact::tool(&asked.call.tool),
                kind: redact::kind(&asked.call.kind),
                input: redact::input(&asked.call.input),
                facts: redact::facts(&facts),
            };
            Considered {
                asked,
                facts,
                outcome,
                declaration,
                shown,
            }
        })
        .await
    }

    fn decider(&self) -> Decider {
        Decider {
            policy: self.policy.clone(),
            mode: self.mode,
            fail_mode: self.fail_mode,
        }
    }

    /// Tells the agent of the call, and notes it as open if it is going to run.
    async fn register(
        &self,
        request: Request,
        asked: &Asked,
        declaration: &CallDeclaration,
        runs: bool,
    ) -> Binding {
        let before = self.agent.connection();
        let binding = self
            .bind(request.peer, &asked.session, Some(declaration.clone()), !runs)
            .await;
        if matches!(binding, Binding::Forged { .. }) || !runs {
            return binding;
        }
        self.sessions()
            .open_call(&asked.session, Arc::new(declaration.clone()));
        // An agent that connected before the line above was not told of the call, and one that connects after it is.
        let now = self.agent.connection();
        if now.is_none() || now == before {
            return binding;
        }
        self.bind(request.peer, &asked.session, Some(declaration.clone()), !runs)
            .await
    }

    /// The call will not run after all.
    fn withdraw(&self, asked: &Asked) {
        self.sessions().forget_call(&asked.session, &asked.call.call);
        self.agent.tell(&ToAgent::CallEnd {
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
        runs: bool,
    ) -> Result<(), AppendError> {
        let (session, call) = (asked.session.clone(), asked.call.call.clone());
        let declared = Declared {
            session,
            call,
            tool: shown.tool.clone(),
            facts: shown.facts.clone(),
        };
        let body = RecordBody::ToolCall {
            tool: shown.tool,
            call_kind: shown.kind,
            input: shown.input,
            facts: shown.facts,
            decision,
            decision_us: u64::try_from(request.arrived.elapsed().as_micros()).unwrap_or(u64::MAX),
            binding,
        };
        let draft = Draft {
            time_ns: clock::now_ns(),
            session: Some(asked.session.clone()),
            call: Some(asked.call.call.clone()),
            body,
        };
        self.ledger.append(Bundle::one(draft)).await?;
        if runs {
            self.judge.declare(declared);
        }
        Ok(())
    }

    fn unrecorded(&self, request: Request, asked: &Asked, noted: bool, error: &AppendError) -> Reply {
        if !self.fail_refuses() {
            return request.connector.passed(&asked.native);
        }
        if noted {
            self.withdraw(asked);
        }
        let reason = format!("the decision on this call could not be recorded: {error}");
        request.connector.refused(Some(&asked.native), &reason)
    }
}

/// What is needed to decide, apart from the engine, so that it can be done on another thread.
struct Decider {
    policy: Policy,
    mode: Mode,
    fail_mode: FailMode,
}

impl Decider {
    /// `kind` is the call's, within the bounds of what can be executed; the facts say what was cut.
    fn decide(&self, asked: &Asked, kind: &CallKind, facts: &Facts, binding: &Binding) -> Outcome {
        let input = DecideInput {
            connector: asked.session.connector(),
            session: &asked.session,
            mode: self.mode,
            cwd: asked.cwd.as_deref(),
            tool: &asked.call.tool,
            call_kind: kind,
            facts,
            binding,
        };
        match self.policy.decide(&input) {
            Ok(decision) => Outcome {
                decision,
                policy_failed: false,
            },
            Err(error) => {
                tracing::error!(session = %asked.session, call = %asked.call.call, "the policy cannot decide: {error}");
                Outcome {
                    decision: self.by_fail_mode(&error),
                    policy_failed: true,
                }
            }
        }
    }

    fn by_fail_mode(&self, error: &PolicyError) -> Decision {
        let message = format!("the policy could not decide on this call: {error}");
        let verdict = match self.fail_mode {
            FailMode::Closed => Verdict::Deny,
            FailMode::Open => Verdict::Allow,
        };
        let finding = Finding {
            rule: "policy.failed".into(),
            category: "policy".into(),
            severity: Severity::High,
            message: message.clone(),
            remedy: String::new(),
            evidence: Vec::new(),
            confidence: 100,
        };
        Decision {
            verdict,
            severity: Severity::High,
            reason: message,
            findings: vec![finding],
            rule: String::new(),
            line: String::new(),
            updated_input: None,
            policy: self.policy.revision().to_owned(),
            enforced: self.mode.enforces(),
        }
    }
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::ids::CallId;

    use super::*;

    fn asked() -> Asked {
        let call = ToolCall {
            call: CallId::new("c").unwrap(),
            tool: "Bash".into(),
            kind: CallKind::Command {
                command: "ls".into(),
                background: false,
            },
            input: serde_json::json!({"command": "ls"}),
        };
        Asked {
            session: "claude-code/s".parse().unwrap(),
            native: "PreToolUse".into(),
            cwd: None,
            home: None,
            call,
            size: 10,
        }
    }

    /// A policy whose output is not a decision.
    fn broken_policy() -> (tempfile::TempDir, Policy) {
        let folder = tempfile::tempdir().unwrap();
        let text = "package defenseclaw.decision\n\ndecision := {\"verdict\": \"maybe\"}\n";
        std::fs::write(folder.path().join("decision.rego"), text).unwrap();
        let text = "package defenseclaw.effect\n\nfindings := []\n";
        std::fs::write(folder.path().join("effect.rego"), text).unwrap();
        let policy = Policy::from_dir(folder.path()).unwrap();
        (folder, policy)
    }

    #[test]
    fn a_policy_that_cannot_decide_is_answered_by_fail_mode() {
        let (_folder, policy) = broken_policy();
        for (mode, fail_mode, effective) in [
            (Mode::Action, FailMode::Closed, Verdict::Deny),
            (Mode::Action, FailMode::Open, Verdict::Allow),
            (Mode::Observe, FailMode::Closed, Verdict::Allow),
        ] {
            let decider = Decider {
                policy: policy.clone(),
                mode,
                fail_mode,
            };
            let outcome = decider.decide(&asked(), &CallKind::Other, &Facts::default(), &Binding::NoAgent);
            assert!(outcome.policy_failed);
            assert_eq!(outcome.decision.effective(), effective, "{mode:?} {fail_mode:?}");
            assert_eq!(outcome.decision.findings[0].rule, "policy.failed");
        }
    }
}
