//! The metadata of a GGUF file: entries of a type that each states, and typed getters over them.
//!
//! Arrays are kept only where the tokenizer needs them, strings only up to a bound. What nobody reads is passed over, so it
//! costs no memory, and nothing in it can be wrong.

use std::collections::BTreeMap;

use crate::model_file::config::MAX_VOCAB;
use crate::model_file::error::{ModelFileError, quoted};
use crate::model_file::reader::{
    MAX_ALIGNMENT, MAX_ARRAY, MAX_KEY_BYTES, MAX_STRING_BYTES, MAX_TEMPLATE_BYTES, MAX_TOKEN_BYTES, Reader,
    at_most, nearest,
};

/// Alignment when `general.alignment` is absent.
const DEFAULT_ALIGNMENT: u64 = 32;
/// Merges are about as many as tokens; a few models list more.
const MAX_MERGES: u64 = 2 * MAX_VOCAB;
/// Arrays in each other; the specification sets no limit, and no published file has any.
const MAX_DEPTH: usize = 8;

pub(in crate::model_file) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(in crate::model_file) const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
pub(in crate::model_file) const SCORES: &str = "tokenizer.ggml.scores";
pub(in crate::model_file) const MERGES: &str = "tokenizer.ggml.merges";
pub(in crate::model_file) const CHAT_TEMPLATE: &str = "tokenizer.chat_template";

/// The metadata entries of one file, read by typed getters.
pub(in crate::model_file) struct Metadata {
    pub(in crate::model_file) file: String,
    entries: BTreeMap<String, Value>,
}

/// A metadata value with its exact type.
enum Value {
    Unsigned(u64, ValueType),
    Signed(i64, ValueType),
    Float(f64, ValueType),
    Bool(bool),
    String(String),
    Strings(Vec<String>),
    Ints(Vec<i32>),
    Floats(Vec<f32>),
    /// An array nobody asks for, or one of the wrong type.
    OtherArray(ValueType),
    /// A string that was passed over, and why: nobody may ask for it, so only whoever does is told.
    Unread(Passed),
}

/// Why a string was not kept.
enum Passed {
    /// It has so many bytes.
    Long(u64),
    NotText,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    /// The types in the order of their numbers.
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    fn is_integer(self) -> bool {
        use ValueType::{I8, I16, I32, I64, U8, U16, U32, U64};
        matches!(self, U8 | I8 | U16 | I16 | U32 | I32 | U64 | I64)
    }

    /// Bytes of a value; for strings and arrays the least.
    fn bytes(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::String => 8,
            Self::Array => 12,
        }
    }
}

pub(super) async fn parse(
    reader: &mut Reader<'_>,
    file: &str,
    n_entries: u64,
) -> Result<Metadata, ModelFileError> {
    let mut entries = BTreeMap::new();
    for number in 0..n_entries {
        reader.enter(format!("metadata key {number}"));
        let key = reader.string(MAX_KEY_BYTES).await?;
        if key.is_empty() {
            return Err(reader.invalid("\"\"".to_owned(), "a name"));
        }
        reader.enter(key_field(&key));
        let value = parse_value(reader, file, &key).await?;
        if entries.contains_key(&key) {
            return Err(ModelFileError::Duplicate { file: file.to_owned(), field: key_field(&key) });
        }
        entries.insert(key, value);
    }
    Ok(Metadata { file: file.to_owned(), entries })
}

async fn parse_type(reader: &mut Reader<'_>) -> Result<ValueType, ModelFileError> {
    let id = reader.u32().await?;
    let known = usize::try_from(id).ok().and_then(|id| ValueType::ALL.get(id).copied());
    known.ok_or_else(|| reader.invalid(format!("of the value type {id}"), "a type from 0 to 12"))
}

