//! Words before and after expansion.

use std::borrow::Cow;

use super::brace::brace_expand;
use super::change::{Change, is_glob};
use super::scope::Scope;

/// Most fields that one word may become through brace expansion and loop variables. A person's `{a,b,c}` has a few;
/// beyond the bound the word stays as written and counts as unresolved.
pub(super) const MAX_FIELDS: usize = 64;

/// Longest value of a variable that is followed (bytes): `PATH_MAX`, as what matters here are paths and short commands.
pub(crate) const MAX_VALUE: usize = 4096;

/// How long a word may grow by variables (bytes), so that `$x$x$x…` stays linear.
const MAX_EXPANDED: usize = 4 * MAX_VALUE;

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text, and whether it stood in quotes.
    Text { text: String, quoted: bool },
    /// A variable; `source` is how it was written.
    Variable {
        name: String,
        source: String,
        default: Option<String>,
        change: Option<Change>,
        quoted: bool,
    },
    /// What a substitution is known to print; `source` is how it was written.
    Known {
        text: String,
        source: String,
        quoted: bool,
    },
    /// `<(…)` or `>(…)`, and what is known to be printed in it.
    Process { source: String, text: Option<String> },
    /// Something that only running can tell; `source` is how it was written.
    Unknown { source: String, substitution: bool },
}

/// A word of the source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Word {
    pub(crate) pieces: Vec<Piece>,
    /// As written; empty where that is its one piece of text.
    pub(super) source: String,
    /// Programs (by range) whose output the word holds.
    pub(crate) feeds: Vec<std::ops::Range<usize>>,
    /// Programs (by range) whose output the word's variables hold.
    pub(crate) followed: Vec<std::ops::Range<usize>>,
}

/// Most ranges of programs that one word's variables lead back to.
const MAX_FOLLOWED: usize = 16;

/// A word after expansion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Field {
    /// Its text; what could not be resolved stands as written.
    pub(crate) text: String,
    /// Whether all of it could be resolved.
    pub(crate) exact: bool,
    /// Whether it is a glob.
    pub(crate) glob: bool,
    /// Whether what could not be resolved is the output of a command.
    pub(crate) substitution: bool,
}

impl Field {
    pub(crate) fn literal(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            exact: true,
            glob: false,
            substitution: false,
        }
    }
}

impl Word {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// As written.
    pub(crate) fn source(&self) -> &str {
        match self.pieces.as_slice() {
            [Piece::Text { text, quoted: false }] if self.source.is_empty() => text,
            _ => &self.source,
        }
    }

    /// The one field of a word in which nothing is to be expanded, as most words are.
    pub(crate) fn plain(&self) -> Option<Field> {
        match self.pieces.as_slice() {
            [Piece::Text { text, quoted }]
                if !text.is_empty() && (*quoted || !text.bytes().any(|byte| matches!(byte, b'~' | b'{'))) =>
            {
                Some(Field {
                    glob: !quoted && is_glob(text),
                    ..Field::literal(text)
                })
            }
            _ => None,
        }
    }

