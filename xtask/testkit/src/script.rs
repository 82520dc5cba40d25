//! What an agent is to do.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Script {
    /// What the person asks.
    pub prompt: String,
    /// What the model answers, turn after turn.
    pub turns: Vec<Turn>,
}

/// One answer of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Turn {
    /// Words.
    pub text: String,
    /// Tool calls.
    pub calls: Vec<Call>,
    /// Whether the scripted agent runs the calls side by side. (The real client decides that by itself: it does so with
    /// calls that it takes for read-only.)
    pub parallel: bool,
}

/// One tool call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Its id.
    pub id: String,
    /// The tool's name.
    pub tool: String,
    /// The tool's input, in Claude Code's form.
    pub input: Value,
    /// Whether the scripted agent asks its hook first. An agent that does not is one that went round its hook.
    #[serde(default = "yes")]
    pub hooked: bool,
}

fn yes() -> bool {
    true
}

impl Call {
    /// Runs a command line.
    pub fn bash(id: &str, command: &str) -> Self {
        Self::new(
            id,
            "Bash",
            json!({"command": command, "description": "a scripted command"}),
        )
    }

    /// Runs a command line without waiting for it.
    pub fn background(id: &str, command: &str) -> Self {
        let input =
            json!({"command": command, "description": "a scripted command", "run_in_background": true});
        Self::new(id, "Bash", input)
    }

    /// Writes a file.
    pub fn write(id: &str, path: &str, content: &str) -> Self {
        Self::new(id, "Write", json!({"file_path": path, "content": content}))
    }

    /// Reads a file.
    pub fn read(id: &str, path: &str) -> Self {
        Self::new(id, "Read", json!({"file_path": path}))
    }

    /// Any call.
    pub fn new(id: &str, tool: &str, input: Value) -> Self {
        Self {
            id: id.to_owned(),
            tool: tool.to_owned(),
            input,
            hooked: true,
        }
    }

    /// The same call, run without asking the hook.
    #[must_use]
    pub fn unhooked(mut self) -> Self {
        self.hooked = false;
        self
    }
}

impl Turn {
    /// One call.
    pub fn one(call: Call) -> Self {
        Self {
            calls: vec![call],
            ..Self::default()
        }
    }

    /// Several calls, one after the other.
    pub fn serial(calls: Vec<Call>) -> Self {
        Self {
            calls,
            ..Self::default()
        }
    }

    /// Several calls side by side.
    pub fn parallel(calls: Vec<Call>) -> Self {
        Self {
            calls,
            parallel: true,
            ..Self::default()
        }
    }

    /// Words only: the end of the agent's turn.
    pub fn text(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            ..Self::default()
        }
    }
}
