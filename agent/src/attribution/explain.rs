//! Which call explains an event, by what, and how far.

use std::net::IpAddr;

use defenseclaw_detect::line;
use defenseclaw_model::activity::{Attribution, Basis, Explained, FileAccess};
use defenseclaw_model::call::CallKind;
use defenseclaw_model::ids::{CallId, SessionKey};

use super::calls::Call;
use super::images::{Image, Role};
use super::{Attributor, Host, Session};
use crate::sensor::record::{Event, Exec};

const UNEXPLAINED: Attribution = Attribution {
    call: None,
    basis: Basis::None,
    explained: Explained::Unexplained,
    after_call: false,
};

fn contract(explained: Explained) -> Attribution {
    Attribution {
        call: None,
        basis: Basis::Contract,
        explained,
        after_call: false,
    }
}

impl Session {
    fn attribution(&self, call: &CallId, basis: Basis, explained: Explained) -> Attribution {
        let after_call = self
            .calls
            .get(call)
            .is_some_and(|call| !call.open && !call.denied);
        Attribution {
            call: Some(call.clone()),
            basis,
            explained,
            after_call,
        }
    }

    /// A call that could have been carried out by the harness itself in this way; there must be only one.
    fn by_window(&self, fits: impl Fn(&CallKind) -> bool) -> Option<Attribution> {
        let call = self.calls.only(fits)?;
        Some(self.attribution(&call.id, Basis::Window, Explained::Derived))
    }
}

impl Attributor {
    /// A new image: finds its role and says what explains the exec.
    pub(super) fn exec(
        &mut self,
        host: &mut dyn Host,
        key: SessionKey,
        event: &Event,
        exec: &Exec,
    ) -> Attribution {
        let replaced = self
            .images
            .get(exec.parent)
            .and_then(|image| image.is_same_exec(exec));
        let parent = self.role(key, replaced.unwrap_or(exec.parent)).cloned();
        let role = match parent {
            Some(Role::Root) => {
                if self
                    .sessions
                    .get(&key)
                    .is_some_and(|session| session.root == Some(event.process))
                {
                    Role::Root // The harness replaced itself, for instance by a newer version.
                } else {
                    self.child_of_harness(key, exec)
                }
            }
            Some(Role::Hook) if self.is_hook(exec) || self.is_shell(exec) => Role::Hook,
            Some(Role::Hook) => Role::Unexplained,
            Some(Role::Housekeeping(entry)) if self.leads(key, entry) => self.child_of_harness(key, exec),
            Some(Role::Housekeeping(entry)) => self.child_of_housekeeping(key, entry, exec),
            Some(Role::Call { call, .. }) => self.child_of_call(key, call, exec),
            Some(Role::Unexplained) => Role::Unexplained,
            // The image was forgotten, or its record lost: the kernel's label still knows the call.
            None => match self
                .sessions
                .get(&key)
                .and_then(|session| session.calls.by_key(event.call).cloned())
            {
                Some(call) => self.child_of_call(key, call, exec),
                None => Role::Unexplained,
            },
        };
        if let (Role::Call { call, .. }, Some(session)) = (&role, self.sessions.get(&key)) {
            let call = call.key(&session.id).0;
            // Where the kernel's label knows it, so do the labels of whatever the process has forked until now.
            if event.call != call {
                host.set_call(event.process, call);
                self.unsettled = true;
            }
        }
        let before = self.images.get(exec.parent).map(|image| image.stage);
        let stage = self.stage(exec, &role, before.unwrap_or_default());
        self.add_image(
            event.image,
            Image {
                session: key,
                program: exec.path.clone(),
                role,
                stage,
                caught: None,
            },
        );
        self.by_image(key, event)
    }

    pub(super) fn is_hook(&self, exec: &Exec) -> bool {
        self.hooks.iter().any(|hook| hook.file == exec.file)
    }

    /// Our shell, which lies beside the hook client: a harness hands its hooks' lines to it, too.
    fn is_shell(&self, exec: &Exec) -> bool {
        self.own.shells.contains(&exec.file)
    }

