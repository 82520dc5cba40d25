//! Characters to words: quotes, escapes, expansions.
//!
//! The text is read once, left to right. What stands in `$(…)`, backticks and `<(…)` is parsed where it stands, so that
//! its programs come before the program whose word it is.

use super::change::change_of;
use super::parse::{Parser, Until};
use super::scope::Scope;
use super::word::{MAX_VALUE, Piece, Word, is_name};

/// Characters that end an unquoted word.
pub(super) fn ends_word(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\r' | b'\n' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')'
    )
}

/// Collects a word's pieces.
#[derive(Default)]
struct Pieces {
    done: Vec<Piece>,
    bare: String,
}

impl Pieces {
    fn flush(&mut self) {
        if !self.bare.is_empty() {
            // Most words have one piece.
            self.done.reserve_exact(usize::from(self.done.is_empty()));
            self.done.push(Piece::Text {
                text: std::mem::take(&mut self.bare),
                quoted: false,
            });
        }
    }

    fn quoted(&mut self, text: String) {
        self.flush();
        self.done.push(Piece::Text { text, quoted: true });
    }

    fn other(&mut self, piece: Piece) {
        self.flush();
        self.done.push(piece);
    }
}

impl Parser<'_, '_> {
    /// Reads one word; `None` where none begins.
    pub(super) fn word(&mut self, scope: &mut Scope<'_>) -> Option<Word> {
        let start = self.pos;
        let mut pieces = Pieces::default();
        let mut feeds = Vec::new();
        while let Some(byte) = self.peek() {
            if self.sink.stopped() {
                break;
            }
            match byte {
                b'<' | b'>' if self.peek_at(1) == Some(b'(') && self.pos == start => {
                    let text = self.substitution(2, scope, &mut feeds);
                    let source = self.since(start);
                    pieces.other(Piece::Process { source, text });
                }
                b'(' if self.is_extended_glob(&pieces.bare) => self.parenthesised_glob(&mut pieces.bare),
                _ if ends_word(byte) => break,
                b'\\' => self.escape(&mut pieces),
                b'\'' => pieces.quoted(self.single_quoted()),
                b'"' => self.double_quoted(scope, &mut pieces, &mut feeds),
                b'$' => self.dollar(scope, &mut pieces, &mut feeds, false),
                b'`' => self.backticks(scope, &mut pieces, &mut feeds),
                _ => self.plain(&mut pieces.bare),
            }
        }
        if self.pos == start {
            return None;
        }
        pieces.flush();
        self.sink.spend(self.pos - start);
        let source = match pieces.done.as_slice() {
            // A line continuation stands in the source, but not in the text.
            [Piece::Text { text, quoted: false }] if text.len() == self.pos - start => String::new(),
            _ => self.since(start),
        };
        Some(Word {
            pieces: pieces.done,
            source,
            feeds,
            followed: Vec::new(),
        })
    }

    /// Copies a run of characters that mean only themselves.
    fn plain(&mut self, to: &mut String) {
        let rest = &self.text[self.pos..];
        let end = rest
            .bytes()
            .position(|b| ends_word(b) || matches!(b, b'\\' | b'\'' | b'"' | b'$' | b'`'))
            .unwrap_or(rest.len())
            .max(rest.chars().next().map_or(0, char::len_utf8));
        to.push_str(&rest[..end]);
        self.pos += end;
    }

    fn escape(&mut self, pieces: &mut Pieces) {
        self.pos += 1;
        match self.next_char() {
            Some('\n') => {}
            Some(c) => pieces.quoted(c.to_string()),
            None => pieces.bare.push('\\'),
        }
    }

    /// Whether a `(` behind `bare` opens `@(a|b)` or its like. One that holds a substitution is left to be read as a
    /// subshell, so that the substitution's programs are seen.
    fn is_extended_glob(&self, bare: &str) -> bool {
        let opens = bare.ends_with(['@', '+', '?', '*']) || (bare.len() > 1 && bare.ends_with('!'));
        opens
            && self.text[self.pos..]
                .find([')', '$', '`', '\n'])
                .is_some_and(|at| self.text[self.pos + at..].starts_with(')'))
    }

