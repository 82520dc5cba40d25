//! Code within other files: here-documents and arguments of interpreters, code in documents, pages and notebooks; and which scripts are
//! run without being asked.

use defenseclaw_model::decision::Severity;
use defenseclaw_model::facts::Program;
use defenseclaw_model::scan::ScanFinding;
use serde_json::Value;

use super::artifact::Artifact;
use super::code::{Language, SourceFile};
use super::lines::numbered;
use super::{Pass, values};

/// Most pieces of one artifact, and the largest of them (bytes): nobody writes a program into a here-document.
const MAX_PIECES: usize = 256;
const MAX_PIECE: usize = 128 << 10;

/// Fewest bytes that can do something.
const LEAST: usize = 24;

/// Largest settings that are looked through for scripts (bytes), and most scripts.
const MAX_SETTINGS: usize = 256 << 10;
const MAX_SCRIPTS: usize = 500;

/// A piece of code and where it stands.
#[derive(Debug)]
pub(super) struct Inline {
    path: String,
    line: u32,
    language: Language,
    text: String,
}

impl Pass<'_> {
    /// Keeps a piece of code, to be read by syntax once all files were seen.
    pub(super) fn keep_inline(&mut self, (path, line): (&str, u32), language: Language, text: &str) {
        if self.inline.len() >= MAX_PIECES || text.len() < LEAST || text.len() > MAX_PIECE {
            return;
        }
        let text = match language {
            Language::Php if !text.contains("<?") => format!("<?php {text}"),
            _ => text.to_owned(),
        };
        self.inline.push(Inline {
            path: path.to_owned(),
            line,
            language,
            text,
        });
    }

    /// Keeps what a shell's text hands to interpreters.
    pub(super) fn keep_inline_of(&mut self, text: &str, programs: &[Program], (path, line): (&str, u32)) {
        for (first, language, code) in here_documents(text, line) {
            self.keep_inline((path, first), language, &code);
        }
        for program in programs {
            if let Some((language, code)) = argument_of(program) {
                self.keep_inline((path, line), language, code);
            }
        }
    }

    /// What is to be said of the pieces that were kept: only what an attack has, for examples have weaknesses.
    pub(super) fn scan_inline(&mut self) -> Vec<ScanFinding> {
        let kept = std::mem::take(&mut self.inline);
        let Some(reader) = &self.scanner.code else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for piece in &kept {
            let file = SourceFile {
                path: &piece.path,
                line: piece.line,
                language: piece.language,
                text: &piece.text,
            };
            found.extend(reader.read(&[file]));
        }
        found.retain(|finding| finding.severity >= Severity::High);
        found
    }

    /// Whether a script is run without anyone asking for it.
    pub(super) fn is_automatic(&self, path: &str) -> bool {
        super::recipes::runs_where_it_lies(path)
            || self.automatic.iter().any(|named| {
                path.strip_suffix(named.as_str())
                    .is_some_and(|before| before.is_empty() || before.ends_with('/'))
            })
    }

    /// What runs by itself in a hook is told as what it is.
    pub(super) fn raise_automatic(&mut self, path: &str, from: usize) {
        if !self.is_automatic(path) {
            return;
        }
        for finding in self.findings.iter_mut().skip(from) {
            if finding.rule == "conduct.event-sent" {
                finding.severity = Severity::High;
                finding.message.push_str("; it runs without being asked");
            }
        }
    }
}

/// The interpreter's language.
fn language_of(program: &str) -> Option<Language> {
    let name = program.rsplit('/').next().unwrap_or_default();
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    match plain {
        "python" | "pypy" => Some(Language::Python),
        "node" | "nodejs" | "bun" => Some(Language::JavaScript),
        "deno" => Some(Language::TypeScript),
        "ruby" => Some(Language::Ruby),
        "php" => Some(Language::Php),
        _ => None,
    }
}

/// The code that a program is given as an argument.
fn argument_of(program: &Program) -> Option<(Language, &str)> {
    let language = language_of(&program.name)?;
    let flags: &[&str] = match language {
        Language::Python => &["-c"],
        Language::Php => &["-r"],
        Language::TypeScript => &["eval"],
        _ => &["-e", "--eval", "-p", "-pe"],
    };
    let at = program
        .argv
        .iter()
        .position(|word| flags.contains(&word.as_str()))?;
    program.argv.get(at + 1).map(|code| (language, code.as_str()))
}

