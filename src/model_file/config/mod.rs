//! The numbers that define a model, from config.json or GGUF metadata, validated once.
//!
//! Both formats are read into one [`Draft`] and pass through one [`validate`], so that what follows
//! may multiply and divide without a second look. What a file asks for and the engine cannot do is
//! an error: leaving a rope scaling out would compute another function and still look like text.
//!
//! ```text
//! architecture.rs  what each architecture's files take for granted
//! json.rs          config.json -> Draft
//! metadata.rs      GGUF metadata -> Draft
//! rope.rs          the scaling of RoPE, from both
//! longrope.rs      the scaling of long Phi models, which is two lists
//! rotation.rs      from these to the angles
//! layers.rs        what config.json says layer by layer
//! heads.rs         the shape of the attention heads
//! gemma.rs         what only Gemma's files say
//! ```

mod architecture;
mod gemma;
mod heads;
mod json;
mod layers;
mod longrope;
mod metadata;
mod rope;
mod rotation;

use super::error::ModelFileError;
use super::gguf::{Metadata, key_field};
use super::json::Object;
use super::reader::{at_most, nearest};

pub use architecture::Architecture;
pub use heads::{Heads, Scoring};
pub use longrope::RopeDivisors;
pub use rope::RopeScaling;
use rope::ScalingDraft;
pub use rotation::Rotation;
#[cfg(feature = "convert")]
pub(crate) use rotation::{llama3_divisors, original_llama3};

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
/// The largest base of the rotary frequencies.
const MAX_THETA: f32 = 1e12;
/// The largest number by whose root scores are divided.
const MAX_QUERY_SCALAR: f32 = 1e6;
/// The largest bound of scores and logits.
const MAX_CAP: f32 = 1e6;

/// A validated model description.
///
/// `hidden_size`, `ffn_size` and `head_dim` are multiples of 4, `n_kv_heads` divides `n_heads`, and every
/// number lies within the limits of this file; `n_heads * head_dim` is at most 2^20.
#[derive(serde::Serialize, Debug, Clone, PartialEq)]
pub struct Config {
    /// What the files call the model; the function is given by the other fields alone.
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
    /// The window the model was trained with, in tokens and the query itself counted. Where every layer has it, it is what policy
    /// `full` sees; where [`Self::full_layers`] have none, the others keep it under every policy.
    pub sliding_window: Option<u32>,
    /// Layers without the window, ascending. If all layers are alike there are none, whether they have a window or not.
    pub full_layers: Vec<u32>,
    /// Added to the mean square under the root of `RMSNorm`.
    pub rms_norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// The same for layers with a window, which then are not scaled either; `None`: as the others (Gemma 3).
    pub local_rope_theta: Option<f32>,
    /// How the rotary frequencies are scaled.
    pub rope_scaling: RopeScaling,
    /// What [`RopeScaling::LongRope`] divides frequencies by, where config.json lists it; in GGUF these are tensors
    /// ([`ModelFile::rope_divisors`](super::ModelFile::rope_divisors) reads either).
    pub rope_factors: Option<RopeDivisors>,
    /// Columns of a head that are rotated, the first ones; even, 2 to `head_dim`.
    pub rope_dim: u32,
    /// Layers whose queries and keys are not rotated, ascending.
    pub no_rope_layers: Vec<u32>,
    /// Whether each head of queries and keys is normalized before it is rotated.
    pub qk_norm: bool,
    /// Whether what attention and the feed-forward block make is normalized before it is added to the residual stream (Gemma).
    pub post_norms: bool,
    /// What the gate of the feed-forward block becomes.
    pub activation: Activation,
    /// What embedded tokens are multiplied with; 1 leaves them as they are (Gemma: the root of the hidden size).
    pub embedding_scale: f32,
    /// Scores are divided by the root of this; `None` is the width of a head (Gemma's `query_pre_attn_scalar`).
    pub query_scalar: Option<f32>,
    /// Scores stay within this, by `cap tanh(score / cap)` (Gemma 2).
    pub score_cap: Option<f32>,
    /// Logits stay within this in the same way.
    pub logit_cap: Option<f32>,
    /// Which projections add a bias.
    pub biases: Biases,
    /// Whether the output matrix is the token embedding.
    pub tied_embeddings: bool,
    /// The token that begins a text.
    pub bos_token: Option<u32>,
    /// The tokens that end a text, without repetition.
    pub eos_tokens: Vec<u32>,
}

