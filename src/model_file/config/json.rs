//! config.json, and `generation_config.json` for more end tokens.
//!
//! Defaults are those of the config classes of `transformers`; sizes have none here.

use super::gemma::{self, Extras};
use super::rope::ScalingDraft;
use super::{Architecture, Biases, Config, Draft, Named, Rotated, layers, unsupported, validate};
use crate::model_file::error::{ModelFileError, quoted};
use crate::model_file::json::{self, Object};
use crate::model_file::reader::{MAX_CONFIG_BYTES, at_most, len_u64};

/// Tokens that end a text.
const MAX_EOS: u64 = 64;

impl Config {
    /// Reads the text of a config.json alone: what a model will take can be planned before its weights are there.
    ///
    /// Without the weights `tied_embeddings` is what the text says, and end tokens are those it names.
    ///
    /// # Errors
    /// Any [`ModelFileError`] of the text, which messages call config.json.
    pub fn from_config_json(text: &[u8]) -> Result<Self, ModelFileError> {
        const FILE: &str = "config.json";
        at_most(FILE, "the file's length", len_u64(text.len()), MAX_CONFIG_BYTES)?;
        let value = json::parse(FILE, "the file", text)?;
        Self::from_json(&Object::root(FILE, &value)?, None, true)
    }

    /// Reads config.json, and `generation_config.json` for more end tokens.
    pub(in crate::model_file) fn from_json(
        json: &Object<'_>,
        generation: Option<&Object<'_>>,
        has_output: bool,
    ) -> Result<Self, ModelFileError> {
        let architecture = architecture(json)?;
        let conventions = architecture.conventions();
        check_function(json, architecture)?;
        let size = |key: &str| Ok(json.named(key, json.required(key, json.u64(key)?)?));
        let optional = |key: &str| Ok(json.u64(key)?.map(|value| json.named(key, value)));
        let mut n_kv_heads = optional("num_key_value_heads")?;
        if !matches!(architecture, Architecture::Llama | Architecture::Phi3) {
            // Elsewhere silence means a number of its own, not as many as query heads.
            n_kv_heads = Some(json.required("num_key_value_heads", n_kv_heads)?);
        }
        let mut head_dim = optional("head_dim")?;
        if conventions.is_gemma {
            head_dim = Some(json.required("head_dim", head_dim)?);
        }
        let n_layers = size("num_hidden_layers")?;
        let no_rope_layers = layers::without_rope(json, architecture, n_layers.value)?;
        let (sliding_window, full_layers) =
            layers::window(json, architecture, n_layers.value, &no_rope_layers)?;
        // Which of the two wins is as in `transformers`; an empty object counts as absent there.
        let scaling = json.object("rope_scaling")?.filter(|rope| rope.entries().next().is_some());
        let is_local = architecture == Architecture::Gemma3;
        let rope = match scaling {
            Some(scaling) => Some(scaling),
            None if is_local => gemma::rope_of_full_layers(json)?,
            None => json.object("rope_parameters")?,
        };
        let mut rope_theta = json.f64("rope_theta")?;
        let Extras { query_scalar, score_cap, logit_cap, local_theta } =
            Extras::from_json(json, architecture)?;
        if let Some(inner) = rope.as_ref().map(|rope| rope.f64("rope_theta")).transpose()? {
            rope_theta = inner.or(rope_theta);
        }
        let mut eos_tokens = eos_tokens(json)?;
        if let Some(generation) = generation {
            eos_tokens.extend(self::eos_tokens(generation)?);
        }
        let tied = json.bool("tie_word_embeddings")?.unwrap_or(conventions.tied);
        validate(Draft {
            architecture,
            hidden_size: size("hidden_size")?,
            n_heads: size("num_attention_heads")?,
            n_kv_heads,
            head_dim,
            ffn_size: size("intermediate_size")?,
            vocab_size: size("vocab_size")?,
            context_len: size("max_position_embeddings")?,
            sliding_window,
            full_layers,
            rms_norm_eps: json
                .named("rms_norm_eps", json.f64("rms_norm_eps")?.unwrap_or(conventions.rms_norm_eps)),
            rope_theta: json.named("rope_theta", rope_theta.unwrap_or(conventions.rope_theta)),
            local_rope_theta: local_theta,
            rope_scaling: ScalingDraft::from_json(json, rope.as_ref(), architecture)?,
            rotated: rotated(json, rope.as_ref(), architecture)?,
            no_rope_layers,
            qk_norm: matches!(architecture, Architecture::Qwen3 | Architecture::Gemma3),
            query_scalar,
            score_cap,
            logit_cap,
            biases: biases(json, architecture)?,
            tied_embeddings: tied || !has_output,
            bos_token: optional("bos_token_id")?,
            eos_tokens,
            n_layers,
        })
    }
}

