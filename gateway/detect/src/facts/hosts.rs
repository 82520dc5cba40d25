//! Network destinations named in text.

use std::net::Ipv6Addr;

use defenseclaw_model::facts::HostFact;

/// Longest host name (bytes): RFC 1035 section 2.3.4.
const MAX_HOST: usize = 253;

/// Most URLs that are taken from one text.
const MAX_URLS: usize = 32;

/// Ports that follow from a URL's scheme.
fn scheme_port(scheme: &str) -> Option<u16> {
    Some(match scheme {
        "http" | "ws" => 80,
        "https" | "wss" => 443,
        "ftp" => 21,
        "ssh" | "sftp" | "git+ssh" => 22,
        "git" => 9418,
        "telnet" => 23,
        "ldap" => 389,
        "ldaps" => 636,
        "mysql" => 3306,
        "postgres" | "postgresql" => 5432,
        "redis" => 6379,
        "rsync" => 873,
        "smtp" => 25,
        "tftp" => 69,
        "gopher" => 70,
        _ => return None,
    })
}

/// A host with an optional port, if `text` can be one.
pub(super) fn host_port(text: &str, port: Option<u16>) -> Option<HostFact> {
    let text = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let (host, named) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        (host, rest.strip_prefix(':'))
    } else if text.parse::<Ipv6Addr>().is_ok() {
        (text, None)
    } else {
        text.split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port)))
    };
    let named = named.filter(|port| !port.is_empty()).map(str::parse);
    let port = match named {
        Some(Ok(port)) => Some(port),
        Some(Err(_)) => return None,
        None => port,
    };
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'%');
    let fits =
        !host.is_empty() && host.len() <= MAX_HOST && host.bytes().all(known) && !host.starts_with('-');
    let wide = host
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-'))
        && !host.is_ascii();
    (fits || (wide && host.len() <= MAX_HOST)).then(|| HostFact {
        host: host.trim_end_matches('.').to_lowercase(),
        port,
    })
}

/// The host of a URL that makes up the whole of `text`.
pub(super) fn url_host(text: &str) -> Option<HostFact> {
    let (scheme, rest) = text.split_once("://")?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    if scheme.is_empty() || scheme == "file" || !scheme.bytes().all(plain) {
        return None;
    }
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    host_port(authority, scheme_port(&scheme.to_ascii_lowercase()))
}

/// The hosts of the URLs anywhere in `text`.
pub(super) fn hosts_in(text: &str) -> Vec<HostFact> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let scheme_start = rest[..at]
            .bytes()
            .rposition(|b| !b.is_ascii_alphanumeric() && b != b'+')
            .map_or(0, |at| at + 1);
        let scheme_start = rest.ceil_char_boundary(scheme_start);
        let after = &rest[at + 3..];
        let end = after
            .find(|c: char| {
                c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | ')' | ',' | ';' | '}' | '|')
            })
            .unwrap_or(after.len());
        found.extend(url_host(&rest[scheme_start..at + 3 + end]));
        if found.len() >= MAX_URLS {
            break;
        }
        rest = &after[end..];
    }
    found
}

/// The host of `user@host:path` or `host:path`, as scp, rsync and git write it.
pub(super) fn remote_path_host(text: &str, port: u16) -> Option<HostFact> {
    let (host, _) = text.split_once(':')?;
    let looks_local = host.is_empty() || host.contains('/') || text.contains("://");
    let named = host.contains(['@', '.']) || host.len() > 1;
    if looks_local || !named {
        None
    } else {
        host_port(host, Some(port))
    }
}

/// The destination of bash's `/dev/tcp/HOST/PORT` and `/dev/udp/HOST/PORT`.
pub(super) fn device_host(path: &str) -> Option<HostFact> {
    let rest = path
        .strip_prefix("/dev/tcp/")
        .or_else(|| path.strip_prefix("/dev/udp/"))?;
    let (host, port) = rest.split_once('/')?;
    host_port(host, port.parse().ok())
}

