//! Changes to a settings file that leave every other byte of it alone.
//!
//! | Module | Holds |
//! |---|---|
//! | [`json`] | JSON, JSON with comments, JSON5 |
//! | [`toml`] | TOML |
//! | [`yaml`] | YAML |
//!
//! Each format edits its text by itself. What it did is then checked without trusting it: the new text is parsed again and
//! must say exactly what the old one said plus our entries; and where we only added, the old text must be found in the new
//! one byte by byte. A file that fails this is left as it was.

mod json;
mod toml;
mod yaml;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Largest settings file that is edited (bytes). A harness's settings are a few KiB; Codex's and Hermes's grow with
/// trusted projects, never to this.
pub const MAX_FILE_BYTES: usize = 4 << 20;
/// Deepest nesting that is read. No harness's settings come near; the parsers call themselves for each level.
const MAX_DEPTH: usize = 64;

/// How a settings file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// JSON as its standard has it.
    Json,
    /// JSON with comments and trailing commas.
    Jsonc,
    /// JSON5.
    Json5,
    /// TOML.
    Toml,
    /// YAML.
    Yaml,
    /// A file that is ours as a whole.
    Whole,
}

/// What to do where a key has another value already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// It stays: any value will do.
    Keep,
    /// It is given our value; teardown gives the old one back.
    Replace,
    /// The file is refused.
    #[default]
    Refuse,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "edit", rename_all = "snake_case")]
pub enum Edit {
    /// An element of the list at that path.
    Append {
        /// Keys from the outermost on.
        at: Vec<String>,
        /// The element.
        value: Value,
        /// Only where the list is there already: an empty allow list means something else than none.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        if_present: bool,
    },
    /// The value at that path.
    Set {
        /// Keys from the outermost on.
        at: Vec<String>,
        /// The value.
        value: Value,
        /// What to do where there is another.
        #[serde(default)]
        existing: Existing,
    },
}

impl Edit {
    /// The place that it changes.
    pub fn at(&self) -> &[String] {
        match self {
            Self::Append { at, .. } | Self::Set { at, .. } => at,
        }
    }
}

/// What an edit left behind, for its undoing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Trace {
    /// Paths that were not there before, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub created: Vec<Vec<String>>,
    /// Values that were replaced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<(Vec<String>, Value)>,
}

/// Whether our entries are in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// All of them, as installed.
    Whole,
    /// Something of ours is there, but not as installed. The text says what, for a person.
    Altered(String),
    /// Nothing of ours is there.
    Missing,
}

/// Why a text was not edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is not valid. Line and column count from 1.
    #[error("line {line}, column {column}: {what}. Mend the file, then try again; nothing was changed")]
    Syntax {
        /// Where.
        line: usize,
        /// Where in that line.
        column: usize,
        /// What is wrong.
        what: String,
    },
    /// It says something at a place that we need, and that cannot stay.
    #[error("{0}. Nothing was changed")]
    Obstacle(String),
    /// The result is not exactly the old text and our entries.
    #[error(
        "the file cannot be changed without touching something else in it: {0}. Nothing was changed; add the entries by \
         hand (`--dry-run` prints them)"
    )]
    Unfaithful(&'static str),
}

/// What the formats can do. Paths are keys of nested mappings.
trait Document: Sized {
    fn parse(text: &str, format: Format) -> Result<Self, EditError>;
    fn value(&self) -> Result<Value, EditError>;
    fn text(&self) -> String;
    /// Adds to the list at `at`, which is made where it is missing.
    fn append(&mut self, at: &[String], value: &Value) -> Result<(), EditError>;
    /// Takes an element out of the list at `at`.
    fn remove_element(&mut self, at: &[String], index: usize) -> Result<(), EditError>;
    /// Gives the key at `at` a value, making the mappings around it where they are missing.
    fn set(&mut self, at: &[String], value: &Value) -> Result<(), EditError>;
    /// Takes the key at `at` out.
    fn remove_key(&mut self, at: &[String]) -> Result<(), EditError>;
}

/// Knows entries of ours among others, also such as another version of ours wrote.
#[derive(Debug, Clone, Copy)]
pub struct Ours<'a> {
    /// The connector's name.
    pub connector: &'a str,
}

