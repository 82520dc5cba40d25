//! Binding: which process tree belongs to a session.
//!
//! No harness tells its pid. The hook client's pid leads, upwards, to the harness process; that gets the label, and so
//! does everything that already runs below it. From then on the kernel hands the label down.

use std::collections::{HashMap, HashSet};

use defenseclaw_abi::{LABEL_ROOT, Label};
use defenseclaw_detect::paths::PathRules;
use defenseclaw_model::activity::{Basis, Explained};
use defenseclaw_model::call::CallDeclaration;
use defenseclaw_model::ids::{ImageId, ProcessId, SessionId, SessionKey};
use defenseclaw_model::record::Binding;
use defenseclaw_model::wire::OpenSession;

use super::images::{Caught, Image, Role};
use super::launch::Stage;
use super::{Attributor, Host, Process};
use crate::sensor::record::Exec;

/// Most shells between a harness and our hook client.
const MAX_SHELLS: usize = 8;
/// How often the tree is searched for processes that were forked while it was being labelled.
const MAX_ROUNDS: usize = 8;

impl Attributor {
    /// Handles a hook event: binds the session to its process tree if it is not bound, and notes the call.
    ///
    /// Everything that waited in the rings must have been taken before, so that the hook client's own image is known.
    pub fn register(
        &mut self,
        host: &mut dyn Host,
        id: &SessionId,
        hook_pid: u32,
        call: Option<CallDeclaration>,
        denied: bool,
    ) -> Binding {
        let key = self.insert_session(id);
        if let Err(binding) = self.bind(host, key, id, hook_pid) {
            return binding;
        }
        if let (Some(session), Some(call)) = (self.sessions.get_mut(&key), call) {
            session.calls.declare(id, call, denied);
        }
        Binding::Bound
    }

    /// Begins a session with one process, which is about to become a command in a sandbox. It and all that it starts are `call`.
    pub fn adopt(&mut self, host: &mut dyn Host, id: &SessionId, pid: u32, call: CallDeclaration) -> Binding {
        let failed = |reason: String| Binding::Failed { reason };
        let ended = || {
            failed(format!(
                "the command (pid {pid}) ended before its session could be bound"
            ))
        };
        let Some(process) = host
            .processes()
            .into_iter()
            .find(|process| process.id.tgid == pid)
        else {
            return ended();
        };
        let start_ns = process.id.start_ns;
        if host.label(pid).is_some_and(|label| label.start_ns == start_ns) {
            return failed(format!("the command (pid {pid}) belongs to another session"));
        }
        let image = ImageId {
            tgid: pid,
            exec_ns: start_ns,
        };
        let call_id = call.call.clone();
        let label = Label {
            session: id.key().0,
            call: call_id.key(id).0,
            start_ns,
            exec_ns: start_ns,
            exec_tgid: pid,
            flags: 0,
        };
        if let Err(reason) = host.set_label(pid, label) {
            return failed(format!("the command (pid {pid}) could not be labelled: {reason}"));
        }
        if !host.is_alive(pid) {
            host.remove_label(pid);
            return ended();
        }
        host.set_call(process.id, label.call);
        let key = self.insert_session(id);
        let program = host.executable(pid);
        let role = Role::Call {
            call: call_id,
            basis: Basis::Lineage,
            explained: Explained::Derived,
        };
        self.add_image(
            image,
            Image {
                session: key,
                program: program.clone(),
                role,
                stage: Stage::None,
                caught: None,
            },
        );
        if let Some(session) = self.sessions.get_mut(&key) {
            session.root = Some(process.id);
            session.program = program;
            session.home = host.home(pid);
            session.calls.declare(id, call, false);
        }
        self.watch_home(host, key);
        Binding::Bound
    }

    fn bind(
        &mut self,
        host: &mut dyn Host,
        key: SessionKey,
        id: &SessionId,
        hook_pid: u32,
    ) -> Result<(), Binding> {
        let root = self.sessions.get(&key).and_then(|session| session.root);
        let bound = root.filter(|root| {
            host.label(root.tgid)
                .is_some_and(|label| label.start_ns == root.start_ns)
        });
        let label = host.label(hook_pid);
        if let Some(label) = label.filter(|label| label.session == key.0) {
            self.check_caller(host, key, hook_pid, &label)?;
            if bound.is_some() {
                if let Some(session) = self.sessions.get_mut(&key) {
                    session.ended = false; // A hook after the end: the harness resumed it.
                }
                return Ok(());
            }
        } else if bound.is_some() {
            return Err(Binding::Forged {
                caller: format!(
                    "pid {hook_pid} ({}), which does not descend from the harness that {id} is bound to and that still runs",
                    host.arguments(host.parent(hook_pid).unwrap_or(hook_pid))
                        .join(" ")
                ),
            });
        }
        let root = self.find_harness(host, hook_pid)?;
        self.label_root(host, key, root)?;
        self.label_descendants(host, key, root);
        self.settle(host);
        self.watch_home(host, key);
        Ok(())
    }