    fn parenthesised_glob(&mut self, to: &mut String) {
        let rest = &self.text[self.pos..];
        let end = rest.find(')').map_or(rest.len(), |at| at + 1);
        to.push('*');
        self.pos += end;
    }

    fn single_quoted(&mut self) -> String {
        let rest = &self.text[self.pos + 1..];
        match rest.find('\'') {
            Some(end) => {
                self.pos += end + 2;
                rest[..end].to_owned()
            }
            None => {
                self.unterminated(rest);
                self.pos = self.text.len();
                rest.to_owned()
            }
        }
    }

    fn double_quoted(
        &mut self,
        scope: &mut Scope<'_>,
        pieces: &mut Pieces,
        feeds: &mut Vec<std::ops::Range<usize>>,
    ) {
        let start = self.pos;
        self.pos += 1;
        let mut text = String::new();
        pieces.quoted(String::new());
        loop {
            match self.peek() {
                None => {
                    let rest = self.since(start);
                    self.unterminated(&rest);
                    break;
                }
                Some(b'"') => {
                    self.pos += 1;
                    break;
                }
                Some(b'\\') => {
                    self.pos += 1;
                    match self.next_char() {
                        Some('\n') => {}
                        Some(c @ ('$' | '`' | '"' | '\\')) => text.push(c),
                        Some(c) => text.extend(['\\', c]),
                        None => text.push('\\'),
                    }
                }
                Some(b'$') => {
                    pieces.quoted(std::mem::take(&mut text));
                    self.dollar(scope, pieces, feeds, true);
                    text.push_str(&std::mem::take(&mut pieces.bare));
                }
                Some(b'`') => {
                    pieces.quoted(std::mem::take(&mut text));
                    self.backticks(scope, pieces, feeds);
                }
                Some(_) => {
                    let rest = &self.text[self.pos..];
                    let end = rest.find(['"', '\\', '$', '`']).unwrap_or(rest.len());
                    text.push_str(&rest[..end]);
                    self.pos += end;
                }
            }
            if self.sink.stopped() {
                break;
            }
        }
        pieces.quoted(text);
    }

    /// Everything that begins with `$`.
    fn dollar(
        &mut self,
        scope: &mut Scope<'_>,
        pieces: &mut Pieces,
        feeds: &mut Vec<std::ops::Range<usize>>,
        quoted: bool,
    ) {
        let start = self.pos;
        match self.peek_at(1) {
            Some(b'(') if self.peek_at(2) == Some(b'(') && self.arithmetic_end(self.pos + 1).is_some() => {
                let end = self.arithmetic_end(self.pos + 1).unwrap_or(self.text.len());
                self.arithmetic(start + 1, end, scope);
                pieces.other(Piece::Unknown {
                    source: self.since(start),
                    substitution: false,
                });
            }
            Some(b'(') => {
                let text = self.substitution(2, scope, feeds);
                pieces.other(substituted(text, self.since(start), quoted));
            }
            Some(b'{') => {
                let piece = self.braced(scope, quoted, feeds);
                pieces.other(piece);
            }
            Some(b'\'') if !quoted => {
                self.pos += 1;
                let text = self.ansi_quoted();
                pieces.quoted(text);
            }
            Some(b'"') if !quoted => {
                self.pos += 1;
                self.double_quoted(scope, pieces, feeds);
            }
            Some(byte) if byte == b'_' || byte.is_ascii_alphabetic() => {
                let rest = &self.text[self.pos + 1..];
                let end = rest
                    .bytes()
                    .position(|b| b != b'_' && !b.is_ascii_alphanumeric())
                    .unwrap_or(rest.len());
                self.pos += 1 + end;
                pieces.other(variable(&rest[..end], self.since(start), quoted));
            }
            Some(byte) if byte.is_ascii_digit() || b"@*#?$!-".contains(&byte) => {
                self.pos += 2;
                pieces.other(variable(&char::from(byte).to_string(), self.since(start), quoted));
            }
            _ => {
                pieces.bare.push('$');
                self.pos += 1;
            }
        }
    }

