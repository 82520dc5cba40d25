//! Hosts that prose names: well-known ones, the artifact's own subject, and those that take anything from anybody.

/// What a host is to an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    /// This machine, or a name that the reader fills in.
    Here,
    /// A well-known service, or what the artifact says it is for.
    Known,
    /// Any other.
    Other,
    /// One that takes data from anybody without an account, hides who is behind it, or is a bare address.
    Risky,
}

/// Services whose own programs and documents name them. Whoever sends there sends to whom the person has an account with.
pub(in crate::scan) const KNOWN: &[&str] = &[
    "github.com",
    "githubusercontent.com",
    "gitlab.com",
    "bitbucket.org",
    "codeberg.org",
    "npmjs.com",
    "npmjs.org",
    "pypi.org",
    "python.org",
    "nodejs.org",
    "rust-lang.org",
    "crates.io",
    "docs.rs",
    "golang.org",
    "go.dev",
    "rubygems.org",
    "maven.org",
    "apache.org",
    "debian.org",
    "ubuntu.com",
    "gnu.org",
    "kernel.org",
    "mozilla.org",
    "w3.org",
    "ietf.org",
    "wikipedia.org",
    "google.com",
    "googleapis.com",
    "youtube.com",
    "microsoft.com",
    "azure.com",
    "office.com",
    "live.com",
    "visualstudio.com",
    "amazonaws.com",
    "amazon.com",
    "aws.amazon.com",
    "cloudflare.com",
    "docker.com",
    "docker.io",
    "quay.io",
    "kubernetes.io",
    "openai.com",
    "anthropic.com",
    "claude.ai",
    "claude.com",
    "huggingface.co",
    "modelcontextprotocol.io",
    "stackoverflow.com",
    "slack.com",
    "atlassian.net",
    "atlassian.com",
    "notion.so",
    "notion.com",
    "linear.app",
    "figma.com",
    "stripe.com",
    "twilio.com",
    "sendgrid.com",
    "sentry.io",
    "datadoghq.com",
    "grafana.com",
    "hashicorp.com",
    "terraform.io",
    "vercel.com",
    "netlify.com",
    "heroku.com",
    "digitalocean.com",
    "shopify.com",
    "salesforce.com",
    "zendesk.com",
    "hubspot.com",
    "airtable.com",
    "dropbox.com",
    "apple.com",
    "json-schema.org",
    "schema.org",
    "readthedocs.io",
    "mermaid.js.org",
    "jsdelivr.net",
    "unpkg.com",
    "cdnjs.com",
    "letsencrypt.org",
    "arxiv.org",
    "nih.gov",
    "sec.gov",
    "europa.eu",
    "supabase.com",
    "tavily.com",
    "brave.com",
    "perplexity.ai",
    "elevenlabs.io",
    "replicate.com",
    "mistral.ai",
    "x.ai",
    "deepseek.com",
    "openrouter.ai",
    "langchain.com",
    "tailwindcss.com",
    "shields.io",
    "badgen.net",
    "codecov.io",
    "astral.sh",
    "rustup.rs",
    "brew.sh",
    "deno.land",
    "bun.sh",
    "jsr.io",
    "ghcr.io",
    "mcr.microsoft.com",
    "aka.ms",
    "wikimedia.org",
    "telegram.org",
    "discord.com",
    "ollama.com",
    "pydantic.dev",
    "react.dev",
    "nextjs.org",
    "vuejs.org",
    "sqlite.org",
    "postgresql.org",
    "mysql.com",
    "mongodb.com",
    "redis.io",
    "elastic.co",
    "fly.io",
    "render.com",
    "railway.app",
    "openstreetmap.org",
    "openapis.org",
    "swagger.io",
];

/// Hosts that take what anybody sends, forward it, or stand for another.
const RISKY: &[&str] = &[
    "webhook.site",
    "requestbin",
    "pipedream.net",
    "beeceptor.com",
    "hookbin",
    "requestcatcher.com",
    "postb.in",
    "ngrok",
    "trycloudflare.com",
    "localhost.run",
    "serveo.net",
    "loca.lt",
    "localtunnel",
    "pagekite",
    "interact.sh",
    "oast.",
    "oastify.com",
    "burpcollaborator",
    "dnslog",
    "canarytokens",
    "pastebin.com",
    "paste.",
    "hastebin",
    "rentry.",
    "termbin.com",
    "ix.io",
    "sprunge",
    "dpaste",
    "0x0.st",
    "transfer.sh",
    "file.io",
    "gofile.io",
    "catbox.moe",
    "anonfiles",
    "tmpfiles.org",
    "bashupload",
    "temp.sh",
    "bit.ly",
    "tinyurl.com",
    "is.gd",
    "t.ly",
    "cutt.ly",
    "goo.gl",
    "rb.gy",
    "discord.com/api/webhooks",
    "discordapp.com/api/webhooks",
    "api.telegram.org/bot",
    ".onion",
    "duckdns.org",
    "no-ip.",
    "ddns.net",
    "iplogger",
    "grabify",
];

/// Longest host that is read (bytes): RFC 1035 section 2.3.4.
const MAX_HOST: usize = 253;

/// Endings that make a word with dots a host: those that no file has.
const ENDINGS: &[&str] = &[
    "com", "net", "org", "io", "dev", "app", "xyz", "site", "ru", "info", "example", "test", "biz", "click",
    "online", "cloud", "onion", "tk", "invalid", "store", "tech",
];

