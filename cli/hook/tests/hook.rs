//! The real hook client against gateways of every kind, most of them broken.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; helpers are part of tests"
)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};

/// The client's own deadline is 3 s; the rest is for a busy machine.
const DEADLINE: Duration = Duration::from_millis(3_900);

const CALL: &str =
    r#"{"hook_event_name":"PreToolUse","session_id":"s","tool_name":"Bash","tool_input":{"command":"ls"}}"#;
const OTHER: &str =
    r#"{"hook_event_name":"PostToolUse","session_id":"s","tool_input":{"hook_event_name":"PreToolUse"}}"#;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        // Only root can put it there, and then it rules out everything that these tests set.
        assert!(
            !Path::new(defenseclaw_model::config::HOOK_CONF).exists(),
            "a hook.conf is installed on this machine"
        );
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("g.sock")
    }

    /// A gateway that does this with its one connection.
    fn serve(&self, gateway: impl FnOnce(UnixStream) + Send + 'static) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        std::thread::spawn(move || gateway(listener.accept().unwrap().0));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_defenseclaw-hook"));
        command
            .args(arguments)
            .env_clear()
            .env("DEFENSECLAW_SOCKET", self.socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the client on a payload and checks that it keeps its deadline.
    fn ask_with(&self, payload: &[u8], change: impl FnOnce(&mut Command)) -> Answer {
        let mut command = self.command(&["claude-code"]);
        change(&mut command);
        let start = Instant::now();
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // The client may end before it has read everything.
        let _ = stdin.write_all(payload);
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let took = start.elapsed();
        assert!(took < DEADLINE, "{took:?}");
        Answer::from(output)
    }

    fn ask(&self, payload: &str) -> Answer {
        self.ask_with(payload.as_bytes(), |_| {})
    }
}

#[derive(Debug)]
struct Answer {
    exit: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            exit: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Answer {
    /// Claude Code's refusal; gives its reason.
    fn refusal(&self) -> String {
        assert_eq!(self.exit, Some(0), "{self:?}");
        let json: serde_json::Value = serde_json::from_str(&self.stdout).unwrap();
        let output = &json["hookSpecificOutput"];
        assert_eq!(output["hookEventName"], "PreToolUse");
        assert_eq!(output["permissionDecision"], "deny");
        output["permissionDecisionReason"].as_str().unwrap().to_owned()
    }

    fn refuses_because(&self, why: &str) {
        let reason = self.refusal();
        assert!(reason.contains(why), "{reason}");
        assert!(
            reason.starts_with("DefenseClaw: could not check this call, so it is refused: "),
            "{reason}"
        );
    }

    fn passes_with_complaint(&self, why: &str) {
        assert_eq!((self.exit, self.stdout.as_str()), (Some(0), ""), "{self:?}");
        assert!(self.stderr.contains(why), "{self:?}");
    }
}

fn read_request(stream: &mut UnixStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 64 * 1024];
    loop {
        let count = stream.read(&mut chunk).unwrap();
        bytes.extend_from_slice(&chunk[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = head
            .split("content-length: ")
            .nth(1)
            .unwrap()
            .split("\r\n")
            .next()
            .unwrap();
        let length: usize = length.parse().unwrap();
        if bytes.len() == end + 4 + length {
            return (head, bytes[end + 4..].to_vec());
        }
    }
}

fn reply(exit: u8, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nx-defenseclaw-exit: {exit}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn payload_and_answer_pass_through_unchanged() {
    for (exit, body) in [(0, ""), (0, "{\"x\":\"\u{e4}\"}"), (2, "no"), (255, "")] {
        let place = Place::new();
        place.serve(move |mut stream| {
            let (head, payload) = read_request(&mut stream);
            assert!(
                head.starts_with("POST /v1/hooks/claude-code HTTP/1.1\r\n"),
                "{head}"
            );
            assert_eq!(payload, CALL.as_bytes());
            stream.write_all(reply(exit, body).as_bytes()).unwrap();
        });
        let answer = place.ask(CALL);
        assert_eq!(
            (answer.exit, answer.stdout.as_str(), answer.stderr.as_str()),
            (Some(exit.into()), body, "")
        );
    }
}

/// What the client prints and how it ends when it is called so, with no gateway there.
fn alone(arguments: &[&str], payload: &str) -> Answer {
    let place = Place::new();
    let mut child = place.command(arguments).spawn().unwrap();
    child.stdin.take().unwrap().write_all(payload.as_bytes()).unwrap();
    Answer::from(child.wait_with_output().unwrap())
}

#[test]
fn the_event_s_name_goes_along_and_what_is_for_standard_error_goes_there() {
    let place = Place::new();
    place.serve(|mut stream| {
        let (head, _) = read_request(&mut stream);
        assert!(head.starts_with("POST /v1/hooks/copilot-cli HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nx-defenseclaw-event: preToolUse\r\n"), "{head}");
        let answer = "HTTP/1.1 200 OK\r\nx-defenseclaw-exit: 2\r\nx-defenseclaw-stderr: 3\r\ncontent-length: 5\r\n\r\n{}why";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let mut child = place.command(&["copilot-cli", "preToolUse"]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{}").unwrap();
    let answer = Answer::from(child.wait_with_output().unwrap());
    assert_eq!(
        (answer.exit, answer.stdout.as_str(), answer.stderr.as_str()),
        (Some(2), "{}", "why")
    );
}

#[test]
fn without_a_gateway_each_harness_is_told_in_its_own_words() {
    let copilot = alone(&["copilot-cli", "preToolUse"], "{}");
    assert!(
        copilot.stdout.starts_with("{\"permissionDecision\":\"deny\""),
        "{copilot:?}"
    );
    let end = alone(&["copilot-cli", "postToolUse"], "{}");
    end.passes_with_complaint("not recorded");
    let windsurf = alone(&["windsurf"], r#"{"agent_action_name":"pre_run_command"}"#);
    assert_eq!(
        (windsurf.exit, windsurf.stdout.as_str()),
        (Some(2), ""),
        "{windsurf:?}"
    );
    assert!(
        windsurf
            .stderr
            .starts_with("DefenseClaw: could not check this call"),
        "{windsurf:?}"
    );
    let seen = alone(&["windsurf"], r#"{"agent_action_name":"post_run_command"}"#);
    seen.passes_with_complaint("not recorded");
}

#[test]
fn a_gateway_that_asks_a_person_is_waited_for_beyond_the_deadline() {
    let place = Place::new();
    place.serve(|mut stream| {
        read_request(&mut stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nx-defenseclaw-late: 8000\r\ntransfer-encoding: chunked\r\n\r\n")
            .unwrap();
        std::thread::sleep(Duration::from_millis(3_500));
        stream.write_all(b"a\r\n0 0\nanswer\r\n0\r\n\r\n").unwrap();
    });
    let mut child = place.command(&["claude-code"]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(CALL.as_bytes()).unwrap();
    let answer = Answer::from(child.wait_with_output().unwrap());
    assert_eq!(
        (answer.exit, answer.stdout.as_str()),
        (Some(0), "answer"),
        "{answer:?}"
    );
}

#[test]
fn a_person_who_does_not_answer_costs_the_time_that_was_asked_for() {
    let place = Place::new();
    place.serve(|mut stream| {
        read_request(&mut stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nx-defenseclaw-late: 3100\r\ntransfer-encoding: chunked\r\n\r\n")
            .unwrap();
        std::thread::sleep(Duration::from_secs(60));
    });
    place.ask(CALL).refuses_because("did not answer within");
}

#[test]
fn the_largest_payload_passes_and_a_larger_one_is_refused() {
    let place = Place::new();
    let limit = 16 << 20;
    place.serve(move |mut stream| {
        assert_eq!(read_request(&mut stream).1.len(), limit);
        stream.write_all(reply(0, "taken").as_bytes()).unwrap();
    });
    assert_eq!(place.ask_with(&vec![b' '; limit], |_| {}).stdout, "taken");
    place
        .ask_with(&vec![b' '; limit + 1], |_| {})
        .refuses_because("over the limit of 16 MiB");
}

#[test]
fn an_answer_in_pieces_is_put_together() {
    let place = Place::new();
    place.serve(|mut stream| {
        read_request(&mut stream);
        for piece in reply(0, "in pieces").as_bytes().chunks(7) {
            stream.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    assert_eq!(place.ask(CALL).stdout, "in pieces");
}

#[test]
fn a_gateway_that_is_not_there_is_named() {
    let place = Place::new();
    place
        .ask(CALL)
        .refuses_because("cannot be reached: No such file or directory. Start it");
    place
        .ask(OTHER)
        .passes_with_complaint("This event was not recorded");
    drop(UnixListener::bind(place.socket()).unwrap());
    place.ask(CALL).refuses_because("Connection refused");
    let file = Place::new();
    std::fs::write(file.socket(), "no socket").unwrap();
    file.ask(CALL).refuses_because("cannot be reached");
}

#[test]
fn in_fail_mode_open_everything_passes_and_it_is_said() {
    let place = Place::new();
    let open = |command: &mut Command| {
        command.env("DEFENSECLAW_FAIL_MODE", "open");
    };
    place
        .ask_with(CALL.as_bytes(), open)
        .passes_with_complaint("The call runs unchecked, as configured");
    place
        .ask_with(OTHER.as_bytes(), open)
        .passes_with_complaint("not recorded");
    place
        .ask_with(b"nonsense", open)
        .passes_with_complaint("unchecked");
}

#[test]
fn settings_that_are_not_understood_refuse() {
    let place = Place::new();
    place
        .ask_with(CALL.as_bytes(), |command| {
            command.env("DEFENSECLAW_FAIL_MODE", "sometimes");
        })
        .refuses_because("neither `open` nor `closed`");
    place
        .ask_with(CALL.as_bytes(), |command| {
            command.env("DEFENSECLAW_SOCKET", "run/g.sock");
        })
        .refuses_because("DEFENSECLAW_SOCKET");
    place
        .ask_with(CALL.as_bytes(), |command| {
            command.env("DEFENSECLAW_SOCKET", format!("/tmp/{}", "x".repeat(120)));
        })
        .refuses_because("has 125 bytes, and the system takes at most 107");
}

#[test]
fn an_answer_that_is_not_whole_or_not_ours_refuses() {
    let bodyless = "HTTP/1.1 200 OK\r\nx-defenseclaw-exit: 0\r\ncontent-length: 10\r\n\r\nabc";
    for (answer, why) in [
        ("", "cut short after 0 bytes"),
        ("HTTP/1.1 200 OK\r\nx-def", "cut short after 22 bytes"),
        (bodyless, "cut short"),
        (
            "HTTP/1.1 503 Busy\r\ncontent-length: 15\r\n\r\n{\"error\":\"busy\"",
            "status 503: {\"error\":\"busy\"",
        ),
        ("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", "status 500"),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP/1.1"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "names no exit status",
        ),
    ] {
        let place = Place::new();
        place.serve(move |mut stream| {
            read_request(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        place.ask(CALL).refuses_because(why);
    }
}

#[test]
fn an_early_refusal_is_read_although_the_request_could_not_be_sent() {
    let place = Place::new();
    place.serve(|mut stream| {
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
            .unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    });
    place
        .ask_with(&vec![b' '; 8 << 20], |_| {})
        .refuses_because("status 413: big");
}

#[test]
fn a_gateway_that_never_answers_costs_the_deadline_and_no_more() {
    let place = Place::new();
    place.serve(|mut stream| {
        read_request(&mut stream);
        std::thread::sleep(Duration::from_secs(60));
    });
    let start = Instant::now();
    place.ask(CALL).refuses_because("did not answer within 3000 ms");
    assert!(start.elapsed() >= Duration::from_secs(3));
    let place = Place::new();
    // Takes the connection, never reads: the payload does not even fit into the socket.
    place.serve(|stream| {
        std::thread::sleep(Duration::from_secs(60));
        drop(stream);
    });
    place
        .ask_with(&vec![b' '; 8 << 20], |_| {})
        .refuses_because("did not answer within");
}

#[test]
fn an_answer_that_drips_does_not_stretch_the_deadline() {
    let place = Place::new();
    place.serve(|mut stream| {
        read_request(&mut stream);
        loop {
            if stream.write_all(b"H").is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    place.ask(CALL).refuses_because("did not answer within");
}

#[test]
fn a_full_backlog_costs_the_deadline_and_no_more() {
    let place = Place::new();
    let unix = |flags| socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
    let address = UnixAddr::new(&place.socket()).unwrap();
    let listener = unix(SockFlag::empty());
    bind(listener.as_raw_fd(), &address).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = unix(SockFlag::SOCK_NONBLOCK);
        match connect(client.as_raw_fd(), &address) {
            Ok(()) => waiting.push(client),
            Err(errno) => break assert_eq!(errno, nix::errno::Errno::EAGAIN),
        }
    }
    place.ask(CALL).refuses_because("its queue was full for 3000 ms");
}

#[test]
fn a_harness_that_never_ends_its_payload_is_answered() {
    let place = Place::new();
    let mut child = place.command(&["claude-code"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&CALL.as_bytes()[..20]).unwrap();
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < DEADLINE);
    Answer::from(output).refuses_because("did not end within 3000 ms");
    drop(stdin);
}

#[test]
fn a_refusal_that_nobody_reads_blocks_by_exit_status() {
    let place = Place::new();
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    let answer = place.ask_with(CALL.as_bytes(), |command| {
        command.stdout(write);
    });
    assert_eq!(answer.exit, Some(2), "{answer:?}");
    assert!(
        answer.stderr.contains("could not be written to standard output"),
        "{answer:?}"
    );
}

#[test]
fn a_harness_that_does_not_read_does_not_hold_it_up() {
    let place = Place::new();
    place.serve(|mut stream| {
        read_request(&mut stream);
        stream
            .write_all(reply(0, &"x".repeat(500_000)).as_bytes())
            .unwrap();
    });
    let mut child = place.command(&["claude-code"]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(CALL.as_bytes()).unwrap();
    let start = Instant::now();
    let status = child.wait().unwrap();
    assert!(start.elapsed() < DEADLINE);
    assert_eq!(status.code(), Some(2));
}

#[test]
fn it_tells_its_version_without_asking_anybody() {
    let output = Place::new().command(&["--version"]).output().unwrap();
    let line = format!("defenseclaw-hook {}\n", env!("CARGO_PKG_VERSION"));
    assert!(output.status.success() && output.stderr.is_empty());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), line);
}

#[test]
fn an_unknown_connector_is_a_matter_of_usage() {
    let place = Place::new();
    for arguments in [
        &[][..],
        &["other"],
        &["claude-code", "more"],
        &["claude-code", "Stop", "more"],
        &["--help"],
    ] {
        let answer = Answer::from(place.command(arguments).stdin(Stdio::null()).output().unwrap());
        assert_eq!(
            (answer.exit, answer.stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}"
        );
        assert!(answer.stderr.contains("defenseclaw-hook CONNECTOR"), "{answer:?}");
    }
}
