//! Texts that do not run here and now: on another host, in a container, in a script that is only written.
//!
//! They are read like any command line, but what they touch is not touched here: of what they declare only the flows and
//! the behaviours count that mean the same wherever they happen.

use defenseclaw_model::facts::BehaviourKind::{
    Abuse, Control, Credential, Destruction, Discovery, Evasion, Execution, Exfiltration, Persistence,
    Privilege,
};
use defenseclaw_model::facts::{Behaviour, FlowKind, Radius};

use super::Analysis;
use crate::shell::{self, Place, Scope, Sink};

/// Most flows in all.
const MAX_FLOWS: usize = 64;

/// Where a text runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// On another host.
    Remote,
    /// In a container, which is made to be thrown away.
    Container,
    /// In a script that is written, to be run by whoever wants to.
    Script,
    /// In a file that something runs by itself.
    Startup,
}

impl Setting {
    /// What a behaviour means there; `None` if nothing.
    fn place(self, behaviour: Behaviour) -> Option<Behaviour> {
        let far = behaviour.radius.is_some_and(|radius| radius >= Radius::Home);
        let keeps = match (self, behaviour.kind) {
            (_, Control | Abuse) => true,
            (_, Exfiltration) => self != Self::Script || behaviour.technique != "cloud-copy",
            (_, Execution) => {
                behaviour.technique != "remote-module"
                    && (self != Self::Container || behaviour.technique != "temp-exec")
            }
            // A script that raises itself where it is run asks whoever runs it.
            (_, Discovery) => false,
            (Self::Startup, Privilege) | (Self::Remote, Privilege) => behaviour.technique != "sudo",
            (_, Privilege) => false,
            (Self::Remote | Self::Startup, Destruction) => behaviour.technique != "service-stop",
            // What a container holds is made again, but for the data that it serves.
            (Self::Container, Destruction) => {
                matches!(
                    behaviour.technique.as_str(),
                    "drop-database" | "delete-rows" | "encrypt-files"
                )
            }
            (_, Destruction) => far && !matches!(behaviour.technique.as_str(), "service-stop" | "reboot"),
            (Self::Container, Evasion | Persistence) => false,
            (Self::Script, Persistence) => matches!(
                behaviour.technique.as_str(),
                "ld-preload" | "ssh-authorized-key" | "alias-shadow" | "pam" | "harness-hook"
            ),
            (_, Persistence) => true,
            (Self::Script, Evasion) => !matches!(
                behaviour.technique.as_str(),
                "tls-verify-off"
                    | "sandbox-off"
                    | "timestomp"
                    | "immutable"
                    | "swap-off"
                    | "proxy-env"
                    | "history-control"
                    | "hide-file"
            ),
            (_, Evasion) => true,
            (Self::Script, Credential) => !matches!(
                behaviour.technique.as_str(),
                "cloud-token" | "vault" | "env-dump" | "ssh-agent" | "history-search" | "database-dump"
            ),
            (_, Credential) => behaviour.technique != "env-dump",
        };
        keeps.then_some(behaviour)
    }
}

/// Reads `text` as a command line that runs in `setting`.
pub(super) fn command_line(analysis: &mut Analysis, text: &str, setting: Setting, place: Place) {
    with(analysis, setting, |inner| {
        let end = text.floor_char_boundary(super::MAX_COMMAND);
        let mut scope = Scope::new(None, None);
        shell::read(&text[..end], inner, &mut scope, place);
    });
}

/// Lets `read` fill facts of their own, and takes over what counts in `setting`.
pub(super) fn with(analysis: &mut Analysis, setting: Setting, read: impl FnOnce(&mut Analysis)) {
    if analysis.stopped() {
        return;
    }
    let mut inner = Analysis::new();
    inner.budget = analysis.budget;
    read(&mut inner);
    let (budget, stopped) = (inner.budget, inner.stopped);
    let facts = inner.finish(None);
    analysis.budget = budget;
    for behaviour in facts
        .behaviours
        .into_iter()
        .filter_map(|behaviour| setting.place(behaviour))
    {
        analysis.behave(
            behaviour.kind,
            &behaviour.technique,
            &behaviour.object,
            behaviour.radius,
        );
    }
    for flow in facts.flows {
        let plain = flow.from.kind == FlowKind::Command
            || (setting == Setting::Script && flow.from.kind == FlowKind::File);
        if !plain && analysis.facts.flows.len() < MAX_FLOWS && !analysis.facts.flows.contains(&flow) {
            analysis.facts.flows.push(flow);
        }
    }
    if stopped && setting != Setting::Script {
        let why = facts
            .opaque
            .last()
            .map_or("too-large", |opaque| match opaque.why.as_str() {
                "too-deep" => "too-deep",
                _ => "too-large",
            });
        analysis.stop(why, "");
    }
}
