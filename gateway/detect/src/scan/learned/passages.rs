//! An artifact in passages: what is short enough to be one statement or one step, and long enough to say what it does.
//!
//! Prose is cut into paragraphs and items of lists, each by itself and with the one behind it; code into windows of lines that
//! overlap; settings into values and small objects. Work is linear, and what goes beyond the bounds is left to the rules.

use super::json::{self, Node};

/// Most passages of one artifact: a skill has dozens, a plugin with its packages a few thousand.
pub(super) const MAX_PASSAGES: usize = 4096;

/// Most of one file that is cut (bytes): what is larger is data, or packed for machines.
const MAX_FILE: usize = 256 << 10;

/// Most of all files together (bytes).
const MAX_ALL: usize = 2 << 20;

/// Lines of code in one window, and how far the next one begins behind it.
const WINDOW: (usize, usize) = (10, 5);

/// The same of settings.
const SETTINGS_WINDOW: (usize, usize) = (8, 4);

/// Longest line that stays whole (bytes).
const MAX_LINE: usize = 500;

/// From how many bytes on a paragraph ends with its next line, and how long two of them may be together.
const LONG_PARAGRAPH: usize = 700;
const TOGETHER: usize = 1200;

/// Longest part of a text in settings (bytes), and what is cut where it has no sentences.
const SENTENCES: usize = 450;
const MAX_PART: usize = 900;

/// Longest object that is one passage (bytes as text), and from which length on what is in it is passages, too.
const MAX_OBJECT: usize = 800;
const SMALL_OBJECT: usize = 300;

/// How a passage is meant to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Language.
    Prose,
    /// Language that a page does not show.
    Hidden,
    /// A field before a document.
    Front,
    /// Source code.
    Code,
    /// Code within a document.
    Example,
    /// A text in settings.
    Value,
    /// Several settings.
    Settings,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Prose => "prose",
            Self::Hidden => "hidden",
            Self::Front => "front",
            Self::Code => "code",
            Self::Example => "example",
            Self::Value => "value",
            Self::Settings => "settings",
        }
    }

    /// Whether it is code or settings.
    pub(super) fn is_code(self) -> bool {
        matches!(self, Self::Code | Self::Example | Self::Settings)
    }
}

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Passage {
    /// The file's number.
    pub(super) file: usize,
    /// Its first line, from 1.
    pub(super) line: u32,
    /// The line behind its last one.
    pub(super) end: u32,
    pub(super) role: Role,
    pub(super) text: String,
    /// Where in settings it stands, as keys with `/` before each.
    pub(super) key: String,
    /// Whether nothing of the file stands behind it.
    pub(super) last: bool,
}

/// The passages of files: path and text.
pub(super) fn cut(files: &[(&str, &str)]) -> Vec<Passage> {
    let mut found = Vec::new();
    let mut left = MAX_ALL;
    for (file, (path, text)) in files.iter().enumerate() {
        let text = text
            .get(..text.floor_char_boundary(MAX_FILE.min(left).min(text.len())))
            .unwrap_or_default();
        left -= text.len();
        // What was no text.
        if text.contains('\0') || text.starts_with('\u{fffd}') {
            continue;
        }
        cut_file(file, path, text, &mut found);
        if found.len() >= MAX_PASSAGES {
            break;
        }
    }
    found.truncate(MAX_PASSAGES);
    found
}

fn cut_file(file: usize, path: &str, text: &str, found: &mut Vec<Passage>) {
    let name = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending {
        "md" | "mdc" | "mdx" | "markdown" | "txt" | "rst" | "prompt" | "adoc" => document(file, text, found),
        "json" | "jsonc" | "json5" | "ipynb" => match json::read(text) {
            Some(node) => object(file, &node, &mut String::new(), 0, found),
            None => windows((file, 1), text, SETTINGS_WINDOW, Role::Settings, found),
        },
        "yaml" | "yml" | "toml" | "ini" | "cfg" | "conf" | "env" | "xml" | "html" | "svg" | "csv" | "po"
        | "properties" | "strings" | "lock" => {
            windows((file, 1), text, SETTINGS_WINDOW, Role::Settings, found);
        }
        "" if !text.starts_with("#!")
            && matches!(name.as_str(), "claude" | "agents" | "readme" | "license") =>
        {
            document(file, text, found);
        }
        _ if name.starts_with('.') && name.ends_with("rules") => document(file, text, found),
        _ => windows((file, 1), text, WINDOW, Role::Code, found),
    }
}

