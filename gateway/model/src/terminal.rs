//! Making foreign text safe for a terminal.
//!
//! Prompts, paths, arguments and addresses come from whoever drives the agent. Printed as they are, they could move the
//! cursor, rewrite earlier lines, set the window title or reorder what the reader sees.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a terminal may obey the character or a reader cannot see it: controls (C0, DEL, C1), line and paragraph
/// separators, bidirectional controls, zero-width and other invisible characters, and those that only select variants.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// `text` with every unsafe character written out: `\n`, `\t`, `\r`, `\x1b`, `\u{202e}`. One line, always.
pub fn safe(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            '\n' => safe.write_str("\\n"),
            '\t' => safe.write_str("\\t"),
            '\r' => safe.write_str("\\r"),
            c if u32::from(c) < 0x80 && is_unsafe(c) => write!(safe, "\\x{:02x}", u32::from(c)),
            c if is_unsafe(c) => write!(safe, "\\u{{{:x}}}", u32::from(c)),
            c => safe.write_char(c),
        };
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(safe("a\x1b[2J\x1b]0;owned\x07b"), "a\\x1b[2J\\x1b]0;owned\\x07b");
        assert_eq!(safe("one\ntwo\r\tthree\x7f"), "one\\ntwo\\r\\tthree\\x7f");
        assert_eq!(safe("\u{9b}31m"), "\\u{9b}31m", "C1 control sequence introducer");
    }

    #[test]
    fn what_a_reader_cannot_see_is_written_out() {
        assert_eq!(safe("invoice\u{202e}fdp.sh"), "invoice\\u{202e}fdp.sh");
        assert_eq!(safe("pass\u{200b}wd\u{feff}"), "pass\\u{200b}wd\\u{feff}");
        assert_eq!(
            safe("x\u{e0041}\u{2066}\u{2028}"),
            "x\\u{e0041}\\u{2066}\\u{2028}"
        );
    }

    #[test]
    fn ordinary_text_of_any_script_stays() {
        for text in [
            "cargo build --release",
            "Größe",
            "构建项目",
            "नमस्ते",
            "🦀",
            "e\u{301}",
        ] {
            assert!(matches!(safe(text), Cow::Borrowed(same) if same == text));
        }
    }
}
