//! Words and frames compiled, and everything that can be wrong with them.

use std::collections::HashMap;

use super::Frames;
use super::addresses::BUILT_IN;
use super::bits::Bits;
use super::pack::{Frame, PackClass, PackConcept, PackFrame, PackPair, Parts, Term, Turns};
use super::read::{Concept, Pair, Reader, Role, Word};
use crate::detector::PackError;

/// Most words of all classes: more is a dictionary, and no longer looked over by anybody.
const MAX_WORDS: usize = 12_000;

/// The pair that says that something is written where it is read at every start.
const PLANTS: &str = "write-startup";

/// The names that frames go by, and their numbers.
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
        for built_in in BUILT_IN {
            names.add(built_in)?;
        }
        let mut reader = Reader::default();
        let mut words = Vec::new();
        for class in parts.classes {
            names.class(class, &mut reader.acts, &mut words)?;
        }
        if words.len() > MAX_WORDS {
            return Err(names.refuse(format!("it has more than {MAX_WORDS} words")));
        }
        for pair in parts.pairs {
            reader.pairs.push(names.pair(&pair)?);
        }
        for concept in parts.concepts {
            reader.concepts.push(names.concept(&concept)?);
        }
        let frames = parts.frames.into_iter().map(|frame| names.frame(frame));
        let frames = frames.collect::<Result<_, _>>()?;
        reader.plants = names.known.get(PLANTS).copied();
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
        let number = self.known.len();
        if number >= Bits::SIZE {
            let most = Bits::SIZE;
            return Err(self.refuse(format!("it has more than {most} classes, pairs and concepts")));
        }
        match self.known.insert(name.to_owned(), number) {
            Some(_) => Err(self.refuse(format!("{name:?} is there twice; give one of them another name"))),
            None => Ok(number),
        }
    }

    fn class(&mut self, class: PackClass, acts: &mut Bits, words: &mut Vec<Word>) -> Result<(), PackError> {
        let (number, role) = match class.turns {
            None => (self.add(&class.name)?, Role::Plain),
            // What turns other words round means nothing by itself.
            Some(Turns::Before) => (0, Role::TurnsBehind),
            Some(Turns::Behind) => (0, Role::TurnsBefore),
            Some(Turns::Away) => (0, Role::TakesAway),
        };
        if class.act {
            acts.set(number);
        }
        for word in &class.any {
            let short = || format!("the word {word:?} of {:?} has fewer than three bytes", class.name);
            words.push(Word::new(word, number, role).ok_or_else(|| self.refuse(short()))?);
        }
        Ok(())
    }

    fn pair(&mut self, pair: &PackPair) -> Result<Pair, PackError> {
        let (first, then) = (self.term(&pair.first)?, self.term(&pair.then)?);
        Ok(Pair {
            first,
            then,
            gap: pair.gap,
            either: pair.either,
            bit: self.add(&pair.name)?,
        })
    }

    fn concept(&mut self, concept: &PackConcept) -> Result<Concept, PackError> {
        let any = concept.any.iter().map(|all| self.terms(all));
        let any = any.collect::<Result<_, _>>()?;
        let unless = self.terms(&concept.unless)?;
        Ok(Concept {
            any,
            unless,
            code: concept.code,
            bit: self.add(&concept.name)?,
        })
    }

    fn frame(&self, frame: PackFrame) -> Result<Frame, PackError> {
        if frame.tests.positive.is_empty() || frame.tests.negative.is_empty() {
            return Err(self.refuse(format!(
                "frame {:?}: give it at least one positive and one negative test",
                frame.id
            )));
        }
        Ok(Frame {
            all: self.terms(&frame.all)?,
            not: self.terms(&frame.not)?,
            kind: frame.kind.unwrap_or_else(|| frame.id.clone()),
            id: frame.id,
            category: frame.category,
            weight: frame.weight,
            reach: frame.reach,
            message: frame.message,
            remedy: frame.remedy,
            tests: frame.tests,
        })
    }

    /// `a`, `not a`, `a | not b`.
    fn term(&self, text: &str) -> Result<Term, PackError> {
        let mut term = Term::default();
        for one in text.split('|').map(str::trim) {
            let (turned, name) = match one.strip_prefix("not ") {
                Some(name) => (true, name.trim()),
                None => (false, one),
            };
            let number = *self.known.get(name).ok_or_else(|| {
                self.refuse(format!(
                    "there is no class, pair or concept {name:?}; what is used stands above its use"
                ))
            })?;
            if turned {
                term.turned.set(number);
            } else {
                term.plain.set(number);
            }
        }
        Ok(term)
    }

    fn terms(&self, texts: &[String]) -> Result<Vec<Term>, PackError> {
        texts.iter().map(|text| self.term(text)).collect()
    }
}
