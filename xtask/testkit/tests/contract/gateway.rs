//! A gateway that decides by the words of a command, and otherwise is the real thing: the contract engine reads the payload
//! and renders the reply, and the real hook client carries both.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use defenseclaw_harness::contract::{Contracts, Parsed, Reply};
use defenseclaw_model::call::{CallKind, HookEventKind, ToolCall};
use defenseclaw_model::decision::{Decision, Severity, Verdict};
use serde_json::json;

/// A running gateway. It ends with the process.
pub(crate) struct Gateway {
    socket: PathBuf,
    seen: Arc<Mutex<Vec<Parsed>>>,
}

impl Gateway {
    pub(crate) fn start(folder: &Path) -> Self {
        let socket = folder.join("gateway.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &seen));
            }
        });
        Self { socket, seen }
    }

    /// For the hook client's environment.
    pub(crate) fn socket(&self) -> String {
        self.socket.display().to_string()
    }

    /// Every event that came, in order.
    pub(crate) fn seen(&self) -> Vec<Parsed> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(stream: UnixStream, seen: &Mutex<Vec<Parsed>>) {
    let mut reader = BufReader::new(&stream);
    let (mut line, mut connector, mut event, mut length) = (String::new(), String::new(), None, 0);
    while reader.read_line(&mut line).unwrap() > 2 {
        let text = line.trim_end();
        if let Some(path) = text.strip_prefix("POST /v1/hooks/") {
            connector = path.split(' ').next().unwrap().to_owned();
        } else if let Some(name) = text.strip_prefix("x-defenseclaw-event: ") {
            event = Some(name.to_owned());
        } else if let Some(bytes) = text.strip_prefix("content-length: ") {
            length = bytes.parse().unwrap();
        }
        line.clear();
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).unwrap();
    let contract = Contracts::embedded().unwrap().find(&connector).unwrap();
    let reply = match contract.parse(&payload, event.as_deref()) {
        Ok(parsed) => {
            let reply = match &parsed.event.kind {
                HookEventKind::PreToolUse(call) | HookEventKind::PermissionRequest(call) => {
                    contract.decided(&parsed.native, &decide(call))
                }
                _ => contract.passed(&parsed.native),
            };
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(parsed);
            reply
        }
        Err(fault) => contract.refused(fault.event.as_deref(), &fault.to_string()),
    };
    answer(&stream, &reply);
}

fn answer(mut stream: &UnixStream, reply: &Reply) {
    let head = format!(
        "HTTP/1.1 200 OK\r\nx-defenseclaw-exit: {}\r\nx-defenseclaw-stderr: {}\r\ncontent-length: {}\r\n\r\n",
        reply.exit,
        reply.stderr.len(),
        reply.body.len() + reply.stderr.len()
    );
    let all = [head.as_bytes(), &reply.body, &reply.stderr].concat();
    stream.write_all(&all).unwrap();
}

/// The word in the command, or in a file's name, decides.
fn decide(call: &ToolCall) -> Decision {
    let words = match &call.kind {
        CallKind::Command { command, .. } => command.clone(),
        CallKind::FileWrite { paths } => paths.join(" "),
        _ => String::new(),
    };
    let verdict = if words.contains("denied") {
        Verdict::Deny
    } else if words.contains("asked") {
        Verdict::Ask
    } else {
        Verdict::Allow
    };
    let updated = words
        .contains("original")
        .then(|| json!({"command": words.replace("original", "changed")}));
    Decision {
        verdict,
        severity: Severity::High,
        reason: "the test says so".into(),
        findings: Vec::new(),
        rule: String::new(),
        line: String::new(),
        updated_input: updated,
        sandbox: None,
        policy: "000000000000".into(),
        enforced: true,
    }
}
