//! TOML as JSON values: settings of every format are looked at in this one.

use serde_json::{Map, Value};
use toml_edit::{DocumentMut, Item, TableLike};

/// How deep tables and lists may lie in one another. No agent product's settings come near; who is given the value may call itself for
/// each level.
pub const MAX_DEPTH: usize = 64;

/// Why there is no value.
#[derive(Debug, thiserror::Error)]
pub enum TomlError {
    /// The text is no TOML.
    #[error("{0}")]
    Syntax(#[from] toml_edit::TomlError),
    /// Its tables or lists are too deep.
    #[error("it nests deeper than {MAX_DEPTH} levels")]
    Deep,
}

/// What a text says. A parser of its own bounds how deep it goes, so a text of brackets is an error and no overflow.
///
/// # Errors
/// When the text is no TOML, or nests too deep.
pub fn from_str(text: &str) -> Result<Value, TomlError> {
    let document: DocumentMut = text.parse()?;
    value_of(document.as_table())
}

/// What a table says. Dates are texts as they are written out.
///
/// # Errors
/// When it nests too deep.
pub fn value_of(table: &dyn TableLike) -> Result<Value, TomlError> {
    of_table(table, 0)
}

fn of_table(table: &dyn TableLike, depth: usize) -> Result<Value, TomlError> {
    let below = deeper(depth)?;
    let mut fields = Map::new();
    for (name, item) in table.iter() {
        let value = match item {
            // A field that was taken out of a document.
            Item::None => continue,
            Item::Value(value) => of_value(value, below)?,
            Item::Table(table) => of_table(table, below)?,
            Item::ArrayOfTables(tables) => tables
                .iter()
                .map(|table| of_table(table, below))
                .collect::<Result<_, _>>()?,
        };
        fields.insert(name.to_owned(), value);
    }
    Ok(Value::Object(fields))
}

fn of_value(value: &toml_edit::Value, depth: usize) -> Result<Value, TomlError> {
    Ok(match value {
        toml_edit::Value::String(text) => text.value().as_str().into(),
        toml_edit::Value::Integer(whole) => (*whole.value()).into(),
        // Written out where JSON has no such number (`inf`, `nan`), so that two of them can be told apart.
        toml_edit::Value::Float(float) => serde_json::Number::from_f64(*float.value())
            .map_or_else(|| float.value().to_string().into(), Value::Number),
        toml_edit::Value::Boolean(flag) => (*flag.value()).into(),
        toml_edit::Value::Datetime(time) => time.value().to_string().into(),
        toml_edit::Value::Array(list) => {
            let below = deeper(depth)?;
            list.iter()
                .map(|value| of_value(value, below))
                .collect::<Result<_, _>>()?
        }
        toml_edit::Value::InlineTable(table) => of_table(table, depth)?,
    })
}

fn deeper(depth: usize) -> Result<usize, TomlError> {
    if depth >= MAX_DEPTH {
        return Err(TomlError::Deep);
    }
    Ok(depth + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_value_is_read() {
        let text = "text = 'a'\nwhole = -3\nfloat = 1.5\nyes = true\nday = 2026-01-02\nlist = [1, [2]]\ninline = {a.b = 1}\n\
                    [table]\nc = 'd'\n[[tables]]\ne = 1\n[[tables]]\ne = 2\n";
        let value = json!({"text": "a", "whole": -3, "float": 1.5, "yes": true, "day": "2026-01-02", "list": [1, [2]],
            "inline": {"a": {"b": 1}}, "table": {"c": "d"}, "tables": [{"e": 1}, {"e": 2}]});
        assert_eq!(from_str(text).unwrap(), value);
    }

    #[test]
    fn numbers_that_json_has_not_are_written_out() {
        let value = from_str("a = inf\nb = -inf\nc = nan\n").unwrap();
        assert_eq!(value, json!({"a": "inf", "b": "-inf", "c": "NaN"}));
    }

    #[test]
    fn what_was_taken_out_of_a_document_is_not_there() {
        let mut document: DocumentMut = "a = 1\nb = 2\n".parse().unwrap();
        document["a"] = Item::None;
        assert_eq!(value_of(document.as_table()).unwrap(), json!({"b": 2}));
    }

    #[test]
    fn what_is_too_deep_is_refused_however_it_is_written() {
        let lists = |depth: usize| format!("a = {}{}", "[".repeat(depth), "]".repeat(depth));
        let keys = |depth: usize| format!("{}a = 1", "a.".repeat(depth));
        let tables = |depth: usize| format!("[{}a]", "a.".repeat(depth));
        let written: [&dyn Fn(usize) -> String; 3] = [&lists, &keys, &tables];
        for written in written {
            assert!(from_str(&written(20)).is_ok());
            assert!(matches!(from_str(&written(MAX_DEPTH)), Err(TomlError::Deep)));
            assert!(from_str(&written(100_000)).is_err());
        }
        assert!(from_str(&format!("a = {}", "[".repeat(1 << 20))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-{}\\[\\]\"',:=.a1\n# ]{0,200}") {
            let _ = from_str(&text);
        }
    }
}
