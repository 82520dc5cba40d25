//! A home, a gate over it, a scanner and a gateway.

use std::fs;
use std::io::{ErrorKind, IoSliceMut, Read, Seek};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use defenseclaw_agent::gate::{Gate, Outgoing, Setup};
use defenseclaw_model::admission::AdmissionAction;
use defenseclaw_model::config::{Config, FailMode};
use defenseclaw_model::decision::{Mode, Severity};
use defenseclaw_model::gate::{
    GateAnswer, GateQuestion, GateScan, QuarantineEntry, QuarantineOutcome, QuarantineVerb,
};
use defenseclaw_model::record::RecordBody;
use defenseclaw_model::wire::ToGateway;
use defenseclaw_testkit::{Need, require};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, send};

/// Names what the scanner does.
const SCANNER: &str = "FAKE_SCANNER";
/// What makes a file hostile to the scanner.
pub(crate) const HOSTILE: &str = "HOSTILE";
/// Longest time that something may take which happens at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the gateway does with a question.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gateway {
    /// Blocks what the scan calls hostile, and what was not scanned.
    Judges = 0,
    /// The same, but what was not scanned is allowed.
    Trusts = 1,
    /// Says nothing.
    Silent = 2,
    /// Blocks as it judges, and enforces nothing.
    Observes = 3,
    /// Blocks everything.
    Blocks = 4,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) questions: Vec<GateQuestion>,
    pub(crate) records: Vec<RecordBody>,
    pub(crate) quarantined: Vec<QuarantineEntry>,
    outcomes: Vec<(u64, QuarantineOutcome)>,
}

pub(crate) struct Stage {
    folder: tempfile::TempDir,
    _tools: tempfile::TempDir,
    pub(crate) gate: Option<Arc<Gate>>,
    pub(crate) log: Arc<Mutex<Log>>,
    gateway: Arc<AtomicU8>,
    stop: Arc<AtomicBool>,
    pump: Option<std::thread::JoinHandle<()>>,
}

impl Stage {
    /// As most tests want it: in action mode, with a scanner that scans and a gateway that judges.
    pub(crate) fn new() -> Option<Self> {
        Self::with("plain", |_| {})
    }

    pub(crate) fn with(scanner: &str, change: impl FnOnce(&mut Config)) -> Option<Self> {
        if !require(&[Need::Root]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("home/.claude/skills")).unwrap();
        fs::create_dir(root.join("home/.cursor")).unwrap();
        fs::create_dir(root.join("state")).unwrap();
        let tools = tools(scanner);
        let mut config = Config {
            mode: Mode::Action,
            fail_mode: FailMode::Closed,
            state: root.join("state"),
            ..Config::default()
        };
        // A test machine may be busy with others.
        config.gate.timeout_ms = 20_000;
        change(&mut config);
        let setup = Setup {
            config,
            scanners: vec![tools.path().join("scanner")],
            homes: vec![root.join("home")],
        };
        let gate = Arc::new(Gate::start(setup).unwrap());
        let mut stage = Self {
            folder,
            _tools: tools,
            gate: Some(gate),
            log: Arc::default(),
            gateway: Arc::default(),
            stop: Arc::default(),
            pump: None,
        };
        stage.connect();
        Some(stage)
    }

    fn connect(&mut self) {
        let gate = self.gate().clone();
        gate.connected();
        let (log, gateway, stop) = (self.log.clone(), self.gateway.clone(), self.stop.clone());
        self.pump = Some(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for outgoing in gate.take() {
                    serve(
                        &gate,
                        outgoing,
                        &mut log.lock().unwrap(),
                        gateway.load(Ordering::Relaxed),
                    );
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }));
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        self.gate.as_ref().unwrap()
    }

    pub(crate) fn gateway(&self, does: Gateway) {
        self.gateway.store(does as u8, Ordering::Relaxed);
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub(crate) fn skills(&self) -> PathBuf {
        self.root().join("home/.claude/skills")
    }

    /// A skill with that text, made outside and moved in, as installers do.
    pub(crate) fn install(&self, name: &str, text: &str) -> PathBuf {
        let made = self.root().join(format!("made-{name}"));
        fs::create_dir(&made).unwrap();
        fs::write(made.join("SKILL.md"), text).unwrap();
        fs::write(made.join("run.sh"), "#!/bin/sh\n").unwrap();
        let skill = self.skills().join(name);
        fs::rename(&made, &skill).unwrap();
        self.list();
        skill
    }

    /// Lists the place: from then on all in it is held.
    pub(crate) fn list(&self) {
        fs::read_dir(self.skills()).unwrap().for_each(drop);
    }

    pub(crate) fn questions(&self) -> usize {
        self.log.lock().unwrap().questions.len()
    }

    /// Waits until the log says so.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Log) -> bool) {
        self.wait(what, || holds(&self.log.lock().unwrap()));
    }

    /// Waits until it is so.
    pub(crate) fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn obey(&self, verb: QuarantineVerb) -> QuarantineOutcome {
        let request = 1 + self.log.lock().unwrap().outcomes.len() as u64;
        self.gate().obey(request, verb);
        self.until("the quarantine did not answer", |log| {
            log.outcomes.iter().any(|(at, _)| *at == request)
        });
        let log = self.log.lock().unwrap();
        log.outcomes
            .iter()
            .find(|(at, _)| *at == request)
            .unwrap()
            .1
            .clone()
    }
}

impl Stage {
    /// Ends the gate, as the agent does at its end.
    pub(crate) fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(pump) = self.pump.take() {
            let _ = pump.join();
        }
        if let Some(Ok(gate)) = self.gate.take().map(Arc::try_unwrap) {
            gate.stop();
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end();
    }
}

