//! How the makers of a model want its tokens drawn: `generation_config.json` of a folder, `general.sampling.*` of a GGUF.
//!
//! They are advice. What makes no sense is said and left out, and no model is refused for it.

use serde::Serialize;

use super::gguf::Metadata;
use super::json::Object;
use super::reader::nearest;

/// The settings recorded with a model; `None` where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SamplingHints {
    /// Logits are divided by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Likeliest tokens kept; 0 keeps all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Share of the likeliest tokens kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Least share of the likeliest token's probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Divides positive scores of recent tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// Recent tokens are this many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub penalty_last_n: Option<u32>,
}

impl SamplingHints {
    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those of generation_config.json. Settings of a draw count only where `do_sample` asks for one, as in `transformers`, whose
    /// temperature is then 1 unless it is said.
    pub(super) fn from_json(json: &Object<'_>) -> Self {
        let said = |key: &str, fits: fn(f64) -> bool| {
            let value = json.get(key).filter(|value| !value.is_null())?;
            kept(json.file, key, &value.to_string(), value.as_f64(), fits)
        };
        let draws = json.get("do_sample").and_then(serde_json::Value::as_bool) == Some(true);
        let drawn = |key: &str, fits: fn(f64) -> bool| draws.then(|| said(key, fits)).flatten();
        Self {
            temperature: draws.then(|| nearest(said("temperature", is_temperature).unwrap_or(1.0))),
            top_k: drawn("top_k", is_count).map(whole),
            top_p: drawn("top_p", is_share).map(nearest),
            min_p: drawn("min_p", is_floor).map(nearest),
            repetition_penalty: said("repetition_penalty", is_penalty).map(nearest),
            penalty_last_n: None,
        }
    }

    /// Those of GGUF metadata, by the names that llama.cpp gives them.
    pub(super) fn from_gguf(metadata: &Metadata, file: &str) -> Self {
        let said = |key: &str, fits: fn(f64) -> bool| {
            let key = format!("general.sampling.{key}");
            if !metadata.has(&key) {
                return None;
            }
            #[expect(
                clippy::as_conversions,
                clippy::cast_precision_loss,
                reason = "what is too large for a float is no count"
            )]
            let value = metadata.f64(&key).ok().flatten().or_else(|| Some(metadata.u64(&key).ok()?? as f64));
            kept(file, &key, "not a number", value, fits)
        };
        Self {
            temperature: said("temp", is_temperature).map(nearest),
            top_k: said("top_k", is_count).map(whole),
            top_p: said("top_p", is_share).map(nearest),
            min_p: said("min_p", is_floor).map(nearest),
            repetition_penalty: said("penalty_repeat", is_penalty).map(nearest),
            penalty_last_n: said("penalty_last_n", is_window).map(whole),
        }
    }
}

/// The value, where it is a number that fits.
fn kept(file: &str, key: &str, text: &str, value: Option<f64>, fits: fn(f64) -> bool) -> Option<f64> {
    let good = value.filter(|value| fits(*value));
    if good.is_none() {
        let found = value.map_or_else(|| super::quoted(text), |value| value.to_string());
        log::warn!("{file}: {key} is {found}, which is no such setting, and is ignored");
    }
    good
}

fn is_temperature(value: f64) -> bool {
    value == 0.0 || (1e-6..=1e6).contains(&value)
}

fn is_count(value: f64) -> bool {
    value.fract() == 0.0 && (0.0..=1e9).contains(&value)
}

fn is_window(value: f64) -> bool {
    value.fract() == 0.0 && (0.0..=1024.0).contains(&value)
}

fn is_share(value: f64) -> bool {
    (1e-6..=1.0).contains(&value)
}

fn is_floor(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

fn is_penalty(value: f64) -> bool {
    (1e-6..=1e6).contains(&value)
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number in range"
)]
fn whole(value: f64) -> u32 {
    value as u32
}
