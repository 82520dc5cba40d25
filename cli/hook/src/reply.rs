//! The strict reader of the gateway's HTTP/1.1 answer.
//!
//! The peer is our own gateway, or something that took its place. Whatever is not exactly what our gateway sends is
//! refused; nothing is guessed.

/// Longest status line and headers together (bytes).
const MAX_HEAD: usize = 16 * 1024;
/// Longest body (bytes): a verdict and a sentence, and where a tool's input was changed, that input: as large as a payload
/// and its escapes.
const MAX_BODY: usize = 20 << 20;
/// Longest body that may come late and in chunks (bytes): those are read anew with every piece.
const MAX_LATE_BODY: usize = 1 << 20;

/// What the gateway said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// This process's exit status.
    pub(crate) exit: u8,
    /// For standard output.
    pub(crate) body: Vec<u8>,
    /// For standard error.
    pub(crate) stderr: Vec<u8>,
}

/// Why an answer was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplyError {
    /// It is not HTTP/1.1 as our gateway speaks it.
    #[error("its answer is not understood: {0}")]
    Malformed(&'static str),
    /// It ended early.
    #[error("its answer was cut short after {0} bytes")]
    Short(usize),
    /// It refused the request.
    #[error("it answered with status {code}{}{text}", if text.is_empty() { "" } else { ": " })]
    Status {
        /// HTTP status.
        code: u16,
        /// The start of what it said, without control characters.
        text: String,
    },
}

struct Head {
    status: u16,
    exit: Option<u8>,
    /// How many of the body's last bytes are for standard error.
    stderr: usize,
    length: Length,
    end: usize,
}

/// How the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    /// After this many bytes.
    Bytes(usize),
    /// It comes in chunks, once a person has answered: within this many milliseconds.
    Late(u64),
}

/// Collects an answer as it arrives.
#[derive(Default)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    head: Option<Head>,
}

impl Reader {
    /// Takes the next bytes; gives the answer once it is whole.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let searched = self.bytes.len().saturating_sub(3);
        self.bytes.extend_from_slice(chunk);
        if self.head.is_none() {
            let end = self.bytes[searched..]
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            match end.map(|at| searched + at + 4) {
                Some(end) if end <= MAX_HEAD => self.head = Some(parse_head(&self.bytes[..end])?),
                None if self.bytes.len() < MAX_HEAD => return Ok(None),
                _ => return Err(ReplyError::Malformed("its headers are too long")),
            }
        }
        let Some(head) = &self.head else { return Ok(None) };
        let body = &self.bytes[head.end..];
        let Length::Bytes(length) = head.length else {
            return late(body);
        };
        if body.len() < length {
            return Ok(None);
        }
        if body.len() > length {
            return Err(ReplyError::Malformed("bytes follow its end"));
        }
        match (head.status, head.exit) {
            (200, Some(exit)) => reply(exit, body, head.stderr).map(Some),
            (200, None) => Err(ReplyError::Malformed("it names no exit status")),
            (code, _) => Err(ReplyError::Status {
                code,
                text: printable(body),
            }),
        }
    }

    /// For how long the gateway asks to be waited for (milliseconds), once its headers have come: a person is being asked.
    pub(crate) fn asks_to_wait(&self) -> Option<u64> {
        match self.head.as_ref()?.length {
            Length::Late(ms) => Some(ms),
            Length::Bytes(_) => None,
        }
    }

    /// What to say when the peer closes before the answer is whole.
    pub(crate) fn cut(&self) -> ReplyError {
        ReplyError::Short(self.bytes.len())
    }
}

fn reply(exit: u8, body: &[u8], stderr: usize) -> Result<Reply, ReplyError> {
    let at = body.len().checked_sub(stderr);
    let at = at.ok_or(ReplyError::Malformed(
        "its part for standard error is longer than it is",
    ))?;
    Ok(Reply {
        exit,
        body: body[..at].to_vec(),
        stderr: body[at..].to_vec(),
    })
}

