//! Source text of other languages, handed to an interpreter: not parsed, but looked over.
//!
//! What a quoted string in it names outright (the path of something sensitive, a URL) is declared; a text that it hands to a
//! shell is read as one; and a few combinations of calls say what it is for. The text itself is noted as opaque.

use std::net::IpAddr;

use defenseclaw_model::facts::BehaviourKind::{Control, Credential, Destruction, Execution, Privilege};
use defenseclaw_model::facts::{FlowEnd, FlowKind, Radius};

use super::calls::{deletions, shells};
use super::code_paths;
use super::flows::{Sends, Way};
use super::groups::Group;
use super::received::{bracketed, takes_commands, tasked};
use super::spotted::Spotted;
use super::{Analysis, addresses, flows, hosts, people, spelled};
use crate::shell::{Scope, Sink};

/// Most quoted strings that are looked at in one text.
const MAX_STRINGS: usize = 256;

/// Longest quoted string that can be a path (bytes).
pub(super) const MAX_PATH: usize = 4096;

/// Notes what `text` names and does.
pub(super) fn scan(analysis: &mut Analysis, text: &str, scope: &Scope<'_>) {
    analysis.spend(text.len());
    if analysis.stopped() {
        return;
    }
    analysis.opaque("interpreter", text);
    let code = Spotted::new(text);
    if code.has_all(&[Group::Decodes, Group::Executes]) {
        analysis.opaque("encoding", text);
    }
    read(analysis, &code, scope);
    if let Some(spelled) = spelled::out(text) {
        analysis.spend(spelled.len());
        read(analysis, &Spotted::new(&spelled), scope);
    }
}

/// What a text names and does, as it is written.
fn read(analysis: &mut Analysis, code: &Spotted<'_>, scope: &Scope<'_>) {
    if code.has(Group::Url) {
        for host in hosts::hosts_in(code.text) {
            analysis.host(host);
        }
        for (quoted, _) in
            strings(code.text).filter(|(quoted, _)| quoted.starts_with("http") && quoted.contains('?'))
        {
            addresses::note(analysis, quoted, None);
        }
    }
    code_paths::named(analysis, code, scope);
    let name = analysis.current.and_then(|at| analysis.facts.programs.get(at));
    let name = name.map_or(String::new(), |program| program.name.clone());
    behaviours(analysis, &name, code, scope);
    ends(analysis, code);
}

/// The quoted strings of `text`, by the nearest closing quote, each with what stands behind it.
pub(super) fn strings(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let open = memchr::memchr3(b'"', b'\'', b'`', rest.as_bytes())?;
        let quote = rest.as_bytes()[open];
        let inner = &rest[open + 1..];
        match memchr::memchr2(quote, b'\n', inner.as_bytes()) {
            // A quote that closes nothing on its line (an apostrophe) is stepped over.
            Some(end) if inner.as_bytes()[end] == quote => {
                rest = &inner[end + 1..];
                Some((&inner[..end], rest))
            }
            _ => {
                rest = inner;
                Some(("", rest))
            }
        }
    })
    .take(MAX_STRINGS)
    .filter(|(quoted, _)| !quoted.is_empty() && quoted.len() <= MAX_PATH)
}

pub(super) fn holds(text: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| text.contains(part))
}

/// Runs text of its own language or of a shell, with nothing of it to be read.
fn runs_text(code: &Spotted<'_>) -> bool {
    let own = code.uses(Group::Evaluates, usize::MAX).any(|(at, _)| {
        let before = &code.text[..at];
        // `re.exec(`, `cursor.exec(` and `literal_eval(` run no code.
        !before.ends_with(['.', '_']) || before.ends_with("builtins.")
    });
    own || code.has(Group::RunsText)
        && (!code.has(Group::CompilesExpression) || code.has(Group::OsSystem))
        && code
            .uses(Group::RunsText, usize::MAX)
            .any(|(at, word)| !only_asks(word, &code.text[at + word.len()..]))
}

/// Whether a call runs nothing but a command that is written out and tells something of this host or repository: nothing that came in
/// is part of it. `rest`: what stands behind the opening parenthesis.
fn only_asks(word: &str, rest: &str) -> bool {
    const ASKS: [&str; 8] = [
        "git", "hg", "uname", "hostname", "date", "nproc", "whoami", "which",
    ];
    let rest = rest.trim_start();
    let Some(quote @ ('"' | '\'' | '`')) = rest.chars().next().filter(|_| word.ends_with('(')) else {
        return false;
    };
    let Some((command, behind)) = rest[1..].split_once(quote) else {
        return false;
    };
    let plain = |c: char| !matches!(c, ';' | '|' | '&' | '<' | '>' | '$' | '`' | '\\' | '\n');
    let program = command.split_whitespace().next().unwrap_or_default();
    let (arguments, _) = behind.split_once(')').unwrap_or((behind, ""));
    ASKS.contains(&program)
        && command.chars().all(plain)
        && behind.trim_start().starts_with([')', ','])
        && !arguments.contains("input")
}

