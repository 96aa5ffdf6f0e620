//! What the names of a checkpoint's tensors say before its config is looked at: wrappers to take off, and weights that are not
//! the plain ones of a model, each named for what it is.

use std::collections::BTreeSet;

use serde_json::Value;

use super::error::{ModelFileError, quoted};
use super::json::Object;
use super::names::WeightName;
use super::pick::adapter;
use super::reader::{READ_BYTES, len_u64, to_usize};
use super::safetensors::Header;
use super::sniff::other;
use super::source::FileSet;
use super::tensor::TensorInfo;

/// What wrappers of training put into the names of a model's modules: `torch.compile`, FSDP, recomputed activations.
const WRAPPERS: [&str; 4] =
    ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_forward_module."];
/// What they put before a whole name, and what PEFT leaves before those of a model that it merged.
const OUTER: [&str; 2] = ["module.", "base_model.model."];
/// How a whole model's names begin, but for the output's.
const MODEL: &str = "model.";
/// Bytes of a tensor whose values are compared at a time.
const COMPARED: usize = READ_BYTES;
const UNQUANTISED: &str =
    "get the model unquantised, or as GGUF with the blocks of ggml (Q8_0, Q4_0, Q4_K and others)";

/// Ways to quantise by their name in `quantization_config`, and what people call them.
const METHODS: [(&str, &str); 12] = [
    ("gptq", "GPTQ"),
    ("awq", "AWQ"),
    ("bitsandbytes", "bitsandbytes"),
    ("fp8", "FP8"),
    ("fbgemm_fp8", "FP8"),
    ("compressed-tensors", "compressed-tensors"),
    ("exl2", "EXL2"),
    ("exl3", "EXL3"),
    ("hqq", "HQQ"),
    ("quanto", "Quanto"),
    ("torchao", "torchao"),
    ("mxfp4", "MXFP4"),
];

/// Ends of names that only quantised weights have.
const TRACES: [(&str, &str); 11] = [
    (".qzeros", "GPTQ or AWQ"),
    (".qweight", "GPTQ or AWQ"),
    (".absmax", "bitsandbytes"),
    (".quant_map", "bitsandbytes"),
    (".SCB", "bitsandbytes"),
    (".weight_scale_inv", "FP8"),
    (".weight_scale", "FP8"),
    (".weight_packed", "compressed-tensors"),
    (".q_weight", "EXL2"),
    (".trellis", "EXL3"),
    (".scales", "MLX"),
];

/// Refuses a config that says that the weights are quantised, with the name of the method.
pub(super) fn check_config(json: &Object<'_>) -> Result<(), ModelFileError> {
    const KEY: &str = "quantization_config";
    let refuse = |key: &str, method: &str| {
        let what = format!(
            "the config of a model that was quantised by {method} ({key}), whose weights are not read"
        );
        Err(other(json.file, what, UNQUANTISED))
    };
    // MLX writes both keys.
    if json.get("quantization").is_some_and(Value::is_object) {
        return refuse("quantization", "MLX");
    }
    let Some(config) = json.get(KEY).and_then(Value::as_object) else { return Ok(()) };
    match config.get("quant_method").and_then(Value::as_str) {
        Some(method) => match METHODS.iter().find(|(name, _)| *name == method) {
            Some((_, name)) => refuse(KEY, name),
            None => refuse(KEY, &quoted(method)),
        },
        None if config.keys().any(|key| key.starts_with("load_in_") || key.starts_with("bnb_")) => {
            refuse(KEY, "bitsandbytes")
        }
        None => refuse(KEY, "a method that it does not name"),
    }
}

