//! Loading, attaching and taking over the kernel programs.

use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use aya::maps::{HashMap, Map, MapData};
use aya::programs::links::FdLink;
use aya::programs::{BtfTracePoint, Iter, ProgramFd, ProgramInfo};
use aya::{Btf, Ebpf, EbpfLoader};
use defenseclaw_abi::{ABI_VERSION, Label, Offsets, WatchName};
use defenseclaw_detect::paths::PathRules;
use defenseclaw_model::wire::{Cursor, FamilyStatus, Tier};
use flate2::{Decompress, FlushDecompress, Status};
use sha2::{Digest, Sha256};

use super::{Sensor, Taken, pins, tasks, write_watch_names};
use crate::kernel::btf::BtfError;
use crate::kernel::offsets::{KERNEL_BTF, read_blob, resolve};

/// The kernel programs, as `cargo xtask build-ebpf` made them and the build script packed them: they are read once, at the start.
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sensor.packed"));
include!(concat!(env!("OUT_DIR"), "/sensor.rs"));
/// An ELF reader looks at whole words.
const ALIGNMENT: usize = 16;

/// Maps by name, all pinned.
const MAPS: [&str; 8] = [
    "LABELS",
    "CALLS",
    "WATCH_NAMES",
    "WATCH_FILES",
    "SECURITY",
    "TELEMETRY",
    "SEQUENCE",
    "COUNTS",
];

/// A program, its tracepoint, its family, and whether the sensor is of use without it.
struct Probe {
    program: &'static str,
    tracepoint: &'static str,
    family: &'static str,
    required: bool,
}

const PROBES: [Probe; 6] = [
    Probe {
        program: "on_fork",
        tracepoint: "sched_process_fork",
        family: "process",
        required: true,
    },
    Probe {
        program: "on_exec",
        tracepoint: "sched_process_exec",
        family: "process",
        required: true,
    },
    Probe {
        program: "on_exit",
        tracepoint: "sched_process_exit",
        family: "process",
        required: true,
    },
    Probe {
        program: "on_syscall",
        tracepoint: "sys_exit",
        family: "file",
        required: true,
    },
    Probe {
        program: "on_tcp_state",
        tracepoint: "inet_sock_set_state",
        family: "network",
        required: true,
    },
    Probe {
        program: "on_io_uring",
        tracepoint: "io_uring_create",
        family: "io_uring",
        required: false,
    },
];

/// Why the sensor does not run.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// BTF is missing or lacks something.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The kernel refused a program, a map or an attachment.
    #[error("the kernel refused {what}: {reason}{}", hint(.reason))]
    Kernel {
        /// What was refused.
        what: String,
        /// The kernel's answer, with the verifier's last words if there are any.
        reason: String,
    },
    /// Something could not be pinned or unpinned.
    #[error("cannot {what}: {reason}. The sensor keeps its programs in bpffs so that they outlive the agent")]
    Pin {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
    /// The task iterator failed.
    #[error("cannot list the processes through the kernel: {reason}")]
    Tasks {
        /// Why.
        reason: String,
    },
}

fn hint(reason: &str) -> &'static str {
    if reason.contains("Operation not permitted") || reason.contains("os error 1)") {
        ". Run the agent as root with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN"
    } else {
        ""
    }
}

fn refused(what: impl Display, error: &dyn std::error::Error) -> SensorError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        reason = format!("{reason}: {inner}");
        source = inner.source();
    }
    // A verifier log can have megabytes; its last lines say why.
    let tail: Vec<&str> = reason.lines().rev().take(12).collect();
    let reason = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
    SensorError::Kernel {
        what: what.to_string(),
        reason,
    }
}

/// Takes over the pinned sensor of this build, or loads one and carries labels over.
pub(super) fn start(instance: &str) -> Result<Sensor, SensorError> {
    let folder = pins::instance(instance)?;
    let build = build_id();
    let mut old = pins::existing(&folder);
    if let Some(place) = old
        .iter()
        .position(|(_, found, _, complete)| *found == build && *complete)
    {
        let (pinned, _, id, _) = old.swap_remove(place);
        let sensor = open(pinned, id, true)?;
        remove_all(old);
        return Ok(sensor);
    }
    let offsets = resolve(&read_blob(Path::new(KERNEL_BTF))?)?;
    let id = random_id()?;
    let pinned = pins::create(&folder, &build, &id)?;
    let loaded = load(&pinned, offsets, &old).and_then(|()| pins::complete(&pinned));
    if let Err(error) = loaded {
        let _ = pins::remove(&pinned); // The first error is the one to tell.
        return Err(error);
    }
    remove_all(old);
    open(pinned, id, false)
}

/// Removes everything that is pinned for an instance.
pub(super) fn unload(instance: &str) -> Result<usize, SensorError> {
    let folder = pins::instance(instance)?;
    let pinned = pins::existing(&folder);
    for (path, ..) in &pinned {
        pins::remove(path)?;
    }
    pins::remove_instance(&folder);
    Ok(pinned.len())
}

