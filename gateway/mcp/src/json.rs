//! JSON that a server sent: read within bounds, and refused where an object has a name twice.
//!
//! Readers differ in which of two equal names they take. What is pinned and scanned must be what the harness sees, so such an
//! object is refused instead of being understood in one of two ways.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// How deep lists and objects may lie in one another. Schemas of real tools stay below 20.
pub const MAX_DEPTH: usize = 64;
/// Most values of one message. The largest real answers have some ten thousand.
pub const MAX_VALUES: usize = 200_000;

/// Why a message is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// Bytes that are no text.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("it is not JSON: {0}")]
    Syntax(String),
    /// Too deep.
    #[error("it nests deeper than {MAX_DEPTH} levels")]
    Deep,
    /// Too much.
    #[error("it has more than {MAX_VALUES} values")]
    Many,
    /// An object with a name twice.
    #[error("an object has the name {0:?} twice")]
    Twice(String),
}

/// What `bytes` say.
///
/// # Errors
/// When they are no JSON within the bounds.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonFault> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonFault::NotUtf8)?;
    let state = State::default();
    let seed = Seed {
        state: &state,
        left: MAX_DEPTH,
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut reader).and_then(|value| {
        reader.end()?;
        Ok(value)
    });
    value.map_err(|error| {
        let own = state.fault.take();
        own.unwrap_or_else(|| JsonFault::Syntax(error.to_string()))
    })
}

#[derive(Default)]
struct State {
    values: Cell<usize>,
    fault: RefCell<Option<JsonFault>>,
}

#[derive(Clone, Copy)]
struct Seed<'s> {
    state: &'s State,
    left: usize,
}

impl Seed<'_> {
    fn fail<E: de::Error>(&self, fault: JsonFault) -> E {
        let error = E::custom(&fault);
        self.state.fault.replace(Some(fault));
        error
    }

    fn below<E: de::Error>(&self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..*self }),
            None => Err(self.fail(JsonFault::Deep)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let values = self.state.values.get() + 1;
        self.state.values.set(values);
        if values > MAX_VALUES {
            return Err(self.fail(JsonFault::Many));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, plain: bool) -> Result<Value, E> {
        Ok(plain.into())
    }

    fn visit_i64<E>(self, plain: i64) -> Result<Value, E> {
        Ok(plain.into())
    }

    fn visit_u64<E>(self, plain: u64) -> Result<Value, E> {
        Ok(plain.into())
    }

    fn visit_f64<E>(self, plain: f64) -> Result<Value, E> {
        Ok(plain.into())
    }

    fn visit_str<E>(self, plain: &str) -> Result<Value, E> {
        Ok(plain.into())
    }

    fn visit_string<E>(self, plain: String) -> Result<Value, E> {
        Ok(plain.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(below)? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(below)?;
            if map.contains_key(&name) {
                return Err(self.fail(JsonFault::Twice(name)));
            }
            map.insert(name, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_within_the_bounds_is_read_as_it_is() {
        let text = r#"{"a":[1,-2,3.5,true,null,"x\u0041"],"b":{"a":{}}}"#;
        assert_eq!(
            parse(text.as_bytes()),
            Ok(json!({"a": [1, -2, 3.5, true, null, "xA"], "b": {"a": {}}}))
        );
        let deep = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
        assert!(parse(deep.as_bytes()).is_ok());
    }

    #[test]
    fn what_goes_beyond_says_how() {
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        assert_eq!(parse(deep.as_bytes()), Err(JsonFault::Deep));
        // Also where the text's own reader would have given up.
        assert!(parse("[".repeat(1_000_000).as_bytes()).is_err());
        let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
        assert_eq!(parse(many.as_bytes()), Err(JsonFault::Many));
        assert_eq!(
            parse(br#"{"x":{"name":1,"name":2}}"#),
            Err(JsonFault::Twice("name".into()))
        );
        assert_eq!(parse(b"\"\xff\""), Err(JsonFault::NotUtf8));
        for text in ["", "{", "1 2", "{\"a\":1}x", "NaN", "1e999"] {
            assert!(
                matches!(parse(text.as_bytes()), Err(JsonFault::Syntax(_))),
                "{text}"
            );
        }
    }
}
