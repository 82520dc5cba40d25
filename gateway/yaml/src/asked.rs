//! The reader's side: whoever reads, behind interfaces without type parameters.

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess};
use serde_saphyr::Error;

use crate::given::{AnyVisitor, Visited};
use crate::{AnySeed, once, ours, theirs};

/// What a type asks a reader for.
#[derive(Clone, Copy)]
pub(crate) enum Ask {
    Any,
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Str,
    String,
    Bytes,
    ByteBuf,
    Option,
    Unit,
    UnitStruct(&'static str),
    NewtypeStruct(&'static str),
    Seq,
    Tuple(usize),
    TupleStruct(&'static str, usize),
    Map,
    Struct(&'static str, &'static [&'static str]),
    Enum(&'static str, &'static [&'static str]),
    Identifier,
    IgnoredAny,
}

/// A reader that stands before a value.
pub(crate) trait AnyDeserializer<'de> {
    fn give(&mut self, ask: Ask, visitor: &mut dyn AnyVisitor<'de>) -> Result<(), Error>;
}

impl<'de, D: Deserializer<'de>> AnyDeserializer<'de> for Option<D> {
    fn give(&mut self, ask: Ask, visitor: &mut dyn AnyVisitor<'de>) -> Result<(), Error> {
        let reader = self.take().ok_or_else(once)?;
        let visitor = Visited(visitor);
        let given = match ask {
            Ask::Any => reader.deserialize_any(visitor),
            Ask::Bool => reader.deserialize_bool(visitor),
            Ask::I8 => reader.deserialize_i8(visitor),
            Ask::I16 => reader.deserialize_i16(visitor),
            Ask::I32 => reader.deserialize_i32(visitor),
            Ask::I64 => reader.deserialize_i64(visitor),
            Ask::I128 => reader.deserialize_i128(visitor),
            Ask::U8 => reader.deserialize_u8(visitor),
            Ask::U16 => reader.deserialize_u16(visitor),
            Ask::U32 => reader.deserialize_u32(visitor),
            Ask::U64 => reader.deserialize_u64(visitor),
            Ask::U128 => reader.deserialize_u128(visitor),
            Ask::F32 => reader.deserialize_f32(visitor),
            Ask::F64 => reader.deserialize_f64(visitor),
            Ask::Char => reader.deserialize_char(visitor),
            Ask::Str => reader.deserialize_str(visitor),
            Ask::String => reader.deserialize_string(visitor),
            Ask::Bytes => reader.deserialize_bytes(visitor),
            Ask::ByteBuf => reader.deserialize_byte_buf(visitor),
            Ask::Option => reader.deserialize_option(visitor),
            Ask::Unit => reader.deserialize_unit(visitor),
            Ask::UnitStruct(name) => reader.deserialize_unit_struct(name, visitor),
            Ask::NewtypeStruct(name) => reader.deserialize_newtype_struct(name, visitor),
            Ask::Seq => reader.deserialize_seq(visitor),
            Ask::Tuple(length) => reader.deserialize_tuple(length, visitor),
            Ask::TupleStruct(name, length) => reader.deserialize_tuple_struct(name, length, visitor),
            Ask::Map => reader.deserialize_map(visitor),
            Ask::Struct(name, fields) => reader.deserialize_struct(name, fields, visitor),
            Ask::Enum(name, variants) => reader.deserialize_enum(name, variants, visitor),
            Ask::Identifier => reader.deserialize_identifier(visitor),
            Ask::IgnoredAny => reader.deserialize_ignored_any(visitor),
        };
        given.map_err(ours)
    }
}

/// A seed as the reader sees it.
struct Sown<'a, 'de>(&'a mut dyn AnySeed<'de>);

impl<'de> DeserializeSeed<'de> for Sown<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        self.0.run(&mut Some(reader)).map_err(theirs)
    }
}

/// Elements one after the other.
pub(crate) trait AnySeq<'de> {
    /// The next one; `false`: there is none.
    fn next(&mut self, seed: &mut dyn AnySeed<'de>) -> Result<bool, Error>;
    fn hint(&self) -> Option<usize>;
}

impl<'de, A: SeqAccess<'de>> AnySeq<'de> for A {
    fn next(&mut self, seed: &mut dyn AnySeed<'de>) -> Result<bool, Error> {
        let element = self.next_element_seed(Sown(seed)).map_err(ours)?;
        Ok(element.is_some())
    }

    fn hint(&self) -> Option<usize> {
        self.size_hint()
    }
}

/// Keys and their values.
pub(crate) trait AnyMap<'de> {
    /// The next key; `false`: there is none.
    fn key(&mut self, seed: &mut dyn AnySeed<'de>) -> Result<bool, Error>;
    fn value(&mut self, seed: &mut dyn AnySeed<'de>) -> Result<(), Error>;
    fn hint(&self) -> Option<usize>;
}

impl<'de, A: MapAccess<'de>> AnyMap<'de> for A {
    fn key(&mut self, seed: &mut dyn AnySeed<'de>) -> Result<bool, Error> {
        let key = self.next_key_seed(Sown(seed)).map_err(ours)?;
        Ok(key.is_some())
    }

    fn value(&mut self, seed: &mut dyn AnySeed<'de>) -> Result<(), Error> {
        self.next_value_seed(Sown(seed)).map_err(ours)
    }

    fn hint(&self) -> Option<usize> {
        self.size_hint()
    }
}

/// One of several variants.
pub(crate) trait AnyEnum<'de, 'a> {
    /// Which one, and what is in it.
    fn variant(self: Box<Self>, seed: &mut dyn AnySeed<'de>) -> Result<Box<dyn AnyVariant<'de> + 'a>, Error>;
}

impl<'de: 'a, 'a, A: EnumAccess<'de> + 'a> AnyEnum<'de, 'a> for A {
    fn variant(self: Box<Self>, seed: &mut dyn AnySeed<'de>) -> Result<Box<dyn AnyVariant<'de> + 'a>, Error> {
        let ((), content) = self.variant_seed(Sown(seed)).map_err(ours)?;
        Ok(Box::new(content))
    }
}

/// What is in a variant.
pub(crate) trait AnyVariant<'de> {
    fn unit(self: Box<Self>) -> Result<(), Error>;
    fn newtype(self: Box<Self>, seed: &mut dyn AnySeed<'de>) -> Result<(), Error>;
    fn tuple(self: Box<Self>, length: usize, visitor: &mut dyn AnyVisitor<'de>) -> Result<(), Error>;
    fn fields(
        self: Box<Self>,
        names: &'static [&'static str],
        visitor: &mut dyn AnyVisitor<'de>,
    ) -> Result<(), Error>;
}

impl<'de, A: VariantAccess<'de>> AnyVariant<'de> for A {
    fn unit(self: Box<Self>) -> Result<(), Error> {
        self.unit_variant().map_err(ours)
    }

    fn newtype(self: Box<Self>, seed: &mut dyn AnySeed<'de>) -> Result<(), Error> {
        self.newtype_variant_seed(Sown(seed)).map_err(ours)
    }

    fn tuple(self: Box<Self>, length: usize, visitor: &mut dyn AnyVisitor<'de>) -> Result<(), Error> {
        self.tuple_variant(length, Visited(visitor)).map_err(ours)
    }

    fn fields(
        self: Box<Self>,
        names: &'static [&'static str],
        visitor: &mut dyn AnyVisitor<'de>,
    ) -> Result<(), Error> {
        self.struct_variant(names, Visited(visitor)).map_err(ours)
    }
}
