//! The real client: Claude Code from npm, driven by a [`ModelServer`].

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::model_server::ModelServer;
use crate::stack::target_folder;

/// The version whose behaviour is known.
pub const VERSION: &str = "2.1.197";
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
/// How long one session may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// Finds the client below cargo's output folder, or installs it there.
pub fn ensure() -> Result<PathBuf> {
    ensure_in(&target_folder().join("npm"))
}

/// The same in a given folder.
pub fn ensure_in(folder: &Path) -> Result<PathBuf> {
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x64"
    };
    let package = folder.join(format!(
        "node_modules/@anthropic-ai/claude-code-linux-{architecture}"
    ));
    let program = package.join("claude");
    let manifest = fs::read_to_string(package.join("package.json")).unwrap_or_default();
    if program.is_file() && manifest.contains(&format!("\"version\": \"{VERSION}\"")) {
        return Ok(program);
    }
    fs::create_dir_all(folder)?;
    let what = format!("@anthropic-ai/claude-code@{VERSION}");
    // Not by a macro: a test's own output is kept back, and this has to be said beforehand.
    writeln!(
        std::io::stderr(),
        "npm install {what}    # the real client, into {}",
        folder.display()
    )?;
    let output = Command::new("npm")
        .args([
            "install",
            "--no-save",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--prefix",
        ])
        .arg(folder)
        .arg(&what)
        .output()
        .context("cannot start npm")?;
    if !output.status.success() || !program.is_file() {
        bail!(
            "npm did not install it: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(program)
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
    /// The hook's command line.
    pub hook: &'a str,
    /// Added to its environment.
    pub environment: &'a [(&'a str, String)],
}

/// A session that is running.
#[derive(Debug)]
pub struct Running(Child);

impl ClaudeCode<'_> {
    /// Starts a session with `prompt`, answered by `model`.
    pub fn start(&self, model: &ModelServer, prompt: &str) -> Result<Running> {
        self.write_settings()?;
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
    fn write_settings(&self) -> Result<()> {
        let hooks: serde_json::Map<String, Value> = EVENTS
            .iter()
            .map(|event| {
                let mut entry = json!({"hooks": [{"type": "command", "command": self.hook, "timeout": 30}]});
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
    pub fn finish(mut self) -> Result<Value> {
        let deadline = Instant::now() + DEADLINE;
        // Its output is one line at the end: no pipe fills up while we wait.
        while self.0.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.0.kill()?;
                bail!("Claude Code did not end within {} s", DEADLINE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = self.0.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!(
                "Claude Code failed: {}\n{text}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        serde_json::from_str(text.trim())
            .with_context(|| format!("Claude Code's result is not as expected: {text}"))
    }
}
