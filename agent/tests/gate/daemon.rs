//! The agent as it is installed, between a gateway's socket and a place.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use defenseclaw_model::admission::AdmissionAction;
use defenseclaw_model::decision::Severity;
use defenseclaw_model::gate::{GateAnswer, GateScan, GateScope, QuarantineOutcome, QuarantineVerb};
use defenseclaw_model::wire::{AgentStatus, Cursor, Tier, ToAgent, ToGateway, WIRE_VERSION};
use defenseclaw_testkit::{Need, require};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stage::{is_kept_from, opens};

struct Gateway {
    folder: tempfile::TempDir,
    agent: Child,
    stream: UnixStream,
    status: AgentStatus,
}

impl Gateway {
    /// An agent of its own that governs one project, and the connection that it makes.
    fn new() -> Option<Self> {
        if !require(&[Need::Root, Need::Bpf]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("state")).unwrap();
        fs::create_dir_all(root.join("project/.claude/skills")).unwrap();
        let listener = UnixListener::bind(root.join("gateway-agent.sock")).unwrap();
        let config = format!(
            "mode: action\nstate: {0}/state\nsocket: {0}/gateway.sock\ngate: {{ homes: [], timeout_ms: 20000 }}\n",
            root.display()
        );
        fs::write(root.join("config.yaml"), config).unwrap();
        let agent = Command::new(env!("CARGO_BIN_EXE_defenseclaw-agent"))
            .env("DEFENSECLAW_CONFIG", root.join("config.yaml"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut gateway = Self {
            folder,
            agent,
            stream,
            status: AgentStatus::default(),
        };
        let ToGateway::Hello { wire, status, .. } = gateway.next() else {
            panic!("the agent did not say hello");
        };
        assert_eq!(wire, WIRE_VERSION);
        gateway.status = status;
        gateway.say(&ToAgent::Welcome {
            wire,
            last_batch: 0,
            cursor: Cursor::default(),
            sessions: Vec::new(),
        });
        let projects = vec![root.join("project").to_string_lossy().into_owned()];
        gateway.say(&ToAgent::GateScope {
            scope: GateScope {
                projects,
                ..GateScope::default()
            },
        });
        Some(gateway)
    }

    fn skills(&self) -> PathBuf {
        self.folder
            .path()
            .canonicalize()
            .unwrap()
            .join("project/.claude/skills")
    }

    fn say(&mut self, frame: &ToAgent) {
        let body = serde_json::to_vec(frame).unwrap();
        self.stream.write_all(&(body.len() as u32).to_le_bytes()).unwrap();
        self.stream.write_all(&body).unwrap();
    }

    fn next(&mut self) -> ToGateway {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        self.stream.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// The next frame that is about the gate.
    fn gate(&mut self) -> ToGateway {
        loop {
            match self.next() {
                ToGateway::Status { .. } => {}
                ToGateway::Batch { batch, .. } => self.say(&ToAgent::Ack { batch }),
                frame => return frame,
            }
        }
    }

    /// A skill whose opens are held for certain: its file waits for admission once the project has its marks.
    fn install(&self, name: &str) -> PathBuf {
        let skill = self.skills().join(name);
        fs::create_dir(&skill).unwrap();
        fs::write(skill.join("SKILL.md"), "text").unwrap();
        fs::read_dir(self.skills()).unwrap().for_each(drop);
        skill.join("SKILL.md")
    }

    fn answer(&mut self, action: AdmissionAction) -> GateScan {
        let ToGateway::Admit { request, question } = self.gate() else {
            panic!("nothing was asked");
        };
        let answer = GateAnswer {
            action,
            reason: "the test says so".into(),
            severity: Severity::None,
            enforced: true,
            rules: Vec::new(),
        };
        self.say(&ToAgent::Admitted { request, answer });
        question.scan
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.agent.id() as i32), Signal::SIGTERM);
        let _ = self.agent.wait();
    }
}

/// Opens until the open waits; the project is marked some time after the gateway has named it.
fn reader(file: &Path) -> std::thread::JoinHandle<bool> {
    let file = file.to_owned();
    std::thread::spawn(move || !is_kept_from(&file))
}

/// Waits until the project is governed: its first question is answered with yes.
fn settle(gateway: &mut Gateway) {
    let file = gateway.install("first");
    gateway
        .stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let stream = gateway.stream.try_clone().unwrap();
    let mut byte = [0];
    loop {
        let reader = reader(&file);
        // Status frames come every two seconds; whatever else comes now is the question.
        while !reader.is_finished() {
            if nix::sys::socket::recv(
                std::os::fd::AsRawFd::as_raw_fd(&stream),
                &mut byte,
                nix::sys::socket::MsgFlags::MSG_PEEK,
            )
            .is_ok()
            {
                gateway
                    .stream
                    .set_read_timeout(Some(Duration::from_secs(60)))
                    .unwrap();
                if let ToGateway::Admit { request, .. } = gateway.next() {
                    let answer = GateAnswer {
                        action: AdmissionAction::Allow,
                        reason: String::new(),
                        severity: Severity::None,
                        enforced: true,
                        rules: Vec::new(),
                    };
                    gateway.say(&ToAgent::Admitted { request, answer });
                    assert!(reader.join().unwrap());
                    return;
                }
                gateway
                    .stream
                    .set_read_timeout(Some(Duration::from_millis(300)))
                    .unwrap();
            }
        }
    }
}

#[test]
fn the_agent_asks_its_gateway_and_does_as_it_says() {
    let Some(mut gateway) = Gateway::new() else { return };
    let install = gateway
        .status
        .families
        .iter()
        .find(|family| family.family == "install")
        .unwrap();
    assert_eq!(install.tier, Tier::Fanotify, "{}", install.detail);
    settle(&mut gateway);
    let tidy = gateway.install("tidy");
    let waits = reader(&tidy);
    // There is no scanner beside a test's agent.
    let scan = gateway.answer(AdmissionAction::Allow);
    assert!(
        matches!(&scan, GateScan::Failed { reason } if reason.contains("not installed")),
        "{scan:?}"
    );
    assert!(waits.join().unwrap());
    let evil = gateway.install("evil");
    let waits = reader(&evil);
    gateway.answer(AdmissionAction::Block);
    let ToGateway::Quarantined { entry } = gateway.gate() else {
        panic!()
    };
    assert!(!waits.join().unwrap() && !evil.exists());
    gateway.say(&ToAgent::QuarantineNoted { id: entry.id.clone() });
    let verb = QuarantineVerb::Restore { id: entry.id.clone() };
    gateway.say(&ToAgent::Quarantine { request: 7, verb });
    let ToGateway::QuarantineDone { request: 7, outcome } = gateway.gate() else {
        panic!()
    };
    assert!(matches!(outcome, QuarantineOutcome::Done { entries } if entries[0].id == entry.id));
    assert!(evil.symlink_metadata().is_ok());
}

#[test]
fn an_agent_that_is_killed_leaves_nobody_waiting() {
    let Some(mut gateway) = Gateway::new() else { return };
    settle(&mut gateway);
    let file = gateway.install("tidy");
    let waits = reader(&file);
    let ToGateway::Admit { .. } = gateway.gate() else {
        panic!()
    };
    assert!(!waits.is_finished());
    gateway.agent.kill().unwrap();
    // The kernel lets go on what waits: without the agent there is no gate.
    assert!(waits.join().unwrap());
    assert!(opens(&file));
}
