//! Sessions that have not ended, and their calls: what an agent that connects anew must be told.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use defenseclaw_audit::{LedgerError, Query, Reader};
use defenseclaw_model::call::CallDeclaration;
use defenseclaw_model::decision::{Decision, Finding, Posture, Verdict};
use defenseclaw_model::facts::Facts;
use defenseclaw_model::ids::{CallId, SessionId};
use defenseclaw_model::record::{Binding, Record, RecordBody};
use defenseclaw_model::wire::{MAX_FRAME, OpenSession};
use defenseclaw_policy::RiskRules;

use crate::posture::Past;
use crate::redact;

/// Most sessions that are kept. Anyone may call the hook with any session id; the one unused for longest makes room.
const MAX_SESSIONS: usize = 512;
/// About how much memory all of them may take (bytes).
const MAX_WEIGHT: usize = 16 << 20;
/// Most open calls of a session. A harness runs tens at once; the oldest counts as ended.
const MAX_OPEN_CALLS: usize = 256;
/// Ended calls that are kept of a session, as the wire states it.
const MAX_CLOSED_CALLS: usize = 1_000;
/// A session without a record for so long is taken for ended: harnesses that are killed say nothing.
const IDLE_NS: u64 = 7 * 24 * 3600 * 1_000_000_000;
/// Records of a session that are read at start: well over what [`MAX_CLOSED_CALLS`] calls leave.
const REBUILD_RECORDS: usize = 4_000;
/// Refused calls that are remembered of a session: a harness says within moments that a call has ended.
const MAX_REFUSED: usize = 64;
/// What is kept of sessions that have ended: they may be resumed, and whoever calls hooks may say that one has ended.
const MAX_ENDED: usize = 256;
/// Most users that are remembered; with more, everybody counts as one of them.
const MAX_USERS: usize = 4_096;
/// All sessions in one frame: half of the largest.
const WELCOME_BYTES: usize = MAX_FRAME / 2;

#[derive(Debug, Default)]
struct Session {
    /// The user whose hook client spoke first. Another user's has no business in it.
    owner: Option<u32>,
    open: Vec<Arc<CallDeclaration>>,
    closed: VecDeque<CallId>,
    /// Calls that were not to run, the newest last.
    refused: VecDeque<CallId>,
    /// About how much memory its calls take (bytes).
    weight: usize,
    /// When it was last used, in uses of any session.
    used: u64,
    past: Past,
}

impl Session {
    fn open(&mut self, call: Arc<CallDeclaration>) {
        self.forget_call(&call.call);
        // Asked about again, and allowed this time.
        self.refused.retain(|refused| *refused != call.call);
        if self.open.len() >= MAX_OPEN_CALLS {
            self.close_oldest();
        }
        self.weight += weight(&call);
        self.open.push(call);
    }

    fn close(&mut self, call: &CallId) {
        if !self.forget_call(call) {
            return;
        }
        if self.closed.len() >= MAX_CLOSED_CALLS {
            let oldest = self.closed.pop_front();
            self.weight -= oldest.map_or(0, |id| id_weight(&id));
        }
        self.weight += id_weight(call);
        self.closed.push_back(call.clone());
    }

    /// Gives whether the call was open.
    fn forget_call(&mut self, call: &CallId) -> bool {
        let Some(at) = self.open.iter().position(|open| open.call == *call) else {
            return false;
        };
        self.weight -= weight(&self.open.remove(at));
        true
    }

    /// Gives whether there was one.
    fn close_oldest(&mut self) -> bool {
        let oldest = self.open.first().map(|open| open.call.clone());
        oldest.inspect(|call| self.close(call)).is_some()
    }
}

fn weight(call: &CallDeclaration) -> usize {
    redact::weight(&call.tool, &call.kind, &call.facts)
}

fn id_weight(call: &CallId) -> usize {
    call.as_str().len() + 48
}

/// The sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    sessions: HashMap<SessionId, Session>,
    /// The ended ones: whose they were and what they did, the newest last.
    ended: VecDeque<(SessionId, Option<u32>, Past)>,
    /// Everybody who ever spoke for a session.
    users: HashSet<u32>,
    uses: u64,
    weight: usize,
}

