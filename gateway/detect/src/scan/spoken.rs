//! Texts in source code that a model reads: what tools say of themselves, and what servers answer.

use defenseclaw_model::decision::Severity;

use super::Pass;
use super::lines::numbered;
use super::markdown;
use super::rules::Shown;

/// Marks of code that defines tools for a model.
const MARKS: &[&str] = &[
    "mcp.tool",
    "FastMCP",
    "McpServer",
    "server.tool(",
    "registerTool(",
    "registerPrompt(",
    "inputSchema",
    "input_schema",
    "call_tool",
    "list_tools",
    "setRequestHandler",
    "ToolDefinition",
    "defineTool",
    "rmcp::",
    "mcp-go",
    "modelcontextprotocol",
];

/// Fewest bytes of a text that can instruct.
const LEAST: usize = 24;

/// Bytes of an average line from which on code was packed for machines.
const PACKED: usize = 300;

/// Most that is read of one file (bytes): what tools say is a small part of their code.
const MAX_SPOKEN: usize = 256 << 10;

impl Pass<'_> {
    /// The texts of code that defines tools, as their reader takes them.
    pub(super) fn spoken(&mut self, path: &str, text: &str) {
        // What was packed for machines holds no texts in their places, and was read where it was written.
        let lines = memchr::memchr_iter(b'\n', text.as_bytes()).count() + 1;
        if text.len() / lines > PACKED {
            return;
        }
        // What a hook prints is put before a model.
        let defines = MARKS
            .iter()
            .any(|mark| memchr::memmem::find(text.as_bytes(), mark.as_bytes()).is_some());
        if !defines && !self.is_automatic(path) {
            return;
        }
        self.said(path, &literals(text));
    }

    /// What a shell script prints: a model that runs it, or whose hook it is, reads that.
    pub(super) fn printed(&mut self, path: &str, text: &str) {
        self.said(path, &printed_in(text));
    }

    /// Judges texts as their reader takes them.
    fn said(&mut self, path: &str, texts: &[(u32, &str)]) {
        let mut lines: Vec<(u32, &str)> = Vec::new();
        for &(line, said) in texts {
            lines.extend(numbered(said, line));
            lines.push((line, ""));
        }
        if lines.is_empty() {
            return;
        }
        let before = self.findings.len();
        self.language(path, &lines, Shown::Plainly, true);
        for &(line, said) in texts {
            for passage in markdown::hidden_in(said) {
                let first = line.saturating_add(passage.line.saturating_sub(1));
                let hidden: Vec<(u32, &str)> = passage.text.lines().map(|said| (first, said)).collect();
                self.prose(path, &hidden, Shown::Hidden);
            }
        }
        // Code asks models for many things; only what is no ordinary request is told.
        let mut number = 0;
        self.findings.retain(|finding| {
            number += 1;
            number <= before || finding.severity >= Severity::High
        });
    }
}

/// What a shell's text prints: words behind `echo` and `printf`, and here-documents. One pass.
fn printed_in(text: &str) -> Vec<(u32, &str)> {
    let mut found = Vec::new();
    let (mut kept, mut at) = (0, 0);
    let mut open: Option<(&str, u32, usize)> = None;
    for (number, line) in numbered(text, 1) {
        let start = at;
        at = (start + line.len() + 1).min(text.len());
        if text.as_bytes().get(start + line.len()) == Some(&b'\r') {
            at = (at + 1).min(text.len());
        }
        if let Some((end, first, from)) = open {
            if line.trim() == end {
                found.extend(text.get(from..start).map(|said| (first, said)));
                open = None;
            }
            continue;
        }
        let plain = line.trim_start();
        if let Some(end) = here_mark(plain) {
            open = Some((end, number + 1, at));
        } else if plain.starts_with("echo ") || plain.starts_with("printf ") {
            let said = plain.split_once(' ').map_or("", |(_, said)| said);
            if said.len() >= LEAST {
                found.push((number, said.trim_matches(['"', '\''])));
            }
        }
        kept += line.len();
        if kept > MAX_SPOKEN {
            break;
        }
    }
    found
}

/// The word that ends the here-document which a line begins.
fn here_mark(line: &str) -> Option<&str> {
    let (_, behind) = line.split_once("<<")?;
    let word = behind.trim_start_matches('-').trim_start();
    let word = word
        .split([' ', ';', '|', '>', ')', '&'])
        .next()?
        .trim_matches(['\'', '"', '\\']);
    let plain = !word.is_empty()
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    plain.then_some(word)
}

/// The texts between quotation marks that are long enough to say something, with the line of each. One pass.
pub(super) fn literals(text: &str) -> Vec<(u32, &str)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line, mut kept) = (0, 1_u32, 0);
    while let Some(&byte) = bytes.get(at) {
        if byte == b'\n' {
            line += 1;
        }
        if !matches!(byte, b'"' | b'\'' | b'`') {
            at += 1;
            continue;
        }
        let three = bytes.get(at..at + 3) == Some(&[byte; 3]);
        let mark = if three && byte != b'`' { 3 } else { 1 };
        let many_lines = mark == 3 || byte == b'`';
        let start = at + mark;
        let (end, breaks) = end_of(bytes, start, byte, mark, many_lines);
        if let Some(said) = text
            .get(start..end)
            .filter(|said| said.len() >= LEAST && said.contains(' '))
        {
            kept += said.len();
            if kept > MAX_SPOKEN {
                break;
            }
            found.push((line, said));
        }
        line += breaks;
        at = if bytes.get(end) == Some(&b'\n') {
            end
        } else {
            end + mark
        };
    }
    found
}

/// Where a text ends, and how many lines it has gone on for. One that is not closed ends with its line.
fn end_of(bytes: &[u8], start: usize, quote: u8, mark: usize, many_lines: bool) -> (usize, u32) {
    let (mut at, mut breaks) = (start, 0);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => {
                at += 1;
                breaks += u32::from(bytes.get(at) == Some(&b'\n'));
            }
            b'\n' if !many_lines => return (at, breaks),
            b'\n' => breaks += 1,
            _ if byte == quote && (mark == 1 || bytes.get(at..at + 3) == Some(&[quote; 3])) => {
                return (at, breaks);
            }
            _ => {}
        }
        at += 1;
    }
    (bytes.len(), breaks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_found_with_their_lines() {
        let text = "x = 'short'\ndef f():\n    \"\"\"Read the file that is named,\n    and answer.\"\"\"\ny = \"one two three four five six\"\n# don't\nz = `a long template text here, is it`\n";
        let found = literals(text);
        assert_eq!(found.iter().map(|&(line, _)| line).collect::<Vec<_>>(), [3, 5, 7]);
        assert!(found[0].1.ends_with("and answer."));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[a-z \"'`\\\\\né]{0,200}") {
            for (line, said) in literals(&text) {
                prop_assert!(line as usize <= text.lines().count() + 1);
                prop_assert!(said.len() >= LEAST);
            }
        }
    }
}