fn serve(gate: &Gate, outgoing: Outgoing, log: &mut Log, does: u8) {
    match outgoing {
        Outgoing::Record(body) => log.records.push(*body),
        Outgoing::Frame(frame) => match *frame {
            ToGateway::Quarantined { entry } => {
                gate.noted(entry.id.clone());
                log.quarantined.push(*entry);
            }
            ToGateway::QuarantineDone { request, outcome } => log.outcomes.push((request, outcome)),
            other => panic!("{other:?}"),
        },
        Outgoing::Admit(request, question, _) => {
            let block = match &question.scan {
                GateScan::Report { json } => json.contains("\"hostile\":true"),
                GateScan::Failed { .. } => does != Gateway::Trusts as u8,
            };
            let block = block || does == Gateway::Blocks as u8;
            log.questions.push(*question);
            if does != Gateway::Silent as u8 {
                gate.admitted(request, answer(block, does != Gateway::Observes as u8));
            }
        }
    }
}

fn answer(block: bool, enforced: bool) -> GateAnswer {
    GateAnswer {
        action: if block {
            AdmissionAction::Block
        } else {
            AdmissionAction::Allow
        },
        reason: "the fake gateway says so".into(),
        severity: if block { Severity::High } else { Severity::None },
        enforced,
        rules: vec![],
    }
}

/// Whether an open for reading goes on; every other error than a refusal is the test's own.
pub(crate) fn opens(path: &Path) -> bool {
    match fs::read(path) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => false,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// The same for something that may have been taken away by then.
pub(crate) fn is_kept_from(path: &Path) -> bool {
    match fs::read(path) {
        Ok(_) => false,
        Err(error) => {
            let kinds = [ErrorKind::PermissionDenied, ErrorKind::NotFound];
            assert!(kinds.contains(&error.kind()), "{}: {error}", path.display());
            true
        }
    }
}

/// This program where nobody can start it, and a script that makes it the scanner.
fn tools(does: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open.clone()).unwrap();
    let program = folder.path().join("program");
    let own = std::env::current_exe().unwrap();
    if fs::hard_link(&own, &program).is_err() {
        fs::copy(&own, &program).unwrap();
    }
    let script = folder.path().join("scanner");
    let text = format!(
        "#!/bin/sh\ntest \"$1\" = scan-worker || exit 9\n{SCANNER}={does} exec {} --exact stage::fake_scanner --nocapture\n",
        program.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, open).unwrap();
    folder
}

/// The scanner: it speaks the worker's protocol on its standard input.
#[test]
fn fake_scanner() {
    let Ok(does) = std::env::var(SCANNER) else { return };
    assert!(!nix::unistd::geteuid().is_root(), "the scanner never is root");
    let _ = send(0, b"ready", MsgFlags::MSG_NOSIGNAL);
    let mut buffer = vec![0; 64 << 10];
    let mut space = nix::cmsg_space!([i32; 1]);
    let (count, descriptor) = {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<()>(0, &mut parts, Some(&mut space), MsgFlags::empty()).unwrap();
        let mut passed = message.cmsgs().unwrap().filter_map(|part| match part {
            ControlMessageOwned::ScmRights(all) => all.first().copied(),
            _ => None,
        });
        (message.bytes, passed.next())
    };
    // The agent ends a worker that it does not need.
    let Some(descriptor) = descriptor else { return };
    let question: serde_json::Value = serde_json::from_slice(&buffer[..count]).unwrap();
    assert!(question["path"].as_str().unwrap().starts_with('/'));
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    let mut copy = fs::File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    let mut bytes = Vec::new();
    copy.rewind().unwrap();
    copy.read_to_end(&mut bytes).unwrap();
    let say = |bytes: &[u8]| {
        let _ = send(0, bytes, MsgFlags::MSG_NOSIGNAL);
    };
    let hostile = bytes
        .windows(HOSTILE.len())
        .any(|part| part == HOSTILE.as_bytes())
        || has_special(&bytes);
    let report = format!("{{\"hostile\":{hostile},\"bytes\":{}}}", bytes.len());
    match does.as_str() {
        "crash" => std::process::abort(),
        "hang" => std::thread::sleep(Duration::from_secs(600)),
        "garbage" => say(b"<report>"),
        "long" => {
            say(b"{\"bytes\":3}");
            say(&[b'x'; 4096]);
        }
        "huge" => say(format!("{{\"bytes\":{}}}", u64::MAX).as_bytes()),
        "slow" => {
            std::thread::sleep(Duration::from_millis(400));
            say(format!("{{\"bytes\":{}}}", report.len()).as_bytes());
            say(report.as_bytes());
        }
        _ => {
            say(format!("{{\"bytes\":{}}}", report.len()).as_bytes());
            report.as_bytes().chunks(7).for_each(say);
        }
    }
    let _ = copy.as_raw_fd();
}

/// Whether the copy has an entry that is neither file, folder nor link, or a link that leads out by its text.
fn has_special(bytes: &[u8]) -> bool {
    let number = |at: usize, length: usize| {
        bytes[at..at + length]
            .iter()
            .rev()
            .fold(0_usize, |sum, &byte| sum << 8 | usize::from(byte))
    };
    let mut at = 4;
    while at < bytes.len() {
        at += 4 + number(at, 4);
        let (kind, length) = (bytes[at], number(at + 5, 8));
        let content = &bytes[at + 13..at + 13 + length];
        if kind == 3 || (kind == 1 && content.starts_with(b"/")) {
            return true;
        }
        at += 13 + length;
    }
    false
}
