//! Hosts that a passage names, by what they are to an artifact.

use std::collections::HashSet;

/// Longest host that is looked at, and most of them in one text.
const MAX_HOST: usize = 253;
const MAX_HOSTS: usize = 2048;

/// Services beside those that rules about prose know.
const KNOWN: &[&str] = &[
    "pythonhosted.org",
    "microsoftonline.com",
    "windows.net",
    "openstreetmap.org",
    "open-meteo.com",
    "crossref.org",
    "deepl.com",
    "spotify.com",
    "zoom.us",
    "asana.com",
    "trello.com",
    "monday.com",
    "intercom.io",
    "pagerduty.com",
    "newrelic.com",
    "elastic.co",
    "redis.io",
    "gravatar.com",
    "mapbox.com",
    "openweathermap.org",
    "reddit.com",
    "twitter.com",
    "x.com",
    "linkedin.com",
    "facebook.com",
    "paypal.com",
    "1password.com",
    "bitwarden.com",
    "hetzner.com",
    "hetzner.cloud",
    "ovh.net",
    "scaleway.com",
    "linode.com",
    "fly.io",
];

/// Parts of addresses where anybody can have one, and what they are.
const OPEN: &[(&str, &str)] = &[
    ("ngrok", "tunnel"),
    ("trycloudflare", "tunnel"),
    ("loca.lt", "tunnel"),
    ("localhost.run", "tunnel"),
    ("serveo", "tunnel"),
    ("tunnel", "tunnel"),
    ("workers.dev", "free"),
    ("pages.dev", "free"),
    ("vercel.app", "free"),
    ("netlify.app", "free"),
    ("herokuapp", "free"),
    ("onrender.com", "free"),
    ("glitch.me", "free"),
    ("repl.co", "free"),
    ("duckdns", "free"),
    ("no-ip", "free"),
    ("github.io", "free"),
    ("r2.dev", "bucket"),
    ("s3.", "bucket"),
    ("s3-", "bucket"),
    ("blob.core", "bucket"),
    ("storage.googleapis", "bucket"),
    ("paste", "paste"),
    ("hastebin", "paste"),
    ("gist.", "paste"),
    ("transfer.sh", "paste"),
    ("0x0.st", "paste"),
    ("file.io", "paste"),
    ("ix.io", "paste"),
    ("termbin", "paste"),
    ("rentry", "paste"),
    ("catbox", "paste"),
    ("gofile", "paste"),
    ("webhook", "hook"),
    ("requestbin", "hook"),
    ("pipedream", "hook"),
    ("beeceptor", "hook"),
    ("requestcatcher", "hook"),
    ("interact.sh", "hook"),
    ("oast.", "hook"),
    ("burpcollab", "hook"),
    ("dnslog", "hook"),
    ("hooks.", "hook"),
    ("discord.com/api", "chat"),
    ("discordapp", "chat"),
    ("api.telegram", "chat"),
    ("t.me", "chat"),
    ("bit.ly", "short"),
    ("tinyurl", "short"),
    ("t.co/", "short"),
    ("is.gd", "short"),
    ("formspree", "form"),
    ("docs.google.com/forms", "form"),
    ("raw.githubusercontent", "raw"),
    (".onion", "tor"),
    (".xyz", "cheap"),
    (".top", "cheap"),
    (".click", "cheap"),
    (".zip", "cheap"),
    (".ru", "cheap"),
    (".tk", "cheap"),
];

/// Ends of names by which a host without `https://` is told, and those of them that files and calls have, too.
const ENDINGS: &[&str] = &[
    "com", "net", "org", "dev", "ai", "xyz", "cloud", "site", "online", "tech", "biz", "de", "fr", "es",
    "ru", "cn", "jp", "br", "uk", "eu", "cc", "pw", "top", "click", "systems", "space", "life", "world",
    "fun", "network", "digital", "studio", "agency", "example", "invalid", "corp", "lan",
];
const SHARED: &[&str] = &[
    "sh", "me", "io", "in", "to", "run", "test", "local", "app", "page", "co", "us", "link", "store", "host",
    "internal", "live", "design", "tools", "services", "zone", "info",
];

/// A host where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Host<'t> {
    pub(super) name: &'t str,
    /// What of the address follows it.
    pub(super) rest: &'t str,
    pub(super) start: usize,
    /// Whether it is a mailbox's.
    pub(super) mail: bool,
}

