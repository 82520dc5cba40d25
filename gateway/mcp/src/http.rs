//! A server behind an address: streamable HTTP, on this host or where the operator allows the network.
//!
//! No header of the settings is sent: those are logins. Nothing is followed elsewhere.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::address::Address;
use crate::client::{Incoming, Transport};
use crate::problem::{Problem, Trouble};
use crate::stdio::{MAX_BYTES, MAX_MESSAGE, incoming, too_large};

/// Longest head of an answer (bytes).
const MAX_HEAD: usize = 32 << 10;
/// Longest line of a stream of events (bytes): a message and the word before it.
const MAX_LINE: usize = MAX_MESSAGE + 64;
/// Longest session id that is sent back (bytes).
const MAX_SESSION: usize = 1 << 10;

/// A server behind an address.
pub(crate) struct Reached {
    address: Address,
    at: SocketAddr,
    session: Option<String>,
    version: Option<String>,
    /// The stream in which the answer comes.
    open: Option<Body>,
    coming: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// The body of an answer.
struct Body {
    stream: BufReader<TcpStream>,
    /// Bytes that are left of the chunk, or of the whole.
    left: u64,
    shape: Shape,
    events: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Sized,
    Chunked,
    UntilEnd,
}

struct Head {
    status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

fn broken(error: &std::io::Error) -> Problem {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::WouldBlock | Kind::TimedOut => Problem::new(Trouble::Silent, "It does not answer in time"),
        Kind::ConnectionRefused => Problem::new(Trouble::NotHere, "Nobody listens at its address"),
        _ => Problem::new(Trouble::Ended, "The connection to it ends").seen(error.to_string()),
    }
}

fn odd(what: &str) -> Problem {
    Problem::new(Trouble::Protocol, format!("Its answer is not understood: {what}"))
}

impl Reached {
    /// The server at `url`.
    pub(crate) fn at(url: &str, network: bool) -> Result<Self, Problem> {
        let address = Address::read(url)?;
        let at = address.resolve(network)?;
        Ok(Self {
            address,
            at,
            session: None,
            version: None,
            open: None,
            coming: VecDeque::new(),
            bytes: 0,
        })
    }

    fn post(&mut self, message: &Value, deadline: Instant) -> Result<(Head, BufReader<TcpStream>), Problem> {
        let body = message.to_string();
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Accept: application/json, text/event-stream\r\nUser-Agent: defenseclaw/{}\r\nConnection: close\r\n",
            self.address.path,
            self.address.authority(),
            body.len(),
            env!("CARGO_PKG_VERSION")
        );
        if let Some(version) = &self.version {
            head.push_str(&format!("MCP-Protocol-Version: {version}\r\n"));
        }
        if let Some(session) = &self.session {
            head.push_str(&format!("Mcp-Session-Id: {session}\r\n"));
        }
        let mut stream =
            TcpStream::connect_timeout(&self.at, left(deadline)?).map_err(|error| broken(&error))?;
        let written = stream
            .set_write_timeout(Some(left(deadline)?))
            .and_then(|()| stream.write_all(format!("{head}\r\n{body}").as_bytes()));
        written.map_err(|error| broken(&error))?;
        let mut stream = BufReader::new(stream);
        let head = read_head(&mut stream, deadline)?;
        Ok((head, stream))
    }

    /// What an answer that is no success says about why.
    fn refusal(&self, head: &Head) -> Option<Problem> {
        let (trouble, message) = match head.status {
            200..=299 => return None,
            401 | 403 => (Trouble::NeedsLogin, "It wants a login".to_owned()),
            300..=399 => (
                Trouble::Unclear,
                "It sends elsewhere, which is not followed".to_owned(),
            ),
            404 | 405 if self.version.is_none() => (
                Trouble::Protocol,
                format!(
                    "It answers {}: there is no server here, or one of the older kind with two addresses, which is not asked",
                    head.status
                ),
            ),
            status => (Trouble::Protocol, format!("It answers {status}")),
        };
        Some(Problem::new(trouble, message).seen(head.field("location").unwrap_or_default()))
    }

