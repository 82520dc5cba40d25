//! A synthetic ledger that tells one realistic session, and the tool run on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use defenseclaw_audit::{Ledger, LedgerError};
use defenseclaw_model::activity::{
    Action, Activity, Attribution, Basis, ExitStatus, Explained, FileAccess, FileId, Protocol,
};
use defenseclaw_model::call::CallKind;
use defenseclaw_model::config::Durability;
use defenseclaw_model::decision::{Decision, Finding, Severity, Verdict};
use defenseclaw_model::facts::Facts;
use defenseclaw_model::ids::{CallId, ImageId, ProcessId, SessionId};
use defenseclaw_model::record::{Binding, Draft, RecordBody};
use serde_json::json;

/// 2026-11-21T10:00:00Z.
pub(crate) const START: u64 = 1_795_255_200_000_000_000;
pub(crate) const MS: u64 = 1_000_000;

/// A folder with a ledger and an empty configuration.
pub(crate) struct Host {
    pub(crate) folder: tempfile::TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.yaml"), "").unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.path().join("ledger.db")
    }

    /// The tool with those arguments, with nothing but our settings in its environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_defenseclaw-cli"));
        command
            .args(arguments)
            .env_clear()
            .env("TZ", "UTC")
            .env("DEFENSECLAW_CONFIG", self.path().join("config.yaml"))
            .env("DEFENSECLAW_STATE", self.path())
            .env("DEFENSECLAW_SOCKET", self.path().join("gateway.sock"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        Answer::of(self.command(arguments).output().unwrap(), self.path())
    }
}

/// What the tool said, with the temporary folder replaced.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) notes: String,
}

impl Answer {
    pub(crate) fn of(output: Output, folder: &Path) -> Self {
        let text = |bytes| {
            String::from_utf8(bytes)
                .unwrap()
                .replace(folder.to_str().unwrap(), "/state")
        };
        Self {
            status: output.status.code().unwrap(),
            out: text(output.stdout),
            notes: text(output.stderr),
        }
    }

    /// Everything, for a snapshot.
    pub(crate) fn whole(&self) -> String {
        format!("{}--- stderr\n{}--- exit {}\n", self.out, self.notes, self.status)
    }

    /// The output of a command that succeeded without notes.
    pub(crate) fn done(self) -> String {
        assert_eq!((self.status, self.notes.as_str()), (0, ""), "{}", self.out);
        self.out
    }
}

/// With every SHA-256 replaced: hashes cover the records' exact bytes, and those may gain fields.
pub(crate) fn without_hashes(text: &str) -> String {
    let mut shown = String::new();
    for piece in text.split_inclusive(|c: char| !c.is_ascii_hexdigit()) {
        let word = piece.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
        match word.len() {
            64 => shown.extend(["<sha-256>", &piece[64..]]),
            _ => shown.push_str(piece),
        }
    }
    shown
}

pub(crate) fn session(name: &str) -> SessionId {
    SessionId::new("claude-code", name).unwrap()
}

/// Appends records of one session, each a given time after the start.
pub(crate) struct Teller {
    pub(crate) ledger: Ledger,
    pub(crate) session: SessionId,
}

