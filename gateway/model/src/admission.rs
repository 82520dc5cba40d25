//! Whether an artifact may be used: the question to the admission policy, and its answer.

use serde::{Deserialize, Serialize};

use crate::decision::Severity;

/// What the install gate admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// A folder with SKILL.md, or that file alone.
    Skill,
    /// An MCP server: its launch command, package and tools.
    Mcp,
    /// An extension of an agent product.
    Plugin,
    /// A single tool.
    Tool,
}

impl ArtifactKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Skill, Self::Mcp, Self::Plugin, Self::Tool];

    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skill => "skill",
            Self::Mcp => "mcp",
            Self::Plugin => "plugin",
            Self::Tool => "tool",
        }
    }
}

impl std::fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for ArtifactKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no kind of artifact: use skill, mcp, plugin or tool"))
    }
}

/// An artifact to admit or not. As JSON it is the `input` of `data.admission.decision`; `digest` and `now_ns` are for the
/// operator's lists, and left out where they are not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AdmissionInput {
    /// What it is.
    pub kind: ArtifactKind,
    /// Its name, as whoever installs it writes it: that of its place, never one that it claims.
    pub name: String,
    /// Its version; `None` where it has none.
    #[serde(default)]
    pub version: Option<String>,
    /// What the scan came to.
    pub scanner_verdict: ScannerVerdict,
    /// Who stands behind it.
    #[serde(default)]
    pub trust: Trust,
    /// The SHA-256 of its content (`sha256:` and 64 hex digits): which list entries are about these very bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The time of the question, ns since the Unix epoch. Without it no list entry that ends loosens anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now_ns: Option<u64>,
}

impl AdmissionInput {
    /// The same artifact, had nothing been found in it: what is refused even then is on a list.
    #[must_use]
    pub fn without_findings(&self) -> Self {
        Self {
            scanner_verdict: ScannerVerdict {
                severity: Severity::None,
                findings: Vec::new(),
                confidence: 100.0,
            },
            ..self.clone()
        }
    }
}

/// What a scan came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScannerVerdict {
    /// The greatest severity among the findings.
    pub severity: Severity,
    /// Texts, or objects with `rule` and `severity`. A worse severity of a finding counts, whatever the verdict says.
    #[serde(default)]
    pub findings: Vec<serde_json::Value>,
    /// How sure the scanner is, 0 to 100. The built-in policy does not weigh it.
    pub confidence: f64,
}

/// Who stands behind an artifact. What is `None` was not verified or is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Trust {
    /// The id of the signer whose signature over the artifact was verified. Never what the artifact says of itself.
    pub signed_by: Option<String>,
    /// Where it was fetched from, as the gate saw it: a registry, a repository, a folder.
    pub origin: Option<String>,
}

/// What becomes of an artifact. Ordered: the stricter action is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AdmissionAction {
    /// It may be used.
    Allow,
    /// It may be used, and a person is told.
    Warn,
    /// It may not be used.
    Block,
}

impl AdmissionAction {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Warn => "warn",
            Self::Block => "block",
        }
    }
}

/// The policy's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Admission {
    /// What becomes of the artifact.
    pub action: AdmissionAction,
    /// Why, for a person.
    pub reason: String,
    /// Which policy decided: its revision.
    pub policy: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_json_is_the_contract_s() {
        let input = AdmissionInput {
            kind: ArtifactKind::Mcp,
            name: "files".to_owned(),
            version: Some("1.0".to_owned()),
            scanner_verdict: ScannerVerdict {
                severity: Severity::Medium,
                findings: vec![json!("text"), json!({"rule": "a.b", "severity": "MEDIUM"})],
                confidence: 90.0,
            },
            trust: Trust {
                signed_by: Some("acme".to_owned()),
                origin: None,
            },
            digest: None,
            now_ns: None,
        };
        let json = json!({
            "kind": "mcp",
            "name": "files",
            "version": "1.0",
            "scanner_verdict": {
                "severity": "MEDIUM",
                "findings": ["text", {"rule": "a.b", "severity": "MEDIUM"}],
                "confidence": 90.0,
            },
            "trust": {"signed_by": "acme", "origin": null},
        });
        assert_eq!(serde_json::to_value(&input).unwrap(), json);
        assert_eq!(serde_json::from_value::<AdmissionInput>(json).unwrap(), input);
    }

    #[test]
    fn kinds_are_known_by_their_exact_names() {
        for kind in ArtifactKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("Skill".parse::<ArtifactKind>().unwrap_err().contains("mcp"));
        assert!(AdmissionAction::Allow < AdmissionAction::Warn);
        assert!(AdmissionAction::Warn < AdmissionAction::Block);
    }
}