    /// A hook call from inside a tool call's own processes is not the harness's word.
    fn check_caller(
        &self,
        host: &dyn Host,
        key: SessionKey,
        hook_pid: u32,
        label: &Label,
    ) -> Result<(), Binding> {
        let image = ImageId {
            tgid: label.exec_tgid,
            exec_ns: label.exec_ns,
        };
        let forged = |who: String| Err(Binding::Forged { caller: who });
        let program = || {
            let ppid = host.parent(hook_pid).unwrap_or(0);
            format!(
                "pid {hook_pid}, started by pid {ppid} ({})",
                host.arguments(ppid).join(" ")
            )
        };
        match self.role(key, image) {
            Some(Role::Hook | Role::Root) => Ok(()),
            Some(Role::Call { call, .. }) => forged(format!("{} inside call {call}", program())),
            Some(Role::Housekeeping(_) | Role::Unexplained) => forged(format!(
                "{}, which the harness did not start as its hook",
                program()
            )),
            None if label.call != 0 => forged(format!("{} inside a tool call", program())),
            None => Ok(()),
        }
    }

    /// Walks up from the hook client to the harness.
    fn find_harness(&self, host: &mut dyn Host, hook_pid: u32) -> Result<Process, Binding> {
        let failed = |reason: String| Binding::Failed { reason };
        let mut pid = host.parent(hook_pid).ok_or_else(|| {
            failed(format!(
                "the hook client (pid {hook_pid}) ended before its session could be bound"
            ))
        })?;
        for _ in 0..MAX_SHELLS {
            if !is_hook_shell(&host.arguments(pid)) {
                break;
            }
            pid = host
                .parent(pid)
                .ok_or_else(|| failed(format!("the shell (pid {pid}) of the hook ended")))?;
        }
        if pid <= 1 {
            return Err(failed(format!(
                "the hook client (pid {hook_pid}) has no harness above it: its parent ended before the hook was answered"
            )));
        }
        host.processes()
            .into_iter()
            .find(|process| process.id.tgid == pid)
            .ok_or_else(|| {
                failed(format!(
                    "the harness (pid {pid}) ended before its session could be bound"
                ))
            })
    }

    fn label_root(&mut self, host: &mut dyn Host, key: SessionKey, root: Process) -> Result<(), Binding> {
        let tgid = root.id.tgid;
        // A harness that is labelled already (a new session in the same process, or an agent started by another agent)
        // keeps its image.
        let known = host
            .label(tgid)
            .filter(|label| label.start_ns == root.id.start_ns);
        let image = known.map_or(
            ImageId {
                tgid,
                exec_ns: root.id.start_ns,
            },
            |label| ImageId {
                tgid: label.exec_tgid,
                exec_ns: label.exec_ns,
            },
        );
        let label = Label {
            session: key.0,
            call: 0,
            start_ns: root.id.start_ns,
            exec_ns: image.exec_ns,
            exec_tgid: image.tgid,
            flags: LABEL_ROOT,
        };
        host.remove_call(root.id);
        host.set_label(tgid, label).map_err(|reason| Binding::Failed {
            reason: format!("the harness (pid {tgid}) could not be labelled: {reason}"),
        })?;
        if !host.is_alive(tgid) {
            host.remove_label(tgid);
            return Err(Binding::Failed {
                reason: format!("the harness (pid {tgid}) ended while it was bound"),
            });
        }
        let program = host.executable(tgid);
        self.add_image(
            image,
            Image {
                session: key,
                program: program.clone(),
                role: Role::Root,
                stage: Stage::None,
                caught: None,
            },
        );
        if let Some(session) = self.sessions.get_mut(&key) {
            session.root = Some(root.id);
            session.program = program;
            session.home = host.home(tgid);
            session.ended = false;
        }
        Ok(())
    }