async fn parse_value(reader: &mut Reader<'_>, file: &str, key: &str) -> Result<Value, ModelFileError> {
    let kind = parse_type(reader).await?;
    Ok(match kind {
        ValueType::U8 => Value::Unsigned(u8::from_le_bytes(reader.array().await?).into(), kind),
        ValueType::U16 => Value::Unsigned(u16::from_le_bytes(reader.array().await?).into(), kind),
        ValueType::U32 => Value::Unsigned(reader.u32().await?.into(), kind),
        ValueType::U64 => Value::Unsigned(reader.u64().await?, kind),
        ValueType::I8 => Value::Signed(i8::from_le_bytes(reader.array().await?).into(), kind),
        ValueType::I16 => Value::Signed(i16::from_le_bytes(reader.array().await?).into(), kind),
        ValueType::I32 => Value::Signed(i32::from_le_bytes(reader.array().await?).into(), kind),
        ValueType::I64 => Value::Signed(i64::from_le_bytes(reader.array().await?), kind),
        ValueType::F32 => Value::Float(f32::from_le_bytes(reader.array().await?).into(), kind),
        ValueType::F64 => Value::Float(f64::from_le_bytes(reader.array().await?), kind),
        ValueType::Bool => match reader.array().await? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            [other] => return Err(reader.invalid(other.to_string(), "0 or 1, a boolean")),
        },
        ValueType::String => {
            let len = reader.count("length", u64::MAX).await?;
            let cap = if key == CHAT_TEMPLATE { MAX_TEMPLATE_BYTES } else { MAX_STRING_BYTES };
            if len > cap {
                reader.skip(len)?;
                return Ok(Value::Unread(Passed::Long(len)));
            }
            reader.text(len).await?.map_or(Value::Unread(Passed::NotText), Value::String)
        }
        ValueType::Array => parse_array(reader, file, key).await?,
    })
}

async fn parse_array(reader: &mut Reader<'_>, file: &str, key: &str) -> Result<Value, ModelFileError> {
    let (kind, count) = array_head(reader).await?;
    let cap = match key {
        TOKENS | TOKEN_TYPES | SCORES => MAX_VOCAB,
        MERGES => MAX_MERGES,
        _ => MAX_ARRAY,
    };
    at_most(file, &format!("{} count", key_field(key)), count, cap)?;
    match (key, kind) {
        (TOKENS | MERGES, ValueType::String) => {
            let mut strings = Vec::new();
            for number in 0..count {
                reader.enter(format!("{}[{number}]", key_field(key)));
                strings.push(reader.string(MAX_TOKEN_BYTES).await?);
            }
            Ok(Value::Strings(strings))
        }
        (TOKEN_TYPES, _) if kind.is_integer() => {
            let mut ints = Vec::new();
            for number in 0..count {
                let value = integer(reader, kind).await?;
                ints.push(i32::try_from(value).map_err(|_| ModelFileError::Invalid {
                    file: file.to_owned(),
                    field: format!("{}[{number}]", key_field(key)),
                    value: value.to_string(),
                    expected: "a number of 32 bits".to_owned(),
                })?);
            }
            Ok(Value::Ints(ints))
        }
        (SCORES, ValueType::F32) => {
            let mut floats = Vec::new();
            for _ in 0..count {
                floats.push(f32::from_le_bytes(reader.array().await?));
            }
            Ok(Value::Floats(floats))
        }
        // Some writers have them as whole numbers or in 64 bits.
        (SCORES, _) if kind.is_integer() || kind == ValueType::F64 => {
            let mut floats = Vec::new();
            for _ in 0..count {
                floats.push(match kind {
                    ValueType::F64 => nearest(f64::from_le_bytes(reader.array().await?)),
                    _ => nearest_whole(integer(reader, kind).await?),
                });
            }
            Ok(Value::Floats(floats))
        }
        _ => {
            skip_array(reader, kind, count).await?;
            Ok(Value::OtherArray(kind))
        }
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "there is no other way from i128 to the nearest f32"
)]
fn nearest_whole(value: i128) -> f32 {
    value as f32
}

