//! How a file asks for the rotary frequencies to be scaled, and the checks of it.
//!
//! After `modeling_rope_utils.py` of `transformers` for config.json and `llama-context.cpp` of llama.cpp for GGUF.
//! The formulas themselves are in `rotation.rs`.

use serde::Serialize;

use super::longrope::{FactorsDraft, RopeDivisors, suggested_growth};
use super::{Architecture, MAX_CONTEXT, Named, bounded, invalid, nearest, positive, unsupported};
use crate::model_file::error::{ModelFileError, quoted};
use crate::model_file::gguf::{Metadata, key_field};
use crate::model_file::json::Object;
use crate::model_file::names::{LONG_DIVISORS, ROPE_DIVISORS, SHORT_DIVISORS};
use crate::model_file::tensor::field;

/// The largest factor by which positions are squeezed.
const MAX_FACTOR: f32 = 1e6;
/// What config.json may ask for, for messages.
const TYPES: &str = "default, linear, llama3, yarn, longrope";
/// What Phi-3 may ask for there; `su` is an old name.
const PHI3_TYPES: &str = "default, longrope, su";
/// What GGUF may ask for, for messages.
const GGUF_TYPES: &str = "none, linear, yarn, longrope";
/// Defaults of the YaRN paper.
const BETA_FAST: f64 = 32.0;
const BETA_SLOW: f64 = 1.0;

/// How the rotary frequencies differ from `rope_theta^(-2 d / rope_dim)`.
#[derive(Serialize, Debug, Clone, Copy, PartialEq)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Each is divided by `factor` (Chen et al., "Extending Context Window of Large Language Models via Positional
    /// Interpolation", 2023).
    Linear {
        /// Positions are squeezed by this.
        factor: f32,
    },
    /// Slow ones are divided by `factor`, fast ones are not, and a ramp lies between (Llama 3.1).
    Llama3 {
        /// Positions are squeezed by this.
        factor: f32,
        /// A wavelength above `original_context` over this is squeezed whole.
        low_freq_factor: f32,
        /// A wavelength below `original_context` over this is left alone; above `low_freq_factor`.
        high_freq_factor: f32,
        /// The context before it was extended, in tokens.
        original_context: u32,
    },
    /// The same with a ramp over the columns, and queries and keys grow by `attention_factor`
    /// (Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models", 2023).
    Yarn {
        /// Positions are squeezed by this.
        factor: f32,
        /// Columns that turn more often than this in the original context are left alone; above `beta_slow`.
        beta_fast: f32,
        /// Columns that turn less often than this are squeezed whole.
        beta_slow: f32,
        /// Multiplies rotated queries and rotated keys.
        attention_factor: f32,
        /// Whether the ramp begins and ends at whole columns.
        truncate: bool,
        /// The context before it was extended, in tokens.
        original_context: u32,
    },
    /// Each is divided by a number of its own: the GGUF tensor `rope_freqs.weight`, which is how
    /// llama.cpp stores the scaling of Llama 3.
    Divisors,
    /// Each is divided by a number of one of two lists, by how far a text reaches, and queries and keys grow by `attention_factor`
    /// (long Phi models; the lists are [`Config::rope_factors`](super::Config::rope_factors), or tensors of a GGUF).
    LongRope {
        /// Multiplies rotated queries and rotated keys.
        attention_factor: f32,
        /// The largest distance for which the short list serves, plus one: the context before it was extended, in tokens.
        original_context: u32,
    },
}

/// What a file says of scaling, not yet checked.
pub(super) enum ScalingDraft<'a> {
    None,
    Linear {
        factor: Named<'a, f64>,
    },
    Llama3 {
        factor: Named<'a, f64>,
        low: Named<'a, f64>,
        high: Named<'a, f64>,
        original: Option<Named<'a, u64>>,
    },
    Yarn {
        factor: Named<'a, f64>,
        fast: Named<'a, f64>,
        slow: Named<'a, f64>,
        attention: AttentionFactor<'a>,
        truncate: bool,
        original: Option<Named<'a, u64>>,
    },
    Divisors,
    LongRope {
        /// How far the context was extended; what the contexts say, if the file does not.
        factor: Option<Named<'a, f64>>,
        attention: Option<Named<'a, f64>>,
        original: Option<Named<'a, u64>>,
        /// `None` where they are tensors.
        factors: Option<FactorsDraft<'a>>,
    },
}