impl Sessions {
    /// Reads from the ledger which sessions were open when the gateway last stopped.
    pub fn rebuild(ledger: &Path, rules: &RiskRules, now_ns: u64) -> Result<Self, LedgerError> {
        let reader = Reader::open(ledger)?;
        let mut sessions = Self {
            users: users(&reader, now_ns.saturating_sub(IDLE_NS))?,
            ..Self::default()
        };
        let mut open: Vec<_> = reader.sessions()?;
        open.retain(|session| !session.ended && now_ns.saturating_sub(session.last_ns) < IDLE_NS);
        open.truncate(MAX_SESSIONS);
        // Oldest first, so that the order of use is right.
        for summary in open.into_iter().rev() {
            let query = Query {
                session: Some(summary.session.clone()),
                kinds: ["session_start", "tool_call", "call_end", "finding"]
                    .map(str::to_owned)
                    .to_vec(),
                newest: Some(REBUILD_RECORDS),
                ..Query::default()
            };
            let records = reader.query(&query)?;
            sessions.change(&summary.session, |session| {
                records
                    .into_iter()
                    .for_each(|record| replay(session, rules, record));
            });
        }
        Ok(sessions)
    }

    /// The session's owner: `uid`, if nobody spoke for the session before.
    pub fn claim(&mut self, session: &SessionId, uid: u32) -> u32 {
        if self.users.len() < MAX_USERS {
            self.users.insert(uid);
        }
        *self.session(session).owner.get_or_insert(uid)
    }

    /// Whether that user ever spoke for a session. One that has ended counts: what its agent started may still run, and
    /// without an agent anybody can say that a session has ended.
    pub fn knows(&self, uid: u32) -> bool {
        self.users.len() >= MAX_USERS || self.users.contains(&uid)
    }

    /// What the session did so far, and which past that is.
    pub fn posture(&mut self, session: &SessionId, rules: &RiskRules, now_ns: u64) -> (Posture, u64) {
        let past = &self.session(session).past;
        (past.posture(rules, now_ns), past.changes())
    }

    /// Notes how a call was decided, for the session's next ones: unless the session has another past by now than the one that was
    /// decided by (`seen`), which is given then, and nothing noted.
    pub fn decided(
        &mut self,
        session: &SessionId,
        seen: Option<u64>,
        (rules, now_ns): (&RiskRules, u64),
        facts: &Facts,
        decision: &Decision,
    ) -> Option<(Posture, u64)> {
        let past = &mut self.session(session).past;
        if seen.is_some_and(|seen| seen != past.changes()) {
            return Some((past.posture(rules, now_ns), past.changes()));
        }
        past.call(rules, now_ns, facts, decision);
        None
    }

    /// Notes what was found in a text or in what the kernel saw.
    pub fn found(&mut self, session: &SessionId, rules: &RiskRules, now_ns: u64, findings: &[Finding]) {
        if !findings.is_empty() {
            self.session(session).past.found(rules, now_ns, findings);
        }
    }

    /// Notes a call that is about to run.
    pub fn open_call(&mut self, session: &SessionId, call: Arc<CallDeclaration>) {
        self.change(session, |session| session.open(call));
        while self.weight > MAX_WEIGHT && self.sessions.len() > 1 {
            self.forget_oldest();
        }
        while self.weight > MAX_WEIGHT {
            let mut closed = false;
            self.change(session, |session| closed = session.close_oldest());
            if !closed {
                break;
            }
        }
    }

    /// The session of user `uid` in which that call is open.
    pub fn with_open_call(&self, uid: u32, call: &CallId) -> Option<SessionId> {
        let has = |session: &Session| {
            session.owner == Some(uid) && session.open.iter().any(|open| open.call == *call)
        };
        let found = self.sessions.iter().find(|(_, session)| has(session));
        found.map(|(id, _)| id.clone())
    }

    /// Forgets a call that will not run after all.
    pub fn forget_call(&mut self, session: &SessionId, call: &CallId) {
        self.change(session, |session| {
            session.forget_call(call);
        });
    }

    /// Notes that a call is not to run.
    pub fn refuse_call(&mut self, session: &SessionId, call: &CallId) {
        let refused = &mut self.session(session).refused;
        if refused.len() >= MAX_REFUSED {
            refused.pop_front();
        }
        refused.push_back(call.clone());
    }

    /// Whether a call has ended that was not to run; says so once.
    pub fn ran_refused(&mut self, session: &SessionId, call: &CallId) -> bool {
        let refused = &mut self.session(session).refused;
        let before = refused.len();
        refused.retain(|refused| refused != call);
        refused.len() < before
    }

    /// Notes that a call has ended.
    pub fn close_call(&mut self, session: &SessionId, call: &CallId) {
        self.change(session, |session| session.close(call));
    }

