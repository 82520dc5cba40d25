//! Settings of the SSH server that let fewer people in than before.
//!
//! Who may change how people log in may let himself in, so whatever writes there is stopped. What is told here for sure to
//! take a way in away is none of that: each line that is written, or put in another's place, is known to be strict.

use defenseclaw_model::facts::{BehaviourKind, PathFact};

use super::programs::Call;
use super::{Analysis, HARMLESS, behaviours};

/// Longest text of settings that is looked at (bytes); a server's whole file has four thousand.
const MAX_TEXT: usize = 32 << 10;

/// Settings, in lower case, with the values by which fewer people come in, or less may be done by who is.
const STRICT: &[(&str, &[&str])] = &[
    (
        "permitrootlogin",
        &[
            "no",
            "prohibit-password",
            "without-password",
            "forced-commands-only",
        ],
    ),
    ("passwordauthentication", &["no"]),
    ("permitemptypasswords", &["no"]),
    ("kbdinteractiveauthentication", &["no"]),
    ("challengeresponseauthentication", &["no"]),
    ("hostbasedauthentication", &["no"]),
    ("gssapiauthentication", &["no"]),
    ("kerberosauthentication", &["no"]),
    ("pubkeyauthentication", &["yes"]),
    ("authenticationmethods", &["publickey"]),
    ("permituserenvironment", &["no"]),
    ("permittunnel", &["no"]),
    ("x11forwarding", &["no"]),
    ("allowtcpforwarding", &["no"]),
    ("allowagentforwarding", &["no"]),
    ("allowstreamlocalforwarding", &["no"]),
    ("gatewayports", &["no"]),
    ("disableforwarding", &["yes"]),
    ("ignorerhosts", &["yes"]),
    ("strictmodes", &["yes"]),
    ("usepam", &["yes"]),
    ("protocol", &["2"]),
    ("loglevel", &["info", "verbose"]),
];

/// Settings that are a number, which may be lowered or raised but lets nobody in.
const NUMBERS: &[&str] = &[
    "maxauthtries",
    "maxsessions",
    "logingracetime",
    "clientaliveinterval",
    "clientalivecountmax",
];

/// Notes of the program that is being looked at whether what it writes only makes logins stricter. `printed` is what it
/// prints, where that is known.
pub(super) fn note(analysis: &mut Analysis, name: &str, call: Call<'_>, printed: Option<&str>) {
    let invocation = behaviours::Invocation { name, call };
    let strict = match name {
        "sed" | "gsed" => edits(&invocation),
        "tee" | "sponge" => call.input().is_some_and(is_strict),
        "echo" | "printf" | "cat" => printed.or_else(|| call.input()).is_some_and(is_strict),
        _ => return,
    };
    if let Some(node) = analysis.current.and_then(|at| analysis.nodes.get_mut(at)) {
        node.stricter = strict;
    }
}

/// Takes the class off the server's settings where all that is written there makes them stricter.
pub(super) fn settle(analysis: &mut Analysis) {
    for at in 0..analysis.facts.writes.len() {
        if !analysis.facts.writes.get(at).is_some_and(is_server) {
            continue;
        }
        let mut writers = analysis
            .nodes
            .iter()
            .filter(|node| node.writes.contains(&at))
            .peekable();
        if writers.peek().is_some() && writers.all(|node| node.stricter) {
            forgive(analysis, at);
        }
    }
}

/// The same for what a file tool writes.
pub(super) fn written(analysis: &mut Analysis, texts: &[String]) {
    if texts.is_empty() || !texts.iter().all(|text| is_strict(text)) {
        return;
    }
    for at in 0..analysis.facts.writes.len() {
        if analysis.facts.writes.get(at).is_some_and(is_server) {
            forgive(analysis, at);
        }
    }
}

fn is_server(fact: &PathFact) -> bool {
    fact.class.as_deref() == Some("ssh-access") && fact.path.starts_with("/etc/ssh/sshd_config")
}

fn forgive(analysis: &mut Analysis, at: usize) {
    let Some(fact) = analysis.facts.writes.get_mut(at) else {
        return;
    };
    fact.class = Some(HARMLESS.to_owned());
    let path = fact.path.clone();
    analysis.facts.behaviours.retain(|known| {
        known.kind != BehaviourKind::Persistence || known.technique != "ssh-config" || known.object != path
    });
}

/// Whether a text holds settings, all of them strict.
fn is_strict(text: &str) -> bool {
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .peekable();
    text.len() <= MAX_TEXT && lines.peek().is_some() && lines.all(|line| setting(line, false))
}

