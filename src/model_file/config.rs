//! The numbers that define a model, from config.json or GGUF metadata, validated once.
//!
//! Both formats are read into one [`Draft`] and pass through one [`validate`], so that what follows
//! may multiply and divide without a second look. What a file asks for and the engine cannot do is
//! an error: leaving a rope scaling out would compute another function and still look like text.

use super::error::{ModelFileError, quoted};
use super::gguf::{Metadata, TOKENS, key_field};
use super::json::{self, Object};
use super::reader::{at_most, len_u64};
use super::tensor::TensorInfo;

/// Layers; the deepest public models have 126.
pub(super) const MAX_LAYERS: u64 = 1024;
/// Tokens; the largest public vocabularies have 262,144.
pub(super) const MAX_VOCAB: u64 = 1 << 20;
/// Tokens of context.
pub(super) const MAX_CONTEXT: u64 = 1 << 22;
/// Width of the residual stream.
pub(super) const MAX_HIDDEN: u64 = 1 << 16;
/// Width inside the feed-forward block.
pub(super) const MAX_FFN: u64 = 1 << 20;
/// Query heads.
pub(super) const MAX_HEADS: u64 = 1024;
/// Width of a head.
pub(super) const MAX_HEAD_DIM: u64 = 1024;
/// Tokens that end a text.
const MAX_EOS: u64 = 64;
/// The largest base of the rotary frequencies.
const MAX_THETA: f32 = 1e12;

/// The family of forward passes.
#[derive(serde::Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Architecture {
    /// Llama: `RMSNorm`, rotary positions, grouped-query attention, SiLU-gated MLP, no biases.
    Llama,
}

/// A validated model description.
///
/// `hidden_size`, `ffn_size` and `head_dim` are multiples of 4, `n_kv_heads` divides `n_heads`, and every
/// number lies within the limits of this file; `n_heads * head_dim` is at most 2^20.
#[derive(serde::Serialize, Debug, Clone, PartialEq)]
pub struct Config {
    /// The family of forward passes.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden_size: u32,
    /// Number of layers.
    pub n_layers: u32,
    /// Number of query heads.
    pub n_heads: u32,
    /// Number of key and value heads.
    pub n_kv_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// Width inside the feed-forward block.
    pub ffn_size: u32,
    /// Rows of the token embedding.
    pub vocab_size: u32,
    /// The context the model was trained for, in tokens.
    pub context_len: u32,
    /// Added to the mean square under the root of `RMSNorm`.
    pub rms_norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// Whether the output matrix is the token embedding.
    pub tied_embeddings: bool,
    /// The token that begins a text.
    pub bos_token: Option<u32>,
    /// The tokens that end a text, without repetition.
    pub eos_tokens: Vec<u32>,
}

/// What a file says, not yet checked. Every number comes with its file and the name of its field.
struct Draft<'a> {
    hidden_size: Named<'a, u64>,
    n_layers: Named<'a, u64>,
    n_heads: Named<'a, u64>,
    n_kv_heads: Option<Named<'a, u64>>,
    head_dim: Option<Named<'a, u64>>,
    ffn_size: Named<'a, u64>,
    vocab_size: Named<'a, u64>,
    context_len: Named<'a, u64>,
    rms_norm_eps: Named<'a, f64>,
    rope_theta: Named<'a, f64>,
    tied_embeddings: bool,
    bos_token: Option<Named<'a, u64>>,
    eos_tokens: Vec<Named<'a, u64>>,
}

/// A value and where it comes from.
struct Named<'a, T> {
    file: &'a str,
    field: String,
    value: T,
}

