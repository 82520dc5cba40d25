//! Which call is to run in which room: what the launcher asks when a harness hands it a shell line.
//!
//! Kept only for harnesses whose calls run in rooms. A ticket is one call's; whoever asks with that call's command takes it.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use defenseclaw_audit::{Query, Reader};
use defenseclaw_model::ids::{CallId, SessionId};
use defenseclaw_model::record::RecordBody;
use sha2::{Digest, Sha256};

/// Most sessions of which something is kept; the oldest makes room.
const MAX_SESSIONS: usize = 256;
/// Most tickets of a session: its harness runs tens of calls at once, and asks within moments.
const MAX_TICKETS: usize = 64;
/// Longest folder that is kept (bytes).
const MAX_FOLDER: usize = 4096;

/// One call's room.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ticket {
    call: CallId,
    command: [u8; 32],
    /// `None`: it runs in no room.
    profile: Option<String>,
    taken: bool,
}

#[derive(Debug, Default)]
struct Session {
    owner: u32,
    project: Option<String>,
    tickets: VecDeque<Ticket>,
}

/// The room of a call whose command was asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The call.
    pub call: CallId,
    /// Its profile; `None` for no room.
    pub profile: Option<String>,
    /// The folder that its session was started in.
    pub project: Option<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Tickets {
    sessions: HashMap<SessionId, Session>,
    order: VecDeque<SessionId>,
}

impl Tickets {
    /// The folder that a session was started in: what its start told, else its first event's `cwd`.
    pub fn project(
        &mut self,
        session: &SessionId,
        owner: u32,
        cwd: Option<&str>,
        ledger: &Path,
    ) -> Option<String> {
        let known = self.session(session, owner);
        if known.project.is_none() {
            known.project = started_in(session, ledger)
                .or_else(|| cwd.map(str::to_owned))
                .filter(|folder| folder.starts_with('/') && folder.len() <= MAX_FOLDER);
        }
        known.project.clone()
    }

    /// Notes the room of a call that is about to run.
    pub fn give(
        &mut self,
        session: &SessionId,
        owner: u32,
        call: &CallId,
        command: &str,
        profile: Option<String>,
    ) {
        let tickets = &mut self.session(session, owner).tickets;
        tickets.retain(|ticket| ticket.call != *call);
        if tickets.len() >= MAX_TICKETS {
            tickets.pop_front();
        }
        tickets.push_back(Ticket {
            call: call.clone(),
            command: digest(command),
            profile,
            taken: false,
        });
    }

    /// The room of the call with that command: the oldest that nobody took, else the newest. Only of `owner`'s sessions;
    /// `session`: of that one alone.
    pub fn take(
        &mut self,
        connector: &str,
        session: Option<&str>,
        owner: u32,
        command: &str,
    ) -> Option<Found> {
        let wanted = digest(command);
        let mut newest: Option<Found> = None;
        for id in &self.order {
            let Some(known) = self.sessions.get_mut(id) else {
                continue;
            };
            let meant = id.connector() == connector
                && known.owner == owner
                && session.is_none_or(|session| session == id.harness_session());
            if !meant {
                continue;
            }
            for ticket in &mut known.tickets {
                if ticket.command != wanted {
                    continue;
                }
                let found = Found {
                    call: ticket.call.clone(),
                    profile: ticket.profile.clone(),
                    project: known.project.clone(),
                };
                if !std::mem::replace(&mut ticket.taken, true) {
                    return Some(found);
                }
                newest = Some(found);
            }
        }
        newest
    }

    /// The room of the only call of a session that nobody took yet: a harness may write a command otherwise than it said it.
    pub fn take_only(&mut self, connector: &str, session: &str, owner: u32) -> Option<Found> {
        let id = SessionId::new(connector, session).ok()?;
        let known = self.sessions.get_mut(&id).filter(|known| known.owner == owner)?;
        let mut waiting = known.tickets.iter_mut().filter(|ticket| !ticket.taken);
        let (Some(ticket), None) = (waiting.next(), waiting.next()) else {
            return None;
        };
        ticket.taken = true;
        Some(Found {
            call: ticket.call.clone(),
            profile: ticket.profile.clone(),
            project: known.project.clone(),
        })
    }

    /// The room of a call that has ended, if nobody asked for it.
    pub fn missed(&self, session: &SessionId, call: &CallId) -> Option<String> {
        let tickets = &self.sessions.get(session)?.tickets;
        let ticket = tickets.iter().find(|ticket| ticket.call == *call)?;
        ticket.profile.clone().filter(|_| !ticket.taken)
    }

    /// Forgets a session that has ended.
    pub fn end(&mut self, session: &SessionId) {
        if self.sessions.remove(session).is_some() {
            self.order.retain(|known| known != session);
        }
    }

