//! JSON and its relatives, on a concrete syntax tree.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstInputValue, CstObject, CstRootNode};
use serde_json::{Map, Value};

use super::{Document, EditError, Format, MAX_DEPTH, dotted, not_a_table};

/// A JSON text.
pub(super) struct Json {
    root: CstRootNode,
    /// Whether there was no text at all.
    new: bool,
}

impl Document for Json {
    fn parse(text: &str, format: Format) -> Result<Self, EditError> {
        check_depth(text)?;
        let root = CstRootNode::parse(text, &options(format)).map_err(|error| EditError::Syntax {
            line: error.line_display(),
            column: error.column_display(),
            what: error.kind().to_string(),
        })?;
        // The tree takes comments whatever it is told; a harness that reads plain JSON does not.
        if format == Format::Json && root.value().is_some() {
            serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| EditError::Syntax {
                line: error.line(),
                column: error.column(),
                what: error.to_string(),
            })?;
        }
        Ok(Self {
            root,
            new: text.is_empty(),
        })
    }

    fn value(&self) -> Result<Value, EditError> {
        match self.root.value() {
            None => Ok(Value::Object(Map::new())),
            Some(node) => node
                .to_serde_value()
                .ok_or_else(|| EditError::Obstacle("the file holds a value that is not understood".into())),
        }
    }

    fn text(&self) -> String {
        let text = self.root.to_string();
        // A file that we make ends like a file.
        if self.new && text.ends_with('}') {
            format!("{text}\n")
        } else {
            text
        }
    }

    fn append(&mut self, at: &[String], value: &Value) -> Result<(), EditError> {
        self.list(at, true)?.append(input(value));
        Ok(())
    }

    fn remove_element(&mut self, at: &[String], index: usize) -> Result<(), EditError> {
        let element = self.list(at, false)?.elements().into_iter().nth(index);
        element.ok_or_else(|| gone(at))?.remove();
        Ok(())
    }

    fn set(&mut self, at: &[String], value: &Value) -> Result<(), EditError> {
        let (key, around) = at.split_last().ok_or_else(|| gone(at))?;
        let object = self.object(around, true)?;
        match object.get(key) {
            Some(property) => property.set_value(input(value)),
            None => {
                object.append(key, input(value));
            }
        }
        Ok(())
    }

    fn remove_key(&mut self, at: &[String]) -> Result<(), EditError> {
        let (key, around) = at.split_last().ok_or_else(|| gone(at))?;
        let property = self.object(around, false)?.get(key);
        property.ok_or_else(|| gone(at))?.remove();
        Ok(())
    }
}

impl Json {
    fn object(&self, at: &[String], make: bool) -> Result<CstObject, EditError> {
        let mut object = if make {
            self.root.object_value_or_create()
        } else {
            self.root.object_value()
        }
        .ok_or_else(|| not_a_table(&[]))?;
        for (depth, key) in at.iter().enumerate() {
            once(&object, key, &at[..=depth])?;
            object = if make {
                object.object_value_or_create(key)
            } else {
                object.object_value(key)
            }
            .ok_or_else(|| not_a_table(&at[..=depth]))?;
        }
        Ok(object)
    }

    fn list(&self, at: &[String], make: bool) -> Result<CstArray, EditError> {
        let (key, around) = at.split_last().ok_or_else(|| gone(at))?;
        let object = self.object(around, make)?;
        once(&object, key, at)?;
        let list = if make {
            object.array_value_or_create(key)
        } else {
            object.array_value(key)
        };
        list.ok_or_else(|| EditError::Obstacle(format!("{} is no list", dotted(at))))
    }
}

/// Parsers differ in which of two equal keys counts, so that an entry in one of them may count for nothing.
fn once(object: &CstObject, key: &str, at: &[String]) -> Result<(), EditError> {
    let same = object
        .properties()
        .into_iter()
        .filter(|property| property.decoded_name().as_deref() == Some(key));
    if same.count() > 1 {
        let what = format!("{} stands there twice; take one of them out", dotted(at));
        return Err(EditError::Obstacle(what));
    }
    Ok(())
}

fn gone(at: &[String]) -> EditError {
    EditError::Obstacle(format!("{} is not there", dotted(at)))
}

/// What the harness itself would read.
fn options(format: Format) -> ParseOptions {
    let json5 = format == Format::Json5;
    let relaxed = json5 || format == Format::Jsonc;
    ParseOptions {
        allow_comments: relaxed,
        allow_trailing_commas: relaxed,
        allow_missing_commas: false,
        allow_loose_object_property_names: json5,
        allow_single_quoted_strings: json5,
        allow_hexadecimal_numbers: json5,
        allow_unary_plus_numbers: json5,
        allow_bare_decimal_point_numbers: json5,
        allow_non_finite_numbers: json5,
        allow_extended_string_escapes: json5,
    }
}

/// Refuses nesting that the parser would have to call itself too often for. Brackets in strings are counted by their own
/// balance, which is exact enough: it can only refuse a text that no harness writes.
fn check_depth(text: &str) -> Result<(), EditError> {
    let mut depth = 0usize;
    for (index, line) in text.lines().enumerate() {
        for (column, byte) in line.bytes().enumerate() {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => continue,
            }
            if depth > MAX_DEPTH {
                return Err(EditError::Syntax {
                    line: index + 1,
                    column: column + 1,
                    what: format!("the file is nested deeper than {MAX_DEPTH} levels"),
                });
            }
        }
    }
    Ok(())
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(flag) => CstInputValue::Bool(*flag),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(list) => CstInputValue::Array(list.iter().map(input).collect()),
        Value::Object(map) => CstInputValue::Object(
            map.iter()
                .map(|(key, value)| (key.clone(), input(value)))
                .collect(),
        ),
    }
}
