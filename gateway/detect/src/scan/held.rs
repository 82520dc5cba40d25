//! Credentials that an artifact holds: a password or a key written where a name, an address or a command says what it is.
//!
//! Formats that issuers give their tokens are the packs' matter (`policies/rules/secret.yaml`). Here a value has no format; it counts
//! where it is told to be a credential, and looks like one: letters and digits, no word of documentation, no reference to where the
//! real one is kept. One line at a time, so that the time is linear.
//!
//! | Module | Holds |
//! |---|---|
//! | [`line`] | the credentials that one line holds |
//! | [`names`] | what a name stands for |
//! | [`values`] | whether a value looks like a credential |

mod line;
mod names;
mod values;

use std::sync::LazyLock;

use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::ScanFinding;

use super::Pass;
use crate::spotter::Spotter;
use crate::text::secrets::hidden;
use line::in_line;

/// Longest line that is read (bytes): what is longer is no line that anybody wrote.
const MAX_LINE: usize = 4000;

/// Most findings of one file: a list of hundreds is one matter.
const MAX_FOUND: usize = 8;

/// Whether a file holds tests: what they log in to is made for them.
pub(super) fn is_test(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let name = path.rsplit('/').next().unwrap_or_default();
    let folders = [
        "test",
        "tests",
        "__tests__",
        "spec",
        "specs",
        "fixtures",
        "testdata",
    ];
    name.starts_with("test_")
        || name.contains("_test.")
        || name.contains(".test.")
        || name.contains(".spec.")
        || path.split('/').any(|part| folders.contains(&part))
}

/// What a line has that is worth a look: a name of a credential, an address, a command that takes one.
const TRIGGERS: [&str; 48] = [
    "pass",
    "pwd",
    "psk",
    "secret",
    "token",
    "key",
    "cred",
    "auth",
    "kennwort",
    "clave",
    "senha",
    "contrase",
    "mot de",
    "mdp",
    "пароль",
    "密码",
    "密碼",
    "パスワード",
    "://",
    "login",
    "log in",
    "log on",
    "logon",
    "bearer",
    "salt",
    "unseal",
    "sign in",
    "wachtwoord",
    "parola",
    "@tcp",
    "@unix",
    "sig=",
    "curl",
    "wget",
    "lftp",
    "smbclient",
    "user",
    "account",
    "admin",
    "root",
    "anmeld",
    "melde",
    "einlogg",
    "pin ",
    "pw ",
    "pw:",
    "pw=",
    "pat",
];

static SPOTTER: LazyLock<Spotter> = LazyLock::new(|| {
    let spots = TRIGGERS
        .iter()
        .zip(0..)
        .map(|(word, number)| (word.as_bytes().to_vec(), number, true));
    Spotter::new(&spots.collect::<Vec<_>>())
});

/// The lines that have something of that, with their numbers.
fn telling(text: &str) -> Vec<(u32, &str)> {
    let mut lines = Vec::new();
    let (mut number, mut begin, mut end) = (0, 0, 0);
    SPOTTER.spot(text.as_bytes(), |at, _| {
        if at < end {
            return true;
        }
        while at >= end && end < text.len() {
            begin = end;
            let rest = text.as_bytes().get(begin..).unwrap_or_default();
            end = memchr::memchr(b'\n', rest).map_or(text.len(), |newline| begin + newline + 1);
            number += 1;
        }
        // Cut where nobody writes on.
        let line = text.get(begin..end).unwrap_or_default();
        lines.push((
            number,
            line.get(..line.floor_char_boundary(MAX_LINE)).unwrap_or_default(),
        ));
        true
    });
    lines
}

impl Pass<'_> {
    /// What is to be said of the credentials that a file holds.
    pub(super) fn held(&mut self, path: &str, text: &str) {
        let severity = if is_test(path) {
            Severity::Medium
        } else {
            Severity::High
        };
        let mut count = 0;
        for (number, line) in telling(text) {
            // A program's text inside of another's.
            let bare = line.replace("\\\"", "\"");
            let Some(value) = in_line(&bare).into_iter().next() else {
                continue;
            };
            let told = |one: &ScanFinding| {
                one.category == "secret" && (one.file.as_str(), one.line) == (path, number)
            };
            if self.findings.iter().any(told) {
                continue;
            }
            count += 1;
            if count > MAX_FOUND {
                return;
            }
            self.findings.push(super::packages::finding(
                ("secret.hard-coded", "secret", severity, 70),
                (path, number),
                "It holds a credential in plain text, for whoever has a copy of it".to_owned(),
                &hidden("hard-coded", "", &value),
                "Take it out, and make it invalid where it is used: who installs it brings their own",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one_and_only_telling_ones_are_read() {
        let text = "a\npassword = 1\n\nb\ntoken secret token\nc\nkey";
        let read: Vec<(u32, &str)> = telling(text)
            .into_iter()
            .map(|(number, line)| (number, line.trim()))
            .collect();
        assert_eq!(read, [(2, "password = 1"), (5, "token secret token"), (7, "key")]);
    }
}
