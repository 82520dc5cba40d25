//! The form of packs about artifacts (`kind: artifact`), and everything that can be wrong with one.

use std::collections::{HashMap, HashSet};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use defenseclaw_model::decision::Severity;
use serde::Deserialize;

use super::frames::Frames;
use super::frames::pack::{PackClass, PackConcept, PackFrame, PackPair, Parts};
use super::rules::{ArtifactRules, Group, Rule, Side};
use crate::detector::PackError;
use crate::text::anchors::{Anchors, Spec};
use crate::text::fold::fold_phrase;

/// Most groups that one rule needs.
const MAX_NEEDED: usize = 6;

/// A pack.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pack {
    version: u32,
    #[serde(rename = "kind")]
    _kind: String,
    /// Words of texts that are about attacks.
    #[serde(default)]
    discussion: Vec<String>,
    #[serde(default)]
    groups: Vec<PackGroup>,
    #[serde(default)]
    rules: Vec<PackRule>,
    /// Words and what they mean together: see `frames`.
    #[serde(default)]
    classes: Vec<PackClass>,
    #[serde(default)]
    pairs: Vec<PackPair>,
    #[serde(default)]
    concepts: Vec<PackConcept>,
    #[serde(default)]
    frames: Vec<PackFrame>,
}

/// Shapes that mean the same.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackGroup {
    name: String,
    on: SideName,
    /// Whether "never …" before it means that it is not meant.
    #[serde(default)]
    unless_told_not: bool,
    /// Whether an address of a well-known host, or of the artifact's own subject, is not meant.
    #[serde(default)]
    unless_known: bool,
    shapes: Vec<String>,
}

/// Where shapes are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SideName {
    Prose,
    Code,
}

/// A rule: groups that stand near each other.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackRule {
    id: String,
    category: String,
    severity: Severity,
    confidence: u8,
    message: String,
    remedy: String,
    all: Vec<String>,
    #[serde(default)]
    not: Vec<String>,
    #[serde(default)]
    within: Option<usize>,
    #[serde(default)]
    reach: Reach,
    /// Whether it counts less in texts about attacks; so, if nothing else is said.
    #[serde(default)]
    discussed: Option<bool>,
    tests: Tests,
}

/// How far apart a rule's groups may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reach {
    /// Within so many bytes; in prose also within one paragraph.
    #[default]
    Window,
    /// Anywhere in one file.
    File,
    /// Anywhere in the artifact.
    Artifact,
}

/// The tests that stand beside a rule.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tests {
    /// Texts in which the rule must find something.
    pub(crate) positive: Vec<String>,
    /// Texts that look alike, in which it must not.
    pub(crate) negative: Vec<String>,
}

/// What groups of a side may be apart by default (bytes): about three lines of prose, about twelve of code.
const NEAR_PROSE: usize = 260;
const NEAR_CODE: usize = 600;

