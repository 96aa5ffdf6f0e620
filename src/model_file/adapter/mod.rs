//! LoRA adapters in PEFT's layout: `adapter_config.json` beside `adapter_model.safetensors`; `gguf.rs` reads those of llama.cpp.
//!
//! A weight W that an adapter changes reads as W + s B A, with B (rows, rank), A (rank, columns) and s the adapter's scale
//! times `lora_alpha / rank`, or `lora_alpha / sqrt(rank)` for rank-stabilised ones. The sum is made in f32 for the rows
//! that are asked for, before anything is rounded to the device's type, so no merged matrix ever exists as a whole.
//! Both factors are in the row order of Hugging Face checkpoints, and so are the rows they are added to, whatever the file
//! of the base holds (a GGUF adapter interleaves some as its base does). Whatever of an adapter is not a plain LoRA of a projection is refused: left out, it would give
//! another function that still looks like text.

mod gguf;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::Value;

use super::config::Config;
use super::error::{ModelFileError, quoted};
use super::json::{self, Object};
use super::names::{LayerWeight, WeightName};
use super::pick::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, PICKLED_ADAPTER};
use super::reader::{MAX_CONFIG_BYTES, at_most, to_usize};
use super::sniff::{self, Weights, other};
use super::source::FileSet;
use super::tensor::{TensorInfo, field};
use super::{POLICY_KEYS, missing, order, safetensors};

/// What PEFT puts before the name of a module of the model it wraps.
const PREFIX: &str = "base_model.model.";
/// Columns of B; published adapters have up to 512.
const MAX_RANK: u64 = 1024;
/// Ways to begin the training that leave the base as it is. Others (PiSSA, `OLoRA`, `LoftQ`, `CorDA`, `LoRA-GA`) change it, and
/// their adapters belong to the changed one.
const PLAIN_INITS: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];
/// Keys of the config that turn a LoRA into something else unless they are absent, false or empty.
const REFUSED: [&str; 17] = [
    "alora_invocation_tokens",
    "arrow_config",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "modules_to_save",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
    "loftq_config",
    "lora_ga_config",
];

/// An adapter, checked against the model it changes.
pub(super) struct Adapter {
    files: FileSet,
    /// What everything it adds is multiplied by.
    pub(super) scale: f32,
    deltas: BTreeMap<WeightName, Delta>,
    /// The cache policy that it was trained for, a JSON object.
    pub(super) policy: Option<Value>,
}

/// What is added to one weight.
struct Delta {
    /// `(rank, columns)`.
    a: TensorInfo,
    /// `(rows of the module, rank)`.
    b: TensorInfo,
    /// The weight's first row in the module.
    first_row: u32,
    rank: u32,
    scale: f32,
    /// The width of the heads whose rows B has interleaved, if it has.
    interleaved: Option<u32>,
}

