//! Lists of what version control leaves out, from which secrets are taken: `!.env`, a line `*.pem` that is gone.

use defenseclaw_model::facts::BehaviourKind::Evasion;

use super::Analysis;

/// Most lines that are looked at; such lists are short.
const MAX_LINES: usize = 2000;

/// Names of such lists.
const LISTS: &[&str] = &[
    ".gitignore",
    ".dockerignore",
    ".npmignore",
    ".gcloudignore",
    ".vercelignore",
    ".hgignore",
];

/// Parts of patterns that stand for files of secrets.
const SECRETS: &[&str] = &[
    ".env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "id_rsa",
    "id_ed25519",
    "secret",
    "credential",
    "private.key",
    "private_key",
    "service-account",
    "serviceaccount",
    "*.tfstate",
    "*.tfvars",
    ".npmrc",
    ".netrc",
    ".pgpass",
    ".htpasswd",
    "master.key",
    "vault_pass",
    "kubeconfig",
];

/// Parts of patterns that stand for files which only show how the secret ones look, or hold none.
const SHOWN: &[&str] = &[
    "example",
    "sample",
    "template",
    ".dist",
    "default",
    "schema",
    "test",
    "fixture",
    "mock",
    ".enc",
    "encrypted",
    "sealed",
    ".pub",
    "public",
    ".sops",
    ".gpg",
    ".age",
    ".md",
    "ci",
    "defaults",
    ".d.ts",
    "vault",
];

/// Whether the file at `path` is such a list.
fn is_list(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    LISTS.contains(&name) || path.ends_with(".git/info/exclude")
}

/// Notes the files of secrets that `text`, written to `path`, takes back in.
pub(super) fn note(analysis: &mut Analysis, path: &str, text: &str) {
    if !is_list(path) {
        return;
    }
    let back = text
        .lines()
        .take(MAX_LINES)
        .filter_map(|line| line.trim().strip_prefix('!'))
        .find(|line| is_secret(line));
    if let Some(pattern) = back {
        analysis.behave(Evasion, "secrets-tracked", pattern, None);
    }
}

/// Notes the files of secrets that were left out before an edit, and no longer are.
pub(super) fn edited(analysis: &mut Analysis, path: &str, old: &str, new: &str) {
    if !is_list(path) {
        return;
    }
    let gone = old.lines().take(MAX_LINES).map(str::trim).find(|line| {
        !line.starts_with(['#', '!'])
            && is_secret(line)
            && !new
                .lines()
                .take(MAX_LINES)
                .any(|other| covers(other.trim(), line))
    });
    if let Some(pattern) = gone {
        analysis.behave(Evasion, "secrets-tracked", pattern, None);
    }
}

fn is_secret(pattern: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let shown = pattern
        .split(['/', '.', '-', '_', '*'])
        .any(|part| SHOWN.contains(&part))
        || SHOWN.iter().any(|part| part.len() > 3 && pattern.contains(part));
    !shown && SECRETS.iter().any(|part| pattern.contains(part))
}

/// Whether the pattern `wide` leaves out what `narrow` did.
fn covers(wide: &str, narrow: &str) -> bool {
    let plain = |pattern: &str| pattern.trim_matches('/').trim_start_matches("**/").to_owned();
    let (wide, narrow) = (plain(wide), plain(narrow));
    if wide.is_empty() || wide.starts_with(['#', '!']) {
        return false;
    }
    wide == narrow
        || wide
            .strip_suffix('*')
            .is_some_and(|begin| !begin.contains('*') && narrow.starts_with(begin))
        || wide
            .strip_prefix('*')
            .is_some_and(|end| !end.contains('*') && narrow.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, old: &str, new: &str) -> bool {
        let mut analysis = Analysis::new();
        edited(&mut analysis, path, old, new);
        note(&mut analysis, path, new);
        !analysis.facts.behaviours.is_empty()
    }

    #[test]
    fn secrets_that_come_back_in() {
        for (old, new) in [
            ("a\n.env\n", "a\n"),
            ("a\n", "a\n!.env\n!*.pem\n"),
            ("secrets/\n", "# secrets/\n"),
            ("", "*\n!.env.production\n"),
            ("*.key\n", ""),
        ] {
            assert!(found("/p/.gitignore", old, new), "{new}");
        }
    }

    #[test]
    fn lists_that_stay_as_they_were() {
        for (path, old, new) in [
            ("/p/.gitignore", ".env\n", ".env\n*.pem\n"),
            ("/p/.gitignore", ".env\n.env.local\n", ".env*\n!.env.example\n"),
            (
                "/p/.gitignore",
                "",
                "!.env.sample\n!tests/fixtures/*.pem\n!certs/ca.pub\n",
            ),
            ("/p/.gitignore", "dist/\n", ""),
            ("/p/notes.md", ".env\n", ""),
        ] {
            assert!(!found(path, old, new), "{new}");
        }
    }
}