impl Config {
    /// Reads config.json, and `generation_config.json` for more end tokens.
    ///
    /// Defaults are those of `transformers` (`LlamaConfig`); sizes have none here.
    pub(super) fn from_json(
        json: &Object<'_>,
        generation: Option<&Object<'_>>,
        has_output: bool,
    ) -> Result<Self, ModelFileError> {
        check_json_is_plain_llama(json)?;
        let size = |key: &str| Ok(json.named(key, json.required(key, json.u64(key)?)?));
        let optional = |key: &str| Ok(json.u64(key)?.map(|value| json.named(key, value)));
        // Newer files keep the base inside `rope_parameters`, where it wins.
        let rope = json.object("rope_parameters")?;
        let inner_theta = rope.as_ref().map(|rope| rope.f64("rope_theta")).transpose()?.flatten();
        let rope_theta = inner_theta.or(json.f64("rope_theta")?).unwrap_or(10_000.0);
        let mut eos_tokens = eos_of_json(json)?;
        if let Some(generation) = generation {
            eos_tokens.extend(eos_of_json(generation)?);
        }
        validate(Draft {
            hidden_size: size("hidden_size")?,
            n_layers: size("num_hidden_layers")?,
            n_heads: size("num_attention_heads")?,
            n_kv_heads: optional("num_key_value_heads")?,
            head_dim: optional("head_dim")?,
            ffn_size: size("intermediate_size")?,
            vocab_size: size("vocab_size")?,
            context_len: size("max_position_embeddings")?,
            rms_norm_eps: json.named("rms_norm_eps", json.f64("rms_norm_eps")?.unwrap_or(1e-6)),
            rope_theta: json.named("rope_theta", rope_theta),
            tied_embeddings: json.bool("tie_word_embeddings")?.unwrap_or(false) || !has_output,
            bos_token: optional("bos_token_id")?,
            eos_tokens,
        })
    }

    /// Reads GGUF metadata; `tensors` tell the vocabulary's size where nothing else does.
    pub(super) fn from_gguf(metadata: &Metadata, tensors: &[TensorInfo]) -> Result<Self, ModelFileError> {
        check_gguf_is_plain_llama(metadata)?;
        let size = |key: &str| Ok(metadata.named(key, metadata.required(key, metadata.u64(key)?)?));
        let optional = |key: &str| Ok(metadata.u64(key)?.map(|value| metadata.named(key, value)));
        let eps = "llama.attention.layer_norm_rms_epsilon";
        let theta = "llama.rope.freq_base";
        let vocab_size = match optional("llama.vocab_size")? {
            Some(vocab_size) => vocab_size,
            None => vocab_of_gguf(metadata, tensors)?,
        };
        let mut eos_tokens = Vec::new();
        for key in
            ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"]
        {
            eos_tokens.extend(optional(key)?);
        }
        let config = validate(Draft {
            hidden_size: size("llama.embedding_length")?,
            n_layers: size("llama.block_count")?,
            n_heads: size("llama.attention.head_count")?,
            n_kv_heads: optional("llama.attention.head_count_kv")?,
            head_dim: optional("llama.attention.key_length")?,
            ffn_size: size("llama.feed_forward_length")?,
            vocab_size,
            context_len: size("llama.context_length")?,
            rms_norm_eps: metadata.named(eps, metadata.required(eps, metadata.f64(eps)?)?),
            rope_theta: metadata.named(theta, metadata.f64(theta)?.unwrap_or(10_000.0)),
            tied_embeddings: !tensors.iter().any(|tensor| tensor.name == "output.weight"),
            bos_token: optional("tokenizer.ggml.bos_token_id")?,
            eos_tokens,
        })?;
        for key in ["llama.attention.value_length", "llama.rope.dimension_count"] {
            match metadata.u64(key)? {
                Some(width) if width != u64::from(config.head_dim) => {
                    let value = format!("{width} with heads {} wide", config.head_dim);
                    return Err(unsupported(&metadata.file, key_field(key), value));
                }
                _ => {}
            }
        }
        Ok(config)
    }
}

impl Object<'_> {
    fn named<T>(&self, key: &str, value: T) -> Named<'_, T> {
        Named { file: self.file, field: self.field(key), value }
    }
}

impl Metadata {
    fn named<T>(&self, key: &str, value: T) -> Named<'_, T> {
        Named { file: &self.file, field: key_field(key), value }
    }
}

