//! GGUF metadata. Keys begin with the architecture's name; biases and norms are there if their tensors are.

use super::gemma::{self, Extras};
use super::rope::ScalingDraft;
use super::{Architecture, Biases, Config, Draft, MAX_LAYERS, Named, Rotated, layers, unsupported, validate};
use crate::model_file::error::{ModelFileError, quoted};
use crate::model_file::gguf::{Metadata, TOKEN_TYPES, TOKENS, key_field};
use crate::model_file::reader::len_u64;
use crate::model_file::tensor::TensorInfo;
use crate::model_file::tokenizer_source::{EOT, TURN_ENDS};

/// llama.cpp leaves every fourth layer of `SmolLM3` without rotation; no key says so.
const SMOLLM3_INTERVAL: u64 = 4;

impl Config {
    /// Reads GGUF metadata; `tensors` tell what no key says.
    pub(in crate::model_file) fn from_gguf(
        metadata: &Metadata,
        tensors: &[TensorInfo],
    ) -> Result<Self, ModelFileError> {
        let architecture = architecture(metadata)?;
        let prefix = architecture.conventions().gguf.unwrap_or_default();
        let key = |name: &str| format!("{prefix}.{name}");
        check_function(metadata, prefix)?;
        let size = |name: &str| {
            let key = key(name);
            Ok(metadata.named(&key, metadata.required(&key, metadata.u64(&key)?)?))
        };
        let at = |key: &str| Ok(metadata.u64(key)?.map(|value| metadata.named(key, value)));
        let optional = |name: &str| at(&key(name));
        let has = |name: &str| tensors.iter().any(|tensor| tensor.name == name);
        let (eps, theta) = (key("attention.layer_norm_rms_epsilon"), key("rope.freq_base"));
        let vocab_size = match optional("vocab_size")? {
            Some(vocab_size) => vocab_size,
            None => vocab_size(metadata, tensors, &key("vocab_size"))?,
        };
        let mut eos_tokens = Vec::new();
        for key in ["tokenizer.ggml.eos_token_id", EOT, "tokenizer.ggml.eom_token_id"] {
            eos_tokens.extend(at(key)?);
        }
        if !metadata.has(EOT) {
            eos_tokens.extend(turn_ends(metadata)?);
        }
        let n_layers = size("block_count")?;
        let (sliding_window, full_layers) = window(metadata, prefix, architecture, n_layers.value)?;
        let Extras { query_scalar, score_cap, logit_cap, local_theta } =
            Extras::from_gguf(metadata, prefix, architecture)?;
        let config = validate(Draft {
            architecture,
            hidden_size: size("embedding_length")?,
            n_heads: size("attention.head_count")?,
            n_kv_heads: optional("attention.head_count_kv")?,
            head_dim: optional("attention.key_length")?,
            ffn_size: size("feed_forward_length")?,
            vocab_size,
            context_len: size("context_length")?,
            sliding_window,
            full_layers,
            rms_norm_eps: metadata.named(&eps, metadata.required(&eps, metadata.f64(&eps)?)?),
            rope_theta: metadata.named(&theta, metadata.f64(&theta)?.unwrap_or(10_000.0)),
            local_rope_theta: local_theta,
            rope_scaling: ScalingDraft::from_gguf(metadata, prefix, has)?,
            rotated: Rotated::Columns(optional("rope.dimension_count")?),
            no_rope_layers: match architecture {
                Architecture::SmolLm3 => layers::every(SMOLLM3_INTERVAL, n_layers.value.min(MAX_LAYERS)),
                _ => Vec::new(),
            },
            qk_norm: matches!(architecture, Architecture::Qwen3 | Architecture::Gemma3),
            query_scalar,
            score_cap,
            logit_cap,
            biases: Biases {
                qkv: has("blk.0.attn_q.bias"),
                attention_output: has("blk.0.attn_output.bias"),
                mlp: has("blk.0.ffn_gate.bias"),
            },
            tied_embeddings: !has("output.weight"),
            bos_token: at("tokenizer.ggml.bos_token_id")?,
            eos_tokens,
            n_layers,
        })?;
        let refuse = |name: &str, width: u64| {
            let value = format!("{width} with heads {} wide", config.head_dim);
            Err(unsupported(&metadata.file, key_field(&key(name)), value, None))
        };
        match metadata.u64(&key("attention.value_length"))? {
            Some(width) if width != u64::from(config.head_dim) => {
                return refuse("attention.value_length", width);
            }
            _ => {}
        }
        // The interleaving of a head that is rotated in part is not known from any file.
        if architecture != Architecture::Phi3 && config.rope_dim != config.head_dim {
            return refuse("rope.dimension_count", config.rope_dim.into());
        }
        Ok(config)
    }
}

