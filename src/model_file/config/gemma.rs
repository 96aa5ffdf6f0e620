//! What only the files of Gemma say, and what they leave to the reader.
//!
//! After `configuration_gemma2.py` and `configuration_gemma3.py` of `transformers`, and the loader of llama.cpp for GGUF.

use super::{Architecture, Named, unsupported};
use crate::model_file::error::{ModelFileError, quoted};
use crate::model_file::gguf::{Metadata, key_field};
use crate::model_file::json::Object;

/// `query_pre_attn_scalar` where the file has no such key.
const QUERY_SCALAR: f64 = 256.0;
/// `attn_logit_softcapping` and `final_logit_softcapping` of Gemma 2 where the file has no such keys.
const SCORE_CAP: f64 = 50.0;
const LOGIT_CAP: f64 = 30.0;
/// `sliding_window` where the file has no such key.
pub(super) const WINDOW: u64 = 4096;
/// Every so-manieth layer has no window.
const PATTERN_2: u64 = 2;
const PATTERN_3: u64 = 6;
/// The base of layers with a window in Gemma 3, where the file does not say it.
const LOCAL_THETA: f64 = 10_000.0;
/// Layers of the models of 27 billion parameters, whose scores are scaled in another way; no key of GGUF says so.
const LAYERS_27B_2: u32 = 46;
const LAYERS_27B_3: u32 = 62;

const SCORE_CAP_KEY: &str = "attn_logit_softcapping";
const LOGIT_CAP_KEY: &str = "final_logit_softcapping";

/// Numbers that other architectures do not have.
#[derive(Default)]
pub(super) struct Extras<'a> {
    pub(super) query_scalar: Option<Named<'a, f64>>,
    pub(super) score_cap: Option<Named<'a, f64>>,
    pub(super) logit_cap: Option<Named<'a, f64>>,
    pub(super) local_theta: Option<Named<'a, f64>>,
}

/// The interval of layers without a window.
fn pattern(architecture: Architecture) -> u64 {
    if architecture == Architecture::Gemma2 { PATTERN_2 } else { PATTERN_3 }
}

/// The interval that config.json says, of layers without a window.
pub(super) fn pattern_in_json(json: &Object<'_>, architecture: Architecture) -> Result<u64, ModelFileError> {
    let given = match architecture {
        Architecture::Gemma3 => json.u64("sliding_window_pattern")?,
        _ => None,
    };
    Ok(given.unwrap_or(pattern(architecture)))
}

/// The object that scales the rotation of layers without a window: Gemma 3 has one for each kind of layer.
pub(super) fn rope_of_full_layers<'a>(json: &Object<'a>) -> Result<Option<Object<'a>>, ModelFileError> {
    match json.object("rope_parameters")? {
        Some(rope) => rope.object("full_attention"),
        None => Ok(None),
    }
}

impl<'a> Extras<'a> {
    /// Reads config.json; nothing, where it is no Gemma.
    pub(super) fn from_json(json: &Object<'a>, architecture: Architecture) -> Result<Self, ModelFileError> {
        if !architecture.conventions().is_gemma {
            return Ok(Self::default());
        }
        let refuse =
            |key: &str, value: &str, list| Err(unsupported(json.file, json.field(key), quoted(value), list));
        match json.str("hidden_activation")? {
            None | Some("gelu_pytorch_tanh") => {}
            Some(other) => return refuse("hidden_activation", other, Some("gelu_pytorch_tanh")),
        }
        const BOTH_WAYS: &str = "use_bidirectional_attention";
        if json.bool(BOTH_WAYS)? == Some(true) {
            return refuse(BOTH_WAYS, "true", Some("false"));
        }
        let number = |key: &str| Ok(json.f64(key)?.map(|value| json.named(key, value)));
        // Written as null there is none; only where the key is absent there is a default.
        let or = |key: &str, default: Option<f64>| match json.has(key) {
            true => number(key),
            false => Ok(default.map(|value| json.named(key, value))),
        };
        let is_2 = architecture == Architecture::Gemma2;
        let mut extras = Self {
            query_scalar: or("query_pre_attn_scalar", Some(QUERY_SCALAR))?,
            score_cap: or(SCORE_CAP_KEY, is_2.then_some(SCORE_CAP))?,
            logit_cap: or(LOGIT_CAP_KEY, is_2.then_some(LOGIT_CAP))?,
            local_theta: None,
        };
        if is_2 {
            return Ok(extras);
        }
        if let Some(cap) = &extras.score_cap {
            // transformers reads the number and does not use it.
            return refuse(SCORE_CAP_KEY, &cap.value.to_string(), Some("null, and a number for gemma2"));
        }
        let near = match json.object("rope_parameters")? {
            Some(rope) => rope.object("sliding_attention")?,
            None => None,
        };
        const LOCAL: &str = "rope_local_base_freq";
        let mut theta = json.named(LOCAL, json.f64(LOCAL)?.unwrap_or(LOCAL_THETA));
        if let Some(near) = near {
            match near.str("rope_type")? {
                None | Some("default") => {}
                Some(other) => {
                    let value = quoted(other);
                    return Err(unsupported(near.file, near.field("rope_type"), value, Some("default")));
                }
            }
            if let Some(value) = near.f64("rope_theta")? {
                theta = near.named("rope_theta", value);
            }
        }
        extras.local_theta = Some(theta);
        Ok(extras)
    }

