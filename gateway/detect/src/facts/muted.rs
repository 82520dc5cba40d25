//! Scanners that are told to look at nothing, or whose findings no longer count.
//!
//! One finding by its number, a folder of fixtures, a test's key: that is what ignore lists are for.

use defenseclaw_model::facts::BehaviourKind::Evasion;

use super::Analysis;
use super::released::CHECKS;

/// Most lines of one text that are looked at: settings of a scanner are short.
const MAX_LINES: usize = 2000;
/// How far above a value its key may stand (lines).
const MAX_ABOVE: usize = 4;

/// Files in which each line is something that a scanner does not look at or tell.
const IGNORES: &[&str] = &[
    ".semgrepignore",
    ".gitleaksignore",
    ".trivyignore",
    ".trivyignore.yaml",
    ".trivyignore.yml",
    ".secretlintignore",
    ".trufflehogignore",
    ".trufflehog-ignore",
    "trufflehog-exclude.txt",
    ".checkovignore",
    ".tfsecignore",
    ".kicsignore",
    ".codeqlignore",
    ".grypeignore",
    ".banditignore",
    ".nsprc",
];

/// Begins of the names of scanners' settings, without a dot before.
const SETTINGS: &[&str] = &[
    "trivy.y",
    "gitleaks.toml",
    "gitleaks.y",
    "semgrep.y",
    "checkov.y",
    "grype.y",
    "bandit",
    "snyk",
    "gitguardian.y",
    "codeql-config.y",
    "tfsec.y",
    "kics.",
    "audit-ci.json",
    "trufflehog.y",
    "dependency-review-config.y",
    "osv-scanner.toml",
    "sonar-project.properties",
    "codeclimate.y",
    "talismanrc",
    "npmrc",
    "pre-commit-config.y",
    "yarnrc.yml",
    "gosec.",
    "horusec",
];

/// Patterns that everything fits.
const ALL: &[&str] = &[
    "*", "**", "**/*", "**/**", "*/**", "*/*", "*.*", "/**", "/*", "./**", "./*", ".*", ".+", "^.*$", "(.*)",
    "/.*/", "**.*", "**/*.*", "CVE-*", "GHSA-*", "CVE-.*", "*:*",
];

/// Commands that look for what is wrong.
const SCANS: &[&str] = &[
    "npm audit",
    "yarn audit",
    "pnpm audit",
    "bun audit",
    "yarn npm audit",
    "pip-audit",
    "safety check",
    "safety scan",
    "cargo audit",
    "cargo deny",
    "govulncheck",
    "trivy ",
    "grype ",
    "snyk ",
    "gitleaks ",
    "trufflehog ",
    "semgrep ",
    "bandit ",
    "checkov ",
    "tfsec ",
    "osv-scanner",
    "brakeman",
    "bundle audit",
    "bundle-audit",
    "bundler-audit",
    "composer audit",
    "detect-secrets",
    "kics ",
    "gosec ",
    "dependency-check",
    "ggshield ",
    "codeql",
    "dependency-review-action",
    "trivy-action",
    "gitleaks-action",
    "semgrep-action",
    "snyk/actions",
];

/// Notes what `text`, written to `path`, keeps a scanner from telling.
pub(super) fn note(analysis: &mut Analysis, path: &str, text: &str) {
    let name = path.rsplit('/').next().unwrap_or_default();
    let bare = name.strip_prefix('.').unwrap_or(name);
    let list = IGNORES.contains(&name);
    if !list && !SETTINGS.iter().any(|begin| bare.starts_with(begin)) {
        return;
    }
    let lines: Vec<&str> = text.lines().take(MAX_LINES).map(str::trim).collect();
    // npm's own report at each install goes with its request for money where installs are to be quick; `npm audit` stays.
    let quick = bare == "npmrc" && lines.contains(&"fund=false");
    for (number, line) in lines.iter().enumerate() {
        let everything = if list {
            is_all(line) || matches!(*line, "." | "/" | "./")
        } else {
            let above = lines
                .get(number.saturating_sub(MAX_ABOVE)..=number)
                .unwrap_or_default();
            words(line).any(|word| is_all(word) || word == "." && leaves_out(line))
                && above.iter().any(|line| leaves_out(line))
        };
        if everything || is_off(line) && !(quick && *line == "audit=false") {
            analysis.behave(Evasion, "scanner-muted", name, None);
            return;
        }
    }
}

/// Notes what a line that is put into the file at `path` does: it stands where a check stood.
pub(super) fn put_in(analysis: &mut Analysis, path: &str, text: &str) {
    note(analysis, path, text);
    if let Some(scan) = text.lines().find_map(shrugged) {
        analysis.behave(Evasion, "scanner-muted", scan.trim(), None);
    }
}

/// Notes an edit behind which a scan's outcome no longer counts.
pub(super) fn weakened(analysis: &mut Analysis, old: &str, new: &str) {
    let scan = |text: &str| {
        SCANS
            .iter()
            .chain(CHECKS)
            .find(|scan| text.contains(**scan))
            .copied()
    };
    let shrugs = new.lines().take(MAX_LINES).find_map(shrugged);
    if let Some(scan) = shrugs.filter(|_| !old.lines().take(MAX_LINES).any(|line| shrugged(line).is_some())) {
        analysis.behave(Evasion, "scanner-muted", scan.trim(), None);
    }
    let goes_on = |text: &str| {
        text.lines().take(MAX_LINES).any(|line| {
            let line: String = line.chars().filter(|c| !c.is_whitespace()).collect();
            line.starts_with("continue-on-error:true")
                || line.starts_with("allow_failure:true")
                || line == "if:false"
        })
    };
    // A scan that is new may be tried out first.
    if goes_on(new)
        && !goes_on(old)
        && let Some(scan) = scan(old)
    {
        analysis.behave(Evasion, "scanner-muted", scan.trim(), None);
    }
}