/// What the gate of a feed-forward block becomes. The numbers are those that the kernels read.
#[derive(serde::Serialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Activation {
    /// a / (1 + exp(-a)).
    #[default]
    Silu = 0,
    /// The Gaussian error linear unit in its approximation by tanh.
    Gelu = 1,
}

/// Which projections add a bias, in every layer alike.
#[derive(serde::Serialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Biases {
    /// Queries, keys and values.
    pub qkv: bool,
    /// The projection of what attention gathered.
    pub attention_output: bool,
    /// Gate, up and down.
    pub mlp: bool,
}

/// What a file says, not yet checked. Every number comes with its file and the name of its field.
struct Draft<'a> {
    architecture: Architecture,
    hidden_size: Named<'a, u64>,
    n_layers: Named<'a, u64>,
    n_heads: Named<'a, u64>,
    n_kv_heads: Option<Named<'a, u64>>,
    head_dim: Option<Named<'a, u64>>,
    ffn_size: Named<'a, u64>,
    vocab_size: Named<'a, u64>,
    context_len: Named<'a, u64>,
    sliding_window: Option<Named<'a, u64>>,
    full_layers: Vec<u32>,
    rms_norm_eps: Named<'a, f64>,
    rope_theta: Named<'a, f64>,
    local_rope_theta: Option<Named<'a, f64>>,
    rope_scaling: ScalingDraft<'a>,
    rotated: Rotated<'a>,
    no_rope_layers: Vec<u32>,
    qk_norm: bool,
    query_scalar: Option<Named<'a, f64>>,
    score_cap: Option<Named<'a, f64>>,
    logit_cap: Option<Named<'a, f64>>,
    biases: Biases,
    tied_embeddings: bool,
    bos_token: Option<Named<'a, u64>>,
    eos_tokens: Vec<Named<'a, u64>>,
}

/// How much of a head is rotated.
enum Rotated<'a> {
    /// This share of its columns.
    Share(Named<'a, f64>),
    /// So many columns; `None` is all.
    Columns(Option<Named<'a, u64>>),
}

/// A value and where it comes from.
struct Named<'a, T> {
    file: &'a str,
    field: String,
    value: T,
}

impl Config {
    /// Whether the queries and keys of a layer are rotated.
    pub fn has_rope(&self, layer: u32) -> bool {
        self.no_rope_layers.binary_search(&layer).is_err()
    }

    /// Whether a layer has a window.
    pub fn slides(&self, layer: u32) -> bool {
        self.sliding_window.is_some() && self.full_layers.binary_search(&layer).is_err()
    }
}

