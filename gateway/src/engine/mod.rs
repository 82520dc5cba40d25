//! The one decision path: a payload in, a record in the ledger, the harness's native reply out.

mod entered;
mod homes;
pub(crate) mod sandbox;
mod tool_call;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use defenseclaw_detect::Surface;
use defenseclaw_model::api::SandboxStatus;
use defenseclaw_model::call::{CallDeclaration, HookEventKind};
use defenseclaw_model::config::{Config, FailMode};
use defenseclaw_model::decision::{Finding, Mode, Severity, Verdict};
use defenseclaw_model::ids::{CallId, SessionId};
use defenseclaw_model::record::{Binding, Draft, RecordBody};
use defenseclaw_model::wire::ToAgent;

use crate::admission::Admissions;
use crate::agent::AgentLink;
use crate::approvals::Approvals;
use crate::clock;
use crate::connector::{Contract, Fault, Parsed, Reply};
use crate::counters::Counters;
use crate::judge::Judge;
use crate::ledger_writer::{AppendError, Bundle, LedgerWriter};
use crate::packages::Packages;
use crate::pins::PinBook;
use crate::redact;
use crate::rooms::Tickets;
use crate::rules::RulesInForce;
use crate::sessions::Sessions;
use crate::throttle::Throttle;
use homes::Homes;

/// A payload up to this size is parsed and decided where it arrived, in well under a millisecond; a larger one is handed
/// to another thread, so that it holds up nobody else.
const INLINE_BYTES: usize = 2 * 1024;

/// Most findings that are recorded of one text; the worst come first.
const MAX_TEXT_FINDINGS: usize = 16;

/// Who called the hook, as the kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The hook client. `None` over TCP, and if it runs in another pid namespace.
    pub pid: Option<u32>,
    /// Its user.
    pub uid: u32,
}

/// What the hook client says beside the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Said<'a> {
    /// The event that the hook's command line names.
    pub named: Option<&'a str>,
    /// It was started by our shell.
    pub prefixed: bool,
}

/// One hook request.
#[derive(Clone, Copy)]
struct Request {
    connector: &'static Contract,
    peer: Peer,
    arrived: Instant,
    /// The harness hands its shell lines to our program: its hooks came that way.
    prefixed: bool,
}

/// Everything that a decision needs.
pub struct Engine {
    config: Config,
    parts: Parts,
    counters: Counters,
    faults: Throttle,
    homes: Homes,
    tickets: Mutex<Tickets>,
    launcher: Arc<Path>,
}

/// What an engine works with, and shares with the rest of the gateway.
pub struct Parts {
    /// The policy and the rule packs.
    pub rules: Arc<RulesInForce>,
    /// The ledger.
    pub ledger: LedgerWriter,
    /// Sessions that have not ended.
    pub sessions: Arc<Mutex<Sessions>>,
    /// Judges what the kernel sees of the calls.
    pub judge: Judge,
    /// The agent's connection.
    pub agent: Arc<AgentLink>,
    /// Calls that wait for a person.
    pub approvals: Arc<Approvals>,
    /// The install gate.
    pub admissions: Arc<Admissions>,
    /// What MCP servers were when somebody looked.
    pub pins: Arc<PinBook>,
    /// Packages that calls would install.
    pub packages: Arc<Packages>,
}

