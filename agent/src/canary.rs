//! A child that does one of everything the sensor should see. What was not seen is not reported as watched.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use defenseclaw_abi::Label;
use defenseclaw_model::activity::{ExitStatus, FileAccess, Protocol};
use defenseclaw_model::wire::{FamilyStatus, Tier};

use crate::sensor::Sensor;
use crate::sensor::record::{Event, EventKind};

/// The agent's own argument that makes it the canary.
pub const ARGUMENT: &str = "canary";
/// Session key of canaries; sessions of harnesses never have it but by a collision of 64 bits.
const SESSION: u64 = u64::MAX;
/// How long the records may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Exit status of the canary, so that it can be told from a failure.
const EXIT: u8 = 7;

/// One thing that the sensor should see, and whether it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The action family that depends on it.
    pub family: &'static str,
    /// What was done.
    pub what: &'static str,
    /// Whether it was seen.
    pub seen: bool,
}

/// What the canary does. It waits for a byte first, so that it can be labelled before it acts.
pub fn act() -> std::process::ExitCode {
    let mut byte = [0];
    if std::io::stdin().read_exact(&mut byte).is_err() {
        return std::process::ExitCode::from(1);
    }
    let path = std::env::temp_dir().join(format!("defenseclaw-canary-{}", std::process::id()));
    if let Ok(mut file) = std::fs::File::create(&path) {
        let _ = file.write_all(b"canary\n"); // Only the open is looked at.
        let _ = std::fs::remove_file(&path);
    }
    let discard = SocketAddr::from(([127, 0, 0, 1], 9));
    let _ = TcpStream::connect_timeout(&discard, Duration::from_millis(200)); // Refused: the attempt is looked at.
    if let Ok(socket) = UdpSocket::bind("127.0.0.1:0") {
        let _ = socket.connect(discard); // Nothing is sent.
    }
    // A grandchild from another thread: its label must come through the fork of a thread that is not the leader.
    let _ = std::thread::spawn(|| {
        Command::new("/proc/self/exe")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    })
    .join();
    std::process::ExitCode::from(EXIT)
}

/// Runs a canary and looks at what the sensor saw of it.
pub fn check(sensor: &mut Sensor) -> Result<Vec<Check>, String> {
    let mut child = Command::new("/proc/self/exe")
        .arg(ARGUMENT)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("the canary could not be started: {error}"))?;
    let labelled = label(sensor, &child);
    let released = labelled.and_then(|()| {
        child
            .stdin
            .take()
            .ok_or_else(|| "the canary has no input".to_owned())?
            .write_all(b"!")
            .map_err(|error| format!("the canary could not be released: {error}"))
    });
    let pid = child.id();
    let waited = child
        .wait()
        .map_err(|error| format!("the canary could not be waited for: {error}"));
    released?;
    waited?;
    Ok(judge(&collect(sensor, pid), pid))
}

fn label(sensor: &mut Sensor, child: &Child) -> Result<(), String> {
    let tasks = sensor.tasks().map_err(|error| error.to_string())?;
    let task = tasks
        .iter()
        .find(|task| task.tgid == child.id())
        .ok_or_else(|| "the canary is not in the kernel's list of tasks".to_owned())?;
    let label = Label {
        session: SESSION,
        call: 0,
        start_ns: task.start_ns,
        exec_ns: task.start_ns,
        exec_tgid: task.tgid,
        flags: 0,
    };
    sensor
        .set_label(task.tgid, label)
        .map_err(|error| error.to_string())
}

/// Takes records until the canary's exit.
fn collect(sensor: &mut Sensor, pid: u32) -> Vec<Event> {
    let deadline = Instant::now() + PATIENCE;
    let mut events = Vec::new();
    while Instant::now() < deadline {
        events.extend(
            sensor
                .drain()
                .into_iter()
                .filter(|event| event.session == SESSION),
        );
        if events
            .iter()
            .any(|event| event.process.tgid == pid && matches!(event.kind, EventKind::Exit(_)))
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    events
}

fn judge(events: &[Event], pid: u32) -> Vec<Check> {
    let own = |event: &&Event| event.process.tgid == pid;
    let seen = |family, what, test: &dyn Fn(&Event) -> bool| Check {
        family,
        what,
        seen: events.iter().any(test),
    };
    vec![
        seen("process", "a grandchild's exec, forked by a thread", &|event| {
            event.process.tgid != pid && matches!(event.kind, EventKind::Exec(_))
        }),
        seen("process", "the exit and its status", &|event| {
            own(&event) && event.kind == EventKind::Exit(ExitStatus::Code(EXIT))
        }),
        seen("file", "a file created", &|event| {
            own(&event)
                && matches!(&event.kind, EventKind::Open { access: FileAccess::Create, path, .. } if path.contains("defenseclaw-canary-"))
        }),
        seen("network", "a TCP connection begun", &|event| {
            own(&event)
                && matches!(
                    event.kind,
                    EventKind::Connect {
                        protocol: Protocol::Tcp,
                        port: 9,
                        ..
                    }
                )
        }),
        seen("network", "a UDP destination set", &|event| {
            own(&event)
                && matches!(
                    event.kind,
                    EventKind::Connect {
                        protocol: Protocol::Udp,
                        port: 9,
                        ..
                    }
                )
        }),
    ]
}

/// The families with what the canary proved: a family of which something was not seen is not watched.
pub fn prove(sensor: &mut Sensor) -> Vec<FamilyStatus> {
    let mut families = sensor.families().to_vec();
    let checks = match check(sensor) {
        Ok(checks) => checks,
        Err(reason) => {
            for family in &mut families {
                family.tier = Tier::None;
                family.detail = format!("{}; not proven: {reason}", family.detail);
            }
            return families;
        }
    };
    for family in &mut families {
        let own: Vec<&Check> = checks
            .iter()
            .filter(|check| check.family == family.family)
            .collect();
        let unseen: Vec<&str> = own
            .iter()
            .filter(|check| !check.seen)
            .map(|check| check.what)
            .collect();
        if !unseen.is_empty() {
            family.tier = Tier::None;
            family.detail = format!(
                "{}; the canary's act was not seen: {}",
                family.detail,
                unseen.join(", ")
            );
        } else if own.is_empty() {
            family.detail = format!("{}; attached, no canary for it", family.detail);
        } else {
            family.detail = format!("{}; canary seen", family.detail);
        }
    }
    families
}
