//! A gateway in a temporary folder, and what a test says to it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use defenseclaw_audit::{Query, Reader};
use defenseclaw_model::api::Status;
use defenseclaw_model::gate::GateScope;
use defenseclaw_model::record::{Record, RecordBody};
use defenseclaw_model::wire::{AgentStatus, ToAgent, ToGateway, WIRE_VERSION};
use serde_json::{Value, json};
use tempfile::TempDir;

/// No step of a test takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    folder: TempDir,
    program: PathBuf,
    gateway: Option<Child>,
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) exit: Option<u8>,
    /// How many of the body's last bytes are for standard error.
    pub(crate) stderr: Option<usize>,
    pub(crate) body: String,
}

impl Answer {
    /// A hook's answer that says nothing.
    pub(crate) fn is_silence(&self) -> bool {
        self.status == 200 && self.exit == Some(0) && self.body.is_empty()
    }

    /// Claude Code's permission decision and its reason.
    pub(crate) fn permission(&self) -> (String, String) {
        assert_eq!((self.status, self.exit), (200, Some(0)), "{self:?}");
        let json: Value =
            serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        let output = &json["hookSpecificOutput"];
        assert_eq!(output["hookEventName"], "PreToolUse");
        let text = |key: &str| output[key].as_str().unwrap().to_owned();
        (text("permissionDecision"), text("permissionDecisionReason"))
    }

    pub(crate) fn is_denied(&self) -> bool {
        self.permission().0 == "deny"
    }
}

impl World {
    /// A running gateway with the test policy and these lines of configuration.
    pub(crate) fn start(config: &str) -> Self {
        let mut world = Self::prepare(config);
        world.start_gateway();
        world
    }

    /// The same, not started yet.
    pub(crate) fn prepare(config: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("dc-gw-").tempdir().unwrap();
        let policy = folder.path().join("policy");
        let rego = policy.join("rego");
        fs::create_dir_all(&rego).unwrap();
        fs::write(rego.join("decision.rego"), include_str!("policy/decision.rego")).unwrap();
        fs::write(rego.join("effect.rego"), include_str!("policy/effect.rego")).unwrap();
        let config = format!("policies: {}\n{config}\n", policy.display());
        fs::write(folder.path().join("config.yaml"), config).unwrap();
        Self {
            folder,
            program: env!("CARGO_BIN_EXE_defenseclaw-gateway").into(),
            gateway: None,
        }
    }

    /// Lets the gateway lie beside a tool that is this script.
    pub(crate) fn beside_tool(&mut self, script: &str) {
        let folder = self.path("bin");
        fs::create_dir(&folder).unwrap();
        let program = folder.join("defenseclaw-gateway");
        // A second name where that is possible: the program is large.
        if fs::hard_link(&self.program, &program).is_err() {
            fs::copy(&self.program, &program).unwrap();
        }
        let tool = folder.join("defenseclaw-cli");
        fs::write(&tool, script).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        self.program = program;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/gateway.sock")
    }

    /// The gateway's command line, for a test that wants to see it fail.
    pub(crate) fn command(&self) -> Command {
        self.wrapped(&[])
    }