/// What combinations of calls say.
pub(super) fn behaviours(analysis: &mut Analysis, name: &str, code: &Spotted<'_>, scope: &Scope<'_>) {
    let host = far_host(code);
    let socket = code.has(Group::Socket);
    let handed_over = socket && code.has(Group::HandsOver);
    let peer = connected(code);
    if handed_over && (peer.is_some() || code.has(Group::Peers)) {
        let bound = code.has(Group::Listens) && !code.has(Group::Connect);
        let technique = if bound { "bind-shell" } else { "reverse-shell" };
        analysis.behave(Control, technique, peer.clone().unwrap_or_default(), None);
    }
    tasked(analysis, code, host.as_deref());
    if !handed_over {
        takes_commands(analysis, code, peer, host.as_deref());
    }
    if runs_text(code) {
        if code.has_all(&[Group::Decodes, Group::RunsDecoded]) {
            analysis.behave(Execution, "decoded-code", name, None);
        }
        if let Some(host) = host.filter(|_| code.has(Group::Fetches)) {
            flow(analysis, (FlowKind::Network, &host), (FlowKind::Code, name));
            analysis.behave(Execution, "network-to-code", host, None);
        }
    }
    calls(analysis, name, code);
    deletions(analysis, code, scope);
    shells(analysis, code, scope);
}

/// The first host of a URL in the text that is not this one.
fn far_host(code: &Spotted<'_>) -> Option<String> {
    if !code.has(Group::Url) {
        return None;
    }
    hosts::hosts_in(code.text)
        .into_iter()
        .map(|host| host.host)
        .find(|host| !flows::is_near(host))
}

/// Single calls that say enough by themselves.
fn calls(analysis: &mut Analysis, name: &str, code: &Spotted<'_>) {
    if code.has(Group::OpensShell) && !code.has(Group::Socket) {
        analysis.behave(Execution, "gtfobin-shell", name, None);
    }
    if code.has(Group::BecomesRoot) {
        analysis.behave(Privilege, "setuid", name, None);
    }
    if code.has(Group::Reboots) {
        analysis.behave(Destruction, "reboot", name, Radius::System);
    }
    if code.has(Group::Memfd) {
        analysis.behave(Execution, "memfd", name, None);
    }
    if code.has(Group::Traces) {
        analysis.behave(Execution, "process-inject", name, None);
    }
    if code.has(Group::ReadsKeys) {
        analysis.behave(Credential, "keylog", name, None);
    }
    if code.has_all(&[Group::Forks, Group::Loops]) {
        analysis.behave(Destruction, "fork-bomb", "", Radius::System);
    }
}

/// The address that a text connects a socket to.
fn connected(code: &Spotted<'_>) -> Option<String> {
    if !code.has(Group::ConnectsTo) {
        return None;
    }
    let text = code.text;
    let mut words = Group::ConnectsTo.words().iter();
    let begin = words.find_map(|word| text.find(word).map(|at| at + word.len()))?;
    // Only what stands in the call's own brackets is what it connects to.
    let (quoted, _) = strings(bracketed(&text[begin..])).next()?;
    let host = hosts::host_port(quoted, None)?.host;
    // A version and the end of a sentence are no addresses.
    let address = host.parse::<IpAddr>().is_ok()
        || host.bytes().any(|b| b.is_ascii_alphabetic()) && !quoted.ends_with('.');
    address.then_some(host)
}

/// What the text sends, and from where.
fn ends(analysis: &mut Analysis, code: &Spotted<'_>) {
    if !code.has(Group::Connects) {
        return;
    }
    let host = far_host(code).or_else(|| connected(code).filter(|host| !flows::is_near(host)));
    let Some(node) = analysis.current.and_then(|at| analysis.nodes.get_mut(at)) else {
        return;
    };
    let Some(host) = host else { return };
    if code.has(Group::WholeEnvironment) {
        node.gives.push(FlowEnd {
            kind: FlowKind::Environment,
            what: String::new(),
        });
    }
    let about = strings(code.text).map(|(quoted, _)| quoted);
    node.gives.extend(
        about
            .filter(|quoted| people::is_about(quoted))
            .take(1)
            .map(|file| FlowEnd {
                kind: FlowKind::File,
                what: file.to_owned(),
            }),
    );
    node.gives.push(FlowEnd {
        kind: FlowKind::Network,
        what: host.clone(),
    });
    let technique = if hosts::is_paste(&host) { "paste" } else { "upload" };
    node.sends = Some(Sends {
        host,
        technique,
        takes: if code.has(Group::StandardInput) {
            Way::Input.bit()
        } else {
            0
        },
        own: true,
    });
}

pub(super) fn flow(analysis: &mut Analysis, from: (FlowKind, &str), to: (FlowKind, &str)) {
    let end = |(kind, what): (FlowKind, &str)| FlowEnd {
        kind,
        what: what.to_owned(),
    };
    let flow = defenseclaw_model::facts::Flow {
        from: end(from),
        to: end(to),
        through: Vec::new(),
    };
    if !analysis.facts.flows.contains(&flow) {
        analysis.facts.flows.push(flow);
    }
}
