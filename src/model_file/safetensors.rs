//! Safetensors: a JSON header and the tensors after it, in one file or in shards with an index.
//!
//! The format's rules are those of the `safetensors` crate (offsets start at 0, no hole, no
//! overlap, the last tensor ends the file), and `tests/malformed.rs` holds both readers to the
//! same verdict. They are checked here because the crate wants the whole file in memory, counts in
//! `usize` (too narrow on wasm32), takes duplicate keys, and does not name the tensor at fault.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::dtype::Dtype;
use super::error::{ModelFileError, quoted};
use super::json::{self, Object};
use super::reader::{
    MAX_DIMS, MAX_ENTRIES, MAX_INDEX_BYTES, MAX_NAME_BYTES, MAX_SAFETENSORS_HEADER, Reader, at_most, len_u64,
    read_exact, to_usize,
};
use super::sniff::{self, Weights, other, read_json};
use super::source::{FileSet, Source, is_plain_name};
use super::tensor::{Layout, TensorInfo, byte_len, field};

/// Bytes of the header's length.
const PREFIX_BYTES: u64 = 8;
/// The one key of the header that is not a tensor.
const METADATA: &str = "__metadata__";

/// Data types that others store, with the bits of an element: what is not needed may have them, no weight can.
const FOREIGN: [(&str, u64); 17] = [
    ("F64", 64),
    ("I64", 64),
    ("U64", 64),
    ("C64", 64),
    ("I32", 32),
    ("U32", 32),
    ("I16", 16),
    ("U16", 16),
    ("I8", 8),
    ("U8", 8),
    ("BOOL", 8),
    ("F8_E4M3", 8),
    ("F8_E5M2", 8),
    ("F8_E8M0", 8),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
    ("F4", 4),
];

/// The tensors of one file or of all shards, in the order of their data.
#[derive(Default)]
pub(super) struct Header {
    pub(super) tensors: Vec<TensorInfo>,
    /// Tensors of data types that no weight can have.
    pub(super) foreign: Vec<Foreign>,
}

/// A tensor that is known only by its place.
pub(super) struct Foreign {
    pub(super) name: String,
    file: String,
    dtype: &'static str,
}

impl Foreign {
    /// The error where a weight is one of these.
    pub(super) fn needed(&self) -> ModelFileError {
        ModelFileError::UnknownDtype {
            file: self.file.clone(),
            field: field(&self.name),
            dtype: quoted(self.dtype),
            known: KNOWN.to_owned(),
        }
    }
}

/// The data types that weights have.
const KNOWN: &str = "F32, F16, BF16";

/// Parses the header of one file whose tensors are all weights.
pub(super) async fn parse_weights(
    source: &dyn Source,
    file: &str,
) -> Result<Vec<TensorInfo>, ModelFileError> {
    let header = parse(source, file).await?;
    header.foreign.first().map_or(Ok(header.tensors), |foreign| Err(foreign.needed()))
}

/// Parses the header of one file.
pub(super) async fn parse(source: &dyn Source, file: &str) -> Result<Header, ModelFileError> {
    let mut reader = Reader::new(source, file);
    reader.enter("the header");
    let header_len = reader.count("length", MAX_SAFETENSORS_HEADER).await?;
    reader.check_left(header_len)?;
    let header_usize = to_usize(file, "the header length", header_len)?;
    let header = read_exact(source, file, "the header", PREFIX_BYTES, header_usize).await?;
    let header = json::parse(file, "the header", &header)?;
    let header = Object::root(file, &header)?;

    let mut entries = Vec::new();
    for (name, value) in header.entries() {
        if name == METADATA {
            check_metadata(&header)?;
            continue;
        }
        entries.push((name, entry(file, name, value)?));
        at_most(file, "the tensor count", len_u64(entries.len()), MAX_ENTRIES)?;
    }
    entries.sort_by_key(|(_, entry)| (entry.start, entry.end));

    // Neither sum overflows: the header is at most 16 MiB.
    let data_start = PREFIX_BYTES.saturating_add(header_len);
    let mut layout =
        Layout { file: Arc::from(file), file_len: source.len(), data_start, alignment: 1, next: 0 };
    let mut parsed = Header::default();
    for (name, Entry { dtype, bytes, shape, start, end }) in entries {
        let placed = match dtype {
            Ok(dtype) => Some(layout.place(name.to_owned(), dtype, shape.clone(), start)?),
            Err(_) => layout.pass(name, bytes, start).map(|_| None)?,
        };
        if Some(end) != start.checked_add(bytes) {
            let dtype = dtype.map_or_else(|foreign| foreign, Dtype::name);
            return Err(ModelFileError::Invalid {
                file: file.to_owned(),
                field: format!("{} data_offsets", field(name)),
                value: format!("[{start}, {end}]"),
                expected: format!("{bytes} bytes, as the shape {shape:?} in {dtype} has"),
            });
        }
        parsed.tensors.extend(placed);
        if let Err(dtype) = dtype {
            parsed.foreign.push(Foreign { name: name.to_owned(), file: file.to_owned(), dtype });
        }
    }
    let data_len = source.len().saturating_sub(data_start);
    if layout.next != data_len {
        return Err(ModelFileError::Invalid {
            file: file.to_owned(),
            field: "the end of the last tensor".to_owned(),
            value: layout.next.to_string(),
            expected: format!("{data_len}, the end of the file"),
        });
    }
    Ok(parsed)
}