/// Here-documents that an interpreter reads, or that are written into a file of code.
fn here_documents(text: &str, first: u32) -> Vec<(u32, Language, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, Option<Language>, u32, String)> = None;
    for (number, line) in numbered(text, first) {
        if let Some((end, language, start, code)) = &mut open {
            if line.trim() == end.as_str() {
                if let Some(language) = language {
                    found.push((*start, *language, std::mem::take(code)));
                }
                open = None;
            } else if code.len() < MAX_PIECE {
                code.push_str(line);
                code.push('\n');
            }
            continue;
        }
        let Some(at) = line
            .find("<<")
            .filter(|&at| line.get(at + 2..at + 3) != Some("<"))
        else {
            continue;
        };
        let mark = line
            .get(at + 2..)
            .unwrap_or_default()
            .trim_start_matches('-')
            .trim_start();
        let mark = mark
            .split([' ', ';', '|', '>', ')', '&'])
            .next()
            .unwrap_or_default();
        let mark = mark.trim_matches(['\'', '"', '\\']);
        if mark.is_empty()
            || !mark
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            continue;
        }
        let language = line
            .split([' ', '\t', ';', '|', '(', '>', '"', '\'', '=', '&'])
            .find_map(|word| {
                language_of(word).or_else(|| {
                    let (_, ending) = word.rsplit_once('.')?;
                    Language::of_name(ending).filter(|&language| language != Language::Shell)
                })
            });
        open = Some((mark.to_owned(), language, number + 1, String::new()));
    }
    found
}

/// The scripts that hooks, settings and packages of an artifact run without being asked, by the ends of their paths.
pub(super) fn named_scripts(artifact: &Artifact) -> Vec<String> {
    let mut found = Vec::new();
    for file in &artifact.files {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let settings = [".json", ".jsonc", ".toml"].iter().any(|end| name.ends_with(end));
        if !settings || file.bytes.len() > MAX_SETTINGS || found.len() >= MAX_SCRIPTS {
            continue;
        }
        let text = String::from_utf8_lossy(&file.bytes);
        let value = if name.ends_with(".toml") {
            values::of_toml(&text)
        } else {
            values::of_json(&text)
        };
        let Some(value) = value else { continue };
        let mut commands = Vec::new();
        for field in ["hooks", "statusLine", "apiKeyHelper", "postCreateCommand"] {
            strings(value.get(field), 12, &mut commands);
        }
        for script in ["preinstall", "install", "postinstall", "prepare"] {
            commands.extend(
                value
                    .pointer(&format!("/scripts/{script}"))
                    .and_then(Value::as_str),
            );
        }
        for command in commands {
            found.extend(
                command
                    .split([' ', '"', '\'', ';', '&', '|'])
                    .filter_map(script_of),
            );
        }
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(MAX_SCRIPTS);
    found
}

fn strings<'v>(value: Option<&'v Value>, depth: usize, found: &mut Vec<&'v str>) {
    let Some(below) = depth.checked_sub(1).filter(|_| found.len() < MAX_SCRIPTS) else {
        return;
    };
    match value {
        Some(Value::String(text)) => found.push(text),
        Some(Value::Array(items)) => items.iter().for_each(|item| strings(Some(item), below, found)),
        Some(Value::Object(fields)) => fields
            .values()
            .for_each(|field| strings(Some(field), below, found)),
        _ => {}
    }
}

/// The script that a word of a command names, without what stands for the artifact's own folder.
fn script_of(word: &str) -> Option<String> {
    let word = match word.find('}') {
        Some(at) if word.starts_with("${") => word.get(at + 1..)?,
        _ if word.starts_with('$') => word.get(word.find('/')?..)?,
        _ => word,
    };
    let plain = word.trim_start_matches("./").trim_start_matches('/');
    let script = plain
        .rsplit_once('.')
        .is_some_and(|(_, ending)| Language::of_name(ending).is_some())
        || (plain.contains('/') && !plain.contains(['$', '*', ':']));
    (script && plain.len() >= 4).then(|| plain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::artifact;
    use super::*;

    #[test]
    fn code_is_found_in_scripts() {
        let text = "set -e\npython3 - <<'PY'\nimport os\nprint(os.getcwd())\nPY\ncat > a.js <<EOF\nlet x = 1;\nEOF\ncat <<X\nplain\nX\n";
        let found: Vec<(u32, Language, String)> = here_documents(text, 1);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].0, found[0].1), (3, Language::Python));
        assert_eq!(
            (found[1].0, found[1].1, found[1].2.as_str()),
            (7, Language::JavaScript, "let x = 1;\n")
        );
        let program = Program {
            name: "python3".to_owned(),
            argv: ["python3", "-c", "import os"].map(str::to_owned).to_vec(),
        };
        assert_eq!(argument_of(&program), Some((Language::Python, "import os")));
    }

    #[test]
    fn scripts_that_run_by_themselves_are_named() {
        let hooks = r#"{"hooks": {"Stop": [{"hooks": [{"command": "bash \"${CLAUDE_PLUGIN_ROOT}\"/hooks/a.sh --x"}]}]}}"#;
        let package = r#"{"scripts": {"postinstall": "node ./lib/b.js", "test": "node c.js"}}"#;
        let files = artifact::from_memory([
            ("hooks/hooks.json".to_owned(), hooks.as_bytes().to_vec()),
            ("package.json".to_owned(), package.as_bytes().to_vec()),
        ]);
        assert_eq!(named_scripts(&files), ["hooks/a.sh", "lib/b.js"]);
    }
}