impl Ours<'_> {
    /// Whether an element of a list is ours: it is what we would write, or it runs our hook client for this connector.
    fn owns(&self, element: &Value, written: &Value) -> bool {
        element == written || self.runs_client(element)
    }

    fn runs_client(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.is_command(text),
            Value::Array(elements) => elements.iter().any(|element| self.runs_client(element)),
            Value::Object(entries) => entries.values().any(|entry| self.runs_client(entry)),
            _ => false,
        }
    }

    /// `[QUOTE]…/defenseclaw-hook[QUOTE] CONNECTOR [EVENT]`, and nothing but that.
    fn is_command(&self, text: &str) -> bool {
        let mut words = text.split_whitespace();
        let program = words.next().unwrap_or_default().trim_matches(['\'', '"']);
        program.rsplit('/').next() == Some(super::CLIENT)
            && words.next() == Some(self.connector)
            && words.count() <= 1
    }
}

/// The text with `edits` made, and what teardown needs to know. A text that has them already comes back unchanged.
pub fn apply(
    text: &str,
    format: Format,
    edits: &[Edit],
    ours: Ours<'_>,
) -> Result<(String, Trace), EditError> {
    let (mark, body) = split_mark(text);
    let (new, trace) = match format {
        Format::Json | Format::Jsonc | Format::Json5 => apply_to::<json::Json>(body, format, edits, ours),
        Format::Toml => apply_to::<toml::Toml>(body, format, edits, ours),
        Format::Yaml => apply_to::<yaml::Yaml>(body, format, edits, ours),
        Format::Whole => Err(not_structured()),
    }?;
    Ok((format!("{mark}{new}"), trace))
}

/// The text without what `edits` put in, as far as it is still there.
pub fn undo(
    text: &str,
    format: Format,
    edits: &[Edit],
    trace: &Trace,
    ours: Ours<'_>,
) -> Result<String, EditError> {
    let (mark, body) = split_mark(text);
    let new = match format {
        Format::Json | Format::Jsonc | Format::Json5 => {
            undo_in::<json::Json>(body, format, edits, trace, ours)
        }
        Format::Toml => undo_in::<toml::Toml>(body, format, edits, trace, ours),
        Format::Yaml => undo_in::<yaml::Yaml>(body, format, edits, trace, ours),
        Format::Whole => Err(not_structured()),
    }?;
    Ok(format!("{mark}{new}"))
}

/// Whether `edits` are in the text.
pub fn presence(text: &str, format: Format, edits: &[Edit], ours: Ours<'_>) -> Result<Presence, EditError> {
    let value = read(text, format)?;
    let (mut found, mut wrong) = (0usize, Vec::new());
    for edit in edits {
        match edit {
            Edit::Append {
                at,
                value: written,
                if_present,
            } => {
                let list = lookup(&value, at).and_then(Value::as_array);
                let elements = list.map_or(&[][..], Vec::as_slice);
                if elements.contains(written) {
                    found += 1;
                } else if elements.iter().any(|element| ours.owns(element, written)) {
                    found += 1;
                    wrong.push(format!("the entry in {} is not as it was installed", dotted(at)));
                } else if list.is_some() || !if_present {
                    wrong.push(format!("the entry in {} is gone", dotted(at)));
                }
            }
            Edit::Set {
                existing: Existing::Keep,
                at,
                ..
            } => {
                if lookup(&value, at).is_none() {
                    wrong.push(format!("{} is gone", dotted(at)));
                }
            }
            Edit::Set {
                at, value: written, ..
            } => match lookup(&value, at) {
                Some(now) if now == written => found += 1,
                Some(_) => wrong.push(format!("{} has another value", dotted(at))),
                None => wrong.push(format!("{} is gone", dotted(at))),
            },
        }
    }
    Ok(match (wrong.is_empty(), found) {
        (true, _) => Presence::Whole,
        (false, 0) => Presence::Missing,
        (false, _) => Presence::Altered(wrong.join("; ")),
    })
}

/// What a text says, as one value.
pub fn read(text: &str, format: Format) -> Result<Value, EditError> {
    let (_, body) = split_mark(text);
    match format {
        Format::Json | Format::Jsonc | Format::Json5 => parsed::<json::Json>(body, format)?.value(),
        Format::Toml => parsed::<toml::Toml>(body, format)?.value(),
        Format::Yaml => parsed::<yaml::Yaml>(body, format)?.value(),
        Format::Whole => Err(not_structured()),
    }
}

/// The value at a path of keys.
pub fn lookup<'v>(value: &'v Value, at: &[String]) -> Option<&'v Value> {
    at.iter()
        .try_fold(value, |value, key| value.as_object()?.get(key))
}

fn not_structured() -> EditError {
    EditError::Obstacle("the file is not made of keys and values".into())
}

/// Editors on other systems leave a byte order mark, which no format's grammar has.
fn split_mark(text: &str) -> (&str, &str) {
    text.strip_prefix('\u{feff}')
        .map_or(("", text), |body| (&text[..'\u{feff}'.len_utf8()], body))
}

