//! The agent's loop: rings, gateway and clock, one thread.

mod gated;
mod programs;
mod service;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use defenseclaw_model::config::Config;
use defenseclaw_model::ids::SessionId;
use defenseclaw_model::record::{Binding, Draft, RecordBody};
use defenseclaw_model::wire::{
    AgentStatus, Counters, Cursor, FamilyStatus, Tier, ToAgent, ToGateway, WIRE_VERSION, Whose,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::time::{ClockId, clock_gettime};

use crate::attribution::Attributor;
use crate::canary;
use crate::gate::Gate;
use crate::host::LiveHost;
use crate::kernel::proc;
use crate::link::{Link, LinkError};
use crate::outbox::Outbox;
use crate::sensor::record::Event;
use crate::sensor::{Sensor, SensorError};
use programs::{hooks, own};
use service::Service;

/// How often counters are looked at and a lost gateway is tried again.
const TICK: Duration = Duration::from_millis(500);
/// How often the gateway is told the agent's state.
const STATUS_EVERY: Duration = Duration::from_secs(2);
/// How long the last records may take to reach the gateway when the agent is stopped.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why the agent stopped.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The sensor does not run.
    #[error(transparent)]
    Sensor(#[from] SensorError),
    /// The system refused something that the loop needs.
    #[error("{what}: {error}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        error: nix::Error,
    },
}

/// The agent.
pub struct Daemon {
    socket: PathBuf,
    sensor: Sensor,
    attributor: Attributor,
    outbox: Outbox,
    link: Option<Link>,
    welcomed: bool,
    /// Last complaint about the connection, so that it is told once.
    complaint: String,
    families: Vec<FamilyStatus>,
    reported: Counters,
    /// The sensor was running before this agent, and the gateway has not named the sessions yet.
    took_over: bool,
    /// This agent loaded the sensor, and the gateway has not named the sessions yet.
    fresh: bool,
    clock_ns: u64,
    last_status: Option<Instant>,
    gate: Option<Gate>,
    /// What is said of the gate where there is none.
    no_gate: FamilyStatus,
    service: Service,
    /// Whether the kernel programs stay when this agent ends.
    leave_sensor: bool,
}

impl Daemon {
    /// Starts the sensor and proves it.
    pub fn start(config: &Config) -> Result<Self, DaemonError> {
        // Before the gate's threads are there, which take the mask over: a signal that one of them did not block would end the
        // process on the spot, with its last records and its programs left where they are.
        signals().thread_block().map_err(system("block signals"))?;
        let instance = instance_name(config);
        let mut sensor = Sensor::start(&instance)?;
        let took_over = sensor.was_adopted();
        // What waits in a running sensor's rings belongs to sessions that the gateway will name; a canary would mix with it.
        let families = if took_over {
            sensor.families().to_vec()
        } else {
            canary::prove(&mut sensor)
        };
        for family in &families {
            tracing::info!(family = family.family, tier = ?family.tier, detail = family.detail, "sensor");
        }
        let (gate, no_gate) = gated::start(config);
        proc::return_memory();
        tracing::info!(sensor = sensor.id(), took_over, "agent started");
        Ok(Self {
            socket: config.agent_socket(),
            reported: sensor.counters(),
            sensor,
            attributor: Attributor::new(hooks()).with_own(own()),
            outbox: Outbox::default(),
            link: None,
            welcomed: false,
            complaint: String::new(),
            families,
            took_over,
            fresh: !took_over,
            clock_ns: clock_offset(),
            last_status: None,
            gate,
            no_gate,
            service: Service::from_environment(),
            leave_sensor: false,
        })
    }

    /// The kernel programs stay when this agent ends: the next one takes them over, with every process still in its session.
    pub fn leaving_sensor(self, leave_sensor: bool) -> Self {
        Self { leave_sensor, ..self }
    }

