//! What a scan of an artifact says: a skill, an MCP server, a plugin, a tool, code.

use serde::{Deserialize, Serialize};

use crate::admission::{ArtifactKind, ScannerVerdict};
use crate::decision::Severity;

/// What is scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ScanKind {
    /// A folder with `SKILL.md`.
    Skill,
    /// The settings of MCP servers, or what a server answers to `tools/list`.
    Mcp,
    /// A harness's plugin: commands, agents, skills, hooks and servers in one folder.
    Plugin,
    /// One tool's definition.
    Tool,
    /// Source code by itself.
    Code,
}

impl ScanKind {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skill => "skill",
            Self::Mcp => "mcp",
            Self::Plugin => "plugin",
            Self::Tool => "tool",
            Self::Code => "code",
        }
    }
}

/// One thing that a scan found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScanFinding {
    /// Stable rule id, for instance `skill.credentials-sent`.
    pub rule: String,
    /// What it is about: `injection`, `tool-poisoning`, `exfiltration`, `credential-access`, `command-execution`,
    /// `obfuscation`, `persistence`, `supply-chain`, `permissions`, `remote-code`, `binary`, `archive`, `secret`,
    /// `hidden-file`, `artifact`.
    pub category: String,
    /// How bad.
    pub severity: Severity,
    /// How sure the rule is, 0 to 100.
    pub confidence: u8,
    /// The file, relative to what was scanned; what lies in an archive as `archive.zip!/file`. Empty: the artifact as a whole.
    pub file: String,
    /// Its line, from 1; 0 where the finding is about the file as a whole.
    #[serde(default)]
    pub line: u32,
    /// One sentence for a person.
    pub message: String,
    /// What the rule saw, masked and cut.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence: String,
    /// What to do, as a sentence without its full stop.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// What all findings amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScanVerdict {
    /// The greatest severity.
    pub severity: Severity,
    /// How sure the surest finding of that severity is; 100 where there is none.
    pub confidence: u8,
}

/// Everything that a scan says of one artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScanReport {
    /// What was scanned.
    pub kind: ScanKind,
    /// Its name, as it says itself, else that of its folder or file.
    pub name: String,
    /// Its version, where it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The path that was scanned, as it was given.
    pub target: String,
    /// `sha256:` and 64 hex digits over the canonical manifest: what `artifact manifest` prints and lists name.
    pub digest: String,
    /// Files that were read, those in archives included.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was found, the worst first, then by file and line.
    pub findings: Vec<ScanFinding>,
    /// What that amounts to.
    pub verdict: ScanVerdict,
}

impl ScanVerdict {
    /// What `findings` amount to.
    pub fn of(findings: &[ScanFinding]) -> Self {
        let severity = findings.iter().map(|finding| finding.severity).max();
        let severity = severity.unwrap_or_default();
        let sure = findings
            .iter()
            .filter(|finding| finding.severity == severity && severity > Severity::None)
            .map(|finding| finding.confidence)
            .max();
        Self {
            severity,
            confidence: sure.unwrap_or(100),
        }
    }
}

impl From<&ScanReport> for ScannerVerdict {
    fn from(report: &ScanReport) -> Self {
        let findings = report.findings.iter();
        Self {
            severity: report.verdict.severity,
            // A finding is strings and numbers: it always has a form as JSON.
            findings: findings
                .filter_map(|finding| serde_json::to_value(finding).ok())
                .collect(),
            confidence: f64::from(report.verdict.confidence),
        }
    }
}

impl ScanKind {
    /// What it is to the admission policy; `None`: code by itself is not admitted.
    pub fn admitted_as(self) -> Option<ArtifactKind> {
        match self {
            Self::Skill => Some(ArtifactKind::Skill),
            Self::Mcp => Some(ArtifactKind::Mcp),
            Self::Plugin => Some(ArtifactKind::Plugin),
            Self::Tool => Some(ArtifactKind::Tool),
            Self::Code => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, confidence: u8) -> ScanFinding {
        ScanFinding {
            rule: "skill.x".to_owned(),
            category: "injection".to_owned(),
            severity,
            confidence,
            file: "SKILL.md".to_owned(),
            line: 3,
            message: "m".to_owned(),
            evidence: String::new(),
            remedy: String::new(),
        }
    }

    #[test]
    fn the_verdict_is_the_worst_and_as_sure_as_the_surest_of_it() {
        let verdict = ScanVerdict::of(&[
            finding(Severity::High, 60),
            finding(Severity::Low, 99),
            finding(Severity::High, 80),
        ]);
        assert_eq!((verdict.severity, verdict.confidence), (Severity::High, 80));
        let none = ScanVerdict::of(&[]);
        assert_eq!((none.severity, none.confidence), (Severity::None, 100));
    }

    #[test]
    fn names_on_the_wire_stay() {
        let value = serde_json::to_value(finding(Severity::High, 80)).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"rule": "skill.x", "category": "injection", "severity": "HIGH", "confidence": 80,
                "file": "SKILL.md", "line": 3, "message": "m"})
        );
        assert_eq!(serde_json::to_value(ScanKind::Mcp).unwrap(), "mcp");
    }

    #[test]
    fn admission_is_given_every_finding() {
        let findings = vec![finding(Severity::High, 80), finding(Severity::Low, 10)];
        let report = ScanReport {
            kind: ScanKind::Skill,
            name: "s".to_owned(),
            version: None,
            target: "s".to_owned(),
            digest: String::new(),
            files: 1,
            bytes: 1,
            verdict: ScanVerdict::of(&findings),
            findings,
        };
        let verdict = ScannerVerdict::from(&report);
        assert_eq!((verdict.severity, verdict.findings.len()), (Severity::High, 2));
        assert_eq!(
            (&verdict.findings[0]["rule"], verdict.confidence),
            (&"skill.x".into(), 80.0)
        );
        assert_eq!(report.kind.admitted_as().map(ArtifactKind::as_str), Some("skill"));
    }
}