fn parsed<D: Document>(text: &str, format: Format) -> Result<D, EditError> {
    if text.len() > MAX_FILE_BYTES {
        let what = format!(
            "the file is over {} MiB, which no settings file is",
            MAX_FILE_BYTES >> 20
        );
        return Err(EditError::Obstacle(what));
    }
    D::parse(text, format)
}

fn apply_to<D: Document>(
    text: &str,
    format: Format,
    edits: &[Edit],
    ours: Ours<'_>,
) -> Result<(String, Trace), EditError> {
    let mut document: D = parsed(text, format)?;
    let mut wanted = document.value()?;
    let (mut trace, mut only_added, mut changed) = (Trace::default(), true, false);
    for edit in edits {
        match edit {
            Edit::Append {
                at,
                value,
                if_present,
            } => {
                let (present, mine) = owned(&wanted, at, value, ours)?;
                if (!present && *if_present) || is_exactly(&wanted, at, &mine, value) {
                    continue;
                }
                for index in mine.into_iter().rev() {
                    only_added = false;
                    document.remove_element(at, index)?;
                    model::remove_element(&mut wanted, at, index);
                }
                trace.created.extend(missing(&wanted, at));
                document.append(at, value)?;
                model::append(&mut wanted, at, value)?;
            }
            Edit::Set { at, value, existing } => {
                match (lookup(&wanted, at), existing) {
                    (Some(now), _) if now == value => continue,
                    (Some(_), Existing::Keep) => continue,
                    (Some(now), Existing::Replace) => {
                        only_added = false;
                        trace.replaced.push((at.clone(), now.clone()));
                    }
                    (Some(now), Existing::Refuse) => {
                        let what = format!("{} is {now} already, and has to be {value}", dotted(at));
                        return Err(EditError::Obstacle(what));
                    }
                    (None, _) => trace.created.extend(missing(&wanted, at)),
                }
                document.set(at, value)?;
                model::set(&mut wanted, at, value)?;
            }
        }
        changed = true;
    }
    if !changed {
        return Ok((text.to_owned(), trace));
    }
    let new = document.text();
    verify::<D>(&new, format, &wanted)?;
    if only_added && !is_within(text, &new) {
        return Err(EditError::Unfaithful("a byte of it would be lost"));
    }
    Ok((new, trace))
}

fn undo_in<D: Document>(
    text: &str,
    format: Format,
    edits: &[Edit],
    trace: &Trace,
    ours: Ours<'_>,
) -> Result<String, EditError> {
    let mut document: D = parsed(text, format)?;
    let mut wanted = document.value()?;
    let mut only_removed = true;
    for edit in edits.iter().rev() {
        match edit {
            Edit::Append { at, value, .. } => {
                let Ok((_, mine)) = owned(&wanted, at, value, ours) else {
                    continue; // Someone made something else of that place; nothing of ours is in it.
                };
                for index in mine.into_iter().rev() {
                    document.remove_element(at, index)?;
                    model::remove_element(&mut wanted, at, index);
                }
            }
            Edit::Set { at, value, .. } if lookup(&wanted, at) == Some(value) => {
                if let Some((_, old)) = trace.replaced.iter().find(|(path, _)| path == at) {
                    only_removed = false;
                    document.set(at, old)?;
                    model::set(&mut wanted, at, old)?;
                } else if trace.created.contains(at) {
                    document.remove_key(at)?;
                    model::remove_key(&mut wanted, at);
                }
            }
            Edit::Set { .. } => {}
        }
    }
    // What we made and is now empty goes too; what someone else put into it stays, and so does what was there before.
    for at in trace.created.iter().rev() {
        if lookup(&wanted, at).is_some_and(is_empty) {
            document.remove_key(at)?;
            model::remove_key(&mut wanted, at);
        }
    }
    let new = document.text();
    verify::<D>(&new, format, &wanted)?;
    // YAML has to say `[]` or `{}` where a block of lines went and its key stays.
    let emptied = format == Format::Yaml
        && edits
            .iter()
            .flat_map(|edit| (1..=edit.at().len()).map(|depth| &edit.at()[..depth]))
            .any(|at| lookup(&wanted, at).is_some_and(is_empty));
    if only_removed && !emptied && !is_within(&new, text) {
        return Err(EditError::Unfaithful("a byte of it would be added"));
    }
    Ok(new)
}

