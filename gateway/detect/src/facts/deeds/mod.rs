//! What a tool that is no shell and no editor does, by the words of its name: `policies/deeds.yaml`.
//!
//! Tools of MCP servers and of harnesses say in their name what they do, each in its own spelling, and in their arguments on
//! what. The names come from whoever wrote the server, so a name is read as words, and what counts is a verb with its
//! object, not the spelling.

mod load;
mod words;

use std::sync::LazyLock;

use defenseclaw_model::facts::{BehaviourKind, Radius};
use serde_json::Value;

use super::Analysis;
use load::Deeds;
use words::{MAX_NAME, split};

/// Most values of an input that are looked at, and how deep: tools' arguments are forms, not documents.
const MAX_LEAVES: usize = 512;
const MAX_DEPTH: usize = 12;
/// Longest value whose words count as a name, a role or a target (bytes). What is longer is prose.
const MAX_VALUE: usize = 128;
/// Most bytes of an input that are looked through for the texts of a deed.
const MAX_GIVEN: usize = 64 << 10;
/// Most words of a name that are looked at.
const MAX_WORDS: usize = 48;

/// A set of classes of words.
type Classes = u128;

#[expect(
    clippy::expect_used,
    reason = "the table is built in, and a test reads it: a binary whose table is not valid is never built"
)]
static DEEDS: LazyLock<Deeds> = LazyLock::new(|| {
    Deeds::from_yaml(include_str!("../../../../../policies/deeds.yaml"))
        .expect("policies/deeds.yaml is valid")
});

/// Something that is done.
struct Deed {
    kind: BehaviourKind,
    technique: Box<str>,
    /// A word of each of these, the first of them in the name itself.
    words: Vec<Classes>,
    server: Classes,
    server_not: Classes,
    /// Whether a name that only reads may do it.
    reads: bool,
    not: Classes,
    given: Vec<Box<str>>,
    also: Vec<Box<str>>,
    not_given: Vec<Box<str>>,
    says: Option<Says>,
}

/// A field and what it says.
struct Says {
    /// Empty: any field.
    field: Classes,
    word: Classes,
}

/// A call by its words.
struct Call {
    /// The classes of each word of the name, then those of what the input says that it is for.
    words: Vec<Classes>,
    /// How many of them are the name's.
    own: usize,
    server: Classes,
    reads: bool,
}

/// Notes what the call of `tool` does by its name.
pub(super) fn note(analysis: &mut Analysis, tool: &str, input: &Value) {
    let deeds = &*DEEDS;
    let mut leaves = Vec::new();
    collect(input, "", 0, &mut leaves);
    let (call, name) = deeds.read(tool, &leaves);
    if call.own == 0 {
        return;
    }
    let mut given: Option<String> = None;
    let mut reach = None;
    let mut done: Vec<&str> = Vec::new();
    for deed in &deeds.deeds {
        if done.contains(&&*deed.technique) || !deed.is_named(&call) {
            continue;
        }
        let text = given.get_or_insert_with(|| flat(input));
        let any = |texts: &[Box<str>]| texts.iter().any(|wanted| text.contains(&**wanted));
        let lacks = |texts: &[Box<str>]| !texts.is_empty() && !any(texts);
        if lacks(&deed.given) || lacks(&deed.also) || any(&deed.not_given) {
            continue;
        }
        if deed
            .says
            .as_ref()
            .is_some_and(|says| !deeds.is_said(says, &leaves))
        {
            continue;
        }
        let reach = *reach.get_or_insert_with(|| {
            if text.contains("\"dryrun\":true") {
                Radius::Scratch
            } else {
                deeds.reach(&leaves)
            }
        });
        done.push(&deed.technique);
        analysis.behave(deed.kind, &deed.technique, &name, reach);
    }
}

/// How far a tool's doing reaches, by what its input calls the target.
pub(super) fn reach(input: &Value) -> Radius {
    let mut leaves = Vec::new();
    collect(input, "", 0, &mut leaves);
    DEEDS.reach(&leaves)
}

/// Whether a tool says of itself that it only looks at statements, and runs none.
pub(super) fn explains(tool: &str) -> bool {
    DEEDS.classes_in(tool) & DEEDS.explains != 0
}

/// The words of a tool's name.
pub(super) fn words_of(name: &str) -> Vec<String> {
    split(name, &DEEDS.vocabulary)
}

/// Whether a name says that what it names is there to try things in.
pub(super) fn is_scratch(name: &str) -> bool {
    let classes = DEEDS.classes_in(name);
    classes & DEEDS.scratch != 0 && classes & DEEDS.production == 0
}

impl Deed {
    fn is_named(&self, call: &Call) -> bool {
        let all = call.words.iter().fold(0, |all, classes| all | classes);
        (self.reads || !call.reads)
            && all & self.not == 0
            && call.server & self.server_not == 0
            && (self.server == 0 || (call.server | all) & self.server != 0)
            && assigned(&self.words, call, true, 0)
    }
}

/// Whether each of `wanted` has a word of its own, the first one in the name.
fn assigned(wanted: &[Classes], call: &Call, first: bool, taken: u64) -> bool {
    let Some((class, rest)) = wanted.split_first() else {
        return true;
    };
    let until = if first { call.own } else { call.words.len() };
    let words = call.words.iter().take(until).enumerate();
    words
        .filter(|(at, classes)| taken >> at & 1 == 0 && *classes & class != 0)
        .any(|(at, _)| assigned(rest, call, false, taken | 1 << at))
}

