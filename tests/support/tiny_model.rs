//! A Llama model of a few thousand weights, written in either format.
//!
//! Its weights are a plain map, so a test knows what each row must read as.

use std::collections::BTreeMap;

use killick::model_file::{LayerWeight, WeightName};
use serde_json::{Value as Json, json};

use super::Random;
use super::gguf_writer::{Gguf, Value, ggml};
use super::safetensors_writer::Safetensors;

/// The file names [`TinyModel::files`] uses.
pub const CONFIG: &str = "config.json";
pub const WEIGHTS: &str = "model.safetensors";
pub const GGUF: &str = "tiny.gguf";

/// A weight: rows, columns, values in row-major order; a norm has one row.
pub type Weight = (u32, u32, Vec<f32>);

/// Sizes and weights.
#[derive(Clone)]
pub struct TinyModel {
    pub hidden: u32,
    pub layers: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub ffn: u32,
    pub vocab: u32,
    pub context: u32,
    pub eps: f32,
    pub theta: f32,
    pub tied: bool,
    pub weights: BTreeMap<WeightName, Weight>,
}

impl TinyModel {
    /// One layer, 2 heads over 1 key head, vocabulary of 12.
    pub fn new() -> Self {
        let mut model = Self {
            hidden: 8,
            layers: 1,
            heads: 2,
            kv_heads: 1,
            head_dim: 4,
            ffn: 12,
            vocab: 12,
            context: 64,
            eps: 1e-5,
            theta: 10_000.0,
            tied: true,
            weights: BTreeMap::new(),
        };
        model.randomize(7);
        model
    }

    /// Two layers and a vocabulary of 514, for the tokenizer of `tokenizer/tiny.json`; [`Self::folder`] has both.
    pub fn speaking() -> Self {
        let sizes = Self {
            hidden: 32,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 8,
            ffn: 64,
            vocab: 514,
            context: 2048,
            ..Self::new()
        };
        let mut model = sizes;
        model.randomize(11);
        model
    }

    /// The files of a checkpoint folder with the tokenizer of `tokenizer/tiny.json` and a chat template; token 0 begins a text and
    /// `eos` ends it.
    pub fn folder(&self, eos: u32, chat_template: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.files();
        let mut config = self.config();
        config["eos_token_id"] = json!(eos);
        config["bos_token_id"] = json!(0);
        files.insert(CONFIG.to_owned(), config.to_string().into_bytes());
        let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tokenizer/tiny.json");
        files.insert("tokenizer.json".to_owned(), std::fs::read(tokenizer).unwrap());
        let settings =
            json!({"chat_template": chat_template, "bos_token": "<bos>", "eos_token": "<|im_end|>"});
        files.insert("tokenizer_config.json".to_owned(), settings.to_string().into_bytes());
        files
    }

    /// Draws every weight the sizes ask for anew, uniformly between -0.5 and 0.5 (norms around 1).
    pub fn randomize(&mut self, seed: u64) {
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut shapes = vec![
            (WeightName::TokenEmbedding, self.vocab, self.hidden),
            (WeightName::OutputNorm, 1, self.hidden),
        ];
        if !self.tied {
            shapes.push((WeightName::Output, self.vocab, self.hidden));
        }
        for layer in 0..self.layers {
            let of_layer = [
                (LayerWeight::AttnNorm, 1, self.hidden),
                (LayerWeight::Q, q, self.hidden),
                (LayerWeight::K, kv, self.hidden),
                (LayerWeight::V, kv, self.hidden),
                (LayerWeight::O, self.hidden, q),
                (LayerWeight::FfnNorm, 1, self.hidden),
                (LayerWeight::Gate, self.ffn, self.hidden),
                (LayerWeight::Up, self.ffn, self.hidden),
                (LayerWeight::Down, self.hidden, self.ffn),
            ];
            shapes.extend(of_layer.map(|(name, rows, cols)| (WeightName::Layer(layer, name), rows, cols)));
        }
        let mut random = Random(seed);
        let draw = |(name, rows, cols): (WeightName, u32, u32)| {
            let bias = if rows == 1 { 1.0 } else { 0.0 };
            let values = (0..rows * cols).map(|_| bias + random.uniform() / 2.0).collect();
            (name, (rows, cols, values))
        };
        self.weights = shapes.into_iter().map(draw).collect();
    }

