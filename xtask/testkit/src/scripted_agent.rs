//! A small agent that speaks Claude Code's hook protocol and really runs the tools.
//!
//! It runs as a process of its own (the program `scripted-agent`), because what it does must come from a process tree
//! that is bound to its session. Shapes were taken from Claude Code 2.1.197: hooks run through `/bin/sh -c` in a session
//! of their own, commands through `/bin/bash -c "… eval 'COMMAND' …"`, files are written beside their target and renamed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, setsid};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::script::{Call, Script, Turn};

/// What became of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The harness's session id.
    pub session: String,
    /// What became of each call, by call id.
    pub calls: BTreeMap<String, CallReport>,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallReport {
    /// Whether it ran.
    pub outcome: Outcome,
    /// Its output, or why it did not run.
    pub text: String,
}

/// Whether a call ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It ran and ended well, or goes on in the background.
    Ran,
    /// It ran and failed.
    Failed,
    /// The hook refused it.
    Denied,
    /// The hook wanted a person to decide, and there is none.
    Asked,
}

/// A scripted agent that is running.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts a session in `cwd`. `environment` is added to the caller's own.
    pub fn start(script: &Script, hook: &str, cwd: &Path, environment: &[(&str, String)]) -> Result<Self> {
        let mut command = Command::new(crate::helper("scripted-agent")?);
        command
            .arg(hook)
            .current_dir(cwd)
            .envs(environment.iter().map(|(name, value)| (name, value)));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start scripted-agent")?;
        let mut stdin = child.stdin.take().context("no pipe to scripted-agent")?;
        stdin.write_all(&serde_json::to_vec(script)?)?;
        Ok(Self(child))
    }

    /// The harness process.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for the session's end.
    pub fn finish(self) -> Result<Report> {
        let output = self.0.wait_with_output()?;
        if !output.status.success() {
            bail!("scripted-agent failed: {}", output.status);
        }
        serde_json::from_slice(&output.stdout).context("scripted-agent's report is not as expected")
    }
}

/// The program's own part: plays `script` with `hook` in the current folder.
pub fn play(script: &Script, hook: &str) -> Result<Report> {
    let mut uuid = String::new();
    File::open("/proc/sys/kernel/random/uuid")?.read_to_string(&mut uuid)?;
    let session = Session {
        id: uuid.trim().to_owned(),
        hook: hook.to_owned(),
        cwd: std::env::current_dir().context("no current folder")?,
    };
    session.event(json!({"hook_event_name": "SessionStart", "source": "startup"}))?;
    let reply = session.event(json!({"hook_event_name": "UserPromptSubmit", "prompt": script.prompt}))?;
    let mut calls = BTreeMap::new();
    let mut background = Vec::new();
    if !reply.blocked() {
        for turn in &script.turns {
            session.turn(turn, &mut calls, &mut background)?;
        }
    }
    session.event(json!({"hook_event_name": "Stop", "stop_hook_active": false}))?;
    for mut child in background {
        // As Claude Code does at its end: the whole group of each background command is told to stop.
        if child.try_wait()?.is_none() {
            killpg(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM).ok();
            child.wait()?;
        }
    }
    session.event(json!({"hook_event_name": "SessionEnd", "reason": "other"}))?;
    Ok(Report {
        session: session.id,
        calls,
    })
}

struct Session {
    id: String,
    hook: String,
    cwd: PathBuf,
}

/// What a hook said.
struct Reply {
    output: Output,
    answer: Value,
}

impl Reply {
    /// Exit status 2 refuses, and so does `"decision": "block"`.
    fn blocked(&self) -> bool {
        self.output.status.code() == Some(2) || self.answer["decision"] == "block"
    }

