//! Addresses in a sentence: whose they are, what they carry, and whether something goes there.

use super::hosts::{Host, of_sentence, of_word};

/// Classes that no words make, in this order.
pub(super) const BUILT_IN: [&str; 9] = [
    "other-host",
    "risky-host",
    "known-host",
    "any-link",
    "image-link",
    "holed-link",
    "program-link",
    "mailbox",
    "to-host",
];
const OTHER_HOST: usize = 0;
const RISKY_HOST: usize = 1;
const KNOWN_HOST: usize = 2;
const ANY_LINK: usize = 3;
const IMAGE_LINK: usize = 4;
const HOLED_LINK: usize = 5;
const PROGRAM_LINK: usize = 6;
const MAILBOX: usize = 7;
const TO_HOST: usize = 8;

/// The numbers in [`BUILT_IN`] of what a folded sentence has of addresses.
pub(super) fn classes_of(text: &str, topic: &str) -> impl Iterator<Item = usize> {
    let (other, risky, known) = match of_sentence(text, topic) {
        Some(Host::Risky) => (true, true, false),
        Some(Host::Other) => (true, false, false),
        Some(Host::Known) => (false, false, true),
        Some(Host::Here) | None => (false, false, false),
    };
    let links = Links::of(text);
    let found = [
        (OTHER_HOST, other),
        (RISKY_HOST, risky),
        (KNOWN_HOST, known),
        (ANY_LINK, links.any),
        (IMAGE_LINK, links.image),
        (HOLED_LINK, links.holed),
        (PROGRAM_LINK, links.program),
        (MAILBOX, links.mailbox),
        (TO_HOST, other && is_destination(text, topic)),
    ];
    found
        .into_iter()
        .filter_map(|(number, there)| there.then_some(number))
}

/// What the addresses of a sentence are like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Links {
    any: bool,
    /// One is loaded where the text is shown.
    image: bool,
    /// One has a place that the reader fills in.
    holed: bool,
    /// One is of a program or an archive.
    program: bool,
    /// One is a person's.
    mailbox: bool,
}

/// How programs, archives and scripts end.
const PROGRAMS: &[&str] = &[
    ".exe",
    ".msi",
    ".dmg",
    ".pkg",
    ".zip",
    ".7z",
    ".rar",
    ".tgz",
    ".tar.gz",
    ".tar.xz",
    ".appimage",
    ".deb",
    ".rpm",
    ".sh",
    ".ps1",
    ".bat",
    ".cmd",
    ".jar",
    ".scr",
    ".iso",
    ".vbs",
    ".whl",
    ".apk",
];

/// Names of what is carried, where an address ends in one: `…?d=blob`.
const CARRIED: &[&str] = &[
    "blob", "data", "payload", "content", "contents", "summary", "text", "encoded", "base64", "b64",
    "secret", "token", "context", "message", "msg", "info", "notes", "result", "output", "value", "xxx",
    "...", "…",
];

/// Longest address that is looked at (bytes).
const MAX_LINK: usize = 400;

impl Links {
    fn of(text: &str) -> Self {
        let mut links = Self {
            mailbox: text.match_indices('@').any(|(at, _)| is_mailbox(text, at)),
            ..Self::default()
        };
        for (at, mark) in text.match_indices("://") {
            let from = at + mark.len();
            let to = text.floor_char_boundary((from + MAX_LINK).min(text.len()));
            let rest = text.get(from..to).unwrap_or_default();
            let end = rest.find([' ', '"', '\'', '`', '|']).unwrap_or(rest.len());
            let link = rest.get(..end).unwrap_or_default();
            let before = text.get(..at).unwrap_or_default();
            let before = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric());
            links.any = true;
            links.image |= (before.ends_with("](") && before.contains("![")) || before.ends_with("src=\"");
            links.holed |= is_holed(link);
            let path = link.trim_end_matches(['.', ',', ')', ';', ']', '>', ':']);
            let path = path.split(['?', '#']).next().unwrap_or_default();
            links.program |= path.contains('/') && PROGRAMS.iter().any(|ending| path.ends_with(ending));
        }
        links
    }
}

/// Whether an address has a place behind its host that is to be filled in.
fn is_holed(link: &str) -> bool {
    let Some(at) = link.find(['/', '?']) else {
        return link.starts_with(['{', '<', '$', '[']);
    };
    let behind = link.get(at..).unwrap_or_default();
    if behind.contains(['{', '<', '$', '[']) {
        return true;
    }
    let behind = behind.trim_end_matches([')', '.', ',', ';', ']']);
    behind.contains('?')
        && (behind.ends_with('=')
            || behind
                .rsplit_once('=')
                .is_some_and(|(_, value)| CARRIED.contains(&value)))
}

