//! The weights of a model, and what each file format calls them.
//!
//! The tables are the only place that knows a tensor's name; shapes follow from the config. Phi-3 stacks several
//! weights in one tensor, so a weight is a range of a tensor's rows ([`Place`]). Names after `transformers` (`modeling_llama.py`) and llama.cpp (`gguf-py/gguf/constants.py`).

use super::config::{Config, RopeScaling};
use super::error::{ModelFileError, quoted};
use super::tensor::{TensorInfo, field};

/// A weight of the whole model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WeightName {
    /// `(vocab_size, hidden_size)`.
    TokenEmbedding,
    /// `(vocab_size, hidden_size)`; absent when tied to the token embedding.
    Output,
    /// `(1, hidden_size)`.
    OutputNorm,
    /// `(1, rope_dim / 2)`; what each rotary frequency is divided by ([`RopeScaling::Divisors`]).
    RopeDivisors,
    /// The same in a text that stays within the original context ([`RopeScaling::LongRope`]).
    ShortDivisors,
    /// The same in a longer text.
    LongDivisors,
    /// A weight of the layer with this number.
    Layer(u32, LayerWeight),
    /// `(rows, 1)`; what is added to the product of a projection with so many rows.
    Bias(u32, LayerWeight),
}

/// A weight of one layer; a projection maps its last dimension to its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LayerWeight {
    /// `(1, hidden_size)`.
    AttnNorm,
    /// `(n_heads * head_dim, hidden_size)`.
    Q,
    /// `(n_kv_heads * head_dim, hidden_size)`.
    K,
    /// `(n_kv_heads * head_dim, hidden_size)`.
    V,
    /// `(1, head_dim)`; scales each head of queries.
    QNorm,
    /// `(1, head_dim)`; scales each head of keys.
    KNorm,
    /// `(hidden_size, n_heads * head_dim)`.
    O,
    /// `(1, hidden_size)`; of what attention made, before it is added.
    AttnPostNorm,
    /// `(1, hidden_size)`.
    FfnNorm,
    /// `(ffn_size, hidden_size)`.
    Gate,
    /// `(ffn_size, hidden_size)`.
    Up,
    /// `(hidden_size, ffn_size)`.
    Down,
    /// `(1, hidden_size)`; of what the feed-forward block made, before it is added.
    FfnPostNorm,
}

impl LayerWeight {
    /// All weights of a layer, in the order the forward pass needs them.
    pub const ALL: [Self; 13] = [
        Self::AttnNorm,
        Self::Q,
        Self::K,
        Self::V,
        Self::QNorm,
        Self::KNorm,
        Self::O,
        Self::AttnPostNorm,
        Self::FfnNorm,
        Self::Gate,
        Self::Up,
        Self::Down,
        Self::FfnPostNorm,
    ];

    /// Whether the config asks for it.
    fn is_used(self, config: &Config) -> bool {
        match self {
            Self::QNorm | Self::KNorm => config.qk_norm,
            Self::AttnPostNorm | Self::FfnPostNorm => config.post_norms,
            _ => true,
        }
    }

    /// Whether the config asks for a bias beside it.
    pub fn has_bias(self, config: &Config) -> bool {
        match self {
            Self::Q | Self::K | Self::V => config.biases.qkv,
            Self::O => config.biases.attention_output,
            Self::Gate | Self::Up | Self::Down => config.biases.mlp,
            Self::AttnNorm | Self::FfnNorm | Self::QNorm | Self::KNorm => false,
            Self::AttnPostNorm | Self::FfnPostNorm => false,
        }
    }

    /// The stack that it is a part of, in a file that has such.
    fn stack(self) -> Option<&'static Stack> {
        match self {
            Self::Q | Self::K | Self::V => Some(&QKV),
            Self::Gate | Self::Up => Some(&GATE_UP),
            Self::AttnNorm | Self::QNorm | Self::KNorm | Self::O | Self::FfnNorm | Self::Down => None,
            Self::AttnPostNorm | Self::FfnPostNorm => None,
        }
    }
}

/// Weights that some files have in one tensor, one below the other.
struct Stack {
    weights: &'static [LayerWeight],
    huggingface: &'static str,
    gguf: &'static str,
}

