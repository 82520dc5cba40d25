//! Code that takes commands from elsewhere: out of a socket, a queue or an answer; and code that sends stores of keys away.

use defenseclaw_model::facts::BehaviourKind::{Control, Execution};
use defenseclaw_model::facts::FlowKind;

use super::code::{CONNECTS, FETCHES, flow, holds, strings};
use super::literals::Literals;
use super::{Analysis, flows, hosts, spelled};

/// What a text connects to, where that is another host.
pub(super) fn peer_of(text: &str, connected: &Option<String>) -> Option<String> {
    let named = [
        "PeerAddr",
        "PeerHost",
        "open_connection(",
        "TcpStream::connect(",
        "net.Dial(",
    ];
    let behind = || {
        let at = named.iter().find_map(|word| text.find(word))?;
        let (quoted, _) = strings(&text[at..text.ceil_char_boundary((at + 200).min(text.len()))])
            .find(|(quoted, _)| quoted.contains('.') || *quoted == "localhost")?;
        hosts::host_port(quoted, None).map(|host| host.host)
    };
    connected.clone().or_else(behind)
}

/// Words that open a socket, and words that take something in from it.
static SOCKETS: Literals = Literals::new(&[
    "socket",
    "Socket",
    "net.connect",
    "net').connect",
    "net\").connect",
    "open_connection",
    "createServer",
    "start_server",
    "TCPServer",
    "WebSocket",
    "websockets.",
    "TcpStream",
    "net.Dial",
    "TcpClient",
    "socketio",
    "socket.io",
    "paho.mqtt",
    "mqtt.",
    "pika.",
    "nats.",
    "pubsub(",
]);
static RECEIVES: Literals = Literals::new(&[
    "recv(",
    "readline",
    "readuntil",
    ".on('data'",
    ".on(\"data\"",
    ".on('message'",
    ".on(\"message\"",
    "onmessage",
    "while(<$",
    "while (<$",
    "=<$",
    ".gets",
    "rfile",
    "makefile(",
    "fgets(",
    "async for",
    "await r.read",
    "@sio.",
    "on_message",
    "basic_consume",
    "subscribe(",
    ".lines()",
    "ReadString(",
    "ReadLine(",
    "readLine(",
    "NewScanner(",
]);

/// Most calls of one function that are looked at.
const MAX_CALLS: usize = 64;
/// Most names that hold what was fetched.
const MAX_TAINTED: usize = 16;