fn remove_all(old: Vec<(PathBuf, String, String, bool)>) {
    for (path, ..) in old {
        if let Err(error) = pins::remove(&path) {
            tracing::warn!(%error, "an old sensor stays behind");
        }
    }
}

/// The unpacked kernel programs: a buffer, and where in it they begin.
fn object() -> Result<(Vec<u8>, usize), SensorError> {
    let mut buffer = vec![0; OBJECT_BYTES + ALIGNMENT];
    let start = buffer.as_ptr().align_offset(ALIGNMENT);
    let place = buffer.get_mut(start..start + OBJECT_BYTES).unwrap_or_default();
    let done = Decompress::new(false).decompress(OBJECT, place, FlushDecompress::Finish);
    match done {
        Ok(Status::StreamEnd) => Ok((buffer, start)),
        _ => Err(refused(
            "the sensor's programs",
            &std::io::Error::other("they are damaged in this program; install it again"),
        )),
    }
}

fn build_id() -> String {
    let digest = Sha256::digest(OBJECT);
    format!("v{ABI_VERSION}_{}", hex(&digest[..6]))
}

fn random_id() -> Result<String, SensorError> {
    let mut bytes = [0u8; 8];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| SensorError::Pin {
            what: "draw a sensor id".into(),
            reason: error.to_string(),
        })?;
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Loads and attaches everything and pins it below `pinned`.
fn load(pinned: &Path, offsets: Offsets, old: &[(PathBuf, String, String, bool)]) -> Result<(), SensorError> {
    let btf = Btf::from_sys_fs().map_err(|error| refused("the kernel's BTF", &error))?;
    let mut loader = EbpfLoader::new();
    loader.btf(Some(&btf)).override_global("OFFSETS", &offsets, true);
    let (buffer, start) = object()?;
    let object = buffer.get(start..start + OBJECT_BYTES).unwrap_or_default();
    let mut ebpf = loader
        .load(object)
        .map_err(|error| refused("the sensor's maps", &error))?;
    for name in MAPS {
        let map = ebpf.map(name).ok_or_else(|| missing("map", name))?;
        map.pin(pinned.join("maps").join(name))
            .map_err(|error| refused(format!("to pin map {name}"), &error))?;
    }
    // Labels and watch lists are in place before the first program runs.
    carry_labels(pinned, old)?;
    let mut names: HashMap<MapData, WatchName, u8> = open_map(pinned, "WATCH_NAMES")?;
    write_watch_names(&mut names, PathRules::embedded())
        .map_err(|error| refused("the watched names", &error))?;
    attach_tasks(&mut ebpf, &btf, pinned)?;
    for probe in &PROBES {
        match attach(&mut ebpf, &btf, probe, pinned) {
            Err(error) if !probe.required => tracing::warn!(%error, "optional probe is missing"),
            other => other?,
        }
    }
    Ok(())
}

fn missing(what: &str, name: &str) -> SensorError {
    SensorError::Kernel {
        what: format!("{what} {name}"),
        reason: "the kernel object does not hold it".into(),
    }
}

fn attach(ebpf: &mut Ebpf, btf: &Btf, probe: &Probe, pinned: &Path) -> Result<(), SensorError> {
    let what = format!("program {} on tp_btf/{}", probe.program, probe.tracepoint);
    let program: &mut BtfTracePoint = ebpf
        .program_mut(probe.program)
        .ok_or_else(|| missing("program", probe.program))?
        .try_into()
        .map_err(|error| refused(&what, &error))?;
    program
        .load(probe.tracepoint, btf)
        .map_err(|error| refused(&what, &error))?;
    program
        .pin(pinned.join("programs").join(probe.program))
        .map_err(|error| refused(&what, &error))?;
    let link = program
        .attach()
        .and_then(|id| program.take_link(id))
        .map_err(|error| refused(&what, &error))?;
    FdLink::from(link)
        .pin(pinned.join("links").join(probe.program))
        .map_err(|error| refused(&what, &error))?;
    Ok(())
}

fn attach_tasks(ebpf: &mut Ebpf, btf: &Btf, pinned: &Path) -> Result<(), SensorError> {
    let what = "program list_tasks on iter/task";
    let program: &mut Iter = ebpf
        .program_mut(tasks::PROGRAM)
        .ok_or_else(|| missing("program", tasks::PROGRAM))?
        .try_into()
        .map_err(|error| refused(what, &error))?;
    program.load("task", btf).map_err(|error| refused(what, &error))?;
    let link = program
        .attach()
        .and_then(|id| program.take_link(id))
        .map_err(|error| refused(what, &error))?;
    let link = FdLink::try_from(link).map_err(|error| refused(what, &error))?;
    link.pin(pinned.join("links").join(tasks::PROGRAM))
        .map_err(|error| refused(what, &error))?;
    Ok(())
}

