//! Commands that entered a sandbox: what is in force around them, and a session for those that no harness started.
//!
//! The launcher tells of it after its sandbox is closed and before it becomes the command. A process of a session stays in that
//! session. Any other begins one of its own, whose only call is the command: then the kernel view of it is labelled and judged as an
//! agent's call is. Nobody waits for an answer on whether the command may run, so its decision is recorded and not enforced.

use std::sync::Arc;

use defenseclaw_model::call::{CallKind, ToolCall};
use defenseclaw_model::ids::{CallId, SessionId};
use defenseclaw_model::record::{Binding, Draft, RecordBody};
use defenseclaw_model::sandbox::{RUN, RUN_CALL, SandboxEntered, SandboxReport, SeenOutside};
use defenseclaw_model::wire::Whose;
use serde_json::json;

use super::sandbox::Doors;
use super::tool_call::{Asked, consider};
use super::{Engine, Peer};
use crate::clock;
use crate::judge::Declared;
use crate::ledger_writer::{AppendError, Bundle};
use crate::redact;

/// Most protections and notes of a report that are recorded: a launcher tells of fewer than twenty.
const MAX_LINES: usize = 64;
/// Longest text of a report that is recorded (bytes).
const MAX_TEXT: usize = 1024;

impl Engine {
    /// Records what is in force around a command. Gives its session.
    pub(crate) async fn entered(
        &self,
        peer: Peer,
        entered: SandboxEntered,
    ) -> Result<SessionId, AppendError> {
        let SandboxEntered {
            mut report,
            call,
            command,
        } = entered;
        bound(&mut report);
        let seen = peer.pid.and_then(seen);
        let time_ns = clock::now_ns();
        let mut bundle = Bundle::default();
        let call = call.and_then(|call| CallId::new(&call).ok());
        let (session, call) = match self.session_of(peer, call).await {
            Some(known) => known,
            None => {
                let session = self.begin(peer, &report.project, command, &mut bundle).await;
                (session, CallId::new(RUN_CALL).ok())
            }
        };
        bundle.push(Draft {
            time_ns,
            session: Some(session.clone()),
            call,
            body: RecordBody::Sandbox {
                report,
                seen,
                pid: peer.pid,
                uid: peer.uid,
            },
        });
        self.parts.ledger.append(bundle).await?;
        Ok(session)
    }

    /// The session that the process belongs to already, and the call if that is one of it.
    async fn session_of(&self, peer: Peer, call: Option<CallId>) -> Option<(SessionId, Option<CallId>)> {
        let whose = match peer.pid {
            Some(pid) => self.parts.agent.whose(pid).await,
            None => None,
        };
        let claimed = call
            .as_ref()
            .and_then(|call| self.sessions().with_open_call(peer.uid, call));
        match whose {
            Some(Whose::Session {
                session: Some(session),
            }) => {
                let own = claimed.as_ref() == Some(&session);
                Some((session, call.filter(|_| own)))
            }
            // Without the kernel view its word is all that there is, as it is for hooks.
            None => claimed.map(|session| (session, call)),
            Some(_) => None,
        }
    }

    /// Begins a session whose one call is the command.
    async fn begin(&self, peer: Peer, project: &str, command: Vec<String>, bundle: &mut Bundle) -> SessionId {
        let time_ns = clock::now_ns();
        let pid = peer.pid.unwrap_or_default();
        let name = format!("{pid}-{time_ns:x}");
        let session = SessionId::new(RUN, &name).unwrap_or_else(|_| unreachable!("digits are an id"));
        self.sessions().claim(&session, peer.uid);
        self.parts.admissions.saw(peer.uid, Some(project), None).await;
        let considered = self.consider_command(&session, peer, project, command).await;
        let declaration = considered
            .as_ref()
            .map(|considered| considered.declaration.clone());
        let binding = match (peer.pid, declaration) {
            (Some(pid), Some(call)) => self.parts.agent.adopt(&session, pid, call).await,
            (None, _) if self.parts.agent.connected() => Binding::Failed {
                reason: "the command runs in another pid namespace, so that its process cannot be told"
                    .into(),
            },
            (_, None) => Binding::Failed {
                reason: "the command could not be understood".into(),
            },
            (None, _) => Binding::NoAgent,
        };
        bundle.push(Draft {
            time_ns,
            session: Some(session.clone()),
            call: None,
            body: RecordBody::SessionStart {
                source: Some("a command in a sandbox".into()),
                cwd: Some(project.to_owned()),
                uid: peer.uid,
                binding: binding.clone(),
            },
        });
        if let Some(considered) = considered {
            self.sessions()
                .open_call(&session, Arc::new(considered.declaration.clone()));
            self.parts.judge.declare(Declared {
                session: session.clone(),
                call: considered.asked.call.call.clone(),
                tool: redact::tool(&considered.asked.call.tool),
                facts: considered.judged.clone(),
            });
            bundle.push(considered.draft(time_ns, binding));
        }
        session
    }

