//! The smallest part of a text in which rules still find what they found in all of it.
//!
//! What a guess of a rule is worth is told by the words around it, and whoever attacks chooses those: `ATTACK && npm test` weighs less
//! than `ATTACK`. So whatever the finding does not need is taken away, piece by piece, and what is left is weighed. Where pieces
//! begin and end need not be known exactly, since the rules are asked after each: a wrong piece is put back.

use std::ops::Range;

/// Most times that rules are asked about what is left. A command that can be doubted is short, and one that people or models write has
/// less than ten pieces; of what has more, nothing is doubted.
const MAX_TRIES: usize = 40;

/// Deepest nesting of parentheses, braces and quotes whose pieces are told apart.
const MAX_DEPTH: usize = 16;

/// What is left of a command or another text when everything is taken away without which `finds` still holds. `None`: there is too much of it.
pub(super) fn narrow(command: &str, finds: &mut dyn FnMut(&str) -> bool) -> Option<String> {
    let mut left = command.to_owned();
    let mut tries = 0;
    let mut at = 0;
    loop {
        let pieces = pieces(&left);
        let Some(piece) = pieces.into_iter().nth(at) else {
            return Some(left);
        };
        if tries == MAX_TRIES {
            return None;
        }
        tries += 1;
        let mut without = left.clone();
        without.replace_range(piece, " ");
        if !without.trim().is_empty() && finds(&without) {
            left = without;
        } else {
            at += 1;
        }
    }
}

/// A nesting: what opened it, where its present piece begins, and the separator before that.
struct Level {
    opener: u8,
    start: usize,
    before: Option<Separator>,
}

#[derive(Clone)]
struct Separator {
    range: Range<usize>,
    pipe: bool,
}

/// The pieces of a text that can be taken away, each with a separator that goes with it: the statements and the parts of pipes on
/// every level, and comments. In the order in which they end.
fn pieces(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut levels = vec![Level::new(b' ', 0)];
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let starts_word = at == 0 || bytes.get(at - 1).is_some_and(u8::is_ascii_whitespace);
        match byte {
            b'\\' => at += 1,
            b'#' if starts_word => {
                let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
                found.push(at..end);
                at = end;
                continue;
            }
            b'(' | b'{' => open(&mut levels, byte, at + 1),
            b')' => close(&mut levels, b'(', at, text, &mut found),
            b'}' => close(&mut levels, b'{', at, text, &mut found),
            b'\'' | b'"' | b'`' => {
                if levels.iter().any(|level| level.opener == byte) {
                    close(&mut levels, byte, at, text, &mut found);
                } else {
                    open(&mut levels, byte, at + 1);
                }
            }
            _ => {
                if let Some(separator) = separator(bytes, at) {
                    let end = separator.range.end;
                    if let Some(level) = levels.last_mut() {
                        level.separate(separator, text, &mut found);
                    }
                    at = end;
                    continue;
                }
            }
        }
        at += 1;
    }
    for level in levels.iter().rev() {
        level.end(text.len(), text, &mut found);
    }
    found
}

fn open(levels: &mut Vec<Level>, opener: u8, start: usize) {
    if levels.len() < MAX_DEPTH {
        levels.push(Level::new(opener, start));
    }
}

/// Closes everything down to the last level that was opened so; nothing, where there is none.
fn close(levels: &mut Vec<Level>, opener: u8, end: usize, text: &str, found: &mut Vec<Range<usize>>) {
    let Some(down_to) = levels.iter().rposition(|level| level.opener == opener) else {
        return;
    };
    for level in levels.drain(down_to..).rev() {
        level.end(end, text, found);
    }
}

impl Level {
    fn new(opener: u8, start: usize) -> Self {
        Self {
            opener,
            start,
            before: None,
        }
    }

