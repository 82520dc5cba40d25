//! The type's side: whatever serde derived for it, behind interfaces without type parameters.

use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_saphyr::Error;

use crate::asked::{AnyDeserializer, AnyEnum, AnyMap, AnySeq, AnyVariant, Ask};
use crate::{Slot, theirs};

/// What a reader found.
pub(crate) enum Given<'a, 'de> {
    Bool(bool),
    I64(i64),
    I128(i128),
    U64(u64),
    U128(u128),
    F64(f64),
    Char(char),
    Str(&'a str),
    BorrowedStr(&'de str),
    String(String),
    Bytes(&'a [u8]),
    BorrowedBytes(&'de [u8]),
    ByteBuf(Vec<u8>),
    None,
    Some(&'a mut dyn AnyDeserializer<'de>),
    Unit,
    Newtype(&'a mut dyn AnyDeserializer<'de>),
    Seq(&'a mut dyn AnySeq<'de>),
    Map(&'a mut dyn AnyMap<'de>),
    Enum(Box<dyn AnyEnum<'de, 'a> + 'a>),
}

/// What makes a value of what is found.
pub(crate) trait AnyVisitor<'de> {
    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result;
    fn visit(&mut self, given: Given<'_, 'de>) -> Result<(), Error>;
}

impl<'de, V: Visitor<'de>> AnyVisitor<'de> for Slot<V, V::Value> {
    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.wanted {
            Some(visitor) => visitor.expecting(to),
            None => to.write_str("a value"),
        }
    }

    fn visit(&mut self, given: Given<'_, 'de>) -> Result<(), Error> {
        let visitor = self.wanted()?;
        let value = match given {
            Given::Bool(value) => visitor.visit_bool(value),
            Given::I64(value) => visitor.visit_i64(value),
            Given::I128(value) => visitor.visit_i128(value),
            Given::U64(value) => visitor.visit_u64(value),
            Given::U128(value) => visitor.visit_u128(value),
            Given::F64(value) => visitor.visit_f64(value),
            Given::Char(value) => visitor.visit_char(value),
            Given::Str(value) => visitor.visit_str(value),
            Given::BorrowedStr(value) => visitor.visit_borrowed_str(value),
            Given::String(value) => visitor.visit_string(value),
            Given::Bytes(value) => visitor.visit_bytes(value),
            Given::BorrowedBytes(value) => visitor.visit_borrowed_bytes(value),
            Given::ByteBuf(value) => visitor.visit_byte_buf(value),
            Given::None => visitor.visit_none(),
            Given::Some(reader) => visitor.visit_some(Reader(reader)),
            Given::Unit => visitor.visit_unit(),
            Given::Newtype(reader) => visitor.visit_newtype_struct(Reader(reader)),
            Given::Seq(elements) => visitor.visit_seq(Elements(elements)),
            Given::Map(entries) => visitor.visit_map(Entries(entries)),
            Given::Enum(variant) => visitor.visit_enum(Variant(variant)),
        };
        self.value = Some(value?);
        Ok(())
    }
}

/// A visitor as the reader sees it.
pub(crate) struct Visited<'a, 'de>(pub(crate) &'a mut dyn AnyVisitor<'de>);

macro_rules! visits {
    ($($method:ident($kind:ty) => $given:ident),* $(,)?) => {
        $(fn $method<E: de::Error>(self, value: $kind) -> Result<(), E> {
            self.0.visit(Given::$given(value)).map_err(theirs)
        })*
    };
}

impl<'de> Visitor<'de> for Visited<'_, 'de> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(to)
    }