    /// Labels what already runs below the harness. Whatever a process forks after it was labelled inherits the label; the
    /// rounds find what was forked just before. A process that carries a label keeps it: it belongs to the session in which
    /// it was started.
    fn label_descendants(&mut self, host: &mut dyn Host, key: SessionKey, root: Process) {
        for _ in 0..MAX_ROUNDS {
            let mut fresh = 0;
            for process in descendants(&host.processes(), root.id.tgid) {
                let labelled = host
                    .label(process.id.tgid)
                    .is_some_and(|label| label.start_ns == process.id.start_ns);
                if labelled {
                    continue;
                }
                fresh += 1;
                self.label_running(host, key, process);
            }
            if fresh == 0 {
                return;
            }
        }
    }

    /// Labels one process that was running before its session was bound.
    ///
    /// A process that has forked and not yet executed anything shares its parent's image, as if it had inherited the label
    /// at its fork. So it gets that first; only where it turns out to run something else already, an image of its own.
    fn label_running(&mut self, host: &mut dyn Host, key: SessionKey, process: Process) {
        let tgid = process.id.tgid;
        let own = ImageId {
            tgid,
            exec_ns: process.id.start_ns,
        };
        let inherited = host
            .label(process.ppid)
            .filter(|label| label.session == key.0)
            .map_or(own, |label| ImageId {
                tgid: label.exec_tgid,
                exec_ns: label.exec_ns,
            });
        if !set_running(host, key, process, inherited) {
            return;
        }
        let (program, argv) = (host.executable(tgid), host.arguments(tgid));
        if inherited != own
            && program == host.executable(process.ppid)
            && argv == host.arguments(process.ppid)
        {
            return;
        }
        // It may have executed meanwhile: then the kernel programs reported that, with the inherited image as the parent.
        let untouched = host
            .label(tgid)
            .is_some_and(|label| label.exec_ns == inherited.exec_ns);
        if !untouched || (inherited != own && !set_running(host, key, process, own)) {
            return;
        }
        let role = self.role_of_running(host, key, process);
        self.unsettled |= matches!(role, Role::Call { .. });
        self.add_image(
            own,
            Image {
                session: key,
                program,
                role,
                stage: Stage::None,
                caught: (inherited != own).then_some(Caught {
                    parent: inherited,
                    argv,
                }),
            },
        );
    }

    /// The role of a process whose exec was not seen: told from what it runs now and from its parent.
    fn role_of_running(&mut self, host: &dyn Host, key: SessionKey, process: Process) -> Role {
        let exec = Exec {
            parent: ImageId { tgid: 0, exec_ns: 0 },
            ppid: process.ppid,
            filename: String::new(),
            path: host.executable(process.id.tgid),
            cwd: String::new(),
            argv: host.arguments(process.id.tgid),
            argv_truncated: false,
            file: host
                .executable_file(process.id.tgid)
                .unwrap_or(defenseclaw_model::activity::FileId { dev: 0, ino: 0 }),
        };
        let role = self.child_of_harness(key, &exec);
        if role != Role::Unexplained {
            return role;
        }
        let parent = host.label(process.ppid).map(|label| ImageId {
            tgid: label.exec_tgid,
            exec_ns: label.exec_ns,
        });
        match parent.and_then(|parent| self.role(key, parent)) {
            Some(Role::Root) | None => Role::Unexplained,
            Some(role) => role.clone(),
        }
    }

    /// Watches the secret files of the harness's home by identity, before anybody can link them elsewhere.
    fn watch_home(&mut self, host: &mut dyn Host, key: SessionKey) {
        let Some(home) = self.sessions.get(&key).map(|session| session.home.clone()) else {
            return;
        };
        let rules = PathRules::embedded();
        for path in rules.watched_read_paths(&home) {
            if let (Some(class), Some(file)) = (rules.classify(&path).map(str::to_owned), host.file(&path)) {
                self.watch(host, file, &class);
            }
        }
    }