    /// Reads GGUF metadata; nothing, where it is no Gemma.
    pub(super) fn from_gguf(
        metadata: &'a Metadata,
        prefix: &str,
        architecture: Architecture,
    ) -> Result<Self, ModelFileError> {
        if !architecture.conventions().is_gemma {
            return Ok(Self::default());
        }
        let key = |name: &str| format!("{prefix}.{name}");
        let number =
            |name: &str| Ok(metadata.f64(&key(name))?.map(|value| metadata.named(&key(name), value)));
        let or =
            |name: &str, default| Ok(number(name)?.unwrap_or_else(|| metadata.named(&key(name), default)));
        let is_2 = architecture == Architecture::Gemma2;
        let size = |name: &str| Ok(metadata.u64(&key(name))?.and_then(|size| u32::try_from(size).ok()));
        let sizes = (size("block_count")?, size("embedding_length")?, size("attention.head_count")?);
        let query_scalar = match sizes {
            (Some(layers), Some(hidden), Some(heads)) => unsaid_scalar(architecture, layers, hidden, heads)
                .map(|value| metadata.named(&key("attention.head_count"), value)),
            _ => None,
        };
        if is_2 {
            return Ok(Self {
                query_scalar,
                score_cap: Some(or(SCORE_CAP_KEY, SCORE_CAP)?),
                logit_cap: Some(or(LOGIT_CAP_KEY, LOGIT_CAP)?),
                local_theta: None,
            });
        }
        for name in [SCORE_CAP_KEY, LOGIT_CAP_KEY] {
            if let Some(cap) = number(name)?.filter(|cap| cap.value != 0.0) {
                let value = cap.value.to_string();
                return Err(unsupported(
                    &metadata.file,
                    cap.field,
                    value,
                    Some("0, and a number for gemma2"),
                ));
            }
        }
        let local_theta = Some(or("rope.freq_base_swa", LOCAL_THETA)?);
        Ok(Self { query_scalar, local_theta, ..Self::default() })
    }
}

/// By whose root the scores of the largest models are divided: the width that heads would have if they divided the hidden size. As
/// llama.cpp does, which tells these models by their layers.
fn unsaid_scalar(architecture: Architecture, layers: u32, hidden: u32, heads: u32) -> Option<f64> {
    let largest = if architecture == Architecture::Gemma2 { LAYERS_27B_2 } else { LAYERS_27B_3 };
    (layers == largest && heads > 0).then(|| f64::from(hidden) / f64::from(heads))
}

/// The window of a GGUF, and the interval of the layers without it.
pub(super) fn window_in_gguf<'a>(
    metadata: &'a Metadata,
    prefix: &str,
    architecture: Architecture,
) -> Result<(Option<Named<'a, u64>>, u64), ModelFileError> {
    let key = format!("{prefix}.attention.sliding_window");
    let pattern_key = format!("{key}_pattern");
    let given = metadata.u64(&key)?.map(|window| metadata.named(&key, window));
    let window = match architecture {
        Architecture::Gemma2 => Some(given.unwrap_or_else(|| metadata.named(&key, WINDOW))),
        _ => given,
    };
    let interval = metadata.u64(&pattern_key)?.unwrap_or(pattern(architecture));
    if interval == 0 {
        let (field, value) = (key_field(&pattern_key), "0");
        return Err(unsupported(&metadata.file, field, value, Some("1 and more")));
    }
    Ok((window.filter(|window| window.value != 0), interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `query_pre_attn_scalar` of the published configs.
    #[test]
    fn only_the_largest_models_have_a_scalar_that_no_key_says() {
        assert_eq!(unsaid_scalar(Architecture::Gemma2, 46, 4608, 32), Some(144.0));
        assert_eq!(unsaid_scalar(Architecture::Gemma3, 62, 5376, 32), Some(168.0));
        assert_eq!(unsaid_scalar(Architecture::Gemma2, 42, 3584, 16), None);
        assert_eq!(unsaid_scalar(Architecture::Gemma3, 46, 4608, 32), None);
    }
}
