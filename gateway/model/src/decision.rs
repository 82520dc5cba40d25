//! Verdicts, severities, findings and decisions.

use serde::{Deserialize, Serialize};

use crate::ids::{CallId, SessionId};
use crate::sandbox::Sandbox;

/// What happens to a tool call. Ordered: the stricter verdict is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Everything is evaluated and recorded, nothing is refused.
    #[default]
    Observe,
    /// Decisions are enforced.
    Action,
    /// Decisions are enforced, and what would be refused is put before a person where the policy allows that.
    Hitl,
}

impl Mode {
    /// Whether a verdict takes effect.
    pub fn enforces(self) -> bool {
        self != Self::Observe
    }

    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Action => "action",
            Self::Hitl => "hitl",
        }
    }
}

/// One thing that a rule found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// Stable rule id, for instance `effect.undeclared-credential-read`.
    pub rule: String,
    /// Rule category, for instance `secret`, `command`, `sensitive-path`, `attribution`.
    pub category: String,
    /// How bad.
    pub severity: Severity,
    /// One sentence for a person.
    pub message: String,
    /// What to do instead, as a sentence without its full stop. Empty where there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// What the rule saw, masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// How sure the rule is, 0 to 100.
    pub confidence: u8,
}

/// What the policy says of one tool call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Decision {
    /// What the policy wants.
    pub verdict: Verdict,
    /// The greatest severity among the findings.
    pub severity: Severity,
    /// One sentence for the person and the model: what was refused and why.
    pub reason: String,
    /// What the rules found.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// The rule that decided: a finding's rule, or the policy's own name for what it did (`list.block`, `exception`, `risk`).
    #[serde(default)]
    pub rule: String,
    /// Where in the policy the deciding clause stands: `decision.rego:42`. Empty if the policy does not say.
    #[serde(default)]
    pub line: String,
    /// The input that the call is to run with instead, where the policy changed it.
    #[serde(default)]
    pub updated_input: Option<serde_json::Value>,
    /// The room that the call runs in, where it has one.
    #[serde(default)]
    pub sandbox: Option<Sandbox>,
    /// Which policy decided: the first 12 hex digits of the SHA-256 over the policy's modules and data.
    pub policy: String,
    /// Whether the verdict was given to the harness (`action` and `hitl` mode), or only noted (`observe` mode).
    pub enforced: bool,
}

/// As it is written: with what `observe` mode let pass, for whoever reads records without knowing the rule for it.
impl Serialize for Decision {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            verdict: Verdict,
            severity: Severity,
            reason: &'a str,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            findings: &'a [Finding],
            #[serde(skip_serializing_if = "str::is_empty")]
            rule: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            line: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            updated_input: Option<&'a serde_json::Value>,
            #[serde(skip_serializing_if = "Option::is_none")]
            sandbox: Option<&'a Sandbox>,
            policy: &'a str,
            enforced: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            would_block: Option<bool>,
        }
        Written {
            verdict: self.verdict,
            severity: self.severity,
            reason: &self.reason,
            findings: &self.findings,
            rule: &self.rule,
            line: &self.line,
            updated_input: self.updated_input.as_ref(),
            sandbox: self.sandbox.as_ref(),
            policy: &self.policy,
            enforced: self.enforced,
            would_block: (!self.enforced).then(|| self.would_block()),
        }
        .serialize(serializer)
    }
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

/// What a session did so far, as far as it bears on its next call.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Posture {
    /// Risk that built up over the session's findings, and decays with time. 0 is none; `policies/rego/data.json` says what
    /// a finding adds and from where on the sum matters.
    pub risk: f64,
    /// What the session took in or did, as stable words: `secret-read` (a call read a secret), `untrusted-text` (a tool's
    /// result or a prompt carried an injection), `denied` (a call was refused).
    pub taints: Vec<String>,
    /// Calls that were refused.
    pub denied: u64,
}

/// A finding together with what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FindingAbout {
    /// The session.
    pub session: SessionId,
    /// The call, where one is known.
    pub call: Option<CallId>,
    /// The finding.
    pub finding: Finding,
}