    /// Takes up sessions that an earlier agent bound: the calls from the gateway's memory, the processes from the labels
    /// that the kernel kept.
    pub fn restore(&mut self, host: &mut dyn Host, sessions: Vec<OpenSession>) {
        let labels = host.labels();
        let labelled: HashSet<u64> = labels.iter().map(|(_, label)| label.session).collect();
        let mut restored = HashSet::new();
        for open in sessions {
            let key = open.session.key();
            if self.sessions.contains_key(&key) || !labelled.contains(&key.0) {
                continue;
            }
            self.insert_session(&open.session);
            if let Some(session) = self.sessions.get_mut(&key) {
                for call in open.closed_calls {
                    session.calls.remember_closed(&open.session, call);
                }
                for call in open.open_calls {
                    session.calls.declare(&open.session, call, false);
                }
            }
            restored.insert(key);
        }
        let mut labels: Vec<_> = labels
            .into_iter()
            .filter(|(_, label)| restored.contains(&SessionKey(label.session)))
            .collect();
        // Roots first: the roles of the others are told from them.
        labels.sort_by_key(|(_, label)| label.flags & LABEL_ROOT == 0);
        let parents: HashMap<u32, u32> = host
            .processes()
            .into_iter()
            .map(|process| (process.id.tgid, process.ppid))
            .collect();
        for (tgid, label) in labels {
            self.restore_process(host, tgid, label, parents.get(&tgid).copied().unwrap_or(0));
        }
        self.settle(host);
        for key in restored {
            self.watch_home(host, key);
        }
    }

    fn restore_process(&mut self, host: &mut dyn Host, tgid: u32, label: Label, ppid: u32) {
        let key = SessionKey(label.session);
        let id = ProcessId {
            tgid,
            start_ns: label.start_ns,
        };
        let image = ImageId {
            tgid: label.exec_tgid,
            exec_ns: label.exec_ns,
        };
        let role = if label.flags & LABEL_ROOT != 0 {
            let (program, home) = (host.executable(tgid), host.home(tgid));
            if let Some(session) = self.sessions.get_mut(&key) {
                session.root = Some(id);
                session.program = program;
                session.home = home;
            }
            Role::Root
        } else {
            let noted = host.call(id).unwrap_or(label.call);
            let call = self
                .sessions
                .get(&key)
                .and_then(|session| session.calls.by_key(noted).cloned());
            match call {
                Some(call) => Role::Call {
                    call,
                    basis: Basis::Lineage,
                    explained: Explained::Derived,
                },
                None => {
                    let role = self.role_of_running(host, key, Process { id, ppid });
                    self.unsettled |= matches!(role, Role::Call { .. });
                    role
                }
            }
        };
        if self.role(key, image).is_none() || role == Role::Root {
            self.add_image(
                image,
                Image {
                    session: key,
                    program: host.executable(tgid),
                    role,
                    stage: Stage::None,
                    caught: None,
                },
            );
        }
    }
}

/// Labels a running process; `false` if it could not be labelled or is gone.
fn set_running(host: &mut dyn Host, key: SessionKey, process: Process, image: ImageId) -> bool {
    let tgid = process.id.tgid;
    let label = Label {
        session: key.0,
        call: 0,
        start_ns: process.id.start_ns,
        exec_ns: image.exec_ns,
        exec_tgid: image.tgid,
        flags: 0,
    };
    if let Err(reason) = host.set_label(tgid, label) {
        tracing::error!(tgid, reason, "a process of a bound session could not be labelled");
        return false;
    }
    let alive = host.is_alive(tgid);
    if !alive {
        host.remove_label(tgid);
    }
    alive
}

/// A shell whose only purpose is to start our hook client.
fn is_hook_shell(argv: &[String]) -> bool {
    let name = argv
        .first()
        .and_then(|name| name.rsplit('/').next())
        .unwrap_or_default();
    let is_shell = matches!(name, "sh" | "bash" | "dash" | "zsh" | "ash" | "ksh");
    is_shell
        && argv
            .get(1)
            .is_some_and(|flag| flag.starts_with('-') && flag.ends_with('c'))
        && argv.get(2).is_some_and(|line| line.contains("defenseclaw-hook"))
}

/// Every process below `root`, parents before children.
fn descendants(processes: &[Process], root: u32) -> Vec<Process> {
    let mut children: HashMap<u32, Vec<&Process>> = HashMap::new();
    for process in processes {
        children.entry(process.ppid).or_default().push(process);
    }
    let (mut found, mut waiting, mut seen) = (Vec::new(), vec![root], HashSet::from([root]));
    while let Some(pid) = waiting.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if seen.insert(child.id.tgid) {
                found.push(**child);
                waiting.push(child.id.tgid);
            }
        }
    }
    found
}