    fn wrapped(&self, wrapper: &[&str]) -> Command {
        let program = self.program.to_str().unwrap();
        let words = [wrapper, &[program, "--allow-root"]].concat();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("DEFENSECLAW_CONFIG", self.path("config.yaml"))
            .env("DEFENSECLAW_SOCKET", self.socket())
            .env("DEFENSECLAW_STATE", self.path("state"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn start_gateway(&mut self) {
        self.start_wrapped(&[]);
    }

    /// Starts the gateway through another program that replaces itself by it.
    pub(crate) fn start_wrapped(&mut self, wrapper: &[&str]) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let child = self.wrapped(wrapper).stderr(log).spawn().unwrap();
        self.gateway = Some(child);
        self.until("the gateway answers", |world| world.try_status().is_some());
    }

    /// Starts the gateway as a service manager does: with these variables, and these descriptors from 3 on. Does not wait for it.
    pub(crate) fn start_service(&mut self, variables: &[(&str, &str)], descriptors: &[OwnedFd]) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let child = self.service(variables, descriptors).stderr(log).spawn().unwrap();
        self.gateway = Some(child);
    }

    /// The same command, for a test that wants to see it fail.
    pub(crate) fn service(&self, variables: &[(&str, &str)], descriptors: &[OwnedFd]) -> Command {
        // The manager knows the process that it makes; here the shell does, and becomes it.
        let mut command = self.wrapped(&["/bin/sh", "-c", "export LISTEN_PID=$$; exec \"$@\"", "sh"]);
        command
            .env("LISTEN_FDS", descriptors.len().to_string())
            .envs(variables.iter().copied());
        let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let pass = move || {
            // Out of the way first, so that none is written over before it was placed.
            let mut kept = [-1; 4];
            for (kept, number) in kept.iter_mut().zip(&numbers) {
                // SAFETY: takes numbers alone.
                *kept = unsafe { nix::libc::fcntl(*number, nix::libc::F_DUPFD_CLOEXEC, 100) };
            }
            for (place, number) in (3..).zip(kept).take(numbers.len()) {
                // SAFETY: the same.
                if unsafe { nix::libc::dup2(number, place) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: between fork and exec it makes system calls and allocates nothing.
        unsafe { command.pre_exec(pass) };
        command
    }

    pub(crate) fn pid(&self) -> u32 {
        self.gateway.as_ref().unwrap().id()
    }

    /// Ends the gateway and waits for it.
    pub(crate) fn end(&mut self, signal: nix::sys::signal::Signal) -> ExitStatus {
        let mut child = self.gateway.take().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).unwrap();
        child.wait().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until something holds.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "waited too long until {what}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn connect(&self) -> UnixStream {
        connect(&self.socket())
    }

    /// Sends raw bytes and reads the answer.
    pub(crate) fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        read_answer(&mut stream).unwrap()
    }

    /// A hook call with this payload.
    pub(crate) fn post(&self, payload: impl AsRef<[u8]>) -> Answer {
        let mut stream = self.connect();
        write_hook(&mut stream, payload.as_ref());
        read_answer(&mut stream).unwrap_or_else(|| panic!("no answer\n{}", self.log()))
    }

    /// An event of the session `s1`.
    pub(crate) fn event(&self, event: &str, more: Value) -> Answer {
        self.post(payload(event, more))
    }

    /// `PreToolUse` of `Bash`.
    pub(crate) fn bash(&self, call: &str, command: &str) -> Answer {
        self.event("PreToolUse", bash(call, command))
    }

    pub(crate) fn status(&self) -> Status {
        self.try_status().expect("the gateway's status")
    }

    fn try_status(&self) -> Option<Status> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .ok()?;
        let answer = read_answer(&mut stream)?;
        assert_eq!(answer.status, 200);
        Some(serde_json::from_str(&answer.body).unwrap())
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        Reader::open(&self.path("state/ledger.db"))
            .unwrap()
            .query(&Query::default())
            .unwrap()
    }

    /// The records' kinds, without those of the daemons.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        self.records()
            .iter()
            .map(|record| record.draft.body.kind())
            .filter(|kind| *kind != "daemon")
            .collect()
    }

    /// The rules of all finding records.
    pub(crate) fn rules(&self) -> Vec<String> {
        let rule = |record: Record| match record.draft.body {
            RecordBody::Finding { finding, .. } => Some(finding.rule),
            _ => None,
        };
        self.records().into_iter().filter_map(rule).collect()
    }

    /// (daemon, state, detail) of all daemon records.
    pub(crate) fn daemons(&self) -> Vec<(String, String, String)> {
        let daemon = |record: Record| match record.draft.body {
            RecordBody::Daemon {
                daemon,
                state,
                detail,
            } => Some((daemon, state, detail)),
            _ => None,
        };
        self.records().into_iter().filter_map(daemon).collect()
    }

    /// The whole chain checks out.
    pub(crate) fn verify(&self) {
        let verified = defenseclaw_audit::verify(&self.path("state/ledger.db"), &mut |_, _| {}).unwrap();
        assert!(verified.problems.is_empty(), "{:?}", verified.problems);
    }

    pub(crate) fn agent(&self) -> FakeAgent {
        let (agent, welcome) = FakeAgent::connect(self, "sensor-1");
        assert!(
            matches!(
                welcome,
                Some(ToAgent::Welcome {
                    wire: WIRE_VERSION,
                    ..
                })
            ),
            "{welcome:?}\n{}",
            self.log()
        );
        agent
    }