/// The one check of every number.
fn validate(draft: Draft<'_>) -> Result<Config, ModelFileError> {
    let size = |named: &Named<'_, u64>, cap: u64| {
        if named.value == 0 {
            return Err(invalid(named, "at least 1"));
        }
        at_most(named.file, &named.field, named.value, cap).and_then(|value| to_u32(named, value))
    };
    // Kernels load four values at a time.
    let quads = |named: &Named<'_, u64>, cap: u64| match size(named, cap)? {
        value if value.is_multiple_of(4) => Ok(value),
        _ => Err(invalid(named, "a multiple of 4")),
    };
    let hidden_size = quads(&draft.hidden_size, MAX_HIDDEN)?;
    let n_heads = size(&draft.n_heads, MAX_HEADS)?;
    let n_kv_heads = match &draft.n_kv_heads {
        Some(named) => {
            let n_kv_heads = size(named, MAX_HEADS)?;
            if !n_heads.is_multiple_of(n_kv_heads) {
                return Err(invalid(named, format!("a divisor of the {n_heads} query heads")));
            }
            n_kv_heads
        }
        None => n_heads,
    };
    let head_dim = match draft.head_dim {
        Some(named) => named,
        None if hidden_size.is_multiple_of(n_heads) => {
            let value = hidden_size.checked_div(n_heads).unwrap_or_default();
            Named {
                file: draft.n_heads.file,
                field: format!("the head width {hidden_size} / {n_heads}"),
                value: value.into(),
            }
        }
        None => {
            return Err(invalid(&draft.n_heads, format!("a divisor of the hidden size {hidden_size}")));
        }
    };
    let vocab_size = size(&draft.vocab_size, MAX_VOCAB)?;
    let token = |named: &Named<'_, u64>| match to_u32(named, named.value) {
        Ok(id) if id < vocab_size => Ok(id),
        _ => Err(invalid(named, format!("a token below the vocabulary's size {vocab_size}"))),
    };
    let mut eos_tokens = Vec::new();
    for named in &draft.eos_tokens {
        let id = token(named)?;
        if !eos_tokens.contains(&id) {
            eos_tokens.push(id);
        }
    }
    Ok(Config {
        architecture: Architecture::Llama,
        hidden_size,
        n_layers: size(&draft.n_layers, MAX_LAYERS)?,
        n_heads,
        n_kv_heads,
        head_dim: quads(&head_dim, MAX_HEAD_DIM)?,
        ffn_size: quads(&draft.ffn_size, MAX_FFN)?,
        vocab_size,
        context_len: size(&draft.context_len, MAX_CONTEXT)?,
        rms_norm_eps: positive(&draft.rms_norm_eps, 1.0)?,
        rope_theta: positive(&draft.rope_theta, MAX_THETA)?,
        tied_embeddings: draft.tied_embeddings,
        bos_token: draft.bos_token.as_ref().map(token).transpose()?,
        eos_tokens,
    })
}

fn to_u32(named: &Named<'_, u64>, value: u64) -> Result<u32, ModelFileError> {
    u32::try_from(value).map_err(|_| invalid(named, "a number below 2^32"))
}

/// A number that stays above 0 as an f32, and at most `max`.
fn positive(named: &Named<'_, f64>, max: f32) -> Result<f32, ModelFileError> {
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "there is no other way from f64 to the nearest f32"
    )]
    let value = named.value as f32;
    if value.is_normal() && value > 0.0 && value <= max {
        return Ok(value);
    }
    Err(invalid(named, format!("a number above 0 and at most {max}")))
}

fn invalid<T: ToString>(named: &Named<'_, T>, expected: impl Into<String>) -> ModelFileError {
    let (file, field) = (named.file.to_owned(), named.field.clone());
    ModelFileError::Invalid { file, field, value: named.value.to_string(), expected: expected.into() }
}

fn unsupported(file: &str, field: String, value: impl Into<String>) -> ModelFileError {
    ModelFileError::Unsupported { file: file.to_owned(), field, value: value.into() }
}

/// `eos_token_id`: absent, one number, or a list.
fn eos_of_json<'a>(json: &Object<'a>) -> Result<Vec<Named<'a, u64>>, ModelFileError> {
    const KEY: &str = "eos_token_id";
    let field = json.field(KEY);
    let ids = match json.get(KEY) {
        Some(serde_json::Value::Array(ids)) => ids.iter().collect(),
        other => other.into_iter().collect::<Vec<_>>(),
    };
    at_most(json.file, &format!("{field} count"), len_u64(ids.len()), MAX_EOS)?;
    let number = |id: &serde_json::Value| match id.as_u64() {
        Some(value) => Ok(Named { file: json.file, field: field.clone(), value }),
        None => Err(json::wrong_type(json.file, field.clone(), id, "a token number or a list of them")),
    };
    ids.into_iter().map(number).collect()
}

