//! The sensor: kernel programs loaded, attached, and their rings read.
//!
//! Programs, maps and links are pinned in bpffs, so that an agent that dies leaves a sensor that goes on labelling and
//! collecting; the next agent of the same build takes it over with every label in place. An agent of another build loads
//! its own programs, carries the labels over and removes the old ones.

mod load;
mod pins;
pub mod record;
mod tasks;

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::ProgramFd;
use defenseclaw_abi::{
    COUNTERS, Counter, FileKey, Label, ProcessKey, SEQ_SECURITY, SEQ_TELEMETRY, WATCH_DIRECTORY, WATCH_LAST,
    WATCH_NAME, WatchName,
};
use defenseclaw_detect::paths::{NamePlace, PathRules};
use defenseclaw_model::activity::FileId;
use defenseclaw_model::ids::ProcessId;
use defenseclaw_model::wire::{Counters, Cursor, FamilyStatus};

pub use load::SensorError;
pub use tasks::Task;

use record::{Event, decode};

/// Most records taken from one ring in one turn, so that a flood cannot keep the agent from answering the gateway.
const MAX_TURN: usize = 4096;

/// The running sensor.
pub struct Sensor {
    pins: PathBuf,
    id: String,
    adopted: bool,
    families: Vec<FamilyStatus>,
    #[cfg(feature = "probe-log")]
    log: Option<ProbeLog>,
    programs: Vec<ProgramFd>,
    labels: HashMap<MapData, u32, Label>,
    calls: HashMap<MapData, ProcessKey, u64>,
    watch_files: HashMap<MapData, FileKey, u8>,
    counts: PerCpuArray<MapData, u64>,
    sequence: Array<MapData, u64>,
    security: RingBuf<MapData>,
    telemetry: RingBuf<MapData>,
    taken: Taken,
}

/// Reader of the kernel programs' log lines.
#[cfg(feature = "probe-log")]
type ProbeLog = aya_log::EbpfLogger<&'static dyn log::Log>;

/// What this agent took from the rings.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    security: u64,
    telemetry: u64,
    undecodable: u64,
    cursor: Cursor,
}

impl Sensor {
    /// Takes over the sensor pinned for `instance`, or loads one.
    ///
    /// `instance` keeps several agents on one host apart.
    pub fn start(instance: &str) -> Result<Self, SensorError> {
        load::start(instance)
    }

    /// Removes every sensor that is pinned for `instance`, whole or not. Gives how many there were.
    pub fn unload(instance: &str) -> Result<usize, SensorError> {
        load::unload(instance)
    }

    /// Detaches the programs and removes everything pinned.
    pub fn stop(self) -> Result<(), SensorError> {
        let pins = self.pins.clone();
        drop(self);
        pins::remove(&pins)
    }

    /// Identifies the loaded programs; kept when an agent takes them over.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a running sensor was taken over.
    pub fn was_adopted(&self) -> bool {
        self.adopted
    }

    /// What each action family is watched by.
    pub fn families(&self) -> &[FamilyStatus] {
        &self.families
    }

