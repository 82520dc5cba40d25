//! TOML, on a document that keeps its decoration.

use serde_json::Value;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike};

use super::{Document, EditError, Format, dotted, not_a_table};

/// A TOML text.
pub(super) struct Toml {
    document: DocumentMut,
}

impl Document for Toml {
    fn parse(text: &str, _: Format) -> Result<Self, EditError> {
        let document = text.parse::<DocumentMut>().map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let before = text.get(..at).unwrap_or_default();
            EditError::Syntax {
                line: before.matches('\n').count() + 1,
                column: before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
                what: error.message().replace('\n', "; "),
            }
        })?;
        Ok(Self { document })
    }

    fn value(&self) -> Result<Value, EditError> {
        defenseclaw_toml::value_of(self.document.as_table())
            .map_err(|error| EditError::Obstacle(format!("the file cannot be read: {error}")))
    }

    fn text(&self) -> String {
        self.document.to_string()
    }

    fn append(&mut self, at: &[String], value: &Value) -> Result<(), EditError> {
        let (key, around) = at.split_last().ok_or_else(|| gone(at))?;
        let inline_around = self.is_inline(around);
        let table = self.table(around, true)?;
        let as_tables = value.is_object() && !inline_around;
        let item = table.entry(key).or_insert_with(|| {
            if as_tables {
                Item::ArrayOfTables(ArrayOfTables::new())
            } else {
                Item::Value(Array::new().into())
            }
        });
        match item {
            Item::ArrayOfTables(list) => list.push(object_table(value, at)?),
            Item::Value(toml_edit::Value::Array(list)) => list.push(inline(value, at)?),
            _ => return Err(EditError::Obstacle(format!("{} is no list", dotted(at)))),
        }
        Ok(())
    }

    fn remove_element(&mut self, at: &[String], index: usize) -> Result<(), EditError> {
        let (key, around) = at.split_last().ok_or_else(|| gone(at))?;
        match self.table(around, false)?.get_mut(key) {
            Some(Item::ArrayOfTables(list)) if index < list.len() => {
                list.remove(index);
            }
            Some(Item::Value(toml_edit::Value::Array(list))) if index < list.len() => {
                list.remove(index);
            }
            _ => return Err(gone(at)),
        }
        Ok(())
    }

    fn set(&mut self, at: &[String], value: &Value) -> Result<(), EditError> {
        let (key, around) = at.split_last().ok_or_else(|| gone(at))?;
        let new = inline(value, at)?;
        let table = self.table(around, true)?;
        match table.get_mut(key) {
            Some(Item::Value(old)) => {
                let decor = old.decor().clone();
                *old = new;
                *old.decor_mut() = decor;
            }
            Some(_) => return Err(EditError::Obstacle(format!("{} is no single value", dotted(at)))),
            None => {
                table.insert(key, Item::Value(new));
            }
        }
        Ok(())
    }

    fn remove_key(&mut self, at: &[String]) -> Result<(), EditError> {
        let (key, around) = at.split_last().ok_or_else(|| gone(at))?;
        self.table(around, false)?
            .remove(key)
            .map(drop)
            .ok_or_else(|| gone(at))
    }
}

impl Toml {
    /// Whether that table is written between braces, where no table of its own can stand.
    fn is_inline(&self, at: &[String]) -> bool {
        let mut item = self.document.as_item();
        for key in at {
            match item.get(key) {
                Some(inner) => item = inner,
                None => break,
            }
        }
        item.is_value()
    }

    fn table(&mut self, at: &[String], make: bool) -> Result<&mut dyn TableLike, EditError> {
        let mut table: &mut dyn TableLike = self.document.as_table_mut();
        for (depth, key) in at.iter().enumerate() {
            if make && table.get(key).is_none() {
                let mut new = Table::new();
                // Shown only where it gets values of its own: `[[hooks.PreToolUse]]` needs no `[hooks]` above it.
                new.set_implicit(true);
                table.insert(key, Item::Table(new));
            }
            let item = table.get_mut(key).ok_or_else(|| gone(&at[..=depth]))?;
            table = item
                .as_table_like_mut()
                .ok_or_else(|| not_a_table(&at[..=depth]))?;
        }
        Ok(table)
    }
}

fn gone(at: &[String]) -> EditError {
    EditError::Obstacle(format!("{} is not there", dotted(at)))
}

fn unfit(at: &[String]) -> EditError {
    EditError::Obstacle(format!(
        "what belongs to {} cannot be written as TOML",
        dotted(at)
    ))
}

/// An element of a list of tables; lists of objects in it become lists of tables too, as people write hooks in TOML.
fn object_table(value: &Value, at: &[String]) -> Result<Table, EditError> {
    let mut table = Table::new();
    for (key, value) in value.as_object().ok_or_else(|| unfit(at))? {
        let item = match value {
            Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_object) => {
                let mut tables = ArrayOfTables::new();
                for element in list {
                    tables.push(object_table(element, at)?);
                }
                Item::ArrayOfTables(tables)
            }
            other => Item::Value(inline(other, at)?),
        };
        table.insert(key, item);
    }
    Ok(table)
}

fn inline(value: &Value, at: &[String]) -> Result<toml_edit::Value, EditError> {
    Ok(match value {
        Value::Null => return Err(unfit(at)),
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(float)) => float.into(),
            (None, None) => return Err(unfit(at)),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(list) => {
            let mut array = Array::new();
            for element in list {
                array.push(inline(element, at)?);
            }
            array.into()
        }
        Value::Object(map) => {
            let mut table = InlineTable::new();
            for (key, value) in map {
                table.insert(key, inline(value, at)?);
            }
            table.into()
        }
    })
}