    /// `${…}`.
    fn braced(
        &mut self,
        scope: &mut Scope<'_>,
        quoted: bool,
        feeds: &mut Vec<std::ops::Range<usize>>,
    ) -> Piece {
        let start = self.pos;
        self.pos += 2;
        let inner = self.pos;
        let mut depth = 1_usize;
        let mut substituted = false;
        while let Some(byte) = self.peek() {
            match byte {
                b'}' => {
                    depth -= 1;
                    self.pos += 1;
                    if depth == 0 {
                        break;
                    }
                }
                b'{' => {
                    depth += 1;
                    self.pos += 1;
                }
                b'\\' => {
                    self.pos += 1;
                    self.next_char();
                }
                b'\'' if !quoted => {
                    self.single_quoted();
                }
                b'$' if self.peek_at(1) == Some(b'(') => {
                    self.substitution(2, scope, feeds);
                    substituted = true;
                }
                b'`' => {
                    self.backticks(scope, &mut Pieces::default(), feeds);
                    substituted = true;
                }
                _ => {
                    self.next_char();
                }
            }
            if self.sink.stopped() {
                break;
            }
        }
        let source = self.since(start);
        if depth > 0 {
            self.unterminated(&source);
            return Piece::Unknown {
                source,
                substitution: substituted,
            };
        }
        let body = &self.text[inner..self.pos - 1];
        let name_end = body
            .bytes()
            .position(|b| b != b'_' && !b.is_ascii_alphanumeric())
            .unwrap_or(body.len());
        let (name, rest) = body.split_at(name_end);
        if let Some(change) = change_of(rest).filter(|_| !substituted && is_name(name)) {
            return Piece::Variable {
                name: name.to_owned(),
                source,
                default: None,
                change: Some(change),
                quoted,
            };
        }
        let literal = !substituted && !rest.contains(['$', '`', '\\', '\'', '"']);
        let default = [":-", ":=", "-", "="]
            .iter()
            .find_map(|operator| rest.strip_prefix(operator));
        match (is_name(name), rest, default) {
            (true, "" | "[@]" | "[*]", _) => variable(name, source, quoted),
            (true, _, Some(default)) if literal => Piece::Variable {
                name: name.to_owned(),
                source,
                default: Some(default.to_owned()),
                change: None,
                quoted,
            },
            _ => Piece::Unknown {
                source,
                substitution: substituted,
            },
        }
    }