/// The hosts that a text in lower case names. One pass.
pub(super) fn named(text: &str) -> Vec<Host<'_>> {
    let bytes = text.as_bytes();
    let part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() && found.len() < MAX_HOSTS {
        if !bytes[at].is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() && part(bytes[at]) {
            at += 1;
        }
        let name = text
            .get(start..at)
            .unwrap_or_default()
            .trim_end_matches(['.', '-', '_']);
        let before = text.get(..start).unwrap_or_default();
        let mail = before.ends_with('@');
        if name.len() <= MAX_HOST && is_host(name, before.ends_with("://"), mail, bytes.get(at).copied()) {
            let rest = text.get(at..text.floor_char_boundary((at + 200).min(text.len())));
            let rest = rest.unwrap_or_default();
            let ends = |c: char| c.is_whitespace() || "\"'`)>".contains(c);
            let rest = rest.split(ends).next().unwrap_or_default();
            found.push(Host {
                name,
                rest,
                start,
                mail,
            });
        }
    }
    found
}

fn is_address(name: &str) -> bool {
    name.bytes().filter(|&byte| byte == b'.').count() == 3
        && name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn is_host(name: &str, schemed: bool, mail: bool, next: Option<u8>) -> bool {
    if schemed || is_address(name) {
        return true;
    }
    let Some((_, ending)) = name.rsplit_once('.') else {
        return false;
    };
    if name.len() < 6 || next == Some(b'(') {
        return false;
    }
    let dots = name.bytes().filter(|&byte| byte == b'.').count();
    ENDINGS.contains(&ending) || (SHARED.contains(&ending) && (dots >= 2 || next == Some(b'/') || mail))
}

/// What a host is: `here`, `ip`, `known`, `own`, `lookalike`, a kind of place where anybody can be, or `other`. `topic` is words.
pub(super) fn class(host: &Host<'_>, topic: &HashSet<String>) -> &'static str {
    let name = host.name;
    let within = |known: &str| {
        name.strip_suffix(known)
            .is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    let here = ["localhost", "127.", "192.168.", "10.", "172.16.", "your", "my-"];
    if name == "0.0.0.0"
        || name.contains("example.com")
        || here.iter().any(|begin| name.starts_with(begin))
        || [".internal", ".local", ".lan"]
            .iter()
            .any(|end| name.ends_with(end))
    {
        return "here";
    }
    if is_address(name) {
        return "ip";
    }
    let end = host.rest.floor_char_boundary(24.min(host.rest.len()));
    let near = format!("{name}{}", host.rest.get(..end).unwrap_or_default());
    if let Some((_, what)) = OPEN.iter().find(|(part, _)| near.contains(part)) {
        return what;
    }
    let known = || KNOWN.iter().chain(crate::scan::frames::KNOWN_HOSTS);
    if !host.mail && known().any(|known| within(known)) {
        return "known";
    }
    let label = name.rsplit('.').nth(1).unwrap_or(name);
    let vendor = |known: &&str| {
        let vendor = known.split('.').next().unwrap_or_default();
        vendor.len() >= 5 && label.contains(vendor)
    };
    if known().any(vendor) {
        return "lookalike";
    }
    let spoken_of = |word: &str| word.len() >= 4 && topic.contains(word);
    if spoken_of(label) || label.split('-').any(spoken_of) {
        return "own";
    }
    "other"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_and_told_apart() {
        let topic: HashSet<String> = ["recaplane".to_owned()].into();
        let classes = |text: &str| -> Vec<&'static str> {
            named(text).iter().map(|host| class(host, &topic)).collect()
        };
        assert_eq!(
            classes("see https://api.github.com/x and http://203.0.113.4/y"),
            ["known", "ip"]
        );
        assert_eq!(
            classes("https://a.trycloudflare.com https://webhook.site/1"),
            ["tunnel", "hook"]
        );
        assert_eq!(
            classes("post to minutes.recaplane.io/v1, docs.other.net"),
            ["own", "other"]
        );
        assert_eq!(
            classes("github-cdn.net or http://localhost:80"),
            ["lookalike", "here"]
        );
        assert!(classes("os.path.join(a.b), main.rs, json.dumps, server.tools").is_empty());
        assert_eq!(named("to a@mail.example").len(), 1);
    }
}
