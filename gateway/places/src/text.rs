//! Settings as values, whichever way they are written: JSON, with or without comments, TOML, YAML.

use std::path::Path;

use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};
use serde_json::Value;

/// Largest settings that are read (bytes). A long history makes `.claude.json` a few megabytes.
pub const MAX_TEXT: usize = 16 << 20;

/// Largest settings that are no plain JSON (bytes): readers of other formats keep much more of a text, and nobody writes that much by hand.
pub const MAX_WRITTEN: usize = 4 << 20;

/// How deep lists and objects may lie in one another, where the reader goes down by itself.
const MAX_DEPTH: usize = 96;

/// Longest reason (bytes).
const MAX_WHY: usize = 300;

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON. Comments, commas before a bracket and names without quotes are taken: several harnesses take them.
    Json,
    /// TOML.
    Toml,
    /// YAML.
    Yaml,
}

impl Format {
    /// By the ending of a file's name. What has no known one is JSON, as of most harnesses.
    pub fn of(path: &Path) -> Self {
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        match ending.to_ascii_lowercase().as_str() {
            "toml" => Self::Toml,
            "yaml" | "yml" => Self::Yaml,
            _ => Self::Json,
        }
    }
}

/// Why a text is not understood. It shows nothing of the text, which may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not written so, or nests too deep.
    #[error("line {line}, column {column}: {why}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong there.
        why: String,
    },
    /// It is larger than settings are.
    #[error("it is larger than {} MiB, which no settings are that are written so", most >> 20)]
    Large {
        /// What is the most (bytes).
        most: usize,
    },
}

impl Fault {
    fn new(line: usize, column: usize, why: &str) -> Self {
        let why = why.lines().next().unwrap_or_default();
        Self::Syntax {
            line: line.max(1),
            column: column.max(1),
            why: why[..why.floor_char_boundary(MAX_WHY)].to_owned(),
        }
    }

    /// At a byte of the text.
    fn at(text: &str, byte: usize, why: &str) -> Self {
        let before = &text[..text.floor_char_boundary(byte)];
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self::new(
            before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            line.chars().count() + 1,
            why,
        )
    }
}

/// What a text says. A text of blanks says nothing (`null`), which is no mistake.
///
/// # Errors
/// When it is not written so, is too large or nests too deep.
pub fn value(text: &str, format: Format) -> Result<Value, Fault> {
    let text = text.trim_start_matches('\u{feff}');
    within(text, MAX_TEXT)?;
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    if format == Format::Json
        && let Ok(value) = serde_json::from_str(text)
    {
        // Its reader bounds how deep it goes.
        return Ok(value);
    }
    within(text, MAX_WRITTEN)?;
    match format {
        Format::Json => of_json(text),
        Format::Toml => of_toml(text),
        Format::Yaml => of_yaml(text),
    }
}

fn within(text: &str, most: usize) -> Result<(), Fault> {
    if text.len() > most {
        return Err(Fault::Large { most });
    }
    Ok(())
}

fn of_json(text: &str) -> Result<Value, Fault> {
    check_depth(text)?;
    let collected = CollectOptions {
        comments: CommentCollectionStrategy::Off,
        tokens: false,
    };
    match parse_to_ast(text, &collected, &ParseOptions::default()) {
        Ok(parsed) => Ok(parsed.value.map_or(Value::Null, Value::from)),
        Err(error) => Err(Fault::new(
            error.line_display(),
            error.column_display(),
            &error.kind().to_string(),
        )),
    }
}

fn of_toml(text: &str) -> Result<Value, Fault> {
    defenseclaw_toml::from_str(text).map_err(|error| match &error {
        defenseclaw_toml::TomlError::Syntax(syntax) => {
            let at = syntax.span().map_or(0, |span| span.start);
            Fault::at(text, at, syntax.message())
        }
        defenseclaw_toml::TomlError::Deep => Fault::new(1, 1, &error.to_string()),
    })
}

fn of_yaml(text: &str) -> Result<Value, Fault> {
    check_depth(text)?;
    defenseclaw_yaml::from_str(text).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| {
            let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
            (whole(at.line()), whole(at.column()))
        });
        Fault::new(line, column, &error.without_snippet().to_string())
    })
}

