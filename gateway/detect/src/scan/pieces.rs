//! Texts in the pieces in which they are looked at.

use std::borrow::Cow;

use super::lines::numbered;
use super::markdown;
use crate::text;

/// Largest piece of a text that is looked at at once (bytes); the next one begins a little before its end.
const PIECE: usize = text::MAX_TEXT / 2;
const OVERLAP: usize = 4 << 10;

/// Whether a file is what people read who install or change something. A model reads it only where it is told to.
pub(super) fn is_for_people(path: &str) -> bool {
    const NAMES: &[&str] = &[
        "readme",
        "changelog",
        "contributing",
        "history",
        "license",
        "security",
        "code_of_conduct",
    ];
    let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    NAMES.contains(&name.split('.').next().unwrap_or_default())
}

/// Paragraphs of prose, each with its first line.
pub(super) fn paragraphs(lines: &[(u32, &str)]) -> Vec<(u32, String)> {
    let mut found: Vec<(u32, String)> = Vec::new();
    let mut ended = true;
    for &(number, line) in lines {
        if line.trim().is_empty() {
            ended = true;
            continue;
        }
        match found.last_mut().filter(|_| !ended) {
            Some((_, text)) => {
                text.push('\n');
                text.push_str(line);
            }
            None => found.push((number, line.to_owned())),
        }
        ended = false;
    }
    found
}

/// Bytes as text: what is no UTF-8 is replaced.
pub(super) fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    let units = |big: bool| -> Vec<u16> {
        let (pairs, _) = bytes.as_chunks::<2>();
        let pairs = pairs.iter().skip(1);
        pairs
            .map(|&pair| {
                if big {
                    u16::from_be_bytes(pair)
                } else {
                    u16::from_le_bytes(pair)
                }
            })
            .collect()
    };
    match bytes {
        [0xff, 0xfe, ..] => Cow::Owned(String::from_utf16_lossy(&units(false))),
        [0xfe, 0xff, ..] => Cow::Owned(String::from_utf16_lossy(&units(true))),
        _ => String::from_utf8_lossy(bytes),
    }
}

/// A text in pieces that can each be looked at whole, and the line on which each begins.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = (&str, u32)> {
    let (mut from, mut line, mut done) = (0, 1, false);
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let end = text.floor_char_boundary((from + PIECE).min(text.len()));
        let piece = text.get(from..end)?;
        let first = line;
        if end >= text.len() {
            done = true;
        } else {
            let next = text.floor_char_boundary(end - OVERLAP);
            line += markdown::line_at(text.get(from..next)?, next - from) - 1;
            from = next;
        }
        Some((piece, first))
    })
}

/// Whether a span of code within a sentence is a command: it has more than one word, and begins with one that is a program's.
pub(super) fn is_command(span: &str) -> bool {
    let first = span.split_ascii_whitespace().next().unwrap_or_default();
    let program = first
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_./~$({=\"".contains(&byte));
    span.len() >= 6 && span.contains(' ') && program && !first.ends_with(':')
}

/// Whether a harness runs a span of code before the model sees the text: it stands behind an exclamation mark.
pub(super) fn runs_by_itself(line: &str, span: &str) -> bool {
    line.match_indices("!`").any(|(at, mark)| {
        line.get(at + mark.len()..)
            .is_some_and(|rest| rest.trim_start().starts_with(span))
    })
}

/// A shell's text without the prompts that documents show before each command.
pub(super) fn without_prompts(text: &str) -> Cow<'_, str> {
    let prompted = |line: &str| line.trim_start().starts_with("$ ");
    if !text.lines().any(prompted) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<&str> = numbered(text, 1)
        .map(|(_, line)| {
            if prompted(line) {
                line.trim_start().get(2..).unwrap_or_default()
            } else {
                line
            }
        })
        .collect();
    Cow::Owned(lines.join("\n"))
}