    /// A program that the harness started.
    pub(super) fn child_of_harness(&mut self, key: SessionKey, exec: &Exec) -> Role {
        if self.is_hook(exec) || self.starts_hook(&exec.argv) {
            return Role::Hook;
        }
        let Some(session) = self.sessions.get_mut(&key) else {
            return Role::Unexplained;
        };
        if let Some(call) = session.calls.claim(&exec.argv, exec.argv_truncated) {
            // A refused call that runs all the same is known, but not explained.
            let explained = if call.denied {
                Explained::Unexplained
            } else {
                Explained::Declared
            };
            return Role::Call {
                call: call.id,
                basis: Basis::Argv,
                explained,
            };
        }
        if let Some(contract) = &session.contract {
            let found = contract.housekeeping(&exec.path, &exec.argv, &session.program);
            let place = found.and_then(|entry| {
                contract
                    .housekeeping
                    .iter()
                    .position(|candidate| std::ptr::eq(candidate, entry))
            });
            if let Some(place) = place {
                return Role::Housekeeping(place);
            }
        }
        let helper = |kind: &CallKind| matches!(kind, CallKind::Other | CallKind::FileSearch { .. });
        match session.by_window(helper).and_then(|attribution| attribution.call) {
            Some(call) => Role::Call {
                call,
                basis: Basis::Window,
                explained: Explained::Derived,
            },
            None => Role::Unexplained,
        }
    }

    /// The shell line of a hook in the harness's settings: our client and the connector, nothing else; or our shell, to which
    /// such a line is handed.
    fn starts_hook(&self, argv: &[String]) -> bool {
        let [_, flag, line] = argv else { return false };
        if flag != "-c" {
            return false;
        }
        let handed = line::handed_on(line).filter(|(_, closed)| *closed);
        let line = handed.as_ref().map_or(line, |(line, _)| line);
        self.hooks.iter().any(|hook| {
            ["", "'", "\""].iter().any(|quote| {
                line.strip_prefix(&format!("{quote}{}{quote} ", hook.path))
                    .is_some_and(|connector| {
                        connector
                            .bytes()
                            .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
                    })
            })
        })
    }

    fn leads(&self, key: SessionKey, entry: usize) -> bool {
        let contract = self
            .sessions
            .get(&key)
            .and_then(|session| session.contract.as_ref());
        contract
            .and_then(|contract| contract.housekeeping.get(entry))
            .is_some_and(|entry| entry.leads)
    }

    fn child_of_housekeeping(&self, key: SessionKey, entry: usize, exec: &Exec) -> Role {
        let allowed = self
            .sessions
            .get(&key)
            .and_then(|session| session.contract.as_ref())
            .and_then(|contract| contract.housekeeping.get(entry))
            .is_some_and(|entry| entry.may_start(&exec.path));
        if allowed {
            Role::Housekeeping(entry)
        } else {
            Role::Unexplained
        }
    }

    fn child_of_call(&self, key: SessionKey, call: CallId, exec: &Exec) -> Role {
        let known = self
            .sessions
            .get(&key)
            .and_then(|session| session.calls.get(&call));
        let explained = match known {
            Some(known) if known.denied => Explained::Unexplained,
            Some(known) if known.names_program(&exec.path, &exec.argv) => Explained::Declared,
            _ => Explained::Derived,
        };
        Role::Call {
            call,
            basis: Basis::Lineage,
            explained,
        }
    }

    /// What explains an event by its process's image alone.
    pub(super) fn by_image(&self, key: SessionKey, event: &Event) -> Attribution {
        let Some(session) = self.sessions.get(&key) else {
            return UNEXPLAINED;
        };
        match self.role(key, event.image) {
            Some(Role::Call {
                call,
                basis,
                explained,
            }) => session.attribution(call, *basis, *explained),
            Some(Role::Root | Role::Hook | Role::Housekeeping(_)) => contract(Explained::Declared),
            Some(Role::Unexplained) => UNEXPLAINED,
            None => match session.calls.by_key(event.call) {
                Some(call) => session.attribution(call, Basis::Lineage, Explained::Derived),
                None => UNEXPLAINED,
            },
        }
    }

