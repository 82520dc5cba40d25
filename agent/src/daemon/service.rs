//! What the loop tells the service manager: that it works, what it is about, and that it is alive.

use std::time::Instant;

use defenseclaw_service::Notifier;

use super::Daemon;
use crate::gate::Gate;

/// Signs in the time within which the manager wants one: two may fail before it acts.
const SIGNS: u32 = 3;

/// What the manager knows.
#[derive(Debug, Default)]
pub(super) struct Service {
    notifier: Notifier,
    last_sign: Option<Instant>,
    said: String,
    stuck: bool,
}

impl Service {
    /// As the environment says.
    pub(super) fn from_environment() -> Self {
        Self {
            notifier: Notifier::from_environment(),
            ..Self::default()
        }
    }
}

impl Daemon {
    /// The sensor is loaded and the gate holds opens.
    pub(super) fn say_ready(&mut self) {
        self.service.said = self.state_in_words();
        self.service.notifier.ready(&self.service.said);
    }

    /// The loop ends.
    pub(super) fn say_stopping(&self) {
        self.service
            .notifier
            .stopping("brings the last records to the gateway");
    }

    /// Called by the loop when a whole turn is done: the rings were read, the gateway and the gate were served. A sign of life is
    /// given here and nowhere else, and only while the thread answers that holds opens: were it stuck, everybody's opens would be.
    pub(super) fn turn_done(&mut self) {
        let words = self.state_in_words();
        if self.service.said != words && !self.service.stuck {
            self.service.notifier.status(&words);
            self.service.said = words;
        }
        let Some(within) = self.service.notifier.watchdog() else {
            return;
        };
        let due = |last: Instant| last.elapsed() >= within / SIGNS;
        if !self.service.last_sign.is_none_or(due) {
            return;
        }
        self.service.last_sign = Some(Instant::now());
        if self.gate.as_ref().is_none_or(Gate::answers) {
            self.service.notifier.alive();
            if std::mem::take(&mut self.service.stuck) {
                tracing::info!("the gate's thread answers again");
                self.service.notifier.status(&self.service.said);
            }
            return;
        }
        let text = "stuck: the thread that answers held opens does not answer";
        if !std::mem::replace(&mut self.service.stuck, true) {
            tracing::error!("{text}; the service manager gets no sign of life until that has changed");
        }
        self.service.notifier.status(text);
    }

    fn state_in_words(&self) -> String {
        let gate = match &self.gate {
            Some(_) => "holds the install gate",
            None => "has no install gate",
        };
        let gateway = match self.welcomed {
            true => "connected to the gateway",
            false => "waits for the gateway",
        };
        format!("watches and {gate}; {gateway}")
    }
}
