//! The form of a malformed input and what must become of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use killick::model_file::{BytesSource, FileSet, ModelFileError, Source};
use serde_json::Value as Json;

use crate::support::gguf_writer::{Gguf, Value};
use crate::support::safetensors_writer::Safetensors;
use crate::support::tiny_model::{CONFIG, GGUF, TinyModel, WEIGHTS};

/// One malformed input.
pub(crate) struct Case {
    /// The bug class of the design's reliability notes, section 2.2, by its row.
    pub(crate) row: u32,
    /// What is wrong, in a few words; several inputs may share a class.
    pub(crate) class: &'static str,
    /// The variant of `ModelFileError` that must come back.
    pub(crate) variant: &'static str,
    /// The file the message must name.
    pub(crate) file: &'static str,
    /// The field or value the message must name.
    pub(crate) says: &'static str,
    pub(crate) files: FileSet,
}

/// All inputs.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = super::gguf_cases::cases();
    cases.extend(super::config_cases::cases());
    cases.extend(super::safetensors_cases::cases());
    cases
}

/// The name of an error's variant.
pub(crate) fn variant(error: &ModelFileError) -> &'static str {
    match error {
        ModelFileError::Io { .. } => "Io",
        ModelFileError::Missing { .. } => "Missing",
        ModelFileError::Truncated { .. } => "Truncated",
        ModelFileError::OverCap { .. } => "OverCap",
        ModelFileError::Invalid { .. } => "Invalid",
        ModelFileError::WrongType { .. } => "WrongType",
        ModelFileError::Duplicate { .. } => "Duplicate",
        ModelFileError::UnknownDtype { .. } => "UnknownDtype",
        ModelFileError::Other { .. } => "Other",
        ModelFileError::Shape { .. } => "Shape",
        ModelFileError::Unsupported { .. } => "Unsupported",
        ModelFileError::Json { .. } => "Json",
        _ => "a new variant",
    }
}

/// The tiny model as GGUF after `damage`.
pub(crate) fn gguf(
    row: u32,
    class: &'static str,
    variant: &'static str,
    says: &'static str,
    damage: impl FnOnce(&mut Gguf),
) -> Case {
    let mut file = TinyModel::new().gguf();
    damage(&mut file);
    gguf_bytes(row, class, variant, says, file.bytes())
}

/// The tiny model as GGUF with one metadata value changed.
pub(crate) fn key(
    row: u32,
    class: &'static str,
    variant: &'static str,
    key: &'static str,
    value: Value,
) -> Case {
    gguf(row, class, variant, key, |file| file.set(key, value))
}

/// These bytes as GGUF.
pub(crate) fn gguf_bytes(
    row: u32,
    class: &'static str,
    variant: &'static str,
    says: &'static str,
    bytes: Vec<u8>,
) -> Case {
    let files = set([(GGUF, bytes)]);
    Case { row, class, variant, file: GGUF, says, files }
}

/// The tiny model as a checkpoint folder with one key of config.json changed; null removes it.
pub(crate) fn config(
    row: u32,
    class: &'static str,
    variant: &'static str,
    key: &'static str,
    value: Json,
) -> Case {
    let mut json = TinyModel::new().config();
    json[key] = value;
    raw_config(row, class, variant, key, json.to_string())
}

/// The tiny model as a checkpoint folder with another text as config.json.
pub(crate) fn raw_config(
    row: u32,
    class: &'static str,
    variant: &'static str,
    says: &'static str,
    text: String,
) -> Case {
    let files = set([(CONFIG, text.into_bytes()), (WEIGHTS, TinyModel::new().safetensors().bytes())]);
    Case { row, class, variant, file: CONFIG, says, files }
}

/// The tiny model as a checkpoint folder whose weights are changed.
pub(crate) fn weights(
    row: u32,
    class: &'static str,
    variant: &'static str,
    says: &'static str,
    damage: impl FnOnce(&mut Safetensors),
) -> Case {
    let mut file = TinyModel::new().safetensors();
    damage(&mut file);
    raw_weights(row, class, variant, says, file.bytes())
}

/// The tiny model's config beside these bytes as weights.
pub(crate) fn raw_weights(
    row: u32,
    class: &'static str,
    variant: &'static str,
    says: &'static str,
    bytes: Vec<u8>,
) -> Case {
    let files = set([(CONFIG, TinyModel::new().config().to_string().into_bytes()), (WEIGHTS, bytes)]);
    Case { row, class, variant, file: WEIGHTS, says, files }
}

/// A file set in memory.
pub(crate) fn set<const N: usize>(files: [(&str, Vec<u8>); N]) -> FileSet {
    let shared = |bytes: Vec<u8>| -> Arc<dyn Source> { Arc::new(BytesSource::new(bytes)) };
    let files: BTreeMap<_, _> =
        files.into_iter().map(|(name, bytes)| (name.to_owned(), shared(bytes))).collect();
    FileSet::new("tiny", files)
}