impl ArtifactRules {
    /// Compiles packs, given as file name and text.
    pub(crate) fn load(packs: &[crate::packs::Pack<'_>]) -> Result<Self, PackError> {
        let mut parsed = Vec::new();
        for &(file, text) in packs {
            let pack: Pack = text.read().map_err(|error| invalid(file, error.to_string()))?;
            if pack.version != 1 {
                let why = format!("it has version {}; this program knows version 1", pack.version);
                return Err(invalid(file, why));
            }
            parsed.push((file, pack));
        }
        let mut rules = Self::default();
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut shapes: [Vec<(String, usize)>; 2] = [Vec::new(), Vec::new()];
        let mut discussion = Vec::new();
        for (file, pack) in &mut parsed {
            discussion.append(&mut pack.discussion);
            for group in pack.groups.drain(..) {
                let number = rules.groups.len();
                if names.insert(group.name.clone(), number).is_some() {
                    let why = format!(
                        "the group {:?} is there twice; give one of them another name",
                        group.name
                    );
                    return Err(invalid(file, why));
                }
                let side = Side::from(group.on);
                let of_side = &mut shapes[side as usize];
                of_side.extend(group.shapes.iter().map(|shape| (fold_phrase(shape), number)));
                rules.groups.push(Group {
                    side,
                    unless_told_not: group.unless_told_not,
                    unless_known: group.unless_known,
                });
            }
        }
        for (side, of_side) in shapes.iter().enumerate() {
            let (anchors, owners) = anchors(of_side, &names)?;
            rules.anchors[side] = anchors;
            rules.owners[side] = owners;
        }
        let words = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(discussion)
            .map_err(|error| invalid("packs about artifacts", error.to_string()))?;
        rules.discussion = Some(words);
        let mut ids = HashSet::new();
        let (mut parts, mut framed) = (Parts::default(), "packs about artifacts");
        for (file, pack) in parsed {
            if !pack.frames.is_empty() {
                framed = file;
            }
            parts.classes.extend(pack.classes);
            parts.pairs.extend(pack.pairs);
            parts.concepts.extend(pack.concepts);
            parts.frames.extend(pack.frames);
            for rule in pack.rules {
                if !ids.insert(rule.id.clone()) {
                    let why = format!(
                        "the rule {:?} is there twice; give one of them another id",
                        rule.id
                    );
                    return Err(invalid(file, why));
                }
                let rule = compile(file, rule, &names, &rules.groups)?;
                rules.rules.push(rule);
            }
        }
        rules.frames = Frames::load(framed, parts)?;
        rules.index();
        Ok(rules)
    }
}

fn anchors(
    shapes: &[(String, usize)],
    names: &HashMap<String, usize>,
) -> Result<(Option<Anchors>, Vec<usize>), PackError> {
    let specs: Vec<Spec<'_>> = shapes
        .iter()
        .map(|(shape, _)| Spec {
            shape,
            nocase: false,
            inside: false,
        })
        .collect();
    let anchors = Anchors::new(&specs).map_err(|(number, why)| {
        let (shape, group) = shapes.get(number).cloned().unwrap_or_default();
        let name = names
            .iter()
            .find(|&(_, &of)| of == group)
            .map_or("", |(name, _)| name);
        invalid(
            "packs about artifacts",
            format!("group {name:?}, shape {shape:?}: {why}"),
        )
    })?;
    Ok((Some(anchors), shapes.iter().map(|&(_, group)| group).collect()))
}

fn compile(
    file: &str,
    rule: PackRule,
    names: &HashMap<String, usize>,
    groups: &[Group],
) -> Result<Rule, PackError> {
    let refuse = |why: String| invalid(file, format!("rule {:?}: {why}", rule.id));
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if !rule.id.contains('.') || !rule.id.chars().all(known) {
        return Err(refuse(
            "write its id as word.name, in lower-case letters, digits and hyphens".to_owned(),
        ));
    }
    if rule.confidence > 100 || rule.severity == Severity::None {
        return Err(refuse(
            "give it a severity, and a confidence from 0 to 100".to_owned(),
        ));
    }
    if rule.tests.positive.is_empty() || rule.tests.negative.is_empty() {
        return Err(refuse(
            "give it at least one positive and one negative test".to_owned(),
        ));
    }
    if rule.all.is_empty() || rule.all.len() > MAX_NEEDED {
        return Err(refuse(format!("name 1 to {MAX_NEEDED} groups in `all`")));
    }
    let number = |name: &String| {
        names
            .get(name)
            .copied()
            .ok_or_else(|| refuse(format!("there is no group {name:?}")))
    };
    let all: Vec<usize> = rule.all.iter().map(number).collect::<Result<_, _>>()?;
    let not: Vec<usize> = rule.not.iter().map(number).collect::<Result<_, _>>()?;
    let side_of = |&group: &usize| groups.get(group).map_or(Side::Code, |group| group.side);
    let side = all.first().map_or(Side::Code, side_of);
    let mixed = all.iter().chain(&not).any(|group| side_of(group) != side);
    if mixed && rule.reach == Reach::Window {
        return Err(refuse(
            "groups of prose and of code stand never near each other: write `reach: file`".to_owned(),
        ));
    }
    let near = match side {
        Side::Prose => NEAR_PROSE,
        Side::Code => NEAR_CODE,
    };
    Ok(Rule {
        all,
        not,
        within: rule.within.unwrap_or(near),
        reach: rule.reach,
        discussed: rule.discussed.unwrap_or(true),
        id: rule.id,
        category: rule.category,
        severity: rule.severity,
        confidence: rule.confidence,
        message: rule.message,
        remedy: rule.remedy,
        tests: rule.tests,
    })
}

impl From<SideName> for Side {
    fn from(name: SideName) -> Self {
        match name {
            SideName::Prose => Self::Prose,
            SideName::Code => Self::Code,
        }
    }
}

fn invalid(file: &str, why: String) -> PackError {
    PackError::Invalid {
        file: file.to_owned(),
        why,
    }
}
