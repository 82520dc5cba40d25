//! Edits that show what was there before: checks that are switched off, owners and pins that go, and lock files whose packages
//! come from elsewhere or are no longer checked.

use defenseclaw_model::facts::BehaviourKind::{Evasion, Execution};
use serde_json::Value;

use super::{Analysis, hosts, muted, released, tracked};

/// Files in which package managers keep what they resolved.
const FILES: &[&str] = &[
    "package-lock.json",
    "npm-shrinkwrap.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "bun.lock",
    "composer.lock",
    "Cargo.lock",
    "poetry.lock",
    "uv.lock",
    "pdm.lock",
    "Pipfile.lock",
    "Gemfile.lock",
];

/// Words behind which a lock file keeps a package's hash.
const HASHES: &[&str] = &["integrity", "checksum", "sha512", "sha256", "shasum", "hash"];

/// Words behind which it says where the package is.
const PLACES: &[&str] = &["resolved", "tarball", "url", "source", "registry", "remote"];

/// Most edits of one call that are looked at.
const MAX_EDITS: usize = 32;

/// Settings that check something, and what they are changed to where they no longer do.
const CHECKS: &[(&str, &[&str])] = &[
    (
        "validationFailureAction: Enforce",
        &["validationFailureAction: Audit"],
    ),
    (
        "enforcementAction: deny",
        &["enforcementAction: dryrun", "enforcementAction: warn"],
    ),
    ("failurePolicy: Fail", &["failurePolicy: Ignore"]),
    ("enforce: restricted", &["enforce: privileged"]),
    ("rejectUnauthorized: true", &["rejectUnauthorized: false"]),
    ("verify=True", &["verify=False"]),
    ("InsecureSkipVerify: false", &["InsecureSkipVerify: true"]),
    ("ssl_verify: true", &["ssl_verify: false"]),
    ("sslmode=verify-full", &["sslmode=disable", "sslmode=allow"]),
    ("strict-ssl=true", &["strict-ssl=false"]),
    ("gpgcheck=1", &["gpgcheck=0"]),
    ("contents: read", &["write-all"]),
    ("privileged: false", &["privileged: true"]),
    (
        "allowPrivilegeEscalation: false",
        &["allowPrivilegeEscalation: true"],
    ),
    ("runAsNonRoot: true", &["runAsNonRoot: false"]),
    ("--provenance", &["publish"]),
    ("--require-hashes", &["install"]),
    ("exit-code: 1", &["exit-code: 0"]),
    ("exit-code: '1'", &["exit-code: '0'"]),
    ("exit-code: \"1\"", &["exit-code: \"0\""]),
    ("--exit-code 1", &["--exit-code 0"]),
    ("--exit-code=1", &["--exit-code=0"]),
    ("soft_fail: false", &["soft_fail: true"]),
    ("audit=true", &["audit=false"]),
];

/// Notes what an edit in the file at `path` takes away.
pub(super) fn note(analysis: &mut Analysis, path: &str, input: &Value) {
    let name = path.rsplit('/').next().unwrap_or_default();
    let locked = FILES.contains(&name);
    let listed = input.get("edits").and_then(Value::as_array).into_iter().flatten();
    for edit in std::iter::once(input).chain(listed).take(MAX_EDITS) {
        let text = |names: [&str; 3]| {
            names
                .iter()
                .find_map(|name| edit.get(name).and_then(Value::as_str))
        };
        let (Some(old), Some(new)) = (
            text(["old_string", "old_str", "oldText"]),
            text(["new_string", "new_str", "newText"]),
        ) else {
            continue;
        };
        if locked {
            changed(analysis, old, new);
        } else {
            weakened(analysis, name, old, new);
            tracked::edited(analysis, path, old, new);
            moved(analysis, old, new);
        }
    }
}

fn weakened(analysis: &mut Analysis, name: &str, old: &str, new: &str) {
    for (check, off) in CHECKS {
        if old.contains(check) && !new.contains(check) && off.iter().any(|off| new.contains(off)) {
            analysis.behave(Evasion, "check-weakened", check, None);
        }
    }
    muted::weakened(analysis, old, new);
    if let Some(check) = released::no_longer(old, new) {
        analysis.behave(Evasion, "check-weakened", check, None);
    }
    if pinned(old)
        && !pinned(new)
        && ["@main", "@master", "@HEAD", "@latest"]
            .iter()
            .any(|at| new.contains(at))
    {
        analysis.behave(Evasion, "check-weakened", "uses:", None);
    }
    if name == "CODEOWNERS" && old.contains(" @") && !new.contains(" @") {
        analysis.behave(Evasion, "check-weakened", name, None);
    }
}