const QKV: Stack = Stack {
    weights: &[LayerWeight::Q, LayerWeight::K, LayerWeight::V],
    huggingface: "self_attn.qkv_proj",
    gguf: "attn_qkv",
};
const GATE_UP: Stack =
    Stack { weights: &[LayerWeight::Gate, LayerWeight::Up], huggingface: "mlp.gate_up_proj", gguf: "ffn_up" };

/// Where a weight lies.
pub(super) struct Place {
    /// Name of the tensor.
    pub(super) tensor: String,
    /// Its first row there.
    pub(super) first_row: u32,
    /// All rows of the tensor.
    pub(super) rows: u32,
}

impl WeightName {
    /// All weights the config asks for.
    pub fn all(config: &Config) -> impl Iterator<Item = Self> {
        let of_layer = move |layer| {
            let weights = LayerWeight::ALL.into_iter().filter(move |weight| weight.is_used(config));
            weights.flat_map(move |weight| {
                let bias = weight.has_bias(config).then_some(Self::Bias(layer, weight));
                std::iter::once(Self::Layer(layer, weight)).chain(bias)
            })
        };
        let output = (!config.tied_embeddings).then_some(Self::Output);
        let divisors: &[Self] = match config.rope_scaling {
            RopeScaling::Divisors => &[Self::RopeDivisors],
            RopeScaling::LongRope { .. } if config.rope_factors.is_none() => {
                &[Self::ShortDivisors, Self::LongDivisors]
            }
            _ => &[],
        };
        let layers = (0..config.n_layers).flat_map(of_layer);
        std::iter::once(Self::TokenEmbedding)
            .chain(layers)
            .chain([Self::OutputNorm])
            .chain(output)
            .chain(divisors.iter().copied())
    }

    /// Whether it is what a norm multiplies with.
    pub fn is_gain(&self) -> bool {
        use LayerWeight::{AttnNorm, AttnPostNorm, FfnNorm, FfnPostNorm, KNorm, QNorm};
        matches!(
            self,
            Self::OutputNorm
                | Self::Layer(_, AttnNorm | AttnPostNorm | FfnNorm | FfnPostNorm | QNorm | KNorm)
        )
    }

    /// Whether it is a list of what frequencies are divided by.
    pub fn is_divisors(&self) -> bool {
        matches!(self, Self::RopeDivisors | Self::ShortDivisors | Self::LongDivisors)
    }

    /// Whether it is a matrix that inputs are multiplied with, or a table of rows; all else are vectors.
    pub fn is_matrix(&self) -> bool {
        use LayerWeight::{Down, Gate, K, O, Q, Up, V};
        matches!(self, Self::TokenEmbedding | Self::Output | Self::Layer(_, Q | K | V | O | Gate | Up | Down))
    }

    /// Rows and columns that follow from the config.
    pub fn shape(self, config: &Config) -> (u32, u32) {
        let (hidden, ffn) = (config.hidden_size, config.ffn_size);
        // Both products are at most 2^20: the config is validated.
        let q = config.n_heads.saturating_mul(config.head_dim);
        let kv = config.n_kv_heads.saturating_mul(config.head_dim);
        match self {
            Self::TokenEmbedding | Self::Output => (config.vocab_size, hidden),
            Self::OutputNorm => (1, hidden),
            Self::RopeDivisors | Self::ShortDivisors | Self::LongDivisors => {
                (1, config.rope_dim.checked_div(2).unwrap_or_default())
            }
            Self::Layer(_, weight) => match weight {
                LayerWeight::AttnNorm | LayerWeight::AttnPostNorm => (1, hidden),
                LayerWeight::FfnNorm | LayerWeight::FfnPostNorm => (1, hidden),
                LayerWeight::QNorm | LayerWeight::KNorm => (1, config.head_dim),
                LayerWeight::Q => (q, hidden),
                LayerWeight::K | LayerWeight::V => (kv, hidden),
                LayerWeight::O => (hidden, q),
                LayerWeight::Gate | LayerWeight::Up => (ffn, hidden),
                LayerWeight::Down => (hidden, ffn),
            },
            Self::Bias(layer, weight) => (Self::Layer(layer, weight).shape(config).0, 1),
        }
    }

