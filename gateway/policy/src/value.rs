//! The policy's input as Rego values, made without the detour over JSON text: the text took twice as long as the decision.

use std::collections::BTreeMap;
use std::fmt::Display;

use regorus::Value;
use serde::Serialize;
use serde::ser::{
    self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

use crate::PolicyError;

/// Largest input (bytes of its texts, and [`PER_VALUE`] for every value). Facts are bounded at a fraction of it; one that is
/// larger did not come from them.
pub(crate) const MAX_INPUT: usize = 2 << 20;
/// What a value counts beside its text: a million empty lists are not nothing.
const PER_VALUE: usize = 4;

/// `input` as a Rego value.
pub(crate) fn value_of(input: &impl Serialize) -> Result<Value, PolicyError> {
    let mut maker = Maker { bytes: 0 };
    match input.serialize(&mut maker) {
        Ok(value) => Ok(value),
        Err(Unfit::TooLarge) => Err(PolicyError::InputTooLarge),
        Err(Unfit::Other(why)) => Err(PolicyError::Input(why)),
    }
}

/// Why an input has no Rego value.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("it is too large")]
    TooLarge,
    #[error("{0}")]
    Other(String),
}

impl ser::Error for Unfit {
    fn custom<T: Display>(why: T) -> Self {
        Self::Other(why.to_string())
    }
}

struct Maker {
    bytes: usize,
}

impl Maker {
    fn count(&mut self, text: usize) -> Result<(), Unfit> {
        self.bytes += text + PER_VALUE;
        if self.bytes > MAX_INPUT {
            return Err(Unfit::TooLarge);
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<Value, Unfit> {
        self.count(text.len())?;
        Ok(Value::from(text))
    }
}

/// The items of a list that is being made.
struct Items<'a> {
    maker: &'a mut Maker,
    items: Vec<Value>,
    variant: Option<&'static str>,
}

/// The fields of an object that is being made.
struct Fields<'a> {
    maker: &'a mut Maker,
    fields: BTreeMap<Value, Value>,
    key: Option<Value>,
    variant: Option<&'static str>,
}

fn tagged(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        Some(variant) => Value::from(BTreeMap::from([(Value::from(variant), value)])),
        None => value,
    }
}

impl<'a> Items<'a> {
    fn new(maker: &'a mut Maker, len: usize, variant: Option<&'static str>) -> Result<Self, Unfit> {
        maker.count(0)?;
        Ok(Self {
            maker,
            // A length that is announced is not yet one that comes.
            items: Vec::with_capacity(len.min(64)),
            variant,
        })
    }

    fn push<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Unfit> {
        self.items.push(item.serialize(&mut *self.maker)?);
        Ok(())
    }

    fn done(self) -> Value {
        tagged(self.variant, Value::from(self.items))
    }
}

impl<'a> Fields<'a> {
    fn new(maker: &'a mut Maker, variant: Option<&'static str>) -> Result<Self, Unfit> {
        maker.count(0)?;
        Ok(Self {
            maker,
            fields: BTreeMap::new(),
            key: None,
            variant,
        })
    }

    fn put<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Unfit> {
        let key = self.maker.text(key)?;
        let value = value.serialize(&mut *self.maker)?;
        self.fields.insert(key, value);
        Ok(())
    }

    fn done(self) -> Value {
        tagged(self.variant, Value::from(self.fields))
    }
}

/// Numbers and the like: how each becomes a value.
macro_rules! plain {
    ($($method:ident($kind:ty) as $as:ty),+ $(,)?) => {
        $(fn $method(self, plain: $kind) -> Result<Value, Unfit> {
            self.count(0)?;
            Ok(Value::from(<$as>::from(plain)))
        })+
    };
}

impl<'a> ser::Serializer for &'a mut Maker {
    type Ok = Value;
    type Error = Unfit;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = Items<'a>;
    type SerializeMap = Fields<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Fields<'a>;