    visits! {
        visit_bool(bool) => Bool,
        visit_i64(i64) => I64,
        visit_i128(i128) => I128,
        visit_u64(u64) => U64,
        visit_u128(u128) => U128,
        visit_f64(f64) => F64,
        visit_char(char) => Char,
        visit_str(&str) => Str,
        visit_borrowed_str(&'de str) => BorrowedStr,
        visit_string(String) => String,
        visit_bytes(&[u8]) => Bytes,
        visit_borrowed_bytes(&'de [u8]) => BorrowedBytes,
        visit_byte_buf(Vec<u8>) => ByteBuf,
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.0.visit(Given::None).map_err(theirs)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        self.0.visit(Given::Some(&mut Some(reader))).map_err(theirs)
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.0.visit(Given::Unit).map_err(theirs)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        self.0.visit(Given::Newtype(&mut Some(reader))).map_err(theirs)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        self.0.visit(Given::Seq(&mut elements)).map_err(theirs)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.0.visit(Given::Map(&mut entries)).map_err(theirs)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<(), A::Error> {
        self.0.visit(Given::Enum(Box::new(variant))).map_err(theirs)
    }
}

/// A reader as the type sees it.
pub(crate) struct Reader<'a, 'de>(pub(crate) &'a mut dyn AnyDeserializer<'de>);

impl<'de> Reader<'_, 'de> {
    fn ask<V: Visitor<'de>>(self, ask: Ask, visitor: V) -> Result<V::Value, Error> {
        let mut slot = Slot::new(visitor);
        self.0.give(ask, &mut slot)?;
        slot.value()
    }
}

macro_rules! asks {
    ($($method:ident($($name:ident: $kind:ty),*) => $ask:expr),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, $($name: $kind,)* visitor: V) -> Result<V::Value, Error> {
            self.ask($ask, visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'_, 'de> {
    type Error = Error;

    asks! {
        deserialize_any() => Ask::Any,
        deserialize_bool() => Ask::Bool,
        deserialize_i8() => Ask::I8,
        deserialize_i16() => Ask::I16,
        deserialize_i32() => Ask::I32,
        deserialize_i64() => Ask::I64,
        deserialize_i128() => Ask::I128,
        deserialize_u8() => Ask::U8,
        deserialize_u16() => Ask::U16,
        deserialize_u32() => Ask::U32,
        deserialize_u64() => Ask::U64,
        deserialize_u128() => Ask::U128,
        deserialize_f32() => Ask::F32,
        deserialize_f64() => Ask::F64,
        deserialize_char() => Ask::Char,
        deserialize_str() => Ask::Str,
        deserialize_string() => Ask::String,
        deserialize_bytes() => Ask::Bytes,
        deserialize_byte_buf() => Ask::ByteBuf,
        deserialize_option() => Ask::Option,
        deserialize_unit() => Ask::Unit,
        deserialize_unit_struct(name: &'static str) => Ask::UnitStruct(name),
        deserialize_newtype_struct(name: &'static str) => Ask::NewtypeStruct(name),
        deserialize_seq() => Ask::Seq,
        deserialize_tuple(length: usize) => Ask::Tuple(length),
        deserialize_tuple_struct(name: &'static str, length: usize) => Ask::TupleStruct(name, length),
        deserialize_map() => Ask::Map,
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) => Ask::Struct(name, fields),
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) => Ask::Enum(name, variants),
        deserialize_identifier() => Ask::Identifier,
        deserialize_ignored_any() => Ask::IgnoredAny,
    }
}

struct Elements<'a, 'de>(&'a mut dyn AnySeq<'de>);

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let mut slot = Slot::new(seed);
        let any = self.0.next(&mut slot)?;
        any.then(|| slot.value()).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.hint()
    }
}

struct Entries<'a, 'de>(&'a mut dyn AnyMap<'de>);

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let mut slot = Slot::new(seed);
        let any = self.0.key(&mut slot)?;
        any.then(|| slot.value()).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let mut slot = Slot::new(seed);
        self.0.value(&mut slot)?;
        slot.value()
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.hint()
    }
}

struct Variant<'a, 'de>(Box<dyn AnyEnum<'de, 'a> + 'a>);

impl<'a, 'de> EnumAccess<'de> for Variant<'a, 'de> {
    type Error = Error;
    type Variant = Content<'a, 'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Content<'a, 'de>), Error> {
        let mut slot = Slot::new(seed);
        let content = self.0.variant(&mut slot)?;
        Ok((slot.value()?, Content(content)))
    }
}

struct Content<'a, 'de>(Box<dyn AnyVariant<'de> + 'a>);

impl<'de> VariantAccess<'de> for Content<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.0.unit()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        let mut slot = Slot::new(seed);
        self.0.newtype(&mut slot)?;
        slot.value()
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        let mut slot = Slot::new(visitor);
        self.0.tuple(length, &mut slot)?;
        slot.value()
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut slot = Slot::new(visitor);
        self.0.fields(names, &mut slot)?;
        slot.value()
    }
}