/// Parses what was written and compares it with what was meant.
fn verify<D: Document>(new: &str, format: Format, wanted: &Value) -> Result<(), EditError> {
    let unreadable = |_| EditError::Unfaithful("it could not be read afterwards");
    let now = D::parse(new, format)
        .and_then(|document| document.value())
        .map_err(unreadable)?;
    if &now == wanted {
        Ok(())
    } else {
        Err(EditError::Unfaithful("it would say something else afterwards"))
    }
}

/// Whether `part` can be had from `whole` by leaving bytes out.
fn is_within(part: &str, whole: &str) -> bool {
    let mut rest = whole.bytes();
    part.bytes().all(|byte| rest.any(|other| other == byte))
}

/// Whether the list is there, and which of its elements are ours.
fn owned(
    value: &Value,
    at: &[String],
    written: &Value,
    ours: Ours<'_>,
) -> Result<(bool, Vec<usize>), EditError> {
    match lookup(value, at) {
        None => Ok((false, Vec::new())),
        Some(Value::Array(list)) => {
            let mine = list
                .iter()
                .enumerate()
                .filter(|(_, element)| ours.owns(element, written));
            Ok((true, mine.map(|(index, _)| index).collect()))
        }
        Some(other) => Err(EditError::Obstacle(format!(
            "{} is {}, where the harness takes a list",
            dotted(at),
            kind(other)
        ))),
    }
}

fn is_exactly(value: &Value, at: &[String], mine: &[usize], written: &Value) -> bool {
    let list = lookup(value, at).and_then(Value::as_array);
    matches!((list, mine), (Some(list), [only]) if list.get(*only) == Some(written))
}

/// The prefixes of `at`, itself included, that are not there.
fn missing<'a>(value: &'a Value, at: &'a [String]) -> impl Iterator<Item = Vec<String>> + use<> {
    let known = (0..at.len())
        .take_while(|&depth| lookup(value, &at[..=depth]).is_some())
        .count();
    (known..at.len())
        .map(|depth| at[..=depth].to_vec())
        .collect::<Vec<_>>()
        .into_iter()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table of keys",
    }
}

/// A path for a person.
fn dotted(at: &[String]) -> String {
    if at.is_empty() {
        "the file".to_owned()
    } else {
        at.join(".")
    }
}

fn not_a_table(at: &[String]) -> EditError {
    EditError::Obstacle(format!(
        "{} is no table of keys, which the harness takes there",
        dotted(at)
    ))
}

/// The same changes on the value that a text stands for: what the text is compared with afterwards.
mod model {
    use super::{EditError, Map, Value, dotted, not_a_table};

    fn enter<'v>(value: &'v mut Value, at: &[String]) -> Result<&'v mut Map<String, Value>, EditError> {
        let mut here = value;
        for depth in 0..=at.len() {
            if here.is_null() {
                *here = Value::Object(Map::new());
            }
            let map = here.as_object_mut().ok_or_else(|| not_a_table(&at[..depth]))?;
            match at.get(depth) {
                None => return Ok(map),
                Some(key) => here = map.entry(key.clone()).or_insert(Value::Null),
            }
        }
        Err(not_a_table(at))
    }

    fn split(at: &[String]) -> Result<(&String, &[String]), EditError> {
        at.split_last()
            .ok_or_else(|| EditError::Obstacle("a change names no place".into()))
    }

    pub(super) fn append(value: &mut Value, at: &[String], element: &Value) -> Result<(), EditError> {
        let (key, around) = split(at)?;
        let list = enter(value, around)?.entry(key.clone()).or_insert(Value::Null);
        if list.is_null() {
            *list = Value::Array(Vec::new());
        }
        let list = list
            .as_array_mut()
            .ok_or_else(|| EditError::Obstacle(format!("{} is no list", dotted(at))))?;
        list.push(element.clone());
        Ok(())
    }

    pub(super) fn set(value: &mut Value, at: &[String], new: &Value) -> Result<(), EditError> {
        let (key, around) = split(at)?;
        enter(value, around)?.insert(key.clone(), new.clone());
        Ok(())
    }

    pub(super) fn remove_element(value: &mut Value, at: &[String], index: usize) {
        let list = at.iter().try_fold(value, |value, key| value.get_mut(key));
        if let Some(Value::Array(list)) = list
            && index < list.len()
        {
            list.remove(index);
        }
    }

    pub(super) fn remove_key(value: &mut Value, at: &[String]) {
        let Some((key, around)) = at.split_last() else {
            return;
        };
        let map = around.iter().try_fold(value, |value, key| value.get_mut(key));
        if let Some(Value::Object(map)) = map {
            map.remove(key);
        }
    }
}
