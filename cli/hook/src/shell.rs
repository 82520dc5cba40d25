//! `defenseclaw-shell LINE`: what a harness is told to hand its shell lines to.
//!
//! Claude Code does with `CLAUDE_CODE_SHELL_PREFIX`, for three kinds of lines: those of its Bash tool, its hooks, and the
//! commands of MCP servers. Only the first are tool calls; the gateway says in which sandbox. The others are run as they are.
//!
//! This program is replaced by what it starts, so that process id, exit status, signals, streams and terminal are the same.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde::Deserialize;

use crate::exchange::{self, Deadline};
use crate::settings::{self, Settings};
use crate::{THROUGH_SHELL, reply::Reply};

/// The harness that has such a prefix.
const CONNECTOR: &str = "claude-code";
/// Names the session, in the environment that the harness gives its shells.
const SESSION: &str = "CLAUDE_CODE_SESSION_ID";
/// Names the folder that the session was started in.
const PROJECT: &str = "CLAUDE_PROJECT_DIR";
/// How a line of the Bash tool ends: the harness learns from that file where `cd` has led.
const TAIL: &str = " && pwd -P >| ";
/// The launcher failed, as `env` and `timeout` say it.
const FAILED: u8 = 125;

/// The gateway's answer.
#[derive(Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
struct Room {
    profile: Option<String>,
    call: Option<String>,
    project: Option<String>,
}

/// Runs `defenseclaw-shell`. Returns only if nothing could be started.
pub fn run() -> u8 {
    let started = Instant::now();
    let mut arguments = std::env::args_os().skip(1);
    let (Some(line), None) = (arguments.next(), arguments.next()) else {
        exchange::complain(
            "Use: defenseclaw-shell LINE. Harnesses start it; for a command of your own use defenseclaw-cli run",
        );
        return FAILED;
    };
    let mut command = match line.to_str() {
        Some(text) if text.contains(TAIL) => in_its_room(text, started),
        Some(text) => as_it_is(text),
        None => shell_line(Path::new("/bin/sh"), &line),
    };
    let error = command.exec();
    let program = command.get_program().to_string_lossy();
    exchange::complain(&format!("{program} cannot be started: {error}"));
    match error.kind() {
        std::io::ErrorKind::NotFound => 127,
        _ => 126,
    }
}

/// A hook, or an MCP server.
fn as_it_is(line: &str) -> Command {
    let Some(words) = plain_words(line) else {
        return shell_line(Path::new("/bin/sh"), line.as_ref());
    };
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    let mut command = Command::new(&program);
    // Our own hook tells the gateway that it came this way: then calls will, too.
    if Path::new(&program).file_name() == Some(OsStr::new("defenseclaw-hook")) {
        command.arg(THROUGH_SHELL);
    }
    command.args(words);
    command
}

/// A tool call.
fn in_its_room(line: &str, started: Instant) -> Command {
    let shell = own_shell(std::env::var_os("SHELL"));
    let mut command = Command::new(launcher());
    command.arg("run");
    let room = match ask(line, started) {
        Ok(Room { profile: None, .. }) => return shell_line(&shell, line.as_ref()),
        Ok(room) => {
            command.arg("--profile").args(&room.profile);
            room
        }
        Err(why) => {
            exchange::complain(&format!(
                "{why}. The command runs in the sandbox that is configured for it"
            ));
            command.args(["--connector", CONNECTOR]);
            Room::default()
        }
    };
    if let Some(project) = room
        .project
        .map(OsString::from)
        .or_else(|| std::env::var_os(PROJECT))
    {
        command.arg("--project").arg(project);
    }
    if let Some(call) = room.call {
        command.args(["--call", &call]);
    }
    command.arg("--").arg(shell).args(["-c", line]);
    command
}