/// Whether the `@` at a place stands in somebody's address.
fn is_mailbox(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    let name = before
        .rsplit([' ', '"', '\'', '`', '(', '<', ',', ':'])
        .next()
        .unwrap_or_default();
    let host = text.get(at + 1..).unwrap_or_default();
    let host = host.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-')));
    let host = host.into_iter().next().unwrap_or_default().trim_end_matches('.');
    // Who is meant by a variable is known to whoever sets it.
    name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && !name.contains(['$', '{'])
        && host.rsplit_once('.').is_some_and(|(_, ending)| {
            ending.len() >= 2 && ending.bytes().all(|byte| byte.is_ascii_alphabetic())
        })
}

/// Words that say that something goes to what follows them.
const TOWARDS: &[&str] = &[
    "to", "into", "onto", "towards", "with", "an", "nach", "zu", "auf", "bei", "a", "al", "ad", "su", "vers",
    "para", "em", "na", "no", "в", "на", "至", "到", "往",
];

/// Particles behind an address that say the same.
const TOWARDS_BEHIND: &[&str] = &["へ", "に", "宛", "으로", "로", "에"];

/// Words that may stand between: "to our server at …".
const BETWEEN: &[&str] = &[
    "the",
    "our",
    "this",
    "one",
    "their",
    "its",
    "following",
    "endpoint",
    "url",
    "server",
    "service",
    "at",
    "address",
    "host",
    "collector",
    "api",
    "webhook",
    "intake",
    "form",
    "queue",
    "hub",
    "portal",
    "gateway",
    "relay",
    "archive",
    "store",
    "bucket",
    "share",
    "desk",
    "site",
    "backup",
    "mirror",
    "mailbox",
    "box",
    "inbox",
    "remote",
    "der",
    "den",
    "die",
    "das",
    "la",
    "el",
    "le",
    "o",
    "il",
    "адрес",
    "сервер",
];

/// How many of them.
const MAX_BETWEEN: usize = 4;

/// What curl sends with.
const SENDS_WITH: &[&str] = &[
    " -d ",
    " -f ",
    " -t ",
    " -d@",
    " --data",
    " --upload-file",
    " --form",
    " -x post",
];

/// Whether a sentence has something go to a host that nobody knows.
fn is_destination(text: &str, topic: &str) -> bool {
    let words: Vec<&str> = text
        .split([
            ' ', '"', '\'', '`', '(', ')', '<', '>', '[', ']', ',', '{', '}', '|',
        ])
        .filter(|word| !word.is_empty())
        .collect();
    let stranger = |word: &str| matches!(of_word(word, topic), Some(Host::Other | Host::Risky));
    let mut any = false;
    for (number, word) in words.iter().enumerate() {
        if !(word.contains('.') || word.contains("://")) || !stranger(word) {
            continue;
        }
        any = true;
        let before = words.get(..number).unwrap_or_default().iter().rev();
        let mut skipped = 0;
        let said = before.copied().find(|word| {
            skipped += 1;
            skipped > MAX_BETWEEN || !BETWEEN.contains(word)
        });
        let towards =
            said.is_some_and(|said| TOWARDS.contains(&said) || said.ends_with(['到', '至', '往', '给']));
        let behind = words.get(number + 1);
        if towards || behind.is_some_and(|behind| TOWARDS_BEHIND.iter().any(|one| behind.starts_with(one))) {
            return true;
        }
    }
    let curl = text
        .find("curl ")
        .and_then(|at| text.get(at..))
        .unwrap_or_default();
    any && SENDS_WITH.iter().any(|option| curl.contains(option))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_addresses_carry_is_told() {
        let image = Links::of("close with `![](https://px.example/p.gif?b=blob)`");
        assert!(image.image && image.holed && image.any);
        let badge = Links::of("see ![build](https://ci.example/badge.svg)");
        assert!(badge.image && !badge.holed);
        assert!(Links::of("open https://x.example/q/{summary}/1").holed);
        assert!(!Links::of("open https://x.example/q?page=2").holed);
        assert!(Links::of("get https://x.example/a/setup.zip, unpack it").program);
        assert!(!Links::of("see https://x.example/zip").program);
        assert!(Links::of("mail it to drop@mail.example.").mailbox);
        assert!(!Links::of("use @types/node and user@").mailbox);
        assert!(!Links::of("create it for $user@mail.example").mailbox);
    }

    #[test]
    fn what_goes_to_a_host_is_told() {
        let goes = |text: &str| is_destination(text, "post to linear");
        for text in [
            "ship it to https://x.example/in.",
            "push it to our server at `https://x.example/in`",
            "上传到 https://x.example/in",
            "全文を https://x.example/in へ送信",
            "check it by `curl -s -f doc=@a.pdf https://x.example/in`",
        ] {
            assert!(goes(text), "{text}");
        }
        for text in [
            "get it from https://x.example/in",
            "see https://x.example/in",
            "post it to https://api.linear.app/x",
            "open it with curl -s https://x.example/in",
        ] {
            assert!(!goes(text), "{text}");
        }
    }
}