/// A body in chunks: its first line says exit status and length of the part for standard error.
fn late(chunked: &[u8]) -> Result<Option<Reply>, ReplyError> {
    if chunked.len() > MAX_LATE_BODY {
        return Err(ReplyError::Malformed("its late body is too long"));
    }
    let Some(body) = joined(chunked)? else {
        return Ok(None);
    };
    let bad = ReplyError::Malformed("its late body does not start with exit status and length");
    let line = body.iter().position(|&byte| byte == b'\n').ok_or(bad.clone())?;
    let text = std::str::from_utf8(&body[..line]).map_err(|_| bad.clone())?;
    let (exit, stderr) = text.split_once(' ').ok_or(bad.clone())?;
    let exit = digits(exit)
        .and_then(|exit| u8::try_from(exit).ok())
        .ok_or(bad.clone())?;
    let stderr = digits(stderr).ok_or(bad)?;
    reply(exit, &body[line + 1..], stderr).map(Some)
}

/// The chunks put together; `None` until the last one has come.
fn joined(mut rest: &[u8]) -> Result<Option<Vec<u8>>, ReplyError> {
    let bad = || ReplyError::Malformed("its chunks are not whole");
    let mut body = Vec::new();
    loop {
        let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else {
            // The longest size that is taken has five digits.
            return if rest.len() > 16 { Err(bad()) } else { Ok(None) };
        };
        let size = std::str::from_utf8(&rest[..line])
            .ok()
            .filter(|size| !size.is_empty() && size.len() <= 5);
        let size = size
            .and_then(|size| usize::from_str_radix(size, 16).ok())
            .ok_or_else(bad)?;
        rest = &rest[line + 2..];
        let Some(chunk) = rest.get(..size) else {
            return Ok(None);
        };
        match rest.get(size..size + 2) {
            None => return Ok(None),
            Some(b"\r\n") => {}
            Some(_) => return Err(bad()),
        }
        body.extend_from_slice(chunk);
        rest = &rest[size + 2..];
        if size == 0 {
            return if rest.is_empty() {
                Ok(Some(body))
            } else {
                Err(bad())
            };
        }
    }
}

fn printable(body: &[u8]) -> String {
    let start = &body[..body.len().min(512)];
    String::from_utf8_lossy(start)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .trim()
        .to_owned()
}

/// `head` ends with the empty line.
fn parse_head(head: &[u8]) -> Result<Head, ReplyError> {
    let bad = ReplyError::Malformed;
    let text = std::str::from_utf8(head).map_err(|_| bad("its headers are not text"))?;
    let mut lines = text
        .strip_suffix("\r\n\r\n")
        .ok_or(bad("its headers do not end"))?
        .split("\r\n");
    let status = parse_status(lines.next().unwrap_or_default())?;
    let (mut length, mut exit, mut stderr, mut late, mut chunked) = (None, None, None, None, false);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(bad("a header has no colon"))?;
        if name.is_empty()
            || !name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            return Err(bad("a header's name is not a word"));
        }
        if value.bytes().any(|b| b.is_ascii_control()) {
            return Err(bad("a header contains a control character"));
        }
        let value = value.trim_matches(' ');
        if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") || std::mem::replace(&mut chunked, true) {
                return Err(bad("its transfer encoding is not `chunked`"));
            }
        } else if name.eq_ignore_ascii_case("x-defenseclaw-late") {
            let number = digits(value).ok_or(bad("its time to wait is no number in range"))?;
            if late.replace(number as u64).is_some() {
                return Err(bad("it has two times to wait"));
            }
        } else if name.eq_ignore_ascii_case("x-defenseclaw-stderr") {
            let number = digits(value).ok_or(bad("its length for standard error is no number in range"))?;
            if stderr.replace(number).is_some() {
                return Err(bad("it has two lengths for standard error"));
            }
        } else if name.eq_ignore_ascii_case("content-length") {
            let number = digits(value)
                .filter(|n| *n <= MAX_BODY)
                .ok_or(bad("its length is no number in range"))?;
            if length.replace(number).is_some() {
                return Err(bad("it has two lengths"));
            }
        } else if name.eq_ignore_ascii_case("x-defenseclaw-exit") {
            let number = digits(value)
                .and_then(|n| u8::try_from(n).ok())
                .ok_or(bad("its exit status is not 0 to 255"))?;
            if exit.replace(number).is_some() {
                return Err(bad("it has two exit statuses"));
            }
        }
    }
    let length = match (length, late, chunked) {
        (Some(length), None, false) => Length::Bytes(length),
        (None, Some(ms), true) if status == 200 && exit.is_none() && stderr.is_none() => Length::Late(ms),
        (_, None, true) => return Err(bad("it is sent in chunks")),
        (None, ..) => return Err(bad("it has no length")),
        _ => return Err(bad("it is both late and whole")),
    };
    Ok(Head {
        status,
        exit,
        stderr: stderr.unwrap_or(0),
        length,
        end: head.len(),
    })
}