    /// The word's text, if it is plain text without quotes: the only form in which the shell knows its own keywords.
    pub(crate) fn bare(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Text { text, quoted: false }] => Some(text),
            _ => None,
        }
    }

    /// What is known to be printed in a `<(…)` that the word is.
    pub(crate) fn process_text(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Process { text, .. }] => text.as_deref(),
            _ => None,
        }
    }

    /// Whether the word is the output of commands and nothing else.
    pub(crate) fn is_substitution(&self) -> bool {
        let empty = |piece: &Piece| matches!(piece, Piece::Text { text, .. } if text.is_empty());
        let mut rest = self.pieces.iter().filter(|piece| !empty(piece)).peekable();
        rest.peek().is_some()
            && rest.all(|piece| {
                matches!(
                    piece,
                    Piece::Unknown {
                        substitution: true,
                        ..
                    } | Piece::Known { .. }
                        | Piece::Process { .. }
                )
            })
    }

    /// How the word stands in a program's arguments: its text where that is literal, else its source.
    pub(crate) fn as_argument(&self) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text { text: part, quoted } if *quoted || !part.starts_with('~') => {
                    text.push_str(part)
                }
                _ => return self.source().to_owned(),
            }
        }
        text
    }

    /// Splits `NAME=value` into the name and the value's pieces.
    pub(crate) fn assignment(&self) -> Option<(&str, Self)> {
        let Some(Piece::Text { text, quoted: false }) = self.pieces.first() else {
            return None;
        };
        let (name, rest) = text.split_once('=')?;
        let name = name.strip_suffix('+').unwrap_or(name);
        if !is_name(name) {
            return None;
        }
        let mut pieces = self.pieces.clone();
        if rest.is_empty() {
            pieces.remove(0);
        } else if let Some(first) = pieces.first_mut() {
            *first = Piece::Text {
                text: rest.to_owned(),
                quoted: false,
            };
        }
        let source = self
            .source()
            .split_once('=')
            .map_or("", |(_, source)| source)
            .to_owned();
        Some((
            name,
            Self {
                pieces,
                source,
                feeds: self.feeds.clone(),
                followed: Vec::new(),
            },
        ))
    }

    /// Adds the programs whose output the word's variables hold.
    pub(crate) fn follow(&mut self, scope: &Scope<'_>) {
        for piece in &self.pieces {
            if let Piece::Variable { name, .. } = piece {
                for feed in scope.feeds(name) {
                    if self.followed.len() < MAX_FOLLOWED && !self.followed.contains(feed) {
                        self.followed.push(feed.clone());
                    }
                }
            }
        }
    }

    /// The fields that the word becomes.
    pub(crate) fn expand(&self, scope: &Scope<'_>) -> Vec<Field> {
        if let Some(field) = self.plain() {
            return vec![field];
        }
        let mut fields = Vec::new();
        if !self.has_braces() {
            expand_pieces(&self.pieces, scope, true, &mut fields);
            if fields.len() <= MAX_FIELDS {
                return fields;
            }
            fields.clear();
        }
        for pieces in brace_expand(&self.pieces) {
            expand_pieces(&pieces, scope, true, &mut fields);
            if fields.len() > MAX_FIELDS {
                return vec![Field {
                    text: self.source().to_owned(),
                    exact: false,
                    glob: false,
                    substitution: false,
                }];
            }
        }
        fields
    }

    fn has_braces(&self) -> bool {
        let mut pieces = self.pieces.iter();
        pieces.any(|piece| matches!(piece, Piece::Text { text, quoted: false } if text.contains('{')))
    }

    /// The word as one field: an assignment's value, a redirection's target, a here-string.
    pub(crate) fn expand_whole(&self, scope: &Scope<'_>) -> Vec<Field> {
        let mut fields = Vec::new();
        expand_pieces(&self.pieces, scope, false, &mut fields);
        fields
    }
}

pub(crate) fn is_name(text: &str) -> bool {
    text.bytes()
        .enumerate()
        .all(|(at, b)| b == b'_' || b.is_ascii_alphabetic() || (at > 0 && b.is_ascii_digit()))
        && !text.is_empty()
}

/// A field under construction, once for each value that a loop variable in it may have.
struct Draft {
    fields: Vec<Field>,
    /// Whether anything was added that makes even an empty field one (quotes).
    present: bool,
}

impl Draft {
    fn new() -> Self {
        Self {
            fields: vec![Field {
                exact: true,
                ..Field::default()
            }],
            present: false,
        }
    }

    fn push(&mut self, text: &str, change: impl Fn(&mut Field)) {
        for field in &mut self.fields {
            field.text.push_str(text);
            change(field);
        }
        self.present = self.present || !text.is_empty();
    }

    fn bytes(&self) -> usize {
        self.fields.iter().map(|field| field.text.len()).sum()
    }

    fn finish(&mut self, out: &mut Vec<Field>) {
        let done = std::mem::replace(self, Self::new());
        if done.present {
            out.extend(done.fields);
        }
    }
}

