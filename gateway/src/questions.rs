//! Questions of supervised sandboxes: an action outside a profile waits in the same queue as calls do, and its launcher asks now and
//! then what became of it.
//!
//! An approval is worth something only to the launcher that asked: it gives no right to anybody else, so that whoever invents
//! questions wins nothing by the answers. Questions are bounded as calls are, and one whose launcher is gone is taken back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use defenseclaw_model::api::{SandboxAnswer, SandboxAsk};
use defenseclaw_model::call::{CallKind, ToolCall};
use defenseclaw_model::decision::{Decision, Severity, Verdict};
use defenseclaw_model::ids::{CallId, SessionId};
use serde_json::json;

use crate::approvals::{Fingerprint, Outcome, Pending, client};
use crate::engine::Engine;
use crate::redact;

/// Most questions that are kept, answered ones with them. The queue itself holds 128 at once.
const MAX_KEPT: usize = 256;
/// A launcher asks several times a second; after this long without it is gone.
const GONE: Duration = Duration::from_secs(5);
/// How long an answer is kept for a launcher that was busy.
const KEPT: Duration = Duration::from_secs(60);

/// Questions that wait, and answers that nobody has fetched.
#[derive(Default)]
pub struct Questions {
    entries: Mutex<HashMap<String, Entry>>,
    numbers: AtomicU64,
}

struct Entry {
    owner: u32,
    fetched: Instant,
    answer: SandboxAnswer,
}

impl Questions {
    /// Puts `ask` before a person, on behalf of user `owner` and its process `pid`; gives the question's id. `None`: too many wait.
    pub fn put(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        owner: u32,
        pid: u32,
        ask: &SandboxAsk,
    ) -> Option<String> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let id = format!("{pid}-{number}");
        {
            let mut entries = self.entries();
            entries
                .retain(|_, entry| entry.answer == SandboxAnswer::Waiting || entry.fetched.elapsed() < KEPT);
            if entries.len() >= MAX_KEPT {
                return None;
            }
            let entry = Entry {
                owner,
                fetched: Instant::now(),
                answer: SandboxAnswer::Waiting,
            };
            entries.insert(id.clone(), entry);
        }
        let pending = pending(engine, owner, pid, &id, ask)?;
        let (engine, questions, name) = (Arc::clone(engine), Arc::clone(self), id.clone());
        tokio::spawn(async move {
            let (presence, here) = client::arrive();
            let asked = client::on_behalf_of(here, engine.approvals().ask(pending));
            let gone = questions.until_gone(&name);
            tokio::pin!(asked);
            let answer = tokio::select! {
                answer = &mut asked => answer,
                () = gone => {
                    drop(presence);
                    asked.await
                }
            };
            let answer = match answer.outcome {
                Outcome::Approved => SandboxAnswer::Approved {
                    scope: answer.scope.unwrap_or_default(),
                },
                Outcome::Denied => SandboxAnswer::Denied,
                // A configuration that lets calls run when nobody answers means calls that a policy looked at.
                Outcome::TimedOut { .. } | Outcome::Withdrawn | Outcome::NotAsked { .. } => {
                    SandboxAnswer::Unanswered
                }
            };
            if let Some(entry) = questions.entries().get_mut(&name) {
                entry.answer = answer;
            }
        });
        Some(id)
    }

    /// What became of the question, if `owner` asked it. An answer is given once.
    pub fn fetch(&self, id: &str, owner: u32) -> Option<SandboxAnswer> {
        let mut entries = self.entries();
        let entry = entries.get_mut(id).filter(|entry| entry.owner == owner)?;
        entry.fetched = Instant::now();
        let answer = entry.answer;
        if answer != SandboxAnswer::Waiting {
            entries.remove(id);
        }
        Some(answer)
    }

    async fn until_gone(&self, id: &str) {
        loop {
            tokio::time::sleep(GONE).await;
            let here = self
                .entries()
                .get(id)
                .is_some_and(|entry| entry.fetched.elapsed() < GONE);
            if !here {
                return;
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pending(engine: &Engine, owner: u32, pid: u32, id: &str, ask: &SandboxAsk) -> Option<Pending> {
    let call = ToolCall {
        call: CallId::new(id).ok()?,
        tool: "sandbox".into(),
        kind: CallKind::Other,
        input: json!({"action": ask.action, "program": ask.program, "profile": ask.profile}),
    };
    let decision = Decision {
        verdict: Verdict::Ask,
        severity: Severity::None,
        reason: ask.reason.clone(),
        findings: Vec::new(),
        rule: "sandbox.outside-profile".into(),
        line: String::new(),
        updated_input: None,
        sandbox: None,
        policy: String::new(),
        enforced: true,
    };
    let mut shown = decision.clone();
    redact::decision(&mut shown);
    let mut words = json!({"words": format!("{} wants to {}", ask.program, ask.action)});
    words = redact::input(&words);
    let wait = Duration::from_secs(ask.wait_s);
    Some(Pending {
        session: SessionId::new("sandbox", &pid.to_string()).ok()?,
        owner,
        fingerprint: Fingerprint::of(&call, &decision),
        call: call.call,
        tool: format!("sandbox {}", ask.profile),
        summary: words["words"].as_str().unwrap_or_default().to_owned(),
        reason: shown.reason,
        rule: shown.rule,
        cwd: Some(ask.project.clone()),
        deadline: engine.approvals().deadline(Instant::now(), wait),
    })
}
