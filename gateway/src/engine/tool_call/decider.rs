//! The policy asked about a call, on whatever thread.

use std::sync::Arc;

use defenseclaw_model::call::CallKind;
use defenseclaw_model::config::FailMode;
use defenseclaw_model::decision::{Decision, Finding, Mode, Posture, Severity, Verdict};
use defenseclaw_model::facts::Facts;
use defenseclaw_model::ids::SessionId;
use defenseclaw_model::package::PackageFact;
use defenseclaw_model::record::Binding;
use defenseclaw_model::sandbox::Sandbox;
use defenseclaw_policy::{DecideInput, PolicyError, RefusedArtifact};
use serde_json::Value;

use super::super::Engine;
use super::super::sandbox::Doors;
use super::{Asked, Considered};
use crate::admission;
use crate::clock;
use crate::pins::PinBook;
use crate::rules::Rules;

/// What the policy decided.
pub(super) struct Outcome {
    pub(super) decision: Decision,
    /// The input that puts the call into its room.
    pub(super) carried: Option<Value>,
    /// The policy could not decide; the fail mode did.
    pub(super) policy_failed: bool,
}

/// What of a call the policy weighs.
pub(super) struct Weighed<'a> {
    /// Within the bounds of what can be executed; the facts say what was cut.
    pub(super) kind: &'a CallKind,
    pub(super) facts: &'a Facts,
    pub(super) findings: &'a [Finding],
    pub(super) packages: &'a [PackageFact],
}

/// What is needed to decide, apart from the engine, so that it can be done on another thread.
#[derive(Clone)]
pub(in crate::engine) struct Decider {
    rules: Arc<Rules>,
    posture: Posture,
    /// Which past of the session that is.
    seen: u64,
    mode: Mode,
    fail_mode: FailMode,
    /// Whether the harness can run a call with changed input.
    modifies: bool,
    /// The ways into a room.
    pub(super) doors: Doors,
    /// Artifacts that were refused, where nothing else keeps calls from using them.
    refused: Arc<[RefusedArtifact]>,
    /// What MCP servers were when somebody looked.
    pins: Arc<PinBook>,
    /// Whose session it is.
    uid: u32,
}

impl Engine {
    pub(in crate::engine) fn decider(
        &self,
        session: &SessionId,
        uid: u32,
        modifies: bool,
        doors: Doors,
    ) -> Decider {
        let rules = self.parts.rules.current();
        let (posture, seen) = self
            .sessions()
            .posture(session, rules.policy.risk(), clock::now_ns());
        let connector = session.connector();
        Decider {
            rules,
            posture,
            seen,
            mode: self.config.mode_of(connector),
            fail_mode: self.config.fail_mode_of(connector),
            modifies,
            doors,
            refused: self.parts.admissions.refused(),
            pins: Arc::clone(&self.parts.pins),
            uid,
        }
    }
}

impl Decider {
    /// Whatever is decided is recorded, and not enforced.
    pub(in crate::engine) fn observe(&mut self) {
        self.mode = Mode::Observe;
    }

    /// Which past of the session it decides by.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Decides by this past from now on.
    pub(super) fn see(&mut self, (posture, seen): (Posture, u64)) {
        (self.posture, self.seen) = (posture, seen);
    }

    /// What the rule packs and the model beside them find, the worst first.
    pub(super) fn findings(&self, asked: &Asked, facts: &Facts) -> Vec<Finding> {
        let (cwd, home) = (asked.cwd.as_deref(), asked.home.as_deref());
        self.rules.detector.judge(&asked.call, cwd, home, facts)
    }

    /// What the session did so far as the record shows it; `None` for a session with nothing to its name.
    pub(super) fn shown_posture(&self) -> Option<Posture> {
        // To a hundredth: a longer number says no more, and not every one is read back as it was written.
        let risk = (self.posture.risk * 100.0).round() / 100.0;
        let shown = Posture {
            risk,
            ..self.posture.clone()
        };
        (shown != Posture::default()).then_some(shown)
    }

    /// Asks again, for another binding.
    pub(super) fn decide(&self, considered: &Considered, binding: &Binding) -> Outcome {
        let weighed = Weighed {
            kind: &considered.declaration.kind,
            facts: &considered.facts,
            findings: &considered.findings,
            packages: &considered.packages,
        };
        self.outcome(&considered.asked, &weighed, binding)
    }