    /// `$'…'`, with the position on the quote.
    fn ansi_quoted(&mut self) -> String {
        let start = self.pos;
        self.pos += 1;
        let mut bytes: Vec<u8> = Vec::new();
        let mut utf8 = [0; 4];
        loop {
            match self.next_char() {
                Some('\'') => break,
                Some('\\') => {
                    if let Some(c) = self.ansi_escape() {
                        match c {
                            Escaped::Byte(byte) => bytes.push(byte),
                            Escaped::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes()),
                        }
                    }
                }
                Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes()),
                None => {
                    let rest = self.since(start);
                    self.unterminated(&rest);
                    break;
                }
            }
        }
        String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    fn ansi_escape(&mut self) -> Option<Escaped> {
        let c = self.next_char()?;
        let (radix, digits) = match c {
            'x' => (16, 2),
            'u' => (16, 4),
            'U' => (16, 8),
            '0'..='7' => {
                self.pos -= 1;
                (8, 3)
            }
            'n' => return Some(Escaped::Byte(b'\n')),
            't' => return Some(Escaped::Byte(b'\t')),
            'r' => return Some(Escaped::Byte(b'\r')),
            'a' => return Some(Escaped::Byte(7)),
            'b' => return Some(Escaped::Byte(8)),
            'e' | 'E' => return Some(Escaped::Byte(27)),
            'f' => return Some(Escaped::Byte(12)),
            'v' => return Some(Escaped::Byte(11)),
            'c' => {
                let control = self.next_char()?;
                return u8::try_from(control).ok().map(|byte| Escaped::Byte(byte & 0x1f));
            }
            other => return Some(Escaped::Char(other)),
        };
        let rest = &self.text.as_bytes()[self.pos..];
        let end = rest
            .iter()
            .take(digits)
            .position(|b| !char::from(*b).is_digit(radix))
            .unwrap_or(digits.min(rest.len()));
        let value = u32::from_str_radix(self.text.get(self.pos..self.pos + end)?, radix).ok();
        self.pos += end;
        match c {
            'u' | 'U' => value.and_then(char::from_u32).map(Escaped::Char),
            _ => value.map(|value| Escaped::Byte(value.to_le_bytes()[0])),
        }
    }

    /// `` `…` ``: the content is unescaped, then parsed as a text of its own.
    fn backticks(
        &mut self,
        scope: &mut Scope<'_>,
        pieces: &mut Pieces,
        feeds: &mut Vec<std::ops::Range<usize>>,
    ) {
        let start = self.pos;
        self.pos += 1;
        let mut content = String::new();
        let mut closed = false;
        while let Some(c) = self.next_char() {
            match c {
                '`' => {
                    closed = true;
                    break;
                }
                '\\' => match self.next_char() {
                    Some(c @ ('`' | '\\' | '$')) => content.push(c),
                    Some(c) => content.extend(['\\', c]),
                    None => {}
                },
                c => content.push(c),
            }
        }
        let source = self.since(start);
        if !closed {
            self.unterminated(&source);
        }
        let (feed, text) = self.nested(&content, scope);
        feeds.push(feed);
        pieces.other(substituted(text, source, false));
    }

    /// `$(…)`, `<(…)` and `>(…)`; `open` is the length of the opening. Gives what is known to be printed in it.
    fn substitution(
        &mut self,
        open: usize,
        scope: &mut Scope<'_>,
        feeds: &mut Vec<std::ops::Range<usize>>,
    ) -> Option<String> {
        let start = self.pos;
        self.pos += open;
        let first = self.sink.programs();
        self.sink.spend(scope.weight());
        let mut inner = scope.clone();
        let outer = self.printed.take();
        self.enter(true, |parser| parser.list(&mut inner, Until::Parenthesis));
        let printed = std::mem::replace(&mut self.printed, outer);
        if self.peek() == Some(b')') {
            self.pos += 1;
        } else if !self.sink.stopped() {
            let source = self.since(start);
            self.unterminated(&source);
        }
        feeds.push(first..self.sink.programs());
        printed
    }

    /// Where the `((` at `from` ends, if it is arithmetic: behind a `))` at its own level.
    pub(super) fn arithmetic_end(&mut self, from: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let mut depth = 0_usize;
        let mut at = from;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'(' => depth += 1,
                b')' => {
                    depth = depth.checked_sub(1)?;
                    if depth == 1 {
                        self.sink.spend(at - from);
                        return (bytes.get(at + 1) == Some(&b')')).then_some(at + 2);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        self.sink.spend(at - from);
        None
    }

    /// Runs over arithmetic from `start` to `end` for the commands that are substituted in it.
    pub(super) fn arithmetic(&mut self, start: usize, end: usize, scope: &mut Scope<'_>) {
        let inner = self
            .text
            .get(start + 2..end.saturating_sub(2))
            .unwrap_or_default();
        self.substitutions_in(inner, scope);
        self.pos = end;
    }

    /// Parses the substitutions of a text that is otherwise data: arithmetic, or a here-document.
    pub(super) fn substitutions_in(&mut self, text: &str, scope: &mut Scope<'_>) {
        if !text.contains(['$', '`']) {
            return;
        }
        self.nested_with(text, scope, |parser, scope| {
            let (mut pieces, mut feeds) = (Pieces::default(), Vec::new());
            while let Some(byte) = parser.peek() {
                match byte {
                    b'$' => parser.dollar(scope, &mut pieces, &mut feeds, true),
                    b'`' => parser.backticks(scope, &mut pieces, &mut feeds),
                    b'\\' => {
                        parser.pos += 1;
                        parser.next_char();
                    }
                    _ => {
                        parser.next_char();
                    }
                }
                if parser.sink.stopped() {
                    return;
                }
            }
        });
    }
}

enum Escaped {
    Byte(u8),
    Char(char),
}

fn variable(name: &str, source: String, quoted: bool) -> Piece {
    Piece::Variable {
        name: name.to_owned(),
        source,
        default: None,
        change: None,
        quoted,
    }
}

/// What a substitution stands for.
fn substituted(text: Option<String>, source: String, quoted: bool) -> Piece {
    match text {
        Some(text) if text.len() <= MAX_VALUE => Piece::Known {
            // The shell takes the line ends off.
            text: text.trim_end_matches('\n').to_owned(),
            source,
            quoted,
        },
        _ => Piece::Unknown {
            source,
            substitution: true,
        },
    }
}