/// A tensor as the header describes it.
struct Entry {
    /// The name of a type that no weight has, else.
    dtype: Result<Dtype, &'static str>,
    bytes: u64,
    shape: Vec<u64>,
    start: u64,
    end: u64,
}

fn entry(file: &str, name: &str, value: &Value) -> Result<Entry, ModelFileError> {
    at_most(file, "a tensor name length", len_u64(name.len()), MAX_NAME_BYTES)?;
    let invalid = |what: &str, value: String, expected: &str| ModelFileError::Invalid {
        file: file.to_owned(),
        field: format!("{}{what}", field(name)),
        value,
        expected: expected.to_owned(),
    };
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(invalid(" name", quoted(name), "a name without control characters"));
    }
    let Value::Object(map) = value else {
        return Err(json::wrong_type(file, field(name), value, "an object"));
    };
    let get = |key: &str| {
        map.get(key).ok_or_else(|| ModelFileError::Missing {
            file: file.to_owned(),
            field: format!("{} {key}", field(name)),
        })
    };
    let numbers = |key: &str, cap: u64| {
        let array = get(key)?.as_array();
        let array = array.ok_or_else(|| {
            invalid(&format!(" {key}"), "not an array".to_owned(), "an array of whole numbers")
        })?;
        at_most(file, &format!("{} {key} count", field(name)), len_u64(array.len()), cap)?;
        let number = |value: &Value| {
            let field = || format!("{} {key}", field(name));
            value
                .as_u64()
                .ok_or_else(|| json::wrong_type(file, field(), value, "a whole number that is not negative"))
        };
        array.iter().map(number).collect::<Result<Vec<_>, _>>()
    };
    let dtype = match get("dtype")? {
        Value::String(dtype) => match dtype.as_str() {
            "F32" => Ok(Dtype::F32),
            "F16" => Ok(Dtype::F16),
            "BF16" => Ok(Dtype::BF16),
            other => Err(FOREIGN.iter().find(|(name, _)| *name == other).ok_or_else(|| {
                let (file, field, known) = (file.to_owned(), field(name), KNOWN.to_owned());
                ModelFileError::UnknownDtype { file, field, dtype: quoted(other), known }
            })?),
        },
        other => return Err(json::wrong_type(file, format!("{} dtype", field(name)), other, "a string")),
    };
    let shape = numbers("shape", MAX_DIMS)?;
    let bytes = match dtype {
        Ok(dtype) => byte_len(dtype, &shape),
        Err((_, bits)) => foreign_len(*bits, &shape),
    };
    let bytes = bytes.map_err(|expected| invalid(" shape", format!("{shape:?}"), &expected))?;
    let dtype = dtype.map_err(|(name, _)| *name);
    let offsets = numbers("data_offsets", 2)?;
    match offsets.as_slice() {
        [start, end] if start <= end => Ok(Entry { dtype, bytes, shape, start: *start, end: *end }),
        other => {
            Err(invalid(" data_offsets", format!("{other:?}"), "a start and an end that is not before it"))
        }
    }
}

