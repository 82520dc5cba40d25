//! Settings as values, whichever way they are written: JSON with or without comments, TOML, YAML.

use serde_json::Value;

/// Largest settings that are read as values (bytes). A long history makes a file of settings a few megabytes.
const MAX_TEXT: usize = 4 << 20;

/// Largest YAML (bytes): its reader is slower by far, and nobody writes that much of it.
const MAX_YAML: usize = 512 << 10;

/// How deep settings may nest: readers that go down by themselves are given nothing deeper.
const MAX_DEPTH: usize = 96;

/// Settings that were written as JSON, or as JSON with comments and commas that its strict form does not have.
pub(super) fn of_json(text: &str) -> Option<Value> {
    let text = text.trim_start_matches('\u{feff}');
    if text.len() > MAX_TEXT {
        return None;
    }
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    if is_deep(text) {
        return None;
    }
    serde_json::from_str(&strict(text)).ok()
}

/// Settings that were written as TOML.
pub(super) fn of_toml(text: &str) -> Option<Value> {
    if text.len() > MAX_TEXT {
        return None;
    }
    defenseclaw_toml::from_str(text).ok()
}

/// Settings that were written as YAML; of several documents the first that holds fields.
pub(super) fn of_yaml(text: &str) -> Option<Value> {
    if text.len() > MAX_YAML || is_deep(text) {
        return None;
    }
    let first = text.split("\n---").find(|part| part.contains(':'))?;
    let value: Value = defenseclaw_yaml::from_str(first).ok()?;
    value.is_object().then_some(value)
}

fn is_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_DEPTH
    })
}

/// A text without comments and without commas before a closing bracket. One pass.
fn strict(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut quoted) = (0, false);
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1).copied();
        match byte {
            b'\\' if quoted => {
                out.push(byte);
                out.extend(next);
                at += 2;
                continue;
            }
            b'"' => quoted = !quoted,
            b'/' if !quoted && next == Some(b'/') => {
                let rest = bytes.get(at..).unwrap_or_default();
                at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                continue;
            }
            b'/' if !quoted && next == Some(b'*') => {
                let rest = bytes.get(at..).unwrap_or_default();
                at += memchr::memmem::find(rest, b"*/").map_or(rest.len(), |end| end + 2);
                continue;
            }
            b'}' | b']' if !quoted => {
                while out.last().is_some_and(u8::is_ascii_whitespace) {
                    out.pop();
                }
                if out.last() == Some(&b',') {
                    out.pop();
                }
            }
            _ => {}
        }
        out.push(byte);
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Strings of a value that are sentences, each with the name of its field. Names in `but` are left out with all below them.
pub(super) fn sentences<'v>(
    value: &'v Value,
    but: &[&str],
    most: usize,
    found: &mut Vec<(&'v str, &'v str)>,
) {
    gather(value, "", but, most, MAX_DEPTH, found);
}

fn gather<'v>(
    value: &'v Value,
    name: &'v str,
    but: &[&str],
    most: usize,
    depth: usize,
    found: &mut Vec<(&'v str, &'v str)>,
) {
    let Some(below) = depth.checked_sub(1).filter(|_| found.len() < most) else {
        return;
    };
    match value {
        Value::String(text) if is_sentence(text) => found.push((name, text)),
        Value::Array(items) => {
            for item in items {
                gather(item, name, but, most, below, found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                if !but.contains(&name.as_str()) {
                    gather(field, name, but, most, below, found);
                }
            }
        }
        _ => {}
    }
}

/// Whether a text says something: enough words, and not a command or an address.
fn is_sentence(text: &str) -> bool {
    const LEAST: usize = 24;
    /// Scripts without blanks between words say as much in fewer bytes.
    const DENSE: usize = 30;
    let dense = text.chars().filter(|&c| c >= '\u{3000}').take(10).count() >= 10;
    (dense && text.len() >= DENSE)
        || (text.len() >= LEAST && text.split_ascii_whitespace().take(4).count() == 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn json_with_comments_is_read_as_json() {
        let text = "{ // a\n \"u\": \"http://x\", /* b */ \"l\": [1, 2,],\n}";
        assert_eq!(of_json(text), Some(json!({"u": "http://x", "l": [1, 2]})));
        assert_eq!(of_json("{\"a\": \"// \\\" ,]\"}"), Some(json!({"a": "// \" ,]"})));
        assert_eq!(of_json("{\"a\": "), None);
    }

    #[test]
    fn toml_and_yaml_become_the_same_values() {
        let value = json!({"mcp_servers": {"a": {"command": "npx", "args": ["x"]}}});
        let toml = "[mcp_servers.a]\ncommand = \"npx\"\nargs = [\"x\"]\n";
        let yaml = "mcp_servers:\n  a:\n    command: npx\n    args: [x]\n";
        assert_eq!(of_toml(toml), Some(value.clone()));
        assert_eq!(of_yaml(yaml), Some(value));
        assert_eq!(of_yaml("just a text"), None);
    }

    #[test]
    fn what_nests_too_deep_is_left_alone() {
        let deep = "[".repeat(10_000);
        assert_eq!(of_json(&deep), None);
        assert_eq!(of_toml(&format!("a = {deep}")), None);
        assert_eq!(of_yaml(&format!("a: {deep}")), None);
    }

    #[test]
    fn sentences_are_told_from_other_values() {
        let value = json!({"name": "a-b", "n": 1, "inner": [{"prompt": "Read the file and answer in full."}],
            "args": ["this is not to be read at all here"], "url": "https://x.example/a/long/address/here"});
        let mut found = Vec::new();
        sentences(&value, &["args"], 10, &mut found);
        assert_eq!(found, [("prompt", "Read the file and answer in full.")]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-{}\\[\\]\",:/*\\\\a\n# ]{0,200}") {
            let _ = (of_json(&text), of_toml(&text), of_yaml(&text), strict(&text));
        }
    }
}
