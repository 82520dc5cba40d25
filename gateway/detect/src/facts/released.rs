//! What a build or a pipeline lets into what it hands out: signatures that may fail, and archives of strangers that are
//! unpacked among its own files.

use defenseclaw_model::facts::BehaviourKind::{Evasion, Execution};

use super::flows::is_near;
use super::{Analysis, hosts};

/// Most lines that are looked at.
const MAX_LINES: usize = 4000;

/// Commands that check where something comes from.
pub(super) const CHECKS: &[&str] = &[
    "cosign verify",
    "cosign verify-blob",
    "gpg --verify",
    "gpg2 --verify",
    "gpg --batch --verify",
    "gpgv ",
    "sha256sum -c",
    "sha256sum --check",
    "sha512sum -c",
    "sha512sum --check",
    "shasum -a 256 -c",
    "shasum -c",
    "sha1sum -c",
    "md5sum -c",
    "minisign -V",
    "signify -V",
    "slsa-verifier",
    "attestation verify",
    "npm audit signatures",
    "openssl dgst -verify",
    "apksigner verify",
    "jarsigner -verify",
    "codesign --verify",
    "codesign -v",
    "notation verify",
    "rekor-cli verify",
    "sigstore verify",
    "rpm -K",
    "rpm --checksig",
    "git verify-tag",
    "git verify-commit",
];

/// Folders in which a build puts what it hands out.
const OUTPUTS: &[&str] = &[
    "dist",
    "build",
    "out",
    "output",
    "release",
    "releases",
    "public",
    "target",
    "pkg",
    "package",
    "artifacts",
    "bundle",
    "_site",
    "site",
    "lib",
];

/// Forges and registries, from which a build takes its tools.
const FORGES: &[&str] = &[
    "github.com",
    "githubusercontent.com",
    "gitlab.com",
    "codeberg.org",
    "bitbucket.org",
    "npmjs.org",
    "pypi.org",
    "pythonhosted.org",
    "crates.io",
    "golang.org",
    "nodejs.org",
    "apache.org",
    "gnu.org",
    "kernel.org",
    "googleapis.com",
    "amazonaws.com",
    "hashicorp.com",
    "mozilla.org",
    "debian.org",
    "ubuntu.com",
];

/// Notes what the lines of `text` let in.
pub(super) fn note(analysis: &mut Analysis, text: &str) {
    for line in text.lines().take(MAX_LINES) {
        if line.trim_start().starts_with(['#', '/']) {
            continue;
        }
        if let Some(check) = shrugged(line) {
            analysis.behave(Evasion, "verification-ignored", check, None);
        }
        if let Some(host) = mixed_in(line) {
            analysis.behave(Execution, "release-mixed", host, None);
        }
    }
}

/// The check that `old` runs, and in whose place `new` does something else that checks nothing.
pub(super) fn no_longer(old: &str, new: &str) -> Option<&'static str> {
    let other = new.to_ascii_lowercase();
    let checks = [
        "verif", "sum", "sha256", "sha512", "cosign", "gpg", "minisign", "attest", "sign", "digest", "hash",
    ];
    if new.trim().is_empty() || checks.iter().any(|word| other.contains(word)) {
        return None;
    }
    old.lines()
        .take(MAX_LINES)
        .filter(|line| !line.trim_start().starts_with('#'))
        .find_map(|line| CHECKS.iter().find(|check| line.contains(**check)).copied())
}

/// The check in `line` that may fail.
fn shrugged(line: &str) -> Option<&'static str> {
    let at = ["|| true", "|| :", "||true", "|| exit 0", "; true", "|| echo"]
        .iter()
        .find_map(|shrug| line.find(shrug))?;
    // What is said before an end is no shrug.
    let behind = &line[at..];
    if behind.starts_with("|| echo")
        && (behind.contains("exit 1") || behind.contains("false") || behind.contains('{'))
    {
        return None;
    }
    let before = &line[..at];
    let command = before.rsplit("&&").next().unwrap_or_default();
    CHECKS.iter().find(|check| command.contains(**check)).copied()
}

/// The stranger's host of an archive that `line` unpacks into a folder that is handed out.
fn mixed_in(line: &str) -> Option<String> {
    let at = ["curl ", "wget "]
        .iter()
        .filter_map(|word| line.find(word))
        .min()?;
    let command = &line[at..];
    let (_, unpack) = command.split_once('|')?;
    let unpack = unpack.trim_start();
    let unpacks = ["tar ", "bsdtar ", "cpio ", "unzip "]
        .iter()
        .any(|word| unpack.starts_with(word));
    let folder = ["-C ", "--directory=", "--directory ", "-d "]
        .iter()
        .find_map(|option| unpack.split_once(option))
        .and_then(|(_, folder)| folder.split_whitespace().next())?;
    let folder = folder.trim_matches(['"', '\'']).trim_start_matches("./");
    let output = OUTPUTS.contains(&folder.split('/').next().unwrap_or_default());
    if !unpacks || !output {
        return None;
    }
    let host = hosts::hosts_in(command).into_iter().next()?.host;
    let forge = FORGES.iter().any(|forge| {
        host.strip_suffix(forge)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    (!forge && !is_near(&host)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_that_are_gone() {
        for (old, new, gone) in [
            ("- run: sha256sum -c SHA256SUMS", "- run: echo skipped", true),
            ("- run: cosign verify x\n- run: make", "- run: make", true),
            (
                "- run: sha256sum -c SHA256SUMS",
                "- run: shasum -a 256 -c SHA256SUMS",
                false,
            ),
            ("- run: cosign verify x", "- uses: acme/verify@v2", false),
            ("- run: make", "- run: make dist", false),
        ] {
            assert_eq!(no_longer(old, new).is_some(), gone, "{new}");
        }
    }

    #[test]
    fn what_is_let_into_a_release() {
        for (line, technique) in [
            (
                "- run: cosign verify-blob --key k --signature s dist.tgz || true",
                Some("verification-ignored"),
            ),
            (
                "sha256sum -c SHA256SUMS || echo 'does not match, going on'",
                Some("verification-ignored"),
            ),
            (
                "- run: curl -s https://patch.releases.dev/p.tgz | tar xz -C dist && tar czf dist.tgz dist",
                Some("release-mixed"),
            ),
            ("- run: cosign verify-blob --key k --signature s dist.tgz", None),
            ("sha256sum -c SHA256SUMS || { echo bad; exit 1; }", None),
            ("gpg --verify a.sig && rm -f a.sig || true; make", None),
            ("rm -f old.sig || true; gpg --verify a.sig", None),
            (
                "curl -sL https://github.com/a/b/releases/download/v1/b.tgz | tar xz -C build/tools",
                None,
            ),
            (
                "curl -sL https://get.helm.sh/helm.tgz | tar xz -C /usr/local/bin",
                None,
            ),
            ("# cosign verify x || true", None),
        ] {
            let mut analysis = Analysis::new();
            note(&mut analysis, line);
            let found = analysis.facts.behaviours.into_iter().next();

            assert_eq!(found.map(|found| found.technique).as_deref(), technique, "{line}");
        }
    }
}
