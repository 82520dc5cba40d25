//! From the text of `policies/deeds.yaml` to classes of words and deeds.

use std::collections::{BTreeMap, HashSet};

use defenseclaw_model::facts::BehaviourKind;
use serde::Deserialize;

use super::{Classes, Deed, Says};
use crate::quick::Table;

/// The classes whose words are verbs that do something.
const ACTING: &[&str] = &[
    "deletes",
    "removes",
    "disables",
    "changes",
    "gives",
    "makes",
    "shares",
    "pays",
    "spoils",
    "resets",
    "hushes",
    "opens",
    "signs",
    "pay_verbs",
    "crowns",
    "flushes",
    "merges",
    "pushes",
    "hands_over",
    "unprotects",
    "wholes",
];

/// Why the table was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeedsError {
    /// Not the schema.
    #[error("the deeds cannot be read: {0}")]
    Syntax(String),
    /// A version that this program does not know.
    #[error("the deeds have version {0}; this program knows version 1")]
    Version(u32),
    /// A class that is not there.
    #[error("there is no class {0:?} of words")]
    NoClass(String),
    /// More classes than a set holds.
    #[error("there are more than 128 classes of words")]
    TooMany,
    /// What a deed comes to is no behaviour.
    #[error("{0:?} is no kind/technique")]
    NoBehaviour(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    operations: Vec<String>,
    resources: Vec<String>,
    identities: Vec<String>,
    classes: BTreeMap<String, Vec<String>>,
    deeds: Vec<DeedEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeedEntry {
    does: String,
    words: Vec<String>,
    #[serde(default)]
    server: Vec<String>,
    #[serde(default)]
    server_not: Vec<String>,
    #[serde(default)]
    reads: bool,
    #[serde(default)]
    not: Vec<String>,
    #[serde(default)]
    given: Vec<String>,
    #[serde(default)]
    also: Vec<String>,
    #[serde(default)]
    not_given: Vec<String>,
    #[serde(default)]
    says: Option<SaysEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaysEntry {
    /// None: any field.
    #[serde(default)]
    field: Vec<String>,
    word: Vec<String>,
}

/// The table.
pub(super) struct Deeds {
    /// Words, with the classes that each is in.
    pub(super) vocabulary: Table<Box<str>, Classes>,
    pub(super) operations: HashSet<String>,
    pub(super) resources: HashSet<String>,
    pub(super) identities: HashSet<String>,
    pub(super) scratch: Classes,
    pub(super) production: Classes,
    pub(super) explains: Classes,
    pub(super) reading: Classes,
    pub(super) acting: Classes,
    pub(super) deeds: Vec<Deed>,
}

impl Deeds {
    pub(super) fn from_yaml(text: &str) -> Result<Self, DeedsError> {
        let file: File =
            defenseclaw_yaml::from_str(text).map_err(|error| DeedsError::Syntax(error.to_string()))?;
        if file.version != 1 {
            return Err(DeedsError::Version(file.version));
        }
        if file.classes.len() > Classes::BITS as usize {
            return Err(DeedsError::TooMany);
        }
        let mut vocabulary: Table<Box<str>, Classes> = Table::default();
        for (at, words) in file.classes.values().enumerate() {
            for word in words {
                let taken_in = word.strip_prefix('@').map(|class| {
                    let words = file.classes.get(class);
                    words.ok_or_else(|| DeedsError::NoClass(class.to_owned()))
                });
                match taken_in.transpose()? {
                    Some(words) => words
                        .iter()
                        .for_each(|word| *vocabulary.entry(word.as_str().into()).or_default() |= 1 << at),
                    None => *vocabulary.entry(word.as_str().into()).or_default() |= 1 << at,
                }
            }
        }
        let numbers: BTreeMap<&str, usize> = file.classes.keys().map(String::as_str).zip(0..).collect();
        let class = |name: &str| match numbers.get(name) {
            Some(at) => Ok(1 << at),
            None => Err(DeedsError::NoClass(name.to_owned())),
        };
        let all = |names: &[String]| names.iter().try_fold(0, |all, name| Ok(all | class(name)?));
        let deeds = file.deeds.into_iter().map(|entry| {
            let wrong = || DeedsError::NoBehaviour(entry.does.clone());
            let (kind, technique) = entry.does.split_once('/').ok_or_else(wrong)?;
            let kind = serde_json::from_value::<BehaviourKind>(kind.into()).map_err(|_| wrong())?;
            let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
            let says = entry.says.as_ref().map(|says| {
                Ok(Says {
                    field: all(&says.field)?,
                    word: all(&says.word)?,
                })
            });
            Ok(Deed {
                kind,
                technique: technique.into(),
                words: entry
                    .words
                    .iter()
                    .map(|name| class(name))
                    .collect::<Result<_, _>>()?,
                server: all(&entry.server)?,
                server_not: all(&entry.server_not)?,
                reads: entry.reads,
                not: all(&entry.not)?,
                given: boxed(&entry.given),
                also: boxed(&entry.also),
                not_given: boxed(&entry.not_given),
                says: says.transpose()?,
            })
        });
        let deeds = deeds.collect::<Result<_, _>>()?;
        let acting = ACTING.iter().try_fold(0, |all, name| Ok(all | class(name)?))?;
        Ok(Self {
            deeds,
            scratch: class("scratch")?,
            production: class("production")?,
            explains: class("explains")?,
            reading: class("reads")?,
            acting,
            vocabulary,
            operations: file.operations.into_iter().collect(),
            resources: file.resources.into_iter().collect(),
            identities: file.identities.into_iter().collect(),
        })
    }
}