    plain! {
        serialize_bool(bool) as bool,
        serialize_i8(i8) as i64,
        serialize_i16(i16) as i64,
        serialize_i32(i32) as i64,
        serialize_i64(i64) as i64,
        serialize_u8(u8) as u64,
        serialize_u16(u16) as u64,
        serialize_u32(u32) as u64,
        serialize_u64(u64) as u64,
        serialize_f32(f32) as f64,
        serialize_f64(f64) as f64,
    }

    fn serialize_char(self, text: char) -> Result<Value, Unfit> {
        self.text(text.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<Value, Unfit> {
        self.text(text)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Value, Unfit> {
        Err(ser::Error::custom("bytes have no form in Rego"))
    }

    fn serialize_none(self) -> Result<Value, Unfit> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, Unfit> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, Unfit> {
        self.count(0)?;
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, Unfit> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value, Unfit> {
        self.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, Unfit> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, Unfit> {
        Ok(tagged(Some(variant), value.serialize(self)?))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Items<'a>, Unfit> {
        Items::new(self, len.unwrap_or_default(), None)
    }

    fn serialize_tuple(self, len: usize) -> Result<Items<'a>, Unfit> {
        Items::new(self, len, None)
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Items<'a>, Unfit> {
        Items::new(self, len, None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Items<'a>, Unfit> {
        Items::new(self, len, Some(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields<'a>, Unfit> {
        Fields::new(self, None)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, Unfit> {
        Fields::new(self, None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Fields<'a>, Unfit> {
        Fields::new(self, Some(variant))
    }
}

/// The same for every kind of list.
macro_rules! lists {
    ($($trait:ident::$method:ident),+ $(,)?) => {
        $(impl $trait for Items<'_> {
            type Ok = Value;
            type Error = Unfit;

            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Unfit> {
                self.push(item)
            }

            fn end(self) -> Result<Value, Unfit> {
                Ok(self.done())
            }
        })+
    };
}

lists!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
);

/// The same for both kinds of struct.
macro_rules! structs {
    ($($trait:ident),+ $(,)?) => {
        $(impl $trait for Fields<'_> {
            type Ok = Value;
            type Error = Unfit;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Unfit> {
                self.put(key, value)
            }

            fn end(self) -> Result<Value, Unfit> {
                Ok(self.done())
            }
        })+
    };
}

structs!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Fields<'_> {
    type Ok = Value;
    type Error = Unfit;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unfit> {
        self.key = Some(key.serialize(&mut *self.maker)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfit> {
        let value = value.serialize(&mut *self.maker)?;
        let key = self.key.take().unwrap_or(Value::Null);
        self.fields.insert(key, value);
        Ok(())
    }

    fn end(self) -> Result<Value, Unfit> {
        Ok(self.done())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Shape {
        Unit,
        New(u8),
        Two(i32, f64),
        Named { a: Option<char>, b: Vec<&'static str> },
    }

    #[derive(Serialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        One { x: u64 },
    }

    fn same(input: &impl Serialize) {
        let json = serde_json::to_string(input).unwrap();
        assert_eq!(
            value_of(input).unwrap(),
            Value::from_json_str(&json).unwrap(),
            "{json}"
        );
    }

    #[test]
    fn values_are_those_of_the_json_text() {
        same(&(Shape::Unit, Shape::New(3), Shape::Two(-1, 0.5)));
        same(&Shape::Named {
            a: Some('ü'),
            b: vec!["x", ""],
        });
        same(&Shape::Named { a: None, b: vec![] });
        same(&Tagged::One { x: u64::MAX });
        same(
            &json!({"a": [1, -2, 2.5, null, true, "t"], "b": {"c": {}}, "n": 1_764_000_000_000_000_000_u64}),
        );
        same(&((), BTreeMap::from([("k", 1)])));
    }

    #[test]
    fn what_is_too_large_is_refused_while_it_is_made() {
        assert!(matches!(
            value_of(&"x".repeat(MAX_INPUT + 1)),
            Err(PolicyError::InputTooLarge)
        ));
        let many = vec![Vec::<u8>::new(); MAX_INPUT / PER_VALUE + 1];
        assert!(matches!(value_of(&many), Err(PolicyError::InputTooLarge)));
    }
}
