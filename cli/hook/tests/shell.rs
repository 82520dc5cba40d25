//! The real `defenseclaw-shell` with a launcher and a gateway of the test's own.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers are part of tests"
)]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Says what it was given, and executes what stands behind `--`.
const LAUNCHER: &str = "#!/bin/sh\necho \"$@\" | sed 's/ -- .*//' >> \"$0.log\"\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n";
/// Says what it was given.
const HOOK: &str = "#!/bin/sh\necho \"hook: $*\"\ncat\n";

/// Programs are written and then executed here. A test that forks while another one writes holds its file open, and nobody executes
/// a file that is open for writing: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct Place(
    tempfile::TempDir,
    #[expect(dead_code, reason = "held for its drop")] MutexGuard<'static, ()>,
);

impl Place {
    fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = Self(tempfile::tempdir().unwrap(), alone);
        fs::copy(
            env!("CARGO_BIN_EXE_defenseclaw-shell"),
            place.path("defenseclaw-shell"),
        )
        .unwrap();
        for (name, text) in [("defenseclaw-cli", LAUNCHER), ("defenseclaw-hook", HOOK)] {
            fs::write(place.path(name), text).unwrap();
            fs::set_permissions(place.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A gateway that answers this every time; gives what it was asked.
    fn gateway(&self, answer: &'static str) -> Arc<Mutex<Vec<String>>> {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let listener = UnixListener::bind(self.path("g.sock")).unwrap();
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 64 * 1024];
                let got = stream.read(&mut request).unwrap();
                log.lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(&request[..got]).into_owned());
                let head = format!(
                    "HTTP/1.1 200 OK\r\nx-defenseclaw-exit: 0\r\ncontent-length: {}\r\n\r\n",
                    answer.len()
                );
                stream.write_all(format!("{head}{answer}").as_bytes()).unwrap();
            }
        });
        asked
    }

    fn run(&self, line: &str) -> Output {
        let mut child = Command::new(self.path("defenseclaw-shell"))
            .arg(line)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("SHELL", "/bin/bash")
            .env("DEFENSECLAW_SOCKET", self.path("g.sock"))
            .env("CLAUDE_CODE_SESSION_ID", "s1")
            .env("KEPT", "as it was")
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let given = child.stdin.take().unwrap().write_all(b"from outside\n");
        // A line that reads nothing may have ended before.
        assert!(given.is_ok() || given.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe));
        child.wait_with_output().unwrap()
    }

    /// A line as Claude Code makes it.
    fn tool(&self, command: &str) -> Output {
        let quoted = command.replace('\'', "'\"'\"'");
        let tail = self.path("cwd");
        self.run(&format!(
            "true && eval '{quoted}' && pwd -P >| {}",
            tail.display()
        ))
    }

    fn launched(&self) -> String {
        fs::read_to_string(self.path("defenseclaw-cli.log")).unwrap_or_default()
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn no_hook_conf() {
    assert!(
        !Path::new("/etc/defenseclaw/hook.conf").exists(),
        "a hook.conf is installed on this machine"
    );
}

#[test]
fn a_tool_s_line_runs_in_the_sandbox_that_the_gateway_names() {
    no_hook_conf();
    let place = Place::new();
    let asked = place.gateway(r#"{"profile":"strict","call":"toolu_1","project":"/w x"}"#);
    let told = place.tool("echo \"it's $KEPT\"; cat; cd /; exit_with() { return 3; }; exit_with");
    assert_eq!(
        (out(&told).as_str(), told.status.code()),
        ("it's as it was\nfrom outside\n", Some(3))
    );
    assert_eq!(
        place.launched(),
        "run --profile strict --project /w x --call toolu_1\n"
    );
    let question = asked.lock().unwrap()[0].clone();
    assert!(
        question.starts_with("POST /v1/sandbox HTTP/1.1\r\n"),
        "{question}"
    );
    assert!(
        question.contains(r#""session":"s1""#) && question.contains("pwd -P"),
        "{question}"
    );
    assert_eq!(place.tool("cd /usr && true").status.code(), Some(0));
    assert_eq!(
        fs::read_to_string(place.path("cwd")).unwrap(),
        "/usr\n",
        "the harness learns where `cd` led"
    );
    assert_eq!(place.tool("kill -TERM $$").status.signal(), Some(15));
}

#[test]
fn a_call_without_a_sandbox_runs_as_ever() {
    no_hook_conf();
    let place = Place::new();
    place.gateway("{}");
    assert_eq!(out(&place.tool("echo plain; cat")), "plain\nfrom outside\n");
    assert_eq!(place.launched(), "");
}

#[test]
fn where_the_gateway_cannot_be_asked_the_configured_sandbox_stands() {
    no_hook_conf();
    let place = Place::new();
    let told = place.tool("echo inside");
    assert_eq!(out(&told), "inside\n");
    assert!(
        String::from_utf8_lossy(&told.stderr).contains("cannot be reached"),
        "{told:?}"
    );
    assert_eq!(place.launched(), "run --connector claude-code\n");
    fs::remove_file(place.path("defenseclaw-cli")).unwrap();
    let lost = place.tool("echo outside");
    assert_eq!(
        (out(&lost).as_str(), lost.status.code()),
        ("", Some(127)),
        "no launcher, no call"
    );
}

#[test]
fn hooks_and_servers_are_started_as_they_are() {
    no_hook_conf();
    let place = Place::new();
    let hook = place.path("defenseclaw-hook").display().to_string();
    assert_eq!(
        out(&place.run(&format!("{hook} claude-code"))),
        "hook: --shell claude-code\nfrom outside\n"
    );
    assert_eq!(out(&place.run("/bin/echo 'a b' c")), "a b c\n");
    assert_eq!(
        out(&place.run("cat | tr a-z A-Z; echo \"$KEPT\"")),
        "FROM OUTSIDE\nas it was\n"
    );
    assert_eq!(place.run("exit 4").status.code(), Some(4));
    assert_eq!(place.launched(), "");
    let bare = Command::new(place.path("defenseclaw-shell")).output().unwrap();
    assert_eq!(bare.status.code(), Some(125));
}