    fn session(&mut self, id: &SessionId, owner: u32) -> &mut Session {
        if !self.sessions.contains_key(id) {
            if self.order.len() >= MAX_SESSIONS
                && let Some(oldest) = self.order.pop_front()
            {
                self.sessions.remove(&oldest);
            }
            self.order.push_back(id.clone());
        }
        self.sessions.entry(id.clone()).or_insert_with(|| Session {
            owner,
            ..Session::default()
        })
    }
}

fn digest(command: &str) -> [u8; 32] {
    Sha256::digest(command).into()
}

/// What the record of the session's start says. There is none for a session that has just begun, and one to read after this
/// gateway was started anew.
fn started_in(session: &SessionId, ledger: &Path) -> Option<String> {
    let query = Query {
        session: Some(session.clone()),
        kinds: vec!["session_start".to_owned()],
        limit: Some(1),
        ..Query::default()
    };
    let records = Reader::open(ledger).and_then(|reader| reader.query(&query));
    match records.ok()?.pop()?.draft.body {
        RecordBody::SessionStart { cwd, .. } => cwd,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str) -> SessionId {
        SessionId::new("claude-code", id).unwrap()
    }

    fn call(id: &str) -> CallId {
        CallId::new(id).unwrap()
    }

    const NOWHERE: &str = "/nowhere/ledger.db";

    #[test]
    fn a_room_is_found_by_its_call_s_command_and_only_by_its_user() {
        let mut tickets = Tickets::default();
        let project = tickets.project(&session("s"), 7, Some("/w"), Path::new(NOWHERE));
        assert_eq!(project.as_deref(), Some("/w"));
        let later = tickets.project(&session("s"), 7, Some("/w/sub"), Path::new(NOWHERE));
        assert_eq!(later, project, "where it was started, not where it is");
        tickets.give(&session("s"), 7, &call("1"), "make", Some("build".into()));
        tickets.give(&session("s"), 7, &call("2"), "make", Some("strict".into()));
        tickets.give(&session("s"), 7, &call("3"), "ls", None);
        let mut take = |user, id, command: &str| tickets.take("claude-code", id, user, command);
        assert_eq!(take(8, None, "make"), None);
        assert_eq!(take(7, Some("other"), "make"), None);
        assert_eq!(take(7, None, "make x"), None);
        let profiles: Vec<_> = (0..3)
            .map(|_| take(7, Some("s"), "make").unwrap().profile.unwrap())
            .collect();
        assert_eq!(profiles, ["build", "strict", "strict"]);
        assert_eq!(take(7, None, "ls").unwrap().profile, None);
    }

    #[test]
    fn a_line_that_no_command_matches_is_the_only_call_s_that_waits() {
        let mut tickets = Tickets::default();
        tickets.give(&session("s"), 7, &call("1"), "x 2>nul", Some("build".into()));
        assert_eq!(tickets.take_only("claude-code", "s", 8), None);
        let found = tickets.take_only("claude-code", "s", 7).unwrap();
        assert_eq!(found.profile.as_deref(), Some("build"));
        tickets.give(&session("s"), 7, &call("2"), "a", Some("build".into()));
        tickets.give(&session("s"), 7, &call("3"), "b", Some("build".into()));
        assert_eq!(
            tickets.take_only("claude-code", "s", 7),
            None,
            "it could be either"
        );
    }

    #[test]
    fn a_room_that_nobody_asked_for_is_missed() {
        let mut tickets = Tickets::default();
        tickets.give(&session("s"), 7, &call("1"), "make", Some("build".into()));
        tickets.give(&session("s"), 7, &call("2"), "ls", None);
        assert_eq!(
            tickets.missed(&session("s"), &call("1")).as_deref(),
            Some("build")
        );
        assert_eq!(tickets.missed(&session("s"), &call("2")), None);
        tickets.take("claude-code", None, 7, "make").unwrap();
        assert_eq!(tickets.missed(&session("s"), &call("1")), None);
        tickets.end(&session("s"));
        assert_eq!(tickets.take("claude-code", None, 7, "make"), None);
    }

    #[test]
    fn everything_kept_is_bounded() {
        let mut tickets = Tickets::default();
        for number in 0..2 * MAX_SESSIONS {
            let id = session(&number.to_string());
            for number in 0..MAX_TICKETS + 1 {
                tickets.give(&id, 1, &call(&number.to_string()), "x", None);
            }
        }
        assert_eq!(
            (tickets.sessions.len(), tickets.order.len()),
            (MAX_SESSIONS, MAX_SESSIONS)
        );
        assert!(
            tickets
                .sessions
                .values()
                .all(|kept| kept.tickets.len() == MAX_TICKETS)
        );
    }
}
