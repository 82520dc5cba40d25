//! Values: strings, names, calls that make a text, and what is joined to them.

use std::borrow::Cow;

use super::super::code::holds;
use super::forms::{
    DECODERS, HOMES, JOINS, SAME, begins_value, fill, is_name_char, joined, unescaped, word_of,
};
use super::{MAX_DEPTH, MAX_NAMES, MAX_VALUE, Meaning, Reader, Value};

impl Reader<'_> {
    /// A value and everything that is joined to it. Where none stands, the place is left as it was.
    pub(super) fn value(&mut self, depth: usize) -> Option<Value> {
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
            let path = holds(&value.text, &["/", "~"]) || value.text.is_empty();
            let joint =
                if self.take("+") || self.take("..") || (self.rest().starts_with(". ") && self.take(".")) {
                    ""
                } else if path
                    && self.rest().starts_with(['/'])
                    && !self.rest().starts_with("//")
                    && self.take("/")
                {
                    "/"
                } else if self.rest().starts_with(['\'', '"']) && self.text[..end].ends_with(['\'', '"']) {
                    ""
                } else if self.rest().starts_with('%') && value.text.contains('%') {
                    self.at += 1;
                    self.blanks();
                    let given = self.arguments_or_one(depth);
                    value = Value {
                        text: fill(&value.text, &given),
                        made: true,
                    };
                    continue;
                } else {
                    self.at = end;
                    break;
                };
            self.blanks();
            let before = self.at;
            match self.single(depth + 1) {
                Some(next) => {
                    value.text = format!(
                        "{}{joint}{}",
                        value
                            .text
                            .trim_end_matches(if joint.is_empty() { '\0' } else { '/' }),
                        next.text
                    )
                }
                None => {
                    // What is not known: one operand without brackets, or a call.
                    self.at = before;
                    if !self.skip_operand() {
                        self.at = end;
                        break;
                    }
                    value.text = format!(
                        "{}{joint}*",
                        value
                            .text
                            .trim_end_matches(if joint.is_empty() { '\0' } else { '/' })
                    );
                }
            }
            value.made = true;
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
            && let Some(end) = self.line(&[]).find([')', ']'])
        {
            self.at += end + 1;
        }
        self.at > start
    }

    /// One value with what is done to it.
    fn single(&mut self, depth: usize) -> Option<Value> {
        let mut value = self.first(depth)?;
        loop {
            let rest = self.rest();
            let reversed = [
                "[::-1]",
                ".reverse",
                ".split('').reverse().join('')",
                ".split(\"\").reverse().join(\"\")",
            ];
            if let Some(word) = reversed.iter().rev().find(|word| rest.starts_with(**word)) {
                self.at += word.len();
                value = Value {
                    text: value.text.chars().rev().collect(),
                    made: true,
                };
            } else if self.take(".format(") {
                let given = self.list(depth, ')');
                value = Value {
                    text: fill(&value.text, &given),
                    made: true,
                };
            } else if self.take(".joinpath(") {
                let given = self.list(depth, ')');
                value = Value {
                    text: joined(std::iter::once(value.text).chain(given)),
                    made: true,
                };
            } else if self.take(".join(map(chr,[") || self.take(".join(map(chr, [") {
                let text = self.codes()?;
                self.take("))");
                value = Value { text, made: true };
            } else if self.take(".join([") || self.take(".join((") {
                let given = self.list(
                    depth,
                    if self.text[..self.at].ends_with('[') {
                        ']'
                    } else {
                        ')'
                    },
                );
                self.take(")");
                value = Value {
                    text: given.join(&value.text),
                    made: true,
                };
            } else if let Some(word) = [
                ".decode()",
                ".toString()",
                ".strip()",
                ".decode('utf-8')",
                ".expanduser()",
                ".resolve()",
                ".decode(\"utf-8\")",
            ]
            .iter()
            .find(|word| rest.starts_with(**word))
            {
                self.at += word.len();
            } else {
                return Some(value);
            }
            if value.text.len() > MAX_VALUE {
                return None;
            }
        }
    }

    /// A string, a known name, or a call that makes a text.
    fn first(&mut self, depth: usize) -> Option<Value> {
        let made = |text: String| Some(Value { text, made: true });
        let rest = self.rest();
        let boundary = !self.text[..self.at].ends_with(|c: char| is_name_char(c) || c == '.');
        let quoted = rest.starts_with(['\'', '"', '`']);
        if !quoted && !boundary {
            return None;
        }
        let word = word_of(rest.strip_prefix('$').unwrap_or(rest));
        if !quoted && !begins_value(word) && !self.names.contains_key(word) {
            return None;
        }
        if let Some(home) = HOMES.iter().find(|home| rest.starts_with(**home)) {
            self.at += home.len();
            return made("~".to_owned());
        }
        if let Some(call) = JOINS.iter().find(|call| rest.starts_with(**call)) {
            self.at += call.len();
            let parts = self.list(depth, ')');
            return (!parts.is_empty()).then(|| Value {
                text: joined(parts),
                made: true,
            });
        }
        if let Some(call) = SAME.iter().find(|call| rest.starts_with(**call)) {
            self.at += call.len();
            let value = self.value(depth + 1)?;
            self.blanks();
            return self.take(")").then_some(Value { made: true, ..value });
        }
        for (call, decode) in DECODERS {
            if rest.starts_with(call) {
                self.at += call.len();
                let value = self.value(depth + 1)?;
                let end = self.line(&[]).find(')').filter(|&end| end < 24)?;
                self.at += end + 1;
                return decode(&value.text).and_then(made);
            }
        }
        for call in ["bytes([", "bytearray([", "String.fromCharCode(...["] {
            if rest.starts_with(call) {
                self.at += call.len();
                let text = self.codes()?;
                self.take(")");
                return made(text);
            }
        }
        for call in ["chr(", "String.fromCharCode("] {
            if rest.starts_with(call) {
                let end = self.line(&[]).find(')')?;
                let code = |part: &str| part.trim().parse::<u32>().ok().and_then(char::from_u32);
                let text = rest[call.len()..end]
                    .split(',')
                    .map(code)
                    .collect::<Option<String>>()?;
                self.at += end + 1;
                return made(text);
            }
        }
        let prefix = matches!(word, "f" | "r" | "b" | "u" | "fr" | "rb")
            && rest[word.len()..].starts_with(['\'', '"']);
        if prefix || rest.starts_with(['\'', '"', '`']) {
            self.at += if prefix { word.len() } else { 0 };
            return self.string(word.contains('r'));
        }
        let name = word.len() + usize::from(rest.starts_with('$'));
        match self.names.get(word) {
            Some(Meaning::Text(text)) if !rest[name..].starts_with('(') => {
                let text = text.clone();
                self.at += name;
                made(text)
            }
            _ => None,
        }
    }

    /// Numbers up to `]`, as the characters that they are.
    fn codes(&mut self) -> Option<String> {
        let line = self.line(&[]);
        let end = line.find(']')?;
        let code = |part: &str| part.trim().parse::<u32>().ok().and_then(char::from_u32);
        let text = line[..end].split(',').map(code).collect::<Option<String>>()?;
        self.at += end + 1;
        Some(text)
    }

    fn string(&mut self, raw: bool) -> Option<Value> {
        let rest = self.rest();
        let quote = rest.chars().next()?;
        let triple: String = std::iter::repeat_n(quote, 3).collect();
        let mark = if rest.starts_with(&triple) {
            triple
        } else {
            quote.to_string()
        };
        let inner = &rest[mark.len()..];
        let mut end = 0;
        loop {
            let next = inner[end..]
                .find([quote, '\\', '\n'])
                .filter(|_| end <= MAX_VALUE)?
                + end;
            match inner.as_bytes()[next] {
                b'\\' => end = next + 1 + inner[next + 1..].chars().next()?.len_utf8(),
                b'\n' if mark.len() == 1 && quote != '`' => return None,
                _ if inner[next..].starts_with(&mark) => {
                    end = next;
                    break;
                }
                _ => end = next + 1,
            }
        }
        self.at += end + 2 * mark.len();
        let source = &inner[..end];
        let text = if raw {
            Cow::Borrowed(source)
        } else {
            unescaped(source)
        };
        let text = self.interpolated(&text);
        (text.len() <= MAX_VALUE).then(|| Value {
            made: text != source,
            text: text.into_owned(),
        })
    }

    /// `{name}`, `${name}`, `#{name}` as what it holds; the home folder by whatever says it.
    fn interpolated<'s>(&self, text: &'s str) -> Cow<'s, str> {
        if !text.contains('{') {
            return Cow::Borrowed(text);
        }
        let mut written = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let Some(close) = rest[open..].find('}').map(|close| open + close) else {
                break;
            };
            let name = rest[open + 1..close].trim();
            let value = match self.names.get(name) {
                Some(Meaning::Text(text)) => Some(text.as_str()),
                _ if HOMES.contains(&name) => Some("~"),
                _ => None,
            };
            match value {
                Some(value) => {
                    written.push_str(rest[..open].trim_end_matches(['$', '#']));
                    written.push_str(value);
                }
                None => written.push_str(&rest[..=close]),
            }
            rest = &rest[close + 1..];
        }
        written.push_str(rest);
        Cow::Owned(written)
    }

    /// The values up to `close`; `*` for each that is not known.
    fn list(&mut self, depth: usize, close: char) -> Vec<String> {
        let mut values = Vec::new();
        while values.len() < MAX_NAMES {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start().len();
            self.take("*");
            let value = self.value(depth + 1);
            let known = value.is_some();
            let rest = self.rest();
            let end = self.line(&[',', close, ';']).len();
            if rest.len() == end {
                break;
            }
            if known || end > 0 {
                let plain = rest[..end].trim().is_empty();
                values.push(value.filter(|_| plain).map_or("*".to_owned(), |value| value.text));
            }
            self.at += end;
            if !self.take(",") {
                self.take(close.encode_utf8(&mut [0; 4]));
                break;
            }
        }
        values
    }

    fn arguments_or_one(&mut self, depth: usize) -> Vec<String> {
        if self.take("(") {
            return self.list(depth, ')');
        }
        match self.single(depth + 1) {
            Some(value) => vec![value.text],
            None => {
                self.skip_operand();
                vec!["*".to_owned()]
            }
        }
    }
}