/// The vocabulary's size from the token list, else from the embedding.
fn vocab_of_gguf<'a>(
    metadata: &'a Metadata,
    tensors: &[TensorInfo],
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
    let value = metadata.required("llama.vocab_size", rows)?;
    Ok(Named { file: &metadata.file, field: "the rows of token_embd.weight".to_owned(), value })
}

/// Refuses everything in config.json that would change the function.
fn check_json_is_plain_llama(json: &Object<'_>) -> Result<(), ModelFileError> {
    let refuse = |key: &str, value: String| Err(unsupported(json.file, json.field(key), value));
    let model_type = json.str("model_type")?;
    let classes = json.array("architectures")?.unwrap_or_default();
    match model_type {
        Some("llama") => {}
        Some(other) => return refuse("model_type", quoted(other)),
        None if classes.is_empty() => return json.required("model_type", None),
        None => {}
    }
    if !classes.is_empty() && !classes.iter().any(|class| class.as_str() == Some("LlamaForCausalLM")) {
        return refuse("architectures", quoted(&serde_json::Value::from(classes).to_string()));
    }
    match json.str("hidden_act")? {
        None | Some("silu" | "swish") => {}
        Some(other) => return refuse("hidden_act", quoted(other)),
    }
    for key in ["attention_bias", "mlp_bias"] {
        if json.bool(key)? == Some(true) {
            return refuse(key, "true".to_owned());
        }
    }
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = json.object(key)? else { continue };
        match rope.str("rope_type")?.or(rope.str("type")?) {
            None | Some("default") => {}
            Some(other) => return Err(unsupported(json.file, rope.field("rope_type"), quoted(other))),
        }
        check_whole_head_is_rotated(&rope)?;
    }
    check_whole_head_is_rotated(json)?;
    if let Some(window) = json.get("sliding_window")
        && json.bool("use_sliding_window")? != Some(false)
    {
        return refuse("sliding_window", quoted(&window.to_string()));
    }
    match json.get("quantization_config") {
        Some(value) => refuse("quantization_config", quoted(&value.to_string())),
        None => Ok(()),
    }
}

fn check_whole_head_is_rotated(object: &Object<'_>) -> Result<(), ModelFileError> {
    const KEY: &str = "partial_rotary_factor";
    match object.f64(KEY)? {
        Some(factor) if factor != 1.0 => Err(unsupported(object.file, object.field(KEY), factor.to_string())),
        _ => Ok(()),
    }
}

/// Refuses everything in GGUF metadata that would change the function.
fn check_gguf_is_plain_llama(metadata: &Metadata) -> Result<(), ModelFileError> {
    let refuse = |key: &str, value: String| Err(unsupported(&metadata.file, key_field(key), value));
    let architecture = metadata.str("general.architecture")?;
    match metadata.required("general.architecture", architecture)? {
        "llama" => {}
        other => return refuse("general.architecture", quoted(other)),
    }
    match metadata.str("llama.rope.scaling.type")? {
        Some("none") => {}
        Some(other) => return refuse("llama.rope.scaling.type", quoted(other)),
        // Without a type llama.cpp scales linearly; 0 and 1 mean no scaling.
        None => {
            for key in ["llama.rope.scaling.factor", "llama.rope.scale_linear"] {
                match metadata.f64(key)? {
                    Some(factor) if factor != 0.0 && factor != 1.0 => return refuse(key, factor.to_string()),
                    _ => {}
                }
            }
        }
    }
    for key in ["llama.attention.sliding_window", "llama.expert_count"] {
        match metadata.u64(key)? {
            Some(number) if number != 0 => return refuse(key, number.to_string()),
            _ => {}
        }
    }
    if metadata.bool("llama.attention.causal")? == Some(false) {
        return refuse("llama.attention.causal", "false".to_owned());
    }
    // A file of several parts holds only some of the tensors.
    match metadata.u64("split.count")? {
        Some(parts) if parts > 1 => refuse("split.count", parts.to_string()),
        _ => Ok(()),
    }
}