impl Deeds {
    /// The words of a call, and its name as they spell it.
    fn read(&self, tool: &str, leaves: &[(&str, &Value)]) -> (Call, String) {
        let tool = &tool[..tool.floor_char_boundary(MAX_NAME)];
        let parts: Vec<&str> = tool.split("__").filter(|part| !part.is_empty()).collect();
        let (server, own) = match parts.as_slice() {
            [before @ .., own] if !before.is_empty() => (before.join(" "), *own),
            _ => (String::new(), tool),
        };
        let server = split(&server, &self.vocabulary);
        let server = server.iter().fold(0, |all, word| all | self.classes_of(word));
        let mut names = vec![split(own, &self.vocabulary)];
        let mut resources = Vec::new();
        for (field, value) in leaves {
            let Some(text) = value.as_str().filter(|text| text.len() <= MAX_VALUE) else {
                continue;
            };
            let field = spelled(field);
            if self.operations.contains(&field) && !text.contains(' ') {
                names.push(split(text, &self.vocabulary));
            } else if self.resources.contains(&field) && !text.contains(' ') {
                resources.extend(split(text, &self.vocabulary));
            }
        }
        // A call acts if any of its names does: what stands in a field is what a general tool is told to do.
        let reads = names.iter().all(|name| self.only_reads(name));
        let name: Vec<String> = names.concat().into_iter().take(MAX_WORDS).collect();
        let own = name.len();
        let resources = resources.into_iter().take(MAX_WORDS.saturating_sub(own));
        let words = name.iter().cloned().chain(resources);
        let words = words.map(|word| self.classes_of(&word)).collect();
        let call = Call {
            words,
            own,
            server,
            reads,
        };
        (call, name.join(" "))
    }

    /// Whether a name is that of something that only looks: its first verb does, and no other verb stands at its end.
    fn only_reads(&self, name: &[String]) -> bool {
        let mut verbs = name
            .iter()
            .map(|word| self.vocabulary.get(word.as_str()).copied());
        let verb = |classes: Option<Classes>| classes.unwrap_or_default() & (self.reading | self.acting) != 0;
        let acts = |classes: Option<Classes>| classes.unwrap_or_default() & self.acting != 0;
        let last = name
            .last()
            .map(|word| self.vocabulary.get(word.as_str()).copied());
        let looks = |classes: Option<Classes>| classes.unwrap_or_default() & self.reading != 0;
        match verbs.find(|classes| verb(*classes)) {
            Some(first) => looks(first) && !last.is_some_and(acts),
            None => true,
        }
    }

    /// The classes of a word, or of what it is the plural of.
    fn classes_of(&self, word: &str) -> Classes {
        let known = |word: &str| self.vocabulary.get(word).copied();
        let singular = || {
            let less = word.strip_suffix('s').filter(|less| less.len() > 2)?;
            let y = || known(&format!("{}y", less.strip_suffix("ie")?));
            known(less).or_else(|| known(less.strip_suffix('e')?)).or_else(y)
        };
        known(word).or_else(singular).unwrap_or_default()
    }

    fn classes_in(&self, text: &str) -> Classes {
        let words = split(text, &self.vocabulary);
        words.iter().fold(0, |all, word| all | self.classes_of(word))
    }

    fn is_said(&self, says: &Says, leaves: &[(&str, &Value)]) -> bool {
        leaves.iter().any(|(field, value)| {
            let text = value.as_str().filter(|text| text.len() <= MAX_VALUE);
            text.is_some_and(|text| self.classes_in(text) & says.word != 0)
                && (says.field == 0 || self.classes_in(field) & says.field != 0)
        })
    }

    /// No farther than what is there to try things in, where the target's own name says so.
    fn reach(&self, leaves: &[(&str, &Value)]) -> Radius {
        let named = leaves
            .iter()
            .filter(|(field, _)| self.identities.contains(&spelled(field)));
        let classes = named
            .filter_map(|(_, value)| value.as_str().filter(|text| text.len() <= MAX_VALUE))
            .fold(0, |all, text| all | self.classes_in(text));
        if classes & self.scratch != 0 && classes & self.production == 0 {
            Radius::Scratch
        } else {
            Radius::Remote
        }
    }
}

/// The values of an input, each with the field that it stands in.
fn collect<'v>(value: &'v Value, field: &'v str, depth: usize, leaves: &mut Vec<(&'v str, &'v Value)>) {
    if depth > MAX_DEPTH || leaves.len() >= MAX_LEAVES {
        return;
    }
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| collect(value, name, depth + 1, leaves)),
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect(item, field, depth + 1, leaves)),
        _ => leaves.push((field, value)),
    }
}

/// A field's name as the table spells it.
fn spelled(field: &str) -> String {
    let letters = field.chars().take(MAX_VALUE).filter(|c| !matches!(c, '_' | '-'));
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

/// An input as one text in which spelling makes no difference, documents in its strings included.
fn flat(input: &Value) -> String {
    let text = input.to_string();
    let text = &text[..text.floor_char_boundary(MAX_GIVEN)];
    let letters = text
        .chars()
        .filter(|c| !matches!(c, '\\' | '_' | '-') && !c.is_whitespace());
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests;