impl Teller {
    pub(crate) fn new(host: &Host, session: SessionId) -> Self {
        let mut tries = 0;
        let ledger = loop {
            match Ledger::open(&host.ledger(), Durability::Process) {
                // A child that another test is just starting holds a copy of an earlier writer's lock until its exec.
                Err(LedgerError::Locked { .. }) if tries < 200 => {
                    tries += 1;
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                outcome => break outcome.unwrap(),
            }
        };
        Self { ledger, session }
    }

    /// Appends a record and gives its number.
    pub(crate) fn add(&mut self, at_ms: u64, call: Option<&str>, body: RecordBody) -> u64 {
        let draft = Draft {
            time_ns: START + at_ms * MS,
            session: Some(self.session.clone()),
            call: call.map(|call| CallId::new(call).unwrap()),
            body,
        };
        self.ledger.append(&[draft]).unwrap().last
    }

    /// Appends a record that belongs to no session.
    pub(crate) fn add_to_none(&mut self, at_ms: u64, body: RecordBody) -> u64 {
        let draft = Draft {
            time_ns: START + at_ms * MS,
            session: None,
            call: None,
            body,
        };
        self.ledger.append(&[draft]).unwrap().last
    }

    pub(crate) fn start(&mut self, at_ms: u64, binding: Binding) -> u64 {
        let body = RecordBody::SessionStart {
            source: Some("startup".to_owned()),
            cwd: Some("/home/dev/app".to_owned()),
            uid: 1000,
            binding,
        };
        self.add(at_ms, None, body)
    }

    pub(crate) fn prompt(&mut self, at_ms: u64, text: &str) -> u64 {
        self.add(
            at_ms,
            None,
            RecordBody::Prompt {
                text: text.to_owned(),
            },
        )
    }

    pub(crate) fn call(
        &mut self,
        at_ms: u64,
        call: &str,
        tool: &str,
        kind: CallKind,
        decision: Decision,
    ) -> u64 {
        let body = RecordBody::ToolCall {
            tool: tool.to_owned(),
            input: match &kind {
                CallKind::Command { command, .. } => json!({"command": command, "description": "…"}),
                CallKind::FileWrite { paths } => json!({"file_path": paths[0], "content": "[2 lines]"}),
                _ => json!({"query": "a"}),
            },
            call_kind: kind,
            facts: Facts::default(),
            decision,
            decision_us: 240,
            binding: Binding::Bound,
            posture: None,
        };
        self.add(at_ms, Some(call), body)
    }

    pub(crate) fn end(&mut self, at_ms: u64, call: &str, tool: &str, failed: bool) -> u64 {
        self.add(
            at_ms,
            Some(call),
            RecordBody::CallEnd {
                tool: tool.to_owned(),
                failed,
            },
        )
    }

    /// Appends an activity of a program at that time.
    pub(crate) fn act(&mut self, at_ms: u64, of: &Program, action: Action, why: Attribution) -> u64 {
        let call = why.call.clone();
        let activity = Activity {
            time_ns: START + at_ms * MS,
            session: self.session.clone(),
            process: of.process(),
            image: of.image(),
            program: of.path.to_owned(),
            action,
            attribution: why,
        };
        let call = call.as_ref().map(CallId::as_str).map(str::to_owned);
        self.add(at_ms, call.as_deref(), RecordBody::Activity { activity })
    }

    /// Appends the exec of a program below another.
    pub(crate) fn exec(&mut self, of: &Program, below: &Program, argv: &[&str], why: Attribution) -> u64 {
        let action = Action::Exec {
            path: of.path.to_owned(),
            argv: argv.iter().map(|&a| a.to_owned()).collect(),
            argv_truncated: false,
            cwd: "/home/dev/app".to_owned(),
            file: FileId {
                dev: 0x0080_0001,
                ino: 4711,
            },
            parent: below.image(),
        };
        self.act(of.exec_ms, of, action, why)
    }

    pub(crate) fn exit(&mut self, at_ms: u64, of: &Program, status: ExitStatus, why: Attribution) -> u64 {
        let action = Action::Exit {
            status,
            duration_ns: (at_ms - of.exec_ms) * MS,
        };
        self.act(at_ms, of, action, why)
    }

    pub(crate) fn finding(&mut self, at_ms: u64, call: Option<&str>, about: u64, finding: Finding) -> u64 {
        self.add(
            at_ms,
            call,
            RecordBody::Finding {
                finding,
                about_seq: Some(about),
            },
        )
    }
}

/// A program image: pid, milliseconds from the start to its exec (0: running before), path.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    pub(crate) pid: u32,
    pub(crate) exec_ms: u64,
    pub(crate) path: &'static str,
}

pub(crate) const fn program(pid: u32, exec_ms: u64, path: &'static str) -> Program {
    Program { pid, exec_ms, path }
}

impl Program {
    fn process(&self) -> ProcessId {
        ProcessId {
            tgid: self.pid,
            start_ns: 5_000_000_000 + u64::from(self.pid),
        }
    }

    fn image(&self) -> ImageId {
        let exec_ns = if self.exec_ms == 0 {
            0
        } else {
            5_000_000_000 + self.exec_ms * MS
        };
        ImageId {
            tgid: self.pid,
            exec_ns,
        }
    }
}

pub(crate) fn why(call: &str, basis: Basis, explained: Explained) -> Attribution {
    Attribution {
        call: Some(CallId::new(call).unwrap()),
        basis,
        explained,
        after_call: false,
    }
}

pub(crate) fn nothing() -> Attribution {
    Attribution {
        call: None,
        basis: Basis::None,
        explained: Explained::Unexplained,
        after_call: false,
    }
}

pub(crate) fn contract() -> Attribution {
    Attribution {
        call: None,
        basis: Basis::Contract,
        explained: Explained::Declared,
        after_call: false,
    }
}

pub(crate) fn open(path: &str, access: FileAccess, class: Option<&str>) -> Action {
    Action::Open {
        path: path.to_owned(),
        path_truncated: false,
        access,
        file: FileId {
            dev: 0x0080_0001,
            ino: 815,
        },
        class: class.map(str::to_owned),
    }
}

pub(crate) fn connect(address: &str, port: u16) -> Action {
    Action::Connect {
        protocol: Protocol::Tcp,
        address: address.parse().unwrap(),
        port,
    }
}

pub(crate) fn shell(command: &str) -> CallKind {
    CallKind::Command {
        command: command.to_owned(),
        background: false,
    }
}

pub(crate) fn decision(verdict: Verdict, reason: &str, findings: Vec<Finding>) -> Decision {
    Decision {
        verdict,
        severity: findings
            .iter()
            .map(|finding| finding.severity)
            .max()
            .unwrap_or_default(),
        reason: reason.to_owned(),
        findings,
        rule: String::new(),
        line: String::new(),
        updated_input: None,
        sandbox: None,
        policy: "0123456789ab".to_owned(),
        enforced: true,
    }
}

pub(crate) fn allow() -> Decision {
    decision(Verdict::Allow, "no rule objects", Vec::new())
}

pub(crate) fn finding(rule: &str, severity: Severity, message: &str) -> Finding {
    Finding {
        rule: rule.to_owned(),
        category: rule.split('.').next().unwrap().to_owned(),
        severity,
        message: message.to_owned(),
        remedy: String::new(),
        evidence: vec!["masked: AKIA****".to_owned()],
        confidence: 90,
    }
}
