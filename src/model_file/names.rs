//! The weights of a Llama model, and what each file format calls them.
//!
//! The tables are the only place that knows a tensor's name; shapes follow from the config. Names
//! after `transformers` (`modeling_llama.py`) and llama.cpp (`gguf-py/gguf/constants.py`).

use super::config::Config;

/// A weight of the whole model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WeightName {
    /// `(vocab_size, hidden_size)`.
    TokenEmbedding,
    /// `(vocab_size, hidden_size)`; absent when tied to the token embedding.
    Output,
    /// `(1, hidden_size)`.
    OutputNorm,
    /// A weight of the layer with this number.
    Layer(u32, LayerWeight),
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
    /// `(hidden_size, n_heads * head_dim)`.
    O,
    /// `(1, hidden_size)`.
    FfnNorm,
    /// `(ffn_size, hidden_size)`.
    Gate,
    /// `(ffn_size, hidden_size)`.
    Up,
    /// `(hidden_size, ffn_size)`.
    Down,
}

impl LayerWeight {
    /// All weights of a layer, in the order the forward pass needs them.
    pub const ALL: [Self; 9] =
        [Self::AttnNorm, Self::Q, Self::K, Self::V, Self::O, Self::FfnNorm, Self::Gate, Self::Up, Self::Down];
}

impl WeightName {
    /// All weights the config asks for.
    pub fn all(config: &Config) -> impl Iterator<Item = Self> {
        let layers =
            (0..config.n_layers).flat_map(|layer| LayerWeight::ALL.map(|weight| Self::Layer(layer, weight)));
        let output = (!config.tied_embeddings).then_some(Self::Output);
        std::iter::once(Self::TokenEmbedding).chain(layers).chain([Self::OutputNorm]).chain(output)
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
            Self::Layer(_, weight) => match weight {
                LayerWeight::AttnNorm | LayerWeight::FfnNorm => (1, hidden),
                LayerWeight::Q => (q, hidden),
                LayerWeight::K | LayerWeight::V => (kv, hidden),
                LayerWeight::O => (hidden, q),
                LayerWeight::Gate | LayerWeight::Up => (ffn, hidden),
                LayerWeight::Down => (hidden, ffn),
            },
        }
    }

    /// Whether it is a vector, stored with one dimension.
    pub(super) fn is_norm(self) -> bool {
        matches!(self, Self::OutputNorm | Self::Layer(_, LayerWeight::AttnNorm | LayerWeight::FfnNorm))
    }

    /// The tensor's name in a Hugging Face checkpoint.
    pub fn huggingface(self) -> String {
        let (layer, weight) = match self {
            Self::TokenEmbedding => return "model.embed_tokens.weight".to_owned(),
            Self::Output => return "lm_head.weight".to_owned(),
            Self::OutputNorm => return "model.norm.weight".to_owned(),
            Self::Layer(layer, weight) => (layer, weight),
        };
        let name = match weight {
            LayerWeight::AttnNorm => "input_layernorm",
            LayerWeight::Q => "self_attn.q_proj",
            LayerWeight::K => "self_attn.k_proj",
            LayerWeight::V => "self_attn.v_proj",
            LayerWeight::O => "self_attn.o_proj",
            LayerWeight::FfnNorm => "post_attention_layernorm",
            LayerWeight::Gate => "mlp.gate_proj",
            LayerWeight::Up => "mlp.up_proj",
            LayerWeight::Down => "mlp.down_proj",
        };
        format!("{HUGGINGFACE_LAYERS}{layer}.{name}.weight")
    }

    /// The tensor's name in a GGUF file.
    pub fn gguf(self) -> String {
        let (layer, weight) = match self {
            Self::TokenEmbedding => return "token_embd.weight".to_owned(),
            Self::Output => return "output.weight".to_owned(),
            Self::OutputNorm => return "output_norm.weight".to_owned(),
            Self::Layer(layer, weight) => (layer, weight),
        };
        let name = match weight {
            LayerWeight::AttnNorm => "attn_norm",
            LayerWeight::Q => "attn_q",
            LayerWeight::K => "attn_k",
            LayerWeight::V => "attn_v",
            LayerWeight::O => "attn_output",
            LayerWeight::FfnNorm => "ffn_norm",
            LayerWeight::Gate => "ffn_gate",
            LayerWeight::Up => "ffn_up",
            LayerWeight::Down => "ffn_down",
        };
        format!("{GGUF_LAYERS}{layer}.{name}.weight")
    }
}

const HUGGINGFACE_LAYERS: &str = "model.layers.";
const GGUF_LAYERS: &str = "blk.";

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
    // `rope_freqs` scales frequencies as Llama 3 does; a bias is added to its product.
    if name == "rope_freqs.weight" || name.ends_with(".bias") {
        return Extra::Changes;
    }
    let layer = name.strip_prefix(HUGGINGFACE_LAYERS).or_else(|| name.strip_prefix(GGUF_LAYERS));
    let number = layer.and_then(|rest| rest.split('.').next()).and_then(|number| number.parse::<u32>().ok());
    match number {
        Some(number) if number < config.n_layers => Extra::Changes,
        _ => Extra::Unknown,
    }
}