/// The gravest of the hosts in a folded sentence.
pub(super) fn of_sentence(text: &str, topic: &str) -> Option<Host> {
    let mut worst = None;
    for word in text.split([
        ' ', '"', '\'', '`', '(', ')', '<', '>', '[', ']', ',', '{', '}', '|',
    ]) {
        if let Some(host) = of_word(word, topic) {
            worst = worst.max(Some(rank(host)));
        }
    }
    worst.map(|rank| match rank {
        0 => Host::Here,
        1 => Host::Known,
        2 => Host::Other,
        _ => Host::Risky,
    })
}

fn rank(host: Host) -> u8 {
    match host {
        Host::Here => 0,
        Host::Known => 1,
        Host::Other => 2,
        Host::Risky => 3,
    }
}

pub(super) fn of_word(word: &str, topic: &str) -> Option<Host> {
    let (rest, schemed) = match word.split_once("://") {
        Some((scheme, _)) if scheme.ends_with("file") => return None,
        Some((_, rest)) => (rest, true),
        None => (word, false),
    };
    let mail = !schemed && rest.contains('@');
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = rest.split(['/', '?', '#', ':']).next().unwrap_or_default();
    let host = host.trim_matches(|c: char| matches!(c, '.' | ';' | '!' | '*' | '\\'));
    if host.is_empty() || host.len() > MAX_HOST {
        return None;
    }
    let bare = host.bytes().filter(|&byte| byte == b'.').count() == 3
        && host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !schemed && !bare {
        // `.env.example` is a file.
        if word.starts_with('.') {
            return None;
        }
        let ending = host.rsplit_once('.')?.1;
        if !ENDINGS.contains(&ending) || host.len() < 6 || !host.bytes().all(named) {
            return None;
        }
    }
    // Of mailboxes only the usual one: at the others somebody is meant.
    let placeholder = host == "example.com"
        || (!mail && ["example.org", "example.net"].contains(&host))
        || ["your", "my-"].iter().any(|mine| host.starts_with(mine));
    if placeholder
        || host.starts_with('$')
        || host.contains("localhost")
        || host.starts_with("127.")
        || host == "0.0.0.0"
        || host == "::1"
    {
        return Some(Host::Here);
    }
    if bare
        && ["10.", "192.168.", "172.16."]
            .iter()
            .any(|private| host.starts_with(private))
    {
        return Some(Host::Here);
    }
    if bare || RISKY.iter().any(|risky| rest.contains(risky)) {
        return Some(Host::Risky);
    }
    let within = |known: &str| {
        host.strip_suffix(known)
            .is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    // A mailbox at a well-known host is anybody's.
    if !mail && (KNOWN.iter().any(|known| within(known)) || is_topic(host, topic)) {
        return Some(Host::Known);
    }
    Some(Host::Other)
}

fn named(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')
}

/// Whether the artifact says of itself that it is about this host: `linear` of `mcp.linear.app`.
fn is_topic(host: &str, topic: &str) -> bool {
    const LEAST: usize = 4;
    const NOBODY: &[&str] = &[
        "example", "cloud", "files", "server", "service", "agent", "skill", "tools", "data", "code", "notes",
    ];
    let mut labels = host.rsplit('.').skip(1);
    // `postmark` has `postmarkapp.com`.
    const ENDS: &[&str] = &["app", "api", "hq", "mail", "labs", "cloud", "dev", "inc"];
    labels.next().is_some_and(|label| {
        let name = ENDS.iter().find_map(|end| label.strip_suffix(*end));
        let name = name.filter(|name| name.len() > LEAST);
        label.len() >= LEAST
            && !NOBODY.contains(&label)
            && topic
                .split(|c: char| !c.is_ascii_alphanumeric())
                .any(|word| word == label || Some(word) == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart() {
        let told = |text: &str| of_sentence(text, "post to linear and jina");
        assert_eq!(told("see https://mcp.linear.app/mcp."), Some(Host::Known));
        assert_eq!(told("post it to https://api.github.com/x"), Some(Host::Known));
        assert_eq!(
            of_sentence(
                "post it to https://api.postmarkapp.com/x",
                "sends mail by postmark"
            ),
            Some(Host::Known)
        );
        assert_eq!(
            of_sentence(
                "post it to https://api.postmark-files.com/x",
                "sends mail by postmark"
            ),
            Some(Host::Other)
        );
        assert_eq!(
            told("post it to https://api-github.com.evil.example/x"),
            Some(Host::Other)
        );
        assert_eq!(told("post it to http://203.0.113.4/x"), Some(Host::Risky));
        assert_eq!(told("send it to https://webhook.site/1-2"), Some(Host::Risky));
        assert_eq!(told("a copy goes to drop@mail.example."), Some(Host::Other));
        assert_eq!(told("resolve it below `t.collector.example`"), Some(Host::Other));
        assert_eq!(told("open http://localhost:8000/x"), Some(Host::Here));
        assert_eq!(
            told("see https://example.com and https://your-host.example/x"),
            Some(Host::Here)
        );
        assert_eq!(told("edit notes.md and server.py, version 1.2.3"), None);
        assert_eq!(told("copy `.env.example` to `.env`"), None);
    }
}
