//! The form of words and frames, and everything that can be wrong with them.

use std::collections::HashMap;

use serde::Deserialize;

use super::Frames;
use super::read::{Concept, Pair, Reader, Role, Word};
use crate::detector::PackError;
use crate::scan::pack::Tests;

/// Most classes, pairs and concepts together: each is a bit of a sentence.
const MAX_CLASSES: usize = 128;

/// Most words of all classes: more is a dictionary, and no longer looked over by anybody.
const MAX_WORDS: usize = 8000;

/// Words of one meaning.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackClass {
    name: String,
    /// Whether it can be done, so that "never" turns it round.
    #[serde(default)]
    act: bool,
    /// Whether it turns round the acts behind it (`before`), or those before it (`behind`), as verbs' endings do.
    #[serde(default)]
    turns: Option<Turns>,
    /// Words and phrases, folded. One that ends with `*` goes on as letters do.
    any: Vec<String>,
}

/// On which side of an act a negation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Turns {
    Before,
    Behind,
}

/// Two words of which the second stands close behind the first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackPair {
    name: String,
    first: String,
    then: String,
    /// Most bytes between them.
    gap: usize,
    /// Whether the second may also stand before the first.
    #[serde(default)]
    either: bool,
}

/// What several words in a sentence mean together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackConcept {
    name: String,
    any: Vec<Vec<String>>,
    /// What takes the meaning away.
    #[serde(default)]
    unless: Vec<String>,
}

/// A frame: what stands together, and how much that weighs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackFrame {
    id: String,
    /// Of frames of one kind only the weightiest counts; its id, if nothing else is said.
    #[serde(default)]
    kind: Option<String>,
    category: String,
    weight: f32,
    #[serde(default)]
    reach: FrameReach,
    all: Vec<String>,
    #[serde(default)]
    not: Vec<String>,
    message: String,
    remedy: String,
    tests: Tests,
}

/// Over how many sentences of a paragraph a frame may stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FrameReach {
    #[default]
    Sentence,
    /// Two that follow each other.
    Near,
    /// Three.
    Passage,
}

impl FrameReach {
    pub(super) fn sentences(self) -> usize {
        match self {
            Self::Sentence => 1,
            Self::Near => 2,
            Self::Passage => 3,
        }
    }
}

/// One of several words, each plain or turned round.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Term {
    pub(super) plain: u128,
    pub(super) turned: u128,
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

/// The names that frames go by, and their bits.
struct Names<'f> {
    file: &'f str,
    known: HashMap<String, usize>,
}

impl Frames {
    /// Compiles what packs say of frames, given with the file that names the first of them.
    pub(crate) fn load(file: &str, parts: Parts) -> Result<Self, PackError> {
        let mut names = Names {
            file,
            known: HashMap::new(),
        };
        for built_in in super::read::BUILT_IN {
            names.add(built_in)?;
        }
        let mut words = Vec::new();
        let mut reader = Reader::default();
        for class in parts.classes {
            // What turns other words round means nothing by itself.
            let bit = match class.turns {
                Some(_) => 0,
                None => names.add(&class.name)?,
            };
            if class.act {
                reader.acts |= 1 << bit;
            }
            let role = match class.turns {
                None => Role::Plain,
                Some(Turns::Before) => Role::TurnsBehind,
                Some(Turns::Behind) => Role::TurnsBefore,
            };
            for word in class.any {
                let word = Word::new(&word, bit, role).ok_or_else(|| {
                    names.refuse(format!(
                        "the word {word:?} of {:?} has fewer than three bytes",
                        class.name
                    ))
                })?;
                words.push(word);
            }
        }
        if words.len() > MAX_WORDS {
            return Err(names.refuse(format!("it has more than {MAX_WORDS} words")));
        }
        for pair in parts.pairs {
            let (first, then) = (names.term(&pair.first)?, names.term(&pair.then)?);
            let bit = names.add(&pair.name)?;
            reader.pairs.push(Pair {
                first,
                then,
                gap: pair.gap,
                either: pair.either,
                bit,
            });
        }
        for concept in parts.concepts {
            let any = concept
                .any
                .iter()
                .map(|all| names.terms(all))
                .collect::<Result<_, _>>()?;
            let unless = names.terms(&concept.unless)?;
            let bit = names.add(&concept.name)?;
            reader.concepts.push(Concept { any, unless, bit });
        }
        let mut frames = Vec::new();
        for frame in parts.frames {
            if frame.tests.positive.is_empty() || frame.tests.negative.is_empty() {
                return Err(names.refuse(format!(
                    "frame {:?}: give it at least one positive and one negative test",
                    frame.id
                )));
            }
            frames.push(Frame {
                all: names.terms(&frame.all)?,
                not: names.terms(&frame.not)?,
                kind: frame.kind.unwrap_or_else(|| frame.id.clone()),
                id: frame.id,
                category: frame.category,
                weight: frame.weight,
                reach: frame.reach,
                message: frame.message,
                remedy: frame.remedy,
                tests: frame.tests,
            });
        }
        reader.search_for(words);
        Ok(Self { reader, frames })
    }
}

impl Names<'_> {
    fn refuse(&self, why: String) -> PackError {
        PackError::Invalid {
            file: self.file.to_owned(),
            why,
        }
    }

    fn add(&mut self, name: &str) -> Result<usize, PackError> {
        let bit = self.known.len();
        if bit >= MAX_CLASSES {
            return Err(self.refuse(format!(
                "it has more than {MAX_CLASSES} classes, pairs and concepts"
            )));
        }
        match self.known.insert(name.to_owned(), bit) {
            Some(_) => Err(self.refuse(format!("{name:?} is there twice; give one of them another name"))),
            None => Ok(bit),
        }
    }

    /// `a`, `not a`, `a | not b`.
    fn term(&self, text: &str) -> Result<Term, PackError> {
        let mut term = Term::default();
        for one in text.split('|').map(str::trim) {
            let (turned, name) = match one.strip_prefix("not ") {
                Some(name) => (true, name.trim()),
                None => (false, one),
            };
            let bit = *self.known.get(name).ok_or_else(|| {
                self.refuse(format!(
                    "there is no class, pair or concept {name:?}; what is used stands above its use"
                ))
            })?;
            if turned {
                term.turned |= 1 << bit;
            } else {
                term.plain |= 1 << bit;
            }
        }
        Ok(term)
    }

    fn terms(&self, texts: &[String]) -> Result<Vec<Term>, PackError> {
        texts.iter().map(|text| self.term(text)).collect()
    }
}
