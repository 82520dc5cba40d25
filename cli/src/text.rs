//! Text for a terminal: made safe, cut, padded, broken into lines.

use std::borrow::Cow;

pub use defenseclaw_model::terminal::{is_unsafe, safe};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that safe text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// `text` cut at its end to at most `columns`, with `…` in place of what was cut.
pub fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let mut kept = take(text.chars(), columns.saturating_sub(1));
    kept.push('…');
    Cow::Owned(kept)
}

/// `text` cut at its start to at most `columns`: of a path, the end tells more.
pub fn cut_start(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let kept = take(text.chars().rev(), columns.saturating_sub(1));
    Cow::Owned(std::iter::once('…').chain(kept.chars().rev()).collect())
}

fn take(chars: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= columns
        })
        .collect()
}

/// `text` with blanks up to `columns`.
pub fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// `text` with blanks before it up to `columns`.
pub fn pad_start(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Safe text broken into lines of at most `columns`, at blanks where there are some.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut word = Cow::Borrowed(word);
        if !line.is_empty() && width(&line) + 1 + width(&word) > columns {
            lines.push(std::mem::take(&mut line));
        }
        while line.is_empty() && width(&word) > columns {
            // A character wider than the line still has to go somewhere.
            let head = take(word.chars(), columns.max(2));
            let rest = word[head.len()..].to_owned();
            lines.push(head);
            word = Cow::Owned(rest);
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// Arguments as a shell would take them, safe for a terminal. For reading, not for running.
pub fn command_line(argv: &[String], truncated: bool) -> String {
    let mut line = String::new();
    for (i, argument) in argv.iter().enumerate() {
        if i > 0 {
            line.push(' ');
        }
        line.push_str(&quoted(argument));
    }
    if truncated {
        line.push_str(" …");
    }
    line
}

fn quoted(argument: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "_-./:=,+@%^~".contains(c);
    let shown = safe(argument);
    if !argument.is_empty() && argument.chars().all(plain) {
        return shown;
    }
    if argument.contains('\'') && !argument.contains(['"', '$', '`', '\\']) {
        return Cow::Owned(format!("\"{shown}\""));
    }
    Cow::Owned(format!("'{}'", shown.replace('\'', "'\\''")))
}

/// `1,204`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 call`, `1,204 calls`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cutting_counts_columns_not_bytes() {
        assert_eq!(cut("构建项目", 5), "构建…");
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut_start("/a/very/long/path.rs", 8), "…path.rs");
    }

    #[test]
    fn wrapping_breaks_at_blanks_and_splits_what_has_none() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn a_command_line_reads_like_one() {
        let argv = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            command_line(&argv(&["sh", "-c", "echo $HOME; ls"]), false),
            "sh -c 'echo $HOME; ls'"
        );
        assert_eq!(
            command_line(&argv(&["echo", "it's", ""]), false),
            "echo \"it's\" ''"
        );
        assert_eq!(command_line(&argv(&["x", "a\x1b[0m"]), true), "x 'a\\x1b[0m' …");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(count(7), "7");
        assert_eq!(count(1_204), "1,204");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "call", "calls"), "1 call");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_survives(text in any::<String>()) {
            prop_assert!(!safe(&text).contains(is_unsafe));
            prop_assert!(!command_line(std::slice::from_ref(&text), false).contains(is_unsafe));
        }

        #[test]
        fn cuts_and_wraps_keep_to_their_width(text in any::<String>(), columns in 2usize..40) {
            let text = safe(&text);
            prop_assert!(width(&cut(&text, columns)) <= columns);
            prop_assert!(width(&cut_start(&text, columns)) <= columns);
            for line in wrap(&text, columns) {
                prop_assert!(width(&line) <= columns);
            }
        }
    }
}