    fn take(&mut self, message: Vec<u8>) -> Result<(), Problem> {
        self.bytes += message.len();
        if self.bytes > MAX_BYTES {
            let message = format!("Its answers have more than {MAX_BYTES} bytes in all");
            return Err(Problem::new(Trouble::TooLarge, message));
        }
        self.coming.push_back(message);
        Ok(())
    }
}

impl Transport for Reached {
    fn send(&mut self, message: &Value, deadline: Instant) -> Result<(), Problem> {
        let (head, stream) = self.post(message, deadline)?;
        if let Some(problem) = self.refusal(&head) {
            return Err(problem);
        }
        let question = message.get("method").is_some() && message.get("id").is_some();
        if !question {
            return Ok(());
        }
        let session = head.field("mcp-session-id");
        if let Some(session) =
            session.filter(|id| id.len() <= MAX_SESSION && id.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            self.session = Some(session.to_owned());
        }
        let kind = head
            .field("content-type")
            .unwrap_or_default()
            .to_ascii_lowercase();
        let (shape, length) = shape_of(&head)?;
        let mut body = Body {
            stream,
            left: length,
            shape,
            events: kind.starts_with("text/event-stream"),
        };
        if body.events {
            self.open = Some(body);
            return Ok(());
        }
        if !kind.starts_with("application/json") {
            return Err(odd("it is neither JSON nor a stream of events").seen(kind));
        }
        let mut message = Vec::new();
        while let Some(bytes) = body.read(None, deadline)? {
            message.extend_from_slice(&bytes);
            if message.len() > MAX_MESSAGE {
                return Err(too_large(MAX_MESSAGE));
            }
        }
        self.take(message)
    }

    fn receive(&mut self, deadline: Instant) -> Result<Incoming, Problem> {
        loop {
            if let Some(message) = self.coming.pop_front() {
                return incoming(&message);
            }
            let Some(body) = &mut self.open else {
                return Err(Problem::new(Trouble::Ended, "Its answer ends without an answer"));
            };
            match body.event(deadline)? {
                Some(message) => self.take(message)?,
                None => self.open = None,
            }
        }
    }

    fn agreed(&mut self, version: &str) {
        self.version = Some(version.to_owned());
    }
}

fn left(deadline: Instant) -> Result<Duration, Problem> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Problem::new(Trouble::Silent, "It does not answer in time"));
    }
    Ok(left)
}

