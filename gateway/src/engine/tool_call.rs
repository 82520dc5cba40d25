//! A tool call: facts, decision, the agent's word, the record, the reply, in this order.

mod packages;

use std::sync::Arc;

use defenseclaw_detect::facts_of;
use defenseclaw_detect::tools::kind_of;
use defenseclaw_model::call::{CallDeclaration, CallKind, ToolCall};
use defenseclaw_model::config::FailMode;
use defenseclaw_model::decision::{Decision, Finding, Mode, Posture, Severity, Verdict};
use defenseclaw_model::facts::Facts;
use defenseclaw_model::ids::{DOCTOR_SESSION, SessionId};
use defenseclaw_model::package::PackageFact;
use defenseclaw_model::record::{Binding, Draft, RecordBody};
use defenseclaw_model::sandbox::Sandbox;
use defenseclaw_model::wire::ToAgent;
use defenseclaw_policy::{DecideInput, PolicyError, RefusedArtifact};
use serde_json::Value;

use super::sandbox::Doors;
use super::{Engine, Request, off_loop};
use crate::admission;
use crate::approvals::{Fingerprint, Pending};
use crate::clock;
use crate::connector::Reply;
use crate::judge::Declared;
use crate::late;
use crate::ledger_writer::{AppendError, Bundle};
use crate::pins::PinBook;
use crate::redact;
use crate::rules::Rules;

/// Most findings of one call that are weighed and recorded; the worst come first.
const MAX_FINDINGS: usize = 32;

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

/// What is known of a call once the policy was asked.
pub(super) struct Considered {
    pub(super) asked: Asked,
    facts: Facts,
    findings: Vec<Finding>,
    /// What is known of what it would install.
    packages: Vec<PackageFact>,
    outcome: Outcome,
    /// What the agent is told that runs.
    pub(super) declaration: CallDeclaration,
    shown: Shown,
    /// What the kernel view of it is judged by.
    pub(super) judged: Facts,
}

impl Considered {
    /// Its record, for a call that nobody waits for.
    pub(super) fn draft(self, time_ns: u64, binding: Binding) -> Draft {
        let mut decision = self.outcome.decision;
        redact::decision(&mut decision);
        Draft {
            time_ns,
            session: Some(self.asked.session),
            call: Some(self.asked.call.call),
            body: RecordBody::ToolCall {
                tool: self.shown.tool,
                call_kind: self.shown.kind,
                input: self.shown.input,
                facts: self.shown.facts,
                decision,
                decision_us: 0,
                binding,
                posture: self.shown.posture,
            },
        }
    }
}

/// The call as the ledger keeps it.
struct Shown {
    tool: String,
    kind: CallKind,
    input: Value,
    facts: Facts,
    posture: Option<Posture>,
}

/// What came of a call that a person was to be asked about.
enum Person {
    /// There was nothing to ask here: the harness asks its own person, or the policy asks nobody.
    NotAsked,
    /// Somebody has answered, or the time was up.
    Answered,
    /// The declaration did not come from the harness.
    Forged(Binding),
}

struct Outcome {
    decision: Decision,
    /// The input that puts the call into its room.
    carried: Option<Value>,
    /// The policy could not decide; the fail mode did.
    policy_failed: bool,
}

