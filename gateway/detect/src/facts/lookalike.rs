//! Hosts that are named so that they are taken for a well-known one: a letter off, another top-level domain, the known name
//! with something behind it, or joined to a word that promises a service.

use defenseclaw_model::facts::BehaviourKind::Control;

use super::{Analysis, hosts};

/// Sites from which code, packages and answers come that people trust by name.
const KNOWN: &[&str] = &[
    "github.com",
    "githubusercontent.com",
    "gitlab.com",
    "bitbucket.org",
    "npmjs.org",
    "npmjs.com",
    "yarnpkg.com",
    "pypi.org",
    "pythonhosted.org",
    "python.org",
    "crates.io",
    "rust-lang.org",
    "rubygems.org",
    "packagist.org",
    "golang.org",
    "docker.com",
    "docker.io",
    "ghcr.io",
    "quay.io",
    "nodejs.org",
    "jsdelivr.net",
    "unpkg.com",
    "kubernetes.io",
    "huggingface.co",
    "anthropic.com",
    "openai.com",
    "googleapis.com",
    "microsoft.com",
    "microsoftonline.com",
    "amazonaws.com",
    "paypal.com",
    "debian.org",
    "ubuntu.com",
    "hashicorp.com",
    "letsencrypt.org",
    "gradle.org",
    "jenkins.io",
    "pytorch.org",
    "tensorflow.org",
    "r-project.org",
    "nvidia.com",
    "bitnami.com",
    "nuget.org",
    "terraform.io",
    "vercel.com",
    "netlify.com",
    "cloudflare.com",
    "atlassian.com",
    "atlassian.net",
    "sentry.io",
    "datadoghq.com",
    "anaconda.org",
    "anaconda.com",
    "astral.sh",
    "wikipedia.org",
    "postgresql.org",
    "mongodb.com",
    "elastic.co",
    "grafana.com",
    "jetbrains.com",
    "android.com",
    "ruby-lang.org",
    "haskell.org",
    "julialang.org",
    "arxiv.org",
    "dropbox.com",
    "auth0.com",
    "twilio.com",
    "sendgrid.com",
    "shopify.com",
    "heroku.com",
    "digitalocean.com",
    "salesforce.com",
    "hubspot.com",
    "airtable.com",
    "supabase.co",
    "supabase.com",
    "apache.org",
    "eclipse.org",
    "mozilla.org",
    "fedoraproject.org",
    "archlinux.org",
    "alpinelinux.org",
    "sourceforge.net",
    "stackoverflow.com",
];

/// Names that belong to one owner under whichever top-level domain they stand.
const DISTINCT: &[&str] = &[
    "github",
    "githubusercontent",
    "gitlab",
    "bitbucket",
    "npmjs",
    "yarnpkg",
    "pypi",
    "pythonhosted",
    "rubygems",
    "ghcr",
    "huggingface",
    "anthropic",
    "googleapis",
    "microsoftonline",
    "amazonaws",
    "jsdelivr",
    "packagist",
];

/// Domains of the same owners, and honest neighbours.
const HONEST: &[&str] = &[
    "github.io",
    "github.dev",
    "github.blog",
    "github.community",
    "github.net",
    "gitlab.io",
    "gitlab.net",
    "githubassets.com",
    "githubstatus.com",
    "githubapp.com",
    "githubcopilot.com",
    "pypi.io",
    "pypi.net",
    "pypy.org",
    "pypa.io",
    "crate.io",
    "nodejs.dev",
    "nodejs.cn",
    "bitbucket.io",
    "bitbucket.com",
    "jsdelivr.com",
    "packagist.com",
    "huggingface.tech",
    "npmjs.cf",
    "golang.com",
    "jenkins.org",
    "jenkins-ci.org",
    "jenkins-x.io",
    "gradle.com",
    "openal.org",
    "wikimedia.org",
];

/// Names under which lookalikes are joined to a word that promises something, and such words.
const BRANDS: &[&str] = &[
    "github",
    "gitlab",
    "npmjs",
    "pypi",
    "rubygems",
    "maven",
    "nodejs",
    "huggingface",
    "anthropic",
    "openai",
    "google",
    "microsoft",
    "paypal",
    "rustup",
    "pytorch",
    "docker",
    "notion",
    "slack",
    "stripe",
    "atlassian",
    "figma",
    "claude",
    "chatgpt",
    "vercel",
    "cloudflare",
    "nvidia",
    "dropbox",
    "okta",
];
const PROMISES: &[&str] = &[
    "login",
    "signin",
    "auth",
    "sso",
    "verify",
    "account",
    "accounts",
    "secure",
    "security",
    "support",
    "update",
    "updates",
    "download",
    "downloads",
    "central",
    "official",
    "cdn",
    "static",
    "assets",
    "usercontent",
    "packages",
    "releases",
    "ce",
    "app",
    "apps",
    "api",
    "plugin",
    "plugins",
    "install",
    "installer",
    "setup",
    "billing",
    "helpdesk",
];

/// Ends of names that only a host or a network of one's own can have.
const PRIVATE: &[&str] = &[
    "internal",
    "local",
    "lan",
    "corp",
    "home",
    "intranet",
    "test",
    "localhost",
    "svc",
    "invalid",
];

/// Most hosts of one text that are looked at.
const MAX_HOSTS: usize = 64;

/// Notes `host` if it is a lookalike.
pub(super) fn host(analysis: &mut Analysis, host: &str) {
    let host = host.to_ascii_lowercase();
    if imitates(&host) {
        analysis.behave(Control, "lookalike-host", host, None);
    }
}

