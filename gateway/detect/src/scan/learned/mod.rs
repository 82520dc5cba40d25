//! What a model says of an artifact that learned from labelled ones: it stands beside the rules, and knows what they miss by
//! how the parts of many attacks and of their honest twins differ.
//!
//! | Module | Holds |
//! |---|---|
//! | `passages`, `json` | an artifact in passages |
//! | `about` | what it says that it is for, and what all of it holds |
//! | `hosts` | hosts by what they mean |
//! | `features`, `places` | what is found in a passage, as numbers |
//! | `verdict` | what that makes of the findings |
//!
//! **What it is.** A linear model over a passage's features, with weights of eight bits (`policies/learned/weights.bin`), made by
//! `cargo xtask train` from `policies/evaluation/artifacts`. The artifact is as bad as its worst passage. Whole numbers only, no
//! network, no state: the same artifact always gets the same answer.
//!
//! **What it is not.** It is no proof. Whoever has this source can write until a passage weighs less; rules, admission and the
//! guards at run time do not depend on it. It adds findings; of the rules' it can only lower such as are HIGH, unsure and by
//! words. Harmless words elsewhere do not outweigh a bad passage: the worst one counts, and what speaks for
//! it is bounded. What the artifact claims to be for does count, as it does for a person.

mod about;
mod features;
mod hosts;
mod json;
mod passages;
mod places;
mod verdict;

use std::collections::HashMap;
use std::sync::LazyLock;

use defenseclaw_model::decision::Severity;
use defenseclaw_model::scan::{ScanFinding, ScanKind};

use super::artifact::Artifact;
use super::pieces::decoded;
use crate::linear::{Found, Model};
use about::About;
use features::Ruled;
pub use verdict::{is_certain, judge};

/// What `cargo xtask train` made of `policies/evaluation/artifacts`.
pub(crate) const WEIGHTS: &[u8] = include_bytes!("../../../../../policies/learned/weights.bin");

static EMBEDDED: LazyLock<Model> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the file is compiled in, and a test reads it")]
    Model::read(WEIGHTS).expect("the embedded weights are valid")
});

/// A passage as the model sees it, for whoever trains one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The file.
    pub file: String,
    /// Where in it, and what stands there: the same in two artifacts where neither was changed.
    pub place: String,
    /// The text.
    pub text: String,
    /// Its first line, from 1.
    pub line: u32,
    /// The features: number and group.
    pub features: Vec<(u32, u8)>,
    /// Their names, where they were asked for.
    pub names: Vec<String>,
}

/// The model that this program was built with.
pub fn embedded() -> &'static Model {
    &EMBEDDED
}

/// The passages of an artifact with their features. `findings` are the rules'.
pub fn samples(kind: ScanKind, artifact: &Artifact, findings: &[ScanFinding], names: bool) -> Vec<Sample> {
    let texts = texts(artifact);
    let mut samples = Vec::new();
    let found = || Found::all(names);
    each(kind, &texts, findings, found, |passage, found| {
        let file = texts.get(passage.file).map_or("", |(path, _)| *path);
        samples.push(Sample {
            file: file.to_owned(),
            place: format!("{file}#{}", passage.key),
            text: passage.text.clone(),
            line: passage.line,
            features: found.features.iter().map(|one| (one.id, one.group)).collect(),
            names: found.names.unwrap_or_default(),
        });
    });
    samples
}

/// The score of a file's worst passage, were it all of an artifact.
pub(crate) fn score_of(path: &str, text: &str) -> i64 {
    let files = [(path, std::borrow::Cow::Borrowed(text))];
    let model = embedded();
    let mut worst = i64::MIN;
    let found = || Found::known_to(model, false);
    each(ScanKind::Skill, &files, &[], found, |_, found| {
        worst = worst.max(model.weigh(&found.features).score);
    });
    worst
}

/// The files that are texts.
fn texts(artifact: &Artifact) -> Vec<(&str, std::borrow::Cow<'_, str>)> {
    let text = |file| matches!(super::artifact::format_of(file), super::artifact::Format::Text);
    let files = artifact.files.iter().filter(|file| text(&file.bytes));
    files
        .map(|file| (file.path.as_str(), decoded(&file.bytes)))
        .collect()
}

fn each<'m>(
    kind: ScanKind,
    texts: &[(&str, std::borrow::Cow<'_, str>)],
    findings: &[ScanFinding],
    nothing: impl Fn() -> Found<'m>,
    mut take: impl FnMut(&passages::Passage, Found<'m>),
) {
    let files: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (*path, text.as_ref())).collect();
    let passages = passages::cut(&files);
    let about = About::of(&files, &passages);
    let mut ruled: HashMap<&str, Vec<Ruled<'_>>> = HashMap::new();
    for finding in findings {
        let severity = match finding.severity {
            Severity::None => 0,
            Severity::Low => 1,
            Severity::Medium => 2,
            Severity::High => 3,
            Severity::Critical => 4,
        };
        ruled.entry(&finding.file).or_default().push(Ruled {
            rule: &finding.rule,
            category: &finding.category,
            severity,
            line: finding.line,
        });
    }
    for passage in &passages {
        let path = files.get(passage.file).map_or("", |(path, _)| *path);
        let mut found = nothing();
        let ruled = ruled.get(path).map(Vec::as_slice).unwrap_or_default();
        features::find((kind.as_str(), path), &about, passage, ruled, &mut found);
        take(passage, found);
    }
}