    /// config.json.
    pub fn config(&self) -> Json {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.ffn,
            "vocab_size": self.vocab,
            "max_position_embeddings": self.context,
            "rms_norm_eps": self.eps,
            "rope_theta": self.theta,
            "tie_word_embeddings": self.tied,
            "bos_token_id": 1,
            "eos_token_id": 2,
        })
    }

    /// The weights as safetensors, F32.
    pub fn safetensors(&self) -> Safetensors {
        let mut file = Safetensors::default();
        for (name, (rows, cols, values)) in &self.weights {
            let shape =
                if *rows == 1 { vec![u64::from(*cols)] } else { vec![u64::from(*rows), u64::from(*cols)] };
            file.add(&name.huggingface(), "F32", &shape, f32_bytes(values));
        }
        file
    }

    /// The files of a checkpoint folder.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let config = self.config().to_string().into_bytes();
        BTreeMap::from([(CONFIG.to_owned(), config), (WEIGHTS.to_owned(), self.safetensors().bytes())])
    }

    /// The model as GGUF version 3, F32, with a byte-level vocabulary of `vocab` one-letter tokens.
    pub fn gguf(&self) -> Gguf {
        let mut file = Gguf::new(3);
        file.set("general.architecture", Value::string("llama"));
        file.set("llama.block_count", Value::u32(self.layers));
        file.set("llama.context_length", Value::u32(self.context));
        file.set("llama.embedding_length", Value::u32(self.hidden));
        file.set("llama.feed_forward_length", Value::u32(self.ffn));
        file.set("llama.attention.head_count", Value::u32(self.heads));
        file.set("llama.attention.head_count_kv", Value::u32(self.kv_heads));
        file.set("llama.attention.key_length", Value::u32(self.head_dim));
        file.set("llama.rope.dimension_count", Value::u32(self.head_dim));
        file.set("llama.rope.freq_base", Value::f32(self.theta));
        file.set("llama.attention.layer_norm_rms_epsilon", Value::f32(self.eps));
        file.set("llama.vocab_size", Value::u32(self.vocab));
        let tokens: Vec<String> = ('a'..).take(self.vocab as usize).map(String::from).collect();
        file.set("tokenizer.ggml.model", Value::string("gpt2"));
        file.set("tokenizer.ggml.pre", Value::string("smollm"));
        file.set("tokenizer.ggml.tokens", Value::strings(&tokens));
        file.set("tokenizer.ggml.token_type", Value::i32s(&vec![1; tokens.len()]));
        file.set("tokenizer.ggml.merges", Value::strings(&["a b"]));
        file.set("tokenizer.ggml.bos_token_id", Value::u32(1));
        file.set("tokenizer.ggml.eos_token_id", Value::u32(2));
        for (name, (rows, cols, values)) in &self.weights {
            let (rows, cols) = (u64::from(*rows), u64::from(*cols));
            let dims = if rows == 1 { vec![cols] } else { vec![cols, rows] };
            let data = match name {
                WeightName::Layer(_, LayerWeight::Q | LayerWeight::K) => {
                    permuted(values, cols as usize, self.head_dim as usize)
                }
                _ => values.clone(),
            };
            file.add_tensor(&name.gguf(), &dims, ggml::F32, f32_bytes(&data));
        }
        file
    }
}

/// The bytes of f32 values.
pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Rows as llama.cpp's converter reorders them: within a head, row `i` of each half goes to row `2 i + half`
/// (`LlamaModel.permute` in `convert_hf_to_gguf.py`).
pub fn permuted(values: &[f32], cols: usize, head_dim: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    for (row, from) in values.chunks_exact(cols).enumerate() {
        let (head, within) = (row / head_dim, row % head_dim);
        let (half, i) = (within / (head_dim / 2), within % (head_dim / 2));
        let to = head * head_dim + 2 * i + half;
        out[to * cols..][..cols].copy_from_slice(from);
    }
    out
}