/// What queries and keys grow by under YaRN.
pub(super) enum AttentionFactor<'a> {
    /// So much.
    Given(Named<'a, f64>),
    /// What the paper suggests for the factor, times this.
    Suggested(Named<'a, f64>),
    /// The paper's suggestion with the first weight, over that with the second (DeepSeek).
    Ratio(Named<'a, f64>, Named<'a, f64>),
}

impl<'a> ScalingDraft<'a> {
    /// Reads `rope_parameters` or `rope_scaling`; `rope` is whichever the file has.
    pub(super) fn from_json(
        json: &Object<'a>,
        rope: Option<&Object<'a>>,
        architecture: Architecture,
    ) -> Result<Self, ModelFileError> {
        const ORIGINAL: &str = "original_max_position_embeddings";
        let Some(rope) = rope else { return Ok(Self::None) };
        let types = if architecture == Architecture::Phi3 { PHI3_TYPES } else { TYPES };
        let refuse = |kind| Err(unsupported(rope.file, rope.field("rope_type"), quoted(kind), Some(types)));
        let number = |key: &str| Ok(rope.named(key, rope.required(key, rope.f64(key)?)?));
        let given = |key: &str| Ok(rope.f64(key)?.map(|value| rope.named(key, value)));
        let or = |key: &str, default| Ok(given(key)?.unwrap_or_else(|| rope.named(key, default)));
        // Beside the object it wins over inside, as in `transformers`.
        let original = || match json.u64(ORIGINAL)? {
            Some(value) => Ok(Some(json.named(ORIGINAL, value))),
            None => Ok(rope.u64(ORIGINAL)?.map(|value| rope.named(ORIGINAL, value))),
        };
        Ok(match rope.str("rope_type")?.or(rope.str("type")?) {
            None | Some("default") => Self::None,
            Some("longrope") => Self::longrope(json, rope, architecture, original()?)?,
            Some("su") if architecture == Architecture::Phi3 => {
                Self::longrope(json, rope, architecture, original()?)?
            }
            // It takes other types for longrope as well, which older code computed in another way.
            Some(kind) if architecture == Architecture::Phi3 => return refuse(kind),
            Some("linear") => Self::Linear { factor: number("factor")? },
            Some("llama3") => Self::Llama3 {
                factor: number("factor")?,
                low: number("low_freq_factor")?,
                high: number("high_freq_factor")?,
                original: original()?,
            },
            Some("yarn") => Self::Yarn {
                factor: number("factor")?,
                fast: or("beta_fast", BETA_FAST)?,
                slow: or("beta_slow", BETA_SLOW)?,
                attention: match (given("attention_factor")?, given("mscale")?, given("mscale_all_dim")?) {
                    (Some(factor), ..) => AttentionFactor::Given(factor),
                    // A weight of 0 counts as absent, as Python has it.
                    (None, Some(mscale), Some(all)) if mscale.value != 0.0 && all.value != 0.0 => {
                        AttentionFactor::Ratio(mscale, all)
                    }
                    _ => AttentionFactor::Suggested(rope.named("attention_factor", 1.0)),
                },
                truncate: rope.bool("truncate")?.unwrap_or(true),
                original: original()?,
            },
            Some(other) => return refuse(other),
        })
    }

    /// Reads the keys under `rope.scaling`; `has` says whether the file has a tensor of this name.
    pub(super) fn from_gguf(
        metadata: &'a Metadata,
        prefix: &str,
        has: impl Fn(&str) -> bool,
    ) -> Result<Self, ModelFileError> {
        let long_factors = [LONG_DIVISORS, SHORT_DIVISORS].into_iter().find(|name| has(name));
        let key = |name: &str| format!("{prefix}.rope.{name}");
        let refuse =
            |key: &str, value: String, list| Err(unsupported(&metadata.file, key_field(key), value, list));
        let given = |name: &str| Ok(metadata.f64(&key(name))?.map(|value| metadata.named(&key(name), value)));
        let or =
            |name: &str, default| Ok(given(name)?.unwrap_or_else(|| metadata.named(&key(name), default)));
        // 0 and 1 mean no scaling; the first key is the old name.
        let mut factor = None;
        for name in ["scale_linear", "scaling.factor"] {
            factor = given(name)?.filter(|factor| factor.value != 0.0 && factor.value != 1.0).or(factor);
        }
        let attention = or("scaling.attn_factor", 1.0)?;
        let growth = attention.value;
        let kind = metadata.str(&key("scaling.type"))?;
        let original = || {
            let key = key("scaling.original_context_length");
            Ok(metadata.u64(&key)?.map(|value| metadata.named(&key, value)))
        };
        let scaling = match (kind, factor) {
            // The converter writes these for Phi-3 without a type.
            (Some("longrope"), None) | (None | Some("none"), None)
                if kind == Some("longrope") || long_factors.is_some() =>
            {
                return Ok(Self::LongRope {
                    factor: None,
                    attention: Some(attention),
                    original: original()?,
                    factors: None,
                });
            }
            // Without a type llama.cpp scales linearly.
            (Some("none"), _) | (None | Some("linear"), None) => Self::None,
            (None | Some("linear"), Some(factor)) => Self::Linear { factor },
            (Some("yarn"), factor) => {
                // Keys of later architectures, which change the formula.
                for (name, plain) in
                    [("yarn_ext_factor", 1.0), ("yarn_attn_factor", 1.0), ("yarn_log_multiplier", 0.0)]
                {
                    let name = key(&format!("scaling.{name}"));
                    match metadata.f64(&name)? {
                        Some(value) if value != plain => return refuse(&name, value.to_string(), None),
                        _ => {}
                    }
                }
                Self::Yarn {
                    factor: match factor {
                        Some(factor) => factor,
                        None => metadata.named(&key("scaling.factor"), 1.0),
                    },
                    fast: or("scaling.yarn_beta_fast", BETA_FAST)?,
                    slow: or("scaling.yarn_beta_slow", BETA_SLOW)?,
                    attention: AttentionFactor::Suggested(attention),
                    truncate: true,
                    original: original()?,
                }
            }
            (Some(other), _) => return refuse(&key("scaling.type"), quoted(other), Some(GGUF_TYPES)),
        };
        if !matches!(scaling, Self::Yarn { .. }) && growth != 1.0 {
            return refuse(&key("scaling.attn_factor"), growth.to_string(), None);
        }
        let tensor = long_factors.or_else(|| has(ROPE_DIVISORS).then_some(ROPE_DIVISORS));
        match (tensor, scaling) {
            (None, scaling) => Ok(scaling),
            (Some(ROPE_DIVISORS), Self::None) => Ok(Self::Divisors),
            (Some(tensor), _) => {
                let (field, value) = (field(tensor), "there beside another scaling");
                Err(unsupported(&metadata.file, field, value, None))
            }
        }
    }

    /// The checked scaling of a model with this base and this context, and the divisors of `pairs` frequencies, if it lists them.
    pub(super) fn check(
        self,
        theta: f32,
        context_len: u32,
        pairs: u32,
    ) -> Result<(RopeScaling, Option<RopeDivisors>), ModelFileError> {
        let factor_of = |named: &Named<'_, f64>| positive(named, MAX_FACTOR);
        let original_of = |named: Option<Named<'_, u64>>| match named {
            Some(named) => bounded(&named, MAX_CONTEXT),
            None => Ok(context_len),
        };
        let scaling = match self {
            Self::None => RopeScaling::None,
            Self::Divisors => RopeScaling::Divisors,
            Self::Linear { factor } => RopeScaling::Linear { factor: factor_of(&factor)? },
            Self::Llama3 { factor, low, high, original } => RopeScaling::Llama3 {
                factor: factor_of(&factor)?,
                low_freq_factor: factor_of(&low)?,
                high_freq_factor: above(&high, factor_of(&low)?)?,
                original_context: original_of(original)?,
            },
            Self::Yarn { factor, fast, slow, attention, truncate, original } => {
                if theta <= 1.0 {
                    // Its ramp divides by the base's logarithm.
                    let (file, field) = (factor.file.to_owned(), "the rotary base under YaRN".to_owned());
                    let (value, expected) = (theta.to_string(), "a number above 1".to_owned());
                    return Err(ModelFileError::Invalid { file, field, value, expected });
                }
                RopeScaling::Yarn {
                    factor: factor_of(&factor)?,
                    beta_fast: above(&fast, factor_of(&slow)?)?,
                    beta_slow: factor_of(&slow)?,
                    attention_factor: attention.check(factor.value)?,
                    truncate,
                    original_context: original_of(original)?,
                }
            }
            Self::LongRope { factor, attention, original, factors } => {
                // The suggestion divides by its logarithm.
                if let Some(named) = original.as_ref().filter(|named| named.value == 1 && attention.is_none())
                {
                    return Err(invalid(named, "at least 2"));
                }
                let original_context = original_of(original)?;
                let extended = match &factor {
                    Some(named) => f64::from(factor_of(named)?),
                    None => f64::from(context_len) / f64::from(original_context),
                };
                let attention_factor = match &attention {
                    Some(named) => factor_of(named)?,
                    None => nearest(suggested_growth(extended, original_context)),
                };
                let divisors = factors.map(|factors| factors.check(pairs)).transpose()?;
                return Ok((RopeScaling::LongRope { attention_factor, original_context }, divisors));
            }
        };
        Ok((scaling, None))
    }
}

impl AttentionFactor<'_> {
    fn check(self, factor: f64) -> Result<f32, ModelFileError> {
        let suggested = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
        // An error repeats what the file says, not what was made of it.
        let grown = |named: &Named<'_, f64>, value: f64| {
            let made = Named { file: named.file, field: named.field.clone(), value };
            let expected =
                || format!("a number that makes queries grow by more than 0 and at most {MAX_FACTOR}");
            positive(&made, MAX_FACTOR).map_err(|_| invalid(named, expected()))
        };
        match self {
            Self::Given(named) => positive(&named, MAX_FACTOR),
            Self::Suggested(named) => grown(&named, named.value * suggested(1.0)),
            Self::Ratio(mscale, all) => grown(&mscale, suggested(mscale.value) / suggested(all.value)),
        }
    }
}

/// A number above 0 that is above `least` as well.
fn above(named: &Named<'_, f64>, least: f32) -> Result<f32, ModelFileError> {
    match positive(named, MAX_FACTOR)? {
        value if value > least => Ok(value),
        _ => Err(invalid(named, format!("a number above {least}"))),
    }
}
