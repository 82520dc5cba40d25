//! Verdicts, severities, findings and decisions.

use serde::{Deserialize, Serialize};

use crate::ids::{CallId, SessionId};

/// What happens to a tool call. Ordered: the stricter verdict is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No objection.
    Allow,
    /// A person decides.
    Ask,
    /// Refused.
    Deny,
}

impl Verdict {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// Nothing.
    #[default]
    None,
    /// Worth a note.
    Low,
    /// Worth a look.
    Medium,
    /// Wants an answer today.
    High,
    /// Wants an answer now.
    Critical,
}

impl Severity {
    /// The stable upper-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
            Self::Critical => "CRITICAL",
        }
    }
}

impl std::str::FromStr for Severity {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::None, Self::Low, Self::Medium, Self::High, Self::Critical]
            .into_iter()
            .find(|s| s.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("{text:?} is no severity: use NONE, LOW, MEDIUM, HIGH or CRITICAL"))
    }
}

/// Whether decisions take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Everything is evaluated and recorded, nothing is refused.
    #[default]
    Observe,
    /// Decisions are enforced.
    Action,
}

/// One thing that a rule found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable rule id, for instance `effect.undeclared-credential-read`.
    pub rule: String,
    /// Rule category, for instance `secret`, `command`, `sensitive-path`, `attribution`.
    pub category: String,
    /// How bad.
    pub severity: Severity,
    /// One sentence for a person.
    pub message: String,
    /// What the rule saw, masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// How sure the rule is, 0 to 100.
    pub confidence: u8,
}

/// What the policy says of one tool call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What the policy wants.
    pub verdict: Verdict,
    /// The greatest severity among the findings.
    pub severity: Severity,
    /// One sentence for the person and the model: what was refused and why.
    pub reason: String,
    /// What the rules found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Which policy decided: the first 12 hex digits of the SHA-256 over the policy's modules and data.
    pub policy: String,
    /// Whether the verdict was given to the harness (`action` mode), or only noted (`observe` mode).
    pub enforced: bool,
}

impl Decision {
    /// The verdict that the harness is told: in `observe` mode nothing is refused.
    pub fn effective(&self) -> Verdict {
        if self.enforced {
            self.verdict
        } else {
            Verdict::Allow
        }
    }

    /// Whether `observe` mode let something pass that `action` mode would not have.
    pub fn would_block(&self) -> bool {
        !self.enforced && self.verdict != Verdict::Allow
    }
}

/// A finding together with what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingAbout {
    /// The session.
    pub session: SessionId,
    /// The call, where one is known.
    pub call: Option<CallId>,
    /// The finding.
    pub finding: Finding,
}
