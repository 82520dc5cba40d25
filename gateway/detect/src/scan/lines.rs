//! Texts as rules search them, with the way back to the line that a match stands on.

use crate::text::fold::fold;

/// What stands between two paragraphs of a folded text: it ends a sentence, so that no phrase goes over it.
const BREAK: &str = " . ";

/// A text to be searched, and where its lines begin in it.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    text: String,
    /// Where each line begins in the text, and its number in the file.
    starts: Vec<(usize, u32)>,
    /// Where each paragraph begins.
    paragraphs: Vec<usize>,
    /// Where items of lists, headings and rows of tables begin, and whether it is a row.
    items: Vec<(usize, bool)>,
    /// Where blocks of code begin and end.
    code: Vec<(usize, usize)>,
}

/// Most of a block of code that is read with the sentences beside it (bytes).
const MAX_CODE: usize = 1600;

/// What prose is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'t> {
    /// A line and its number.
    Line(u32, &'t str),
    /// A block of code and the number of its first line.
    Code(u32, &'t str),
}

impl Lines {
    /// Prose as its reader takes it, line by line: lower case, look-alikes as what they look like, one space between words.
    pub(crate) fn prose<'t>(lines: impl IntoIterator<Item = (u32, &'t str)>) -> Self {
        Self::parts(lines.into_iter().map(|(number, line)| Part::Line(number, line)))
    }

    /// The same with blocks of code, which belong to the paragraphs before and behind them.
    pub(crate) fn parts<'t>(parts: impl IntoIterator<Item = Part<'t>>) -> Self {
        let mut prose = Self::default();
        let (mut ended, mut after_code) = (true, false);
        for part in parts {
            let (number, line) = match part {
                Part::Line(number, line) => (number, line),
                Part::Code(number, code) => {
                    after_code = prose.add_code(number, code) || after_code;
                    continue;
                }
            };
            let folded = fold(line).text;
            let folded = folded.trim();
            if folded.is_empty() {
                ended = !after_code;
                continue;
            }
            ended &= !std::mem::take(&mut after_code);
            if ended {
                if !prose.text.is_empty() {
                    prose.text.push_str(BREAK);
                }
                prose.paragraphs.push(prose.text.len());
            } else {
                prose.text.push(' ');
            }
            ended = false;
            prose.starts.push((prose.text.len(), number));
            let raw = line.trim_start();
            if raw.starts_with(['-', '*', '+', '#', '|']) || raw.starts_with(|c: char| c.is_ascii_digit()) {
                prose.items.push((prose.text.len(), raw.starts_with('|')));
            }
            prose.text.push_str(folded);
        }
        prose
    }

    /// Adds a block of code to the paragraph that stands before it; says whether there is any.
    fn add_code(&mut self, number: u32, code: &str) -> bool {
        let code = code.get(..code.floor_char_boundary(MAX_CODE)).unwrap_or(code);
        let folded = fold(code).text;
        let folded = folded.trim();
        if folded.is_empty() {
            return false;
        }
        if self.text.is_empty() {
            self.paragraphs.push(0);
        } else {
            self.text.push(' ');
        }
        let start = self.text.len();
        self.starts.push((start, number));
        self.text.push_str(folded);
        self.code.push((start, self.text.len()));
        true
    }

    /// Where blocks of code begin and end.
    pub(crate) fn code_blocks(&self) -> &[(usize, usize)] {
        &self.code
    }

    /// Code as it stands, in lower case.
    pub(crate) fn code(text: &str, first_line: u32) -> Self {
        let mut starts = vec![(0, first_line)];
        let breaks = memchr::memchr_iter(b'\n', text.as_bytes());
        starts.extend(
            (first_line + 1..)
                .zip(breaks)
                .map(|(number, at)| (at + 1, number)),
        );
        Self {
            text: text.to_ascii_lowercase(),
            starts,
            ..Self::default()
        }
    }

    /// Where items of lists, headings and rows of tables begin.
    pub(crate) fn items(&self) -> impl Iterator<Item = usize> {
        self.items.iter().map(|&(start, _)| start)
    }

    /// Whether a place stands in a row of a table.
    pub(crate) fn is_table(&self, at: usize) -> bool {
        let behind = self.items.partition_point(|&(start, _)| start <= at);
        let item = behind.checked_sub(1).and_then(|index| self.items.get(index));
        item.is_some_and(|&(start, row)| row && self.paragraph(start) == self.paragraph(at))
    }

    /// Whether a place stands between quotation marks or in a span of code that its line has opened.
    pub(crate) fn is_quoted(&self, at: usize) -> bool {
        let behind = self.starts.partition_point(|&(start, _)| start <= at);
        let start = behind.checked_sub(1).and_then(|index| self.starts.get(index));
        let before = start.and_then(|&(start, _)| self.text.as_bytes().get(start..at));
        let open = |mark: u8| memchr::memchr_iter(mark, before.unwrap_or_default()).count() % 2 == 1;
        open(b'"') || open(b'`')
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The line that a place stands on; 0 where there is none.
    pub(crate) fn line(&self, at: usize) -> u32 {
        let behind = self.starts.partition_point(|&(start, _)| start <= at);
        behind
            .checked_sub(1)
            .and_then(|index| self.starts.get(index))
            .map_or(0, |&(_, number)| number)
    }

    /// Where each line begins and ends, and its number.
    pub(crate) fn places(&self) -> impl Iterator<Item = (usize, usize, u32)> {
        let ends = self.starts.iter().skip(1).map(|&(start, _)| start);
        let ends = ends.chain(std::iter::once(self.text.len()));
        self.starts
            .iter()
            .zip(ends)
            .map(|(&(start, number), end)| (start, end, number))
    }

    /// The number of the paragraph that a place stands in; of code all is one.
    pub(crate) fn paragraph(&self, at: usize) -> usize {
        self.paragraphs.partition_point(|&start| start <= at)
    }

    /// Whether a paragraph ends with a colon: what follows belongs to it.
    pub(crate) fn announces(&self, paragraph: usize) -> bool {
        let behind = self.paragraphs.get(paragraph).copied().unwrap_or(self.text.len());
        let text = self.text.get(..behind).unwrap_or_default();
        text.strip_suffix(BREAK).unwrap_or(text).ends_with(':')
    }

    /// The line on which `phrase`, folded, stands first.
    pub(crate) fn line_of(&self, phrase: &str) -> Option<u32> {
        memchr::memmem::find(self.text.as_bytes(), phrase.as_bytes()).map(|at| self.line(at))
    }

    /// What stands from `start` to `end`, with a little around it.
    pub(crate) fn excerpt(&self, start: usize, end: usize) -> &str {
        const AROUND: usize = 24;
        let from = self.text.floor_char_boundary(start.saturating_sub(AROUND));
        let to = self.text.ceil_char_boundary((end + AROUND).min(self.text.len()));
        self.text.get(from..to).unwrap_or_default().trim()
    }
}

