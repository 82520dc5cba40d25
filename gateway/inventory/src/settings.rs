//! Settings of every format as one kind of value.

use std::path::Path;

use defenseclaw_places::text::{self, Fault, Format};
use serde_json::Value;

use crate::files::{Bounds, MAX_SETTINGS, Stat};
use crate::item::Trouble;

/// Longest reason of a parser that is kept (bytes).
const MAX_WHY: usize = 300;

/// A settings file that was read.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) value: Value,
    pub(crate) stat: Stat,
}

/// Reads one; `None`: nothing is there.
pub(crate) fn read(path: &Path, bounds: &Bounds) -> Result<Option<Settings>, Trouble> {
    let Some((text, stat)) = bounds.text(path, MAX_SETTINGS)? else {
        return Ok(None);
    };
    let value = parse(path, &text)?;
    Ok(Some(Settings { value, stat }))
}

/// What a text says, by the ending of its file's name. An empty file says nothing, which is no mistake.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Value, Trouble> {
    text::value(text, Format::of(path)).map_err(|fault| {
        // A parser may show what it stumbled over, which may be a secret.
        let why = defenseclaw_detect::mask::mask_text(&fault.to_string(), MAX_WHY);
        let kind = match fault {
            Fault::Large { .. } => "limit",
            Fault::Syntax { .. } => "invalid",
        };
        let message = format!("It was not understood, so that what it names is not known: {why}");
        Trouble::new(path.display().to_string(), kind, message)
    })
}

/// The values at a path of keys, where `*` is any key: how each is written, and what is there.
pub(crate) fn at<'v>(value: &'v Value, path: &[String]) -> Vec<(String, &'v Value)> {
    let mut found = vec![(String::new(), value)];
    for key in path {
        let mut next = Vec::new();
        for (written, value) in found {
            let Some(fields) = value.as_object() else { continue };
            let join = |name: &str| {
                if written.is_empty() {
                    name.to_owned()
                } else {
                    format!("{written}.{name}")
                }
            };
            if key == "*" {
                next.extend(fields.iter().map(|(name, field)| (join(name), field)));
            } else if let Some(field) = fields.get(key) {
                next.push((join(key), field));
            }
        }
        found = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_format_is_one_value() {
        for (name, text) in [
            ("a.json", "{\"a\": {\"b\": 1}}"),
            ("a.json", "{// comment\n a: {b: 1,},}"),
            ("a.jsonc", "/* c */ {\"a\": {\"b\": 1}}"),
            ("a.toml", "[a]\nb = 1\n"),
            ("a.yaml", "a:\n  b: 1\n"),
        ] {
            assert_eq!(
                parse(Path::new(name), text).unwrap(),
                json!({"a": {"b": 1}}),
                "{text}"
            );
        }
        assert_eq!(parse(Path::new("a.json"), " \n").unwrap(), Value::Null);
    }

    #[test]
    fn what_is_not_valid_is_told_with_its_place() {
        for (name, text) in [
            ("a.json", "{\"a\": "),
            ("a.toml", "[a\n"),
            ("a.yaml", "a: [\n"),
            ("a.yaml", "\t- x: {"),
        ] {
            let told = parse(Path::new(name), text).unwrap_err();
            assert_eq!((told.kind.as_str(), told.path.as_str()), ("invalid", name));
        }
    }

    #[test]
    fn keys_lead_to_values_and_a_star_to_all() {
        let value = json!({"profiles": {"x": {"model": "m"}, "y": {"model": "n"}, "z": 1}, "model": "o"});
        let path = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
        let found = at(&value, &path(&["profiles", "*", "model"]));
        let shown: Vec<_> = found.iter().map(|(at, value)| format!("{at}={value}")).collect();
        assert_eq!(shown, ["profiles.x.model=\"m\"", "profiles.y.model=\"n\""]);
        assert_eq!(at(&value, &path(&["none", "model"])), []);
    }
}
