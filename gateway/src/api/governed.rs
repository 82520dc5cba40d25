//! Whether a process belongs to an agent's session. Such a process is refused every operator verb, whatever its user.
//!
//! The root agent knows: the kernel labels a session's whole process tree. Without an agent the gateway remembers which
//! processes called hooks (harnesses) and looks for them among a caller's parents. A process that has let its parents end
//! cannot be traced that way, so that without an agent a caller is believed only where nothing at all speaks against it: its
//! user never called a hook, its login is not one from which a hook was called, and no hook went by unseen.
//!
//! With and without an agent, what a service manager, a timer or a container engine started is not believed: they start it
//! for whoever asks, and it carries nobody's label. Not all of them can be told from a person's shell; so an operator's user
//! had best be one that runs no coding agents.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use defenseclaw_model::wire::Whose;

use super::process::{Process, Stat, started_by_proxy, stat};
use crate::agent::AgentLink;

/// Most harness processes that are remembered: far more than run at once on one host.
const MAX_HARNESSES: usize = 1_024;
/// Most parents that are followed. Real trees have ten to twenty; a longer one was made to be long.
const MAX_PARENTS: usize = 256;
/// Shells between a harness and its hook.
const SHELLS: [&str; 7] = ["sh", "dash", "bash", "zsh", "ash", "ksh", "busybox"];
/// Most of them: harnesses use one.
const MAX_SHELLS: usize = 4;
/// The login of a process that was never part of one (`AUDIT_SID_UNSET`).
const NO_LOGIN: u32 = u32::MAX;

/// What is known of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It belongs to no session.
    Free,
    /// It belongs to a session.
    Governed(String),
    /// That cannot be told.
    Unknown(String),
}

/// A process that called a hook, or started the shell that did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Harness {
    pid: u32,
    started: u64,
    login: u32,
}

/// The harnesses that were seen while no agent was connected.
#[derive(Debug, Default)]
pub struct Governed {
    harnesses: Mutex<VecDeque<Harness>>,
    /// Whether a harness that may still run is not among them.
    missed: AtomicBool,
}

impl Governed {
    fn harnesses(&self) -> MutexGuard<'_, VecDeque<Harness>> {
        self.harnesses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A hook was called whose harness the agent knows, and nobody else.
    pub fn missed(&self) {
        self.missed.store(true, Ordering::Relaxed);
    }

    /// Remembers the harness of a hook client that is running now.
    pub fn note(&self, hook: u32) {
        let Some(parent) = stat(hook).map(|own| own.parent) else {
            return;
        };
        let known =
            |pid: u32, stat: Stat, harness: &Harness| harness.pid == pid && harness.started == stat.started;
        let mut pid = parent;
        for _ in 0..=MAX_SHELLS {
            let Some(found) = stat(pid) else { return };
            if self.harnesses().iter().any(|harness| known(pid, found, harness)) {
                return;
            }
            if is_shell(pid) && found.parent > 1 {
                pid = found.parent;
                continue;
            }
            let harness = Harness {
                pid,
                started: found.started,
                login: login(pid).unwrap_or(NO_LOGIN),
            };
            let mut harnesses = self.harnesses();
            // Another hook of it may have come at the same time.
            if harnesses.iter().any(|harness| known(pid, found, harness)) {
                return;
            }
            if harnesses.len() >= MAX_HARNESSES
                && let Some(oldest) = harnesses.pop_front()
                && stat(oldest.pid).is_some_and(|stat| stat.started == oldest.started)
            {
                // Somebody calls hooks from a thousand processes to have a harness forgotten.
                self.missed();
            }
            return harnesses.push_back(harness);
        }
        // More shells than any harness starts: nobody knows whose they are.
        self.missed();
    }

    /// What is known of the process at the other end. `calls_hooks`: whether its user ever called a hook.
    pub async fn standing(&self, process: Option<Process>, agent: &AgentLink, calls_hooks: bool) -> Standing {
        let Some(process) = process else {
            return Standing::Unknown(
                "the process at the other end has ended, or runs in another pid namespace".into(),
            );
        };
        let standing = match agent.whose(process.pid).await {
            Some(Whose::Nobody) => by_proxy(process.pid).unwrap_or(Standing::Free),
            Some(Whose::Session {
                session: Some(session),
            }) => Standing::Governed(format!("process {} belongs to session {session}", process.pid)),
            Some(Whose::Session { session: None }) => {
                Standing::Governed(format!("process {} belongs to an agent's session", process.pid))
            }
            Some(Whose::Unknown { reason }) => Standing::Unknown(reason),
            None => match self.by_parents(process.pid) {
                Standing::Free if calls_hooks => Standing::Unknown(
                    "no agent is connected, and this user's own coding agents could have started the process"
                        .into(),
                ),
                Standing::Free => by_proxy(process.pid).unwrap_or(Standing::Free),
                other => other,
            },
        };
        // Only of a process that is still there was the answer about this one.
        if process.is_there() {
            standing
        } else {
            Standing::Unknown(format!("process {} has ended meanwhile", process.pid))
        }
    }

