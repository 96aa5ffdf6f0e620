//! What config.json says layer by layer: which layers rotate, and which have a window.
//!
//! There is one width of windows, and a list of the layers that have none.

use serde_json::Value;

use super::{Architecture, MAX_LAYERS, Named, gemma, unsupported};
use crate::model_file::error::{ModelFileError, quoted};
use crate::model_file::json::{Object, wrong_type};
use crate::model_file::reader::{at_most, len_u64};

/// Layers that config.json leaves without rotation where it gives no list: every so-manieth.
const NO_ROPE_INTERVAL: u64 = 4;
/// Which layers have a window, by name.
const TYPES: &str = "layer_types";
/// `sliding_window` of Mistral and Qwen where the file has no such key.
const DEFAULT_WINDOW: u64 = 4096;
/// `max_window_layers` of Qwen where the file has no such key.
const DEFAULT_WINDOW_LAYERS: u64 = 28;

/// Layers without rotary positions, of a model that says it has `n_layers`.
pub(super) fn without_rope(
    json: &Object<'_>,
    architecture: Architecture,
    n_layers: u64,
) -> Result<Vec<u32>, ModelFileError> {
    const KEY: &str = "no_rope_layers";
    if architecture != Architecture::SmolLm3 {
        return Ok(Vec::new());
    }
    let n_layers = n_layers.min(MAX_LAYERS);
    let Some(list) = json.array(KEY)? else {
        let interval = json.u64("no_rope_layer_interval")?.unwrap_or(NO_ROPE_INTERVAL);
        return Ok(every(interval, n_layers));
    };
    if len_u64(list.len()) < n_layers {
        let (file, field) = (json.file.to_owned(), format!("{} count", json.field(KEY)));
        let expected = format!("at least the {n_layers} layers");
        return Err(ModelFileError::Invalid { file, field, value: list.len().to_string(), expected });
    }
    let mut without = Vec::new();
    for (layer, flag) in (0..).zip(list).take_while(|(layer, _)| u64::from(*layer) < n_layers) {
        match flag.as_u64() {
            Some(0) => without.push(layer),
            Some(1) => {}
            _ => return Err(wrong_type(json.file, json.field(KEY), flag, "a list of 0 and 1")),
        }
    }
    Ok(without)
}

/// Every `interval`-th of the layers; of an interval of 0 there are none.
pub(super) fn every(interval: u64, n_layers: u64) -> Vec<u32> {
    (0..).take_while(|layer| u64::from(*layer) < n_layers).filter(|layer| is_last(*layer, interval)).collect()
}

/// Whether a layer is the last of `interval`.
fn is_last(layer: u32, interval: u64) -> bool {
    u64::from(layer).saturating_add(1).checked_rem(interval) == Some(0)
}

/// The window, if some layer has one, and the layers without it; none are listed where all layers are alike.
pub(super) fn window<'a>(
    json: &Object<'a>,
    architecture: Architecture,
    n_layers: u64,
    no_rope_layers: &[u32],
) -> Result<(Option<Named<'a, u64>>, Vec<u32>), ModelFileError> {
    const KEY: &str = "sliding_window";
    let used = json.bool("use_sliding_window")?;
    let given = json.u64(KEY)?.map(|window| json.named(KEY, window));
    let or_default = |given: Option<Named<'a, u64>>| {
        // Written as null it is none; only where the key is absent there is a default.
        given.or_else(|| (!json.has(KEY)).then(|| json.named(KEY, DEFAULT_WINDOW)))
    };
    let n_layers = n_layers.min(MAX_LAYERS);
    let from = json.u64("max_window_layers")?.unwrap_or(DEFAULT_WINDOW_LAYERS);
    let interval = gemma::pattern_in_json(json, architecture)?;
    let (window, slides): (_, &dyn Fn(u32) -> bool) = match architecture {
        Architecture::Llama => {
            return match given.filter(|_| used != Some(false)) {
                Some(window) => Err(unsupported(
                    json.file,
                    window.field,
                    window.value.to_string(),
                    Some("mistral, phi3, qwen2, qwen3, gemma2, gemma3_text"),
                )),
                None => Ok((None, Vec::new())),
            };
        }
        Architecture::Mistral => (or_default(given), &|_| true),
        Architecture::Phi3 => (given, &|_| true),
        Architecture::Qwen2 | Architecture::Qwen3 => {
            (or_default(given).filter(|_| used == Some(true)), &|layer| u64::from(layer) >= from)
        }
        Architecture::Gemma2 | Architecture::Gemma3 => {
            (or_default(given), &|layer| !is_last(layer, interval))
        }
        Architecture::SmolLm3 => {
            (given.filter(|_| used == Some(true)), &|layer| no_rope_layers.contains(&layer))
        }
    };
    let Some(window) = window else { return Ok((None, Vec::new())) };
    let layers = || (0..).take_while(|layer| u64::from(*layer) < n_layers);
    let pattern: Vec<bool> = match json.array(TYPES)? {
        Some(list) => {
            at_most(json.file, &format!("{} count", json.field(TYPES)), len_u64(list.len()), MAX_LAYERS)?;
            let pattern: Vec<bool> =
                list.iter().map(|kind| slides_by_name(json, kind)).collect::<Result<_, _>>()?;
            if len_u64(pattern.len()) != n_layers {
                let (file, field) = (json.file.to_owned(), format!("{} count", json.field(TYPES)));
                let (value, expected) = (pattern.len().to_string(), format!("the {n_layers} layers"));
                return Err(ModelFileError::Invalid { file, field, value, expected });
            }
            pattern
        }
        None => layers().map(slides).collect(),
    };
    let full: Vec<u32> =
        (0..).zip(&pattern).filter(|(_, slides)| !**slides).map(|(layer, _)| layer).collect();
    // The models of Mistral and Phi do not read `layer_types`, so one that leaves the window out contradicts them.
    if matches!(architecture, Architecture::Mistral | Architecture::Phi3) && !full.is_empty() {
        let value = format!("{} and not of every layer", window.value);
        return Err(unsupported(json.file, window.field, value, Some("one window for all layers")));
    }
    Ok(if pattern.contains(&true) { (Some(window), full) } else { (None, Vec::new()) })
}

/// Whether a layer of this type has a window.
fn slides_by_name(json: &Object<'_>, kind: &Value) -> Result<bool, ModelFileError> {
    match kind.as_str() {
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(unsupported(
            json.file,
            json.field(TYPES),
            quoted(&kind.to_string()),
            Some("full_attention, sliding_attention"),
        )),
    }
}