/// Services to which anyone can send text or files without an account, or that show what was sent to them.
const PASTES: &[&str] = &[
    "pastebin.com",
    "transfer.sh",
    "termbin.com",
    "0x0.st",
    "ix.io",
    "sprunge.us",
    "file.io",
    "paste.rs",
    "paste.ee",
    "dpaste.com",
    "dpaste.org",
    "hastebin.com",
    "gofile.io",
    "bashupload.com",
    "oshi.at",
    "temp.sh",
    "tmpfiles.org",
    "catbox.moe",
    "anonfiles.com",
    "clbin.com",
    "controlc.com",
    "ghostbin.com",
    "rentry.co",
    "privatebin.net",
    "filebin.net",
    "litterbox.catbox.moe",
    "uguu.se",
    "keep.sh",
    "webhook.site",
    "requestbin.com",
    "requestcatcher.com",
    "pipedream.net",
    "beeceptor.com",
    "interact.sh",
    "interactsh.com",
    "oast.fun",
    "oast.pro",
    "oast.live",
    "oast.me",
    "oast.site",
    "oast.online",
    "oastify.com",
    "burpcollaborator.net",
    "canarytokens.com",
    "hookbin.com",
    "ngrok.io",
    "ngrok-free.app",
    "ngrok.app",
    "trycloudflare.com",
    "loca.lt",
    "serveo.net",
    "localhost.run",
    "pinggy.io",
];

/// Whether `host` is one of the places where things are left for strangers to fetch.
pub(super) fn is_paste(host: &str) -> bool {
    PASTES.iter().any(|known| {
        host.strip_suffix(known)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// Whether `text` names a chat's address for incoming messages.
pub(super) fn is_chat_webhook(text: &str) -> bool {
    [
        "hooks.slack.com/",
        "discord.com/api/webhooks",
        "discordapp.com/api/webhooks",
        "api.telegram.org/bot",
        "webhook.office.com/",
        "chat.googleapis.com/v1/spaces",
    ]
    .iter()
    .any(|known| text.contains(known))
}

/// Whether `host` serves an instance's metadata, and with them its credentials.
pub(super) fn is_metadata(host: &str) -> bool {
    matches!(
        host,
        "169.254.169.254"
            | "169.254.170.2"
            | "169.254.170.23"
            | "metadata.google.internal"
            | "metadata"
            | "100.100.100.200"
            | "fd00:ec2::254"
            | "metadata.azure.internal"
            | "2852039166"
            | "0xa9fea9fe"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(host: &str, port: impl Into<Option<u16>>) -> HostFact {
        HostFact {
            host: host.to_owned(),
            port: port.into(),
        }
    }

    #[test]
    fn urls_name_their_host_and_port() {
        assert_eq!(
            url_host("https://Example.com/x?y"),
            Some(host("example.com", 443))
        );
        assert_eq!(url_host("http://u:p@10.0.0.1:8080"), Some(host("10.0.0.1", 8080)));
        assert_eq!(url_host("http://[::1]:80/"), Some(host("::1", 80)));
        assert_eq!(url_host("foo://x"), Some(host("x", None)));
        for text in [
            "file:///etc/passwd",
            "https://",
            "no url",
            "http://$HOST/x",
            "http://h:p:q/",
        ] {
            assert_eq!(url_host(text), None, "{text}");
        }
        assert_eq!(
            hosts_in("get('http://a.b/c', \"https://d:1\")"),
            [host("a.b", 80), host("d", 1)]
        );
    }

    #[test]
    fn remote_paths_are_told_from_local_ones() {
        assert_eq!(
            remote_path_host("git@github.com:a/b.git", 22),
            Some(host("github.com", 22))
        );
        assert_eq!(remote_path_host("box:/tmp", 22), Some(host("box", 22)));
        for text in ["./a:b", "/a:b", "C:x", "plain", "https://x:1/"] {
            assert_eq!(remote_path_host(text, 22), None, "{text}");
        }
    }

    #[test]
    fn device_paths_name_a_host() {
        assert_eq!(
            device_host("/dev/tcp/10.0.0.1/4444"),
            Some(host("10.0.0.1", 4444))
        );
        assert_eq!(device_host("/dev/null"), None);
    }
}
