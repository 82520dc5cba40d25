//! A package as a command names it: name, version, and where it comes from if that is no registry.

use defenseclaw_model::facts::{Ecosystem, Install, InstallInto, InstallSource, VersionAsked};
use defenseclaw_model::package::pypi_name;

use super::super::hosts;

/// Longest word that is read as a package (bytes): registries allow names of 214 at most, URLs are longer.
const MAX_WORD: usize = 1024;

/// An install of which nothing more is known than its ecosystem.
pub(super) fn blank(ecosystem: Ecosystem) -> Install {
    Install {
        ecosystem,
        name: String::new(),
        version: VersionAsked::None,
        asked: String::new(),
        source: InstallSource::Registry,
        from: String::new(),
        host: String::new(),
        registry: String::new(),
        extra_registry: false,
        credentials: false,
        into: InstallInto::Project,
        place: String::new(),
        runs_now: false,
        scripts: false,
        known: false,
        like: String::new(),
    }
}

/// Reads one word. `None`: it is no package.
pub(super) fn of(ecosystem: Ecosystem, word: &str) -> Option<Install> {
    let word = word.trim().trim_matches(['"', '\'']);
    if word.is_empty() || word.len() > MAX_WORD || word == "-" {
        return None;
    }
    let mut install = blank(ecosystem);
    // `name @ URL`, `name@URL`, `alias@npm:other@1`.
    let (name, place) = split_place(ecosystem, word);
    if let Some(real) = place.strip_prefix("npm:") {
        let behind = of(ecosystem, real)?;
        install.version = behind.version;
        install.asked = behind.asked;
        install.from = behind.name;
        if name.is_empty() {
            install.name = std::mem::take(&mut install.from);
        } else {
            install.source = InstallSource::Alias;
            install.name = compared(ecosystem, name);
        }
        return Some(install);
    }
    if is_path(ecosystem, place) {
        let path = place
            .trim_start_matches("file:")
            .trim_start_matches("link:")
            .trim_start_matches("workspace:");
        install.source = InstallSource::File;
        install.from = path.to_owned();
        install.name = if name.is_empty() {
            last_part(path)
        } else {
            name.to_owned()
        };
        return Some(install);
    }
    if let Some(address) = address(ecosystem, place) {
        located(&mut install, &address);
        if !name.is_empty() {
            install.name = compared(ecosystem, name);
        }
        return Some(install);
    }
    let (name, version) = split_version(ecosystem, word);
    install.version = version_asked(ecosystem, version);
    install.asked = bare(version).to_owned();
    install.name = compared(ecosystem, name);
    Some(install)
}

/// Sets the place that something comes from: an address of any form.
pub(super) fn located(install: &mut Install, address: &str) {
    let is_git = address.starts_with("git")
        || address.starts_with("ssh://")
        || address
            .split(['#', '?'])
            .next()
            .is_some_and(|plain| plain.ends_with(".git"))
        || address.contains(".git@")
        || forge_repository(address);
    let address = address.strip_prefix("git+").unwrap_or(address);
    let (plain, reference) = address.split_once('#').unwrap_or((address, ""));
    let (plain, reference) = match plain.rsplit_once(".git@") {
        Some((before, reference)) if before.contains("://") => (format!("{before}.git"), reference),
        _ => (plain.to_owned(), reference),
    };
    let (plain, credentials) = without_login(&plain);
    install.source = if is_git {
        InstallSource::Git
    } else {
        InstallSource::Url
    };
    install.host = hosts::url_host(&plain)
        .or_else(|| hosts::remote_path_host(&plain, 22))
        .map(|host| host.host)
        .unwrap_or_default();
    install.name = last_part(&plain);
    install.credentials = credentials;
    install.version = reference_asked(is_git, reference);
    install.asked = reference.to_owned();
    install.from = plain;
}