impl<'a> Object<'a> {
    fn named<T>(&self, key: &str, value: T) -> Named<'a, T> {
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
    // Kernels load four values at a time.
    let quads = |named: &Named<'_, u64>, cap: u64| match bounded(named, cap)? {
        value if value.is_multiple_of(4) => Ok(value),
        _ => Err(invalid(named, "a multiple of 4")),
    };
    let hidden_size = quads(&draft.hidden_size, MAX_HIDDEN)?;
    let n_heads = bounded(&draft.n_heads, MAX_HEADS)?;
    let n_kv_heads = match &draft.n_kv_heads {
        Some(named) => {
            let n_kv_heads = bounded(named, MAX_HEADS)?;
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
    let head_dim = quads(&head_dim, MAX_HEAD_DIM)?;
    let vocab_size = bounded(&draft.vocab_size, MAX_VOCAB)?;
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
    let context_len = bounded(&draft.context_len, MAX_CONTEXT)?;
    let rope_theta = positive(&draft.rope_theta, MAX_THETA)?;
    let query_scalar = draft.query_scalar.map(|named| positive(&named, MAX_QUERY_SCALAR)).transpose()?;
    let conventions = draft.architecture.conventions();
    let rope_dim = draft.rotated.columns(head_dim)?;
    let pairs = rope_dim.checked_div(2).unwrap_or_default();
    let (rope_scaling, rope_factors) = draft.rope_scaling.check(rope_theta, context_len, pairs)?;
    Ok(Config {
        architecture: draft.architecture,
        hidden_size,
        n_layers: bounded(&draft.n_layers, MAX_LAYERS)?,
        n_heads,
        n_kv_heads,
        head_dim,
        ffn_size: quads(&draft.ffn_size, MAX_FFN)?,
        vocab_size,
        context_len,
        sliding_window: draft.sliding_window.map(|named| bounded(&named, MAX_CONTEXT)).transpose()?,
        full_layers: draft.full_layers,
        rms_norm_eps: positive(&draft.rms_norm_eps, 1.0)?,
        rope_theta,
        local_rope_theta: draft.local_rope_theta.map(|named| positive(&named, MAX_THETA)).transpose()?,
        rope_scaling,
        rope_factors,
        rope_dim,
        no_rope_layers: draft.no_rope_layers,
        qk_norm: draft.qk_norm,
        post_norms: conventions.is_gemma,
        activation: if conventions.is_gemma { Activation::Gelu } else { Activation::Silu },
        embedding_scale: if conventions.is_gemma { nearest(f64::from(hidden_size).sqrt()) } else { 1.0 },
        query_scalar: query_scalar.filter(|scalar| f64::from(*scalar) != f64::from(head_dim)),
        score_cap: draft.score_cap.map(|named| positive(&named, MAX_CAP)).transpose()?,
        logit_cap: draft.logit_cap.map(|named| positive(&named, MAX_CAP)).transpose()?,
        biases: draft.biases,
        tied_embeddings: draft.tied_embeddings,
        bos_token: draft.bos_token.as_ref().map(token).transpose()?,
        eos_tokens,
    })
}

impl Rotated<'_> {
    /// The columns that are rotated in a head `head_dim` wide.
    fn columns(self, head_dim: u32) -> Result<u32, ModelFileError> {
        let fits = |columns: &u32| columns.is_multiple_of(2) && (2..=head_dim).contains(columns);
        let expected = format!("an even number of columns, 2 to {head_dim}");
        match self {
            Self::Columns(None) => Ok(head_dim),
            Self::Columns(Some(named)) => {
                let columns = u32::try_from(named.value).ok();
                columns.filter(fits).ok_or_else(|| invalid(&named, expected))
            }
            Self::Share(named) => {
                // Rounded down, as `int()` does; a share that is no number leaves no column.
                let share = f64::from(head_dim) * named.value;
                let columns = (2..=head_dim).rev().find(|columns| f64::from(*columns) <= share);
                let columns = columns.filter(|_| named.value <= 1.0);
                columns.filter(fits).ok_or_else(|| invalid(&named, format!("a share that leaves {expected}")))
            }
        }
    }
}

/// A size: 1 to `cap`.
fn bounded(named: &Named<'_, u64>, cap: u64) -> Result<u32, ModelFileError> {
    if named.value == 0 {
        return Err(invalid(named, "at least 1"));
    }
    at_most(named.file, &named.field, named.value, cap).and_then(|value| to_u32(named, value))
}

fn to_u32(named: &Named<'_, u64>, value: u64) -> Result<u32, ModelFileError> {
    u32::try_from(value).map_err(|_| invalid(named, "a number below 2^32"))
}

/// A number that stays above 0 as an f32, and at most `max`.
fn positive(named: &Named<'_, f64>, max: f32) -> Result<f32, ModelFileError> {
    let value = nearest(named.value);
    if value.is_normal() && value > 0.0 && value <= max {
        return Ok(value);
    }
    Err(invalid(named, format!("a number above 0 and at most {max}")))
}

fn invalid<T: ToString>(named: &Named<'_, T>, expected: impl Into<String>) -> ModelFileError {
    let (file, field) = (named.file.to_owned(), named.field.clone());
    ModelFileError::Invalid { file, field, value: named.value.to_string(), expected: expected.into() }
}

/// What the engine cannot do; `supported` lists what it can.
fn unsupported(
    file: &str,
    field: String,
    value: impl Into<String>,
    supported: Option<&str>,
) -> ModelFileError {
    let supported = supported.map(str::to_owned);
    ModelFileError::Unsupported { file: file.to_owned(), field, value: value.into(), supported }
}
