//! Everything that is looked for, behind one type.

use std::path::Path;

use defenseclaw_model::call::ToolCall;
use defenseclaw_model::decision::Finding;
use defenseclaw_model::facts::Facts;

/// Where a text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Surface {
    /// A person, or whoever writes in a person's place, to the agent.
    Prompt,
    /// The agent to the person.
    Completion,
    /// A tool to the agent: a command's output, a page, a file's content.
    ToolResult,
    /// The agent into a tool: a command line, a file's new content, an argument.
    ToolInput,
}

/// The rule packs, ready to be asked from any thread.
#[derive(Debug, Clone)]
pub struct Detector {}

/// Why a rule pack was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// A pack cannot be read.
    #[error("the rule pack {file} cannot be read: {why}")]
    Read {
        /// Its file.
        file: String,
        /// What the system says.
        why: String,
    },
    /// A pack is not valid.
    #[error("the rule pack {file} is not valid: {why}")]
    Invalid {
        /// Its file.
        file: String,
        /// The rule, the line where it is known, and what to do.
        why: String,
    },
}

impl Detector {
    /// The packs that this program was built with.
    pub fn embedded() -> Result<Self, PackError> {
        Ok(Self {})
    }

    /// The packs in `dir` (`*.yaml`), instead of those built in.
    pub fn from_dir(_dir: &Path) -> Result<Self, PackError> {
        Ok(Self {})
    }

    /// The first 12 hex digits of the SHA-256 over the packs.
    pub fn revision(&self) -> &str {
        ""
    }

    /// What is to be said of a tool call: of its facts, and of the texts in its input.
    pub fn call(&self, _call: &ToolCall, _facts: &Facts) -> Vec<Finding> {
        Vec::new()
    }

    /// What is to be said of a text.
    pub fn text(&self, _surface: Surface, _text: &str) -> Vec<Finding> {
        Vec::new()
    }
}