    /// A piece ends at a separator: it goes with that one, but what a pipe leads into goes with the pipe.
    fn separate(&mut self, separator: Separator, text: &str, found: &mut Vec<Range<usize>>) {
        let blank = is_blank(text, self.start..separator.range.start);
        match &self.before {
            Some(before) if before.pipe && !blank => found.push(before.range.start..separator.range.start),
            _ if !blank => found.push(self.start..separator.range.end),
            _ => {}
        }
        self.start = separator.range.end;
        self.before = Some(separator);
    }

    /// The last piece goes with the separator before it.
    fn end(&self, end: usize, text: &str, found: &mut Vec<Range<usize>>) {
        if let Some(before) = &self.before
            && !is_blank(text, self.start..end)
        {
            found.push(before.range.start..end);
        }
    }
}

fn is_blank(text: &str, range: Range<usize>) -> bool {
    text.get(range).is_none_or(|part| part.trim().is_empty())
}

/// The separator that stands there: none within a redirection (`2>&1`, `&>`, `>|`).
fn separator(bytes: &[u8], at: usize) -> Option<Separator> {
    let byte = *bytes.get(at)?;
    let next = bytes.get(at + 1).copied();
    let before = at.checked_sub(1).and_then(|before| bytes.get(before)).copied();
    let (length, pipe) = match (byte, next) {
        (b'|', Some(b'|')) | (b'&', Some(b'&')) => (2, false),
        (b'|' | b'&', _) if matches!(before, Some(b'>' | b'<')) => return None,
        (b'&', Some(b'>')) => return None,
        (b'|', Some(b'&')) => (2, true),
        (b'|', _) => (1, true),
        (b';' | b'&' | b'\n', _) => (1, false),
        _ => return None,
    };
    Some(Separator {
        range: at..at + length,
        pipe,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(command: &str, needed: &[&str]) -> Option<String> {
        let found = narrow(command, &mut |text| needed.iter().all(|part| text.contains(part)));
        found.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_is_not_needed_is_taken_away() {
        for (command, needed, wanted) in [
            ("cd x && evil && npm test", &["evil"][..], "evil"),
            ("evil a b 2>&1 | tail -20", &["evil"], "evil a b 2>&1"),
            ("evil # run the tests", &["evil"], "evil"),
            ("ls\nevil; pytest -q &", &["evil"], "evil;"),
            ("a | evil | b && c || d", &["evil"], "evil"),
            ("cat x | evil; echo", &["cat x", "evil"], "cat x | evil"),
            ("bash -c 'npm ci && evil && ls'", &["evil"], "bash -c ' evil '"),
            ("echo $(evil; ls | wc) | tee \"a; b\"", &["evil"], "echo $(evil )"),
            ("evil &> out.log && jq . p.json", &["evil"], "evil &> out.log"),
            ("if true; then evil; fi", &["evil"], "then evil"),
            ("echo '# no comment'; evil", &["evil"], "evil"),
            ("evil", &["evil"], "evil"),
        ] {
            assert_eq!(left(command, needed).as_deref(), Some(wanted), "{command}");
        }
    }

    #[test]
    fn what_needs_everything_stays() {
        let command = "a=1; b | c && (d; e) # f";
        let needed = ["a=1", "b", "c", "d", "e", "f"];
        assert_eq!(left(command, &needed).as_deref(), Some(command));
    }

    #[test]
    fn what_has_too_many_pieces_is_told() {
        let many = "x;".repeat(MAX_TRIES);
        assert_eq!(left(&format!("evil; {many}"), &["evil", &many]), None);
        assert_eq!(left(&format!("{many} y; evil"), &["evil", &many]), None);
    }

    #[test]
    fn whatever_a_text_holds_it_ends() {
        for text in ["", "\\", "'", "\"'`\"", ")}({", "| | ;; && é |é", "#", "a #é\n|é"] {
            for piece in pieces(text) {
                assert!(text.get(piece).is_some(), "{text}");
            }
            narrow(text, &mut |left| left.contains('|'));
        }
        let deep = "(".repeat(100_000);
        assert_eq!(pieces(&deep), Vec::<Range<usize>>::new());
    }
}
