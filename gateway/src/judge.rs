//! What the agent saw, judged by policy: the root agent only attributes.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use defenseclaw_detect::paths::PathRules;
use defenseclaw_model::activity::{Action, Activity};
use defenseclaw_model::decision::{Finding, Severity};
use defenseclaw_model::facts::Facts;
use defenseclaw_model::ids::{CallId, SessionId};
use defenseclaw_model::record::{Draft, RecordBody};
use defenseclaw_policy::{CallEffects, JudgeInput, Policy};

use crate::calls::{Calls, note};
use crate::ledger_writer::Bundle;
use crate::redact;
use crate::rules::RulesInForce;
use crate::sessions::Sessions;

/// Declared calls that wait for the next batch. The ones that do not fit are found in the ledger when they are needed.
const INBOX: usize = 128;

/// Judges batches of the agent's records.
#[derive(Clone)]
pub struct Judge {
    rules: Arc<RulesInForce>,
    sessions: Arc<Mutex<Sessions>>,
    calls: Arc<Mutex<Calls>>,
    /// Apart from the calls, whose lock is held while a batch is judged: whoever answers a hook does not wait for that.
    inbox: Arc<Mutex<VecDeque<Declared>>>,
}

/// A call that was declared and recorded.
#[derive(Debug)]
pub struct Declared {
    /// The session.
    pub session: SessionId,
    /// The call.
    pub call: CallId,
    /// The tool's name.
    pub tool: String,
    /// What it declares, as its record says it.
    pub facts: Facts,
}

/// A record that an agent has no business to send.
#[derive(Debug, thiserror::Error)]
#[error("it sent a {0} record, which only the gateway writes")]
pub struct NotAnAgentsRecord(&'static str);

impl Judge {
    /// A judge that knows no call yet; `ledger` is where it looks them up. What it finds counts for the session's next call.
    pub fn new(rules: Arc<RulesInForce>, sessions: Arc<Mutex<Sessions>>, ledger: PathBuf) -> Self {
        Self {
            rules,
            sessions,
            calls: Arc::new(Mutex::new(Calls::new(ledger))),
            inbox: Arc::default(),
        }
    }

    /// Notes a call whose activities may come. Never waits for long.
    pub fn declare(&self, declared: Declared) {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        if inbox.len() >= INBOX {
            inbox.pop_front();
        }
        inbox.push_back(declared);
    }

    /// Masks, classifies and judges; gives the records with the findings about them. Takes milliseconds for a full batch.
    pub fn judge(&self, records: Vec<Draft>) -> Result<Bundle, NotAnAgentsRecord> {
        let rules = self.rules.current();
        let mut bundle = Bundle::default();
        let mut policy_failed = false;
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let declared = std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        for Declared {
            session,
            call,
            tool,
            facts,
        } in declared
        {
            calls.declare(&session, &call, &tool, facts);
        }
        for mut record in records {
            let findings = match &mut record.body {
                RecordBody::Activity { activity } => {
                    prepare(activity);
                    activity_findings(&rules.policy, &mut calls, activity, &mut policy_failed)
                }
                RecordBody::Finding { finding, .. } => {
                    redact::finding(finding);
                    Vec::new()
                }
                RecordBody::Gap { .. } | RecordBody::Daemon { .. } => Vec::new(),
                other => return Err(NotAnAgentsRecord(other.kind())),
            };
            let (time_ns, session, call) = (record.time_ns, record.session.clone(), record.call.clone());
            if let Some(session) = &session {
                let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
                sessions.found(session, rules.policy.risk(), time_ns, &findings);
            }
            let about = bundle.push(record);
            for mut finding in findings {
                redact::finding(&mut finding);
                let body = RecordBody::Finding {
                    finding,
                    about_seq: None,
                };
                bundle.push_about(
                    Draft {
                        time_ns,
                        session: session.clone(),
                        call: call.clone(),
                        body,
                    },
                    about,
                );
            }
        }
        Ok(bundle)
    }
}

fn activity_findings(
    policy: &Policy,
    calls: &mut Calls,
    activity: &Activity,
    policy_failed: &mut bool,
) -> Vec<Finding> {
    let Some(call) = &activity.attribution.call else {
        return ask(
            policy,
            activity,
            None,
            None,
            &mut CallEffects::default(),
            policy_failed,
        );
    };
    let known = calls.get(&activity.session, call);
    let tool = (!known.tool.is_empty()).then_some(known.tool.as_str());
    let findings = ask(
        policy,
        activity,
        known.facts.as_ref(),
        tool,
        &mut known.effects,
        policy_failed,
    );
    note(&mut known.effects, activity);
    findings
}

fn ask(
    policy: &Policy,
    activity: &Activity,
    declared: Option<&Facts>,
    tool: Option<&str>,
    effects: &mut CallEffects,
    policy_failed: &mut bool,
) -> Vec<Finding> {
    // Lent to the input and taken back: it holds lists, and there is one input for every activity.
    let input = JudgeInput {
        activity,
        declared,
        tool,
        call_effects: std::mem::take(effects),
    };
    let judged = policy.judge(&input);
    *effects = input.call_effects;
    match judged {
        Ok(findings) => findings,
        // Once in a batch is enough to be noticed.
        Err(_) if std::mem::replace(policy_failed, true) => Vec::new(),
        Err(error) => vec![Finding {
            rule: "effect.policy-failed".into(),
            category: "policy".into(),
            severity: Severity::Medium,
            message: format!("what the kernel saw could not be judged: {error}"),
            remedy: String::new(),
            evidence: Vec::new(),
            confidence: 100,
        }],
    }
}

/// Masks arguments and names the class of an opened path.
fn prepare(activity: &mut Activity) {
    redact::activity(activity);
    if let Action::Open { path, class, .. } = &mut activity.action {
        // By its path; the agent may know the file by its identity all the same, under whatever name it was opened.
        if let Some(by_path) = PathRules::embedded().classify(path) {
            *class = Some(by_path.to_owned());
        }
    }
}