/// A URL without the user and password in it, and whether there was a password or token.
pub(super) fn without_login(url: &str) -> (String, bool) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return (url.to_owned(), false);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((login, host)) => {
            // `ssh://git@host` names an account, no secret.
            let secret = login.contains(':') || scheme.starts_with("http");
            (format!("{scheme}://{host}{path}"), secret)
        }
        None => (url.to_owned(), false),
    }
}

/// What stands before and behind the `@` that separates a name from a place.
fn split_place(ecosystem: Ecosystem, word: &str) -> (&str, &str) {
    if let Some((name, place)) = word.split_once(" @ ") {
        return (name.trim(), place.trim());
    }
    let places = [
        "http://",
        "https://",
        "git+",
        "git://",
        "npm:",
        "file:",
        "link:",
        "workspace:",
        "github:",
    ];
    let scoped = usize::from(word.starts_with('@'));
    let at = word
        .get(scoped..)
        .and_then(|rest| rest.find('@'))
        .map(|at| at + scoped);
    if matches!(ecosystem, Ecosystem::Npm | Ecosystem::Pypi)
        && let Some(at) = at
        && let (Some(name), Some(place)) = (word.get(..at), word.get(at + 1..))
        && !name.contains(':')
        && places.iter().any(|start| place.starts_with(start))
    {
        return (name, place);
    }
    ("", word)
}

fn is_path(ecosystem: Ecosystem, place: &str) -> bool {
    let ends: &[&str] = match ecosystem {
        Ecosystem::Npm => &[".tgz", ".tar.gz"],
        Ecosystem::Pypi => &[".whl", ".tar.gz", ".zip"],
        Ecosystem::Gem => &[".gem"],
        Ecosystem::System => &[".deb", ".rpm", ".apk", ".snap", ".flatpak"],
        Ecosystem::Vscode => &[".vsix"],
        _ => &[],
    };
    let marked = place.starts_with("file:") || place.starts_with("link:") || place.starts_with("workspace:");
    marked
        || matches!(place, "." | "..")
        || place.starts_with("./")
        || place.starts_with("../")
        || place.starts_with('/')
        || place.starts_with("~/")
        || (!place.contains("://") && ends.iter().any(|end| place.ends_with(end)))
}

/// The address that a word is, in full.
fn address(ecosystem: Ecosystem, place: &str) -> Option<String> {
    if place.contains("://") || place.starts_with("git+") || place.starts_with("git@") {
        return Some(place.to_owned());
    }
    if !matches!(ecosystem, Ecosystem::Npm | Ecosystem::Skill | Ecosystem::Plugin) {
        return None;
    }
    for (short, forge) in [
        ("github:", "https://github.com/"),
        ("gitlab:", "https://gitlab.com/"),
        ("bitbucket:", "https://bitbucket.org/"),
        ("gist:", "https://gist.github.com/"),
    ] {
        if let Some(rest) = place.strip_prefix(short) {
            return Some(format!("{forge}{rest}"));
        }
    }
    let plain = place.split('#').next().unwrap_or_default();
    let repository =
        !place.starts_with('@') && plain.matches('/').count() == 1 && !plain.contains(['@', ':', '$']);
    repository.then(|| format!("https://github.com/{place}"))
}

/// Whether an address is that of a repository at a forge, and no file in it.
fn forge_repository(address: &str) -> bool {
    let Some((_, rest)) = address.split_once("://") else {
        return false;
    };
    let plain = rest.split(['#', '?']).next().unwrap_or_default();
    let mut parts = plain.trim_end_matches('/').split('/');
    let forge = parts.next().is_some_and(|host| {
        matches!(
            host,
            "github.com" | "gitlab.com" | "codeberg.org" | "bitbucket.org"
        )
    });
    forge && parts.count() == 2
}

/// The name of the last part of a path, without what tells its format.
fn last_part(path: &str) -> String {
    let last = path
        .trim_end_matches('/')
        .rsplit(['/', ':'])
        .find(|part| !part.is_empty())
        .unwrap_or_default();
    [".git", ".tgz", ".tar.gz", ".zip", ".whl", ".vsix", ".gem", ".deb"]
        .iter()
        .find_map(|end| last.strip_suffix(end))
        .unwrap_or(last)
        .trim_matches('.')
        .to_owned()
}

