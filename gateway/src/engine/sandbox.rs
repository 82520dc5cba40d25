//! Calls into rooms: which way there is, and what runs then.

use std::path::Path;
use std::sync::Arc;

use defenseclaw_detect::line;
use defenseclaw_harness::contract::sandbox::{Rooms, Wrapping, unwrap, wrap};
use defenseclaw_model::api::SandboxStatus;
use defenseclaw_model::call::{CallKind, HookEventKind, ToolCall};
use defenseclaw_model::config::Config;
use defenseclaw_model::decision::{Decision, Finding, Severity, Verdict};
use defenseclaw_model::ids::{CallId, SessionId};
use defenseclaw_model::sandbox::{LAUNCHER, RoomAnswer, RoomQuestion, SandboxRoute, small_programs};
use serde_json::Value;

use super::Engine;
use super::tool_call::Asked;
use crate::connector;

/// The ways into a room that a call of this request has.
#[derive(Clone)]
pub(super) struct Doors {
    rooms: &'static Rooms,
    launcher: Arc<Path>,
    /// The connector's own profile.
    own: Option<String>,
    /// The harness hands its shell lines to our program.
    prefixed: bool,
    /// A reply to this event can change the input.
    modifies: bool,
    /// The folder that the session was started in.
    project: Option<String>,
}

impl Doors {
    /// No way at all, for a command that is in its sandbox already.
    pub(super) fn none() -> Self {
        static NONE: std::sync::LazyLock<Rooms> = std::sync::LazyLock::new(Rooms::default);
        Self {
            rooms: &NONE,
            launcher: launcher(),
            own: None,
            prefixed: false,
            modifies: false,
            project: None,
        }
    }

    /// No way at all.
    #[cfg(test)]
    pub(super) fn closed(connector: &str) -> Self {
        Self {
            rooms: connector::find(connector).unwrap().rooms(),
            launcher: launcher(),
            own: None,
            prefixed: false,
            modifies: false,
            project: None,
        }
    }

    /// The connector's own profile, where a call of that tool can run in it.
    pub(super) fn own(&self, call: &ToolCall) -> Option<&str> {
        self.own.as_deref().filter(|_| self.takes(call))
    }

    fn takes(&self, call: &ToolCall) -> bool {
        matches!(call.kind, CallKind::Command { .. }) && self.rooms.takes(&call.tool)
    }

    /// Takes off what an earlier reply of ours put before the command; gives the input as it came. What an agent wrote that
    /// only looks like it stays.
    pub(super) fn take_off(&self, call: &mut ToolCall) -> Option<Value> {
        if !self.takes(call) {
            return None;
        }
        let text = self.rooms.command(&call.input)?;
        let wrapped = unwrap(text)?;
        let id = CallId::new(&wrapped.call).ok()?;
        let again = wrap(&wrapped.command, &id, self.wrapping(&wrapped.profile))?;
        if again != text {
            return None;
        }
        let input = self.rooms.with_command(&call.input, wrapped.command.clone())?;
        if let CallKind::Command { command, .. } = &mut call.kind {
            *command = wrapped.command;
        }
        Some(std::mem::replace(&mut call.input, input))
    }

