//! Results of many runs as one table: attack by kernel and user.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Facility;
use super::trial::Verdict;

/// One result, as the tests of sandboxes report it.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    attack: String,
    theme: String,
    text: String,
    profile: String,
    uid: u32,
    kernel: String,
    landlock: u32,
    promised: bool,
    #[serde(default)]
    needs: Vec<Facility>,
    result: Verdict,
    control: Verdict,
    twin: Verdict,
}

/// Where it ran, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    kernel: Vec<u32>,
    /// Another architecture than x86-64, as Debian's kernels name it.
    arch: Option<&'static str>,
    landlock: u32,
    user: &'static str,
}

impl Place {
    fn of(line: &Line) -> Self {
        let numbers = line.kernel.split(|c: char| !c.is_ascii_digit());
        Self {
            kernel: numbers.filter_map(|digits| digits.parse().ok()).take(2).collect(),
            arch: ["arm64"].into_iter().find(|arch| line.kernel.contains(arch)),
            landlock: line.landlock,
            user: if line.uid == 0 { "root" } else { "user" },
        }
    }

    fn title(&self) -> String {
        let numbers: Vec<_> = self.kernel.iter().map(u32::to_string).collect();
        let arch = self.arch.map(|arch| format!("{arch} ")).unwrap_or_default();
        format!("{} {arch}{}", numbers.join("."), self.user)
    }
}

/// The results of one attack in one place.
#[derive(Debug, Default)]
struct Cell {
    held: BTreeSet<String>,
    escaped: BTreeSet<String>,
    absent: bool,
    /// It is held without a sandbox, too.
    anyway: bool,
    broken: bool,
    twin_refused: BTreeSet<String>,
    promised: bool,
    /// The version of Landlock that would hold it, where the kernel has an older one.
    needs: Option<u32>,
}

impl Cell {
    fn add(&mut self, line: &Line) {
        self.promised |= line.promised;
        self.anyway |= line.control == Verdict::Held;
        let version = |need: &Facility| match need {
            Facility::Landlock(version) => Some(*version).filter(|version| *version > line.landlock),
            _ => None,
        };
        self.needs = self.needs.max(line.needs.iter().filter_map(version).max());
        match line.result {
            Verdict::Held => self.held.insert(line.profile.clone()),
            Verdict::Escaped => self.escaped.insert(line.profile.clone()),
            Verdict::Absent => std::mem::replace(&mut self.absent, true),
            Verdict::Broken => std::mem::replace(&mut self.broken, true),
        };
        if line.twin == Verdict::Held {
            self.twin_refused.insert(line.profile.clone());
        }
    }

    fn word(&self) -> String {
        let names = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
        let mut word = match (self.escaped.is_empty(), self.held.is_empty()) {
            _ if self.broken => "did not run".to_owned(),
            (false, _) if self.needs.is_some() => {
                format!("open: needs Landlock ABI {}", self.needs.unwrap_or_default())
            }
            (false, _) if self.promised => format!("**ESCAPED** ({})", names(&self.escaped)),
            (false, true) => "open".to_owned(),
            (false, false) => format!("open ({})", names(&self.escaped)),
            (true, false) if self.anyway => "held anyway".to_owned(),
            (true, false) => "held".to_owned(),
            (true, true) => "–".to_owned(),
        };
        if !self.twin_refused.is_empty() {
            word.push_str(" †");
        }
        word
    }
}

/// What an attack does, and its results by place.
type Row<'a> = (&'a str, BTreeMap<Place, Cell>);

/// Reads results, one JSON object a line. Lines of runs without a sandbox are what the others are compared with, and not shown.
///
/// # Errors
/// When a line is not a result.
pub fn read(text: &str) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line: Line = serde_json::from_str(line).with_context(|| format!("line {}", number + 1))?;
        if line.profile != "none" {
            lines.push(line);
        }
    }
    Ok(lines)
}