/// Lines that are not empty, in windows.
fn windows(
    (file, first): (usize, u32),
    text: &str,
    (size, step): (usize, usize),
    role: Role,
    found: &mut Vec<Passage>,
) {
    let mut lines: Vec<(u32, &str)> = Vec::new();
    for (number, mut line) in (first..).zip(text.lines()) {
        while line.len() > MAX_LINE {
            let (head, rest) = line.split_at(line.floor_char_boundary(MAX_LINE));
            lines.push((number, head));
            line = rest;
        }
        if !line.trim().is_empty() {
            lines.push((number, line));
        }
    }
    let mut at = 0;
    while let Some(&(line, _)) = lines.get(at) {
        let end = (at + size).min(lines.len());
        let window = lines.get(at..end).unwrap_or_default();
        let mut text = String::new();
        for (_, line) in window {
            text.push_str(line);
            text.push('\n');
        }
        let last = end == lines.len();
        found.push(Passage {
            file,
            line,
            end: window.last().map_or(line, |&(line, _)| line) + 1,
            role,
            text,
            key: String::new(),
            last,
        });
        if last || found.len() >= MAX_PASSAGES {
            break;
        }
        at += step;
    }
}

/// A document's fields, paragraphs and blocks of code.
fn document(file: usize, text: &str, found: &mut Vec<Passage>) {
    let units = Units::of(text);
    let count = units.len();
    for (at, unit) in units.iter().enumerate() {
        let passage = |text: String, end: u32, role: Role, last: bool| Passage {
            file,
            line: unit.line,
            end,
            role,
            text,
            key: String::new(),
            last,
        };
        found.push(passage(unit.text.clone(), unit.end, unit.role, at + 1 == count));
        let next = units.get(at + 1).filter(|_| unit.role != Role::Front);
        let Some(next) = next else { continue };
        if unit.text.len() + next.text.len() > TOGETHER {
            continue;
        }
        let role = match (unit.role, next.role) {
            (Role::Hidden, _) | (_, Role::Hidden) => Role::Hidden,
            (Role::Example, role) => role,
            (role, _) => role,
        };
        let both = format!("{}\n{}", unit.text, next.text);
        found.push(passage(both, next.end, role, at + 2 == count));
        if found.len() >= MAX_PASSAGES {
            break;
        }
    }
}

#[derive(Debug, Clone)]
struct Unit {
    line: u32,
    end: u32,
    role: Role,
    text: String,
}

/// A document that is being cut.
#[derive(Debug, Default)]
struct Units {
    found: Vec<Unit>,
    open: String,
    start: u32,
    /// Whether a comment of a page is open.
    comment: bool,
}

impl Units {
    fn of(text: &str) -> Vec<Unit> {
        let lines: Vec<&str> = text.lines().collect();
        let mut units = Self::default();
        let mut at = units.front(&lines);
        while let Some(line) = lines.get(at) {
            let number = u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1);
            let shown = line.trim_start_matches([' ', '\t', '>']);
            if shown.starts_with("```") || shown.starts_with("~~~") {
                units.close(number);
                at = units.block(&lines, at, shown.get(..3).unwrap_or_default());
                continue;
            }
            units.line(number, line, shown);
            at += 1;
        }
        let end = u32::try_from(lines.len()).unwrap_or(u32::MAX).saturating_add(1);
        units.close(end);
        units.found
    }

    fn front(&mut self, lines: &[&str]) -> usize {
        if lines.first().is_none_or(|line| line.trim() != "---") {
            return 0;
        }
        let Some(count) = lines.iter().skip(1).position(|line| line.trim() == "---") else {
            return 0;
        };
        let fields = lines.get(1..=count).unwrap_or_default();
        for (number, field) in (2..).zip(fields) {
            self.add(number, number + 1, Role::Front, (*field).to_owned());
        }
        let end = u32::try_from(count).unwrap_or(u32::MAX).saturating_add(2);
        self.add(2, end, Role::Front, fields.join("\n"));
        count + 2
    }

    /// A block of code; gives the line behind it.
    fn block(&mut self, lines: &[&str], at: usize, fence: &str) -> usize {
        let rest = lines.get(at + 1..).unwrap_or_default();
        let closes = |line: &&str| line.trim_start_matches([' ', '\t', '>']).starts_with(fence);
        let count = rest.iter().position(closes).unwrap_or(rest.len());
        let body = rest.get(..count).unwrap_or_default().join("\n");
        let first = u32::try_from(at).unwrap_or(u32::MAX).saturating_add(2);
        let mut found = Vec::new();
        windows((0, first), &body, WINDOW, Role::Example, &mut found);
        for passage in found {
            self.add(passage.line, passage.end, Role::Example, passage.text);
        }
        at + count + 2
    }

    fn line(&mut self, number: u32, line: &str, shown: &str) {
        if shown.trim().is_empty() {
            if !self.comment {
                self.close(number);
            }
            return;
        }
        let digits = shown.trim_start_matches(|c: char| c.is_ascii_digit());
        let numbered = digits.len() < shown.len() && digits.starts_with(['.', ')']);
        let item = numbered
            || shown.starts_with(['#', '|'])
            || ["- ", "* ", "+ "].iter().any(|mark| shown.starts_with(mark));
        if (item && !self.comment) || self.open.len() > LONG_PARAGRAPH {
            self.close(number);
        }
        if shown.contains("<!--") {
            self.close(number);
            self.comment = true;
        }
        if self.open.is_empty() {
            self.start = number;
        }
        let line = line.trim();
        self.open
            .push_str(line.get(..line.floor_char_boundary(2 * TOGETHER)).unwrap_or(line));
        self.open.push('\n');
        if self.comment && shown.contains("-->") {
            self.close(number + 1);
            self.comment = false;
        }
    }

    fn close(&mut self, end: u32) {
        let text = std::mem::take(&mut self.open);
        let role = if self.comment { Role::Hidden } else { Role::Prose };
        self.add(self.start, end, role, text);
    }

    fn add(&mut self, line: u32, end: u32, role: Role, text: String) {
        if !text.trim().is_empty() {
            self.found.push(Unit {
                line,
                end: end.max(line + 1),
                role,
                text,
            });
        }
    }
}