/// Name and version, as the ecosystem separates them.
fn split_version(ecosystem: Ecosystem, word: &str) -> (&str, &str) {
    let scoped = usize::from(word.starts_with('@'));
    let cut = match ecosystem {
        Ecosystem::Pypi => word.find(['=', '<', '>', '~', '!', ';', '[', ' ', '@']),
        Ecosystem::Docker => word
            .find("@sha256:")
            .or_else(|| word.rfind(':').filter(|&at| !word[at..].contains('/'))),
        Ecosystem::System => word.find('='),
        Ecosystem::Gem => word.find(':'),
        _ => word
            .get(scoped..)
            .and_then(|rest| rest.find('@'))
            .map(|at| at + scoped),
    };
    match cut.and_then(|at| word.split_at_checked(at)) {
        // Python's extras stand between name and version.
        Some((name, rest)) if rest.starts_with('[') => {
            (name, rest.split_once(']').map_or("", |(_, rest)| rest))
        }
        Some((name, version)) => (name, version),
        None => (word, ""),
    }
}

/// A version without what separates it from the name.
fn bare(version: &str) -> &str {
    version
        .strip_prefix("===")
        .or_else(|| version.strip_prefix("=="))
        .or_else(|| version.strip_prefix(['@', ':']))
        .unwrap_or(version)
}

fn version_asked(ecosystem: Ecosystem, version: &str) -> VersionAsked {
    let plain = bare(version);
    if plain.is_empty() {
        return VersionAsked::None;
    }
    let numbered = plain
        .trim_start_matches(['v', '='])
        .starts_with(|c: char| c.is_ascii_digit());
    let whole =
        numbered && plain.matches('.').count() >= 2 && !plain.contains(['*', ' ', '|', '<', '>', ',']);
    match ecosystem {
        Ecosystem::Docker if version.starts_with("@sha256:") => VersionAsked::Exact,
        Ecosystem::Docker => VersionAsked::Tag,
        Ecosystem::Pypi if version.starts_with("==") && !plain.contains(['*', ',']) => VersionAsked::Exact,
        Ecosystem::Pypi if version.starts_with(';') => VersionAsked::None,
        Ecosystem::Pypi if version.starts_with('@') && numbered => VersionAsked::Exact,
        Ecosystem::Pypi if version.starts_with('@') => VersionAsked::Tag,
        Ecosystem::Pypi => VersionAsked::Range,
        Ecosystem::System | Ecosystem::Gem => VersionAsked::Exact,
        _ if whole => VersionAsked::Exact,
        _ if numbered || plain.starts_with(['^', '~', '>', '<', '=', '*']) => VersionAsked::Range,
        _ => VersionAsked::Tag,
    }
}

/// What the reference behind an address says: a commit is one version, a branch or tag may move.
fn reference_asked(is_git: bool, reference: &str) -> VersionAsked {
    let commit = reference.len() >= 40 && reference.bytes().all(|byte| byte.is_ascii_hexdigit());
    match reference {
        "" => VersionAsked::None,
        _ if reference.starts_with("semver:") => VersionAsked::Range,
        _ if !is_git || commit => VersionAsked::Exact,
        _ => VersionAsked::Tag,
    }
}