    /// Ends the agent's connection, so that another can take its place.
    pub(crate) fn until_agent_leaves(&self, agent: (std::thread::JoinHandle<()>, UnixStream)) {
        let _ = agent.1.shutdown(Shutdown::Both);
        agent.0.join().unwrap();
        self.until("the agent is gone", |world| world.status().agent.is_none());
    }

    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.path("run/gateway-agent.sock")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut child) = self.gateway.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- gateway log ---\n{}", self.log());
        }
    }
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub(crate) fn payload(event: &str, more: Value) -> String {
    let mut all = json!({"session_id": "s1", "cwd": "/work", "hook_event_name": event,
                         "transcript_path": "/home/kim/.claude/projects/w/s1.jsonl"});
    all.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    all.to_string()
}

pub(crate) fn bash(call: &str, command: &str) -> Value {
    json!({"tool_name": "Bash", "tool_use_id": call, "tool_input": {"command": command}})
}

pub(crate) fn write_hook(stream: &mut UnixStream, payload: &[u8]) {
    let head = format!(
        "POST /v1/hooks/claude-code HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        payload.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(payload).unwrap();
}

/// `None`: the connection ended without a whole answer.
pub(crate) fn read_answer(stream: &mut UnixStream) -> Option<Answer> {
    read_answer_from(stream)
}

/// The same from any stream.
pub(crate) fn read_answer_from(stream: &mut impl Read) -> Option<Answer> {
    let mut bytes = Vec::new();
    // A server that refuses a request unread resets the connection after its answer.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let header = |name: &str| {
        head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix(name)
                .map(|value| value.trim().to_owned())
        })
    };
    let length: usize = header("content-length:")?.parse().unwrap();
    assert_eq!(body.len(), length);
    Some(Answer {
        status: head.get(9..12)?.parse().unwrap(),
        exit: header("x-defenseclaw-exit:").map(|exit| exit.parse().unwrap()),
        stderr: header("x-defenseclaw-stderr:").map(|bytes| bytes.parse().unwrap()),
        body: body.to_owned(),
    })
}

/// The other end of the agent's socket.
pub(crate) struct FakeAgent {
    pub(crate) stream: UnixStream,
    /// What it was told to govern, the newest last.
    pub(crate) scopes: Vec<GateScope>,
}

impl FakeAgent {
    /// Connects, says hello, and reads what comes back, if anything does.
    pub(crate) fn connect(world: &World, sensor: &str) -> (Self, Option<ToAgent>) {
        let mut agent = Self {
            stream: connect(&world.agent_socket()),
            scopes: Vec::new(),
        };
        agent.send(&ToGateway::Hello {
            wire: WIRE_VERSION,
            version: "0.0.0".into(),
            sensor: sensor.into(),
            status: AgentStatus {
                kernel: "test".into(),
                ..AgentStatus::default()
            },
        });
        let welcome = agent.receive();
        (agent, welcome)
    }

    pub(crate) fn send(&mut self, frame: &ToGateway) {
        let json = serde_json::to_vec(frame).unwrap();
        self.send_bytes(&(json.len() as u32).to_le_bytes());
        self.send_bytes(&json);
    }

    /// The gateway may have hung up already.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next frame that is no scope; `None` when the gateway has closed.
    pub(crate) fn receive(&mut self) -> Option<ToAgent> {
        loop {
            match self.receive_any()? {
                ToAgent::GateScope { scope } => self.scopes.push(scope),
                frame => return Some(frame),
            }
        }
    }

    /// The next scope; every other frame before it is a fault.
    pub(crate) fn scope(&mut self) -> GateScope {
        match self.receive_any() {
            Some(ToAgent::GateScope { scope }) => scope,
            other => panic!("{other:?}"),
        }
    }

    fn receive_any(&mut self) -> Option<ToAgent> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).ok()?;
        let mut json = vec![0; u32::from_le_bytes(head) as usize];
        self.stream.read_exact(&mut json).ok()?;
        Some(serde_json::from_slice(&json).unwrap())
    }

    /// Answers the next `Register` with a binding, and gives the frame.
    pub(crate) fn answer(&mut self, binding: defenseclaw_model::record::Binding) -> ToAgent {
        let frame = self.receive().unwrap();
        let ToAgent::Register { request, .. } = frame else {
            panic!("{frame:?}")
        };
        self.send(&ToGateway::Registered { request, binding });
        frame
    }

    pub(crate) fn hang_up(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