/// The scan in `line` whose outcome is thrown away.
fn shrugged(line: &str) -> Option<&'static str> {
    let at = [
        "|| true",
        "|| :",
        "|| exit 0",
        "||true",
        "; true",
        "; exit 0",
        "--exit-code 0",
        "--exit-zero",
        "--soft-fail",
    ]
    .iter()
    .find_map(|shrug| line.find(shrug))?;
    let before = &line[..at];
    let prints = [
        "echo ",
        "--help",
        "--version",
        "#",
        "command -v",
        "which ",
        "install",
    ];
    if prints.iter().any(|part| before.contains(part)) {
        return None;
    }
    SCANS
        .iter()
        .find(|scan| before.contains(scan.trim_end()))
        .copied()
}

/// The words of a line of settings: patterns, keys and values.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let value = line.split_once([':', '=']).map_or(line, |(_, value)| value);
    value
        .split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '[' | ']' | '`'))
        .filter(|word| !word.is_empty())
}

fn is_all(word: &str) -> bool {
    let word = word.trim_start_matches("- ").trim_matches(['"', '\'', '`']);
    ALL.contains(&word)
}

/// Whether a line of settings is about what is left out.
fn leaves_out(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    ["ignore", "exclu", "skip", "allow", "paths"]
        .iter()
        .any(|word| line.contains(word))
}

/// Whether a setting says that findings do not count.
fn is_off(line: &str) -> bool {
    let line = line.trim_start_matches("- ").trim_end_matches([',', ';']);
    let Some((key, value)) = line.split_once([':', '=']) else {
        return false;
    };
    let key = key
        .trim()
        .trim_matches(['"', '\''])
        .to_ascii_lowercase()
        .replace('_', "-");
    let value = value.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
    let nothing = value
        .split([',', '[', ']', ' ', '"', '\''])
        .filter(|word| !word.is_empty())
        .all(|word| matches!(word, "unknown" | "none" | "negligible"));
    match key.as_str() {
        "exit-code" | "fail-on-findings" => value == "0",
        "severity" | "severities" | "audit-level" | "fail-on" | "fail-on-severity" => {
            nothing && !value.is_empty()
        }
        "soft-fail" | "exit-zero" | "no-fail" => value == "true",
        "audit" => value == "false",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scanners_are_told() {
        for (path, text, muted) in [
            (".semgrepignore", "**\n", true),
            ("/w/.gitleaksignore", "a/b.txt:generic:3\n**/*\n", true),
            (".trivyignore", "CVE-*", true),
            (".trivy.yaml", "exit-code: 0\nseverity: UNKNOWN\n", true),
            (
                "trivy.yaml",
                "severity:\n  - HIGH\nscan:\n  skip-dirs:\n    - \"**\"\n",
                true,
            ),
            (".gitleaks.toml", "[allowlist]\npaths = ['''.*''']\n", true),
            (".snyk", "exclude:\n  global:\n    - '**'\n", true),
            (".npmrc", "audit=false\n", true),
            (".npmrc", "fund=false\naudit=false\n", false),
            (".bandit", "exclude_dirs: ['.']\n", true),
            (".bandit", "exclude_dirs: ['tests']\n", false),
            ("sonar-project.properties", "sonar.exclusions=**/*\n", true),
            (".semgrepignore", "tests/fixtures/**\nvendor/\n*.min.js\n", false),
            (
                ".trivyignore",
                "# no fix yet, see issue 12\nCVE-2024-1234\n",
                false,
            ),
            (".gitleaksignore", "a1b2c3:tests/keys.txt:private-key:1\n", false),
            (".trivy.yaml", "exit-code: 1\nseverity: HIGH,CRITICAL\n", false),
            ("semgrep.yml", "rules:\n- pattern-regex: .*\n", false),
            (".gitignore", "*\n!.gitignore\n", false),
            (".npmrc", "audit-level=high\nfund=false\n", false),
        ] {
            let mut analysis = Analysis::new();
            note(&mut analysis, path, text);
            assert_eq!(!analysis.facts.behaviours.is_empty(), muted, "{path} {text}");
        }
    }

    #[test]
    fn scans_whose_outcome_no_longer_counts() {
        for (old, new, muted) in [
            (
                "- run: npm audit --audit-level=high",
                "- run: npm audit --audit-level=high || true",
                true,
            ),
            ("gitleaks detect", "gitleaks detect --exit-code 0", true),
            (
                "- uses: aquasecurity/trivy-action@v1",
                "- uses: aquasecurity/trivy-action@v1\n  continue-on-error: true",
                true,
            ),
            (
                "semgrep:\n  script: semgrep ci",
                "semgrep:\n  allow_failure: true\n  script: semgrep ci",
                true,
            ),
            (
                "- run: npm audit || true",
                "- run: npm audit --omit=dev || true",
                false,
            ),
            ("- run: npm test", "- run: npm test || true", false),
            (
                "- run: npm test",
                "- run: npm test\n- run: npm audit\n  continue-on-error: true",
                false,
            ),
            ("- run: e2e", "- run: e2e\n  continue-on-error: true", false),
            ("- run: npm audit || true", "- run: npm audit", false),
            ("x", "command -v trivy >/dev/null || true", false),
        ] {
            let mut analysis = Analysis::new();
            weakened(&mut analysis, old, new);
            assert_eq!(!analysis.facts.behaviours.is_empty(), muted, "{new}");
        }
    }
}