/// Notes the lookalikes among the URLs of `text`.
pub(super) fn text(analysis: &mut Analysis, text: &str) {
    for found in hosts::hosts_in(text) {
        host(analysis, &found.host);
    }
}

/// Notes the lookalikes among the words of `text`, with or without a scheme.
pub(super) fn words(analysis: &mut Analysis, text: &str) {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    for word in text
        .split(|c| !part(c))
        .filter(|word| word.contains('.') && !word.starts_with('.'))
        .take(MAX_HOSTS)
    {
        host(analysis, word.trim_end_matches('.'));
    }
}

/// Whether `host` stands under `domain`.
fn under(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether `host` is named so that it is taken for a known one.
fn imitates(host: &str) -> bool {
    let Some((rest, top)) = host.rsplit_once('.') else {
        return false;
    };
    let name = rest.rsplit('.').next().unwrap_or_default();
    if top.len() < 2 || !top.bytes().all(|b| b.is_ascii_alphabetic()) || PRIVATE.contains(&top) {
        return false;
    }
    if KNOWN.iter().chain(HONEST).any(|known| under(host, known)) {
        return false;
    }
    prefixed(host) || named_alike(name, top) || promised(name)
}

/// `github.com.evil.net`, `github.com-login.net`: the known name stands in front of the real one. A country's end behind
/// it is the owner's.
fn prefixed(host: &str) -> bool {
    KNOWN.iter().any(|known| {
        host.match_indices(known).any(|(at, _)| {
            let behind = &host[at + known.len()..];
            let begins = at == 0 || matches!(host.as_bytes()[at - 1], b'.' | b'-');
            let country = behind.len() == 3 && behind.starts_with('.');
            begins && behind.starts_with(['.', '-']) && !country
        })
    })
}

/// `githib.com`, `pyth0n.org`, `npmjs.help`.
fn named_alike(name: &str, top: &str) -> bool {
    if DISTINCT.contains(&name) {
        return top != "example";
    }
    let plain = unlike(name);
    KNOWN.iter().any(|known| {
        let Some((known, end)) = known.rsplit_once('.') else {
            return false;
        };
        if plain == known && name != known {
            return true;
        }
        // Short names have honest neighbours under other ends.
        let near = known.len() >= 9 || (known.len() >= 5 && top == end);
        near && name != known && one_off(name.as_bytes(), known.as_bytes())
    })
}

/// The name with signs that look like letters put back.
fn unlike(name: &str) -> String {
    name.replace("rn", "m")
        .replace("vv", "w")
        .replace('0', "o")
        .replace('1', "l")
        .replace('3', "e")
        .replace('5', "s")
}

/// Whether one letter was added, left out, changed, or two were exchanged.
fn one_off(a: &[u8], b: &[u8]) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if long.len() - short.len() > 1 || a == b {
        return false;
    }
    let same = short.iter().zip(long).take_while(|(a, b)| a == b).count();
    let (short, long) = (&short[same..], &long[same..]);
    match (short, long) {
        ([first, second, rest @ ..], [one, two, others @ ..])
            if short.len() == long.len() && first == two && second == one && rest == others =>
        {
            true
        }
        ([_, rest @ ..], [_, others @ ..]) if short.len() == long.len() => rest == others,
        (rest, [_, others @ ..]) => rest == others,
        _ => false,
    }
}

/// `github-login.net`, `maven-central.org`.
fn promised(name: &str) -> bool {
    let mut parts = name.split('-');
    let brand = parts.clone().any(|part| BRANDS.contains(&part));
    brand && parts.any(|part| PROMISES.contains(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookalikes_are_told_from_their_models_and_neighbours() {
        for host in [
            "githib.com",
            "gitlab.corn",
            "pyth0n.org",
            "docs.pyth0n.org",
            "registry.npnjs.org",
            "registry.npmjs.help",
            "rubygerns.org",
            "raw.githubusercontents.com",
            "github.com.acme-mirror.example",
            "github.com-login.example",
            "npmjs.com.verify-account.example",
            "repo1.maven-central.example",
            "ghcr.lo",
            "pypi.org.mirror.example",
            "micorsoft.com",
            "cloud.r-projects.org",
            "charts.bitnami.com.helm-hub.example",
            "download.pytorhc.org",
            "mcp.notion-app.so",
            "download.docker-ce.com",
            "download-pytorch.org",
        ] {
            assert!(imitates(host), "{host}");
        }
        for host in [
            "github.com",
            "api.github.com",
            "acme.github.io",
            "gitlab.acme.example",
            "gitlab.example",
            "gitlab.internal",
            "gitlab.gnome.org",
            "docs.python.org",
            "pypi.nvidia.com",
            "pypy.org",
            "crate.io",
            "s3.amazonaws.com.cn",
            "localhost",
            "10.0.0.1",
            "registry.npmjs.org",
            "npm.pkg.github.com",
            "docker-registry.example",
            "pythonprogramming.net",
            "docker-docs.uclv.cu",
            "nodes.com",
            "motion.com",
            "dumps.wikimedia.org",
            "download.pytorch.org",
            "example.com",
            "x",
            "",
            ".",
        ] {
            assert!(!imitates(host), "{host}");
        }
    }

    #[test]
    fn one_letter_off() {
        for (a, b, off) in [
            ("github", "githib", true),
            ("github", "gihtub", true),
            ("github", "githubb", true),
            ("github", "gthub", true),
            ("github", "github", false),
            ("github", "gitlab", false),
            ("", "a", true),
        ] {
            assert_eq!(one_off(a.as_bytes(), b.as_bytes()), off, "{a} {b}");
        }
    }
}