/// The tokens of [`TURN_ENDS`] that the file has, whether it marks them as control tokens, as the user's or as normal ones.
fn turn_ends(metadata: &Metadata) -> Result<Vec<Named<'_, u64>>, ModelFileError> {
    let (tokens, kinds) = (metadata.strings(TOKENS)?, metadata.ints(TOKEN_TYPES)?);
    let tokens = (0_u64..).zip(tokens.unwrap_or_default().iter().zip(kinds.unwrap_or_default()));
    let ends = tokens
        .filter(|(_, (token, kind))| matches!(kind, 1 | 3 | 4) && TURN_ENDS.contains(&token.as_str()))
        .map(|(id, _)| metadata.named(TOKENS, id));
    // A list that repeats one of them without end is refused by the tokenizer.
    Ok(ends.take(TURN_ENDS.len()).collect())
}

fn architecture(metadata: &Metadata) -> Result<Architecture, ModelFileError> {
    const KEY: &str = "general.architecture";
    let name = metadata.required(KEY, metadata.str(KEY)?)?;
    Architecture::find(name, |one| one.gguf).ok_or_else(|| {
        let list = Architecture::names(|one| one.gguf);
        unsupported(&metadata.file, key_field(KEY), quoted(name), Some(&list))
    })
}

/// Refuses what would change the function.
fn check_function(metadata: &Metadata, prefix: &str) -> Result<(), ModelFileError> {
    let refuse = |key: &str, value: String| Err(unsupported(&metadata.file, key_field(key), value, None));
    let (experts, causal) = (format!("{prefix}.expert_count"), format!("{prefix}.attention.causal"));
    match metadata.u64(&experts)? {
        Some(number) if number != 0 => return refuse(&experts, number.to_string()),
        _ => {}
    }
    if metadata.bool(&causal)? == Some(false) {
        return refuse(&causal, "false".to_owned());
    }
    Ok(())
}

/// The window, and the layers without it, where others have it; 0 is none.
fn window<'a>(
    metadata: &'a Metadata,
    prefix: &str,
    architecture: Architecture,
    n_layers: u64,
) -> Result<(Option<Named<'a, u64>>, Vec<u32>), ModelFileError> {
    if architecture.conventions().is_gemma {
        let (window, interval) = gemma::window_in_gguf(metadata, prefix, architecture)?;
        let n_layers = n_layers.min(MAX_LAYERS);
        let full = window.as_ref().map_or_else(Vec::new, |_| layers::every(interval, n_layers));
        // Where no layer has it, there is none.
        let window = window.filter(|_| len_u64(full.len()) < n_layers);
        let full = if window.is_some() { full } else { Vec::new() };
        return Ok((window, full));
    }
    Ok((shared_window(metadata, prefix, architecture)?, Vec::new()))
}

/// The window that all layers share.
fn shared_window<'a>(
    metadata: &'a Metadata,
    prefix: &str,
    architecture: Architecture,
) -> Result<Option<Named<'a, u64>>, ModelFileError> {
    let key = format!("{prefix}.attention.sliding_window");
    let Some(window) = metadata.u64(&key)?.filter(|window| *window != 0) else { return Ok(None) };
    let window = metadata.named(&key, window);
    let pattern = format!("{key}_pattern");
    if metadata.has(&pattern) {
        let (field, value) = (key_field(&pattern), "there: windows in some layers only");
        return Err(unsupported(&metadata.file, field, value, Some("one window for all layers")));
    }
    // Mistral calls itself llama here. Qwen's windows begin at a layer that no key names.
    if !matches!(architecture, Architecture::Llama | Architecture::Phi3) {
        let value = window.value.to_string();
        return Err(unsupported(&metadata.file, window.field, value, Some("llama, phi3")));
    }
    Ok(Some(window))
}

/// The vocabulary's size from the token list, else from the embedding.
fn vocab_size<'a>(
    metadata: &'a Metadata,
    tensors: &[TensorInfo],
    key: &str,
) -> Result<Named<'a, u64>, ModelFileError> {
    if let Some(tokens) = metadata.strings(TOKENS)? {
        return Ok(Named {
            file: &metadata.file,
            field: format!("{} count", key_field(TOKENS)),
            value: len_u64(tokens.len()),
        });
    }
    let embedding = tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
    let rows = embedding.and_then(|tensor| tensor.shape.first().copied());
    let value = metadata.required(key, rows)?;
    Ok(Named { file: &metadata.file, field: "the rows of token_embd.weight".to_owned(), value })
}