    /// Whether the hook lets a call run, and its reason if it does not.
    fn verdict(&self) -> Option<(Outcome, String)> {
        if self.output.status.code() == Some(2) {
            return Some((
                Outcome::Denied,
                String::from_utf8_lossy(&self.output.stderr).trim().to_owned(),
            ));
        }
        let specific = &self.answer["hookSpecificOutput"];
        let reason = specific["permissionDecisionReason"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        match specific["permissionDecision"].as_str() {
            Some("deny") => Some((Outcome::Denied, reason)),
            Some("ask") => Some((Outcome::Asked, reason)),
            _ => None,
        }
    }
}

impl Session {
    /// Reports one event to the hook and waits for its answer.
    fn event(&self, fields: Value) -> Result<Reply> {
        let mut payload = json!({"session_id": self.id, "transcript_path": "", "cwd": self.cwd});
        if let (Some(payload), Some(fields)) = (payload.as_object_mut(), fields.as_object()) {
            payload.extend(fields.clone());
        }
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &self.hook])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = own_session(&mut command).spawn().context("cannot run the hook")?;
        let mut stdin = child.stdin.take().context("no pipe to the hook")?;
        // A hook that ends without reading has answered all the same.
        stdin.write_all(payload.to_string().as_bytes()).ok();
        drop(stdin);
        let output = child.wait_with_output()?;
        let answer = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok(Reply { output, answer })
    }

    fn turn(
        &self,
        turn: &Turn,
        reports: &mut BTreeMap<String, CallReport>,
        background: &mut Vec<Child>,
    ) -> Result<()> {
        if !turn.parallel {
            for call in &turn.calls {
                let (report, child) = self.call(call)?;
                reports.insert(call.id.clone(), report);
                background.extend(child);
            }
            return Ok(());
        }
        std::thread::scope(|scope| {
            let running: Vec<_> = turn
                .calls
                .iter()
                .map(|call| (call, scope.spawn(move || self.call(call))))
                .collect();
            for (call, thread) in running {
                let (report, child) = thread
                    .join()
                    .unwrap_or_else(|_| bail!("the thread of call {} panicked", call.id))?;
                reports.insert(call.id.clone(), report);
                background.extend(child);
            }
            Ok(())
        })
    }

    /// Asks, runs, reports.
    fn call(&self, call: &Call) -> Result<(CallReport, Option<Child>)> {
        let described = |event: &str| {
            json!({
                "hook_event_name": event, "permission_mode": "bypassPermissions", "tool_name": call.tool,
                "tool_input": call.input, "tool_use_id": call.id,
            })
        };
        let mut input = call.input.clone();
        if call.hooked {
            let reply = self.event(described("PreToolUse"))?;
            if let Some((outcome, text)) = reply.verdict() {
                return Ok((CallReport { outcome, text }, None));
            }
            let updated = &reply.answer["hookSpecificOutput"]["updatedInput"];
            if updated.is_object() {
                input = updated.clone();
            }
        }
        let (result, child) = match self.run(&call.tool, &input) {
            Ok((text, child)) => (Ok(text), child),
            Err(error) => (Err(format!("{error:#}")), None),
        };
        if call.hooked {
            let mut event = described(if result.is_ok() {
                "PostToolUse"
            } else {
                "PostToolUseFailure"
            });
            match &result {
                Ok(text) => {
                    event["tool_response"] = json!({"stdout": text, "stderr": "", "interrupted": false})
                }
                Err(error) => event["error"] = json!(error),
            }
            self.event(event)?;
        }
        let outcome = if result.is_ok() {
            Outcome::Ran
        } else {
            Outcome::Failed
        };
        Ok((
            CallReport {
                outcome,
                text: result.unwrap_or_else(|error| error),
            },
            child,
        ))
    }

    fn run(&self, tool: &str, input: &Value) -> Result<(String, Option<Child>)> {
        let field = |name: &str| {
            input[name]
                .as_str()
                .with_context(|| format!("{tool} needs {name}"))
        };
        match tool {
            "Bash" if input["run_in_background"] == json!(true) => {
                let (mut command, _) = self.bash(field("command")?);
                let child = command
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()?;
                Ok(("running in the background".to_owned(), Some(child)))
            }
            "Bash" => {
                let (mut command, end) = self.bash(field("command")?);
                let output = command.stdin(Stdio::null()).output()?;
                fs::remove_file(end).ok();
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                if !output.status.success() {
                    bail!(
                        "{}\n{text}{}",
                        output.status,
                        String::from_utf8_lossy(&output.stderr)
                    );
                }
                Ok((text, None))
            }
            "Write" => {
                replace(Path::new(field("file_path")?), field("content")?).map(|()| (String::new(), None))
            }
            "Edit" => {
                let path = Path::new(field("file_path")?);
                let old = fs::read_to_string(path)?;
                let new = old.replacen(field("old_string")?, field("new_string")?, 1);
                replace(path, &new).map(|()| (String::new(), None))
            }
            "Read" => Ok((fs::read_to_string(field("file_path")?)?, None)),
            other => bail!("the scripted agent has no tool {other}"),
        }
    }

    /// The command as Claude Code wraps it, and the file in which it leaves its last folder.
    fn bash(&self, line: &str) -> (Command, String) {
        let end = format!("/tmp/claude-{}-cwd", unique());
        let null = if line.contains("<<") || line.contains("< ") {
            ""
        } else {
            " < /dev/null"
        };
        let wrapped = format!(
            "source {}/shell-snapshot.sh 2>/dev/null || true && shopt -u extglob 2>/dev/null || true && eval \
             {}{null} && pwd -P >| {end}",
            self.cwd.display(),
            quote(line),
        );
        let mut command = Command::new("/bin/bash");
        command
            .args(["-c", &wrapped])
            .env("CLAUDECODE", "1")
            .env("CLAUDE_CODE_SESSION_ID", &self.id);
        own_session(&mut command);
        (command, end)
    }
}

