//! Bounds that every JSON payload must keep before it is parsed, and the fields that are taken out of it.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserializer, de::DeserializeSeed};
use serde_json::{Map, Value};

use super::fault::FaultKind;

/// Largest hook payload (bytes). A tool's input may hold a whole file; more than this is no tool call that a model wrote.
pub const MAX_PAYLOAD: usize = 16 << 20;
/// Deepest nesting. Real payloads stay below ten; serde_json's own limit of 128 is not reached.
pub const MAX_DEPTH: usize = 64;
/// Most values. A value of two bytes takes tens of bytes once parsed, so that size alone bounds no memory.
pub const MAX_VALUES: usize = 1 << 18;

/// Checks size, encoding, nesting and number of values in one pass over the bytes, without allocating.
pub(super) fn check_bounds(payload: &[u8]) -> Result<&str, FaultKind> {
    if payload.len() > MAX_PAYLOAD {
        return Err(FaultKind::TooLarge);
    }
    let text = std::str::from_utf8(payload).map_err(|error| FaultKind::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    let (mut depth, mut values, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for &byte in payload {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => (depth, values) = (depth + 1, values + 1),
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(FaultKind::TooDeep);
        }
        if values > MAX_VALUES {
            return Err(FaultKind::TooMany);
        }
    }
    Ok(text)
}

/// The named fields of the outermost object; everything else is skipped without being stored.
///
/// A field that stands there twice is refused: two readers would each believe another one.
pub(super) fn fields(text: &str, wanted: &[String]) -> Result<Value, FaultKind> {
    // serde would take an array for the object, field by field.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(FaultKind::Malformed("it does not start with '{'".into()));
    }
    let malformed = |error: serde_json::Error| FaultKind::Malformed(error.to_string());
    let mut reader = serde_json::Deserializer::from_str(text);
    let fields = Wanted(wanted).deserialize(&mut reader).map_err(malformed)?;
    reader.end().map_err(malformed)?;
    Ok(Value::Object(fields))
}

struct Wanted<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Map<String, Value>;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = entries.next_key::<std::borrow::Cow<'de, str>>()? {
            if !self.0.iter().any(|wanted| *wanted == name) {
                entries.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = entries.next_value()?;
            if fields.insert(name.clone().into_owned(), value).is_some() {
                return Err(A::Error::custom(format_args!(
                    "the field {name:?} stands there twice"
                )));
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_exact() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check_bounds(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(
            check_bounds(nested(MAX_DEPTH + 1).as_bytes()),
            Err(FaultKind::TooDeep)
        );
        let many = |count: usize| format!("[0{}]", ",0".repeat(count));
        assert!(check_bounds(many(MAX_VALUES - 1).as_bytes()).is_ok());
        assert_eq!(check_bounds(many(MAX_VALUES).as_bytes()), Err(FaultKind::TooMany));
        assert!(check_bounds(&vec![b' '; MAX_PAYLOAD]).is_ok());
        assert_eq!(
            check_bounds(&vec![b' '; MAX_PAYLOAD + 1]),
            Err(FaultKind::TooLarge)
        );
        assert_eq!(check_bounds(b"ab\xffc"), Err(FaultKind::NotUtf8 { at: 2 }));
    }

    #[test]
    fn brackets_inside_strings_do_not_count() {
        let text = format!(r#"{{"command":"{} \" {}"}}"#, "[".repeat(200), "{".repeat(200));
        assert_eq!(check_bounds(text.as_bytes()), Ok(text.as_str()));
    }
}