    /// Forgets the calls of a session that has ended. Whose it was and what it did is kept for a while: an end that was
    /// made up must not wipe the slate, nor give the session to somebody else.
    pub fn end(&mut self, id: &SessionId) {
        if let Some(session) = self.sessions.remove(id) {
            self.weight -= session.weight;
            if self.ended.len() >= MAX_ENDED {
                self.ended.pop_front();
            }
            self.ended.push_back((id.clone(), session.owner, session.past));
        }
    }

    /// How many sessions have not ended.
    pub fn count(&self) -> usize {
        self.sessions.len()
    }

    /// Everything that an agent needs to go on attributing; the most recently used first, as far as a frame reaches.
    pub fn for_agent(&self) -> Vec<OpenSession> {
        let mut by_use: Vec<_> = self.sessions.iter().collect();
        by_use.sort_unstable_by_key(|(_, session)| std::cmp::Reverse(session.used));
        let mut bytes = 0;
        let mut told = Vec::with_capacity(by_use.len());
        for (id, session) in by_use {
            let open = OpenSession {
                session: id.clone(),
                open_calls: session
                    .open
                    .iter()
                    .map(|call| CallDeclaration::clone(call))
                    .collect(),
                closed_calls: session.closed.iter().cloned().collect(),
            };
            bytes += serde_json::to_vec(&open).map_or(0, |json| json.len());
            if bytes > WELCOME_BYTES {
                tracing::warn!(
                    told = told.len(),
                    of = self.sessions.len(),
                    "not all open sessions fit into a frame"
                );
                break;
            }
            told.push(open);
        }
        told
    }

    fn change(&mut self, id: &SessionId, change: impl FnOnce(&mut Session)) {
        let session = self.session(id);
        let before = session.weight;
        change(session);
        let after = session.weight;
        self.weight = self.weight - before + after;
    }

    fn session(&mut self, id: &SessionId) -> &mut Session {
        self.uses += 1;
        if !self.sessions.contains_key(id) && self.sessions.len() >= MAX_SESSIONS {
            self.forget_oldest();
        }
        if !self.sessions.contains_key(id) {
            let resumed = self.resumed(id);
            self.sessions.insert(id.clone(), resumed);
        }
        let session = self.sessions.entry(id.clone()).or_default();
        session.used = self.uses;
        session
    }

    /// A session as it ended, or a new one.
    fn resumed(&mut self, id: &SessionId) -> Session {
        let at = self.ended.iter().rposition(|(ended, ..)| ended == id);
        match at.and_then(|at| self.ended.remove(at)) {
            Some((_, owner, past)) => Session {
                owner,
                past,
                ..Session::default()
            },
            None => Session::default(),
        }
    }

    /// Of the user who holds most, so that nobody can make another's sessions be forgotten.
    fn forget_oldest(&mut self) {
        let mut shares: HashMap<Option<u32>, usize> = HashMap::new();
        for session in self.sessions.values() {
            *shares.entry(session.owner).or_default() += session.weight + MAX_WEIGHT / MAX_SESSIONS;
        }
        let most = shares
            .into_iter()
            .max_by_key(|&(owner, share)| (share, owner))
            .and_then(|(owner, _)| owner);
        let oldest = self
            .sessions
            .iter()
            .filter(|(_, session)| session.owner == most)
            .min_by_key(|(_, session)| session.used)
            .map(|(id, _)| id.clone());
        if let Some(oldest) = oldest {
            tracing::warn!(session = %oldest, "too many open sessions: the one unused for longest is forgotten");
            self.end(&oldest);
        }
    }
}

/// Who spoke for a session since then.
fn users(reader: &Reader, since_ns: u64) -> Result<HashSet<u32>, LedgerError> {
    let query = Query {
        kinds: vec!["session_start".to_owned()],
        since_ns: Some(since_ns),
        newest: Some(MAX_USERS),
        ..Query::default()
    };
    let user = |record: Record| match record.draft.body {
        RecordBody::SessionStart { uid, .. } => Some(uid),
        _ => None,
    };
    Ok(reader.query(&query)?.into_iter().filter_map(user).collect())
}

