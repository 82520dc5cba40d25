//! Labelled artifacts as passages with features.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use defenseclaw_detect::scan::artifact::{self, Artifact};
use defenseclaw_detect::scan::{Scanner, learned};
use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::{ScanFinding, ScanKind};

use crate::evaluation::artifacts::Skill;
use crate::evaluation::collection::Label;

/// The collections that rules were tuned with: what rules find in them is better than what they find anywhere else.
pub const TUNED: [&str; 4] = ["", "near", "varied", "blind"];

/// A labelled artifact.
#[derive(Debug)]
pub struct Example {
    /// Its id.
    pub id: String,
    /// What kind of harm it is.
    pub category: String,
    /// What it is.
    pub kind: ScanKind,
    /// Its files.
    pub artifact: Artifact,
    /// What rules find.
    pub findings: Vec<ScanFinding>,
    /// What is learned from it.
    pub lesson: Lesson,
}

/// What there is to learn from an artifact or a call.
#[derive(Debug, Default)]
pub struct Lesson {
    /// What an attack and its twin share.
    pub group: String,
    /// Its collection.
    pub set: String,
    /// Whether it is an attack.
    pub attack: bool,
    /// Whether it is harmless and nobody's twin.
    pub ordinary: bool,
    /// Whether rules were tuned with its collection.
    pub tuned: bool,
    /// Its passages; a call is one.
    pub passages: Vec<Passage>,
}

/// A passage.
#[derive(Debug)]
pub struct Passage {
    /// Features: number and group.
    pub features: Vec<(u32, u8)>,
    /// Whether the twin does not have it.
    pub changed: bool,
}

impl Example {
    /// What rules alone say.
    pub fn ruled(&self) -> Severity {
        worst(&self.findings)
    }
}

/// The gravest of findings.
pub fn worst(findings: &[ScanFinding]) -> Severity {
    findings
        .iter()
        .map(|finding| finding.severity)
        .max()
        .unwrap_or_default()
}

/// Examples of artifacts. `scanner` is one that has no model.
pub fn examples(scanner: &Scanner, skills: Vec<Skill>) -> Result<Vec<Example>> {
    let mut examples = Vec::with_capacity(skills.len());
    let mut places: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    let mut own: Vec<Vec<(String, String)>> = Vec::new();
    for skill in skills {
        let kind: ScanKind = serde_json::from_value(skill.kind.clone().into())
            .with_context(|| format!("{}: {} is no kind of artifact", skill.id, skill.kind))?;
        let ordinary = skill.category == "popular";
        let attack = skill.label == Label::Attack;
        let group = if ordinary {
            skill.id.clone()
        } else {
            skill
                .id
                .rsplit_once('-')
                .map_or("", |(group, _)| group)
                .to_owned()
        };
        let artifact = artifact::from_memory(skill.files);
        let findings = scanner.scan_read(kind, &artifact, &skill.id, &skill.id).findings;
        let samples = learned::samples(kind, &artifact, &findings, false);
        let texts: Vec<(String, String)> = samples
            .iter()
            .map(|sample| (sample.place.clone(), sample.text.clone()))
            .collect();
        places.insert(skill.id.clone(), texts.iter().cloned().collect());
        own.push(texts);
        let passages = samples.into_iter().map(|sample| Passage {
            features: sample.features,
            changed: false,
        });
        examples.push(Example {
            lesson: Lesson {
                group,
                tuned: TUNED.contains(&skill.set.as_str()),
                set: skill.set,
                attack,
                ordinary,
                passages: passages.collect(),
            },
            category: skill.category,
            kind,
            artifact,
            findings,
            id: skill.id,
        });
    }
    for (example, texts) in examples.iter_mut().zip(own) {
        let lesson = &mut example.lesson;
        let twin = format!("{}-{}", lesson.group, if lesson.attack { "b" } else { "a" });
        let Some(of_twin) = places.get(&twin).filter(|_| !lesson.ordinary) else {
            continue;
        };
        for (passage, text) in lesson.passages.iter_mut().zip(texts) {
            passage.changed = !of_twin.contains(&text);
        }
    }
    Ok(examples)
}