    /// Descriptors that become readable when records wait.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        // SAFETY: the rings own the descriptors and are borrowed for as long as the result.
        unsafe {
            [
                BorrowedFd::borrow_raw(self.security.as_raw_fd()),
                BorrowedFd::borrow_raw(self.telemetry.as_raw_fd()),
            ]
        }
    }

    /// Takes what waits in both rings, in order of time.
    ///
    /// Telemetry is taken first: whatever made a telemetry record possible (the exec of its process) is then already in
    /// the security ring.
    pub fn drain(&mut self) -> Vec<Event> {
        #[cfg(feature = "probe-log")]
        if let Some(log) = &mut self.log {
            log.flush();
        }
        let mut events = Vec::new();
        let telemetry = take(&mut self.telemetry, &mut events, &mut self.taken.undecodable);
        self.taken.cursor.telemetry = self.taken.cursor.telemetry.max(telemetry.1);
        self.taken.telemetry += telemetry.0;
        let security = take(&mut self.security, &mut events, &mut self.taken.undecodable);
        self.taken.cursor.security = self.taken.cursor.security.max(security.1);
        self.taken.security += security.0;
        events.sort_by_key(|event| event.boot_ns);
        events
    }

    /// Position in the kernel's streams.
    pub fn cursor(&self) -> Cursor {
        self.taken.cursor
    }

    /// Last numbers that the kernel gave, whether or not the records were taken.
    pub fn produced(&self) -> Cursor {
        Cursor {
            security: self.sequence.get(&SEQ_SECURITY, 0).unwrap_or(0),
            telemetry: self.sequence.get(&SEQ_TELEMETRY, 0).unwrap_or(0),
        }
    }

    /// Losses by cause.
    pub fn counters(&self) -> Counters {
        let count = |counter: Counter| {
            self.counts
                .get(&(counter as u32), 0)
                .map(|values| values.iter().sum())
                .unwrap_or(0)
        };
        const { assert!(COUNTERS == 5) };
        Counters {
            security_events: self.taken.security,
            telemetry_events: self.taken.telemetry,
            security_ring_full: count(Counter::SecurityRingFull),
            telemetry_ring_full: count(Counter::TelemetryRingFull),
            label_map_full: count(Counter::LabelMapFull),
            read_faults: count(Counter::ReadFault),
            truncated: count(Counter::Truncated),
            program_misses: self.programs.iter().map(load::recursion_misses).sum(),
            undecodable: self.taken.undecodable,
            ..Counters::default()
        }
    }

    /// Every process of this host with its exact start time.
    pub fn tasks(&self) -> Result<Vec<Task>, SensorError> {
        tasks::list(&self.pins)
    }

    /// The label of a process.
    pub fn label(&self, tgid: u32) -> Option<Label> {
        self.labels.get(&tgid, 0).ok()
    }

    /// Labels a process. The label holds only while `label.start_ns` is the process's own.
    pub fn set_label(&mut self, tgid: u32, label: Label) -> Result<(), MapError> {
        self.labels.insert(tgid, label, 0)
    }

    /// Removes a process's label.
    pub fn remove_label(&mut self, tgid: u32) {
        let _ = self.labels.remove(&tgid); // Gone already: the process ended.
    }

    /// All labels.
    pub fn labels(&self) -> Vec<(u32, Label)> {
        self.labels.iter().filter_map(Result::ok).collect()
    }

    /// Notes which call a process works for; its children inherit it.
    pub fn set_call(&mut self, process: ProcessId, call: u64) {
        // A failure only loses the fallback by which a forked child without exec is known after its image was forgotten.
        let _ = self.calls.insert(key(process), call, 0);
    }

    /// The call noted for a process.
    pub fn call(&self, process: ProcessId) -> Option<u64> {
        self.calls.get(&key(process), 0).ok()
    }

    /// Forgets the call of a process that ended.
    pub fn remove_call(&mut self, process: ProcessId) {
        let _ = self.calls.remove(&key(process)); // Most processes have none.
    }

    /// Number of entries in the call map.
    pub fn calls(&self) -> usize {
        self.calls.keys().filter_map(Result::ok).count()
    }

    /// Watches a file by identity.
    pub fn watch_file(&mut self, file: FileId) {
        // Watching by name goes on if the map refuses.
        let _ = self.watch_files.insert(
            FileKey {
                ino: file.ino,
                dev: file.dev,
                pad: 0,
            },
            1,
            0,
        );
    }
}

fn key(process: ProcessId) -> ProcessKey {
    ProcessKey {
        start_ns: process.start_ns,
        tgid: process.tgid,
        pad: 0,
    }
}

/// Moves records from a ring to `events`; returns how many there were and the greatest number among them.
fn take(ring: &mut RingBuf<MapData>, events: &mut Vec<Event>, undecodable: &mut u64) -> (u64, u64) {
    let (mut count, mut last) = (0, 0);
    while count < MAX_TURN as u64 {
        let Some(item) = ring.next() else { break };
        count += 1;
        match decode(&item) {
            Ok(event) => {
                last = last.max(event.seq);
                events.push(event);
            }
            Err(error) => {
                *undecodable += 1;
                tracing::error!(%error, "kernel record dropped");
            }
        }
    }
    (count, last)
}

/// Fills the map of watched path components.
fn write_watch_names(map: &mut HashMap<MapData, WatchName, u8>, rules: &PathRules) -> Result<(), MapError> {
    let mut names = std::collections::HashMap::<[u8; WATCH_NAME], u8>::new();
    for watched in rules.watched_names() {
        let mut name = [0u8; WATCH_NAME];
        // One byte stays NUL: a component of 64 bytes or more never equals a watched name.
        let bytes = watched.name.as_bytes();
        let length = bytes.len().min(WATCH_NAME - 1);
        name[..length].copy_from_slice(&bytes[..length]);
        *names.entry(name).or_default() |= match watched.place {
            NamePlace::Last => WATCH_LAST,
            NamePlace::Directory => WATCH_DIRECTORY,
        };
    }
    for (name, places) in names {
        map.insert(WatchName(name), places, 0)?;
    }
    Ok(())
}
