//! Telling the gateway what is in force, once it is and before the command starts.
//!
//! No daemon is needed to run a command in a sandbox, so nothing waits long for one, and without one nothing is told.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use defenseclaw_sandbox::report::Report;
use serde_json::json;

use crate::RunOptions;

/// How long a gateway may take that is there: it answers in less than a millisecond, and in no more than a second while it waits for
/// its agent. A command must not hang on one that is stuck.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest status line that is read (bytes).
const MAX_LINE: u64 = 1024;

/// Why the gateway does not have the report.
#[derive(Debug, thiserror::Error)]
pub enum TellError {
    /// It is not there.
    #[error("no gateway listens at {0}")]
    Nobody(String),
    /// It did not take it.
    #[error("the gateway at {socket} does not take it: {why}")]
    Refused {
        /// Where.
        socket: String,
        /// Why.
        why: String,
    },
}

/// Tells the gateway at `socket`, to which `connected` leads.
///
/// # Errors
/// When it has not acknowledged the report: then no record of it exists.
pub fn tell(
    socket: &Path,
    connected: io::Result<UnixStream>,
    report: &Report,
    options: &RunOptions,
) -> Result<(), TellError> {
    let name = || socket.display().to_string();
    let mut stream = connected.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => TellError::Nobody(name()),
        _ => TellError::Refused {
            socket: name(),
            why: error.to_string(),
        },
    })?;
    let refused = |why: String| TellError::Refused { socket: name(), why };
    let command: Vec<_> = options
        .command
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let body = json!({"report": report, "call": options.call, "command": command}).to_string();
    let status = exchange(&mut stream, &body).map_err(|error| refused(error.to_string()))?;
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(refused(status.trim_end().to_owned())),
    }
}

/// The status line of the answer to `body`.
fn exchange(stream: &mut UnixStream, body: &str) -> io::Result<String> {
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "POST /v1/sandbox/entered HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut line = String::new();
    BufReader::new(io::Read::take(stream, MAX_LINE)).read_line(&mut line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn report() -> Report {
        Report {
            profile: "strict".into(),
            project: "/p".into(),
            landlock_abi: 7,
            best_effort: false,
            protections: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn options() -> RunOptions {
        use clap::Parser as _;
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            run: RunOptions,
        }
        Only::parse_from(["run", "--call", "c1", "--", "make", "all"]).run
    }

    #[test]
    fn the_report_is_posted_and_only_an_acknowledgement_counts() {
        for (answer, taken) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 503 Busy\r\n\r\n", false),
            ("", false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("g.sock");
            let listener = UnixListener::bind(&socket).unwrap();
            let server = std::thread::spawn(move || {
                let (mut peer, _) = listener.accept().unwrap();
                let mut bytes = [0; 4096];
                let count = peer.read(&mut bytes).unwrap();
                peer.write_all(answer.as_bytes()).unwrap();
                String::from_utf8_lossy(&bytes[..count]).into_owned()
            });
            assert_eq!(
                tell(&socket, UnixStream::connect(&socket), &report(), &options()).is_ok(),
                taken,
                "{answer:?}"
            );
            let request = server.join().unwrap();
            assert!(request.starts_with("POST /v1/sandbox/entered "), "{request}");
            assert!(
                request.contains(r#""call":"c1","command":["make","all"]"#),
                "{request}"
            );
            assert!(request.contains(r#""profile":"strict""#), "{request}");
        }
    }

    #[test]
    fn without_a_gateway_nobody_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("none");
        let outcome = tell(&socket, UnixStream::connect(&socket), &report(), &options());
        assert!(matches!(outcome, Err(TellError::Nobody(_))), "{outcome:?}");
    }
}