fn expand_pieces(pieces: &[Piece], scope: &Scope<'_>, split: bool, out: &mut Vec<Field>) {
    let mut draft = Draft::new();
    for (at, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Text { text, quoted: true } => {
                draft.push(text, |_| {});
                draft.present = true;
            }
            Piece::Text { text, quoted: false } => {
                let (head, rest) = if at == 0 {
                    tilde(text, pieces.len() == 1, scope)
                } else {
                    (None, text.as_str())
                };
                if let Some(head) = head {
                    draft.push(&head, |_| {});
                }
                draft.push(rest, |field| field.glob |= rest.contains(['*', '?', '[']));
            }
            Piece::Unknown { source, substitution } => draft.push(source, |field| {
                field.exact = false;
                field.substitution |= substitution;
            }),
            Piece::Process { source, .. } => draft.push(source, |field| {
                field.exact = false;
                field.substitution = true;
            }),
            Piece::Known { text, source, quoted } => {
                if draft.bytes() > MAX_EXPANDED {
                    draft.push(source, |field| field.exact = false);
                } else {
                    let value = Field {
                        glob: !quoted && is_glob(text),
                        ..Field::literal(text)
                    };
                    variable(&[value], split && !quoted, source, scope, &mut draft, out);
                    draft.present |= *quoted;
                }
            }
            Piece::Variable {
                name,
                source,
                default,
                change,
                quoted,
            } => {
                let default = || {
                    default
                        .as_ref()
                        .map(|text| Cow::Owned(vec![Field::literal(text)]))
                };
                let value = scope.value(name).or_else(default);
                let value = match change {
                    Some(_) if draft.bytes() > MAX_EXPANDED => None,
                    Some(change) => value.and_then(|values| changed(change, &values)).map(Cow::Owned),
                    None => value,
                };
                match value {
                    None => draft.push(source, |field| field.exact = false),
                    Some(_) if draft.bytes() > MAX_EXPANDED => {
                        draft.push(source, |field| field.exact = false)
                    }
                    Some(values) => variable(&values, split && !quoted, source, scope, &mut draft, out),
                }
            }
        }
    }
    draft.finish(out);
}

fn changed(change: &Change, values: &[Field]) -> Option<Vec<Field>> {
    values
        .iter()
        .map(|value| {
            let text = change.of(&value.text).filter(|text| text.len() <= MAX_VALUE)?;
            Some(Field {
                text,
                ..value.clone()
            })
        })
        .collect()
}

/// Adds a variable's values: one is text, several are alternatives.
fn variable(
    values: &[Field],
    split: bool,
    source: &str,
    scope: &Scope<'_>,
    draft: &mut Draft,
    out: &mut Vec<Field>,
) {
    if let [value] = values {
        let separator = |c: char| scope.separates(c);
        let mut parts = value.text.split(separator);
        let spaces = split && value.text.contains(separator);
        let first = if spaces {
            parts.next().unwrap_or_default()
        } else {
            &value.text
        };
        let merge = |field: &mut Field| {
            field.exact &= value.exact;
            field.glob |= value.glob;
            field.substitution |= value.substitution;
        };
        draft.push(first, merge);
        if spaces {
            for part in parts {
                draft.finish(out);
                draft.push(part, merge);
            }
        }
        return;
    }
    if draft.fields.len().saturating_mul(values.len()) > MAX_FIELDS {
        draft.push(source, |field| field.exact = false);
        return;
    }
    let before = std::mem::take(&mut draft.fields);
    for field in &before {
        for value in values {
            draft.fields.push(Field {
                text: format!("{}{}", field.text, value.text),
                exact: field.exact && value.exact,
                glob: field.glob || value.glob,
                substitution: field.substitution || value.substitution,
            });
        }
    }
    draft.present = true;
}

/// Expands a leading `~` or `~user`.
fn tilde<'t>(text: &'t str, alone: bool, scope: &Scope<'_>) -> (Option<String>, &'t str) {
    let Some(rest) = text.strip_prefix('~') else {
        return (None, text);
    };
    let end = rest.find('/').unwrap_or(rest.len());
    if end == rest.len() && !alone {
        return (None, text);
    }
    let (user, rest) = rest.split_at(end);
    let plain = user
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    match user {
        "" => (Some(scope.home.unwrap_or("~").to_owned()), rest),
        "root" => (Some("/root".to_owned()), rest),
        _ if plain && user.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            (Some(format!("/home/{user}")), rest)
        }
        _ => (None, text),
    }
}
