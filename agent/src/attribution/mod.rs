//! Attribution: which tool call explains what the kernel saw.
//!
//! Everything here is a state machine without I/O: kernel events and gateway requests go in, activities come out. What it
//! needs of the host it asks a [`Host`] for.
//!
//! Lineage is kept in *images*, not in processes: an image is what a process became by its last exec, a process that
//! forks without exec shares its ancestor's. Each exec names the image it replaced, so the tree stays whole through
//! double forks, `setsid` and reparenting, without an event for each fork.

mod bind;
mod calls;
pub mod contract;
mod explain;
mod host;
mod images;
mod launch;
mod settle;
#[cfg(test)]
mod tests;
mod whose;

use std::collections::HashMap;
use std::rc::Rc;

use defenseclaw_detect::paths::PathRules;
use defenseclaw_model::activity::{Action, Activity, Attribution, FileAccess, FileId};
use defenseclaw_model::ids::{CallId, ImageId, ProcessId, SessionId, SessionKey};
use defenseclaw_model::record::{Draft, RecordBody};
use defenseclaw_model::sandbox::RUN;

pub use calls::MAX_CALLS;
pub use host::{Hook, Host, Process};
pub use images::MAX_IMAGES;
pub use launch::Own;

use calls::Calls;
use contract::Contract;
use images::{Image, Images, Role};
use launch::Stage;

use crate::sensor::record::{Event, EventKind};

/// Most sessions that are remembered. Ended ones are forgotten first, oldest first.
pub const MAX_SESSIONS: usize = 1024;
/// Most files whose class is remembered by identity.
const MAX_WATCHED_FILES: usize = 16_384;

/// One session as attribution knows it.
struct Session {
    id: SessionId,
    /// The harness process, once bound.
    root: Option<ProcessId>,
    /// Executable of the harness.
    program: String,
    /// Home folder of the harness.
    home: String,
    contract: Option<Rc<Contract>>,
    calls: Calls,
    ended: bool,
}

/// The state machine.
pub struct Attributor {
    hooks: Vec<Hook>,
    own: Own,
    sessions: HashMap<SessionKey, Session>,
    /// Order of arrival, for forgetting.
    order: Vec<SessionKey>,
    images: Images,
    watched: HashMap<FileId, String>,
    filtered: u64,
    /// An image was taken for a call since the last [`settle`](Attributor::settle).
    unsettled: bool,
}

impl Attributor {
    /// `hooks` are the files that are our hook client.
    pub fn new(hooks: Vec<Hook>) -> Self {
        Self {
            hooks,
            own: Own::default(),
            sessions: HashMap::new(),
            order: Vec::new(),
            images: Images::default(),
            watched: HashMap::new(),
            filtered: 0,
            unsettled: false,
        }
    }

    /// Names the files that are programs of ours, besides the hook client.
    #[must_use]
    pub fn with_own(mut self, own: Own) -> Self {
        self.own = own;
        self
    }

    /// Number of sessions that have not ended.
    pub fn open_sessions(&self) -> u64 {
        self.sessions.values().filter(|session| !session.ended).count() as u64
    }

    /// Kernel records that are not told: reads that no path rule watches, the coming and going of our own hook client,
    /// what our launcher tries before a command starts.
    pub fn filtered(&self) -> u64 {
        self.filtered
    }

    /// Takes one kernel event. `clock_ns` is what turns time since boot into time since the Unix epoch.
    pub fn event(&mut self, host: &mut dyn Host, event: &Event, clock_ns: u64) -> Option<Draft> {
        let key = SessionKey(event.session);
        let session = self.sessions.get(&key)?.id.clone();
        let time_ns = event.boot_ns.wrapping_add(clock_ns);
        let (action, attribution) = match &event.kind {
            EventKind::Exec(exec) => {
                let attribution = self.exec(host, key, event, exec);
                let action = Action::Exec {
                    path: exec.path.clone(),
                    argv: exec.argv.clone(),
                    argv_truncated: exec.argv_truncated,
                    cwd: exec.cwd.clone(),
                    file: exec.file,
                    parent: exec.parent,
                };
                (action, attribution)
            }
            EventKind::Exit(status) => {
                host.remove_call(event.process);
                let duration_ns = event.boot_ns.saturating_sub(event.process.start_ns);
                (
                    Action::Exit {
                        status: *status,
                        duration_ns,
                    },
                    self.exit(key, event),
                )
            }
            EventKind::Open {
                path,
                path_truncated,
                access,
                file,
                watched_file,
            } => {
                let image = self.images.get(event.image);
                if image.is_some_and(|image| image.session == key && image.stage == Stage::Launcher) {
                    self.filtered += 1;
                    return None;
                }
                let class = self.class_of(host, path, *file, *watched_file);
                if *access == FileAccess::Read && class.is_none() {
                    self.filtered += 1;
                    return None;
                }
                let attribution = self.file(key, event, path, *access);
                let action = Action::Open {
                    path: path.clone(),
                    path_truncated: *path_truncated,
                    access: *access,
                    file: *file,
                    class,
                };
                (action, attribution)
            }
            EventKind::Connect {
                protocol,
                address,
                port,
            } => {
                let attribution = self.connect(key, event, *address);
                (
                    Action::Connect {
                        protocol: *protocol,
                        address: *address,
                        port: *port,
                    },
                    attribution,
                )
            }
            EventKind::IoUring { entries } => {
                (Action::IoUring { entries: *entries }, self.by_image(key, event))
            }
            EventKind::LabelLost => return Some(label_lost(session, event, time_ns)),
        };
        // That our own hook client ran is in the ledger already, as the event it reported. Anything else it, or what
        // replaced it, does is told.
        if matches!(action, Action::Exec { .. } | Action::Exit { .. })
            && self.role(key, event.image) == Some(&Role::Hook)
        {
            self.filtered += 1;
            return None;
        }
        let program = self
            .images
            .get(event.image)
            .map_or_else(|| event.comm.clone(), |image| image.program.clone());
        let activity = Activity {
            time_ns,
            session: session.clone(),
            process: event.process,
            image: event.image,
            program,
            action,
            attribution,
        };
        Some(Draft {
            time_ns,
            session: Some(session),
            call: activity.attribution.call.clone(),
            body: RecordBody::Activity { activity },
        })
    }