    pub(super) fn outcome(&self, asked: &Asked, weighed: &Weighed<'_>, binding: &Binding) -> Outcome {
        let Weighed {
            kind,
            facts,
            findings,
            packages,
        } = *weighed;
        let artifacts = admission::used(&self.refused, facts);
        let mcp = self.pins.fact(self.uid, asked.cwd.as_deref(), &asked.call.tool);
        let input = DecideInput {
            connector: asked.session.connector(),
            session: &asked.session,
            mode: self.mode,
            now_ns: clock::now_ns(),
            cwd: asked.cwd.as_deref(),
            tool: &asked.call.tool,
            call_kind: kind,
            facts,
            findings,
            posture: &self.posture,
            binding,
            sandbox: self.doors.own(&asked.call),
            artifacts: &artifacts,
            mcp: mcp.as_ref(),
            packages,
        };
        let (mut decision, policy_failed) = match self.rules.policy.decide(&input) {
            Ok(decision) => (self.feasible(decision), false),
            Err(error) => {
                tracing::error!(session = %asked.session, call = %asked.call.call, "the policy cannot decide: {error}");
                (self.by_fail_mode(&error, self.doors.own(&asked.call)), true)
            }
        };
        let carried = self.doors.lead(asked, asked.came.as_ref(), &mut decision);
        Outcome {
            decision,
            carried,
            policy_failed,
        }
    }

    /// A call that may only run changed is refused where its harness cannot change it: it would run unchanged.
    fn feasible(&self, mut decision: Decision) -> Decision {
        if decision.updated_input.is_some()
            && decision.enforced
            && decision.verdict != Verdict::Deny
            && !self.modifies
        {
            decision.verdict = Verdict::Deny;
            decision.updated_input = None;
            decision.reason = format!(
                "{} The policy lets this call run with changed input only, and this harness cannot change a call's input.",
                decision.reason
            );
        }
        decision
    }

    /// `own`: what the call runs in, should it run.
    fn by_fail_mode(&self, error: &PolicyError, own: Option<&str>) -> Decision {
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
            sandbox: own.map(|profile| Sandbox {
                profile: profile.to_owned(),
                by: None,
            }),
            policy: self.rules.policy.revision().to_owned(),
            enforced: self.mode.enforces(),
        }
    }
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::call::ToolCall;
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
            came: None,
            size: 10,
        }
    }

    /// A policy whose output is not a decision.
    fn broken() -> Arc<Rules> {
        let folder = tempfile::tempdir().unwrap();
        let rego = folder.path().join("rego");
        std::fs::create_dir(&rego).unwrap();
        let text = "package defenseclaw.decision\n\ndecision := {\"verdict\": \"maybe\"}\n";
        std::fs::write(rego.join("decision.rego"), text).unwrap();
        let text = "package defenseclaw.effect\n\nfindings := []\n";
        std::fs::write(rego.join("effect.rego"), text).unwrap();
        Arc::new(Rules::load(Some(folder.path())).unwrap())
    }

    #[test]
    fn a_policy_that_cannot_decide_is_answered_by_fail_mode() {
        let rules = broken();
        let folder = tempfile::tempdir().unwrap();
        let pins = Arc::new(PinBook::open(&folder.path().join("pins.db")).unwrap());
        for (mode, fail_mode, effective) in [
            (Mode::Action, FailMode::Closed, Verdict::Deny),
            (Mode::Action, FailMode::Open, Verdict::Allow),
            (Mode::Observe, FailMode::Closed, Verdict::Allow),
        ] {
            let decider = Decider {
                rules: Arc::clone(&rules),
                posture: Posture::default(),
                seen: 0,
                mode,
                fail_mode,
                modifies: false,
                doors: Doors::closed("claude-code"),
                refused: Arc::default(),
                pins: Arc::clone(&pins),
                uid: 0,
            };
            let weighed = Weighed {
                kind: &CallKind::Other,
                facts: &Facts::default(),
                findings: &[],
                packages: &[],
            };
            let outcome = decider.outcome(&asked(), &weighed, &Binding::NoAgent);
            assert!(outcome.policy_failed);
            assert_eq!(outcome.decision.effective(), effective, "{mode:?} {fail_mode:?}");
            assert_eq!(outcome.decision.findings[0].rule, "policy.failed");
        }
    }
}