fn ask(line: &str, started: Instant) -> Result<Room, String> {
    let settings: Settings = settings::load().map_err(|error| error.to_string())?;
    let question = serde_json::json!({
        "connector": CONNECTOR,
        "session": std::env::var(SESSION).ok(),
        "line": line,
    });
    let deadline = Deadline::new(started, settings.deadline, settings.deadline);
    let body = question.to_string();
    let reply: Reply = exchange::post("/v1/sandbox", "", &settings, body.as_bytes(), deadline)
        .map_err(|failure| failure.to_string())?;
    serde_json::from_slice(&reply.body)
        .map_err(|error| format!("the gateway's answer is not understood: {error}"))
}

fn shell_line(shell: &Path, line: &OsStr) -> Command {
    let mut command = Command::new(shell);
    command.arg("-c").arg(line);
    command
}

/// The shell that the harness has chosen, and says so; without that, the one that it chooses by itself.
fn own_shell(named: Option<OsString>) -> PathBuf {
    let known = |path: &PathBuf| {
        path.is_absolute() && matches!(path.file_name().and_then(OsStr::to_str), Some("bash" | "zsh"))
    };
    let fallback = || {
        let bash = PathBuf::from("/bin/bash");
        if bash.exists() { bash } else { "/bin/sh".into() }
    };
    named.map(PathBuf::from).filter(known).unwrap_or_else(fallback)
}

/// Beside this program.
fn launcher() -> PathBuf {
    let own = std::env::current_exe().and_then(|own| own.canonicalize());
    own.map_or_else(
        |_| "/usr/bin/defenseclaw-cli".into(),
        |own| own.with_file_name("defenseclaw-cli"),
    )
}

/// The words of a line that no shell would make anything else of: bare or single-quoted ones. `None`: a shell is needed.
fn plain_words(line: &str) -> Option<Vec<String>> {
    let bare = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,%=".contains(c);
    let mut words = Vec::new();
    let mut rest = line.trim_matches(' ');
    while !rest.is_empty() {
        let mut word = String::new();
        while !rest.is_empty() && !rest.starts_with(' ') {
            if let Some(quoted) = rest.strip_prefix('\'') {
                let (text, behind) = quoted.split_once('\'')?;
                word.push_str(text);
                rest = behind;
            } else {
                let end = rest.find(|c| !bare(c)).unwrap_or(rest.len());
                if end == 0 {
                    return None;
                }
                word.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
        words.push(word);
        rest = rest.trim_start_matches(' ');
    }
    // `NAME=value program` is for a shell, and so are its own words.
    let program = words.first()?;
    (program.starts_with('/') && !program.contains('=')).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_mean_themselves_need_no_shell() {
        let words = |line| plain_words(line).unwrap_or_default();
        assert_eq!(
            words("/usr/bin/defenseclaw-hook claude-code"),
            ["/usr/bin/defenseclaw-hook", "claude-code"]
        );
        assert_eq!(
            words("  /opt/'a b'/server --port=1  'it is'  "),
            ["/opt/a b/server", "--port=1", "it is"]
        );
        for line in [
            "",
            "npx server",
            "/bin/x; y",
            "/bin/x > f",
            "A=1 /bin/x",
            "/bin/x $HOME",
            "/bin/x 'open",
            "/bin/x \"q\"",
            "/bin/x ~/a",
            "/bin/x *",
            "/bin/x a\\ b",
            "cd /x && y",
            "/bin/x\n/bin/y",
        ] {
            assert_eq!(plain_words(line), None, "{line}");
        }
    }

    #[test]
    fn the_shell_is_the_harness_s() {
        assert_eq!(own_shell(Some("/usr/bin/zsh".into())), Path::new("/usr/bin/zsh"));
        for odd in ["bash", "/usr/bin/fish", "", "/tmp/x"] {
            let shell = own_shell(Some(odd.into()));
            assert!(
                shell.is_absolute() && shell.starts_with("/bin"),
                "{odd}: {}",
                shell.display()
            );
        }
    }
}
