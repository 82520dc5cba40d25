//! What the loop does for the install gate, which runs in threads of its own.

use std::path::Path;

use defenseclaw_model::config::Config;
use defenseclaw_model::gate::QuarantineOutcome;
use defenseclaw_model::sandbox::{LAUNCHER, WHOLE_TOOL};
use defenseclaw_model::wire::{FamilyStatus, ToAgent, ToGateway, Whose};

use super::Daemon;
use super::programs::places;
use crate::gate::{self, Gate, Outgoing, Setup};
use crate::kernel::proc;
use crate::link::LinkError;

impl Daemon {
    /// Hands the gate what is meant for it.
    pub(super) fn for_gate(&mut self, frame: ToAgent) -> Result<(), LinkError> {
        match (&mut self.gate, frame) {
            (Some(gate), ToAgent::Admitted { request, answer }) => gate.admitted(request, answer),
            (Some(gate), ToAgent::GateScope { scope }) => gate.scope(scope),
            (Some(gate), ToAgent::Quarantine { request, verb }) => gate.obey(request, verb),
            (Some(gate), ToAgent::QuarantineNoted { id }) => gate.noted(id),
            (None, ToAgent::Quarantine { request, .. }) => {
                let reason = format!("there is no install gate on this host: {}", self.no_gate.detail);
                let outcome = QuarantineOutcome::Refused { reason };
                if let Some(link) = self.link.as_mut() {
                    link.send(&ToGateway::QuarantineDone { request, outcome })?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Sends and records what the gate has. What the gateway is not there for is told again when it is.
    pub(super) fn serve_gate(&mut self) {
        let waiting = self.gate.as_ref().map(Gate::take).unwrap_or_default();
        for outgoing in waiting {
            let frame = match outgoing {
                Outgoing::Record(body) => {
                    let draft = self.draft(*body);
                    let cursor = self.sensor.cursor();
                    self.outbox.push(draft, cursor);
                    continue;
                }
                Outgoing::Frame(frame) => *frame,
                Outgoing::Admit(request, mut question, thread) => {
                    if let Some(pid) = proc::process_of(thread)
                        && let Whose::Session { session } = self.whose(pid)
                    {
                        question.session = session;
                    }
                    ToGateway::Admit { request, question }
                }
            };
            let sent = self
                .link
                .as_mut()
                .filter(|_| self.welcomed)
                .map(|link| link.send(&frame));
            if let Some(Err(error)) = sent {
                self.disconnect(&error);
            }
        }
    }

    /// What is in force.
    pub(super) fn install(&self) -> FamilyStatus {
        self.gate
            .as_ref()
            .map_or_else(|| self.no_gate.clone(), Gate::family)
    }
}

/// The gate, or what is said of its absence. Without it the agent goes on: the hook and the sensor are there.
pub(super) fn start(config: &Config) -> (Option<Gate>, FamilyStatus) {
    let setup = Setup {
        config: config.clone(),
        scanners: places(LAUNCHER)
            .filter_map(|launcher| launcher.parent().map(Path::to_owned))
            .flat_map(|folder| WHOLE_TOOL.map(|tool| folder.join(tool)))
            .collect(),
        homes: config.gate.homes.clone().unwrap_or_else(gate::places::homes),
    };
    match Gate::start(setup) {
        Ok(gate) => {
            let family = gate.family();
            tracing::info!(family = family.family, tier = ?family.tier, detail = family.detail, "gate");
            (Some(gate), family)
        }
        Err(error) => {
            tracing::warn!(%error, "there is no install gate");
            (None, gate::absent(&error))
        }
    }
}