    /// The command in an input.
    pub(super) fn line<'v>(&self, input: &'v Value) -> Option<&'v str> {
        self.rooms.command(input)
    }

    fn wrapping<'a>(&'a self, profile: &'a str) -> Wrapping<'a> {
        Wrapping {
            launcher: &self.launcher,
            profile,
            project: self.project.as_deref(),
            exec: self.rooms.exec(),
        }
    }

    /// Says in the decision how the call gets into its room; gives the input that it is to run with. `came`: the input as the
    /// harness gave it, where that was wrapped already.
    pub(super) fn lead(&self, asked: &Asked, came: Option<&Value>, decision: &mut Decision) -> Option<Value> {
        let sandbox = decision.sandbox.as_mut()?;
        if !decision.enforced {
            return None;
        }
        let is_command = matches!(asked.call.kind, CallKind::Command { .. });
        if decision.verdict == Verdict::Deny || !is_command {
            decision.sandbox = None;
            return None;
        }
        let open = |route| self.takes(&asked.call) && self.rooms.routes().contains(&route);
        if self.prefixed && open(SandboxRoute::ShellPrefix) {
            sandbox.by = Some(SandboxRoute::ShellPrefix);
            return None;
        }
        if !open(SandboxRoute::UpdatedInput) {
            let profile = sandbox.profile.clone();
            refuse(
                decision,
                &format!(
                    "The policy lets this call run in the sandbox {profile} only, and a call of {} cannot be put into one by itself. \
                 Start the agent in it: `defenseclaw-cli run --profile {profile} -- …`.",
                    asked.call.tool
                ),
            );
            return None;
        }
        if !self.modifies {
            // The event that can change the input is another one. This one tells whether it did.
            sandbox.by = came.map(|_| SandboxRoute::UpdatedInput);
            return None;
        }
        sandbox.by = Some(SandboxRoute::UpdatedInput);
        let wrapping = self.wrapping(&sandbox.profile);
        let call = ToolCall {
            input: decision
                .updated_input
                .clone()
                .unwrap_or_else(|| asked.call.input.clone()),
            ..asked.call.clone()
        };
        let wrapped = self.rooms.wrapped(&call, wrapping);
        let why = match &wrapped {
            Some(_) if self.launcher.is_file() => return wrapped,
            Some(_) => format!("the launcher {} is not there", self.launcher.display()),
            None => "it is too long, or holds no command".to_owned(),
        };
        refuse(
            decision,
            &format!("This call must run in a sandbox, and cannot be put into it: {why}."),
        );
        None
    }
}

fn refuse(decision: &mut Decision, why: &str) {
    decision.verdict = Verdict::Deny;
    decision.updated_input = None;
    decision.sandbox = None;
    decision.reason = format!("{} {why}", decision.reason);
}

impl Engine {
    /// The ways into a room for a call of that session.
    pub(super) fn doors(&self, request: super::Request, asked: &Asked) -> Doors {
        let connector = asked.session.connector();
        let own = self.config.sandbox_of(connector).map(str::to_owned);
        let prefixed = request.prefixed;
        let project = (own.is_some() || prefixed).then(|| {
            let ledger = self.config.ledger();
            let (session, cwd) = (&asked.session, asked.cwd.as_deref());
            self.tickets().project(session, request.peer.uid, cwd, &ledger)
        });
        Doors {
            rooms: request.connector.rooms(),
            launcher: Arc::clone(&self.launcher),
            own,
            prefixed,
            modifies: request.connector.can(&asked.native).modify,
            project: project.flatten(),
        }
    }

    /// Notes the room of a call that runs, for when its harness hands over the line.
    pub(super) fn give_ticket(&self, request: super::Request, asked: &Asked, decision: &Decision) {
        let CallKind::Command { command, background } = &asked.call.kind else {
            return;
        };
        if !request.prefixed || !request.connector.rooms().takes(&asked.call.tool) {
            return;
        }
        let changed = decision.updated_input.as_ref().filter(|_| decision.enforced);
        let command = changed
            .and_then(|input| request.connector.rooms().command(input))
            .unwrap_or(command);
        let by_prefix =
            |sandbox: &&defenseclaw_model::sandbox::Sandbox| sandbox.by == Some(SandboxRoute::ShellPrefix);
        let profile = decision.sandbox.as_ref().filter(by_prefix);
        self.tickets().give(
            &asked.session,
            request.peer.uid,
            &asked.call.call,
            (command, *background),
            profile.map(|sandbox| sandbox.profile.clone()),
        );
    }

