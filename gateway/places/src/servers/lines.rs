//! On which lines of a settings file names stand, whichever way it is written.
//!
//! Values know nothing of the text that they were read from. One pass over the text finds where the wanted names are names: before a
//! `:` or `=`, in a heading of TOML, or as what a field `name` says.

use std::collections::HashMap;

/// Longest text behind `name:` that is looked at (bytes), so that a line of nothing else is read once.
const MAX_NAME: usize = 512;

/// Where names stand.
#[derive(Debug)]
pub(super) struct Lines<'w> {
    /// Of each line that has the name: which of all names its last one there is, and the line.
    found: HashMap<&'w str, Vec<(usize, u32)>>,
    /// How many names there were until now.
    names: usize,
}

impl<'w> Lines<'w> {
    /// Looks for names in a text.
    pub(super) fn of(text: &str, wanted: impl Iterator<Item = &'w str>) -> Self {
        let mut lines = Self {
            found: wanted.map(|name| (name, Vec::new())).collect(),
            names: 0,
        };
        for (number, line) in (1..).zip(text.lines()) {
            lines.scan(line, number);
        }
        lines
    }

    /// The line of the last of these names, looked for behind the ones before it. 1 where it cannot be told.
    pub(super) fn line(&self, path: &[&str]) -> u32 {
        let (_, line) = path.iter().fold((0, 1), |from, name| {
            let found = self.found.get(name).map(Vec::as_slice).unwrap_or_default();
            let behind = found.partition_point(|(at, _)| *at <= from.0);
            found.get(behind).copied().unwrap_or(from)
        });
        line
    }

    fn add(&mut self, name: &str, line: u32) {
        self.names += 1;
        let Some(found) = self.found.get_mut(name) else {
            return;
        };
        match found.last_mut() {
            Some((at, last)) if *last == line => *at = self.names,
            _ => found.push((self.names, line)),
        }
    }

    fn scan(&mut self, line: &str, number: u32) {
        let trimmed = line.trim();
        // `[mcp_servers.NAME]`
        if let Some(heading) = trimmed.strip_prefix('[') {
            let heading = heading.trim_start_matches('[');
            let end = heading.find(']').unwrap_or(heading.len());
            for part in parts(&heading[..end]) {
                self.add(part, number);
            }
        }
        // `a name of several words:`, as YAML has it.
        let plain = trimmed.trim_start_matches("- ").trim_start();
        if let Some((name, _)) = plain.split_once(':') {
            self.add(name.trim_end(), number);
        }
        let mut rest = line;
        let mut before = ' ';
        while let Some(first) = rest.chars().next() {
            let (word, behind) = match first {
                '"' | '\'' => quoted(&rest[1..], first),
                '#' if before.is_whitespace() => return,
                // In an address they stand behind a colon.
                '/' if rest.starts_with("//") && (before.is_whitespace() || "{[,}]".contains(before)) => {
                    return;
                }
                _ if is_bare(first) => rest.split_at(rest.find(|c| !is_bare(c)).unwrap_or(rest.len())),
                _ => ("", &rest[first.len_utf8()..]),
            };
            let value = behind.trim_start().strip_prefix([':', '=']);
            if let Some(value) = value.filter(|_| !word.is_empty()) {
                self.named(word, first, number);
                if word == "name" {
                    self.add(scalar(value), number);
                }
            }
            before = first;
            rest = behind;
        }
    }

    fn named(&mut self, word: &str, first: char, line: u32) {
        self.add(word, line);
        match first {
            '"' if word.contains('\\') => {
                if let Ok(plain) = serde_json::from_str::<String>(&format!("\"{word}\"")) {
                    self.add(&plain, line);
                }
            }
            '"' | '\'' => {}
            // `mcp_servers.NAME.command = …`
            _ => word.split('.').for_each(|part| self.add(part, line)),
        }
    }
}

