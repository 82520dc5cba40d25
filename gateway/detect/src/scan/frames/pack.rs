//! The form of words and frames (`policies/rules/frame.yaml`, `policies/rules/technique.yaml`).

use serde::Deserialize;

use super::bits::Bits;
use crate::scan::pack::Tests;

/// Words of one meaning.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackClass {
    pub(super) name: String,
    /// Whether it can be done, so that "never" turns it round.
    #[serde(default)]
    pub(super) act: bool,
    /// Whether it turns round the acts behind it (`before`), or those before it (`behind`), as verbs' endings do.
    #[serde(default)]
    pub(super) turns: Option<Turns>,
    /// Words and phrases, folded. One that ends with `*` goes on as letters do.
    pub(super) any: Vec<String>,
}

/// On which side of an act a negation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Turns {
    Before,
    Behind,
    /// It takes the acts behind it away: what somebody else wants is told, and not wanted.
    Away,
}

/// Two words of which the second stands close behind the first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackPair {
    pub(super) name: String,
    pub(super) first: String,
    pub(super) then: String,
    /// Most bytes between them.
    pub(super) gap: usize,
    /// Whether the second may also stand before the first.
    #[serde(default)]
    pub(super) either: bool,
}

/// What several words in a sentence mean together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackConcept {
    pub(super) name: String,
    pub(super) any: Vec<Vec<String>>,
    /// What takes the meaning away.
    #[serde(default)]
    pub(super) unless: Vec<String>,
    /// Whether it is a block of code that has to say so; else prose.
    #[serde(default)]
    pub(super) code: bool,
}

/// A frame: what stands together, and how much that weighs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackFrame {
    pub(super) id: String,
    /// Of frames of one kind only the weightiest counts; its id, if nothing else is said.
    #[serde(default)]
    pub(super) kind: Option<String>,
    pub(super) category: String,
    pub(super) weight: f32,
    #[serde(default)]
    pub(super) reach: FrameReach,
    pub(super) all: Vec<String>,
    #[serde(default)]
    pub(super) not: Vec<String>,
    pub(super) message: String,
    pub(super) remedy: String,
    pub(super) tests: Tests,
}

/// Over how many sentences of a paragraph a frame may stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FrameReach {
    #[default]
    Sentence,
    /// Two that follow each other.
    Near,
    /// All that is weighed together.
    Passage,
}

impl FrameReach {
    pub(super) fn sentences(self) -> usize {
        match self {
            Self::Sentence => 1,
            Self::Near => 2,
            Self::Passage => super::PASSAGE,
        }
    }
}

/// One of several words, each plain or turned round.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Term {
    pub(super) plain: Bits,
    pub(super) turned: Bits,
}

/// A frame, compiled.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) category: String,
    pub(super) weight: f32,
    pub(super) reach: FrameReach,
    pub(super) all: Vec<Term>,
    pub(super) not: Vec<Term>,
    pub(super) message: String,
    pub(super) remedy: String,
    pub(super) tests: Tests,
}

/// The parts of a pack that are about frames.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) classes: Vec<PackClass>,
    pub(crate) pairs: Vec<PackPair>,
    pub(crate) concepts: Vec<PackConcept>,
    pub(crate) frames: Vec<PackFrame>,
}