fn parse_status(line: &str) -> Result<u16, ReplyError> {
    let rest = line
        .strip_prefix("HTTP/1.1 ")
        .ok_or(ReplyError::Malformed("it is not HTTP/1.1"))?;
    let code = rest.split(' ').next().unwrap_or_default();
    match digits(code).and_then(|n| u16::try_from(n).ok()) {
        Some(status @ 200..=599) if code.len() == 3 => Ok(status),
        _ => Err(ReplyError::Malformed("its status is no number in range")),
    }
}

/// A decimal number of up to nine digits, without sign or space.
fn digits(text: &str) -> Option<usize> {
    let plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<Reply>, ReplyError> {
        Reader::default().push(bytes)
    }

    fn answer(body: &[u8]) -> Vec<u8> {
        let mut bytes = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nX-DefenseClaw-Exit: 7\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_whole_answer_is_taken() {
        assert_eq!(
            read(&answer(b"{}")).unwrap(),
            Some(Reply {
                exit: 7,
                body: b"{}".to_vec(),
                stderr: Vec::new()
            })
        );
        assert_eq!(
            read(&answer(b"")).unwrap(),
            Some(Reply {
                exit: 7,
                body: Vec::new(),
                stderr: Vec::new()
            })
        );
    }

    #[test]
    fn the_last_bytes_may_be_for_standard_error() {
        let text = "HTTP/1.1 200 OK\r\nx-defenseclaw-exit: 2\r\nx-defenseclaw-stderr: 3\r\ncontent-length: 5\r\n\r\n{}why";
        let reply = read(text.as_bytes()).unwrap().unwrap();
        assert_eq!(
            (reply.exit, &reply.body[..], &reply.stderr[..]),
            (2, &b"{}"[..], &b"why"[..])
        );
        let long = text.replace("stderr: 3", "stderr: 6");
        assert!(
            read(long.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("longer than it is")
        );
    }

    const LATE: &str = "HTTP/1.1 200 OK\r\nx-defenseclaw-late: 50000\r\ntransfer-encoding: chunked\r\n\r\n";

    #[test]
    fn a_late_answer_says_so_first_and_comes_in_chunks() {
        let mut reader = Reader::default();
        assert_eq!(reader.asks_to_wait(), None);
        assert_eq!(reader.push(LATE.as_bytes()).unwrap(), None);
        assert_eq!(reader.asks_to_wait(), Some(50_000));
        for piece in ["4\r\n2 3\n", "\r\n5\r", "\n{}why\r\n0\r\n\r"] {
            assert_eq!(reader.push(piece.as_bytes()).unwrap(), None);
        }
        let reply = reader.push(b"\n").unwrap().unwrap();
        assert_eq!(
            (reply.exit, &reply.body[..], &reply.stderr[..]),
            (2, &b"{}"[..], &b"why"[..])
        );
    }

    #[test]
    fn a_late_answer_that_is_not_ours_is_refused() {
        for body in [
            "zz\r\n",
            "100000\r\n",
            "2\r\n0 0\r\n",
            "0\r\n\r\n",
            "3\r\n0 0\r\n0\r\n\r\n",
            "4\r\n0 9\n\r\n0\r\n\r\n",
            "6\r\n256 0\n\r\n0\r\n\r\n",
            "4\r\n0 0\n\r\n0\r\n\r\nmore",
            "no line end for a long time",
        ] {
            assert!(read(format!("{LATE}{body}").as_bytes()).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_refusal_carries_what_was_said() {
        let error = read(b"HTTP/1.1 503 Busy\r\ncontent-length: 9\r\n\r\nbusy\x1b[2J\n").unwrap_err();
        assert_eq!(
            error,
            ReplyError::Status {
                code: 503,
                text: "busy [2J".into()
            }
        );
        assert_eq!(error.to_string(), "it answered with status 503: busy [2J");
    }

    #[test]
    fn what_our_gateway_never_sends_is_refused() {
        let ok = "x-defenseclaw-exit: 0\r\ncontent-length: 0\r\n";
        for (text, why) in [
            (format!("HTTP/1.0 200 OK\r\n{ok}\r\n"), "HTTP/1.1"),
            (format!("HTTP/1.1 2000 OK\r\n{ok}\r\n"), "status"),
            (format!("HTTP/1.1 +20 OK\r\n{ok}\r\n"), "status"),
            (
                format!("HTTP/1.1 200 OK\r\n{ok}content-length: 0\r\n\r\n"),
                "two lengths",
            ),
            (
                format!("HTTP/1.1 200 OK\r\n{ok}x-defenseclaw-exit: 0\r\n\r\n"),
                "two exit",
            ),
            (
                format!("HTTP/1.1 200 OK\r\n{ok}transfer-encoding: chunked\r\n\r\n"),
                "chunks",
            ),
            (format!("HTTP/1.1 200 OK\r\n{ok} folded: x\r\n\r\n"), "word"),
            (format!("HTTP/1.1 200 OK\r\n{ok}bare\nfeed: x\r\n\r\n"), "word"),
            (format!("HTTP/1.1 200 OK\r\n{ok}no colon\r\n\r\n"), "colon"),
            (format!("HTTP/1.1 200 OK\r\n{ok}\r\nmore"), "follow"),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into(),
                "no exit status",
            ),
            (
                "HTTP/1.1 200 OK\r\nx-defenseclaw-exit: 0\r\n\r\n".into(),
                "no length",
            ),
            (
                "HTTP/1.1 200 OK\r\nx-defenseclaw-exit: 256\r\ncontent-length: 0\r\n\r\n".into(),
                "0 to 255",
            ),
            (
                "HTTP/1.1 200 OK\r\nx-defenseclaw-exit: 0\r\ncontent-length: 99999999\r\n\r\n".into(),
                "range",
            ),
            (
                format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(MAX_HEAD)),
                "too long",
            ),
        ] {
            let message = read(text.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(why), "{text:.80}: {message}");
        }
        assert_eq!(read(b"").unwrap(), None);
        assert!(
            read(&vec![b'x'; MAX_HEAD]).is_err(),
            "an endless head is not collected for ever"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = read(&bytes);
        }

        #[test]
        fn damaged_answers_never_panic_nor_change_meaning(at in 0usize..120, byte in any::<u8>(), cut in 0usize..140) {
            let mut bytes = answer(b"{\"a\":1}");
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            bytes.truncate(cut);
            if let Ok(Some(reply)) = read(&bytes) {
                prop_assert!(reply.body.len() <= 7);
            }
        }

        #[test]
        fn how_it_is_cut_into_pieces_does_not_matter(
            body in prop::collection::vec(any::<u8>(), 0..300),
            cuts in prop::collection::vec(1usize..40, 1..40),
        ) {
            let bytes = answer(&body);
            let mut reader = Reader::default();
            let (mut rest, mut got, mut sizes) = (&bytes[..], None, cuts.iter().cycle());
            while !rest.is_empty() {
                prop_assert_eq!(&got, &None);
                let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                got = reader.push(now).unwrap();
                rest = later;
            }
            prop_assert_eq!(got, Some(Reply { exit: 7, body, stderr: Vec::new() }));
        }
    }
}