/// Notes a program that fetches text and hands it, or a part of it, to a shell.
pub(super) fn tasked(analysis: &mut Analysis, text: &str, host: Option<String>) {
    const RUNS: &[&str] = &[
        "os.popen(",
        "os.system(",
        "getoutput(",
        "check_output(",
        "subprocess.run(",
        "subprocess.call(",
        "Popen(",
        "create_subprocess_shell(",
        "execSync(",
        " exec(",
        ".exec(",
        "shell_exec(",
        "IO.popen(",
        "system(",
        "eval(",
        "Invoke-Expression ",
        "Open3.capture2e(",
        "Open3.capture2(",
        "Open3.capture3(",
        "`#{",
    ];
    let Some(host) = host.filter(|_| FETCHES.within(text)) else {
        return;
    };
    let word = |text: &str| -> String {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let mut names: Vec<String> = Vec::new();
    for line in text.split(['\n', ';']) {
        let line = line.trim_start();
        let Some((left, right)) = line.split_once('=').filter(|(_, right)| !right.starts_with('=')) else {
            continue;
        };
        let left = left
            .trim()
            .trim_start_matches("const ")
            .trim_start_matches("let ")
            .trim_start_matches("var ");
        let name = word(left.trim_start_matches(['$', '{', '[', ' ']));
        let tainted = FETCHES.within(right)
            || names.iter().any(|known| {
                right
                    .match_indices(known.as_str())
                    .any(|(at, _)| word(&right[at..]) == *known)
            });
        if tainted && !name.is_empty() && names.len() < MAX_TAINTED {
            names.push(name);
        }
    }
    let shell = |rest: &str| rest[..rest.floor_char_boundary(160)].contains("shell=True");
    let runs = RUNS.iter().any(|call| {
        text.match_indices(call).take(MAX_CALLS).any(|(at, _)| {
            let rest = &text[at + call.len()..];
            let given = word(rest.trim_start_matches(['$', ' ', '(']));
            let bare = call.starts_with("subprocess.") || *call == "Popen(";
            let whole = call.ends_with('(') && FETCHES.within(bracketed(rest));
            (names.contains(&given) || whole)
                && (!bare || shell(rest))
                && (*call != ".exec(" || text.contains("child_process"))
        })
    });
    if runs {
        flow(analysis, (FlowKind::Network, &host), (FlowKind::Code, "shell"));
        analysis.behave(Execution, "network-to-code", host, None);
    }
}

/// What stands in the bracket that is open before `rest`.
fn bracketed(rest: &str) -> &str {
    let rest = &rest[..rest.floor_char_boundary(400)];
    let mut open = 1_usize;
    let end = rest.find(|c| {
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        open == 0
    });
    &rest[..end.unwrap_or(rest.len())]
}

/// Notes a program that runs what comes in from a socket.
pub(super) fn takes_commands(analysis: &mut Analysis, text: &str, peer: Option<String>) {
    const RUNS: &[&str] = &[
        "os.popen(",
        "os.system(",
        "getoutput(",
        "check_output(",
        "subprocess.run(",
        "subprocess.call(",
        "Popen(",
        "create_subprocess_shell(",
        "execSync(",
        "shell_exec(",
        "IO.popen(",
        "io.popen(",
        "os.execute(",
        "exec.Command(",
        "Open3.capture2e(",
        "Open3.capture2(",
        "Open3.capture3(",
        "\"-c\", ",
        "\"-c\").arg(",
        "\"-c\",",
    ];
    if !(SOCKETS.within(text) && RECEIVES.within(text)) {
        return;
    }
    let given = |at: usize| {
        text[at..]
            .trim_start()
            .starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '$'))
    };
    let of = |word: &str| text.match_indices(word).any(|(at, _)| given(at + word.len()));
    let node = text.contains("child_process") && (of(".exec(") || of(" exec(") || of(".spawn("));
    let perl = holds(text, &["`$_`", "qx($", "qx{$", "system($", "`#{"]);
    if !(node || perl || RUNS.iter().any(|word| of(word))) {
        return;
    }
    match peer {
        Some(peer) if !flows::is_near(&peer) => analysis.behave(Control, "reverse-shell", peer, None),
        Some(_) => {}
        None if holds(
            text,
            &[
                "TCPServer",
                "createServer(",
                "start_server(",
                ".bind(",
                "WebSocketServer",
            ],
        ) && !holds(text, &["127.0.0.1", "localhost"]) =>
        {
            analysis.behave(Control, "bind-shell", "", None);
        }
        None => {}
    }
}

/// Folders and stores that a written program has no business sending anywhere, with where they would go.
pub(super) fn sends_secrets(analysis: &mut Analysis, text: &str) {
    if !CONNECTS.within(text) {
        return;
    }
    let spelled = spelled::out(text);
    let text = spelled.as_deref().unwrap_or(text);
    let host = hosts::hosts_in(text)
        .into_iter()
        .map(|host| host.host)
        .find(|host| !flows::is_near(host));
    let Some(host) = host else { return };
    for (quoted, _) in strings(text) {
        let class = analysis.rules.classify(quoted.trim_end_matches("/*"));
        let store = class.is_some_and(|class| {
            matches!(
                class,
                "private-key" | "credential-folder" | "browser-store" | "password-manager" | "system-auth"
            )
        });
        if store && quoted.contains('/') {
            flow(analysis, (FlowKind::Secret, quoted), (FlowKind::Network, &host));
            return;
        }
    }
}