/// Refuses tensors that are no model's, and takes wrappers off the names of the others.
///
/// # Errors
/// An adapter, quantised weights, names of another layout; two tensors that have one name without their wrappers.
pub(super) fn check(header: &mut Header, file: &str) -> Result<(), ModelFileError> {
    let names = || {
        header
            .tensors
            .iter()
            .map(|tensor| tensor.name.as_str())
            .chain(header.foreign.iter().map(|one| one.name.as_str()))
    };
    if names().any(|name| {
        [".lora_A.", ".lora_B.", ".lora_embedding_A", "lora_magnitude_vector"]
            .iter()
            .any(|sign| name.contains(sign))
    }) {
        return Err(adapter(file));
    }
    let by = |end: &str| {
        names().any(|name| name.ends_with(end)) || names().any(|name| name.contains(&format!("{end}.")))
    };
    if let Some((_, method)) = TRACES.iter().find(|(end, _)| by(end)) {
        let what = format!("a file of weights that were quantised by {method}, which are not read");
        return Err(other(file, what, UNQUANTISED));
    }
    if names().any(|name| name == "tok_embeddings.weight") {
        let what = "a checkpoint in the layout of Llama's and Mistral's own programs";
        return Err(other(
            file,
            what,
            "get the model in the layout of transformers (with config.json), or as GGUF",
        ));
    }
    let plain: Vec<String> = names().map(unwrapped).collect();
    // A model saved without its output, as the bare one is, has no common beginning.
    let is_bare = plain.iter().any(|name| name == "embed_tokens.weight")
        && !plain.iter().any(|name| name.starts_with(MODEL));
    let renamed = |name: &str| {
        let plain = unwrapped(name);
        if is_bare && !plain.starts_with("lm_head.") { format!("{MODEL}{plain}") } else { plain }
    };
    if let Some((old, new)) = names().map(|name| (name, renamed(name))).find(|(old, new)| old != new) {
        log::info!("{file}: names such as {} are read as {}", quoted(old), quoted(&new));
    }
    let mut seen = BTreeSet::new();
    let of_tensors = header.tensors.iter_mut().map(|tensor| &mut tensor.name);
    for name in of_tensors.chain(header.foreign.iter_mut().map(|one| &mut one.name)) {
        *name = renamed(name);
        if !seen.insert(name.clone()) {
            return Err(ModelFileError::Duplicate {
                file: file.to_owned(),
                field: super::tensor::field(name),
            });
        }
    }
    Ok(())
}

/// A name without what wrappers put into it.
fn unwrapped(name: &str) -> String {
    let mut plain = name.to_owned();
    for wrapper in WRAPPERS {
        plain = plain.replace(wrapper, "");
    }
    let mut rest = plain.as_str();
    while let Some(inner) = OUTER.iter().find_map(|outer| rest.strip_prefix(outer)) {
        rest = inner;
    }
    rest.to_owned()
}

/// Whether the output that a checkpoint stores besides a tied embedding is another matrix. `transformers` 5 ties two that are
/// equal and only these, whatever the config says; earlier versions always tied.
pub(super) async fn differs(files: &FileSet, tensors: &[TensorInfo]) -> Result<bool, ModelFileError> {
    let find = |name: WeightName| tensors.iter().find(|tensor| tensor.name == name.huggingface());
    let (Some(embedding), Some(output)) = (find(WeightName::TokenEmbedding), find(WeightName::Output)) else {
        return Ok(false);
    };
    let ([rows, columns], true) = (embedding.shape.as_slice(), embedding.shape == output.shape) else {
        // The check of the shapes says which of the two is wrong.
        return Ok(true);
    };
    let field = output.field();
    let (columns, rows) =
        (to_usize(&output.file, &field, *columns)?, u32::try_from(*rows).unwrap_or(u32::MAX));
    let at_once = COMPARED.checked_div(columns.saturating_mul(4)).unwrap_or_default().max(1);
    let at_once = u32::try_from(at_once).unwrap_or(u32::MAX);
    if len_u64(columns).saturating_mul(4) > len_u64(COMPARED) {
        // No model has rows of a quarter of a million columns; the config's reader refuses it.
        return Ok(true);
    }
    let (mut one, mut two, mut row) = (Vec::new(), Vec::new(), 0);
    let (mut bytes, mut others) = (Vec::new(), Vec::new());
    while row < rows {
        let end = rows.min(row.saturating_add(at_once));
        // Two of one type need not be decoded.
        if embedding.dtype == output.dtype {
            bytes.clear();
            others.clear();
            embedding.read_bytes(files, columns, row..end, &mut bytes).await?;
            output.read_bytes(files, columns, row..end, &mut others).await?;
            if bytes != others {
                return Ok(true);
            }
            row = end;
            continue;
        }
        one.clear();
        two.clear();
        embedding.read_rows(files, columns, row..end, &mut one).await?;
        output.read_rows(files, columns, row..end, &mut two).await?;
        if one != two {
            return Ok(true);
        }
        row = end;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::unwrapped;

    #[test]
    fn wrappers_come_off_wherever_they_are() {
        for name in [
            "_orig_mod.model.norm.weight",
            "module._orig_mod.model.norm.weight",
            "_orig_mod.module.model.norm.weight",
            "model._orig_mod.norm.weight",
            "model.norm._fsdp_wrapped_module.weight",
            "base_model.model.model.norm.weight",
            "model.norm.weight",
        ] {
            assert_eq!(unwrapped(name), "model.norm.weight");
        }
        assert_eq!(unwrapped("module.lm_head.weight"), "lm_head.weight");
        assert_eq!(unwrapped("modules.x"), "modules.x");
    }
}
