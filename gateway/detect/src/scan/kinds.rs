//! What a file is, by its name, its beginning and its words.

use super::code::Language;

/// What a file is, by its name and its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Document,
    Shell,
    Source(Language),
    Json,
    Requirements,
    Markup,
    Settings,
    Toml,
    Yaml,
    /// A text without a known ending, by whose words it is language.
    Prose,
}

/// Files that steer agents, whatever their names end with.
const STEERING: &[&str] = &[
    ".cursorrules",
    ".windsurfrules",
    ".clinerules",
    ".goosehints",
    ".roorules",
    ".rules",
    ".aiderrules",
    ".replit.md",
    "claude",
    "agents",
    "gemini",
    "readme",
    "instructions",
    "prompt",
    "system",
];

/// Whether a text is language: most of its lines have words.
fn is_language(text: &str) -> bool {
    const LINES: usize = 60;
    let (mut all, mut worded) = (0, 0);
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .take(LINES)
    {
        all += 1;
        let words = line.split_ascii_whitespace().filter(|word| {
            word.len() > 1
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphabetic() || b"',.:;-".contains(&byte) || byte >= 0x80)
        });
        worded += usize::from(words.take(5).count() == 5);
    }
    worded * 2 > all
}

pub(super) fn kind_of(path: &str, text: &str) -> Kind {
    let name = path.rsplit('/').next().unwrap_or_default();
    let ending = name
        .rsplit_once('.')
        .map_or("", |(_, ending)| ending)
        .to_ascii_lowercase();
    let requirements = name.starts_with("requirements") && ending == "txt";
    if requirements {
        return Kind::Requirements;
    }
    match ending.as_str() {
        "md" | "mdx" | "markdown" | "mdc" | "txt" | "rst" | "adoc" | "prompt" => return Kind::Document,
        "json" | "jsonc" | "json5" | "ipynb" => return Kind::Json,
        "html" | "htm" | "svg" | "xml" | "xhtml" | "vue" | "svelte" | "css" => return Kind::Markup,
        "toml" => return Kind::Toml,
        "yaml" | "yml" => return Kind::Yaml,
        "ini" | "cfg" | "conf" | "env" | "properties" | "service" | "csv" | "tsv" | "lock" => {
            return Kind::Settings;
        }
        _ => {}
    }
    match Language::of_name(&ending).or_else(|| Language::of_first_line(text)) {
        Some(Language::Shell) => Kind::Shell,
        Some(language) => Kind::Source(language),
        None if text.starts_with("#!") => Kind::Shell,
        None if STEERING.contains(&name.to_ascii_lowercase().as_str()) || is_language(text) => Kind::Prose,
        None => Kind::Settings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_name_and_words() {
        for (path, text, kind) in [
            ("a.toml", "", Kind::Toml),
            (".cursorrules", "Use tabs.", Kind::Prose),
            (
                "NOTES",
                "Read the file before you change it.\nSay what you did at the end.\n",
                Kind::Prose,
            ),
            ("LOCK", "a=1\nb=2\n", Kind::Settings),
            ("hooks/post", "#!/bin/sh\n", Kind::Shell),
            ("x.mdc", "", Kind::Document),
        ] {
            assert_eq!(kind_of(path, text), kind, "{path}");
        }
    }
}
