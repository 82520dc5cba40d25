//! The words of a filter of `jq`, as far as they are understood.

use super::MAX_DEPTH;

/// A word or mark of the language.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `.name`, `."name"`.
    Field(String),
    /// `.` alone.
    This,
    Name(String),
    /// A text, with the filters that fill it in.
    Text(Vec<Vec<Token>>),
    Number,
    Mark(&'static str),
}

/// A filter in words; `None` where it has what is not known.
pub(super) fn tokens(text: &str) -> Option<Vec<Token>> {
    tokens_within(text, 0)
}

fn tokens_within(text: &str, depth: usize) -> Option<Vec<Token>> {
    const MARKS: &[&str] = &[
        "//", "==", "!=", "<=", ">=", "|", ",", "(", ")", "[", "]", "{", "}", ":", ";", "?", "+", "-", "*",
        "/", "%", "<", ">",
    ];
    if depth > MAX_DEPTH {
        return None;
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = if rest.starts_with("..") {
            return None;
        } else if first == '.' {
            let name = &rest[1..];
            let end = name.find(|c| !is_name(c)).unwrap_or(name.len());
            if end > 0 {
                (Token::Field(name[..end].to_owned()), 1 + end)
            } else if let Some(name) = name.strip_prefix('"') {
                let end = name.find('"')?;
                (Token::Field(name[..end].to_owned()), end + 3)
            } else {
                (Token::This, 1)
            }
        } else if first == '"' {
            let (parts, length) = string(rest, depth)?;
            (Token::Text(parts), length)
        } else if first.is_ascii_digit() {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            (Token::Number, end)
        } else if first.is_ascii_alphabetic() || matches!(first, '_' | '@' | '$') {
            let end = rest[1..].find(|c| !is_name(c)).map_or(rest.len(), |end| end + 1);
            (Token::Name(rest[..end].to_owned()), end)
        } else {
            let mark = MARKS.iter().find(|mark| rest.starts_with(**mark))?;
            (Token::Mark(mark), mark.len())
        };
        found.push(token);
        rest = rest.get(length..)?.trim_start();
    }
    Some(found)
}

/// A text in quotes: the filters in it, and its length.
fn string(text: &str, depth: usize) -> Option<(Vec<Vec<Token>>, usize)> {
    let bytes = text.as_bytes();
    let mut parts = Vec::new();
    let mut at = 1;
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)) {
            (b'"', _) => return Some((parts, at + 1)),
            (b'\\', Some(b'(')) => {
                let inner = text.get(at + 2..)?;
                // Parentheses in it must match; a text in it that holds one is not read.
                let mut open = 1;
                let end = inner.bytes().position(|byte| {
                    open += i32::from(byte == b'(') - i32::from(byte == b')');
                    open == 0
                })?;
                parts.push(tokens_within(inner.get(..end)?, depth + 1)?);
                at += 2 + end + 1;
            }
            (b'\\', _) => at += 2,
            _ => at += 1,
        }
    }
}