    fn by_parents(&self, caller: u32) -> Standing {
        let harnesses = self.harnesses().clone();
        let mut pid = caller;
        for _ in 0..MAX_PARENTS {
            let Some(found) = stat(pid) else {
                return Standing::Unknown(format!(
                    "process {pid}, a parent of process {caller}, cannot be seen"
                ));
            };
            if harnesses
                .iter()
                .any(|harness| harness.pid == pid && harness.started == found.started)
            {
                return Standing::Governed(format!(
                    "process {caller} was started below process {pid}, which calls hooks"
                ));
            }
            if found.parent <= 1 {
                return self.by_login(caller, &harnesses);
            }
            pid = found.parent;
        }
        Standing::Unknown(format!("process {caller} has more than {MAX_PARENTS} parents"))
    }

    /// Of a process with no harness among its parents, which may have let the one go that was. Being of no login is no other
    /// login: in a container everything is.
    fn by_login(&self, caller: u32, harnesses: &VecDeque<Harness>) -> Standing {
        if self.missed.load(Ordering::Relaxed) {
            return Standing::Unknown(
                "no agent is connected, and hooks were called by processes that only an agent could tell apart"
                    .into(),
            );
        }
        let own = login(caller).unwrap_or(NO_LOGIN);
        if harnesses.iter().any(|harness| harness.login == own) {
            return Standing::Unknown(
                "no agent is connected, and a coding agent runs in the same login as this process".into(),
            );
        }
        Standing::Free
    }
}

fn by_proxy(pid: u32) -> Option<Standing> {
    started_by_proxy(pid).map(|why| Standing::Unknown(format!("process {pid} may be anybody's: {why}")))
}

fn is_shell(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| SHELLS.contains(&name.trim_end()))
}

/// The login that a process descends from, which no process without privilege can change (`audit_setloginuid(3)`).
fn login(pid: u32) -> Option<u32> {
    std::fs::read_to_string(format!("/proc/{pid}/sessionid"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process below a shell below this one, which stands for a harness.
    fn below() -> (Child, u32) {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 60 & echo $!; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        (child, line.trim().parse().unwrap())
    }

    fn end(mut child: Child, grandchild: u32) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(grandchild).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_below_a_harness_is_governed_and_the_harness_is_found_through_its_shell() {
        let (shell, hook) = below();
        let governed = Governed::default();
        assert!(!matches!(governed.by_parents(hook), Standing::Governed(_)));
        governed.note(hook);
        governed.note(hook);
        let harness = governed.harnesses().clone();
        assert_eq!(harness.len(), 1);
        assert_eq!(harness[0].pid, std::process::id(), "the shell is not the harness");
        assert!(matches!(governed.by_parents(hook), Standing::Governed(_)));
        // Another process under the pid of a harness that has ended; but what it started may live on in its login.
        governed.harnesses()[0].started += 1;
        assert!(matches!(governed.by_parents(hook), Standing::Unknown(_)));
        governed.harnesses()[0].login = login(hook).unwrap_or(NO_LOGIN) ^ 1;
        assert_eq!(governed.by_parents(hook), Standing::Free);
        governed.missed();
        assert!(matches!(governed.by_parents(hook), Standing::Unknown(_)));
        end(shell, hook);
    }

    #[test]
    fn without_an_agent_nothing_is_believed_that_could_be_otherwise() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (governed, link) = (Governed::default(), AgentLink::default());
        let standing = runtime.block_on(governed.standing(None, &link, false));
        assert!(matches!(standing, Standing::Unknown(_)));
        assert!(matches!(governed.by_parents(u32::MAX - 1), Standing::Unknown(_)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let governed = Governed::default();
        let old = Harness {
            pid: 0,
            started: 0,
            login: NO_LOGIN,
        };
        governed.harnesses().extend(vec![old; MAX_HARNESSES]);
        let (shell, hook) = below();
        governed.note(hook);
        assert_eq!(governed.harnesses().len(), MAX_HARNESSES);
        assert!(
            !governed.missed.load(Ordering::Relaxed),
            "the one that went had ended"
        );
        // One that runs is not simply forgotten.
        let living = Harness {
            pid: 1,
            started: stat(1).unwrap().started,
            login: NO_LOGIN,
        };
        governed.harnesses().clear();
        governed.harnesses().push_back(living);
        governed.harnesses().extend(vec![old; MAX_HARNESSES - 1]);
        governed.note(hook);
        assert!(governed.missed.load(Ordering::Relaxed));
        end(shell, hook);
    }
}