/// Bytes of a tensor of elements of so many bits, which may have none of them.
fn foreign_len(bits: u64, shape: &[u64]) -> Result<u64, String> {
    let elems = shape.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim));
    let bits = elems.and_then(|elems| elems.checked_mul(bits)).filter(|bits| bits.is_multiple_of(8));
    bits.map(|bits| bits >> 3).ok_or_else(|| "a size of whole bytes below 2^61".to_owned())
}

/// `__metadata__` maps strings to strings; nothing here reads it.
fn check_metadata(header: &Object<'_>) -> Result<(), ModelFileError> {
    let metadata = header.object(METADATA)?;
    let metadata = header.required(METADATA, metadata)?;
    for (key, value) in metadata.entries() {
        if !value.is_string() {
            return Err(json::wrong_type(header.file, metadata.field(key), value, "a string"));
        }
    }
    Ok(())
}

/// Whether the index `file` names the shard `shard`.
///
/// # Errors
/// What is no index.
#[cfg(not(target_arch = "wasm32"))]
pub(super) async fn is_shard_of(
    source: &dyn Source,
    file: &str,
    shard: &str,
) -> Result<bool, ModelFileError> {
    let index = json::parse(file, "the file", &read_json(source, file, MAX_INDEX_BYTES).await?)?;
    let index = Object::root(file, &index)?;
    let map = index.required("weight_map", index.object("weight_map")?)?;
    Ok(map.entries().any(|(_, name)| name.as_str() == Some(shard)))
}

/// Parses the index `file` of a sharded checkpoint and the headers of all its shards.
pub(super) async fn parse_shards(files: &FileSet, file: &str) -> Result<Header, ModelFileError> {
    let missing = |field: String| ModelFileError::Missing { file: file.to_owned(), field };
    let source = files.find(file)?.ok_or_else(|| missing("the index".to_owned()))?;
    let index = json::parse(file, "the file", &read_json(source.as_ref(), file, MAX_INDEX_BYTES).await?)?;
    let index = Object::root(file, &index)?;
    let map = index.object("weight_map")?;
    let map = index.required("weight_map", map)?;

    let (mut shard_of, mut shards) = (BTreeMap::new(), BTreeSet::new());
    for (name, shard) in map.entries() {
        let shard =
            shard.as_str().ok_or_else(|| json::wrong_type(file, map.field(name), shard, "a file name"))?;
        if !is_plain_name(shard) || !shard.ends_with(".safetensors") {
            return Err(ModelFileError::Invalid {
                file: file.to_owned(),
                field: map.field(name),
                value: quoted(shard),
                expected: "the plain name of a .safetensors file in the same folder".to_owned(),
            });
        }
        shard_of.insert(name, shard);
        shards.insert(shard);
        at_most(file, "the tensor count", len_u64(shard_of.len()), MAX_ENTRIES)?;
    }
    let (mut whole, mut names) = (Header::default(), BTreeSet::new());
    for shard in shards {
        let source = files.find(shard)?.ok_or_else(|| missing(format!("the shard {}", quoted(shard))))?;
        if sniff::weights(source.as_ref(), shard).await? != Weights::Safetensors {
            return Err(other(shard, "a GGUF file under the name of a shard", "download the shard again"));
        }
        let Header { tensors, foreign } = parse(source.as_ref(), shard).await?;
        let here = tensors.iter().map(|tensor| &tensor.name).chain(foreign.iter().map(|one| &one.name));
        for name in here {
            if !names.insert(name.clone()) {
                return Err(ModelFileError::Duplicate { file: shard.to_owned(), field: field(name) });
            }
            if let Some(named) = shard_of.get(name.as_str()).filter(|named| **named != shard) {
                return Err(ModelFileError::Invalid {
                    file: file.to_owned(),
                    field: map.field(name),
                    value: quoted(named),
                    expected: format!("{}, the shard that holds it", quoted(shard)),
                });
            }
        }
        whole.tensors.extend(tensors);
        whole.foreign.extend(foreign);
    }
    let lost = shard_of.iter().find(|(name, _)| !names.contains(**name));
    match lost {
        Some((name, shard)) => Err(ModelFileError::Missing { file: (*shard).to_owned(), field: field(name) }),
        None => Ok(whole),
    }
}