impl Engine {
    /// Puts the parts together.
    pub fn new(config: &Config, parts: Parts) -> Self {
        Self {
            config: config.clone(),
            parts,
            counters: Counters::default(),
            faults: Throttle::default(),
            homes: Homes::default(),
            tickets: Mutex::default(),
            launcher: sandbox::launcher(),
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.config.mode
    }

    pub(crate) fn rules(&self) -> &Arc<RulesInForce> {
        &self.parts.rules
    }

    pub(crate) fn ledger(&self) -> &LedgerWriter {
        &self.parts.ledger
    }

    pub(crate) fn agent(&self) -> &AgentLink {
        &self.parts.agent
    }

    /// Calls that wait for a person.
    pub fn approvals(&self) -> &Approvals {
        &self.parts.approvals
    }

    /// The install gate.
    pub fn admissions(&self) -> &Admissions {
        &self.parts.admissions
    }

    /// Packages that calls would install.
    pub fn packages(&self) -> &Packages {
        &self.parts.packages
    }

    pub(crate) fn pins(&self) -> &Arc<PinBook> {
        &self.parts.pins
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.parts.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tickets(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which connectors run their calls in which rooms.
    pub(crate) fn sandboxed(&self) -> Vec<SandboxStatus> {
        sandbox::in_force(&self.config)
    }

    /// Answers one hook request. Everything that was decided is in the ledger before this returns it.
    pub async fn hook(
        &self,
        connector: &'static Contract,
        said: Said<'_>,
        payload: Bytes,
        peer: Peer,
        arrived: Instant,
    ) -> Reply {
        let Said { named, prefixed } = said;
        let request = Request {
            connector,
            peer,
            arrived,
            prefixed,
        };
        let size = payload.len();
        let hint = named.map(str::to_owned);
        let parsed = match off_loop(size, move || connector.parse(&payload, hint.as_deref())).await {
            Some(Ok(parsed)) => parsed,
            Some(Err(fault)) => return self.bad_payload(connector, fault).await,
            None => return self.failed_inside(connector, named),
        };
        self.event(request, parsed, size).await
    }

    async fn event(&self, request: Request, parsed: Parsed, size: usize) -> Reply {
        let Parsed {
            event,
            native,
            home,
            said,
        } = parsed;
        let session = event.session;
        // Before the harness goes on: it reads its project's skills next.
        self.parts
            .admissions
            .saw(request.peer.uid, event.cwd.as_deref(), home.as_deref())
            .await;
        match event.kind {
            HookEventKind::PreToolUse(call) | HookEventKind::PermissionRequest(call) => {
                self.tool_call(
                    request,
                    tool_call::Asked {
                        session,
                        native,
                        cwd: event.cwd,
                        home,
                        call,
                        came: None,
                        size,
                    },
                )
                .await
            }
            kind => {
                if let Some(text) = said {
                    let said = HookEventKind::Completion { text };
                    self.notice(request, session.clone(), None, said).await;
                }
                self.notice(request, session, event.cwd, kind).await;
                request.connector.passed(&native)
            }
        }
    }

    /// An event that reports and asks nothing. Whatever fails, the harness goes on.
    async fn notice(&self, request: Request, session: SessionId, cwd: Option<String>, kind: HookEventKind) {
        let binding = self.bind(request.peer, &session, None, false).await;
        if let Binding::Forged { caller } = &binding {
            self.counters.bad();
            return self.forged(session, &kind, caller).await;
        }
        let time_ns = clock::now_ns();
        let mut findings = self.findings_in(&kind).await;
        findings.extend(self.ran_refused(&session, &kind));
        findings.extend(self.ran_outside(&session, &kind));
        let rules = self.parts.rules.current();
        self.sessions()
            .found(&session, rules.policy.risk(), time_ns, &findings);
        let (body, call) = body_of(&kind, cwd, request.peer.uid, binding);
        let draft = |body| Draft {
            time_ns,
            session: Some(session.clone()),
            call: call.cloned(),
            body,
        };
        let mut bundle = Bundle::one(draft(body));
        for finding in findings {
            bundle.push_about(
                draft(RecordBody::Finding {
                    finding,
                    about_seq: None,
                }),
                0,
            );
        }
        match self.parts.ledger.append(bundle).await {
            Ok(()) => self.counters.answered(Verdict::Allow),
            // The writer has logged why; status tells it.
            Err(_) => self.counters.failed(),
        }
        // It happened, recorded or not.
        match kind {
            HookEventKind::PostToolUse { call, .. } => {
                self.sessions().close_call(&session, &call);
                self.parts.agent.tell(&ToAgent::CallEnd { session, call });
            }
            HookEventKind::SessionEnd { .. } => self.forget(session),
            _ => {}
        }
    }

    /// A session has ended.
    fn forget(&self, session: SessionId) {
        self.sessions().end(&session);
        self.tickets().end(&session);
        self.parts.approvals.session_ended(&session);
        self.parts.agent.tell(&ToAgent::SessionEnd { session });
    }

    /// Ends a session of `doctor`, which is one call and has no harness that would say that it is over.
    async fn end_of_test(&self, session: &SessionId) {
        let body = RecordBody::SessionEnd {
            reason: Some("the test call is over".into()),
        };
        let draft = Draft {
            time_ns: clock::now_ns(),
            session: Some(session.clone()),
            call: None,
            body,
        };
        if let Err(error) = self.parts.ledger.append(Bundle::one(draft)).await {
            tracing::error!("the end of a test could not be recorded: {error}");
        }
        self.forget(session.clone());
    }

    /// A call that was refused and has run all the same: its hook was killed or did not hold, or the harness went over it.
    /// One that failed says nothing: some harnesses report what a hook refused as a failure.
    fn ran_refused(&self, session: &SessionId, kind: &HookEventKind) -> Option<Finding> {
        let HookEventKind::PostToolUse {
            call,
            tool,
            failed: false,
            ..
        } = kind
        else {
            return None;
        };
        if !self.sessions().ran_refused(session, call) {
            return None;
        }
        let mut finding = Finding {
            rule: "trust.refused-call-ran".into(),
            category: "trust-exploit".into(),
            severity: Severity::High,
            message: format!("the harness reports that {tool} has run, although that call was refused"),
            remedy: "Stop the session; then run `defenseclaw-cli doctor`, which tries whether refusals hold"
                .into(),
            evidence: vec![call.to_string()],
            confidence: 90,
        };
        redact::finding(&mut finding);
        Some(finding)
    }

    /// What the rule packs find in a text that the agent took in or gave out; masked.
    async fn findings_in(&self, kind: &HookEventKind) -> Vec<Finding> {
        let (surface, text) = match kind {
            HookEventKind::UserPromptSubmit { prompt } => (Surface::Prompt, prompt),
            HookEventKind::Completion { text } => (Surface::Completion, text),
            HookEventKind::PostToolUse { result, .. } => (Surface::ToolResult, result),
            _ => return Vec::new(),
        };
        let (rules, text) = (self.parts.rules.current(), text.clone());
        let found = off_loop(text.len(), move || {
            let mut findings = rules.detector.text(surface, &text);
            findings.truncate(MAX_TEXT_FINDINGS);
            findings.iter_mut().for_each(redact::finding);
            findings
        });
        found.await.unwrap_or_else(|| {
            tracing::error!("looking through a text failed inside; it is recorded without findings");
            Vec::new()
        })
    }

    /// Asks whether the caller is the session's own harness, and tells the agent of the event.
    async fn bind(
        &self,
        peer: Peer,
        session: &SessionId,
        call: Option<CallDeclaration>,
        denied: bool,
    ) -> Binding {
        let owner = self.sessions().claim(session, peer.uid);
        if owner != peer.uid {
            return Binding::Forged {
                caller: format!("user {}; the session is user {owner}'s", peer.uid),
            };
        }
        match peer.pid {
            Some(pid) => self.parts.agent.register(session, pid, call, denied).await,
            None if self.parts.agent.connected() => Binding::Failed {
                reason: "the hook was called over TCP or from another pid namespace, so that its process cannot be told"
                    .into(),
            },
            None => Binding::NoAgent,
        }
    }

    /// A report that did not come from the harness: noted as what it is, and not acted on.
    async fn forged(&self, session: SessionId, kind: &HookEventKind, caller: &str) {
        let event = match kind {
            HookEventKind::SessionStart { .. } => "session start",
            HookEventKind::UserPromptSubmit { .. } => "prompt",
            HookEventKind::PreToolUse(_) => "tool call",
            HookEventKind::PermissionRequest(_) => "permission request",
            HookEventKind::Completion { .. } => "completion",
            HookEventKind::Notice { .. } => "notice",
            HookEventKind::PostToolUse { .. } => "end of a call",
            HookEventKind::Stop => "end of a turn",
            HookEventKind::SessionEnd { .. } => "session end",
        };
        let finding = Finding {
            rule: "trust.forged-hook".into(),
            category: "trust".into(),
            severity: Severity::High,
            message: format!(
                "a {event} was reported by {caller}, not by the session's harness; it was not acted on"
            ),
            remedy: String::new(),
            evidence: vec![caller.to_owned()],
            confidence: 90,
        };
        self.record_fault(Some(session), finding).await;
    }

    /// A payload that cannot be understood: recorded, and refused only if it may be a tool call.
    pub(crate) async fn bad_payload(&self, connector: &Contract, fault: Fault) -> Reply {
        self.counters.bad();
        let message = fault.to_string();
        tracing::warn!(connector = connector.name(), "{message}");
        let finding = Finding {
            rule: fault.kind.rule().into(),
            category: "hook".into(),
            severity: fault.kind.severity(),
            message: message.clone(),
            remedy: String::new(),
            evidence: Vec::new(),
            confidence: 100,
        };
        self.record_fault(fault.session, finding).await;
        self.by_fail_mode(connector, fault.event.as_deref(), fault.may_be_call, &message)
    }

    /// A panic of ours while a request was answered.
    pub(crate) fn failed_inside(&self, connector: &Contract, named: Option<&str>) -> Reply {
        self.counters.failed();
        let may_be_call = named.is_none_or(|event| connector.is_call(event));
        let reason = "the gateway failed inside while it decided. Please report this with the gateway's log";
        self.by_fail_mode(connector, named, may_be_call, reason)
    }

    /// The reply to an event that could not be decided.
    fn by_fail_mode(
        &self,
        connector: &Contract,
        event: Option<&str>,
        may_be_call: bool,
        reason: &str,
    ) -> Reply {
        if may_be_call && self.fail_refuses(connector.name()) {
            connector.refused(event, reason)
        } else {
            event.map_or_else(Reply::silence, |event| connector.passed(event))
        }
    }

    /// Whether a tool call that cannot be decided or recorded is refused. In `observe` mode nothing is.
    fn fail_refuses(&self, connector: &str) -> bool {
        self.config.mode_of(connector).enforces() && self.config.fail_mode_of(connector) == FailMode::Closed
    }

    async fn record_fault(&self, session: Option<SessionId>, mut finding: Finding) {
        let Some(held_back) = self.faults.pass(Instant::now()) else {
            return;
        };
        redact::finding(&mut finding);
        if held_back > 0 {
            finding.evidence.push(format!(
                "{held_back} faults before this one were counted and not recorded"
            ));
        }
        let body = RecordBody::Finding {
            finding,
            about_seq: None,
        };
        let draft = Draft {
            time_ns: clock::now_ns(),
            session,
            call: None,
            body,
        };
        let outcome: Result<(), AppendError> = self.parts.ledger.append(Bundle::one(draft)).await;
        if let Err(error) = outcome {
            tracing::error!("a fault could not be recorded: {error}");
        }
    }
}

/// The record of a notice.
fn body_of(
    kind: &HookEventKind,
    cwd: Option<String>,
    uid: u32,
    binding: Binding,
) -> (RecordBody, Option<&CallId>) {
    match kind {
        HookEventKind::SessionStart { source, .. } => (
            RecordBody::SessionStart {
                source: source.clone(),
                cwd,
                uid,
                binding,
            },
            None,
        ),
        HookEventKind::UserPromptSubmit { prompt } => (
            RecordBody::Prompt {
                text: redact::prompt(prompt),
            },
            None,
        ),
        HookEventKind::PostToolUse {
            call, tool, failed, ..
        } => (
            RecordBody::CallEnd {
                tool: redact::tool(tool),
                failed: *failed,
            },
            Some(call),
        ),
        HookEventKind::Completion { text } => (
            RecordBody::Completion {
                text: redact::prompt(text),
            },
            None,
        ),
        HookEventKind::Notice { name } => (
            RecordBody::Notice {
                name: redact::tool(name),
            },
            None,
        ),
        HookEventKind::SessionEnd { reason } => (
            RecordBody::SessionEnd {
                reason: reason.clone(),
            },
            None,
        ),
        // A tool call never comes here; were it to, it would be the least that can be said of it.
        HookEventKind::Stop | HookEventKind::PreToolUse(_) | HookEventKind::PermissionRequest(_) => {
            (RecordBody::Stop {}, None)
        }
    }
}

/// Runs `work` here if its input is small, else on another thread. `None`: it panicked there.
async fn off_loop<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if bytes <= INLINE_BYTES {
        Some(work())
    } else {
        tokio::task::spawn_blocking(work).await.ok()
    }
}

#[cfg(test)]
mod tests;