/// Notes a deployment that is drawn from another host's repository than before.
fn moved(analysis: &mut Analysis, old: &str, new: &str) {
    let sources = |text: &str| {
        let lines = text
            .lines()
            .take(MAX_EDITS)
            .filter(|line| line.contains("repoURL"));
        lines
            .flat_map(hosts::hosts_in)
            .map(|host| host.host)
            .collect::<Vec<_>>()
    };
    let before = sources(old);
    for host in sources(new) {
        if !before.is_empty() && !before.contains(&host) {
            analysis.behave(Execution, "source-moved", host, None);
        }
    }
}

/// Whether a workflow's step is taken by the full hash of a commit.
fn pinned(text: &str) -> bool {
    text.match_indices("uses:").take(MAX_EDITS).any(|(at, _)| {
        let line = text[at..].lines().next().unwrap_or_default();
        let hash = line.split_once('@').map_or("", |(_, hash)| hash);
        hash.len() >= 40 && hash.bytes().take(40).all(|byte| byte.is_ascii_hexdigit())
    })
}

fn changed(analysis: &mut Analysis, old: &str, new: &str) {
    let any = |text: &str, words: &[&str]| words.iter().any(|word| text.contains(word));
    if any(old, HASHES) && !any(new, HASHES) && any(new, PLACES) {
        analysis.behave(Evasion, "integrity-off", "", None);
    }
    let before = hosts::hosts_in(old);
    for host in hosts::hosts_in(new) {
        let moved = !before.is_empty() && before.iter().all(|known| known.host != host.host);
        if moved && !is_registry(&host.host) {
            analysis.behave(Execution, "lock-source", host.host, None);
        }
    }
}

/// The public registries, between which a project may well change.
fn is_registry(host: &str) -> bool {
    [
        "registry.npmjs.org",
        "registry.yarnpkg.com",
        "npm.pkg.github.com",
        "files.pythonhosted.org",
        "pypi.org",
        "crates.io",
        "static.crates.io",
        "index.crates.io",
        "rubygems.org",
        "repo.packagist.org",
        "api.github.com",
        "codeload.github.com",
        "github.com",
        "localhost",
        "registry.npmmirror.com",
    ]
    .contains(&host)
        || [
            ".internal",
            ".local",
            ".corp",
            ".lan",
            ".pkg.dev",
            ".jfrog.io",
            ".amazonaws.com",
        ]
        .iter()
        .any(|end| host.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_that_are_switched_off() {
        for (path, old, new, weak) in [
            (
                "p.yaml",
                "validationFailureAction: Enforce",
                "validationFailureAction: Audit",
                true,
            ),
            (
                "p.yaml",
                "validationFailureAction: Audit",
                "validationFailureAction: Enforce",
                false,
            ),
            ("a.py", "get(u, verify=True)", "get(u, verify=False)", true),
            ("a.py", "get(u, verify=True)", "get(u, verify=ca)", false),
            (
                "ci.yml",
                "uses: a/b@b4ffde65f46336ab88eb53be808477a3936bae11",
                "uses: a/b@main",
                true,
            ),
            ("ci.yml", "uses: a/b@v3", "uses: a/b@v4", false),
            ("CODEOWNERS", "/infra/ @acme/security", "", true),
            (
                "CODEOWNERS",
                "/infra/ @acme/security",
                "/infra/ @acme/platform",
                false,
            ),
        ] {
            let mut analysis = Analysis::new();
            let edit = serde_json::json!({"edits": [{"oldText": old, "newText": new}]});
            note(&mut analysis, path, &edit);
            assert_eq!(!analysis.facts.behaviours.is_empty(), weak, "{new}");
        }
    }

    #[test]
    fn edits_of_lock_files() {
        for (old, new, technique) in [
            (
                "uses: a/b@b4ffde65f46336ab88eb53be808477a3936bae11",
                "uses: a/b@main",
                None,
            ),
            (
                "resolved https://registry.npmjs.org/a integrity x",
                "resolved https://cdn.example.net/a integrity y",
                Some("lock-source"),
            ),
            (
                "resolved https://registry.npmjs.org/a integrity x",
                "resolved https://registry.npmjs.org/a",
                Some("integrity-off"),
            ),
            (
                "resolved https://registry.yarnpkg.com/a integrity x",
                "resolved https://registry.npmjs.org/a integrity x",
                None,
            ),
            ("\"version\": \"1\"", "\"version\": \"2\"", None),
        ] {
            let mut analysis = Analysis::new();
            let input = serde_json::json!({"old_string": old, "new_string": new});
            note(&mut analysis, "/w/package-lock.json", &input);
            let found = analysis
                .facts
                .behaviours
                .first()
                .map(|found| found.technique.as_str());
            assert_eq!(found, technique, "{new}");
        }
    }
}
