//! A minimal HTTP/1.1 client over a Unix socket: one request, one deadline for all of it.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;

/// Largest answer that is taken, headers included (bytes): every call that waits, with its texts at their longest.
const MAX_RESPONSE: usize = 4 << 20;
/// Longest refusal that is shown (bytes).
const MAX_REFUSAL: usize = 4 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Connecting, sending or receiving failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The deadline passed.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// What came back is no HTTP answer of the kind that we asked for.
    #[error("the answer is not understood: {0}")]
    NotHttp(&'static str),
    /// The server refused.
    #[error("the server answered {status}: {body}")]
    Refused {
        /// Status code.
        status: u16,
        /// The beginning of what it said.
        body: String,
    },
}

/// The body of the answer to that request.
pub fn request(
    server: &Path,
    method: &str,
    path: &str,
    body: Option<&[u8]>,
    limit: Duration,
) -> Result<Vec<u8>, HttpError> {
    let deadline = Deadline {
        at: Instant::now() + limit,
        limit,
    };
    let mut stream = open(server, &deadline)?;
    let content = match body {
        Some(body) => format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        ),
        None => String::new(),
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n{content}Connection: close\r\n\r\n"
    );
    let request = [head.as_bytes(), body.unwrap_or_default()].concat();
    stream.set_write_timeout(Some(deadline.left()?))?;
    stream
        .write_all(&request)
        .map_err(|error| deadline.explain(error))?;
    let response = receive(&mut stream, &deadline)?;
    body_of(&response)
}

struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    fn left(&self) -> Result<Duration, HttpError> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(HttpError::Late(self.limit))
        } else {
            Ok(left)
        }
    }

    fn explain(&self, error: io::Error) -> HttpError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => HttpError::Late(self.limit),
            _ => error.into(),
        }
    }
}

/// Connects. The send time-out bounds `connect` too, which waits while the server's queue is full (unix(7)).
fn open(server: &Path, deadline: &Deadline) -> Result<UnixStream, HttpError> {
    let left = deadline.left()?;
    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(io::Error::from)?;
    let micros = i64::try_from(left.as_micros()).unwrap_or(i64::MAX);
    let bound = TimeVal::new(micros / 1_000_000, micros % 1_000_000);
    setsockopt(&fd, sockopt::SendTimeout, &bound).map_err(io::Error::from)?;
    let address = UnixAddr::new(server).map_err(io::Error::from)?;
    connect(fd.as_raw_fd(), &address).map_err(|error| deadline.explain(error.into()))?;
    Ok(fd.into())
}

/// Everything until the answer is complete or the server closes.
fn receive(stream: &mut UnixStream, deadline: &Deadline) -> Result<Vec<u8>, HttpError> {
    let mut response = Vec::new();
    let mut buffer = [0; 16 << 10];
    while !is_complete(&response) {
        stream.set_read_timeout(Some(deadline.left()?))?;
        let got = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(deadline.explain(error)),
        };
        response.extend_from_slice(&buffer[..got]);
        if response.len() > MAX_RESPONSE {
            return Err(HttpError::NotHttp("it is larger than any answer is"));
        }
    }
    Ok(response)
}

fn is_complete(response: &[u8]) -> bool {
    let Some((head, body)) = split_head(response) else {
        return false;
    };
    matches!(content_length(head), Some(length) if body.len() >= length)
}

fn split_head(response: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = response.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((&response[..end], &response[end + 4..]))
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let head = std::str::from_utf8(head).ok()?;
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

fn content_length(head: &[u8]) -> Option<usize> {
    header(head, "content-length")?.parse().ok()
}

fn body_of(response: &[u8]) -> Result<Vec<u8>, HttpError> {
    if response.is_empty() {
        return Err(HttpError::NotHttp(
            "the server closed the connection without a word",
        ));
    }
    let (head, mut body) = split_head(response).ok_or(HttpError::NotHttp("its headers do not end"))?;
    let first = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let status: u16 = std::str::from_utf8(first)
        .ok()
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .ok_or(HttpError::NotHttp("it has no HTTP status line"))?;
    if header(head, "transfer-encoding").is_some() {
        return Err(HttpError::NotHttp(
            "its body comes in chunks, which this gateway's never does",
        ));
    }
    if let Some(length) = content_length(head) {
        body = body.get(..length).ok_or(HttpError::NotHttp("it ends early"))?;
    }
    if status == 200 {
        return Ok(body.to_vec());
    }
    Err(HttpError::Refused {
        status,
        body: refusal(body),
    })
}

/// What the gateway said, in its own form or as it is.
fn refusal(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Said {
        error: String,
    }
    let mut said = match serde_json::from_slice::<Said>(body) {
        Ok(said) => said.error,
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(MAX_REFUSAL)]).into_owned(),
    };
    said.truncate(said.floor_char_boundary(MAX_REFUSAL));
    crate::text::safe(&said).into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Answers one request with `answer`, then keeps the connection open as long as the client does.
    fn serve(answer: &'static [u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let got = stream.read(&mut request).unwrap();
            assert!(request[..got].starts_with(b"GET /v1/status HTTP/1.1\r\nHost: "));
            stream.write_all(answer).unwrap();
            if answer.is_empty() {
                return;
            }
            let _ = stream.read(&mut request);
        });
        (folder, path)
    }

    fn ask(answer: &'static [u8]) -> Result<String, String> {
        let (_folder, path) = serve(answer);
        request(&path, "GET", "/v1/status", None, Duration::from_millis(300))
            .map(|body| String::from_utf8(body).unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_body_with_a_length_is_taken_without_waiting_for_the_close() {
        assert_eq!(
            ask(b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 2\r\n\r\n{}"),
            Ok("{}".to_owned())
        );
    }

    #[test]
    fn answers_that_are_none_are_named() {
        assert!(
            ask(b"SSH-2.0-x\r\n\r\n")
                .unwrap_err()
                .contains("no answer within"),
            "no length, never closed"
        );
        assert!(ask(b"").unwrap_err().contains("without a word"));
        assert!(
            ask(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}")
                .unwrap_err()
                .contains("no answer within")
        );
        assert_eq!(
            ask(b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\n\x1b[31m"),
            Err("the server answered 404: \\x1b[31m".to_owned())
        );
        assert!(
            body_of(b"SSH-2.0-x\r\n\r\n")
                .unwrap_err()
                .to_string()
                .contains("status line")
        );
        assert!(
            body_of(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .unwrap_err()
                .to_string()
                .contains("chunks")
        );
    }

    #[test]
    fn a_server_that_does_not_accept_is_given_up_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let begun = Instant::now();
        let error = request(&path, "GET", "/v1/status", None, Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, HttpError::Late(_)), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_an_error() {
        let long = std::path::PathBuf::from(format!("/{}", "x".repeat(200)));
        assert!(matches!(
            request(&long, "GET", "/", None, Duration::from_millis(100)),
            Err(HttpError::Io(_))
        ));
    }
}
