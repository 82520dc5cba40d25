//! The calls of one session.

use std::collections::HashMap;
use std::net::IpAddr;

use defenseclaw_detect::line;
use defenseclaw_model::call::{CallDeclaration, CallKind};
use defenseclaw_model::facts::Facts;
use defenseclaw_model::ids::{CallId, CallKey, SessionId};

/// Most calls of a session that are remembered; the oldest that have ended are forgotten first.
pub const MAX_CALLS: usize = 10_000;

/// One call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) kind: CallKind,
    pub(super) facts: Facts,
    pub(super) open: bool,
    /// Policy refused it: it should not run.
    pub(super) denied: bool,
    /// An exec was taken for this command already.
    claimed: bool,
}

/// The calls of one session, in order of declaration.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    keys: HashMap<CallKey, CallId>,
}

impl Calls {
    /// Notes a call. A repeated id replaces the earlier declaration: the harness asked again.
    pub(super) fn declare(&mut self, session: &SessionId, declaration: CallDeclaration, denied: bool) {
        let call = Call {
            id: declaration.call.clone(),
            kind: declaration.kind,
            facts: declaration.facts,
            open: true,
            denied,
            claimed: false,
        };
        self.keys
            .insert(declaration.call.key(session), declaration.call.clone());
        match self.calls.iter_mut().find(|known| known.id == call.id) {
            Some(known) => *known = call,
            None => self.calls.push(call),
        }
        if self.calls.len() > MAX_CALLS {
            let place = self.calls.iter().position(|call| !call.open).unwrap_or(0);
            let gone = self.calls.remove(place);
            self.keys.remove(&gone.id.key(session));
        }
    }

    /// Notes a call that has ended and of which only the id is known.
    pub(super) fn remember_closed(&mut self, session: &SessionId, id: CallId) {
        if self.get(&id).is_none() {
            self.keys.insert(id.key(session), id.clone());
            self.calls.push(Call {
                id,
                kind: CallKind::Other,
                facts: Facts::default(),
                open: false,
                denied: false,
                claimed: true,
            });
        }
    }

    pub(super) fn get(&self, id: &CallId) -> Option<&Call> {
        self.calls.iter().rev().find(|call| call.id == *id)
    }

    pub(super) fn by_key(&self, key: u64) -> Option<&CallId> {
        self.keys.get(&CallKey(key))
    }

    pub(super) fn end(&mut self, id: &CallId) {
        if let Some(call) = self.calls.iter_mut().rev().find(|call| call.id == *id) {
            call.open = false;
        }
    }

    pub(super) fn end_all(&mut self) {
        for call in &mut self.calls {
            call.open = false;
        }
    }

    fn open(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.open && !call.denied)
    }

    /// The call whose command the arguments are: an open one that nothing was taken for yet, else an open one, else one
    /// that policy refused (it ran all the same).
    pub(super) fn claim(&mut self, argv: &[String], truncated: bool) -> Option<Call> {
        let mut best: Option<(u8, usize)> = None;
        for (place, call) in self.calls.iter().enumerate() {
            let CallKind::Command { command, .. } = &call.kind else {
                continue;
            };
            if !call.open && !call.denied {
                continue;
            }
            let rank = match (call.denied, call.claimed) {
                (false, false) => 3,
                (false, true) => 2,
                (true, _) => 1,
            };
            if best.is_none_or(|(known, _)| rank > known) && line::runs(argv, truncated, command) {
                best = Some((rank, place));
            }
        }
        let call = &mut self.calls[best?.1];
        call.claimed = true;
        Some(call.clone())
    }

    /// The open call that writes the file itself.
    pub(super) fn writing(&self, path: &str) -> Option<&Call> {
        self.open()
            .find(|call| matches!(&call.kind, CallKind::FileWrite { paths } if names(paths, path)))
    }

    /// The open call that reads the file itself (an edit reads it too).
    pub(super) fn reading(&self, path: &str) -> Option<&Call> {
        self.open().find(|call| match &call.kind {
            CallKind::FileRead { paths } | CallKind::FileWrite { paths } => names(paths, path),
            CallKind::FileSearch { paths } => paths.iter().any(|folder| below(folder, path)),
            _ => false,
        })
    }

    /// The only open call of those that `fits` accepts, if there is exactly one.
    pub(super) fn only(&self, fits: impl Fn(&CallKind) -> bool) -> Option<&Call> {
        let mut fitting = self.open().filter(|call| fits(&call.kind));
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first)
    }
}

impl Call {
    pub(super) fn names_program(&self, path: &str, argv: &[String]) -> bool {
        let base = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
        let executed = base(path);
        let called = argv.first().map(|name| base(name)).unwrap_or_default();
        self.facts
            .programs
            .iter()
            .any(|program| program.name == executed || program.name == called)
    }

    pub(super) fn names_write(&self, path: &str) -> bool {
        self.facts.writes.iter().any(|fact| same_path(&fact.path, path))
    }

    pub(super) fn names_read(&self, path: &str) -> bool {
        self.facts.reads.iter().any(|fact| same_path(&fact.path, path))
    }

    pub(super) fn names_host(&self, address: IpAddr) -> bool {
        self.facts
            .hosts
            .iter()
            .any(|fact| match fact.host.parse::<IpAddr>() {
                Ok(named) => named.to_canonical() == address,
                Err(_) => fact.host == "localhost" && address.is_loopback(),
            })
    }
}

fn names(paths: &[String], path: &str) -> bool {
    paths.iter().any(|named| same_path(named, path))
}

/// The kernel shows `/usr/bin/x` where a call may say `/bin/x`: on merged systems these are one folder.
fn same_path(named: &str, seen: &str) -> bool {
    named == seen
        || seen
            .strip_prefix("/usr")
            .is_some_and(|rest| rest == named && merged(rest))
}

fn merged(path: &str) -> bool {
    ["/bin/", "/sbin/", "/lib"]
        .iter()
        .any(|folder| path.starts_with(folder))
}

fn below(folder: &str, path: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