/// The passages of a value of settings.
fn object(file: usize, node: &Node, key: &mut String, depth: usize, found: &mut Vec<Passage>) {
    if found.len() >= MAX_PASSAGES {
        return;
    }
    let passage = |text: String, role: Role, key: &str, last: bool| Passage {
        file,
        line: node.line,
        end: node.end + 1,
        role,
        text,
        key: key.to_owned(),
        last,
    };
    match &node.value {
        json::Value::Text(text) if text.len() >= 16 => {
            let parts = parts(text);
            let count = parts.len();
            for (at, part) in parts.into_iter().enumerate() {
                found.push(passage(part, Role::Value, key, at + 1 == count));
            }
        }
        json::Value::Text(_) | json::Value::Other(_) => {}
        json::Value::Many(fields) => {
            let mut all = String::new();
            flat(node, MAX_OBJECT + 1, &mut all);
            if all.len() <= MAX_OBJECT && !all.trim().is_empty() {
                found.push(passage(all.clone(), Role::Settings, key, false));
            }
            for field in fields {
                let long = matches!(&field.value, json::Value::Text(text) if text.len() > 60);
                if all.len() <= SMALL_OBJECT && depth >= 2 && !long {
                    continue;
                }
                let before = key.len();
                if !field.key.is_empty() {
                    key.push('/');
                    key.push_str(&field.key);
                }
                object(file, field, key, depth + 1, found);
                key.truncate(before);
            }
        }
    }
}

/// A text in parts of a few sentences.
fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for sentence in text.split_inclusive(['\n', '.', '!', '?', '\u{3002}', ';']) {
        let mut sentence = sentence;
        while sentence.len() > MAX_PART {
            let (head, rest) = sentence.split_at(sentence.floor_char_boundary(MAX_PART));
            parts.push(head.to_owned());
            sentence = rest;
        }
        match parts.last_mut() {
            Some(part) if part.len() + sentence.len() <= SENTENCES || part.is_empty() => {
                part.push_str(sentence)
            }
            _ => parts.push(sentence.to_owned()),
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// A value's texts, each behind its key.
fn flat(node: &Node, most: usize, text: &mut String) {
    if text.len() > most {
        return;
    }
    match &node.value {
        json::Value::Many(fields) => fields.iter().for_each(|field| {
            if field.key.is_empty() && !matches!(field.value, json::Value::Many(_)) {
                line(&node.key, field, text);
            } else {
                flat(field, most, text);
            }
        }),
        _ => line(&node.key, node, text),
    }
}

fn line(key: &str, node: &Node, text: &mut String) {
    if let json::Value::Text(value) | json::Value::Other(value) = &node.value {
        text.push_str(key);
        text.push_str(": ");
        text.push_str(value);
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &str, text: &str) -> Vec<(u32, Role, String)> {
        let found = cut(&[(path, text)]);
        found
            .into_iter()
            .map(|one| (one.line, one.role, one.text))
            .collect()
    }

    #[test]
    fn a_document_is_cut_into_fields_paragraphs_and_code() {
        let found = texts(
            "SKILL.md",
            "---\nname: a\n---\n# T\n\nOne.\nTwo.\n\n```sh\nls\n```\n<!-- x\n\ny -->\n",
        );
        let at = |line: u32, role: Role, text: &str| found.contains(&(line, role, text.to_owned()));
        assert!(at(2, Role::Front, "name: a"), "{found:?}");
        assert!(at(6, Role::Prose, "One.\nTwo.\n"), "{found:?}");
        assert!(at(10, Role::Example, "ls\n"), "{found:?}");
        assert!(at(12, Role::Hidden, "<!-- x\ny -->\n"), "{found:?}");
    }

    #[test]
    fn settings_are_cut_into_objects_and_texts_with_their_lines() {
        let found = cut(&[(
            "a.json",
            "{\"a\": {\"command\": \"x\",\n \"args\": [\"one\", \"two\"]}}",
        )]);
        assert!(
            found
                .iter()
                .any(|one| one.text == "command: x\nargs: one\nargs: two\n" && one.end == 3),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_large_ends() {
        let long = "x = 1\n".repeat(200_000);
        let found = cut(&[("a.py", &long), ("b.md", &"- a\n".repeat(100_000))]);
        assert!(found.len() <= MAX_PASSAGES);
        let found = cut(&[("a.json", &format!("[\"{}\"]", "é".repeat(90_000)))]);
        assert!(found.iter().all(|one| one.text.len() <= MAX_PART));
    }
}