fn replay(session: &mut Session, rules: &RiskRules, record: Record) {
    let time_ns = record.draft.time_ns;
    match (record.draft.body, record.draft.call) {
        (RecordBody::SessionStart { uid, .. }, _) => session.owner = Some(uid),
        // A forged declaration was never acted on.
        (
            RecordBody::ToolCall {
                binding: Binding::Forged { .. },
                ..
            },
            _,
        ) => {}
        (
            RecordBody::ToolCall {
                tool,
                call_kind,
                facts,
                decision,
                ..
            },
            Some(call),
        ) => {
            session.past.call(rules, time_ns, &facts, &decision);
            if decision.effective() != Verdict::Deny {
                session.open(Arc::new(CallDeclaration {
                    call,
                    tool,
                    kind: call_kind,
                    cwd: None,
                    facts,
                }));
            }
        }
        (RecordBody::CallEnd { .. }, Some(call)) => session.close(&call),
        (RecordBody::Finding { finding, .. }, _) => session.past.found(rules, time_ns, &[finding]),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use defenseclaw_audit::Ledger;
    use defenseclaw_model::call::CallKind;
    use defenseclaw_model::config::Durability;
    use defenseclaw_model::decision::{Decision, Severity};
    use defenseclaw_model::facts::Facts;
    use defenseclaw_model::record::Draft;

    use super::*;

    fn session(id: &str) -> SessionId {
        SessionId::new("claude-code", id).unwrap()
    }

    fn call(id: &str) -> CallId {
        CallId::new(id).unwrap()
    }

    fn declared(id: &str) -> Arc<CallDeclaration> {
        Arc::new(CallDeclaration {
            call: call(id),
            tool: "Bash".into(),
            kind: CallKind::Other,
            cwd: None,
            facts: Facts::default(),
        })
    }

    fn draft(session_id: &str, call_id: Option<&str>, body: RecordBody) -> Draft {
        Draft {
            time_ns: 1_000,
            session: Some(session(session_id)),
            call: call_id.map(call),
            body,
        }
    }

    fn tool_call(session_id: &str, call_id: &str, verdict: Verdict, enforced: bool) -> Draft {
        let decision = Decision {
            verdict,
            severity: Severity::None,
            reason: "r".into(),
            findings: Vec::new(),
            rule: String::new(),
            line: String::new(),
            updated_input: None,
            sandbox: None,
            policy: "000000000000".into(),
            enforced,
        };
        let body = RecordBody::ToolCall {
            tool: "Bash".into(),
            call_kind: CallKind::Other,
            input: serde_json::Value::Null,
            facts: Facts::default(),
            decision,
            decision_us: 1,
            binding: Binding::NoAgent,
            posture: None,
        };
        draft(session_id, Some(call_id), body)
    }

    #[test]
    fn a_decision_by_a_past_that_has_changed_is_not_noted_but_told_the_new_one() {
        let (rules, now) = (RiskRules::default(), 1_000);
        let mut sessions = Sessions::default();
        let (posture, seen) = sessions.posture(&session("s"), &rules, now);
        assert_eq!(posture, Posture::default());
        let refused = Decision {
            verdict: Verdict::Deny,
            severity: Severity::High,
            reason: "r".into(),
            findings: Vec::new(),
            rule: String::new(),
            line: String::new(),
            updated_input: None,
            sandbox: None,
            policy: String::new(),
            enforced: true,
        };
        let mut note =
            |seen| sessions.decided(&session("s"), seen, (&rules, now), &Facts::default(), &refused);
        assert_eq!(note(Some(seen)), None, "nothing has changed since");
        let (posture, newer) = note(Some(seen)).expect("the first decision changed the past");
        assert_eq!(posture.denied, 1);
        assert_eq!(note(Some(newer)), None);
        assert_eq!(note(None), None, "at last it is noted whatever happened");
        assert_eq!(sessions.posture(&session("s"), &rules, now).0.denied, 3);
        assert_eq!(sessions.posture(&session("other"), &rules, now).0.denied, 0);
    }

    #[test]
    fn open_sessions_and_calls_come_back_from_the_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let start = RecordBody::SessionStart {
            source: None,
            cwd: None,
            uid: 7,
            binding: Binding::NoAgent,
        };
        let ended = RecordBody::CallEnd {
            tool: "Bash".into(),
            failed: false,
        };
        Ledger::open(&path, Durability::Process)
            .unwrap()
            .append(&[
                draft("a", None, start.clone()),
                tool_call("a", "done", Verdict::Allow, true),
                tool_call("a", "running", Verdict::Ask, true),
                tool_call("a", "refused", Verdict::Deny, true),
                tool_call("a", "observed", Verdict::Deny, false),
                draft("a", Some("done"), ended),
                draft("b", None, start),
                draft("b", None, RecordBody::SessionEnd { reason: None }),
            ])
            .unwrap();
        let mut sessions = Sessions::rebuild(&path, &RiskRules::default(), 2_000).unwrap();
        let told = sessions.for_agent();
        assert_eq!(told.len(), 1);
        let open: Vec<_> = told[0].open_calls.iter().map(|open| open.call.as_str()).collect();
        assert_eq!(open, ["running", "observed"]);
        assert_eq!(told[0].closed_calls, [call("done")]);
        assert_eq!(sessions.claim(&session("a"), 8), 7);
        assert_eq!(
            Sessions::rebuild(&path, &RiskRules::default(), 1_000 + IDLE_NS)
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn everything_kept_is_bounded() {
        let mut sessions = Sessions::default();
        for number in 0..MAX_CLOSED_CALLS + MAX_OPEN_CALLS + 1 {
            sessions.open_call(&session("keep"), declared(&number.to_string()));
        }
        let told = sessions.for_agent().remove(0);
        assert_eq!(told.open_calls.len(), MAX_OPEN_CALLS);
        assert_eq!(told.closed_calls.len(), MAX_CLOSED_CALLS);
        assert_eq!(told.closed_calls[0], call("1"), "the newest ended calls are kept");
        for number in 0..MAX_SESSIONS {
            sessions.claim(&session("keep"), 1);
            sessions.claim(&session(&number.to_string()), 1);
        }
        assert_eq!(sessions.count(), MAX_SESSIONS);
        assert_eq!(sessions.for_agent().len(), MAX_SESSIONS);
        assert!(
            sessions.sessions.contains_key(&session("keep")),
            "what is in use stays"
        );
    }

    #[test]
    fn a_session_that_is_said_to_have_ended_keeps_its_owner_and_its_past() {
        let policy = defenseclaw_policy::Policy::embedded().unwrap();
        let rules = policy.risk();
        let mut sessions = Sessions::default();
        sessions.claim(&session("s"), 7);
        let finding = Finding {
            rule: "r".into(),
            category: "command".into(),
            severity: Severity::Critical,
            message: String::new(),
            remedy: String::new(),
            evidence: Vec::new(),
            confidence: 100,
        };
        sessions.found(&session("s"), rules, 1_000, &[finding]);
        let (before, _) = sessions.posture(&session("s"), rules, 2_000);
        assert_ne!(before, Posture::default());
        sessions.end(&session("s"));
        assert_eq!(sessions.count(), 0);
        assert!(sessions.knows(7) && !sessions.knows(8));
        assert_eq!(sessions.claim(&session("s"), 8), 7);
        assert_eq!(sessions.posture(&session("s"), rules, 2_000).0, before);
        for number in 0..2 * MAX_ENDED {
            sessions.claim(&session(&number.to_string()), 1);
            sessions.end(&session(&number.to_string()));
        }
        assert_eq!(sessions.ended.len(), MAX_ENDED);
    }

    #[test]
    fn a_flood_of_sessions_of_one_user_makes_no_other_s_be_forgotten() {
        let mut sessions = Sessions::default();
        sessions.claim(&session("mine"), 1);
        for number in 0..3 * MAX_SESSIONS {
            sessions.claim(&session(&number.to_string()), 2);
        }
        assert!(sessions.sessions.contains_key(&session("mine")));
        assert_eq!(sessions.count(), MAX_SESSIONS);
    }

    #[test]
    fn all_calls_together_are_bounded() {
        let mut sessions = Sessions::default();
        let large = |id: &str| {
            let kind = CallKind::Command {
                command: "x".repeat(MAX_WEIGHT / 4),
                background: false,
            };
            Arc::new(CallDeclaration {
                kind,
                ..CallDeclaration::clone(&declared(id))
            })
        };
        for number in 0..6 {
            sessions.open_call(&session(&format!("s{number}")), large("1"));
        }
        assert_eq!(sessions.count(), 3);
        for number in 0..6 {
            sessions.open_call(&session("one"), large(&number.to_string()));
        }
        assert_eq!(sessions.count(), 1);
        assert!(sessions.weight <= MAX_WEIGHT);
        assert_eq!(sessions.for_agent().len(), 0, "a frame takes half of that");
        sessions.end(&session("one"));
        assert_eq!(sessions.weight, 0);
    }

    #[test]
    fn a_call_is_open_until_it_ends() {
        let mut sessions = Sessions::default();
        sessions.open_call(&session("s"), declared("1"));
        sessions.open_call(&session("s"), declared("1"));
        assert_eq!(sessions.for_agent()[0].open_calls.len(), 1);
        sessions.close_call(&session("s"), &call("1"));
        sessions.close_call(&session("s"), &call("never-opened"));
        let told = sessions.for_agent().remove(0);
        assert_eq!((told.open_calls.len(), told.closed_calls), (0, vec![call("1")]));
        sessions.end(&session("s"));
        assert_eq!(sessions.count(), 0);
    }
}