    /// Whether it is a vector, stored with one dimension.
    pub(super) fn is_vector(self) -> bool {
        use LayerWeight::{AttnNorm, AttnPostNorm, FfnNorm, FfnPostNorm, KNorm, QNorm};
        use LayerWeight::{Down, Gate, K, O, Q, Up, V};
        match self {
            Self::RopeDivisors | Self::ShortDivisors | Self::LongDivisors => true,
            Self::OutputNorm | Self::Bias(..) => true,
            Self::Layer(_, AttnNorm | AttnPostNorm | FfnNorm | FfnPostNorm | QNorm | KNorm) => true,
            Self::Layer(_, Q | K | V | O | Gate | Up | Down) => false,
            Self::TokenEmbedding | Self::Output => false,
        }
    }

    /// Where a file of this kind has it.
    pub(super) fn place(self, config: &Config, gguf: bool) -> Place {
        let rows_of = |name: Self| name.shape(config).0;
        if let Self::Layer(layer, weight) = self
            && config.architecture.conventions().stacked
            && let Some(stack) = weight.stack()
        {
            let (layers, name) =
                if gguf { (GGUF_LAYERS, stack.gguf) } else { (HUGGINGFACE_LAYERS, stack.huggingface) };
            let stacked = |weights: &mut dyn Iterator<Item = &LayerWeight>| {
                weights.fold(0_u32, |sum, one| sum.saturating_add(rows_of(Self::Layer(layer, *one))))
            };
            return Place {
                tensor: format!("{layers}{layer}.{name}.weight"),
                first_row: stacked(&mut stack.weights.iter().take_while(|one| **one != weight)),
                rows: stacked(&mut stack.weights.iter()),
            };
        }
        let tensor = match self {
            // Where there is a norm after attention, that has the name which elsewhere is that of the next one.
            Self::Layer(layer, LayerWeight::FfnNorm) if config.post_norms && !gguf => {
                format!("{HUGGINGFACE_LAYERS}{layer}.pre_feedforward_layernorm.weight")
            }
            _ if gguf => self.gguf(),
            _ => self.huggingface(),
        };
        Place { tensor, first_row: 0, rows: rows_of(self) }
    }

    /// The tensor that holds it in a new file: name, rows (`None` for a vector) and columns.
    #[cfg(feature = "convert")]
    pub(crate) fn stored_as(self, config: &Config, gguf: bool) -> (String, Option<u64>, u64) {
        let (place, (rows, columns)) = (self.place(config, gguf), self.shape(config));
        if self.is_vector() {
            return (place.tensor, None, u64::from(rows).saturating_mul(columns.into()));
        }
        (place.tensor, Some(place.rows.into()), columns.into())
    }

    /// The tensor's name in a Hugging Face checkpoint that stacks nothing.
    pub fn huggingface(self) -> String {
        let (layer, weight, end) = match self {
            Self::TokenEmbedding => return "model.embed_tokens.weight".to_owned(),
            Self::Output => return "lm_head.weight".to_owned(),
            Self::OutputNorm => return "model.norm.weight".to_owned(),
            Self::RopeDivisors => return ROPE_DIVISORS.to_owned(),
            Self::ShortDivisors => return SHORT_DIVISORS.to_owned(),
            Self::LongDivisors => return LONG_DIVISORS.to_owned(),
            Self::Layer(layer, weight) => (layer, weight, "weight"),
            Self::Bias(layer, weight) => (layer, weight, "bias"),
        };
        let name = match weight {
            LayerWeight::AttnNorm => "input_layernorm",
            LayerWeight::Q => "self_attn.q_proj",
            LayerWeight::K => "self_attn.k_proj",
            LayerWeight::V => "self_attn.v_proj",
            LayerWeight::QNorm => "self_attn.q_norm",
            LayerWeight::KNorm => "self_attn.k_norm",
            LayerWeight::O => "self_attn.o_proj",
            // Gemma, which has both, calls the second `pre_feedforward_layernorm`.
            LayerWeight::AttnPostNorm | LayerWeight::FfnNorm => "post_attention_layernorm",
            LayerWeight::FfnPostNorm => "post_feedforward_layernorm",
            LayerWeight::Gate => "mlp.gate_proj",
            LayerWeight::Up => "mlp.up_proj",
            LayerWeight::Down => "mlp.down_proj",
        };
        format!("{HUGGINGFACE_LAYERS}{layer}.{name}.{end}")
    }

