//! What stands in texts: secrets, personal data, instructions that want to steer the agent.
//!
//! The rules are data: packs with `kind: text` in `policies/rules/`, each rule with its tests beside it.

use defenseclaw_model::decision::Finding;

use crate::detector::{PackError, Surface};

/// The text packs, ready to be asked from any thread.
#[derive(Debug)]
pub struct TextRules {}

/// What came of the tests that stand beside the rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextReport {
    /// Rules.
    pub rules: usize,
    /// Tests that ran.
    pub tests: usize,
    /// The tests that failed, as sentences that name rule and test.
    pub failures: Vec<String>,
}

/// The text packs that this program was built with: file name and YAML.
pub const EMBEDDED: &[(&str, &str)] = &[];

impl TextRules {
    /// Compiles packs, given as file name and YAML text. Only packs with `kind: text` are to be given.
    pub fn load(_packs: &[(&str, &str)]) -> Result<Self, PackError> {
        Ok(Self {})
    }

    /// What is to be said of `text`.
    pub fn find(&self, _surface: Surface, _text: &str) -> Vec<Finding> {
        Vec::new()
    }

    /// Runs the tests that stand beside the rules.
    pub fn test(&self) -> TextReport {
        TextReport::default()
    }
}
