//! Lock files that are edited: where a package comes from, and what checks that it is the one that was locked.

use defenseclaw_model::facts::BehaviourKind::{Evasion, Execution};
use serde_json::Value;

use super::{Analysis, hosts};

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

/// Notes what an edit in the lock file at `path` changes of it.
pub(super) fn note(analysis: &mut Analysis, path: &str, input: &Value) {
    if !FILES.contains(&path.rsplit('/').next().unwrap_or_default()) {
        return;
    }
    let listed = input.get("edits").and_then(Value::as_array).into_iter().flatten();
    for edit in std::iter::once(input).chain(listed).take(MAX_EDITS) {
        let text = |names: [&str; 3]| names.iter().find_map(|name| edit.get(name).and_then(Value::as_str));
        let (Some(old), Some(new)) = (
            text(["old_string", "old_str", "oldText"]),
            text(["new_string", "new_str", "newText"]),
        ) else {
            continue;
        };
        changed(analysis, old, new);
    }
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
        || [".internal", ".local", ".corp", ".lan", ".pkg.dev", ".jfrog.io", ".amazonaws.com"]
            .iter()
            .any(|end| host.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_of_lock_files() {
        for (old, new, technique) in [
            ("resolved https://registry.npmjs.org/a integrity x", "resolved https://cdn.example.net/a integrity y", Some("lock-source")),
            ("resolved https://registry.npmjs.org/a integrity x", "resolved https://registry.npmjs.org/a", Some("integrity-off")),
            ("resolved https://registry.yarnpkg.com/a integrity x", "resolved https://registry.npmjs.org/a integrity x", None),
            ("\"version\": \"1\"", "\"version\": \"2\"", None),
        ] {
            let mut analysis = Analysis::new();
            let input = serde_json::json!({"old_string": old, "new_string": new});
            note(&mut analysis, "/w/package-lock.json", &input);
            note(&mut analysis, "/w/notes.txt", &input);
            let found = analysis.facts.behaviours.first().map(|found| found.technique.as_str());
            assert_eq!(found, technique, "{new}");
        }
    }
}