/// `model_type`, or the class where there is none; both must name the same model.
fn architecture(json: &Object<'_>) -> Result<Architecture, ModelFileError> {
    let classes = json.array("architectures")?.unwrap_or_default();
    let has = |class: &str| classes.iter().any(|known| known.as_str() == Some(class));
    let by_class = || Architecture::ALL.into_iter().find(|one| has(one.conventions().class));
    let found = match json.str("model_type")? {
        Some(name) => Architecture::find(name, |one| Some(one.model_type)).ok_or_else(|| {
            let list = Architecture::names(|one| Some(one.model_type));
            unsupported(json.file, json.field("model_type"), quoted(name), Some(&list))
        })?,
        None if classes.is_empty() => return json.required("model_type", None),
        None => by_class().unwrap_or(Architecture::Llama),
    };
    let class = found.conventions().class;
    if classes.is_empty() || has(class) {
        return Ok(found);
    }
    let value = quoted(&serde_json::Value::from(classes).to_string());
    Err(unsupported(json.file, json.field("architectures"), value, Some(class)))
}

/// Refuses what no architecture here computes.
fn check_function(json: &Object<'_>, architecture: Architecture) -> Result<(), ModelFileError> {
    let refuse =
        |key: &str, value: &str, list| Err(unsupported(json.file, json.field(key), quoted(value), list));
    // Gemma's is another key; this one is an old name that transformers does not read.
    let act = json.str("hidden_act")?.filter(|_| !architecture.conventions().is_gemma);
    match (act, json.get("quantization_config")) {
        (Some(other), _) if !matches!(other, "silu" | "swish") => refuse("hidden_act", other, Some("silu")),
        (_, Some(value)) => refuse("quantization_config", &value.to_string(), None),
        _ => Ok(()),
    }
}

fn biases(json: &Object<'_>, architecture: Architecture) -> Result<Biases, ModelFileError> {
    let attention = json.bool("attention_bias")?.unwrap_or(false);
    let mlp = json.bool("mlp_bias")?.unwrap_or(false);
    Ok(match architecture {
        Architecture::Llama | Architecture::SmolLm3 => {
            Biases { qkv: attention, attention_output: attention, mlp }
        }
        Architecture::Qwen3 | Architecture::Gemma2 | Architecture::Gemma3 => {
            Biases { qkv: attention, attention_output: attention, mlp: false }
        }
        // It has these whatever the file says.
        Architecture::Qwen2 => Biases { qkv: true, ..Biases::default() },
        Architecture::Mistral | Architecture::Phi3 => Biases::default(),
    })
}

/// The share of a head that is rotated; of all these only Phi-3 rotates less than the whole.
fn rotated<'a>(
    json: &Object<'a>,
    rope: Option<&Object<'a>>,
    architecture: Architecture,
) -> Result<Rotated<'a>, ModelFileError> {
    const KEY: &str = "partial_rotary_factor";
    for object in rope.into_iter().chain([json]) {
        match object.f64(KEY)? {
            Some(factor) if factor != 1.0 && architecture != Architecture::Phi3 => {
                let list = Some("1, and less for phi3");
                return Err(unsupported(object.file, object.field(KEY), factor.to_string(), list));
            }
            Some(factor) => return Ok(Rotated::Share(object.named(KEY, factor))),
            None => {}
        }
    }
    Ok(Rotated::Columns(None))
}

/// `eos_token_id`: absent, one number, or a list.
fn eos_tokens<'a>(json: &Object<'a>) -> Result<Vec<Named<'a, u64>>, ModelFileError> {
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
