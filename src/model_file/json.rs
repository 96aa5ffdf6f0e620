//! JSON without surprises: no key twice, and typed getters that name file and key.
//!
//! Parsers disagree on which of two equal keys counts, so a file could show one shape to a
//! scanner and another to the engine; such a file is refused at any depth. Nesting is bounded by
//! `serde_json` itself (128 levels).

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::{ModelFileError, quoted};
use super::sniff::without_bom;

/// Parses `bytes`, a whole JSON text; `field` says what part of `file` it is.
pub(super) fn parse(file: &str, field: &str, bytes: &[u8]) -> Result<Value, ModelFileError> {
    let duplicate = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(without_bom(bytes));
    let value = Unique { duplicate: &duplicate }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    let file = file.to_owned();
    match (value, duplicate.into_inner()) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(key)) => {
            Err(ModelFileError::Duplicate { file, field: format!("key {}", quoted(&key)) })
        }
        (Err(error), None) => {
            Err(ModelFileError::Json { file, field: field.to_owned(), problem: error.to_string() })
        }
    }
}

/// Builds a [`Value`], and stops at the first key that an object has twice.
#[derive(Clone, Copy)]
struct Unique<'a> {
    duplicate: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                *self.duplicate.borrow_mut() = Some(key);
                return Err(A::Error::custom("a key occurs twice"));
            }
            object.insert(key, map.next_value_seed(self)?);
        }
        Ok(Value::Object(object))
    }
}

/// An object of a JSON file, with the way to it for messages.
#[derive(Clone)]
pub(super) struct Object<'a> {
    pub(super) file: &'a str,
    /// `""`, or the keys on the way, each followed by a dot.
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    /// The object that `value`, the whole content of `file`, must be.
    pub(super) fn root(file: &'a str, value: &'a Value) -> Result<Self, ModelFileError> {
        match value {
            Value::Object(map) => Ok(Self { file, path: String::new(), map }),
            other => Err(wrong_type(file, "the file".to_owned(), other, "an object")),
        }
    }

    /// A key's name for messages.
    pub(super) fn field(&self, key: &str) -> String {
        format!("key {}", quoted(&format!("{}{key}", self.path)))
    }

    /// The value of `key`; null counts as absent, as Python's `None` does.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether `key` is there, null or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Keys and values in file order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        self.map.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A whole number that is not negative.
    pub(super) fn u64(&self, key: &str) -> Result<Option<u64>, ModelFileError> {
        self.typed(key, "a whole number that is not negative", Value::as_u64)
    }

    /// Any number.
    pub(super) fn f64(&self, key: &str) -> Result<Option<f64>, ModelFileError> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// True or false.
    pub(super) fn bool(&self, key: &str) -> Result<Option<bool>, ModelFileError> {
        self.typed(key, "a boolean", Value::as_bool)
    }

    /// Text.
    pub(super) fn str(&self, key: &str) -> Result<Option<&'a str>, ModelFileError> {
        self.typed(key, "a string", Value::as_str)
    }

    /// A list.
    pub(super) fn array(&self, key: &str) -> Result<Option<&'a [Value]>, ModelFileError> {
        self.typed(key, "an array", |value| value.as_array().map(Vec::as_slice))
    }

    /// An object.
    pub(super) fn object(&self, key: &str) -> Result<Option<Self>, ModelFileError> {
        let map = self.typed(key, "an object", Value::as_object)?;
        Ok(map.map(|map| Self { file: self.file, path: format!("{}{key}.", self.path), map }))
    }

    /// The value of a key that must be there.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, ModelFileError> {
        value.ok_or_else(|| ModelFileError::Missing { file: self.file.to_owned(), field: self.field(key) })
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &'static str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelFileError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        convert(value).map(Some).ok_or_else(|| wrong_type(self.file, self.field(key), value, expected))
    }
}

/// `value`, at `field`, should have been `expected`.
pub(super) fn wrong_type(file: &str, field: String, value: &Value, expected: &'static str) -> ModelFileError {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("boolean ({value})"),
        Value::Number(number) => format!("number ({number})"),
        Value::String(text) => format!("string ({})", quoted(text)),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    ModelFileError::WrongType { file: file.to_owned(), field, found, expected }
}
