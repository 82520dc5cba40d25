//! A call that is always denied, through an installed hook, as the harness would make it.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::User;
use super::spec::{Blocked, Canary, Probe};

/// The command that the policy denies wherever it stands, by rule `doctor.canary`. No such program exists.
pub const COMMAND: &str = "defenseclaw-canary-denied";
/// What the policy's refusal of it says.
pub const REFUSAL: &str = "own test call, which is always refused";
/// How long the hook may take: more than its own deadline, less than any harness waits.
const DEADLINE: Duration = Duration::from_secs(20);
/// How often to look whether it is done.
const PAUSE: Duration = Duration::from_millis(10);
/// Largest reply that is looked at (bytes).
const MAX_REPLY: u64 = 1 << 20;

/// What a canary call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The reply blocks the call, in the harness's own words.
    Blocked {
        /// The reply.
        reply: String,
        /// Whether the policy said so, or the hook client by itself because it could not ask.
        by_policy: bool,
    },
    /// The reply lets the call run.
    Passed {
        /// Exit status, if it ended by itself.
        exit: Option<i32>,
        /// What it printed.
        reply: String,
        /// What it said on standard error.
        complaint: String,
    },
    /// The hook could not be run.
    Failed(String),
}

/// The payload of a canary call.
pub fn payload(canary: &Canary, session: &str, cwd: &str) -> Value {
    fill(&canary.payload, session, cwd)
}

fn fill(value: &Value, session: &str, cwd: &str) -> Value {
    match value {
        Value::String(text) => text
            .replace("{session}", session)
            .replace("{call}", &format!("{session}-call"))
            .replace("{cwd}", cwd)
            .replace("{canary}", COMMAND)
            .into(),
        Value::Array(list) => list.iter().map(|value| fill(value, session, cwd)).collect(),
        Value::Object(map) => {
            let filled = map
                .iter()
                .map(|(key, value)| (key.clone(), fill(value, session, cwd)));
            Value::Object(filled.collect())
        }
        other => other.clone(),
    }
}

/// Runs the installed hook's command line with a canary call, as `user` where this process may act for others.
pub fn run(canary: &Canary, line: &str, session: &str, cwd: &Path, user: Option<&User>) -> Outcome {
    let mut words = line.split_whitespace();
    let Some(program) = words.next() else {
        return Outcome::Failed("the hook's command line is empty".into());
    };
    let mut command = Command::new(program);
    command.args(words);
    let payload = payload(canary, session, &cwd.to_string_lossy()).to_string();
    start(canary, command, payload, cwd, user)
}

/// Runs an installed plugin's file with a canary call, in Node in place of its harness.
pub fn run_plugin(
    canary: &Canary,
    probe: &Probe,
    node: &Path,
    file: &Path,
    session: &str,
    cwd: &Path,
    user: Option<&User>,
) -> Outcome {
    let mut command = Command::new(node);
    command
        .args(["--input-type=module", "--eval", &probe.script, "--"])
        .arg(file)
        .arg(session)
        .arg(cwd)
        .arg(COMMAND);
    start(canary, command, String::new(), cwd, user)
}

fn start(canary: &Canary, mut command: Command, payload: String, cwd: &Path, user: Option<&User>) -> Outcome {
    command
        .current_dir(cwd)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Outcome::Failed(format!("{program} cannot be started: {error}")),
    };
    match converse(child, payload) {
        Ok((exit, reply, complaint)) => judge(canary, exit, reply, complaint),
        Err(what) => Outcome::Failed(what),
    }
}

/// What a reply means to the harness.
pub fn judge(canary: &Canary, exit: Option<i32>, reply: String, complaint: String) -> Outcome {
    let json: Option<Value> = serde_json::from_str(&reply).ok();
    let blocked = canary.blocked.iter().any(|blocked| match blocked {
        Blocked::Exit { exit: wanted } => exit == Some(*wanted),
        Blocked::Json { at, is } => json.as_ref().and_then(|json| json.pointer(at)) == Some(is),
    });
    if blocked {
        // Also refused is what nobody could be asked about; that proves the hook client and not the gateway.
        let by_policy = reply.contains(REFUSAL) || complaint.contains(REFUSAL);
        return Outcome::Blocked { reply, by_policy };
    }
    Outcome::Passed {
        exit,
        reply,
        complaint,
    }
}

fn converse(mut child: Child, payload: String) -> Result<(Option<i32>, String, String), String> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // Each end on its own, so that neither side can wait for the other.
    std::thread::spawn(move || {
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(payload.as_bytes());
        }
    });
    let (reply, complaint) = (read(stdout), read(stderr));
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < DEADLINE => std::thread::sleep(PAUSE),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("the hook did not answer within {} s", DEADLINE.as_secs()));
            }
            Err(error) => return Err(format!("the hook cannot be waited for: {error}")),
        }
    };
    let left = || DEADLINE.saturating_sub(begun.elapsed());
    let reply = reply
        .recv_timeout(left())
        .map_err(|_| "the hook ended, and what it left behind holds its output open".to_owned())?;
    let complaint = complaint.recv_timeout(left()).unwrap_or_default();
    Ok((status.code(), reply, complaint))
}

/// All that comes from there. Nobody waits for the thread: something that the hook left behind may hold the other end for ever.
fn read(from: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            let _ = from.take(MAX_REPLY).read_to_end(&mut bytes);
        }
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}