/// Lets the child lead a session of its own, as Claude Code's children do.
fn own_session(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only async-signal-safe calls may run; setsid(2) is one.
    unsafe { command.pre_exec(|| setsid().map(drop).map_err(Into::into)) }
}

/// One shell word: bare if it holds nothing special, else in single quotes with `'` written `'"'"'`.
fn quote(line: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !line.is_empty() && line.chars().all(plain) {
        return line.to_owned();
    }
    format!("'{}'", line.replace('\'', r#"'"'"'"#))
}

/// Writes beside the target under a new name and renames, as Claude Code does.
fn replace(path: &Path, content: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let fresh = format!("{}.tmp.{}.{:0>12}", path.display(), std::process::id(), unique());
    File::create_new(&fresh)?.write_all(content.as_bytes())?;
    fs::rename(&fresh, path)?;
    Ok(())
}

/// Hexadecimal digits that differ with every call and process.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{:x}{:02x}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_the_real_client_quotes_them() {
        assert_eq!(quote("ls"), "ls");
        assert_eq!(quote("ls -la"), "'ls -la'");
        assert_eq!(quote("echo \"it's\""), r#"'echo "it'"'"'s"'"#);
    }

    #[test]
    fn a_session_without_objection_runs_its_tools_and_one_with_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("made.txt");
        let script = Script {
            prompt: "go".into(),
            turns: vec![Turn::parallel(vec![
                Call::write("w", file.to_str().unwrap(), "hello"),
                Call::bash("b", "echo \"it's\" >&2; printf done"),
                Call::bash("f", "exit 3"),
            ])],
        };
        let report = play(&script, "cat > /dev/null").unwrap();
        assert_eq!(report.calls["w"].outcome, Outcome::Ran);
        assert_eq!(fs::read_to_string(&file).unwrap(), "hello");
        assert_eq!(report.calls["b"].text, "done");
        assert_eq!(report.calls["f"].outcome, Outcome::Failed);

        let denial = r#"{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"deny","permissionDecisionReason":"no"}}"#;
        let report = play(&script, &format!("cat > /dev/null; echo '{denial}'")).unwrap();
        assert!(
            report
                .calls
                .values()
                .all(|call| call.outcome == Outcome::Denied && call.text == "no")
        );
        let report = play(&script, "echo never >&2; exit 2").unwrap();
        assert!(
            report.calls.is_empty(),
            "the prompt itself was refused: {report:?}"
        );
    }
}