impl Adapter {
    /// Reads an adapter for a model of that config; `scale` multiplies what it adds.
    pub(super) async fn open(files: FileSet, scale: f32, config: &Config) -> Result<Self, ModelFileError> {
        let Some(source) = files.find(ADAPTER_CONFIG)? else {
            return Self::without_config(files, scale, config).await;
        };
        let json = sniff::read_json(source.as_ref(), ADAPTER_CONFIG, MAX_CONFIG_BYTES).await?;
        let json = json::parse(ADAPTER_CONFIG, "the file", &json)?;
        let settings = Settings::read(&Object::root(ADAPTER_CONFIG, &json)?)?;

        let source = files.find(ADAPTER_WEIGHTS)?.ok_or_else(|| match files.get(PICKLED_ADAPTER) {
            Some(_) => ModelFileError::Pickled { file: PICKLED_ADAPTER.to_owned() },
            None => missing(files.label(), ADAPTER_WEIGHTS),
        })?;
        if sniff::weights(source.as_ref(), ADAPTER_WEIGHTS).await? == Weights::Gguf {
            return Err(other(
                ADAPTER_WEIGHTS,
                "a GGUF file under a wrong name",
                "call it NAME.gguf, and name it itself",
            ));
        }
        let tensors = safetensors::parse_weights(source.as_ref(), ADAPTER_WEIGHTS).await?;
        let by_name: BTreeMap<&str, &TensorInfo> =
            tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let (mut deltas, mut used) = (BTreeMap::new(), BTreeSet::new());
        for name in WeightName::all(config).filter(|name| is_projection(*name)) {
            // A module may hold several weights, one below the other; so does its B.
            let place = name.place(config, false);
            let module = place.tensor.strip_suffix(".weight").unwrap_or(&place.tensor);
            let factor = |letter: &str| format!("{PREFIX}{module}.lora_{letter}.weight");
            let (a, b) = (factor("A"), factor("B"));
            match (by_name.get(a.as_str()), by_name.get(b.as_str())) {
                (None, None) => {}
                (Some(a), Some(b)) => {
                    used.extend([&a.name, &b.name]);
                    let shape = (place.rows, name.shape(config).1);
                    let (rank, scale) = settings.delta(module, shape, a, b, scale)?;
                    let (a, b, first_row) = ((*a).clone(), (*b).clone(), place.first_row);
                    deltas.insert(name, Delta { a, b, first_row, rank, scale, interleaved: None });
                }
                (Some(_), None) => return Err(missing(ADAPTER_WEIGHTS, &field(&b))),
                (None, Some(_)) => return Err(missing(ADAPTER_WEIGHTS, &field(&a))),
            }
        }
        if let Some(tensor) = tensors.iter().find(|tensor| !used.contains(&tensor.name)) {
            return Err(no_factor(ADAPTER_WEIGHTS, tensor));
        }
        if deltas.is_empty() {
            return Err(missing(ADAPTER_WEIGHTS, "a LoRA factor"));
        }
        Ok(Self { files, scale, deltas, policy: settings.policy.cloned() })
    }

    /// An adapter in one GGUF file, or what the files are instead.
    async fn without_config(files: FileSet, scale: f32, config: &Config) -> Result<Self, ModelFileError> {
        let names: Vec<String> = files.names().map(str::to_owned).collect();
        let ([name], Some(source)) = (names.as_slice(), names.first().and_then(|name| files.get(name)))
        else {
            if names.iter().filter(|name| name.ends_with(".gguf")).count() > 1 {
                return Err(ModelFileError::Invalid {
                    file: files.label().to_owned(),
                    field: "the list of adapter files".to_owned(),
                    value: quoted(&names.join(", ")),
                    expected: "one adapter; name the file".to_owned(),
                });
            }
            return Err(missing(files.label(), ADAPTER_CONFIG));
        };
        match sniff::weights(source.as_ref(), name).await? {
            Weights::Gguf => gguf::open(files, name, scale, config).await,
            Weights::Safetensors => Err(missing(files.label(), ADAPTER_CONFIG)),
        }
    }

    /// Whether it changes a weight.
    pub(super) fn touches(&self, name: WeightName) -> bool {
        self.deltas.contains_key(&name)
    }

    /// Adds to `out`, the rows `rows` of a weight, what the adapter changes.
    pub(super) async fn add_to(
        &self,
        name: WeightName,
        rows: Range<u32>,
        columns: usize,
        out: &mut [f32],
    ) -> Result<(), ModelFileError> {
        let Some(delta) = self.deltas.get(&name) else { return Ok(()) };
        let rank = to_usize(ADAPTER_WEIGHTS, "the rank", delta.rank.into())?;
        let mut a = Vec::new();
        delta.a.read_rows(&self.files, columns, 0..delta.rank, &mut a).await?;
        let first = delta.first_row;
        let rows = first.saturating_add(rows.start)..first.saturating_add(rows.end);
        let read = async |rows, out: &mut _| delta.b.read_rows(&self.files, rank, rows, out).await;
        let b: Vec<f32> = order::rows(&delta.b, rank, rows, delta.interleaved, read).await?;
        let mut sum = vec![0.0_f32; columns];
        for (row, factors) in out.chunks_exact_mut(columns).zip(b.chunks_exact(rank)) {
            sum.fill(0.0);
            for (factor, a) in factors.iter().zip(a.chunks_exact(columns)) {
                for (sum, a) in sum.iter_mut().zip(a) {
                    *sum += factor * a;
                }
            }
            for (weight, sum) in row.iter_mut().zip(&sum) {
                *weight += delta.scale * sum;
            }
        }
        Ok(())
    }

