//! Values: strings, names, calls that make a text, and what is joined to them.

use std::borrow::Cow;

use super::forms::{
    DECODERS, Decode, HOMES, JOINS, SAME, begins_value, fill, is_name_char, joined, unescaped, word_of,
};
use super::{MAX_DEPTH, MAX_VALUE, MAX_VALUES, Meaning, Reader, Value};

impl<'t> Value<'t> {
    fn made(text: impl Into<Cow<'t, str>>) -> Self {
        Self {
            text: text.into(),
            made: true,
        }
    }
}

impl<'t> Reader<'t> {
    /// A value and everything that is joined to it. Where none stands, the place is left as it was.
    pub(super) fn value(&mut self, depth: usize) -> Option<Value<'t>> {
        let start = self.at;
        if depth > MAX_DEPTH {
            return None;
        }
        let Some(mut value) = self.single(depth) else {
            self.at = start;
            return None;
        };
        loop {
            let end = self.at;
            self.blanks();
            let rest = self.rest();
            let joint = match self.peek() {
                Some(b'+') => "+",
                Some(b'.') if rest.starts_with("..") => "..",
                Some(b'.') if rest.starts_with(". ") => ".",
                Some(b'/') if is_path(&value.text) && !rest.starts_with("//") => "/",
                Some(b'\'' | b'"') if self.text[..end].ends_with(['\'', '"']) => "",
                Some(b'%') if value.text.contains('%') => {
                    self.at += 1;
                    self.blanks();
                    let given = self.arguments_or_one(depth);
                    value = Value::made(fill(&value.text, &given));
                    continue;
                }
                _ => {
                    self.at = end;
                    break;
                }
            };
            self.at += joint.len();
            self.blanks();
            let before = self.at;
            let next = match self.single(depth + 1) {
                Some(next) => next.text,
                None => {
                    // What is not known: one operand without brackets, or a call.
                    self.at = before;
                    if !self.skip_operand() {
                        self.at = end;
                        break;
                    }
                    "*".into()
                }
            };
            value = Value::made(match joint {
                "/" => format!("{}/{next}", value.text.trim_end_matches('/')),
                _ => format!("{}{next}", value.text.trim_end_matches('\0')),
            });
            if value.text.len() > MAX_VALUE {
                self.at = start;
                return None;
            }
        }
        Some(value)
    }

    /// A name, a number, a call or an index whose value is not known.
    fn skip_operand(&mut self) -> bool {
        let start = self.at;
        let rest = self.rest();
        self.at += rest.len()
            - rest
                .trim_start_matches(|c: char| is_name_char(c) || matches!(c, '.' | '$'))
                .len();
        if self.rest().starts_with(['(', '['])
            && let Some(end) = self.line(b"").find([')', ']'])
        {
            self.at += end + 1;
        }
        self.at > start
    }

    /// One value with what is done to it.
    fn single(&mut self, depth: usize) -> Option<Value<'t>> {
        let mut value = self.first(depth)?;
        while matches!(self.peek(), Some(b'.' | b'[')) {
            let rest = self.rest();
            let begins = |words: &[&'static str]| words.iter().copied().find(|word| rest.starts_with(word));
            if let Some(word) = begins(REVERSED) {
                self.at += word.len();
                value = Value::made(value.text.chars().rev().collect::<String>());
            } else if self.take(".format(") {
                let given = self.list(depth, b')');
                value = Value::made(fill(&value.text, &given));
            } else if self.take(".joinpath(") {
                let given = self.list(depth, b')');
                value = Value::made(joined(std::iter::once(value.text).chain(given)));
            } else if self.take(".join(map(chr,[") || self.take(".join(map(chr, [") {
                let text = self.codes()?;
                self.take("))");
                value = Value::made(text);
            } else if let Some(word) = begins(&[".join([", ".join(("]) {
                self.at += word.len();
                let given = self.list(depth, if word.ends_with('[') { b']' } else { b')' });
                self.take(")");
                value = Value::made(given.join(&*value.text));
            } else if let Some(word) = begins(UNCHANGED) {
                self.at += word.len();
            } else {
                break;
            }
            if value.text.len() > MAX_VALUE {
                return None;
            }
        }
        Some(value)
    }

    /// A string, a known name, or a call that makes a text.
    fn first(&mut self, depth: usize) -> Option<Value<'t>> {
        let rest = self.rest();
        if rest.starts_with(['\'', '"', '`']) {
            return self.string(false);
        }
        if !self.at_boundary() {
            return None;
        }
        let word = word_of(rest.strip_prefix('$').unwrap_or(rest));
        if matches!(word, "f" | "r" | "b" | "u" | "fr" | "rb") && rest[word.len()..].starts_with(['\'', '"'])
        {
            self.at += word.len();
            return self.string(word.contains('r'));
        }
        if begins_value(word)
            && let Some(known) = self.known_call(depth)
        {
            return known;
        }
        let name = word.len() + usize::from(rest.starts_with('$'));
        match self.names.get(word) {
            Some(Meaning::Text(text)) if !rest[name..].starts_with('(') => {
                let text = text.clone();
                self.at += name;
                Some(Value::made(text))
            }
            _ => None,
        }
    }

    /// A call or a name that everyone knows: what it gives, or nothing if that cannot be told.
    fn known_call(&mut self, depth: usize) -> Option<Option<Value<'t>>> {
        let rest = self.rest();
        let begins = |words: &[&'static str]| words.iter().copied().find(|word| rest.starts_with(word));
        if let Some(home) = begins(HOMES) {
            self.at += home.len();
            return Some(Some(Value::made("~")));
        }
        if let Some(call) = begins(JOINS) {
            self.at += call.len();
            let parts = self.list(depth, b')');
            return Some((!parts.is_empty()).then(|| Value::made(joined(parts))));
        }
        if let Some(call) = begins(SAME) {
            self.at += call.len();
            return Some(self.same(depth));
        }
        if let Some((call, decode)) = DECODERS.iter().find(|(call, _)| rest.starts_with(call)) {
            self.at += call.len();
            return Some(self.decoded(depth, *decode));
        }
        if let Some(call) = begins(&["bytes([", "bytearray([", "String.fromCharCode(...["]) {
            self.at += call.len();
            return Some(self.bytes());
        }
        let call = begins(&["chr(", "String.fromCharCode("])?;
        Some(self.characters(call))
    }

    /// The value that a call is given, and that it gives.
    fn same(&mut self, depth: usize) -> Option<Value<'t>> {
        let value = self.value(depth + 1)?;
        self.blanks();
        self.take(")").then_some(Value { made: true, ..value })
    }

    fn decoded(&mut self, depth: usize, decode: Decode) -> Option<Value<'t>> {
        let value = self.value(depth + 1)?;
        let end = self.line(b"").find(')').filter(|&end| end < 24)?;
        self.at += end + 1;
        decode(&value.text).map(Value::made)
    }

    /// The characters whose codes stand in a list.
    fn bytes(&mut self) -> Option<Value<'t>> {
        let text = self.codes()?;
        self.take(")");
        Some(Value::made(text))
    }

    /// The characters whose codes `call` is given.
    fn characters(&mut self, call: &str) -> Option<Value<'t>> {
        let end = self.line(b"").find(')')?;
        let text = characters(self.rest().get(call.len()..end)?)?;
        self.at += end + 1;
        Some(Value::made(text))
    }

    /// Numbers up to `]`, as the characters that they are.
    fn codes(&mut self) -> Option<String> {
        let line = self.line(b"");
        let end = line.find(']')?;
        let text = characters(&line[..end])?;
        self.at += end + 1;
        Some(text)
    }

    /// The string that begins here with its quote.
    fn string(&mut self, raw: bool) -> Option<Value<'t>> {
        let rest = self.rest();
        let quote = *rest.as_bytes().first()?;
        let marks = [quote; 3];
        let mark = if rest.as_bytes().starts_with(&marks) { 3 } else { 1 };
        let inner = &rest[mark..];
        let bytes = inner.as_bytes();
        let mut end = 0;
        loop {
            let left = bytes.get(end..).filter(|_| end <= MAX_VALUE)?;
            let next = end + memchr::memchr3(quote, b'\\', b'\n', left)?;
            match bytes[next] {
                b'\\' => end = next + 1 + inner[next + 1..].chars().next()?.len_utf8(),
                b'\n' if mark == 1 && quote != b'`' => return None,
                _ if bytes[next..].starts_with(&marks[..mark]) => {
                    end = next;
                    break;
                }
                _ => end = next + 1,
            }
        }
        self.at += end + 2 * mark;
        let source = &inner[..end];
        let text = if raw {
            Cow::Borrowed(source)
        } else {
            unescaped(source)
        };
        let text = self.interpolated(text);
        (text.len() <= MAX_VALUE).then(|| Value {
            made: text != source,
            text,
        })
    }

    /// `{name}`, `${name}`, `#{name}` as what it holds; the home folder by whatever says it.
    fn interpolated(&self, text: Cow<'t, str>) -> Cow<'t, str> {
        let mut written = String::new();
        let (mut copied, mut at) = (0, 0);
        while let Some(open) = text[at..].find('{').map(|open| at + open) {
            let Some(close) = text[open..].find('}').map(|close| open + close) else {
                break;
            };
            at = close + 1;
            let name = text[open + 1..close].trim();
            let value = match self.names.get(name) {
                Some(Meaning::Text(text)) => &**text,
                _ if HOMES.contains(&name) => "~",
                _ => continue,
            };
            written.push_str(text[copied..open].trim_end_matches(['$', '#']));
            written.push_str(value);
            copied = at;
        }
        if copied == 0 {
            return text;
        }
        written.push_str(&text[copied..]);
        Cow::Owned(written)
    }

    /// The values up to `close`; `*` for each that is not known.
    fn list(&mut self, depth: usize, close: u8) -> Vec<Cow<'t, str>> {
        let mut values = Vec::new();
        while values.len() < MAX_VALUES {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start().len();
            self.take("*");
            let value = self.value(depth + 1);
            let known = value.is_some();
            let rest = self.rest();
            let end = self.line(&[b',', close, b';']).len();
            if rest.len() == end {
                break;
            }
            if known || end > 0 {
                let plain = rest[..end].trim().is_empty();
                values.push(value.filter(|_| plain).map_or("*".into(), |value| value.text));
            }
            self.at += end;
            if !self.take(",") {
                self.at += usize::from(self.peek() == Some(close));
                break;
            }
        }
        values
    }

    fn arguments_or_one(&mut self, depth: usize) -> Vec<Cow<'t, str>> {
        if self.take("(") {
            return self.list(depth, b')');
        }
        match self.single(depth + 1) {
            Some(value) => vec![value.text],
            None => {
                self.skip_operand();
                vec!["*".into()]
            }
        }
    }
}

/// Whether a slash behind a value joins a path to it.
fn is_path(value: &str) -> bool {
    value.is_empty() || value.contains(['/', '~'])
}

/// The characters whose codes `list` gives.
fn characters(list: &str) -> Option<String> {
    let code = |part: &str| part.trim().parse::<u32>().ok().and_then(char::from_u32);
    list.split(',').map(code).collect()
}

/// What turns a text round, the longest first.
const REVERSED: &[&str] = &[
    ".split(\"\").reverse().join(\"\")",
    ".split('').reverse().join('')",
    ".reverse",
    "[::-1]",
];

/// Calls that give the text that they are called on.
const UNCHANGED: &[&str] = &[
    ".decode()",
    ".toString()",
    ".strip()",
    ".decode('utf-8')",
    ".expanduser()",
    ".resolve()",
    ".decode(\"utf-8\")",
];