    /// What explains an opened file.
    pub(super) fn file(&self, key: SessionKey, event: &Event, path: &str, access: FileAccess) -> Attribution {
        let Some(session) = self.sessions.get(&key) else {
            return UNEXPLAINED;
        };
        match self.role(key, event.image) {
            Some(Role::Root) => session.harness_file(path, access),
            Some(Role::Housekeeping(entry)) => {
                let allowed = access != FileAccess::Read
                    && session
                        .contract
                        .as_ref()
                        .and_then(|contract| contract.housekeeping.get(*entry))
                        .is_some_and(|entry| entry.may_write(path, &session.home));
                let reads_own = access == FileAccess::Read
                    && session
                        .contract
                        .as_ref()
                        .is_some_and(|contract| contract.harness_reads(path, &session.home));
                if allowed || reads_own {
                    contract(Explained::Derived)
                } else {
                    UNEXPLAINED
                }
            }
            Some(Role::Hook) => UNEXPLAINED, // The hook client opens nothing for writing and reads no watched file.
            _ => {
                let named = |call: &Call| match access {
                    FileAccess::Read => call.names_read(path),
                    FileAccess::Write | FileAccess::Create => call.names_write(path),
                };
                self.by_lineage(key, event, named)
            }
        }
    }

    /// What explains a connection.
    pub(super) fn connect(&self, key: SessionKey, event: &Event, address: IpAddr) -> Attribution {
        let Some(session) = self.sessions.get(&key) else {
            return UNEXPLAINED;
        };
        match self.role(key, event.image) {
            Some(Role::Root) => {
                let fetching = session.by_window(|kind| matches!(kind, CallKind::Network { .. }));
                let own = session
                    .contract
                    .as_ref()
                    .is_some_and(|contract| contract.harness.connects);
                match (fetching, own) {
                    (Some(attribution), _) => attribution,
                    (None, true) => contract(Explained::Declared),
                    (None, false) => UNEXPLAINED,
                }
            }
            Some(Role::Hook | Role::Housekeeping(_)) => UNEXPLAINED,
            _ => self.by_lineage(key, event, |call| call.names_host(address)),
        }
    }

    /// A descendant's own act: by lineage, declared if the call names it.
    fn by_lineage(&self, key: SessionKey, event: &Event, named: impl Fn(&Call) -> bool) -> Attribution {
        let mut attribution = self.by_image(key, event);
        let Some(call) = &attribution.call else {
            return attribution;
        };
        let known = self
            .sessions
            .get(&key)
            .and_then(|session| session.calls.get(call));
        attribution.basis = Basis::Lineage;
        attribution.explained = match known {
            Some(call) if call.denied => Explained::Unexplained,
            Some(call) if named(call) => Explained::Declared,
            _ => Explained::Derived,
        };
        attribution
    }
}

impl Session {
    /// A file that the harness process itself opened.
    fn harness_file(&self, path: &str, access: FileAccess) -> Attribution {
        let own = self.contract.as_ref();
        if access == FileAccess::Read {
            if let Some(call) = self.calls.reading(path) {
                return self.attribution(&call.id, Basis::Path, Explained::Declared);
            }
            if own.is_some_and(|contract| contract.harness_reads(path, &self.home)) {
                return contract(Explained::Declared);
            }
            return UNEXPLAINED;
        }
        let target = own.map_or(path, |contract| contract.target(path));
        if let Some(call) = self.calls.writing(target) {
            return self.attribution(&call.id, Basis::Path, Explained::Declared);
        }
        if own.is_some_and(|contract| contract.harness_writes(path, &self.home)) {
            return contract(Explained::Declared);
        }
        // The call may name the file through a symbolic link: the same name, and no other call that writes.
        let file = |text: &str| text.rsplit('/').next().map(str::to_owned);
        let same_name = |kind: &CallKind| matches!(kind, CallKind::FileWrite { paths } if paths.iter().any(|named| file(named) == file(target)));
        self.by_window(same_name).unwrap_or(UNEXPLAINED)
    }
}
