//! How a command gets into a sandbox: what is put before it, and how that is taken off again.
//!
//! The wrapped command is one simple command. Where the harness starts a shell for each call, that shell becomes the launcher,
//! and the launcher the shell that runs the original: no process is added, and exit status, signals, standard input and terminal
//! are the same. Where its shell goes on from call to call, the launcher is that shell's child.

use std::path::Path;

use defenseclaw_model::call::ToolCall;
use defenseclaw_model::ids::CallId;
use defenseclaw_model::sandbox::{LAUNCHER, SandboxRoute, is_profile_name};
use serde_json::Value;

use super::Contract;

/// Lets the shell become the launcher.
const EXEC: &str = "exec ";
/// Names the shell that reads the wrapped command itself, so that the original is read by the one that would have read it.
const SAME_SHELL: &str = r#"-- "${BASH:-${ZSH_ARGZERO:-/bin/sh}}" -c "#;
/// Name and arguments of that shell, as the original would have had them.
const SAME_ARGUMENTS: &str = r#" "$0" "$@""#;
/// The kernel executes no longer argument (`MAX_ARG_STRLEN`, with its final zero).
const MAX_ARGUMENT: usize = 128 * 1024 - 1;

/// How a harness's calls get into a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rooms {
    pub(super) routes: Vec<SandboxRoute>,
    pub(super) tools: Vec<String>,
    pub(super) field: String,
    pub(super) exec: bool,
}

/// What a command is wrapped with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrapping<'a> {
    /// The launcher's path.
    pub launcher: &'a Path,
    /// The profile's name.
    pub profile: &'a str,
    /// The folder that the session was started in.
    pub project: Option<&'a str>,
    /// Whether the harness's shell may become the launcher.
    pub exec: bool,
}

/// A command that is wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// The profile's name.
    pub profile: String,
    /// The call for which it was wrapped.
    pub call: String,
    /// The command before.
    pub command: String,
}

impl Rooms {
    /// The ways that there are for this harness, the best first.
    pub fn routes(&self) -> &[SandboxRoute] {
        &self.routes
    }

    /// Whether a tool's commands can be put into a sandbox one by one.
    pub fn takes(&self, tool: &str) -> bool {
        self.tools.iter().any(|name| name == tool)
    }

    /// Whether the shell that runs a command is there for that command only.
    pub fn exec(&self) -> bool {
        self.exec
    }

    /// The command that stands in a tool's input.
    pub fn command<'v>(&self, input: &'v Value) -> Option<&'v str> {
        input.get(&self.field)?.as_str()
    }

    /// The input with another command, and everything else as it is.
    pub fn with_command(&self, input: &Value, command: String) -> Option<Value> {
        let mut input = input.clone();
        *input.get_mut(&self.field)? = Value::String(command);
        Some(input)
    }

    /// The input of a call with its command wrapped. `None`: there is no command in it, or none that can be wrapped.
    pub fn wrapped(&self, call: &ToolCall, wrapping: Wrapping<'_>) -> Option<Value> {
        let command = self.command(&call.input)?;
        self.with_command(&call.input, wrap(command, &call.call, wrapping)?)
    }
}

impl Contract {
    /// How this harness's calls get into a sandbox.
    pub fn rooms(&self) -> &Rooms {
        &self.rooms
    }
}

/// Puts the launcher before a command. `None`: the launcher's path is no text, or the result is longer than can be executed.
pub fn wrap(command: &str, call: &CallId, wrapping: Wrapping<'_>) -> Option<String> {
    let launcher = wrapping.launcher.to_str()?;
    let mut text = String::with_capacity(command.len() + 256);
    if wrapping.exec {
        text.push_str(EXEC);
    }
    quote(&mut text, launcher);
    text.push_str(" run --profile ");
    text.push_str(wrapping.profile);
    if let Some(project) = wrapping.project {
        text.push_str(" --project ");
        quote(&mut text, project);
    }
    text.push_str(" --call ");
    quote(&mut text, call.as_str());
    text.push(' ');
    text.push_str(SAME_SHELL);
    quote(&mut text, command);
    text.push_str(SAME_ARGUMENTS);
    (text.len() <= MAX_ARGUMENT && !text.contains('\0')).then_some(text)
}

/// Takes apart what has the form of a wrapped command. Anybody can write one: whoever relies on it wraps the command again and
/// compares.
pub fn unwrap(text: &str) -> Option<Wrapped> {
    let rest = text.strip_suffix(SAME_ARGUMENTS)?;
    let (launcher, rest) = unquote(rest.strip_prefix(EXEC).unwrap_or(rest))?;
    if launcher.rsplit('/').next() != Some(LAUNCHER) {
        return None;
    }
    let rest = rest.strip_prefix(" run --profile ")?;
    let (profile, mut rest) = rest.split_once(' ')?;
    if let Some(project) = rest.strip_prefix("--project ") {
        rest = unquote(project)?.1.strip_prefix(' ')?;
    }
    let (call, rest) = unquote(rest.strip_prefix("--call ")?)?;
    let rest = rest.strip_prefix(' ')?.strip_prefix(SAME_SHELL)?;
    let (command, rest) = unquote(rest)?;
    (rest.is_empty() && is_profile_name(profile)).then(|| Wrapped {
        profile: profile.to_owned(),
        call,
        command,
    })
}

/// Adds `text` as one word for a shell.
fn quote(filled: &mut String, text: &str) {
    filled.push('\'');
    for (at, part) in text.split('\'').enumerate() {
        if at > 0 {
            filled.push_str(r"'\''");
        }
        filled.push_str(part);
    }
    filled.push('\'');
}

/// Reads a word as [`quote`] writes it; gives what follows.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut word = String::new();
    let mut rest = text.strip_prefix('\'')?;
    loop {
        let (part, behind) = rest.split_once('\'')?;
        word.push_str(part);
        match behind.strip_prefix(r"\''") {
            Some(more) => {
                word.push('\'');
                rest = more;
            }
            None => return Some((word, behind)),
        }
    }
}

#[cfg(test)]
mod tests;