    /// The tensor's name in a GGUF file that stacks nothing.
    pub fn gguf(self) -> String {
        let (layer, weight, end) = match self {
            Self::TokenEmbedding => return "token_embd.weight".to_owned(),
            Self::Output => return "output.weight".to_owned(),
            Self::OutputNorm => return "output_norm.weight".to_owned(),
            Self::RopeDivisors => return ROPE_DIVISORS.to_owned(),
            Self::ShortDivisors => return SHORT_DIVISORS.to_owned(),
            Self::LongDivisors => return LONG_DIVISORS.to_owned(),
            Self::Layer(layer, weight) => (layer, weight, "weight"),
            Self::Bias(layer, weight) => (layer, weight, "bias"),
        };
        let name = match weight {
            LayerWeight::AttnNorm => "attn_norm",
            LayerWeight::Q => "attn_q",
            LayerWeight::K => "attn_k",
            LayerWeight::V => "attn_v",
            LayerWeight::QNorm => "attn_q_norm",
            LayerWeight::KNorm => "attn_k_norm",
            LayerWeight::O => "attn_output",
            LayerWeight::AttnPostNorm => "post_attention_norm",
            LayerWeight::FfnNorm => "ffn_norm",
            LayerWeight::FfnPostNorm => "post_ffw_norm",
            LayerWeight::Gate => "ffn_gate",
            LayerWeight::Up => "ffn_up",
            LayerWeight::Down => "ffn_down",
        };
        format!("{GGUF_LAYERS}{layer}.{name}.{end}")
    }
}

const HUGGINGFACE_LAYERS: &str = "model.layers.";
const GGUF_LAYERS: &str = "blk.";
pub(super) const ROPE_DIVISORS: &str = "rope_freqs.weight";
pub(super) const SHORT_DIVISORS: &str = "rope_factors_short.weight";
pub(super) const LONG_DIVISORS: &str = "rope_factors_long.weight";

/// The error for a weight whose tensor is missing; where another tensor's name only begins in another way, it says so.
pub(super) fn missing(file: &str, tensor: &str, tensors: &[TensorInfo]) -> ModelFileError {
    let inner = tensor.strip_prefix("model.").unwrap_or(tensor);
    let similar = tensors.iter().find_map(|one| one.name.strip_suffix(inner).map(|before| (one, before)));
    let hint = match similar {
        Some((one, before)) if !before.is_empty() && before.ends_with('.') => format!(
            " (there is {}; names that begin with {} are not read)",
            quoted(&one.name),
            quoted(before)
        ),
        _ => String::new(),
    };
    ModelFileError::Missing { file: file.to_owned(), field: format!("{}{hint}", field(tensor)) }
}

/// What a tensor that the model does not name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    /// Known, and without influence on the function.
    Harmless,
    /// It would change the function this engine computes.
    Changes,
    /// Unknown, and outside the layers the forward pass uses.
    Unknown,
}

/// Judges a tensor that no [`WeightName`] of the model stands for.
pub(super) fn judge_extra(name: &str, config: &Config) -> Extra {
    // Inverse frequencies follow from rope_theta; old checkpoints store them all the same.
    if name.ends_with("rotary_emb.inv_freq") {
        return Extra::Harmless;
    }
    // A stored output matrix that the config declares tied is a copy (`transformers` drops it too).
    if config.tied_embeddings && name == WeightName::Output.huggingface() {
        return Extra::Harmless;
    }
    // All of the first kind scale rotary frequencies; a bias is added to its product.
    if name.starts_with("rope_f") || name.ends_with(".bias") {
        return Extra::Changes;
    }
    let layer = name.strip_prefix(HUGGINGFACE_LAYERS).or_else(|| name.strip_prefix(GGUF_LAYERS));
    let number = layer.and_then(|rest| rest.split('.').next()).and_then(|number| number.parse::<u32>().ok());
    match number {
        Some(number) if number < config.n_layers => Extra::Changes,
        _ => Extra::Unknown,
    }
}
