//! Source code of an artifact.
//!
//! [`CodeReader`] is the seam: it is given all source files of an artifact at once, and looks at syntax. Grammars are large, so
//! that only programs that scan carry them; the trait keeps them out of all others. Here stands a pass over tokens: the packs'
//! groups, and the rules for commands on what an interpreter would run. It also sees what has no grammar.

use std::collections::HashMap;

use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::ScanFinding;

use super::Pass;
use super::commands;
use super::lines::Lines;
use super::rules::{Shown, Side};

/// How far apart two findings of one category may stand and be about the same: what tokens see stands within some lines.
const SAME_PLACE: u32 = 12;

/// A programming language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "names of languages")]
pub enum Language {
    Python,
    JavaScript,
    TypeScript,
    Shell,
    PowerShell,
    Ruby,
    Perl,
    Php,
    Go,
    Rust,
    Java,
    Lua,
    C,
    Other,
}

/// A source file.
#[derive(Debug, Clone, Copy)]
pub struct SourceFile<'t> {
    /// Its path in the artifact.
    pub path: &'t str,
    /// The number of the text's first line: 1, but for code in a document.
    pub line: u32,
    /// What it is written in.
    pub language: Language,
    /// What it says.
    pub text: &'t str,
}

/// What reads source code by syntax.
pub trait CodeReader: std::fmt::Debug + Send + Sync {
    /// What is to be said of the source files of one artifact.
    fn read(&self, files: &[SourceFile<'_>]) -> Vec<ScanFinding>;
}

impl Language {
    /// The language of a file name's ending, or of a fence in Markdown.
    pub fn of_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "py" | "pyw" | "python" | "python3" => Self::Python,
            "js" | "mjs" | "cjs" | "jsx" | "javascript" | "node" => Self::JavaScript,
            "ts" | "tsx" | "mts" | "cts" | "typescript" => Self::TypeScript,
            "sh" | "bash" | "zsh" | "ksh" | "dash" | "fish" | "shell" | "console" | "shell-session"
            | "shellsession" | "command" | "terminal" => Self::Shell,
            "ps1" | "psm1" | "psd1" | "powershell" | "pwsh" | "bat" | "cmd" => Self::PowerShell,
            "rb" | "ruby" => Self::Ruby,
            "pl" | "pm" | "perl" => Self::Perl,
            "php" | "phtml" => Self::Php,
            "go" | "golang" => Self::Go,
            "rs" | "rust" => Self::Rust,
            "java" | "kt" | "kts" | "scala" | "groovy" => Self::Java,
            "lua" => Self::Lua,
            "c" | "h" | "cc" | "cpp" | "hpp" | "cs" | "swift" | "m" => Self::C,
            "vbs" | "vba" | "applescript" | "scpt" | "r" | "jl" | "ex" | "exs" => Self::Other,
            _ => return None,
        })
    }

    /// The language of a script's first line.
    pub fn of_first_line(text: &str) -> Option<Self> {
        let line = text.strip_prefix("#!")?.lines().next()?;
        let mut words = line.split([' ', '/', '\t']).filter(|word| !word.is_empty());
        words.find_map(|word| {
            let plain = word.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
            match plain {
                "deno" | "bun" => Some(Self::TypeScript),
                "osascript" => Some(Self::Other),
                plain => Self::of_name(plain),
            }
        })
    }

    /// The program that runs it from its standard input.
    fn interpreter(self) -> Option<&'static str> {
        match self {
            Self::Python => Some("python3 -"),
            Self::JavaScript | Self::TypeScript => Some("node -"),
            Self::Ruby => Some("ruby -"),
            Self::Perl => Some("perl -"),
            Self::Php => Some("php"),
            _ => None,
        }
    }
}

impl Pass<'_> {
    /// What is to be said of source files, those of one artifact together. Shell scripts are not among them.
    pub(crate) fn scan_code(&mut self, files: &[SourceFile<'_>]) -> Vec<ScanFinding> {
        let mut findings = Vec::new();
        for file in files {
            let at = (file.path, file.line);
            findings.extend(commands::source(
                self.detector(),
                file.text,
                file.language.interpreter(),
                at,
            ));
            findings.extend(self.tokens(file.text, at, Shown::Plainly));
        }
        if let Some(reader) = &self.scanner.code {
            let read = reader.read(files);
            without_doubles(&mut findings, &read);
            findings.extend(read);
        }
        findings
    }

    /// What the packs say of code.
    pub(crate) fn tokens(&mut self, text: &str, (file, line): (&str, u32), shown: Shown) -> Vec<ScanFinding> {
        let lines = Lines::code(text, line);
        let scanner = self.scanner;
        scanner.detector.artifact_rules().find(
            (Side::Code, shown),
            &lines,
            (file, &self.identity.topic),
            &mut self.present,
        )
    }
}

/// Takes out what was seen by tokens where syntax says the same of the same lines, and how.
fn without_doubles(findings: &mut Vec<ScanFinding>, read: &[ScanFinding]) {
    let mut places: HashMap<(&str, &str), Vec<(u32, Severity)>> = HashMap::new();
    for one in read {
        let key = (one.file.as_str(), one.category.as_str());
        places.entry(key).or_default().push((one.line, one.severity));
    }
    for of_file in places.values_mut() {
        of_file.sort_unstable();
    }
    findings.retain(|finding| {
        let of_file = places.get(&(finding.file.as_str(), finding.category.as_str()));
        let lines = of_file.map(Vec::as_slice).unwrap_or_default();
        let from = lines.partition_point(|&(line, _)| line.saturating_add(SAME_PLACE) < finding.line);
        !lines
            .get(from..)
            .into_iter()
            .flatten()
            .take_while(|&&(line, _)| line <= finding.line.saturating_add(SAME_PLACE))
            .any(|&(_, severity)| severity >= finding.severity)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_by_ending_and_first_line() {
        assert_eq!(Language::of_name("PY"), Some(Language::Python));
        assert_eq!(Language::of_name("md"), None);
        assert_eq!(
            Language::of_first_line("#!/usr/bin/env python3\nx"),
            Some(Language::Python)
        );
        assert_eq!(
            Language::of_first_line("#!/bin/bash -e\nx"),
            Some(Language::Shell)
        );
        assert_eq!(Language::of_first_line("#!/usr/bin/env -S uv run\n"), None);
        assert_eq!(Language::of_first_line("x"), None);
    }

    #[test]
    fn what_syntax_says_of_the_same_lines_is_said_once() {
        let finding = |rule: &str, category: &str, line, severity| ScanFinding {
            rule: rule.to_owned(),
            category: category.to_owned(),
            severity,
            confidence: 80,
            file: "a.py".to_owned(),
            line,
            message: String::new(),
            evidence: String::new(),
            remedy: String::new(),
        };
        let read = [finding("code.x", "exfiltration", 20, Severity::High)];
        let mut seen = vec![
            finding("near", "exfiltration", 9, Severity::High),
            finding("worse", "exfiltration", 20, Severity::Critical),
            finding("far", "exfiltration", 40, Severity::High),
            finding("other", "persistence", 20, Severity::High),
        ];
        without_doubles(&mut seen, &read);
        let rules: Vec<&str> = seen.iter().map(|one| one.rule.as_str()).collect();
        assert_eq!(rules, ["worse", "far", "other"]);
    }
}
