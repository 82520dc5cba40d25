//! A shell's history in which one command is looked up.

use defenseclaw_model::facts::Program;

use super::Analysis;

/// Words by which a history is searched for what must not be shown, or for where it may be used.
const TELLING: &[&str] = &[
    "pass", "pwd", "pw", "token", "key", "secret", "cred", "auth", "login", "export", "ssh", "sudo", "su ",
    "sql", "curl", "wget", "http", "aws", "vault", "akia", "ghp", "bearer", "-p", "-u", "env", "api", "ftp",
    "redis", "mongo", "gpg", "openssl", "scp", "rsync", "user",
];

/// Fewest letters or digits in a row that leave most lines out.
const FEW: usize = 3;

/// Whether the program that is being looked at searches for words that have nothing to do with secrets.
pub(super) fn is_looked_up(analysis: &Analysis) -> bool {
    let program = analysis.current.and_then(|at| analysis.facts.programs.get(at));
    program.is_some_and(looks_up)
}

/// Whether a program searches for words that have nothing to do with secrets.
pub(super) fn looks_up(program: &Program) -> bool {
    if !matches!(program.name.as_str(), "grep" | "egrep" | "fgrep" | "rg") {
        return false;
    }
    let mut words = program.argv.iter().skip(1).map(String::as_str);
    let mut patterns = Vec::new();
    let mut first = None;
    while let Some(word) = words.next() {
        match word {
            "-e" | "--regexp" => patterns.extend(words.next()),
            "-m" | "--max-count" => {
                words.next();
            }
            _ if word.starts_with("--regexp=") => patterns.extend(word.split_once('=').map(|(_, text)| text)),
            _ if word.starts_with("--") => {
                let plain = [
                    "--no-filename",
                    "--ignore-case",
                    "--line-number",
                    "--color",
                    "--text",
                    "--fixed-strings",
                ];
                if !plain.iter().any(|known| word.starts_with(known)) {
                    return false;
                }
            }
            // What is left out, files of patterns, and lines around a find are no words that are looked up.
            _ if word.starts_with('-') => {
                if word.contains(['v', 'f', 'A', 'B', 'C', 'e', 'z', 'L']) {
                    return false;
                }
            }
            _ => first = first.or(Some(word)),
        }
    }
    if patterns.is_empty() {
        patterns.extend(first);
    }
    !patterns.is_empty() && patterns.into_iter().all(is_plain)
}

/// Whether each alternative of a pattern leaves most lines out and asks for nothing secret.
fn is_plain(pattern: &str) -> bool {
    let lower = pattern.to_ascii_lowercase();
    let known = |c: char| c.is_ascii_alphanumeric() || " -_/^:()|\\".contains(c);
    lower.chars().all(known)
        && lower.split('|').all(|either| {
            either
                .split(|c: char| !c.is_ascii_alphanumeric())
                .any(|run| run.len() >= FEW)
        })
        && !TELLING.iter().any(|word| lower.contains(word))
}
