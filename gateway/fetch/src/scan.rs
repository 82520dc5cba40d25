//! What is in a package that was fetched.

use std::collections::BTreeSet;

use defenseclaw_detect::scan::Scanner;
use defenseclaw_detect::scan::artifact::{self, Artifact, ReadError};
use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::{ScanFinding, ScanKind, ScanReport, ScanVerdict};

use crate::{Fetched, Registry, Wanted};

/// Looks into it.
pub fn scan(fetched: &Fetched, scanner: &Scanner) -> Result<ScanReport, ReadError> {
    let artifact = artifact::read(&fetched.path)?;
    Ok(scan_read(&fetched.wanted, &fetched.version, &artifact, scanner))
}

/// Looks into a package that was read: its archive with everything in it. What runs at its installation counts a step more, what the packs
/// see in a library's own code MEDIUM at most.
pub fn scan_read(wanted: &Wanted, version: &str, artifact: &Artifact, scanner: &Scanner) -> ScanReport {
    let paths = || artifact.files.iter().map(|file| inner(&file.path));
    let kind = if paths().any(|path| path == "SKILL.md") {
        ScanKind::Skill
    } else if paths().any(|path| path.ends_with("-plugin/plugin.json") || path == "gemini-extension.json") {
        ScanKind::Plugin
    } else {
        ScanKind::Code
    };
    let mut report = scanner.scan_read(kind, artifact, &wanted.to_string(), &wanted.name);
    report.version = Some(version.to_owned());
    wanted.name.clone_into(&mut report.name);
    let manifest = artifact
        .files
        .iter()
        .find(|file| inner(&file.path) == "package.json");
    let scripts = manifest.map_or_else(Vec::new, |manifest| {
        install_scripts(&manifest.path, &manifest.bytes)
    });
    let by_script = |path: &str| {
        !scripts.is_empty()
            && (path == "package.json" || scripts.iter().any(|one| names(&one.evidence, path)))
    };
    for finding in &mut report.findings {
        let path = inner(&finding.file);
        if runs_at_installation(wanted.registry, path) {
            finding.severity = raised(finding.severity);
        } else if kind == ScanKind::Code && !by_script(path) && !exact(&finding.rule) {
            finding.severity = finding.severity.min(Severity::Medium);
        }
    }
    let run: BTreeSet<&str> = artifact
        .files
        .iter()
        .filter(|file| runs_at_installation(wanted.registry, inner(&file.path)))
        .map(|file| file.path.as_str())
        .collect();
    report.findings.extend(run.into_iter().map(told));
    report.findings.extend(scripts);
    report
        .findings
        .sort_by(|a, b| (b.severity, &a.file, a.line, &a.rule).cmp(&(a.severity, &b.file, b.line, &b.rule)));
    report.verdict = ScanVerdict::of(&report.findings);
    report
}

/// The path in the package: without the archive's name and the folder that everything in it lies in.
fn inner(path: &str) -> &str {
    let path = path.rsplit_once("!/").map_or(path, |(_, inner)| inner);
    let Some((first, rest)) = path.split_once('/') else {
        return path;
    };
    // `package/` in npm's archives, `NAME-VERSION/` in those of the others.
    if first == "package"
        || first
            .rsplit_once('-')
            .is_some_and(|(_, end)| end.starts_with(|c: char| c.is_ascii_digit()))
    {
        rest
    } else {
        path
    }
}

fn runs_at_installation(registry: Registry, path: &str) -> bool {
    match registry {
        Registry::Pypi => path == "setup.py" || path.ends_with(".pth"),
        Registry::Crates => path == "build.rs",
        Registry::Npm => path == "binding.gyp",
    }
}

/// Whether a rule's word counts in a library's own code and documents as it does elsewhere. The packs were made for what an agent runs
/// and follows; libraries read credentials, open connections and pack programs for a living. What follows the data, and what is
/// about the archive, its names and its secrets, is as sure here.
fn exact(rule: &str) -> bool {
    const FAMILIES: &[&str] = &[
        "code.",
        "archive.",
        "artifact.",
        "supply-chain.",
        "secret.",
        "package.",
    ];
    FAMILIES.iter().any(|family| rule.starts_with(family))
}

/// Whether a command names the file at `path` of the package.
fn names(command: &str, path: &str) -> bool {
    let mut words = command.split(|c: char| c.is_whitespace() || "\"'=;&|".contains(c));
    words.any(|word| {
        let word = word.trim_start_matches("./");
        word == path || (word.len() > 1 && path.strip_suffix(".js") == Some(word))
    })
}

fn raised(severity: Severity) -> Severity {
    match severity {
        Severity::Low => Severity::Medium,
        Severity::Medium => Severity::High,
        other => other,
    }
}

fn told(path: &str) -> ScanFinding {
    ScanFinding {
        rule: "package.runs-at-install".to_owned(),
        category: "command-execution".to_owned(),
        severity: Severity::Low,
        confidence: 90,
        file: path.to_owned(),
        line: 1,
        message: "It runs when the package is installed or built".to_owned(),
        evidence: String::new(),
        remedy: "Read it, or install without building".to_owned(),
    }
}

/// The scripts that npm runs by itself.
fn install_scripts(path: &str, bytes: &[u8]) -> Vec<ScanFinding> {
    const OWN: &[&str] = &["preinstall", "install", "postinstall"];
    let Ok(manifest) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        return Vec::new();
    };
    let scripts = OWN.iter().filter_map(|name| {
        let command = manifest.get("scripts")?.get(name)?.as_str()?;
        let mut finding = told(path);
        finding.evidence = defenseclaw_detect::mask::mask_text(&format!("{name}: {command}"), 160);
        "Install with --ignore-scripts, or read what it runs".clone_into(&mut finding.remedy);
        Some(finding)
    });
    scripts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_in_the_package() {
        for (path, expected) in [
            ("a.tgz!/package/package.json", "package.json"),
            ("a-1.0.tar.gz!/a-1.0/setup.py", "setup.py"),
            ("a.whl!/a/data/x.py", "a/data/x.py"),
            ("a.tgz!/package/vendor/setup.py", "vendor/setup.py"),
        ] {
            assert_eq!(inner(path), expected);
        }
    }

    #[test]
    fn a_script_names_the_files_that_it_runs() {
        assert!(names("postinstall: node ./lib/install.js", "lib/install.js"));
        assert!(names("install: node lib/install", "lib/install.js"));
        assert!(!names("postinstall: node install.js", "lib/install.js"));
    }

    #[test]
    fn install_scripts_are_told_and_others_not() {
        let found = install_scripts("p", br#"{"scripts":{"postinstall":"node a.js","test":"jest"}}"#);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].evidence, "postinstall: node a.js");
        assert!(install_scripts("p", b"[]").is_empty() && install_scripts("p", b"{").is_empty());
    }
}
