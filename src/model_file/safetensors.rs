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
    read_exact, read_whole, to_usize,
};
use super::source::{FileSet, Source, is_plain_name};
use super::tensor::{Layout, TensorInfo, byte_len, field};

/// Bytes of the header's length.
const PREFIX_BYTES: u64 = 8;
/// The one key of the header that is not a tensor.
const METADATA: &str = "__metadata__";

/// Parses the header of one file; tensors come in the order of their data.
pub(super) async fn parse(source: &dyn Source, file: &str) -> Result<Vec<TensorInfo>, ModelFileError> {
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
    let mut tensors = Vec::new();
    for (name, Entry { dtype, shape, start, end }) in entries {
        let tensor = layout.place(name.to_owned(), dtype, shape, start)?;
        if Some(end) != start.checked_add(tensor.bytes) {
            return Err(ModelFileError::Invalid {
                file: file.to_owned(),
                field: format!("{} data_offsets", field(name)),
                value: format!("[{start}, {end}]"),
                expected: format!(
                    "{} bytes, as the shape {:?} in {} has",
                    tensor.bytes,
                    tensor.shape,
                    dtype.name()
                ),
            });
        }
        tensors.push(tensor);
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
    Ok(tensors)
}

/// A tensor as the header describes it.
struct Entry {
    dtype: Dtype,
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
            "F32" => Dtype::F32,
            "F16" => Dtype::F16,
            "BF16" => Dtype::BF16,
            other => {
                let (file, field) = (file.to_owned(), field(name));
                return Err(ModelFileError::UnknownDtype { file, field, dtype: quoted(other) });
            }
        },
        other => return Err(json::wrong_type(file, format!("{} dtype", field(name)), other, "a string")),
    };
    let shape = numbers("shape", MAX_DIMS)?;
    byte_len(dtype, &shape).map_err(|expected| invalid(" shape", format!("{shape:?}"), &expected))?;
    let offsets = numbers("data_offsets", 2)?;
    match offsets.as_slice() {
        [start, end] if start <= end => Ok(Entry { dtype, shape, start: *start, end: *end }),
        other => {
            Err(invalid(" data_offsets", format!("{other:?}"), "a start and an end that is not before it"))
        }
    }
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

/// Parses the index `file` of a sharded checkpoint and the headers of all its shards.
pub(super) async fn parse_shards(files: &FileSet, file: &str) -> Result<Vec<TensorInfo>, ModelFileError> {
    let missing = |field: String| ModelFileError::Missing { file: file.to_owned(), field };
    let source = files.get(file).ok_or_else(|| missing("the index".to_owned()))?;
    let index = json::parse(file, "the file", &read_whole(source.as_ref(), file, MAX_INDEX_BYTES).await?)?;
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
    let (mut tensors, mut names) = (Vec::<TensorInfo>::new(), BTreeSet::new());
    for shard in shards {
        let source = files.get(shard).ok_or_else(|| missing(format!("the shard {}", quoted(shard))))?;
        for tensor in parse(source.as_ref(), shard).await? {
            if !names.insert(tensor.name.clone()) {
                return Err(ModelFileError::Duplicate { file: shard.to_owned(), field: tensor.field() });
            }
            if shard_of.get(tensor.name.as_str()).is_some_and(|named| *named != shard) {
                return Err(ModelFileError::Invalid {
                    file: file.to_owned(),
                    field: map.field(&tensor.name),
                    value: shard_of.get(tensor.name.as_str()).map(|named| quoted(named)).unwrap_or_default(),
                    expected: format!("{}, the shard that holds it", quoted(shard)),
                });
            }
            tensors.push(tensor);
        }
    }
    let lost = shard_of.iter().find(|(name, _)| !names.contains(**name));
    match lost {
        Some((name, shard)) => Err(ModelFileError::Missing { file: (*shard).to_owned(), field: field(name) }),
        None => Ok(tensors),
    }
}
