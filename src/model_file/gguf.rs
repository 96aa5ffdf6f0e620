//! GGUF, versions 2 and 3: metadata, tensor table and tokenizer in one little-endian file.
//!
//! After the format's specification (ggml, `docs/gguf.md`): magic, version, counts, metadata
//! entries, tensor descriptions, padding, data. Arrays are kept only where the tokenizer needs
//! them; any other array is checked and passed over, so it costs no memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::config::MAX_VOCAB;
use super::dtype::Dtype;
use super::error::{ModelFileError, quoted};
use super::reader::{
    MAX_ALIGNMENT, MAX_ARRAY, MAX_ENTRIES, MAX_GGUF_DIMS, MAX_GGUF_NAME_BYTES, MAX_KEY_BYTES,
    MAX_STRING_BYTES, MAX_TEMPLATE_BYTES, MAX_TOKEN_BYTES, Reader, at_most,
};
use super::source::Source;
use super::tensor::{Layout, TensorInfo, field};

/// The first four bytes.
pub(super) const MAGIC: [u8; 4] = *b"GGUF";
/// Alignment when `general.alignment` is absent.
const DEFAULT_ALIGNMENT: u64 = 32;
/// A key, a type and a value of one byte.
const MIN_ENTRY_BYTES: u64 = 8 + 1 + 4 + 1;
/// A name, one dimension, a type and an offset.
const MIN_TENSOR_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8;
/// Merges are about as many as tokens; a few models list more.
const MAX_MERGES: u64 = 2 * MAX_VOCAB;

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
pub(super) const SCORES: &str = "tokenizer.ggml.scores";
pub(super) const MERGES: &str = "tokenizer.ggml.merges";
pub(super) const CHAT_TEMPLATE: &str = "tokenizer.chat_template";

/// A parsed header.
pub(super) struct Gguf {
    pub(super) version: u32,
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<TensorInfo>,
}

/// The metadata entries of one file, read by typed getters.
pub(super) struct Metadata {
    pub(super) file: String,
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

/// Parses the header of `source`.
pub(super) async fn parse(source: &dyn Source, file: &str) -> Result<Gguf, ModelFileError> {
    let mut reader = Reader::new(source, file);
    reader.enter("the magic");
    let magic = reader.array::<4>().await?;
    if magic != MAGIC {
        return Err(reader.invalid(quoted(&String::from_utf8_lossy(&magic)), "\"GGUF\""));
    }
    reader.enter("the version");
    let version = reader.u32().await?;
    if !matches!(version, 2 | 3) {
        let hint =
            if version.swap_bytes() <= 3 { " in little-endian order; this is a big-endian file" } else { "" };
        return Err(reader.invalid(version.to_string(), format!("2 or 3{hint}")));
    }
    reader.enter("the tensor table");
    let n_tensors = reader.count("count", MAX_ENTRIES).await?;
    reader.enter("the metadata");
    let n_entries = reader.count("count", MAX_ENTRIES).await?;
    // Neither product overflows: both counts are below 2^17.
    reader.check_left(n_entries.saturating_mul(MIN_ENTRY_BYTES))?;

    let metadata = parse_metadata(&mut reader, file, n_entries).await?;
    let alignment = metadata.alignment()?;
    reader.enter("the tensor table");
    reader.check_left(n_tensors.saturating_mul(MIN_TENSOR_BYTES))?;
    let tensors = parse_tensors(&mut reader, file, n_tensors).await?;

    reader.enter("the start of the tensor data");
    let data_start = reader.offset().checked_next_multiple_of(alignment);
    let data_start =
        data_start.ok_or_else(|| reader.invalid(reader.offset().to_string(), "an offset below 2^64"))?;
    let mut layout = Layout { file: Arc::from(file), file_len: source.len(), data_start, alignment, next: 0 };
    let mut placed = Vec::new();
    for Description { name, dtype, shape, offset } in tensors {
        placed.push(layout.place(name, dtype, shape, offset)?);
    }
    Ok(Gguf { version, metadata, tensors: placed })
}

async fn parse_metadata(
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
            let cap = if key == CHAT_TEMPLATE { MAX_TEMPLATE_BYTES } else { MAX_STRING_BYTES };
            Value::String(reader.string(cap).await?)
        }
        ValueType::Array => parse_array(reader, file, key).await?,
    })
}