/// Copies the labels of older sensors: the processes that carry them still run.
fn carry_labels(pinned: &Path, old: &[(PathBuf, String, String, bool)]) -> Result<(), SensorError> {
    let mut labels: HashMap<MapData, u32, Label> = open_map(pinned, "LABELS")?;
    for (path, build, ..) in old {
        // Another ABI may have another label.
        if !build.starts_with(&format!("v{ABI_VERSION}_")) {
            tracing::warn!(
                build,
                "labels of an older sensor are not understood; sessions bind again at their next hook"
            );
            continue;
        }
        let Ok(previous) = open_map::<u32, Label>(path, "LABELS") else {
            continue;
        };
        for (tgid, label) in previous.iter().filter_map(Result::ok) {
            labels
                .insert(tgid, label, 0)
                .map_err(|error| refused("a label carried over", &error))?;
        }
    }
    Ok(())
}

fn pinned_map(pinned: &Path, name: &str) -> Result<Map, SensorError> {
    MapData::from_pin(pinned.join("maps").join(name))
        .and_then(Map::from_map_data)
        .map_err(|error| refused(format!("to open map {name}"), &error))
}

fn open_map<K: aya::Pod, V: aya::Pod>(
    pinned: &Path,
    name: &str,
) -> Result<HashMap<MapData, K, V>, SensorError> {
    pinned_map(pinned, name)?
        .try_into()
        .map_err(|error| refused(format!("to open map {name}"), &error))
}

/// Opens what is pinned below `pinned`.
fn open(pinned: PathBuf, id: String, adopted: bool) -> Result<Sensor, SensorError> {
    macro_rules! typed {
        ($name:literal) => {
            pinned_map(&pinned, $name)?
                .try_into()
                .map_err(|error| refused(concat!("map ", $name), &error))?
        };
    }
    let mut programs = Vec::new();
    let mut attached = Vec::new();
    for probe in &PROBES {
        if let Ok(program) = pinned_program(&pinned, probe.program) {
            programs.push(program);
            attached.push(probe.program);
        }
    }
    let mut sensor = Sensor {
        id,
        adopted,
        families: families(&attached),
        #[cfg(feature = "probe-log")]
        log: start_log(&pinned),
        programs,
        labels: open_map(&pinned, "LABELS")?,
        calls: open_map(&pinned, "CALLS")?,
        watch_files: open_map(&pinned, "WATCH_FILES")?,
        counts: typed!("COUNTS"),
        sequence: typed!("SEQUENCE"),
        security: typed!("SECURITY"),
        telemetry: typed!("TELEMETRY"),
        taken: Taken::default(),
        pins: pinned,
    };
    if !adopted {
        sensor.taken.cursor = Cursor::default();
    }
    Ok(sensor)
}

fn pinned_program(pinned: &Path, name: &str) -> Result<ProgramFd, SensorError> {
    ProgramInfo::from_pin(pinned.join("programs").join(name))
        .and_then(|info| info.fd())
        .map_err(|error| refused(format!("to open program {name}"), &error))
}

/// Log lines of programs that were built with them.
#[cfg(feature = "probe-log")]
fn start_log(pinned: &Path) -> Option<super::ProbeLog> {
    let program = ProgramInfo::from_pin(pinned.join("programs").join(PROBES[1].program)).ok()?;
    let log = aya_log::EbpfLogger::init_from_id(program.id());
    log.inspect_err(|error| tracing::warn!(%error, "the kernel programs were built without log lines"))
        .ok()
}

/// Times the kernel skipped a program because it was already running on that CPU. The line exists since Linux 5.12.
pub(super) fn recursion_misses(program: &ProgramFd) -> u64 {
    let path = format!("/proc/self/fdinfo/{}", program.as_fd().as_raw_fd());
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:"))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

/// What each family is watched by. Nothing is enforced by the sensor.
fn families(attached: &[&str]) -> Vec<FamilyStatus> {
    let mut out: Vec<FamilyStatus> = Vec::new();
    for probe in &PROBES {
        let here = attached.contains(&probe.program);
        let line = format!(
            "tp_btf/{}{}",
            probe.tracepoint,
            if here { "" } else { " refused by this kernel" }
        );
        match out.iter_mut().find(|status| status.family == probe.family) {
            Some(status) => status.detail = format!("{}, {line}", status.detail),
            None => out.push(FamilyStatus {
                family: probe.family.into(),
                tier: if here { Tier::Observe } else { Tier::None },
                detail: line,
            }),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_programs_are_unpacked_whole_and_aligned() {
        let (buffer, start) = object().unwrap();
        let object = &buffer[start..start + OBJECT_BYTES];
        assert_eq!(object.as_ptr().align_offset(ALIGNMENT), 0);
        assert!(object.starts_with(b"\x7fELF"));
        assert_eq!(object, std::fs::read(env!("DEFENSECLAW_EBPF_OBJECT")).unwrap());
        assert!(OBJECT.len() * 2 < OBJECT_BYTES);
    }
}
