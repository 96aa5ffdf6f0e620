//! A LoRA adapter in one GGUF file, as llama.cpp's `convert_lora_to_gguf.py` writes it.
//!
//! Its tensors are called as those of the model they change, with `.lora_a` (rank, columns) and `.lora_b` (rows, rank) behind. The
//! rank is that of the tensors, each its own, and alpha is one for all; an alpha of 0 stands for the rank. Where the file of a
//! model interleaves the heads of Q and K, the rows of B are interleaved with them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Adapter, Delta, MAX_RANK, is_projection};
use crate::model_file::config::{Architecture, Config};
use crate::model_file::error::{ModelFileError, quoted};
use crate::model_file::gguf::{self, Metadata, key_field};
use crate::model_file::names::WeightName;
use crate::model_file::order;
use crate::model_file::parsed::policy_of_gguf;
use crate::model_file::reader::at_most;
use crate::model_file::sniff::other;
use crate::model_file::source::FileSet;
use crate::model_file::tensor::{TensorInfo, field};

const ALPHA: &str = "adapter.lora.alpha";

/// Reads the adapter in the file `file` for a model of that config.
pub(super) async fn open(
    files: FileSet,
    file: &str,
    scale: f32,
    config: &Config,
) -> Result<Adapter, ModelFileError> {
    let missing = |field: String| ModelFileError::Missing { file: file.to_owned(), field };
    let source = files.find(file)?.ok_or_else(|| missing("the file".to_owned()))?;
    let gguf::Gguf { metadata, tensors, .. } = gguf::parse(source.as_ref(), file).await?;
    check(&metadata, config)?;
    let alpha = metadata.required(ALPHA, metadata.f64(ALPHA)?)?;
    let by_name: BTreeMap<&str, &TensorInfo> =
        tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let (mut deltas, mut used) = (BTreeMap::new(), BTreeSet::new());
    for name in WeightName::all(config).filter(|name| is_projection(*name)) {
        let place = name.place(config, true);
        let (a, b) = (format!("{}.lora_a", place.tensor), format!("{}.lora_b", place.tensor));
        let (a, b) = match (by_name.get(a.as_str()), by_name.get(b.as_str())) {
            (None, None) => continue,
            (Some(a), Some(b)) => (*a, *b),
            (Some(_), None) => return Err(missing(field(&b))),
            (None, Some(_)) => return Err(missing(field(&a))),
        };
        used.extend([&a.name, &b.name]);
        let rank = a.shape.first().copied().unwrap_or_default();
        if rank == 0 {
            let (file, field) = (file.to_owned(), format!("the rank of {}", a.field()));
            let expected = "above 0: a tensor of (rank, columns)".to_owned();
            return Err(ModelFileError::Invalid { file, field, value: "0".to_owned(), expected });
        }
        at_most(file, &format!("the rank of {}", a.field()), rank, MAX_RANK)?;
        let columns = name.shape(config).1;
        for (tensor, expected) in [(a, [rank, columns.into()]), (b, [place.rows.into(), rank])] {
            if tensor.shape != expected {
                let (file, field, found) = (file.to_owned(), tensor.field(), tensor.shape.clone());
                return Err(ModelFileError::Shape { file, field, found, expected: expected.to_vec() });
            }
        }
        let rank = u32::try_from(rank).unwrap_or(u32::MAX);
        let factor = if alpha == 0.0 { 1.0 } else { alpha / f64::from(rank) };
        let scale = super::factor(scale, factor, || (file.to_owned(), key_field(ALPHA)))?;
        let interleaved = order::interleaved(name, config);
        deltas.insert(
            name,
            Delta { a: a.clone(), b: b.clone(), first_row: place.first_row, rank, scale, interleaved },
        );
    }
    if let Some(tensor) = tensors.iter().find(|tensor| !used.contains(&tensor.name)) {
        return Err(super::no_factor(file, tensor));
    }
    if deltas.is_empty() {
        return Err(missing("a LoRA factor".to_owned()));
    }
    Ok(Adapter { policy: policy_of_gguf(&metadata)?, files, scale, deltas })
}

/// That it is a LoRA, of a model of this kind, and nothing more.
fn check(metadata: &Metadata, config: &Config) -> Result<(), ModelFileError> {
    let kind = metadata.str("general.type")?.unwrap_or("model");
    if kind != "adapter" {
        let what = format!("a GGUF file of the type {}, not an adapter", quoted(kind));
        return Err(other(&metadata.file, what, "give a whole model as --model"));
    }
    let unsupported = |key: &str, value: String, supported: Option<&str>| {
        let (file, field, supported) = (metadata.file.clone(), key_field(key), supported.map(str::to_owned));
        Err(ModelFileError::Unsupported { file, field, value, supported })
    };
    let lora = metadata.str("adapter.type")?.unwrap_or("lora");
    if lora != "lora" {
        return unsupported("adapter.type", quoted(lora), Some("lora"));
    }
    if metadata.has("adapter.alora.invocation_tokens") {
        let value = "there: an adapter that acts only after certain tokens".to_owned();
        return unsupported("adapter.alora.invocation_tokens", value, None);
    }
    // Mistral calls itself llama here.
    let wanted = config.architecture.conventions().gguf.unwrap_or(Architecture::Llama.name());
    match metadata.str("general.architecture")? {
        Some(found) if found != wanted => unsupported("general.architecture", quoted(found), Some(wanted)),
        _ => Ok(()),
    }
}