/// Whether a line is a setting that lets fewer people in; of those that are less strict than others only where nothing
/// stricter was there (`relaxes`).
fn setting(line: &str, relaxes: bool) -> bool {
    let mut words = line
        .split(|c: char| c.is_whitespace() || c == '=')
        .filter(|word| !word.is_empty());
    let (Some(name), Some(value), None) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let (name, value) = (name.to_ascii_lowercase(), value.to_ascii_lowercase());
    if NUMBERS.contains(&name.as_str()) {
        return value.bytes().all(|byte| byte.is_ascii_digit()) && value != "0";
    }
    STRICT.iter().any(|(known, values)| {
        *known == name
            && values
                .iter()
                .take(if relaxes { 1 } else { usize::MAX })
                .any(|strict| *strict == value)
    })
}

/// Whether all that an edit with `sed` puts in place is strict.
fn edits(call: &behaviours::Invocation<'_>) -> bool {
    let given: Vec<&str> = call.values(&["-e", "--expression"]).collect();
    let scripts = match given.is_empty() {
        false => given,
        true => call.operands().take(1).collect(),
    };
    !scripts.is_empty() && !call.any(&["-f", "--file"]) && scripts.iter().all(|script| edit(script))
}

/// Whether a script of `sed` consists of `s/…SETTING…/SETTING VALUE/`, each of them strict.
fn edit(script: &str) -> bool {
    let mut rest = script.trim();
    let mut found = false;
    while !rest.is_empty() {
        // `/^PasswordAuthentication/s/yes/no/`: the setting is in the address.
        let mut address = "";
        if let Some(behind) = rest.strip_prefix('/') {
            let Some((named, after)) = behind.split_once('/') else {
                return false;
            };
            (address, rest) = (named, after.trim_start());
        }
        let mut letters = rest.chars();
        let (Some('s'), Some(mark)) = (letters.next(), letters.next()) else {
            return false;
        };
        if mark.is_alphanumeric() || mark == '\\' {
            return false;
        }
        let mut parts = letters.as_str().splitn(3, mark);
        let (Some(old), Some(new), Some(after)) = (parts.next(), parts.next(), parts.next()) else {
            return false;
        };
        let behind = after.trim_start_matches(['g', 'I', 'i', '1']);
        let end = behind.trim_start();
        if !end.is_empty() && !end.starts_with([';', '\n']) && !behind.starts_with('\n') {
            return false;
        }
        rest = end.trim_start_matches([';', '\n', ' ']);
        let relaxes = old.contains(" no") || old.ends_with("no");
        let line = match new.strip_prefix("\\1") {
            // The setting's name is kept: its own group of the pattern.
            Some(value) => format!("{} {}", name_in(old), value.trim_start()),
            None if new.contains(char::is_whitespace) => new.to_owned(),
            None => format!(
                "{} {new}",
                name_in(if address.is_empty() { old } else { address })
            ),
        };
        if line.contains(['&', '\\']) || !setting(&line, relaxes) {
            return false;
        }
        found = true;
    }
    found
}

/// The first word of a pattern that is long enough for the name of a setting.
fn name_in(pattern: &str) -> &str {
    pattern
        .split(|c: char| !c.is_ascii_alphanumeric())
        .find(|word| word.len() >= 5)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_let_fewer_people_in() {
        for (text, expected) in [
            (
                "PasswordAuthentication no\n# keys only\nPermitRootLogin prohibit-password\n",
                true,
            ),
            ("MaxAuthTries 3\nX11Forwarding no", true),
            ("PermitRootLogin yes", false),
            ("PasswordAuthentication no\nAuthorizedKeysFile /tmp/k", false),
            ("Match User bob\nPasswordAuthentication no", false),
            ("# nothing", false),
            ("", false),
        ] {
            assert_eq!(is_strict(text), expected, "{text}");
        }
    }

    #[test]
    fn edits_that_let_fewer_people_in() {
        for (script, expected) in [
            (r"s/^#\?PermitRootLogin.*/PermitRootLogin no/", true),
            (r"s/^#\?\(PasswordAuthentication\).*/\1 no/", true),
            (
                "s/PasswordAuthentication yes/PasswordAuthentication no/g; s/X11Forwarding yes/X11Forwarding no/",
                true,
            ),
            ("/^PasswordAuthentication/s/yes/no/", true),
            ("s|^#*PermitRootLogin .*|PermitRootLogin prohibit-password|", true),
            ("s/PermitRootLogin no/PermitRootLogin prohibit-password/", false),
            ("s/PermitRootLogin no/PermitRootLogin yes/", false),
            ("s/PasswordAuthentication no/PasswordAuthentication yes/", false),
            ("s/yes/no/", false),
            (
                "s/^PasswordAuthentication.*/PasswordAuthentication no/w /tmp/x",
                false,
            ),
            ("s/^PasswordAuthentication.*/PasswordAuthentication no/e", false),
            ("$a PermitRootLogin yes", false),
            (
                r"s/^#\?PermitRootLogin.*/PermitRootLogin no\nPasswordAuthentication yes/",
                false,
            ),
        ] {
            assert_eq!(edit(script), expected, "{script}");
        }
    }
}