    async fn consider_command(
        &self,
        session: &SessionId,
        peer: Peer,
        project: &str,
        command: Vec<String>,
    ) -> Option<super::tool_call::Considered> {
        let call = ToolCall {
            call: CallId::new(RUN_CALL).ok()?,
            tool: RUN.into(),
            kind: CallKind::Command {
                command: shell_words(&command),
                background: false,
            },
            input: json!({"argv": command}),
        };
        let asked = Asked {
            session: session.clone(),
            native: String::new(),
            cwd: Some(project.to_owned()),
            home: self.homes.of(peer.uid).await,
            size: command.iter().map(String::len).sum(),
            call,
            came: None,
        };
        let mut decider = self.decider(session, peer.uid, false, Doors::none());
        decider.observe();
        consider(decider, asked, &Binding::Bound).await
    }
}

/// The arguments as one line that a shell would take apart into the same.
fn shell_words(argv: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,+@%".contains(c);
    let quoted = |word: &String| match !word.is_empty() && word.chars().all(plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    argv.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Cuts and masks what a launcher tells: anybody may call itself one.
fn bound(report: &mut SandboxReport) {
    let cut = |text: &mut String| *text = defenseclaw_detect::mask::mask_text(text, MAX_TEXT);
    cut(&mut report.profile);
    cut(&mut report.project);
    report.protections.truncate(MAX_LINES);
    for one in &mut report.protections {
        [&mut one.family, &mut one.by, &mut one.proof, &mut one.detail]
            .into_iter()
            .for_each(cut);
    }
    report.notes.truncate(MAX_LINES);
    report.notes.iter_mut().for_each(cut);
}

/// What the kernel tells of a process, from `/proc/PID/status`.
fn seen(pid: u32) -> Option<SeenOutside> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let number = |name: &str| -> Option<u32> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().parse().ok()
    };
    Some(SeenOutside {
        no_new_privileges: number("NoNewPrivs")? == 1,
        // The count came with Linux 5.9; before, the mode tells that there is one.
        filters: number("Seccomp_filters").or_else(|| number("Seccomp").map(|mode| u32::from(mode == 2)))?,
    })
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::sandbox::SandboxProtection;

    use super::*;

    #[test]
    fn a_shell_takes_the_line_apart_into_the_same_words() {
        let words = ["npm", "run", "a b", "it's", "$HOME", ""].map(str::to_owned);
        assert_eq!(shell_words(&words), r"npm run 'a b' 'it'\''s' '$HOME' ''");
    }

    #[test]
    fn what_a_launcher_tells_is_bounded() {
        let one = SandboxProtection {
            family: "x".repeat(5000),
            by: String::new(),
            required: false,
            proof: String::new(),
            detail: String::new(),
        };
        let mut report = SandboxReport {
            profile: "p".repeat(5000),
            project: String::new(),
            landlock_abi: 0,
            best_effort: false,
            protections: vec![one; 500],
            notes: vec!["n".into(); 500],
        };
        bound(&mut report);
        assert!(report.profile.len() <= MAX_TEXT + 64);
        assert!(report.protections.len() == MAX_LINES && report.notes.len() == MAX_LINES);
        assert!(report.protections[0].family.len() <= MAX_TEXT + 64);
    }

    #[test]
    fn the_kernel_s_word_on_this_process() {
        let own = seen(std::process::id()).unwrap();
        // SAFETY: asks for a number.
        let no_new = unsafe { nix::libc::prctl(nix::libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) };
        assert_eq!(own.no_new_privileges, no_new == 1);
        assert_eq!(seen(u32::MAX), None);
    }
}
