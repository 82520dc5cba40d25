//! The strict reader of the gateway's HTTP/1.1 answer.
//!
//! The peer is our own gateway, or something that took its place. Whatever is not exactly what our gateway sends is
//! refused; nothing is guessed.

/// Longest status line and headers together (bytes).
const MAX_HEAD: usize = 16 * 1024;
/// Longest body (bytes): a reply is a verdict and a sentence, never more than a fraction of this.
const MAX_BODY: usize = 1 << 20;

/// What the gateway said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// This process's exit status.
    pub(crate) exit: u8,
    /// For standard output.
    pub(crate) body: Vec<u8>,
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
    length: usize,
    end: usize,
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
        let whole = head.end + head.length;
        if self.bytes.len() < whole {
            return Ok(None);
        }
        if self.bytes.len() > whole {
            return Err(ReplyError::Malformed("bytes follow its end"));
        }
        let body = &self.bytes[head.end..];
        match (head.status, head.exit) {
            (200, Some(exit)) => Ok(Some(Reply {
                exit,
                body: body.to_vec(),
            })),
            (200, None) => Err(ReplyError::Malformed("it names no exit status")),
            (code, _) => Err(ReplyError::Status {
                code,
                text: printable(body),
            }),
        }
    }

    /// What to say when the peer closes before the answer is whole.
    pub(crate) fn cut(&self) -> ReplyError {
        ReplyError::Short(self.bytes.len())
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
    let (mut length, mut exit) = (None, None);
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
            return Err(bad("it is sent in chunks"));
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
    let length = length.ok_or(bad("it has no length"))?;
    Ok(Head {
        status,
        exit,
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
                body: b"{}".to_vec()
            })
        );
        assert_eq!(
            read(&answer(b"")).unwrap(),
            Some(Reply {
                exit: 7,
                body: Vec::new()
            })
        );
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
            prop_assert_eq!(got, Some(Reply { exit: 7, body }));
        }
    }
}
