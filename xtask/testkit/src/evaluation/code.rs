//! Programs with one place that is an attack or its twin, and what `scan code` makes of them. See
//! `policies/evaluation/README.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::artifacts::{Skill, side_of};
use super::collection::Label;
use super::inspector::Severity;

/// Where the attack stands, or its twin.
const HERE: &str = "«»";
/// Mixed into the hash that splits.
const SPLIT_SEED: &str = "defenseclaw-code-1";
/// The row of what is a weakness and no attack: MEDIUM is right.
pub const WEAKNESS: &str = "weakness";

/// A program.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    id: String,
    category: String,
    file: String,
    text: String,
    attack: String,
    benign: String,
    /// What the attack should be found at.
    #[serde(default)]
    wants: Option<Severity>,
    /// Whether tables were made for it before it joined: it is never held out.
    #[serde(default)]
    seen: bool,
    #[serde(default)]
    more: BTreeMap<String, String>,
}

/// Reads the programs of a folder, each as attack and as twin. Their category is the file's name, but for weaknesses.
pub fn read(folder: &Path) -> Result<Vec<Skill>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    let mut skills = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let programs: Vec<Program> =
            serde_saphyr::from_str(&text).with_context(|| format!("{} is not valid", path.display()))?;
        let language = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for program in &programs {
            skills.extend(program.twins(&language)?);
        }
    }
    let ids: std::collections::BTreeSet<_> = skills.iter().map(|skill| &skill.id).collect();
    ensure!(ids.len() == skills.len(), "an id is given twice");
    Ok(skills)
}

impl Program {
    fn twins(&self, language: &str) -> Result<[Skill; 2]> {
        ensure!(!self.category.is_empty(), "{}: it has no category", self.id);
        let places = self.text.matches(HERE).count()
            + self
                .more
                .values()
                .map(|text| text.matches(HERE).count())
                .sum::<usize>();
        ensure!(
            places == 1,
            "{}: {HERE} stands {places} times in it, not once",
            self.id
        );
        let make = |label: Label, end: &str, change: &str| {
            let change = change.trim_end_matches('\n');
            let mut files =
                BTreeMap::from([(self.file.clone(), self.text.replace(HERE, change).into_bytes())]);
            files.extend(
                self.more
                    .iter()
                    .map(|(path, text)| (path.clone(), text.replace(HERE, change).into_bytes())),
            );
            let weak = self.wants == Some(Severity::Medium);
            Skill {
                set: String::new(),
                id: format!("{}-{end}", self.id),
                kind: "code".to_owned(),
                category: if weak {
                    WEAKNESS.to_owned()
                } else {
                    language.to_owned()
                },
                label,
                side: if self.seen {
                    super::collection::Split::Dev
                } else {
                    side_of(SPLIT_SEED, &self.id)
                },
                files,
            }
        };
        Ok([
            make(Label::Attack, "a", &self.attack),
            make(Label::Benign, "b", &self.benign),
        ])
    }
}