/// The table, in Markdown.
pub fn markdown(lines: &[Line]) -> String {
    let places: BTreeSet<Place> = lines.iter().map(Place::of).collect();
    let mut rows: BTreeMap<(&str, &str), Row<'_>> = BTreeMap::new();
    for line in lines {
        let row = rows
            .entry((&line.theme, &line.attack))
            .or_insert_with(|| (&line.text, BTreeMap::new()));
        row.1.entry(Place::of(line)).or_default().add(line);
    }
    let mut text = String::from("| Attack | What it does |");
    for place in &places {
        let _ = write!(text, " {} |", place.title());
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---|".repeat(places.len()));
    text.push('\n');
    let mut totals: BTreeMap<&Place, BTreeMap<String, u32>> = BTreeMap::new();
    let mut theme = "";
    for ((own, attack), (what, cells)) in &rows {
        if *own != theme {
            theme = own;
            let _ = writeln!(text, "| **{theme}** | |{}", " |".repeat(places.len()));
        }
        let _ = write!(text, "| `{attack}` | {} |", what.replace('|', r"\|"));
        for place in &places {
            let word = cells.get(place).map_or_else(|| "not run".to_owned(), Cell::word);
            let _ = write!(text, " {word} |");
            let kind = word
                .split([' ', '(', ':'])
                .next()
                .unwrap_or_default()
                .trim_matches('*')
                .to_owned();
            *totals.entry(place).or_default().entry(kind).or_insert(0) += 1;
        }
        text.push('\n');
    }
    let mut summary = String::from(
        "| Kernel and user | Landlock ABI | Attacks | Held | Open | Not applicable | Escaped | Did not run |\n",
    );
    summary.push_str("|---|---|---|---|---|---|---|---|\n");
    for place in &places {
        let count = |kind: &str| {
            totals
                .get(place)
                .and_then(|kinds| kinds.get(kind))
                .copied()
                .unwrap_or(0)
        };
        let all: u32 = totals.get(place).map_or(0, |kinds| kinds.values().sum());
        let _ = writeln!(
            summary,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            place.title(),
            place.landlock,
            all - count("not"),
            count("held"),
            count("open"),
            count("–"),
            count("ESCAPED"),
            count("did")
        );
    }
    format!("{summary}\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(attack: &str, profile: &str, kernel: &str, result: &str, promised: bool) -> String {
        let needs = serde_json::json!([{"landlock": if attack == "d" { 9 } else { 1 }}]);
        serde_json::json!({
            "attack": attack, "theme": "files", "text": "reads a | secret", "profile": profile, "uid": 0, "kernel": kernel,
            "landlock": 7, "promised": promised, "needs": needs, "result": result, "control": "escaped", "twin": "escaped",
        })
        .to_string()
    }

    #[test]
    fn an_escape_stands_out_and_what_was_not_run_says_so() {
        let text = [
            line("a", "strict", "6.12.9-x", "held", true),
            line("a", "workspace", "6.12.9-x", "escaped", true),
            line("a", "none", "6.12.9-x", "escaped", true),
            line("a", "strict", "6.12.9-cloud-arm64", "held", true),
            line("b", "strict", "6.1.0", "held", true),
            line("c", "strict", "6.1.0", "escaped", false),
            line("d", "strict", "6.1.0", "escaped", true),
        ]
        .join("\n");
        let table = markdown(&read(&text).unwrap());
        assert!(
            table.contains(r"| `a` | reads a \| secret | not run | **ESCAPED** (workspace) | held |"),
            "{table}"
        );
        assert!(
            table.contains(r"| `b` | reads a \| secret | held | not run | not run |"),
            "{table}"
        );
        assert!(
            table.contains("| 6.1 root | 7 | 3 | 1 | 2 | 0 | 0 | 0 |"),
            "{table}"
        );
        assert!(table.contains("| open: needs Landlock ABI 9 |"), "{table}");
        assert!(
            table.contains("| 6.12 root | 7 | 1 | 0 | 0 | 0 | 1 | 0 |"),
            "{table}"
        );
        assert!(
            table.contains("| 6.12 arm64 root | 7 | 1 | 1 | 0 | 0 | 0 | 0 |"),
            "{table}"
        );
        assert!(read("{}").is_err());
    }
}
