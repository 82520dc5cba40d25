//! YAML read into any type, by a reader that is compiled once for all types.
//!
//! | Module | Holds |
//! |---|---|
//! | `asked` | the reader's side: what is asked of it, without its type |
//! | `given` | the type's side: what it is given, without its type |

mod asked;
mod given;

use std::marker::PhantomData;
use std::mem::ManuallyDrop;

use serde::de::{self, Deserialize, DeserializeSeed};
pub use serde_saphyr::{Error, Spanned};

use asked::AnyDeserializer;
use given::Reader;

/// Reads one document.
///
/// # Errors
/// As [`serde_saphyr::from_str`] tells them: with the place, and the lines around it.
pub fn from_str<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Error> {
    let mut slot = Slot::new(PhantomData::<T>);
    read(text, &mut slot)?;
    slot.value()
}

/// A document, and how it is written: what a program carries with it is YAML where people write it and JSON in the program,
/// where nobody reads it but the program, at each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text<'t> {
    /// YAML: errors name the place.
    Yaml(&'t str),
    /// JSON that was YAML when the program was built. Places are not known, so that [`Spanned`] says line 0.
    Json(&'t str),
}

impl<'t> Text<'t> {
    /// Reads the document.
    ///
    /// # Errors
    /// As [`from_str`].
    pub fn read<T: Deserialize<'t>>(self) -> Result<T, Error> {
        match self {
            Self::Yaml(text) => from_str(text),
            Self::Json(text) => {
                let mut slot = Slot::new(PhantomData::<T>);
                read_json(text, &mut slot)?;
                slot.value()
            }
        }
    }
}

fn read_json<'de>(text: &'de str, seed: &mut dyn AnySeed<'de>) -> Result<(), Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    seed.run(&mut Some(&mut reader))?;
    reader.end().map_err(de::Error::custom)
}

fn read<'de>(text: &'de str, seed: &mut dyn AnySeed<'de>) -> Result<(), Error> {
    serde_saphyr::with_deserializer_from_str(text, |reader| seed.run(&mut Some(reader)))
}

/// What makes a value from a reader.
trait AnySeed<'de> {
    fn run(&mut self, reader: &mut dyn AnyDeserializer<'de>) -> Result<(), Error>;
}

/// What is wanted, and what became of it.
struct Slot<S, V> {
    wanted: Option<S>,
    value: Option<V>,
}

impl<S, V> Slot<S, V> {
    fn new(wanted: S) -> Self {
        Self {
            wanted: Some(wanted),
            value: None,
        }
    }

    fn wanted(&mut self) -> Result<S, Error> {
        self.wanted.take().ok_or_else(once)
    }

    fn value(self) -> Result<V, Error> {
        self.value.ok_or_else(once)
    }
}

impl<'de, S: DeserializeSeed<'de>> AnySeed<'de> for Slot<S, S::Value> {
    fn run(&mut self, reader: &mut dyn AnyDeserializer<'de>) -> Result<(), Error> {
        self.value = Some(self.wanted()?.deserialize(Reader(reader))?);
        Ok(())
    }
}

/// What serde hands over by value is used once. Nothing in serde or the reader breaks that.
fn once() -> Error {
    de::Error::custom("a value was asked for twice, or never given")
}

/// The reader's error, which it is wherever this is called.
fn ours<E: de::Error>(error: E) -> Error {
    same(error).unwrap_or_else(de::Error::custom)
}

/// As [`ours`], the other way.
fn theirs<E: de::Error>(error: Error) -> E {
    same(error).unwrap_or_else(E::custom)
}

/// The value as a type that is its own.
fn same<A, B>(value: A) -> Result<B, A> {
    if typeid::of::<A>() != typeid::of::<B>() {
        return Err(value);
    }
    let value = ManuallyDrop::new(value);
    // SAFETY: both are one type but for lifetimes, and errors of readers hold no references; the value is moved: nobody drops it here.
    Ok(unsafe { std::mem::transmute_copy::<ManuallyDrop<A>, B>(&value) })
}

#[cfg(test)]
mod tests;