    /// Runs until SIGTERM or SIGINT; then the sensor is unloaded, or left for the next agent.
    pub fn run(mut self) -> Result<(), DaemonError> {
        let signal_fd = SignalFd::with_flags(&signals(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .map_err(system("open a signal descriptor"))?;
        let mut next_tick = Instant::now();
        self.say_ready();
        loop {
            self.wait(&signal_fd, next_tick)
                .map_err(system("wait for events"))?;
            if signal_fd.read_signal().is_ok_and(|signal| signal.is_some()) {
                return self.stop();
            }
            // Until the gateway has named the sessions, records wait in the rings: they could not be attributed.
            if self.welcomed || !self.took_over {
                self.take_events();
            }
            self.talk();
            self.serve_gate();
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                self.tick();
            }
            self.turn_done();
        }
    }

    fn wait(&self, signal_fd: &SignalFd, next_tick: Instant) -> Result<(), nix::Error> {
        let [security, telemetry] = self.sensor.descriptors();
        let mut fds = vec![PollFd::new(signal_fd.as_fd(), PollFlags::POLLIN)];
        if self.welcomed || !self.took_over {
            fds.push(PollFd::new(security, PollFlags::POLLIN));
            fds.push(PollFd::new(telemetry, PollFlags::POLLIN));
        }
        if let Some(gate) = &self.gate {
            fds.push(PollFd::new(gate.descriptor(), PollFlags::POLLIN));
        }
        if let Some(link) = &self.link {
            let mut wanted = PollFlags::POLLIN;
            if link.has_unsent() {
                wanted |= PollFlags::POLLOUT;
            }
            fds.push(PollFd::new(link.descriptor(), wanted));
        }
        let left = next_tick.saturating_duration_since(Instant::now()).min(TICK);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes what the kernel has produced until now and attributes it. What is produced meanwhile waits for the next turn,
    /// so that a flood cannot keep the gateway waiting.
    fn take_events(&mut self) {
        let until = self.sensor.produced();
        loop {
            let events = self.sensor.drain();
            if events.is_empty() {
                return;
            }
            self.attribute(&events);
            let cursor = self.sensor.cursor();
            if cursor.security >= until.security && cursor.telemetry >= until.telemetry {
                return;
            }
        }
    }

    fn attribute(&mut self, events: &[Event]) {
        let cursor = self.sensor.cursor();
        let mut host = LiveHost {
            sensor: &mut self.sensor,
        };
        for event in events {
            if let Some(draft) = self.attributor.event(&mut host, event, self.clock_ns) {
                self.outbox.push(draft, cursor);
            }
        }
        self.attributor.settle(&mut host);
    }

    /// Reads from and writes to the gateway.
    fn talk(&mut self) {
        let frames = match self.link.as_mut().map(Link::receive) {
            None => return,
            Some(Ok(frames)) => frames,
            Some(Err(error)) => return self.disconnect(&error),
        };
        for frame in frames {
            if let Err(error) = self.handle(frame) {
                return self.disconnect(&error);
            }
        }
        if let Err(error) = self.send_waiting() {
            self.disconnect(&error);
        }
    }

    fn send_waiting(&mut self) -> Result<(), LinkError> {
        let Some(link) = self.link.as_mut() else {
            return Ok(());
        };
        if self.welcomed {
            let now_ns = self.clock_ns.wrapping_add(boot_ns());
            while let Some(batch) = self.outbox.next_batch(now_ns) {
                link.send(&batch)?;
            }
        }
        link.flush()
    }

    fn handle(&mut self, frame: ToAgent) -> Result<(), LinkError> {
        match frame {
            ToAgent::Welcome {
                wire,
                last_batch,
                cursor,
                sessions,
            } => {
                if wire != WIRE_VERSION {
                    return Err(LinkError::Protocol(format!(
                        "it speaks version {wire} of the frames, this agent version {WIRE_VERSION}: install both from one release"
                    )));
                }
                self.outbox.connected(last_batch);
                if std::mem::take(&mut self.fresh) && !sessions.is_empty() {
                    self.gap("sensor_started", None, format!(
                        "{} open sessions ran while no sensor was loaded: what they did until now was not seen, and they \
                         are seen again from their next hook on",
                        sessions.len()
                    ));
                }
                self.attributor.restore(
                    &mut LiveHost {
                        sensor: &mut self.sensor,
                    },
                    sessions,
                );
                self.welcomed = true;
                self.note_restart_gap(cursor);
                self.take_events();
                if let Some(gate) = &self.gate {
                    gate.connected();
                }
            }
            ToAgent::Register {
                request,
                session,
                hook_pid,
                call,
                denied,
            } => {
                // Everything that happened before the hook is attributed before the call is known.
                self.take_events();
                let mut host = LiveHost {
                    sensor: &mut self.sensor,
                };
                let binding = self
                    .attributor
                    .register(&mut host, &session, hook_pid, call, denied);
                if let Binding::Failed { reason } | Binding::Forged { caller: reason } = &binding {
                    tracing::warn!(%session, reason, "not bound");
                }
                if let (Some(gate), Some(harness)) = (&self.gate, self.attributor.harness(&session)) {
                    gate.program(Path::new(harness));
                }
                if let Some(link) = self.link.as_mut() {
                    link.send(&ToGateway::Registered { request, binding })?;
                }
            }
            ToAgent::Adopt {
                request,
                session,
                pid,
                call,
            } => {
                self.take_events();
                let mut host = LiveHost {
                    sensor: &mut self.sensor,
                };
                let binding = self.attributor.adopt(&mut host, &session, pid, call);
                if let Binding::Failed { reason } = &binding {
                    tracing::warn!(%session, reason, "not bound");
                }
                if let Some(link) = self.link.as_mut() {
                    link.send(&ToGateway::Registered { request, binding })?;
                }
            }
            ToAgent::Whose { request, pid } => {
                let whose = self.whose(pid);
                if let Some(link) = self.link.as_mut() {
                    link.send(&ToGateway::Whose { request, whose })?;
                }
            }
            ToAgent::CallEnd { session, call } => {
                self.take_events();
                self.attributor.call_end(&session, &call);
            }
            ToAgent::SessionEnd { session } => {
                self.take_events();
                self.attributor.session_end(&session);
            }
            ToAgent::Admitted { .. }
            | ToAgent::GateScope { .. }
            | ToAgent::Quarantine { .. }
            | ToAgent::QuarantineNoted { .. } => return self.for_gate(frame),
            ToAgent::Ack { batch } => self.outbox.acknowledged(batch),
        }
        Ok(())
    }

    /// Labels are set by the kernel at fork, so what the map holds now is all there is to know; unless some could not be set.
    fn whose(&mut self, pid: u32) -> Whose {
        let unknown = |reason: &str| Whose::Unknown {
            reason: reason.into(),
        };
        let watched = |family: &FamilyStatus| family.family == "process" && family.tier != Tier::None;
        if !self.families.iter().any(watched) {
            return unknown("the sensor does not see processes on this host");
        }
        if self.sensor.counters().label_map_full > 0 {
            return unknown("some processes could not be labelled because there were too many");
        }
        let mut host = LiveHost {
            sensor: &mut self.sensor,
        };
        self.attributor.whose(&mut host, pid)
    }

    /// Says how many records an agent before this one took from the rings and did not bring to the ledger.
    fn note_restart_gap(&mut self, ledger: Cursor) {
        if !self.took_over {
            return;
        }
        self.took_over = false;
        let produced = self.sensor.produced();
        let waiting = self.sensor.drain();
        let first = |security: bool, last: u64| {
            let numbers = waiting
                .iter()
                .filter(|event| event.is_security() == security)
                .map(|event| event.seq);
            numbers.min().unwrap_or(last + 1)
        };
        let lost = |first: u64, ledger: u64| first.saturating_sub(1).saturating_sub(ledger);
        let missing = lost(first(true, produced.security), ledger.security)
            + lost(first(false, produced.telemetry), ledger.telemetry);
        if missing > 0 {
            self.gap("agent_restart", Some(missing), format!(
                "an agent that ended without notice had taken up to {missing} kernel records that did not reach the ledger; \
                 some of them may have been reads that no rule watches"
            ));
        }
        self.attribute(&waiting);
    }

    fn tick(&mut self) {
        self.clock_ns = clock_offset();
        self.note_losses();
        if self.link.is_none() {
            self.connect();
        }
        let due = self.last_status.is_none_or(|last| last.elapsed() >= STATUS_EVERY);
        if self.welcomed && due {
            self.last_status = Some(Instant::now());
            let status = self.status();
            let sent = self
                .link
                .as_mut()
                .map(|link| link.send(&ToGateway::Status { status }));
            if let Some(Err(error)) = sent {
                self.disconnect(&error);
            }
        }
        if let Err(error) = self.send_waiting() {
            self.disconnect(&error);
        }
    }

    /// Turns what the kernel could not deliver since the last look into records.
    fn note_losses(&mut self) {
        let now = self.sensor.counters();
        let before = std::mem::replace(&mut self.reported, now);
        let losses = [
            (
                "security_ring_full",
                now.security_ring_full.saturating_sub(before.security_ring_full),
                "the security ring was full",
            ),
            (
                "telemetry_ring_full",
                now.telemetry_ring_full.saturating_sub(before.telemetry_ring_full),
                "the telemetry ring was full",
            ),
            (
                "program_missed",
                now.program_misses.saturating_sub(before.program_misses),
                "the kernel skipped a program",
            ),
            (
                "undecodable",
                now.undecodable.saturating_sub(before.undecodable),
                "records could not be decoded",
            ),
        ];
        for (cause, missing, what) in losses {
            if missing > 0 {
                self.gap(
                    cause,
                    Some(missing),
                    format!("{what}: {missing} kernel records are missing"),
                );
            }
        }
    }

    fn gap(&mut self, cause: &str, missing: Option<u64>, detail: String) {
        tracing::warn!(cause, missing, "{detail}");
        let draft = self.draft(RecordBody::Gap {
            cause: cause.into(),
            missing,
            detail,
        });
        let cursor = self.sensor.cursor();
        self.outbox.push(draft, cursor);
    }

    fn draft(&self, body: RecordBody) -> Draft {
        Draft {
            time_ns: self.clock_ns.wrapping_add(boot_ns()),
            session: None::<SessionId>,
            call: None,
            body,
        }
    }

    fn connect(&mut self) {
        match Link::connect(&self.socket) {
            Ok(mut link) => {
                let hello = ToGateway::Hello {
                    wire: WIRE_VERSION,
                    version: env!("CARGO_PKG_VERSION").into(),
                    sensor: self.sensor.id().into(),
                    status: self.status(),
                };
                match link.send(&hello) {
                    Ok(()) => {
                        tracing::info!(socket = %self.socket.display(), "connected to the gateway");
                        self.complaint.clear();
                        self.link = Some(link);
                    }
                    Err(error) => self.complain(&error),
                }
            }
            Err(error) => self.complain(&error),
        }
    }

    fn disconnect(&mut self, error: &LinkError) {
        self.link = None;
        self.welcomed = false;
        self.last_status = None;
        if let Some(gate) = &self.gate {
            gate.disconnected();
        }
        self.complain(error);
    }

    fn complain(&mut self, error: &LinkError) {
        let text = error.to_string();
        if text != self.complaint {
            tracing::warn!(
                "{text}; trying again every {} ms, records wait here",
                TICK.as_millis()
            );
            self.complaint = text;
        }
    }

    fn status(&self) -> AgentStatus {
        AgentStatus {
            kernel: nix::sys::utsname::uname()
                .map(|name| name.release().to_string_lossy().into_owned())
                .unwrap_or_default(),
            families: self.families.iter().cloned().chain([self.install()]).collect(),
            counters: Counters {
                filtered: self.attributor.filtered(),
                agent_overflow: self.outbox.overflow(),
                ..self.sensor.counters()
            },
            sessions: self.attributor.open_sessions(),
            labelled_processes: self.sensor.labels().len() as u64,
            backlog: self.outbox.len() as u64,
            rss_kib: proc::own_rss_kib(),
        }
    }

    /// Brings the last records to the gateway and unloads the sensor, unless it is to stay.
    fn stop(mut self) -> Result<(), DaemonError> {
        self.say_stopping();
        self.serve_gate();
        if let Some(gate) = self.gate.take() {
            gate.stop();
        }
        let deadline = Instant::now() + LAST_WORDS;
        self.take_events();
        while self.welcomed && !self.outbox.is_empty() && Instant::now() < deadline {
            self.talk();
            std::thread::sleep(Duration::from_millis(5));
        }
        if !self.outbox.is_empty() {
            tracing::warn!(
                records = self.outbox.len(),
                "records that the gateway did not take are lost"
            );
        }
        if self.leave_sensor {
            tracing::info!(
                "stopped: the sensor goes on labelling and collecting until the next agent takes it over"
            );
            return Ok(());
        }
        self.sensor.stop()?;
        tracing::info!("stopped: the sensor is unloaded");
        Ok(())
    }
}

fn system(what: &'static str) -> impl Fn(nix::Error) -> DaemonError {
    move |error| DaemonError::System { what, error }
}

/// The signals that end the agent in order.
fn signals() -> SigSet {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals
}

/// Unloads what agents with this configuration left. Gives how many sensors that were.
pub fn unload(config: &Config) -> Result<usize, DaemonError> {
    Ok(Sensor::unload(&instance_name(config))?)
}

/// Keeps instances with different state folders apart.
fn instance_name(config: &Config) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(config.state.as_os_str().as_encoded_bytes());
    digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn nanoseconds(clock: ClockId) -> u64 {
    clock_gettime(clock)
        .map(|time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
        .unwrap_or(0)
}

/// Now, ns since boot.
fn boot_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_BOOTTIME)
}

/// What turns time since boot into time since the Unix epoch.
fn clock_offset() -> u64 {
    nanoseconds(ClockId::CLOCK_REALTIME).wrapping_sub(boot_ns())
}