/// What stands in quotes, and what stands behind them. A text that does not end is one to the end of the line.
fn quoted(behind: &str, quote: char) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in behind.char_indices() {
        if c == quote && !escaped {
            return (&behind[..at], &behind[at + 1..]);
        }
        escaped = c == '\\' && !escaped;
    }
    (behind, "")
}

/// The parts of a dotted heading; dots in quotes are none.
fn parts(heading: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = heading;
    while !rest.is_empty() {
        rest = rest.trim_start_matches(['.', ' ', '\t']);
        let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c));
        let (part, behind) = match quote {
            Some(quote) => quoted(&rest[1..], quote),
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        parts.push(part.trim_end());
        rest = behind;
    }
    parts
}

/// The plain text at the start of what stands behind `name:`.
fn scalar(value: &str) -> &str {
    let value = value[..value.floor_char_boundary(MAX_NAME)].trim_start();
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(&value[1..], quote).0,
        _ => value[..value.find([',', '}', '#']).unwrap_or(value.len())].trim_end(),
    }
}

fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || "_-@.$".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_found_behind_what_it_stands_in() {
        for (text, path, line) in [
            (
                "{\n \"x\": \"a\",\n \"mcpServers\": {\n  \"a\": {}}}",
                vec!["mcpServers", "a"],
                4,
            ),
            (
                "{\n \"a\": 1, \"mcpServers\":\n {\n  \"a\" : {}}}",
                vec!["mcpServers", "a"],
                4,
            ),
            (
                "{\"p\": {\"s\": {\n\"a\": 1}},\n\"q\": {\"s\": {\n\"a\": 1}}}",
                vec!["q", "s", "a"],
                4,
            ),
            ("model = \"a\"\n[mcp_servers.a]\n", vec!["mcp_servers", "a"], 2),
            ("[mcp_servers.\"a.b\"]\n", vec!["mcp_servers", "a.b"], 1),
            (
                "x = 1\nmcp_servers.a.command = \"y\"\n",
                vec!["mcp_servers", "a"],
                2,
            ),
            (
                "mcp_servers:\n  b: {}\n  a:\n    command: x\n",
                vec!["mcp_servers", "a"],
                3,
            ),
            ("mcpServers:\n  my server:\n", vec!["mcpServers", "my server"], 2),
            (
                "mcpServers:\n  - command: x\n    name: a b # it\n",
                vec!["mcpServers", "a b"],
                3,
            ),
            (
                "{mcpServers: {\n// \"a\": old\n a: {}}}",
                vec!["mcpServers", "a"],
                3,
            ),
            (
                "{\"mcpServers\": {\n\"a\\u0062\": {}}}",
                vec!["mcpServers", "ab"],
                2,
            ),
            (
                "{// \"mcpServers\":\n\"mcpServers\": {\n\"a\": {\"url\": \"https://h\"}}}",
                vec!["mcpServers", "a"],
                3,
            ),
            // Told as near as it can be.
            ("{\n\"mcpServers\": {}}", vec!["mcpServers", "a"], 2),
            ("", vec!["mcpServers", "a"], 1),
        ] {
            let lines = Lines::of(text, path.iter().copied());
            assert_eq!(lines.line(&path), line, "{text}");
        }
    }

    #[test]
    fn a_long_line_is_read_once() {
        let text = "name:".repeat(20_000) + &"\"a\":".repeat(20_000) + &"[".repeat(20_000);
        let lines = Lines::of(&text, ["a"].into_iter());
        assert_eq!(lines.line(&["a"]), 1);
        assert_eq!(lines.found["a"].len(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_looked_through(text in "([-{}\\[\\]\"',:/*=.\\\\aé\n# ]|name: ?){0,80}") {
            let lines = Lines::of(&text, ["a", "name"].into_iter());
            prop_assert!(lines.line(&["name", "a"]) as usize <= text.lines().count().max(1));
        }
    }
}