    /// Tensors of the checkpoint that it changes; one may hold several weights.
    pub(super) fn changes(&self) -> usize {
        self.deltas.values().map(|delta| delta.b.name.as_str()).collect::<BTreeSet<_>>().len()
    }

    pub(super) fn label(&self) -> &str {
        self.files.label()
    }
}

/// Whether PEFT wraps the weight as a linear module.
fn is_projection(name: WeightName) -> bool {
    use LayerWeight::{Down, Gate, K, O, Q, Up, V};
    matches!(name, WeightName::Output | WeightName::Layer(_, Q | K | V | O | Gate | Up | Down))
}

/// What the config says, checked.
struct Settings<'a> {
    json: Object<'a>,
    rank: u64,
    alpha: f64,
    rank_stabilised: bool,
    ranks: Vec<(&'a str, u64)>,
    alphas: Vec<(&'a str, f64)>,
    policy: Option<&'a Value>,
}

impl<'a> Settings<'a> {
    fn read(json: &Object<'a>) -> Result<Self, ModelFileError> {
        let kind = json.required("peft_type", json.str("peft_type")?)?;
        if kind != "LORA" {
            return Err(unsupported(json, "peft_type", quoted(kind)));
        }
        for key in REFUSED {
            if let Some(value) = json.get(key).filter(|value| !is_empty(value)) {
                return Err(unsupported(json, key, quoted(&value.to_string())));
            }
        }
        match json.str("bias")? {
            None | Some("none") => {}
            Some(other) => return Err(unsupported(json, "bias", quoted(other))),
        }
        match json.get("init_lora_weights") {
            Some(Value::String(init)) if !PLAIN_INITS.contains(&init.as_str()) => {
                return Err(unsupported(json, "init_lora_weights", quoted(init)));
            }
            _ => {}
        }
        json.object(POLICY_KEYS.0)?;
        let ranks = pattern(json, "rank_pattern", Value::as_u64, "a whole number that is not negative")?;
        Ok(Self {
            json: json.clone(),
            rank: json.required("r", json.u64("r")?)?,
            alpha: json.required("lora_alpha", json.f64("lora_alpha")?)?,
            rank_stabilised: json.bool("use_rslora")?.unwrap_or(false),
            ranks,
            alphas: pattern(json, "alpha_pattern", Value::as_f64, "a number")?,
            policy: json.get(POLICY_KEYS.0),
        })
    }

    /// Checks the factors of one module, `(rows, columns)` large; gives their rank and what their product is multiplied by.
    fn delta(
        &self,
        module: &str,
        (rows, columns): (u32, u32),
        a: &TensorInfo,
        b: &TensorInfo,
        scale: f32,
    ) -> Result<(u32, f32), ModelFileError> {
        let rank = chosen(&self.ranks, module).unwrap_or(self.rank);
        let field = self.json.field(&format!("r of {module}"));
        if rank == 0 {
            return Err(ModelFileError::Invalid {
                file: ADAPTER_CONFIG.to_owned(),
                field,
                value: "0".to_owned(),
                expected: "at least 1".to_owned(),
            });
        }
        at_most(ADAPTER_CONFIG, &field, rank, MAX_RANK)?;
        for (tensor, expected) in [(a, [rank, columns.into()]), (b, [rows.into(), rank])] {
            if tensor.shape != expected {
                return Err(ModelFileError::Shape {
                    file: ADAPTER_WEIGHTS.to_owned(),
                    field: tensor.field(),
                    found: tensor.shape.clone(),
                    expected: expected.to_vec(),
                });
            }
        }
        let rank = u32::try_from(rank).unwrap_or(u32::MAX);
        let alpha = chosen(&self.alphas, module).unwrap_or(self.alpha);
        let divisor = if self.rank_stabilised { f64::from(rank).sqrt() } else { f64::from(rank) };
        let field = || (ADAPTER_CONFIG.to_owned(), self.json.field("lora_alpha"));
        let factor = factor(scale, alpha / divisor, field)?;
        Ok((rank, factor))
    }
}

/// What the product of two factors is multiplied by; `field` says where its second half comes from.
fn factor(scale: f32, by: f64, field: impl Fn() -> (String, String)) -> Result<f32, ModelFileError> {
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "there is no other way from f64 to the nearest f32"
    )]
    let product = (f64::from(scale) * by) as f32;
    if product.is_finite() {
        return Ok(product);
    }
    let (file, field) = field();
    Err(ModelFileError::Invalid {
        file,
        field,
        value: format!("{by} by the rank, times the scale {scale}"),
        expected: "a finite number".to_owned(),
    })
}

