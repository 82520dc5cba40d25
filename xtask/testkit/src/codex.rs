//! The real client: Codex from npm, driven by a [`ModelServer`].

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
    name: "@openai/codex",
    version: "0.169.0",
    folder: "@openai/codex-linux-{arch}",
    program: "vendor/{triple}-unknown-linux-musl/bin/codex",
};
/// The version whose behaviour is known.
pub const VERSION: &str = PACKAGE.version;
/// A model that this version offers its patch tool to.
const MODEL: &str = "gpt-5.5";
/// The events that our contract takes and this version has.
const EVENTS: [&str; 7] = [
    "SessionStart",
    "UserPromptSubmit",
    "PreToolUse",
    "PermissionRequest",
    "PostToolUse",
    "Stop",
    "SessionEnd",
];

/// Finds the client below cargo's output folder, or installs it there.
pub fn ensure() -> Result<PathBuf> {
    PACKAGE.ensure(&target_folder().join("npm-codex"))
}

/// One session of the client.
#[derive(Debug)]
pub struct Codex<'a> {
    /// The program, from [`ensure`].
    pub program: &'a Path,
    /// Its home folder: settings and state go there.
    pub home: &'a Path,
    /// Where it works.
    pub cwd: &'a Path,
    /// The hook's command line, for every event; `None` leaves its hooks as they are.
    pub hook: Option<&'a str>,
    /// Added to its environment.
    pub environment: &'a [(&'a str, String)],
}

impl Codex<'_> {
    /// Runs a session with `prompt`, answered by `model`; returns the client's own account, one object for each line.
    pub fn run(&self, model: &ModelServer, prompt: &str) -> Result<Vec<Value>> {
        self.write_settings(model)?;
        let mut command = Command::new(self.program);
        command
            .args([
                "exec",
                "--skip-git-repo-check",
                "--json",
                "--dangerously-bypass-hook-trust",
                prompt,
            ])
            .current_dir(self.cwd)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home)
            .env("CODEX_HOME", self.home.join(".codex"))
            .env("LANG", "C.UTF-8")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        finish(child)
    }

    fn write_settings(&self, model: &ModelServer) -> Result<()> {
        let folder = self.home.join(".codex");
        fs::create_dir_all(&folder)?;
        let settings = format!(
            "model = \"{MODEL}\"\nmodel_provider = \"scripted\"\napproval_policy = \"never\"\n\
             sandbox_mode = \"danger-full-access\"\n\n[model_providers.scripted]\nname = \"scripted\"\n\
             base_url = \"{}/v1\"\nwire_api = \"responses\"\n",
            model.url()
        );
        fs::write(folder.join("config.toml"), settings)?;
        let Some(hook) = self.hook else { return Ok(()) };
        let hooks: serde_json::Map<String, Value> = EVENTS
            .iter()
            .map(|event| {
                let mut entry = json!({"hooks": [{"type": "command", "command": hook, "timeout": 30}]});
                if event.contains("Tool") || event.contains("Permission") {
                    entry["matcher"] = json!("*");
                }
                ((*event).to_owned(), json!([entry]))
            })
            .collect();
        fs::write(folder.join("hooks.json"), json!({ "hooks": hooks }).to_string())?;
        Ok(())
    }
}

/// Waits for the session's end.
fn finish(mut child: Child) -> Result<Vec<Value>> {
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let status = await_end(&mut child, "Codex")?;
    let (lines, errors) = (joined(stdout), joined(stderr));
    if !status.success() {
        bail!("Codex failed: {status}\n{lines:.4096}{errors}");
    }
    let told = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
    Ok(told.collect())
}
