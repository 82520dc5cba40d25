//! Where in a JSON value something stands.

use serde::Deserialize;
use serde_json::Value;

/// Most steps of a selector: harnesses nest their fields three deep at most.
const MAX_STEPS: usize = 8;
/// Most values that one selector gives. Each becomes a path or an address; a tool that names more than this in one call
/// is cut, and its input is still looked at as a whole by those who read it.
const MAX_VALUES: usize = 4096;

/// Names joined by dots, each of which may end in `[]` for "each element of": `tool_info.edits[].path`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Selector {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Each,
}

/// Why a selector was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} selects nothing: use field names joined by dots, `[]` behind a name for each element, {MAX_STEPS} steps at most"
)]
pub struct SelectorError {
    text: String,
}

impl Selector {
    /// Reads a selector.
    pub fn new(text: &str) -> Result<Self, SelectorError> {
        let refuse = || SelectorError {
            text: text.to_owned(),
        };
        let mut steps = Vec::new();
        for part in text.split('.') {
            let (name, each) = match part.strip_suffix("[]") {
                Some(name) => (name, true),
                None => (part, false),
            };
            if name.is_empty() || name.contains(['[', ']', ' ']) {
                return Err(refuse());
            }
            steps.push(Step::Field(name.to_owned()));
            if each {
                steps.push(Step::Each);
            }
        }
        if steps.len() > MAX_STEPS {
            return Err(refuse());
        }
        Ok(Self {
            text: text.to_owned(),
            steps,
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The field of the outermost object that it starts with.
    pub fn root(&self) -> &str {
        match self.steps.first() {
            Some(Step::Field(name)) => name,
            _ => "",
        }
    }

    /// The first value there. `null` counts as nothing.
    pub fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        first(&self.steps, value)
    }

    /// Every value there, in order; `null` counts as nothing.
    pub fn all<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = Vec::new();
        all(&self.steps, value, &mut found);
        found
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;
    fn try_from(text: String) -> Result<Self, SelectorError> {
        Self::new(&text)
    }
}

fn first<'v>(steps: &[Step], value: &'v Value) -> Option<&'v Value> {
    match steps.split_first() {
        None => (!value.is_null()).then_some(value),
        Some((Step::Field(name), rest)) => first(rest, value.get(name)?),
        Some((Step::Each, rest)) => value.as_array()?.iter().find_map(|element| first(rest, element)),
    }
}

fn all<'v>(steps: &[Step], value: &'v Value, found: &mut Vec<&'v Value>) {
    if found.len() >= MAX_VALUES {
        return;
    }
    match steps.split_first() {
        None if value.is_null() => {}
        None => found.push(value),
        Some((Step::Field(name), rest)) => {
            if let Some(value) = value.get(name) {
                all(rest, value, found);
            }
        }
        Some((Step::Each, rest)) => {
            for element in value.as_array().into_iter().flatten() {
                all(rest, element, found);
            }
        }
    }
}