/// An integer of any width, whose range is that of all of them.
async fn integer(reader: &mut Reader<'_>, kind: ValueType) -> Result<i128, ModelFileError> {
    Ok(match kind {
        ValueType::U8 => u8::from_le_bytes(reader.array().await?).into(),
        ValueType::I8 => i8::from_le_bytes(reader.array().await?).into(),
        ValueType::U16 => u16::from_le_bytes(reader.array().await?).into(),
        ValueType::I16 => i16::from_le_bytes(reader.array().await?).into(),
        ValueType::U32 => reader.u32().await?.into(),
        ValueType::U64 => reader.u64().await?.into(),
        ValueType::I64 => i64::from_le_bytes(reader.array().await?).into(),
        _ => i32::from_le_bytes(reader.array().await?).into(),
    })
}

/// Type and count of an array, whose elements must be able to lie in the file.
async fn array_head(reader: &mut Reader<'_>) -> Result<(ValueType, u64), ModelFileError> {
    let kind = parse_type(reader).await?;
    let count = reader.count("count", MAX_ARRAY).await?;
    reader.check_left(count.saturating_mul(kind.bytes()))?;
    Ok((kind, count))
}

/// Passes over an array that nobody reads; arrays in arrays are walked without recursion, at most [`MAX_ARRAY`] elements of them.
async fn skip_array(reader: &mut Reader<'_>, kind: ValueType, count: u64) -> Result<(), ModelFileError> {
    let mut waiting = vec![(kind, count)];
    let mut walked = 0_u64;
    while let Some((kind, count)) = waiting.pop() {
        match kind {
            ValueType::String => {
                for _ in 0..count {
                    let len = reader.count("length", u64::MAX).await?;
                    reader.skip(len)?;
                }
                walked = walked.saturating_add(count);
            }
            ValueType::Array => {
                if let Some(left) = count.checked_sub(1) {
                    walked = walked.saturating_add(1);
                    waiting.push((kind, left));
                    if waiting.len() > MAX_DEPTH {
                        return Err(reader.invalid(
                            "arrays in arrays".to_owned(),
                            format!("at most {MAX_DEPTH} in each other"),
                        ));
                    }
                    waiting.push(array_head(reader).await?);
                }
            }
            // Neither factor is above 2^24.
            _ => reader.skip(count.saturating_mul(kind.bytes()))?,
        }
        if walked > MAX_ARRAY {
            return Err(reader.invalid(format!("{walked} elements"), format!("at most {MAX_ARRAY}")));
        }
    }
    Ok(())
}

/// What messages call a metadata key.
pub(in crate::model_file) fn key_field(key: &str) -> String {
    format!("metadata key {}", quoted(key))
}

impl Metadata {
    /// Whether the key is there, with whatever type.
    pub(in crate::model_file) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// A whole number that is not negative, stored in any integer type.
    pub(in crate::model_file) fn u64(&self, key: &str) -> Result<Option<u64>, ModelFileError> {
        self.typed(key, "a whole number that is not negative", |value| match value {
            Value::Unsigned(value, _) => Some(*value),
            Value::Signed(value, _) => u64::try_from(*value).ok(),
            _ => None,
        })
    }

    /// A floating point number.
    pub(in crate::model_file) fn f64(&self, key: &str) -> Result<Option<f64>, ModelFileError> {
        self.typed(key, "a floating point number", |value| match value {
            Value::Float(value, _) => Some(*value),
            _ => None,
        })
    }

    /// A boolean.
    pub(in crate::model_file) fn bool(&self, key: &str) -> Result<Option<bool>, ModelFileError> {
        self.typed(key, "a boolean", |value| if let Value::Bool(value) = value { Some(*value) } else { None })
    }

    /// Text.
    pub(in crate::model_file) fn str(&self, key: &str) -> Result<Option<&str>, ModelFileError> {
        self.typed(key, "a string", |value| {
            if let Value::String(value) = value { Some(value.as_str()) } else { None }
        })
    }

