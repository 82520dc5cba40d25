//! What a file calls by another name: its imports, read from their text. Each language writes them in its own way.

use defenseclaw_detect::scan::code::Language;

/// A name in a file, and the dotted path that it stands for.
pub(crate) type Import = (String, String);

/// Most names of one import; whoever needs more imports a module.
const MAX_NAMES: usize = 500;

/// The names that an import brings.
pub(crate) fn read(language: Language, text: &str) -> Vec<Import> {
    let mut found = match language {
        Language::Python => python(text),
        Language::JavaScript | Language::TypeScript => javascript(text),
        Language::Go => go(text),
        Language::Rust => rust(text),
        _ => Vec::new(),
    };
    found.truncate(MAX_NAMES);
    found
}

/// A module as it is known to rules: without the scheme of Node's own; a file of the artifact by its name alone.
pub(crate) fn module(name: &str) -> String {
    let name = name.strip_prefix("node:").unwrap_or(name);
    if !name.starts_with('.') {
        return name.to_owned();
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    stem(last).to_owned()
}

/// A file's name without its ending.
pub(crate) fn stem(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split_once('.')
        .map_or(last, |(stem, _)| if stem.is_empty() { last } else { stem })
}

/// `a as b`: what it is, and what it is called.
fn named(item: &str) -> (&str, &str) {
    let mut words = item.split_whitespace();
    let name = words.next().unwrap_or_default();
    match (words.next(), words.next()) {
        (Some("as"), Some(alias)) => (name, alias),
        _ => (name, name),
    }
}

fn python(text: &str) -> Vec<Import> {
    let text: String = text.chars().filter(|c| !matches!(c, '(' | ')' | '\\')).collect();
    if let Some((from, names)) = text
        .strip_prefix("from")
        .and_then(|rest| rest.split_once(" import"))
    {
        let from = from.trim().trim_start_matches('.');
        let items = names.split(',').map(named).filter(|(name, _)| !name.is_empty());
        return items
            .map(|(name, alias)| {
                let path = if from.is_empty() {
                    name.to_owned()
                } else {
                    format!("{from}.{name}")
                };
                (alias.to_owned(), path)
            })
            .collect();
    }
    let names = text.strip_prefix("import").unwrap_or_default();
    let items = names.split(',').map(|item| (named(item), item.contains(" as ")));
    items
        .map(|((name, alias), renamed)| {
            if renamed {
                return (alias.to_owned(), name.to_owned());
            }
            // `import a.b` makes `a` known.
            let first = name.split('.').next().unwrap_or(name);
            (first.to_owned(), first.to_owned())
        })
        .collect()
}

fn javascript(text: &str) -> Vec<Import> {
    let Some((names, from)) = text.split_once(" from").or_else(|| text.split_once("}from")) else {
        return Vec::new();
    };
    let module = module(from.trim().trim_end_matches(';').trim_matches(['"', '\'', ' ']));
    let names = names.strip_prefix("import").unwrap_or(names).trim();
    let names = names.strip_prefix("type ").unwrap_or(names);
    let (own, inner) = names.split_once('{').unwrap_or((names, ""));
    let mut found = Vec::new();
    for item in own.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let alias = item.split_whitespace().last().unwrap_or(item);
        found.push((alias.to_owned(), module.clone()));
    }
    for item in inner.trim_end_matches('}').split(',') {
        let (name, alias) = named(item);
        if !name.is_empty() && name != "}" {
            let path = if name == "default" {
                module.clone()
            } else {
                format!("{module}.{name}")
            };
            found.push((alias.to_owned(), path));
        }
    }
    found
}

fn go(text: &str) -> Vec<Import> {
    let body = text.strip_prefix("import").unwrap_or(text);
    let mut found = Vec::new();
    for line in body.split(['\n', ';']) {
        let mut quoted = line.split(['"', '`']);
        let (Some(before), Some(path)) = (quoted.next(), quoted.next()) else {
            continue;
        };
        let alias = before.trim().trim_start_matches('(').trim();
        let last = path.rsplit('/').find(|part| !is_version(part)).unwrap_or(path);
        let last = last.split_once('.').map_or(last, |(name, _)| name);
        let alias = if alias.is_empty() { last } else { alias };
        found.push((alias.to_owned(), path.to_owned()));
    }
    found
}

fn is_version(part: &str) -> bool {
    part.strip_prefix('v')
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `use a::{b, c::{d as e}};`
fn rust(text: &str) -> Vec<Import> {
    let body = text.split_once("use").map_or(text, |(_, body)| body);
    let body = body.trim().trim_end_matches(';').replace("::", ".");
    let mut found = Vec::new();
    let mut before: Vec<String> = vec![String::new()];
    let mut word = String::new();
    let mut end = |word: &mut String, prefix: &str| {
        let (name, alias) = named(word);
        if !name.is_empty() && found.len() < MAX_NAMES {
            let path = if name == "self" {
                prefix.trim_end_matches('.').to_owned()
            } else {
                format!("{prefix}{name}")
            };
            let last = path.rsplit('.').next().unwrap_or(&path);
            let alias = if alias == name { last } else { alias };
            found.push((alias.to_owned(), path.clone()));
        }
        word.clear();
    };
    for c in body.chars() {
        let prefix = before.last().cloned().unwrap_or_default();
        match c {
            '{' if before.len() < 16 => before.push(format!("{prefix}{}", std::mem::take(&mut word).trim())),
            ',' => end(&mut word, &prefix),
            '}' => {
                end(&mut word, &prefix);
                if before.len() > 1 {
                    before.pop();
                }
            }
            c => word.push(c),
        }
    }
    let prefix = before.last().cloned().unwrap_or_default();
    end(&mut word, &prefix);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(language: Language, text: &str, wanted: &[(&str, &str)]) {
        let found = read(language, text);
        let found: Vec<(&str, &str)> = found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(found, wanted, "{text}");
    }

    #[test]
    fn imports_of_each_language() {
        says(
            Language::Python,
            "import os.path, sys as s",
            &[("os", "os"), ("s", "sys")],
        );
        says(
            Language::Python,
            "from .lib.a import (b as c,\n d)",
            &[("c", "lib.a.b"), ("d", "lib.a.d")],
        );
        says(Language::Python, "from . import a", &[("a", "a")]);
        says(
            Language::JavaScript,
            "import d, { a as b, c } from './x/help.js';",
            &[("d", "help"), ("b", "help.a"), ("c", "help.c")],
        );
        says(
            Language::TypeScript,
            "import * as cp from \"node:child_process\"",
            &[("cp", "child_process")],
        );
        says(
            Language::Go,
            "import (\n\t\"os/exec\"\n\tm \"example.com/mcp/v2\"\n)",
            &[("exec", "os/exec"), ("m", "example.com/mcp/v2")],
        );
        says(
            Language::Rust,
            "pub use std::{fs::{self, File as F}, process::Command};",
            &[
                ("fs", "std.fs"),
                ("F", "std.fs.File"),
                ("Command", "std.process.Command"),
            ],
        );
    }
}