/// Readers that go down by themselves are given nothing deep. Brackets in texts count too: no real file has so many.
fn check_depth(text: &str) -> Result<(), Fault> {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            let why = format!("it nests deeper than {MAX_DEPTH} levels");
            return Err(Fault::at(text, at, &why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_format_is_one_value() {
        for (name, text) in [
            ("a.json", "{\"a\": {\"b\": 1}}"),
            ("a.json", "\u{feff}{// comment\n a: {b: 1,},}"),
            ("a.jsonc", "/* c */ {\"a\": {\"b\": 1}}"),
            ("a", "{'a': {'b': 1}}"),
            ("a.toml", "[a]\nb = 1\n"),
            ("a.TOML", "a.b = 1"),
            ("a.yaml", "a:\n  b: 1\n"),
            ("a.yml", "{a: {b: 1}}"),
        ] {
            let format = Format::of(Path::new(name));
            assert_eq!(value(text, format), Ok(json!({"a": {"b": 1}})), "{text}");
        }
        assert_eq!(value(" \n", Format::Toml), Ok(Value::Null));
    }

    #[test]
    fn what_is_not_understood_is_told_by_its_place_and_not_by_its_text() {
        for (format, text, line) in [
            (Format::Json, "{\n \"secret-a\": ", 2),
            (Format::Json, "{\n\"a\": secret-b }", 2),
            (Format::Toml, "a = 1\nb = secret-c\n", 2),
            (Format::Toml, "[a\n", 1),
            (Format::Yaml, "a: 1\nb: [\"secret-d\"\nc: secret-e", 3),
        ] {
            let fault = value(text, format).unwrap_err();
            let told = fault.to_string();
            assert!(told.starts_with(&format!("line {line}, column ")), "{told}");
            let Fault::Syntax { why, .. } = fault else {
                panic!("{told}")
            };
            assert!(
                !why.is_empty() && !why.contains("secret") && !why.contains('\n'),
                "{told}"
            );
        }
    }

    #[test]
    fn what_nests_too_deep_is_refused_and_not_gone_into() {
        let brackets = "[".repeat(1 << 20);
        let keys = format!("{}a = 1", "a.".repeat(100_000));
        let objects = format!("{}1{}", "{a:".repeat(5000), "}".repeat(5000));
        let mut blocks = String::new();
        for depth in 0..1500 {
            blocks.push_str(&" ".repeat(depth));
            blocks.push_str("a:\n");
        }
        for (format, text) in [
            (Format::Json, &brackets),
            (Format::Json, &objects),
            (Format::Toml, &format!("a = {brackets}")),
            (Format::Toml, &keys),
            (Format::Yaml, &format!("a: {brackets}")),
        ] {
            assert!(value(text, format).is_err());
        }
        // Its reader has a bound of its own: an answer, whichever, and no overflow.
        let _ = value(&blocks, Format::Yaml);
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(
            value(&deep, Format::Json).is_ok(),
            "the strict reader is bounded by itself"
        );
    }

    #[test]
    fn what_is_too_large_is_not_read() {
        let plain = format!("{{\"a\": \"{}\"}}", "x".repeat(MAX_WRITTEN));
        assert!(value(&plain, Format::Json).is_ok());
        for (format, text, most) in [
            (Format::Json, " ".repeat(MAX_TEXT + 1), MAX_TEXT),
            (Format::Json, format!("// {plain}\n{{}}"), MAX_WRITTEN),
            (Format::Toml, format!("a = \"{plain}\""), MAX_WRITTEN),
            (Format::Yaml, plain, MAX_WRITTEN),
        ] {
            assert_eq!(value(&text, format), Err(Fault::Large { most }));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-{}\\[\\]\"',:/*=.\\\\aé\n# ]{0,200}") {
            for format in [Format::Json, Format::Toml, Format::Yaml] {
                if let Err(Fault::Syntax { line, .. }) = value(&text, format) {
                    prop_assert!(line <= text.lines().count() + 1);
                }
            }
        }
    }
}
