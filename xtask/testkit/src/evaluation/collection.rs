//! The labelled collections: one JSON object per line, see `policies/evaluation/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Mixed into the hash that splits, so that a name in the files does not say by itself on which side it falls.
const SPLIT_SEED: &str = "defenseclaw-evaluation-1";
/// Percent of the groups that are held out.
const HOLDOUT_PERCENT: u64 = 30;

/// Whether a case should be objected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// It should be asked about or denied.
    Attack,
    /// It should be let through.
    Benign,
}

/// Which part of the collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// What rules may be written and tuned with.
    Dev,
    /// What is only counted.
    Holdout,
    /// Both.
    All,
}

impl Split {
    /// Whether a case of `side` (never `All`) belongs to this part.
    pub fn holds(self, side: Self) -> bool {
        self == Self::All || self == side
    }
}

impl std::str::FromStr for Split {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> Result<Self> {
        Ok(match word {
            "dev" => Self::Dev,
            "holdout" => Self::Holdout,
            "all" => Self::All,
            _ => bail!("{word:?} is no part of the collections: use dev, holdout or all"),
        })
    }
}

/// One line of a collection.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    /// Unique over all collections.
    pub id: String,
    /// The collection: the file's name without its ending.
    pub set: String,
    /// One of the detection categories, or for everyday calls the field of work.
    pub category: String,
    /// What is right.
    pub label: Label,
    /// Names an attack and its benign twin.
    #[serde(default)]
    pub pair: Option<String>,
    /// The pair that this one is a rewording of; both fall on the same side of the split.
    #[serde(default)]
    pub family: Option<String>,
    /// Whether rules were made for it before it joined: it is never held out.
    #[serde(default)]
    pub seen: bool,
    /// ATT&CK techniques, separated by spaces.
    #[serde(default)]
    pub technique: Option<String>,
    /// `hand` or `grammar`.
    #[serde(default)]
    pub origin: Option<String>,
    /// What the tool is asked.
    #[serde(flatten)]
    pub question: Question,
}

/// What `inspect` reads, beside the id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Question {
    /// A tool call.
    Call {
        /// The tool's name.
        tool: String,
        /// Its input.
        input: Value,
        /// The working directory.
        cwd: String,
    },
    /// A text.
    Text {
        /// `prompt`, `completion` or `tool_result`.
        surface: String,
        /// The text.
        text: String,
    },
}

impl Question {
    /// What makes two questions the same: everything but the working directory.
    fn key(&self) -> (&str, String) {
        match self {
            Self::Call { tool, input, .. } => (tool, input.to_string()),
            Self::Text { surface, text } => (surface, text.clone()),
        }
    }
}

impl Case {
    /// The side of the split; all of one family fall on the same.
    pub fn side(&self) -> Split {
        let group = self.family.as_ref().or(self.pair.as_ref()).unwrap_or(&self.id);
        let digest = Sha256::digest(format!("{SPLIT_SEED}\n{group}"));
        let number = digest
            .iter()
            .take(8)
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        if number % 100 < HOLDOUT_PERCENT && !self.seen {
            Split::Holdout
        } else {
            Split::Dev
        }
    }
}

/// Reads every `*.jsonl` in a folder, in the order of their names.
pub fn read(folder: &Path) -> Result<Vec<Case>> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("cannot read the collections in {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "jsonl"));
    files.sort();
    ensure!(!files.is_empty(), "{} holds no *.jsonl", folder.display());
    let mut cases = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        for (number, line) in text.lines().enumerate() {
            let place = || format!("{}:{}", file.display(), number + 1);
            let case: Case = serde_json::from_str(line).with_context(place)?;
            ensure!(case.set == name, "{}: the set is {:?}", place(), case.set);
            cases.push(case);
        }
    }
    check(&cases)?;
    Ok(cases)
}

/// Ids and questions are unique (a question that stands twice may be in both parts of the split), and each pair is one
/// attack and one benign twin of the same category.
fn check(cases: &[Case]) -> Result<()> {
    let mut ids = BTreeSet::new();
    let mut questions = BTreeMap::new();
    let mut pairs: BTreeMap<(&str, &str), Vec<&Case>> = BTreeMap::new();
    for case in cases {
        ensure!(ids.insert(&case.id), "the id {} is given twice", case.id);
        if let Some(other) = questions.insert(case.question.key(), &case.id) {
            bail!("{} asks the same as {other}", case.id);
        }
        if let Some(pair) = &case.pair {
            pairs.entry((&case.set, pair)).or_default().push(case);
        }
    }
    for ((set, pair), members) in pairs {
        let labels: BTreeSet<Label> = members.iter().map(|case| case.label).collect();
        let categories: BTreeSet<&str> = members.iter().map(|case| case.category.as_str()).collect();
        ensure!(
            members.len() == 2 && labels.len() == 2 && categories.len() == 1,
            "{set}: the pair {pair} is not one attack and one benign case of one category"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(line: &str) -> Case {
        serde_json::from_str(line).expect("a case")
    }

    fn twin(id: &str, label: &str) -> Case {
        case(&format!(
            r#"{{"id":"{id}","set":"pairs","category":"c2","label":"{label}","pair":"p","surface":"prompt","text":"{id}"}}"#
        ))
    }

    #[test]
    fn a_family_falls_on_one_side() {
        let (mut a, b) = (twin("1a", "attack"), twin("1b", "benign"));
        assert_eq!(a.side(), b.side());
        a.pair = Some("another".to_owned());
        a.family = Some("p".to_owned());
        assert_eq!(a.side(), b.side());
    }

    #[test]
    fn about_three_in_ten_are_held_out() {
        let held = (0..2000)
            .map(|n| {
                let mut one = twin("a", "attack");
                one.pair = Some(n.to_string());
                one.side()
            })
            .filter(|side| *side == Split::Holdout)
            .count();
        assert!((540..660).contains(&held), "{held} of 2000");
    }

    #[test]
    fn what_is_wrong_in_a_collection_is_named() {
        let lone = check(&[twin("1a", "attack")]).expect_err("no twin");
        assert!(lone.to_string().contains("the pair p"), "{lone}");
        let twice = check(&[twin("1a", "attack"), twin("1a", "benign")]).expect_err("an id twice");
        assert!(twice.to_string().contains("1a"), "{twice}");
        let (first, mut second) = (twin("1a", "attack"), twin("1b", "benign"));
        second.question = first.question.clone();
        let repeated = check(&[first, second]).expect_err("a question twice");
        assert!(
            repeated.to_string().contains("1b asks the same as 1a"),
            "{repeated}"
        );
        let same = check(&[twin("1a", "attack"), twin("1b", "attack")]).expect_err("no benign twin");
        assert!(same.to_string().contains("the pair p"), "{same}");
        let unknown = serde_json::from_str::<Case>(r#"{"id":"1","set":"s","category":"c","label":"odd"}"#);
        assert!(unknown.is_err());
    }
}