/// The lines of a text with their numbers, from `first`.
pub(crate) fn numbered(text: &str, first: u32) -> impl Iterator<Item = (u32, &str)> {
    (first..).zip(text.lines())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_over_line_breaks_are_found_on_their_first_line() {
        let text = "# Title\n\nSend the\nsecrets  away.\n\nNow.";
        let lines = Lines::prose(numbered(text, 1));
        assert_eq!(lines.line_of("send the secrets"), Some(3));
        assert_eq!(lines.line_of("now"), Some(6));
        let at = lines.text().find("secrets").unwrap();
        assert_eq!(lines.paragraph(at), lines.paragraph(at - 5));
        assert_ne!(lines.paragraph(at), lines.paragraph(lines.text().len() - 1));
    }

    #[test]
    fn a_block_of_code_belongs_to_the_paragraphs_beside_it() {
        let parts = [
            Part::Line(1, "Run this."),
            Part::Line(2, ""),
            Part::Code(4, "make all"),
            Part::Line(6, ""),
            Part::Line(7, "Say nothing."),
            Part::Line(8, ""),
            Part::Line(9, "Then go on."),
        ];
        let lines = Lines::parts(parts);
        assert_eq!(lines.text(), "run this. make all say nothing. . then go on.");
        assert_eq!(lines.code_blocks(), [(10, 18)]);
        assert_eq!(lines.line(10), 4);
        assert_eq!(lines.paragraph(0), lines.paragraph(25));
        assert_ne!(lines.paragraph(0), lines.paragraph(lines.text().len() - 1));
    }

    #[test]
    fn code_keeps_its_places() {
        let lines = Lines::code("A\nImport OS\n", 10);
        assert_eq!(lines.line_of("import os"), Some(11));
        assert_eq!(lines.line(0), 10);
    }
}