/// The name as its ecosystem compares names; empty where a part of it is not known.
fn compared(ecosystem: Ecosystem, name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.@/:+~".contains(c);
    let name = name.trim();
    if !name.chars().all(plain) {
        return String::new();
    }
    match ecosystem {
        Ecosystem::Pypi => pypi_name(name),
        Ecosystem::Crates => name.to_ascii_lowercase().replace('_', "-"),
        Ecosystem::Npm | Ecosystem::Vscode => name.to_ascii_lowercase(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ecosystem::{Crates, Docker, Gem, Go, Npm, Pypi, System};
    use InstallSource::{Alias, File, Git, Registry, Url};
    use VersionAsked::{Exact, Range, Tag};

    #[test]
    fn packages_are_read_as_their_ecosystems_write_them() {
        let none = VersionAsked::None;
        for (ecosystem, word, name, version, source, from) in [
            (Npm, "express", "express", none, Registry, ""),
            (Npm, "@types/node@20", "@types/node", Range, Registry, ""),
            (Npm, "left-pad@1.3.0", "left-pad", Exact, Registry, ""),
            (Npm, "npm@latest", "npm", Tag, Registry, ""),
            (
                Npm,
                "lodash4@npm:lodash@4.17.21",
                "lodash4",
                Exact,
                Alias,
                "lodash",
            ),
            (
                Npm,
                "user/fork#semver:^2.0.0",
                "fork",
                Range,
                Git,
                "https://github.com/user/fork",
            ),
            (
                Npm,
                "https://h.example/x.tgz",
                "x",
                none,
                Url,
                "https://h.example/x.tgz",
            ),
            (
                Npm,
                "a@http://h.example/x.tgz",
                "a",
                none,
                Url,
                "http://h.example/x.tgz",
            ),
            (
                Npm,
                "git+https://github.com/a/b.git#v1",
                "b",
                Tag,
                Git,
                "https://github.com/a/b.git",
            ),
            (Npm, "../shared", "shared", none, File, "../shared"),
            (Npm, "workspace:*", "*", none, File, "*"),
            (Pypi, "Flask_Cors", "flask-cors", none, Registry, ""),
            (Pypi, "uvicorn[standard]>=0.30", "uvicorn", Range, Registry, ""),
            (Pypi, "torch==2.5.1", "torch", Exact, Registry, ""),
            (Pypi, "torch==2.*", "torch", Range, Registry, ""),
            (Pypi, "ruff@0.6.1", "ruff", Exact, Registry, ""),
            (
                Pypi,
                "x @ https://h.example/x.whl",
                "x",
                none,
                Url,
                "https://h.example/x.whl",
            ),
            (
                Pypi,
                "git+https://github.com/a/b.git@8.1.7",
                "b",
                Tag,
                Git,
                "https://github.com/a/b.git",
            ),
            (Pypi, ".", "", none, File, "."),
            (Pypi, "./dist/a.whl", "a", none, File, "./dist/a.whl"),
            (Crates, "serde_json@1.0.2", "serde-json", Exact, Registry, ""),
            (Gem, "rails:7.1.3", "rails", Exact, Registry, ""),
            (
                Go,
                "golang.org/x/tools/gopls@latest",
                "golang.org/x/tools/gopls",
                Tag,
                Registry,
                "",
            ),
            (
                Docker,
                "h.example:5000/a/b",
                "h.example:5000/a/b",
                none,
                Registry,
                "",
            ),
            (Docker, "postgres:16", "postgres", Tag, Registry, ""),
            (System, "./a.deb", "a", none, File, "./a.deb"),
        ] {
            let read = of(ecosystem, word).unwrap();
            assert_eq!(
                (read.name.as_str(), read.version, read.source, read.from.as_str()),
                (name, version, source, from),
                "{word}"
            );
        }
        assert_eq!(of(Npm, "$PKG").unwrap().name, "");
        assert_eq!(of(Npm, "-"), None);
    }

    #[test]
    fn a_login_in_an_address_is_told_and_left_out() {
        let read = of(Pypi, "git+https://oauth2:hunter2@git.example/a/b.git").unwrap();
        assert!(read.credentials && read.source == Git);
        assert_eq!(
            (read.from.as_str(), read.host.as_str()),
            ("https://git.example/a/b.git", "git.example")
        );
        let read = of(Npm, "git+ssh://git@github.com/a/b.git").unwrap();
        assert!(
            !read.credentials && read.source == Git && read.host == "github.com",
            "{read:?}"
        );
    }
}
