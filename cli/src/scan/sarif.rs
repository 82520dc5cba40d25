//! SARIF 2.1.0: the form in which forges and editors take findings.

use std::collections::BTreeMap;

use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::{ScanFinding, ScanReport};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The name by which results refer to what was scanned.
const ROOT: &str = "SCANNED";

/// A SARIF log of these runs.
pub(super) fn log(runs: Vec<Value>) -> Value {
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": runs,
    })
}

/// A report as a run.
pub(super) fn run(report: &ScanReport, revision: &str) -> Value {
    let mut rules: BTreeMap<&str, &ScanFinding> = BTreeMap::new();
    for finding in &report.findings {
        let known = rules.entry(&finding.rule).or_insert(finding);
        if finding.severity > known.severity {
            *known = finding;
        }
    }
    let index: BTreeMap<&str, usize> = rules.keys().copied().zip(0..).collect();
    let results: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            result(
                finding,
                index.get(finding.rule.as_str()).copied().unwrap_or_default(),
            )
        })
        .collect();
    json!({
            "tool": {"driver": {
                "name": "defenseclaw-cli",
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules.values().map(|finding| rule(finding)).collect::<Vec<_>>(),
                "properties": {"rules": revision},
            }},
            "invocations": [{"executionSuccessful": true}],
            "originalUriBaseIds": {ROOT: {"description": {"text": format!("What was scanned: {}", report.target)}}},
            "columnKind": "unicodeCodePoints",
            "results": results,
            "properties": {
                "kind": report.kind,
                "name": report.name,
                "version": report.version,
                "digest": report.digest,
                "severity": report.verdict.severity,
                "confidence": report.verdict.confidence,
            },
    })
}

fn rule(finding: &ScanFinding) -> Value {
    json!({
        "id": finding.rule,
        "shortDescription": {"text": finding.message},
        "help": {"text": if finding.remedy.is_empty() { &finding.message } else { &finding.remedy }},
        "defaultConfiguration": {"level": level(finding.severity)},
        "properties": {
            "tags": ["security", finding.category],
            "security-severity": score(finding.severity),
        },
    })
}

fn result(finding: &ScanFinding, index: usize) -> Value {
    let mut result = json!({
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": level(finding.severity),
        "message": {"text": text(finding)},
        "partialFingerprints": {"defenseclawFinding/v1": fingerprint(finding)},
        "properties": {
            "severity": finding.severity,
            "confidence": finding.confidence,
            "category": finding.category,
            "evidence": finding.evidence,
        },
    });
    if !finding.file.is_empty() {
        let mut place = json!({"artifactLocation": {"uri": uri(&finding.file), "uriBaseId": ROOT}});
        if finding.line > 0 {
            place["region"] = json!({"startLine": finding.line});
        }
        result["locations"] = json!([{"physicalLocation": place}]);
    }
    result
}

fn text(finding: &ScanFinding) -> String {
    let mut text = format!("{}.", finding.message.trim_end_matches('.'));
    if !finding.remedy.is_empty() {
        text.push_str(&format!(" {}.", finding.remedy.trim_end_matches('.')));
    }
    text
}

/// What stays the same when lines are added above a finding.
fn fingerprint(finding: &ScanFinding) -> String {
    let mut digest = Sha256::new();
    for part in [&finding.rule, &finding.file, &finding.evidence] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest
        .finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::None => "none",
        Severity::Low => "note",
        Severity::Medium => "warning",
        Severity::High | Severity::Critical => "error",
    }
}

/// The number by which forges sort.
fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::None => "0.0",
        Severity::Low => "2.5",
        Severity::Medium => "5.5",
        Severity::High => "8.0",
        Severity::Critical => "9.5",
    }
}

/// A relative path as a URI reference.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/!$'()*+,;=@".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use defenseclaw_model::scan::{ScanKind, ScanVerdict};

    use super::*;

    #[test]
    fn paths_become_uris() {
        assert_eq!(uri("a b/ü#.md"), "a%20b/%C3%BC%23.md");
        assert_eq!(uri("x.zip!/a:b"), "x.zip!/a%3Ab");
    }

    /// What the schema of SARIF 2.1.0 requires, and the values that it allows.
    #[test]
    fn a_log_has_what_the_schema_requires() {
        let finding = |rule: &str, file: &str, line| ScanFinding {
            rule: rule.to_owned(),
            category: "injection".to_owned(),
            severity: Severity::High,
            confidence: 80,
            file: file.to_owned(),
            line,
            message: "It does it".to_owned(),
            evidence: "do it".to_owned(),
            remedy: String::new(),
        };
        let findings = vec![
            finding("b.x", "SKILL.md", 3),
            finding("a.x", "", 0),
            finding("b.x", "f", 0),
        ];
        let report = ScanReport {
            kind: ScanKind::Skill,
            name: "s".to_owned(),
            version: None,
            target: "/s".to_owned(),
            digest: "0".repeat(64),
            files: 1,
            bytes: 1,
            verdict: ScanVerdict::of(&findings),
            findings,
        };
        let log = log(vec![run(&report, "abc")]);
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        assert!(run["tool"]["driver"]["name"].is_string());
        assert_eq!(rules.len(), 2, "rules are unique");
        assert!(
            run["tool"]["driver"]["informationUri"]
                .as_str()
                .unwrap()
                .starts_with("https://")
        );
        for result in run["results"].as_array().unwrap() {
            assert!(
                result["message"]["text"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
            );
            assert!(["none", "note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
            let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
            assert_eq!(rule["id"], result["ruleId"]);
            let prints = result["partialFingerprints"].as_object().unwrap();
            assert!(prints.values().all(Value::is_string) && !prints.is_empty());
            for location in result["locations"].as_array().into_iter().flatten() {
                let place = &location["physicalLocation"];
                assert!(place["artifactLocation"]["uri"].is_string());
                let base = place["artifactLocation"]["uriBaseId"].as_str().unwrap();
                assert!(run["originalUriBaseIds"].get(base).is_some());
                assert!(
                    place
                        .get("region")
                        .is_none_or(|region| region["startLine"].as_u64().unwrap() >= 1)
                );
            }
        }
        assert!(run["results"][1].get("locations").is_none());
    }
}
