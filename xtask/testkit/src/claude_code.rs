//! The real client: Claude Code from npm, driven by a [`ModelServer`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::model_server::ModelServer;
use crate::npm::Package;
use crate::output::{await_end, collect, joined};
use crate::stack::target_folder;

const PACKAGE: Package = Package {
    name: "@anthropic-ai/claude-code",
    version: "2.1.197",
    folder: "@anthropic-ai/claude-code-linux-{arch}",
    program: "claude",
};
/// The version whose behaviour is known.
pub const VERSION: &str = PACKAGE.version;
/// The events that our connector takes.
const EVENTS: [&str; 7] = [
    "SessionStart",
    "UserPromptSubmit",
    "PreToolUse",
    "PostToolUse",
    "PostToolUseFailure",
    "Stop",
    "SessionEnd",
];

/// Finds the client below cargo's output folder, or installs it there.
pub fn ensure() -> Result<PathBuf> {
    ensure_in(&target_folder().join("npm"))
}

/// The same in a given folder.
pub fn ensure_in(folder: &Path) -> Result<PathBuf> {
    PACKAGE.ensure(folder)
}

/// One session of the client.
#[derive(Debug)]
pub struct ClaudeCode<'a> {
    /// The program, from [`ensure`].
    pub program: &'a Path,
    /// Its home folder: settings and state go there.
    pub home: &'a Path,
    /// Where it works.
    pub cwd: &'a Path,
    /// The hook's command line, for every event; `None` leaves its settings as they are.
    pub hook: Option<&'a str>,
    /// Added to its environment.
    pub environment: &'a [(&'a str, String)],
}

/// A session that is running.
#[derive(Debug)]
pub struct Running(Child);

impl ClaudeCode<'_> {
    /// Starts a session with `prompt`, answered by `model`.
    pub fn start(&self, model: &ModelServer, prompt: &str) -> Result<Running> {
        if let Some(hook) = self.hook {
            self.write_settings(hook)?;
        }
        let mut command = Command::new(self.program);
        command
            .args(["-p", prompt, "--output-format", "json", "--dangerously-skip-permissions"])
            .current_dir(self.cwd)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home)
            .env("LANG", "C.UTF-8")
            // The client refuses to skip its permissions as root unless it is told that it is shut in.
            .env("IS_SANDBOX", "1")
            .env("ANTHROPIC_BASE_URL", model.url())
            .env("ANTHROPIC_API_KEY", "none")
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(Running(command.spawn().with_context(|| {
            format!("cannot start {}", self.program.display())
        })?))
    }

    /// Hooks for every event, as `settings.json` holds them.
    fn write_settings(&self, hook: &str) -> Result<()> {
        let hooks: serde_json::Map<String, Value> = EVENTS
            .iter()
            .map(|event| {
                let mut entry = json!({"hooks": [{"type": "command", "command": hook, "timeout": 30}]});
                if event.contains("Tool") {
                    entry["matcher"] = json!("*");
                }
                ((*event).to_owned(), json!([entry]))
            })
            .collect();
        let folder = self.home.join(".claude");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("settings.json"), json!({"hooks": hooks}).to_string())?;
        Ok(())
    }
}

impl Running {
    /// The harness process.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for the session's end and returns the client's own result object.
    pub fn finish(self) -> Result<Value> {
        let text = self.end()?;
        serde_json::from_str(text.trim())
            .with_context(|| format!("Claude Code's result is not as expected: {text:.4096}"))
    }

    /// Waits for the session's end and returns what the client printed. It cuts a result of many megabytes short.
    pub fn end(mut self) -> Result<String> {
        let (stdout, stderr) = (collect(self.0.stdout.take()), collect(self.0.stderr.take()));
        let status = await_end(&mut self.0, "Claude Code")?;
        let (text, errors) = (joined(stdout), joined(stderr));
        if !status.success() {
            bail!("Claude Code failed: {status}\n{text}{errors}");
        }
        Ok(text)
    }
}
