//! GGUF, versions 2 and 3: metadata, tensor table and tokenizer in one little-endian file, or in several parts.
//!
//! After the format's specification (ggml, `docs/gguf.md`): magic, version, counts, metadata entries, tensor descriptions,
//! padding, data.
//!
//! ```text
//! metadata.rs  the entries, and typed getters over them
//! types.rs     the numbers of data types, those that are not read included
//! split.rs     a model in several files
//! ```

mod metadata;
mod split;
mod types;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::dtype::Dtype;
use super::error::{ModelFileError, quoted};
use super::reader::{MAX_ENTRIES, MAX_GGUF_DIMS, MAX_GGUF_NAME_BYTES, Reader, at_most};
use super::sniff::other;
use super::source::Source;
use super::tensor::{Layout, TensorInfo, field};

pub(super) use metadata::{CHAT_TEMPLATE, MERGES, Metadata, SCORES, TOKEN_TYPES, TOKENS, key_field};
pub(super) use split::{check_alone, parse_parts};

/// The first four bytes.
pub(super) const MAGIC: [u8; 4] = *b"GGUF";
/// A key, a type and a value of one byte.
const MIN_ENTRY_BYTES: u64 = 8 + 1 + 4 + 1;
/// A name, one dimension, a type and an offset.
const MIN_TENSOR_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// A parsed header.
pub(super) struct Gguf {
    pub(super) version: u32,
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<TensorInfo>,
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
    match version {
        2 | 3 => {}
        1 => {
            let what = "a GGUF file of version 1, which version 2 replaced within days in August 2023";
            return Err(other(file, what, "get the model as a newer GGUF"));
        }
        // A small number whose lowest byte comes last.
        _ if version.swap_bytes() <= 0xff && version > 0xff => {
            let what = "a GGUF file in big-endian byte order";
            let advice = "turn it round with gguf_convert_endian.py of the gguf package, or get the little-endian file";
            return Err(other(file, what, advice));
        }
        _ => return Err(reader.invalid(version.to_string(), "2 or 3")),
    }
    reader.enter("the tensor table");
    let n_tensors = reader.count("count", MAX_ENTRIES).await?;
    reader.enter("the metadata");
    let n_entries = reader.count("count", MAX_ENTRIES).await?;
    // Neither product overflows: both counts are below 2^17.
    reader.check_left(n_entries.saturating_mul(MIN_ENTRY_BYTES))?;

    let metadata = metadata::parse(&mut reader, file, n_entries).await?;
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
        let dtype = types::of(reader.u32().await?).map_err(|dtype| ModelFileError::UnknownDtype {
            file: file.to_owned(),
            field: field(&name),
            dtype,
            known: Dtype::ALL.map(Dtype::name).join(", "),
        })?;
        tensors.push(Description { name, dtype, shape, offset: reader.u64().await? });
    }
    Ok(tensors)
}
