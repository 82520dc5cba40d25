//! What stands before a document's text: names and versions between two lines of `---`.

use serde_json::{Map, Value};

/// Longest settings that are read as YAML (bytes).
const MAX_FRONT: usize = 64 << 10;

/// The fields before a document's text; none where there are none. Where they are no YAML, those that stand plainly on a line of
/// their own: the scanner says what is wrong with them.
pub(crate) fn front(text: &str) -> Map<String, Value> {
    let Some(front) = between(text) else {
        return Map::new();
    };
    if let Ok(Value::Object(fields)) = defenseclaw_yaml::from_str::<Value>(front) {
        return fields;
    }
    let own = front
        .lines()
        .filter(|line| !line.starts_with([' ', '\t', '#', '-']));
    own.filter_map(|line| line.split_once(':'))
        .map(|(name, value)| {
            (
                name.trim().to_owned(),
                value.trim().trim_matches(['"', '\'']).into(),
            )
        })
        .collect()
}

fn between(text: &str) -> Option<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let rest = text.strip_prefix("---")?;
    let rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n'))?;
    let seen = &rest[..rest.floor_char_boundary(MAX_FRONT)];
    let mut end = 0;
    for line in seen.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return seen.get(..end);
        }
        end += line.len();
    }
    None
}

/// A field as text: numbers are versions, too.
pub(crate) fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    let text = match fields.get(name)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    Some(crate::tidy::name(&text)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_what_is_no_front_is_none() {
        let fields = front("---\nname: notes\nversion: 1.5\nlicense: MIT\n---\n# Text\n");
        assert_eq!(text(&fields, "name").as_deref(), Some("notes"));
        assert_eq!(text(&fields, "version").as_deref(), Some("1.5"));
        assert_eq!(text(&fields, "none"), None);
        for none in ["", "# Text", "--- x\nname: y\n---\n", "---\nname: never ends\n"] {
            assert_eq!(front(none), Map::new(), "{none:?}");
        }
    }

    #[test]
    fn broken_yaml_still_has_its_plain_lines() {
        let fields = front("---\r\nname: a: b\r\nlicense: \"MIT\"\r\nx: [\r\n---\r\n");
        assert_eq!(text(&fields, "license").as_deref(), Some("MIT"));
        assert_eq!(text(&fields, "name").as_deref(), Some("a: b"));
    }
}