/// One line without its end; empty where the stream has ended.
fn read_line(stream: &mut BufReader<TcpStream>, most: usize, deadline: Instant) -> Result<Vec<u8>, Problem> {
    let mut line = Vec::new();
    loop {
        let wait = left(deadline)?;
        stream
            .get_ref()
            .set_read_timeout(Some(wait))
            .map_err(|error| broken(&error))?;
        let available = stream.fill_buf().map_err(|error| broken(&error))?;
        if available.is_empty() {
            return Ok(line);
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(available.len(), |end| end + 1);
        line.extend_from_slice(available.get(..taken).unwrap_or_default());
        stream.consume(taken);
        if line.len() > most {
            return Err(too_large(MAX_MESSAGE));
        }
        if end.is_some() {
            return Ok(line);
        }
    }
}

fn read_head(stream: &mut BufReader<TcpStream>, deadline: Instant) -> Result<Head, Problem> {
    let mut lines = Vec::new();
    let mut size = 0;
    loop {
        let line = read_line(stream, MAX_HEAD, deadline)?;
        size += line.len();
        if line.is_empty() || size > MAX_HEAD {
            return Err(odd("it is no HTTP"));
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let status = lines.first().filter(|line| line.starts_with("HTTP/1."));
    let status = status.and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| odd("it is no HTTP"))?;
    let fields = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
    let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Ok(Head {
        status,
        fields: fields.collect(),
    })
}

fn shape_of(head: &Head) -> Result<(Shape, u64), Problem> {
    if head
        .field("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    {
        return Ok((Shape::Chunked, 0));
    }
    match head.field("content-length") {
        Some(length) => {
            let length = length.parse().map_err(|_| odd("its length is no number"))?;
            if length > MAX_BYTES as u64 {
                return Err(too_large(MAX_MESSAGE));
            }
            Ok((Shape::Sized, length))
        }
        None => Ok((Shape::UntilEnd, u64::MAX)),
    }
}

impl Body {
    /// The next bytes, up to and with `end` where that is given; `None` at the end of the body.
    fn read(&mut self, end: Option<u8>, deadline: Instant) -> Result<Option<Vec<u8>>, Problem> {
        if !self.refill(deadline)? {
            return Ok(None);
        }
        let available = self.stream.buffer();
        let most = available
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let available = available.get(..most).unwrap_or_default();
        let place = end.and_then(|end| available.iter().position(|byte| *byte == end));
        let taken = place.map_or(most, |place| place + 1);
        let bytes = available.get(..taken).unwrap_or_default().to_vec();
        self.stream.consume(taken);
        if self.shape != Shape::UntilEnd {
            self.left -= taken as u64;
        }
        if self.left == 0 && self.shape == Shape::Chunked {
            // The end of the line behind a chunk.
            read_line(&mut self.stream, 64, deadline)?;
        }
        Ok(Some(bytes))
    }

    /// The data of the next event; `None` at the end.
    fn event(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, Problem> {
        let mut data: Vec<u8> = Vec::new();
        let mut any = false;
        loop {
            let Some(line) = self.line(deadline)? else {
                return Ok(any.then_some(data));
            };
            if line.is_empty() {
                if any {
                    return Ok(Some(data));
                }
                continue;
            }
            if let Some(rest) = line.strip_prefix(b"data:") {
                if any {
                    data.push(b'\n');
                }
                any = true;
                data.extend_from_slice(rest.strip_prefix(b" ").unwrap_or(rest));
                if data.len() > MAX_MESSAGE {
                    return Err(too_large(MAX_MESSAGE));
                }
            }
        }
    }

    /// One line of the body, without its end.
    fn line(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, Problem> {
        let mut line = Vec::new();
        while let Some(bytes) = self.read(Some(b'\n'), deadline)? {
            line.extend_from_slice(&bytes);
            if line.len() > MAX_LINE {
                return Err(too_large(MAX_MESSAGE));
            }
            if line.last() == Some(&b'\n') {
                while matches!(line.last(), Some(b'\n' | b'\r')) {
                    line.pop();
                }
                return Ok(Some(line));
            }
        }
        Ok((!line.is_empty()).then_some(line))
    }

    /// Has something to read; `false` at the end.
    fn refill(&mut self, deadline: Instant) -> Result<bool, Problem> {
        if self.left == 0 {
            if self.shape != Shape::Chunked {
                return Ok(false);
            }
            let line = read_line(&mut self.stream, 64, deadline)?;
            let line = String::from_utf8_lossy(&line);
            let size = line.trim().split(';').next().unwrap_or_default();
            self.left = u64::from_str_radix(size, 16).map_err(|_| odd("its chunks have no size"))?;
            if self.left == 0 {
                self.shape = Shape::Sized;
                return Ok(false);
            }
        }
        let wait = left(deadline)?;
        self.stream
            .get_ref()
            .set_read_timeout(Some(wait))
            .map_err(|error| broken(&error))?;
        let some = !self.stream.fill_buf().map_err(|error| broken(&error))?.is_empty();
        if !some && self.shape != Shape::UntilEnd {
            return Err(Problem::new(Trouble::Ended, "Its answer breaks off"));
        }
        Ok(some)
    }
}

#[cfg(test)]
mod tests;