async fn parse_array(reader: &mut Reader<'_>, file: &str, key: &str) -> Result<Value, ModelFileError> {
    let kind = parse_type(reader).await?;
    if kind == ValueType::Array {
        return Err(reader.invalid("an array of arrays".to_owned(), "an array of plain values"));
    }
    let count = reader.count("count", MAX_ARRAY).await?;
    let bytes = count.saturating_mul(kind.bytes());
    reader.check_left(bytes)?;
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
        (TOKEN_TYPES, ValueType::I32) => {
            let mut ints = Vec::new();
            for _ in 0..count {
                ints.push(i32::from_le_bytes(reader.array().await?));
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
        (_, ValueType::String) => {
            for _ in 0..count {
                let len = reader.count("length", MAX_STRING_BYTES).await?;
                reader.skip(len)?;
            }
            Ok(Value::OtherArray(kind))
        }
        _ => {
            reader.skip(bytes)?;
            Ok(Value::OtherArray(kind))
        }
    }
}

/// A tensor as the table describes it, before its place is checked.
struct Description {
    name: String,
    dtype: Dtype,
    shape: Vec<u64>,
    offset: u64,
}

async fn parse_tensors(
    reader: &mut Reader<'_>,
    file: &str,
    n_tensors: u64,
) -> Result<Vec<Description>, ModelFileError> {
    let (mut tensors, mut names) = (Vec::new(), BTreeSet::new());
    for number in 0..n_tensors {
        reader.enter(format!("tensor {number} name"));
        let name = reader.string(MAX_GGUF_NAME_BYTES).await?;
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(reader.invalid(quoted(&name), "a name without control characters"));
        }
        if !names.insert(name.clone()) {
            return Err(ModelFileError::Duplicate { file: file.to_owned(), field: field(&name) });
        }
        reader.enter(field(&name));
        let n_dims = u64::from(reader.u32().await?);
        at_most(file, &format!("{} dimension count", field(&name)), n_dims, MAX_GGUF_DIMS)?;
        if n_dims == 0 {
            return Err(reader.invalid("without dimensions".to_owned(), "1 to 4 dimensions"));
        }
        let mut shape = Vec::new();
        for _ in 0..n_dims {
            shape.push(reader.u64().await?);
        }
        // The file lists the fastest dimension first.
        shape.reverse();
        let dtype = dtype_of(reader.u32().await?).map_err(|dtype| ModelFileError::UnknownDtype {
            file: file.to_owned(),
            field: field(&name),
            dtype,
        })?;
        tensors.push(Description { name, dtype, shape, offset: reader.u64().await? });
    }
    Ok(tensors)
}

/// The data type with a number of `ggml_type`, or the name of one this reader does not know.
fn dtype_of(id: u32) -> Result<Dtype, String> {
    if let Some(dtype) = Dtype::ALL.into_iter().find(|dtype| dtype.ggml_type() == id) {
        return Ok(dtype);
    }
    let unknown = match id {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return Err(format!("number {id}")),
    };
    Err(unknown.to_owned())
}

/// What messages call a metadata key.
pub(super) fn key_field(key: &str) -> String {
    format!("metadata key {}", quoted(key))
}

impl Metadata {
    /// Whether the key is there, with whatever type.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// A whole number that is not negative, stored in any integer type.
    pub(super) fn u64(&self, key: &str) -> Result<Option<u64>, ModelFileError> {
        self.typed(key, "a whole number that is not negative", |value| match value {
            Value::Unsigned(value, _) => Some(*value),
            Value::Signed(value, _) => u64::try_from(*value).ok(),
            _ => None,
        })
    }

    /// A floating point number.
    pub(super) fn f64(&self, key: &str) -> Result<Option<f64>, ModelFileError> {
        self.typed(key, "a floating point number", |value| match value {
            Value::Float(value, _) => Some(*value),
            _ => None,
        })
    }

    /// A boolean.
    pub(super) fn bool(&self, key: &str) -> Result<Option<bool>, ModelFileError> {
        self.typed(key, "a boolean", |value| if let Value::Bool(value) = value { Some(*value) } else { None })
    }

    /// Text.
    pub(super) fn str(&self, key: &str) -> Result<Option<&str>, ModelFileError> {
        self.typed(key, "a string", |value| {
            if let Value::String(value) = value { Some(value.as_str()) } else { None }
        })
    }

    /// An array of strings.
    pub(super) fn strings(&self, key: &str) -> Result<Option<&[String]>, ModelFileError> {
        self.typed(key, "an array of strings", |value| {
            if let Value::Strings(v) = value { Some(v.as_slice()) } else { None }
        })
    }

    /// An array of strings, moved out: a vocabulary is large.
    pub(super) fn take_strings(&mut self, key: &str) -> Result<Option<Vec<String>>, ModelFileError> {
        self.strings(key)?;
        match self.entries.remove(key) {
            Some(Value::Strings(strings)) => Ok(Some(strings)),
            _ => Ok(None),
        }
    }

    /// An array of I32.
    pub(super) fn ints(&self, key: &str) -> Result<Option<&[i32]>, ModelFileError> {
        self.typed(
            key,
            "an array of I32",
            |value| if let Value::Ints(v) = value { Some(v.as_slice()) } else { None },
        )
    }

    /// An array of F32.
    pub(super) fn floats(&self, key: &str) -> Result<Option<&[f32]>, ModelFileError> {
        self.typed(key, "an array of F32", |value| {
            if let Value::Floats(v) = value { Some(v.as_slice()) } else { None }
        })
    }

    /// The value of a key that must be there.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, ModelFileError> {
        value.ok_or_else(|| ModelFileError::Missing { file: self.file.clone(), field: key_field(key) })
    }

    /// Alignment of tensor data; the specification fixes its type.
    fn alignment(&self) -> Result<u64, ModelFileError> {
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
            };
            ModelFileError::WrongType { file: self.file.clone(), field: key_field(key), found, expected }
        })
    }
}
