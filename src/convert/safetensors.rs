//! The head of a safetensors file, and the config.json beside it, as `transformers` would write it for the model.

use serde_json::{Map, Value, json};

use super::layout::Layout;
use super::{ConvertError, Form};
use crate::model_file::{Activation, Architecture, Config, Encoding, ModelFile, RopeScaling};

/// The header and its length; a multiple of 8 bytes, so that tensors lie straight.
pub(super) fn head(layout: &Layout) -> Vec<u8> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut start = 0;
    for tensor in &layout.tensors {
        let end = start + tensor.bytes;
        let entry = json!({
            "dtype": tensor.encoding.dtype().name(),
            "shape": tensor.shape,
            "data_offsets": [start, end],
        });
        header.insert(tensor.name.clone(), entry);
        start = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [(header.len() as u64).to_le_bytes().to_vec(), header].concat()
}

/// config.json. All fields are named, so that a new one cannot be forgotten.
pub(super) fn config(
    file: &ModelFile,
    layout: &Layout,
    policy: Option<&Value>,
) -> Result<Vec<u8>, ConvertError> {
    let Config {
        architecture,
        hidden_size,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        ffn_size,
        vocab_size,
        context_len,
        sliding_window,
        full_layers,
        rms_norm_eps,
        rope_theta,
        local_rope_theta,
        rope_scaling: _, // as the layout says
        rope_factors: _,
        rope_dim,
        no_rope_layers,
        qk_norm: _,    // from the architecture
        post_norms: _, // from the architecture
        activation,
        embedding_scale: _, // from the architecture
        query_scalar,
        score_cap,
        logit_cap,
        biases,
        tied_embeddings,
        bos_token,
        eos_tokens,
    } = &file.config;
    // A llama with a window is a Mistral, which has no name of its own in GGUF.
    let architecture = match architecture {
        Architecture::Llama if sliding_window.is_some() => &Architecture::Mistral,
        other => other,
    };
    let eos_tokens = match eos_tokens.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    };
    let dtype = layout.tensors.iter().find(|tensor| tensor.shape.len() > 1).map(|tensor| tensor.encoding);
    let act = match activation {
        Activation::Silu => "silu",
        Activation::Gelu => "gelu_pytorch_tanh",
    };
    let mut config = json!({
        "architectures": [architecture.class()],
        "model_type": architecture.name(),
        "hidden_act": act,
        "hidden_size": hidden_size,
        "intermediate_size": ffn_size,
        "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_kv_heads,
        "head_dim": head_dim,
        "vocab_size": vocab_size,
        "max_position_embeddings": context_len,
        "rms_norm_eps": shortest(*rms_norm_eps),
        "rope_theta": shortest(*rope_theta),
        "rope_scaling": rope_scaling(layout),
        "attention_bias": biases.attention_output,
        "mlp_bias": biases.mlp,
        "tie_word_embeddings": tied_embeddings,
        "bos_token_id": bos_token,
        "eos_token_id": eos_tokens,
        "torch_dtype": match dtype {
            Some(Encoding::F32) => "float32",
            Some(Encoding::BF16) => "bfloat16",
            Some(Encoding::F16) | None => "float16",
            Some(blocks @ (Encoding::Q8_0 | Encoding::Q4_0)) => {
                unreachable!("{blocks:?} is refused, because safetensors has no blocks")
            }
        },
    });
    let mut set = |key: &str, value: Value| config[key] = value;
    // Absent, some architectures have a window by default.
    set("sliding_window", json!(sliding_window));
    if matches!(architecture, Architecture::Qwen2 | Architecture::Qwen3 | Architecture::SmolLm3) {
        set("use_sliding_window", json!(sliding_window.is_some()));
        set("max_window_layers", json!(0));
    }
    if architecture.is_gemma() {
        let number = |number: &Option<f32>| number.map(shortest);
        set("hidden_activation", json!(act));
        set("query_pre_attn_scalar", json!(number(query_scalar).unwrap_or(f64::from(*head_dim))));
        set("attn_logit_softcapping", json!(number(score_cap)));
        set("final_logit_softcapping", json!(number(logit_cap)));
    }
    if let Some(theta) = local_rope_theta {
        set("rope_local_base_freq", json!(shortest(*theta)));
    }
    // A Gemma without a list has a pattern of its own.
    if !full_layers.is_empty() || architecture.is_gemma() {
        let kind = |layer| if full_layers.contains(&layer) { "full_attention" } else { "sliding_attention" };
        set("layer_types", json!((0..*n_layers).map(kind).collect::<Vec<_>>()));
    }
    if *architecture == Architecture::SmolLm3 {
        let rotated = (0..*n_layers).map(|layer| u32::from(!no_rope_layers.contains(&layer)));
        set("no_rope_layers", json!(rotated.collect::<Vec<_>>()));
    }
    if let RopeScaling::LongRope { original_context, .. } = layout.rope_scaling {
        // Where it is looked for first, and Phi-3 has a default of its own.
        set("original_max_position_embeddings", json!(original_context));
    }
    if rope_dim != head_dim {
        set("partial_rotary_factor", json!(f64::from(*rope_dim) / f64::from(*head_dim)));
    }
    if let Some(policy) = policy {
        set("killick_policy", policy.clone());
    }
    let mut text = serde_json::to_vec_pretty(&config)
        .map_err(|error| Form::Safetensors.inexpressible("the config", error.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

fn rope_scaling(layout: &Layout) -> Value {
    match layout.rope_scaling {
        RopeScaling::None | RopeScaling::Divisors => Value::Null,
        RopeScaling::LongRope { attention_factor, original_context } => {
            let (short, long) = layout.rope_factors.as_ref().map_or((&[][..], &[][..]), |(s, l)| (s, l));
            let list = |list: &[f32]| list.iter().map(|factor| shortest(*factor)).collect::<Vec<_>>();
            json!({
                "rope_type": "longrope",
                "short_factor": list(short),
                "long_factor": list(long),
                "attention_factor": shortest(attention_factor),
                "original_max_position_embeddings": original_context,
            })
        }
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": shortest(factor)}),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => json!({
            "rope_type": "llama3",
            "factor": shortest(factor),
            "low_freq_factor": shortest(low_freq_factor),
            "high_freq_factor": shortest(high_freq_factor),
            "original_max_position_embeddings": original_context,
        }),
        RopeScaling::Yarn { factor, beta_fast, beta_slow, attention_factor, truncate, original_context } => {
            json!({
                "rope_type": "yarn",
                "factor": shortest(factor),
                "beta_fast": shortest(beta_fast),
                "beta_slow": shortest(beta_slow),
                "attention_factor": shortest(attention_factor),
                "truncate": truncate,
                "original_max_position_embeddings": original_context,
            })
        }
    }
}

/// The number with the fewest digits that still is this f32: 0.00001, not what its bits are in 64.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