impl Engine {
    pub(super) async fn tool_call(&self, request: Request, mut asked: Asked) -> Reply {
        if asked.home.is_none() {
            asked.home = self.homes.of(request.peer.uid).await;
        }
        let modifies = request.connector.can(&asked.native).modify;
        let decider = self.decider(
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
        self.conclude(request, considered, binding, ran).await
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
            facts,
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
        if !forged {
            let rules = self.parts.rules.current();
            self.sessions().decided(
                &asked.session,
                rules.policy.risk(),
                clock::now_ns(),
                &facts,
                &outcome.decision,
            );
        }
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

    /// Settles an `ask`: by an approval given earlier, or by waiting for an operator where the harness cannot ask its own
    /// person. The call is not registered before: what waits explains nothing.
    async fn put_before_a_person(&self, request: Request, considered: &mut Considered) -> Person {
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

    pub(super) fn decider(&self, session: &SessionId, uid: u32, modifies: bool, doors: Doors) -> Decider {
        let rules = self.parts.rules.current();
        let posture = self
            .sessions()
            .posture(session, rules.policy.risk(), clock::now_ns());
        let connector = session.connector();
        Decider {
            rules,
            posture,
            mode: self.config.mode_of(connector),
            fail_mode: self.config.fail_mode_of(connector),
            modifies,
            doors,
            refused: self.parts.admissions.refused(),
            pins: Arc::clone(&self.parts.pins),
            uid,
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
        let body = RecordBody::ToolCall {
            tool: shown.tool,
            call_kind: shown.kind,
            input: shown.input,
            facts: shown.facts,
            decision,
            decision_us: u64::try_from(request.arrived.elapsed().as_micros()).unwrap_or(u64::MAX),
            binding,
            posture: shown.posture,
        };
        let draft = Draft {
            time_ns: clock::now_ns(),
            session: Some(asked.session.clone()),
            call: Some(asked.call.call.clone()),
            body,
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

/// Facts, findings, the policy's word, and what is kept and told of the call. `None`: it panicked.
pub(super) async fn consider(decider: Decider, mut asked: Asked, binding: &Binding) -> Option<Considered> {
    let binding = binding.clone();
    off_loop(asked.size, move || {
        asked.came = decider.doors.take_off(&mut asked.call);
        let facts = facts_of(&asked.call, asked.cwd.as_deref(), asked.home.as_deref());
        let findings = decider.findings(&asked.call, &facts);
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

/// What of a call the policy weighs.
struct Weighed<'a> {
    /// Within the bounds of what can be executed; the facts say what was cut.
    kind: &'a CallKind,
    facts: &'a Facts,
    findings: &'a [Finding],
    packages: &'a [PackageFact],
}

/// What is needed to decide, apart from the engine, so that it can be done on another thread.
#[derive(Clone)]
pub(super) struct Decider {
    rules: Arc<Rules>,
    posture: Posture,
    mode: Mode,
    fail_mode: FailMode,
    /// Whether the harness can run a call with changed input.
    modifies: bool,
    /// The ways into a room.
    doors: Doors,
    /// Artifacts that were refused, where nothing else keeps calls from using them.
    refused: Arc<[RefusedArtifact]>,
    /// What MCP servers were when somebody looked.
    pins: Arc<PinBook>,
    /// Whose session it is.
    uid: u32,
}

impl Decider {
    /// Whatever is decided is recorded, and not enforced.
    pub(super) fn observe(&mut self) {
        self.mode = Mode::Observe;
    }

    /// What the rule packs find, the worst first.
    fn findings(&self, call: &ToolCall, facts: &Facts) -> Vec<Finding> {
        let mut findings = self.rules.detector.call(call, facts);
        findings.sort_by_key(|finding| std::cmp::Reverse((finding.severity, finding.confidence)));
        findings.truncate(MAX_FINDINGS);
        findings
    }

    /// What the session did so far as the record shows it; `None` for a session with nothing to its name.
    fn shown_posture(&self) -> Option<Posture> {
        // To a hundredth: a longer number says no more, and not every one is read back as it was written.
        let risk = (self.posture.risk * 100.0).round() / 100.0;
        let shown = Posture {
            risk,
            ..self.posture.clone()
        };
        (shown != Posture::default()).then_some(shown)
    }

    /// Asks again, for another binding.
    fn decide(&self, considered: &Considered, binding: &Binding) -> Outcome {
        let weighed = Weighed {
            kind: &considered.declaration.kind,
            facts: &considered.facts,
            findings: &considered.findings,
            packages: &considered.packages,
        };
        self.outcome(&considered.asked, &weighed, binding)
    }

    fn outcome(&self, asked: &Asked, weighed: &Weighed<'_>, binding: &Binding) -> Outcome {
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
