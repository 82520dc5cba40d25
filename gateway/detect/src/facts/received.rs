//! Code that takes commands from elsewhere: out of a socket, a queue or an answer; and code that sends stores of keys away.

use defenseclaw_model::facts::BehaviourKind::{Control, Execution, Exfiltration};
use defenseclaw_model::facts::FlowKind;

use super::code::{flow, strings};
use super::groups::Group;
use super::spotted::Spotted;
use super::{Analysis, flows, hosts};

/// What a text connects to, where its words name it.
fn named_peer(code: &Spotted<'_>) -> Option<String> {
    if !code.has(Group::NamesPeer) {
        return None;
    }
    let text = code.text;
    let mut words = Group::NamesPeer.words().iter();
    let at = words.find_map(|word| text.find(word))?;
    let (quoted, _) = strings(&text[at..text.ceil_char_boundary((at + 200).min(text.len()))])
        .find(|(quoted, _)| quoted.contains('.') || *quoted == "localhost")?;
    hosts::host_port(quoted, None).map(|host| host.host)
}

/// Whether a part of a text fetches something.
fn fetches(part: &str) -> bool {
    Spotted::new(part).has(Group::Fetches)
}

/// Most calls of one function that are looked at.
const MAX_CALLS: usize = 64;
/// Most names that hold what was fetched.
const MAX_TAINTED: usize = 16;

/// Notes a program that fetches text and hands it, or a part of it, to a shell.
pub(super) fn tasked(analysis: &mut Analysis, code: &Spotted<'_>, host: Option<&str>) {
    let Some(host) = host.filter(|_| code.has_all(&[Group::Fetches, Group::RunsFetched])) else {
        return;
    };
    let text = code.text;
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
        let tainted = fetches(right)
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
    let runs = code.uses(Group::RunsFetched, MAX_CALLS).any(|(at, call)| {
        let rest = &text[at + call.len()..];
        let given = word(rest.trim_start_matches(['$', ' ', '(']));
        let bare = call.starts_with("subprocess.") || call == "Popen(";
        let whole = call.ends_with('(') && fetches(bracketed(rest));
        (names.contains(&given) || whole)
            && (!bare || shell(rest))
            && (call != ".exec(" || code.has(Group::ChildProcess))
    });
    if runs {
        flow(analysis, (FlowKind::Network, host), (FlowKind::Code, "shell"));
        analysis.behave(Execution, "network-to-code", host, None);
    }
}

/// What stands in the bracket that is open before `rest`.
pub(super) fn bracketed(rest: &str) -> &str {
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

/// Notes a program that runs what comes in from a socket: from `connected`, from a peer that its words name, or from `host`.
pub(super) fn takes_commands(
    analysis: &mut Analysis,
    code: &Spotted<'_>,
    connected: Option<String>,
    host: Option<&str>,
) {
    if !code.has_all(&[Group::OpensSocket, Group::Receives]) {
        return;
    }
    let text = code.text;
    let given = |at: usize| {
        text[at..]
            .trim_start()
            .starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '$'))
    };
    let any = |group| {
        code.uses(group, usize::MAX)
            .any(|(at, word)| given(at + word.len()))
    };
    let node = code.has(Group::ChildProcess) && any(Group::NodeRuns);
    if !(node || code.has(Group::RunsVariable) || any(Group::RunsReceived)) {
        return;
    }
    let peer = connected
        .or_else(|| named_peer(code))
        .or_else(|| host.map(str::to_owned));
    match peer {
        Some(peer) if !flows::is_near(&peer) => analysis.behave(Control, "reverse-shell", peer, None),
        Some(_) => {}
        None if code.has(Group::Serves) && !code.has(Group::ThisHost) => {
            analysis.behave(Control, "bind-shell", "", None);
        }
        None => {}
    }
}

/// Folders and stores that a written program has no business sending anywhere, with where they would go. `spelled` is the
/// text with what it puts together spelled out.
pub(super) fn sends_secrets(analysis: &mut Analysis, code: &Spotted<'_>, spelled: Option<&str>) {
    if !code.has(Group::Connects) {
        return;
    }
    let text = spelled.unwrap_or(code.text);
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

/// Notes a hook in another language that sends what it reads, or what a program prints.
pub(super) fn hook_sends(analysis: &mut Analysis, code: &Spotted<'_>) {
    let text = code.text;
    let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let reads = code.has(Group::Shells) || any(&["open(", "readFile", "read_text", "File.read"]);
    let sends = any(&["data=", "body:", "body=", "files=", ".post(", ".put(", ".write("]);
    if !code.has(Group::Connects) || !reads || !sends {
        return;
    }
    let far = hosts::hosts_in(text)
        .into_iter()
        .map(|host| host.host)
        .find(|host| !flows::is_near(host));
    if let Some(host) = far {
        analysis.behave(Exfiltration, "upload", host, None);
    }
}