    /// An array of strings.
    pub(in crate::model_file) fn strings(&self, key: &str) -> Result<Option<&[String]>, ModelFileError> {
        self.typed(key, "an array of strings", |value| {
            if let Value::Strings(v) = value { Some(v.as_slice()) } else { None }
        })
    }

    /// An array of strings, moved out: a vocabulary is large.
    pub(in crate::model_file) fn take_strings(
        &mut self,
        key: &str,
    ) -> Result<Option<Vec<String>>, ModelFileError> {
        self.strings(key)?;
        match self.entries.remove(key) {
            Some(Value::Strings(strings)) => Ok(Some(strings)),
            _ => Ok(None),
        }
    }

    /// An array of I32.
    pub(in crate::model_file) fn ints(&self, key: &str) -> Result<Option<&[i32]>, ModelFileError> {
        self.typed(
            key,
            "an array of I32",
            |value| if let Value::Ints(v) = value { Some(v.as_slice()) } else { None },
        )
    }

    /// An array of F32.
    pub(in crate::model_file) fn floats(&self, key: &str) -> Result<Option<&[f32]>, ModelFileError> {
        self.typed(key, "an array of F32", |value| {
            if let Value::Floats(v) = value { Some(v.as_slice()) } else { None }
        })
    }

    /// The value of a key that must be there.
    pub(in crate::model_file) fn required<T>(
        &self,
        key: &str,
        value: Option<T>,
    ) -> Result<T, ModelFileError> {
        value.ok_or_else(|| ModelFileError::Missing { file: self.file.clone(), field: key_field(key) })
    }

    /// Alignment of tensor data; the specification fixes its type.
    pub(super) fn alignment(&self) -> Result<u64, ModelFileError> {
        const KEY: &str = "general.alignment";
        let value = self.typed(KEY, "U32", |value| match value {
            Value::Unsigned(value, ValueType::U32) => Some(*value),
            _ => None,
        })?;
        let alignment =
            at_most(&self.file, &key_field(KEY), value.unwrap_or(DEFAULT_ALIGNMENT), MAX_ALIGNMENT)?;
        if alignment.is_power_of_two() {
            return Ok(alignment);
        }
        Err(ModelFileError::Invalid {
            file: self.file.clone(),
            field: key_field(KEY),
            value: alignment.to_string(),
            expected: "a power of two".to_owned(),
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelFileError> {
        let Some(value) = self.entries.get(key) else { return Ok(None) };
        match value {
            Value::Unread(Passed::Long(len)) => {
                let cap = if key == CHAT_TEMPLATE { MAX_TEMPLATE_BYTES } else { MAX_STRING_BYTES };
                return at_most(&self.file, &format!("{} length", key_field(key)), *len, cap).map(|_| None);
            }
            Value::Unread(Passed::NotText) => {
                return Err(ModelFileError::Invalid {
                    file: self.file.clone(),
                    field: key_field(key),
                    value: "no text".to_owned(),
                    expected: "UTF-8".to_owned(),
                });
            }
            _ => {}
        }
        convert(value).map(Some).ok_or_else(|| {
            let found = match value {
                Value::Unsigned(value, kind) => format!("{kind:?} ({value})"),
                Value::Signed(value, kind) => format!("{kind:?} ({value})"),
                Value::Float(value, kind) => format!("{kind:?} ({value})"),
                Value::Bool(_) => "Bool".to_owned(),
                Value::String(text) => format!("String ({})", quoted(text)),
                Value::Strings(_) => "array of String".to_owned(),
                Value::Ints(_) => "array of I32".to_owned(),
                Value::Floats(_) => "array of F32".to_owned(),
                Value::OtherArray(kind) => format!("array of {kind:?}"),
                Value::Unread(_) => "String".to_owned(),
            };
            ModelFileError::WrongType { file: self.file.clone(), field: key_field(key), found, expected }
        })
    }
}