/// The error for a tensor of an adapter that changes no projection.
fn no_factor(file: &str, tensor: &TensorInfo) -> ModelFileError {
    ModelFileError::Unsupported {
        file: file.to_owned(),
        field: tensor.field(),
        value: "no LoRA factor of a projection of this model".to_owned(),
        supported: Some("the projections of attention and MLP, and lm_head if it is not tied".to_owned()),
    }
}

fn unsupported(json: &Object<'_>, key: &str, value: String) -> ModelFileError {
    ModelFileError::Unsupported { file: json.file.to_owned(), field: json.field(key), value, supported: None }
}

/// Whether a setting is off: false, or nothing in it.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// A map from the ends of module names to numbers; its keys may be regular expressions for PEFT, here plain names only.
fn pattern<'a, T>(
    json: &Object<'a>,
    key: &str,
    number: fn(&Value) -> Option<T>,
    expected: &'static str,
) -> Result<Vec<(&'a str, T)>, ModelFileError> {
    let Some(map) = json.object(key)? else { return Ok(Vec::new()) };
    let mut pairs = Vec::new();
    for (name, value) in map.entries() {
        let plain = name.strip_prefix('^').unwrap_or(name);
        if plain.is_empty() || !plain.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')) {
            return Err(unsupported(&map, name, "a name with more than letters, digits, _ and .".to_owned()));
        }
        let value =
            number(value).ok_or_else(|| json::wrong_type(map.file, map.field(name), value, expected))?;
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// The value of the first name that is `module` or its last parts; `^` asks for the whole.
fn chosen<T: Copy>(pairs: &[(&str, T)], module: &str) -> Option<T> {
    let fits = |name: &str| match name.strip_prefix('^') {
        Some(whole) => whole == module,
        None => module.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.')),
    };
    pairs.iter().find(|(name, _)| fits(name)).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::chosen;

    #[test]
    fn a_pattern_names_whole_parts_from_the_end_and_the_first_wins() {
        let pairs = [("layers.1.mlp.up_proj", 1), ("up_proj", 2), ("^model.norm", 3), ("proj", 4)];
        assert_eq!(chosen(&pairs, "model.layers.1.mlp.up_proj"), Some(1));
        assert_eq!(chosen(&pairs, "model.layers.11.mlp.up_proj"), Some(2));
        assert_eq!(chosen(&pairs, "up_proj"), Some(2));
        assert_eq!(chosen(&pairs, "model.norm"), Some(3));
        assert_eq!(chosen(&pairs, "a.model.norm"), None);
        assert_eq!(chosen(&pairs, "model.layers.1.mlp.down_proj"), None, "only whole parts of a name");
    }
}