    /// The class of an opened file: by its path, or by its identity where it was seen under a watched path before. A
    /// file that has a class is watched by identity from then on, so that a hard link does not hide it.
    fn class_of(&mut self, host: &mut dyn Host, path: &str, file: FileId, watched: bool) -> Option<String> {
        match PathRules::embedded().classify(path) {
            Some(class) => {
                self.watch(host, file, class);
                Some(class.to_owned())
            }
            None if watched => self.watched.get(&file).cloned(),
            None => None,
        }
    }

    fn watch(&mut self, host: &mut dyn Host, file: FileId, class: &str) {
        if self.watched.len() < MAX_WATCHED_FILES && !self.watched.contains_key(&file) {
            self.watched.insert(file, class.to_owned());
            host.watch_file(file);
        }
    }

    /// A call has ended. What its processes do from now on is marked as after the call.
    pub fn call_end(&mut self, session: &SessionId, call: &CallId) {
        if let Some(session) = self.sessions.get_mut(&session.key()) {
            session.calls.end(call);
        }
    }

    /// A session has ended.
    pub fn session_end(&mut self, session: &SessionId) {
        if let Some(session) = self.sessions.get_mut(&session.key()) {
            session.ended = true;
            session.calls.end_all();
        }
    }

    /// A process ended: its image stays for what other processes of it still do.
    fn exit(&mut self, key: SessionKey, event: &Event) -> Attribution {
        let attribution = self.by_image(key, event);
        if event.image.tgid == event.process.tgid {
            self.images.ended(event.image);
        }
        if let Some(session) = self.sessions.get_mut(&key)
            && session.root == Some(event.process)
        {
            session.root = None;
        }
        attribution
    }

    /// The executable of a session's harness, once it is bound.
    pub fn harness(&self, id: &SessionId) -> Option<&str> {
        let session = self.sessions.get(&id.key())?;
        session.root.map(|_| session.program.as_str())
    }

    fn insert_session(&mut self, id: &SessionId) -> SessionKey {
        let key = id.key();
        if !self.sessions.contains_key(&key) {
            self.forget_sessions();
            let contract = match Contract::embedded(id.connector()) {
                Ok(contract) => Some(Rc::new(contract)),
                // A command in a sandbox is its own harness, which does nothing beside its call.
                Err(_) if id.connector() == RUN => None,
                Err(error) => {
                    tracing::warn!(%error, session = %id, "everything that harness does by itself will be unexplained");
                    None
                }
            };
            self.sessions.insert(
                key,
                Session {
                    id: id.clone(),
                    root: None,
                    program: String::new(),
                    home: String::new(),
                    contract,
                    calls: Calls::default(),
                    ended: false,
                },
            );
            self.order.push(key);
        }
        key
    }

    fn forget_sessions(&mut self) {
        if self.order.len() < MAX_SESSIONS {
            return;
        }
        let ended = |key: &SessionKey| self.sessions.get(key).is_none_or(|session| session.ended);
        let place = self.order.iter().position(ended).unwrap_or(0);
        let key = self.order.remove(place);
        self.sessions.remove(&key);
    }

    fn add_image(&mut self, id: ImageId, image: Image) {
        self.images.insert(id, image);
    }

    /// The role of an image in a session. An image of another session has none here: an agent that was started by an
    /// agent has a session of its own, while what its process forked before still carries the outer label.
    fn role(&self, session: SessionKey, id: ImageId) -> Option<&Role> {
        self.images
            .get(id)
            .filter(|image| image.session == session)
            .map(|image| &image.role)
    }
}

fn label_lost(session: SessionId, event: &Event, time_ns: u64) -> Draft {
    Draft {
        time_ns,
        session: Some(session),
        call: None,
        body: RecordBody::Gap {
            cause: "label_map_full".into(),
            missing: None,
            detail: format!(
                "a child of process {} ({}) could not be labelled: what it and its descendants do is not seen",
                event.process.tgid, event.comm
            ),
        },
    }
}