    /// The room for a shell line that a harness of user `uid` handed to our program.
    pub(crate) fn room(&self, uid: u32, question: &RoomQuestion) -> RoomAnswer {
        let connector = question.connector.as_str();
        let session = question.session.as_deref();
        let found = line::command_in(&question.line).and_then(|command| {
            let mut tickets = self.tickets();
            let own = tickets.take(connector, session, uid, &command);
            own.or_else(|| tickets.take(connector, None, uid, &command))
                .or_else(|| tickets.take_only(connector, session?, uid))
        });
        if let Some(found) = found {
            return RoomAnswer {
                profile: found.profile,
                call: Some(found.call),
                project: found.project,
            };
        }
        // Nobody declared that line: it gets what the connector's calls get.
        let own = self.config.sandbox_of(connector).map(str::to_owned);
        RoomAnswer {
            profile: own.filter(|_| self.config.mode_of(connector).enforces()),
            call: None,
            project: None,
        }
    }

    /// Calls that were to run in a room, and whose line nobody handed to our program.
    pub(super) fn ran_outside(&self, session: &SessionId, kind: &HookEventKind) -> Vec<Finding> {
        let missed = match kind {
            HookEventKind::PostToolUse {
                call, failed: false, ..
            } => {
                let profile = self.tickets().missed(session, call);
                profile
                    .map(|profile| (call.clone(), profile))
                    .into_iter()
                    .collect()
            }
            HookEventKind::Stop | HookEventKind::SessionEnd { .. } => self.tickets().overdue(session),
            _ => Vec::new(),
        };
        missed
            .into_iter()
            .map(|(call, profile)| not_applied(&call, &profile))
            .collect()
    }
}

fn not_applied(call: &CallId, profile: &str) -> Finding {
    Finding {
        rule: "sandbox.not-applied".into(),
        category: "trust-exploit".into(),
        severity: Severity::High,
        message: format!(
            "a command was to run in the sandbox {profile}, and its harness did not start it there"
        ),
        remedy:
            "See whether CLAUDE_CODE_SHELL_PREFIX in the harness's settings still names defenseclaw-shell; \
                 `defenseclaw-cli doctor` tells"
                .into(),
        evidence: vec![call.to_string()],
        confidence: 90,
    }
}

/// The launcher: the small program that starts soonest, and only where there is none the whole tool beside the gateway.
pub(super) fn launcher() -> Arc<Path> {
    let own = std::env::current_exe().and_then(|own| own.canonicalize());
    let Ok(own) = own else {
        return Path::new("/usr/bin").join(LAUNCHER).into();
    };
    let found = small_programs(&own)
        .map(|folder| folder.join(LAUNCHER))
        .find(|launcher| launcher.is_file());
    found.unwrap_or_else(|| own.with_file_name(LAUNCHER)).into()
}

/// The connectors whose calls run in rooms, as configured.
pub(super) fn in_force(config: &Config) -> Vec<SandboxStatus> {
    let profile = |name: &String| Some((name.clone(), config.sandbox_of(name)?.to_owned()));
    let status = |(connector, profile): (String, String)| SandboxStatus {
        routes: connector::find(&connector).map_or_else(Vec::new, |found| found.rooms().routes().to_vec()),
        enforced: config.mode_of(&connector).enforces(),
        connector,
        profile,
    };
    config.connectors.keys().filter_map(profile).map(status).collect()
}

/// Whether a connector's calls can be put into rooms one by one; says why not.
pub(crate) fn possible(connector: &str) -> Result<(), String> {
    let Some(contract) = connector::find(connector) else {
        return Err(format!(
            "there is no connector {connector:?}; known: {}",
            connector::names().join(", ")
        ));
    };
    if contract.rooms().routes() == [SandboxRoute::Session] {
        return Err(format!(
            "{} cannot run its calls in sandboxes one by one. Leave it off, and start the whole of it in one: \
             `defenseclaw-cli run --profile PROFILE -- …`",
            contract.product()
        ));
    }
    Ok(())
}
