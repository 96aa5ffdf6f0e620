//! Configs, of either format, that lie or ask for another function.

use serde_json::{Value as Json, json};

use super::cases::{Case, config, gguf, key, raw_config, set};
use crate::support::gguf_writer::{Value, ggml};
use crate::support::tiny_model::{CONFIG, GGUF, TinyModel, WEIGHTS};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = json_numbers();
    cases.extend(gguf_numbers());
    cases.extend(another_function());
    cases.extend(rope_scaling());
    cases.extend(other_architectures());
    cases.extend(files());
    cases
}

fn json_numbers() -> Vec<Case> {
    vec![
        config(14, "heads", "Invalid", "num_attention_heads", json!(0)),
        config(14, "heads", "OverCap", "num_attention_heads", json!(1025)),
        config(14, "heads", "WrongType", "num_attention_heads", json!("2")),
        config(14, "heads", "WrongType", "num_attention_heads", json!(2.5)),
        config(14, "heads do not divide", "Invalid", "num_key_value_heads", json!(3)),
        config(14, "heads do not divide", "Invalid", "num_key_value_heads", json!(0)),
        config(14, "hidden size", "Invalid", "hidden_size", json!(0)),
        config(14, "hidden size", "Invalid", "hidden_size", json!(10)),
        config(14, "hidden size", "WrongType", "hidden_size", json!(-8)),
        config(14, "hidden size", "OverCap", "hidden_size", json!(u64::MAX)),
        config(14, "hidden size", "Missing", "hidden_size", json!(null)),
        config(14, "head width", "Invalid", "head_dim", json!(6)),
        config(14, "head width", "OverCap", "head_dim", json!(4096)),
        config(14, "feed-forward size", "Invalid", "intermediate_size", json!(13)),
        config(14, "layers", "OverCap", "num_hidden_layers", json!(1025)),
        config(14, "layers", "Invalid", "num_hidden_layers", json!(0)),
        config(14, "vocabulary", "OverCap", "vocab_size", json!((1 << 20) + 1)),
        config(14, "context", "OverCap", "max_position_embeddings", json!((1 << 22) + 1)),
        config(14, "epsilon", "Invalid", "rms_norm_eps", json!(0)),
        config(14, "epsilon", "Invalid", "rms_norm_eps", json!(-1e-5)),
        config(14, "epsilon", "Invalid", "rms_norm_eps", json!(1e-60)),
        config(14, "rope base", "Invalid", "rope_theta", json!(0.0)),
        config(14, "rope base", "Invalid", "rope_theta", json!(1e39)),
        config(14, "rope base", "WrongType", "rope_theta", json!("NaN")),
        config(14, "token number", "Invalid", "eos_token_id", json!([2, 12])),
        config(14, "token number", "WrongType", "eos_token_id", json!([2, "x"])),
        config(14, "token number", "OverCap", "eos_token_id", json!(vec![2; 65])),
        config(14, "token number", "Invalid", "bos_token_id", json!(u64::MAX)),
        config(15, "shape not of the config", "Shape", "embed_tokens", json!(null)).with_vocab(11),
    ]
}

impl Case {
    /// The tiny checkpoint whose config gives `vocab` rows; the weights disagree.
    fn with_vocab(mut self, vocab: u32) -> Self {
        let mut json = TinyModel::new().config();
        json["vocab_size"] = vocab.into();
        self.files =
            set([(CONFIG, json.to_string().into_bytes()), (WEIGHTS, TinyModel::new().safetensors().bytes())]);
        self.file = WEIGHTS;
        self
    }
}

fn gguf_numbers() -> Vec<Case> {
    vec![
        key(14, "heads", "Invalid", "llama.attention.head_count", Value::u32(0)),
        key(14, "heads do not divide", "Invalid", "llama.attention.head_count_kv", Value::u32(4)),
        key(14, "layers", "OverCap", "llama.block_count", Value::u32(u32::MAX)),
        key(14, "vocabulary", "OverCap", "llama.vocab_size", Value::u32(u32::MAX)),
        key(14, "context", "OverCap", "llama.context_length", Value::u64(1 << 40)),
        key(14, "epsilon", "Invalid", "llama.attention.layer_norm_rms_epsilon", Value::f32(f32::NAN)),
        key(14, "epsilon", "Invalid", "llama.attention.layer_norm_rms_epsilon", Value::f32(f32::INFINITY)),
        key(14, "rope base", "Invalid", "llama.rope.freq_base", Value::f32(f32::NEG_INFINITY)),
        gguf(14, "hidden size", "Missing", "llama.embedding_length", |f| f.remove("llama.embedding_length")),
        gguf(14, "heads do not divide", "Invalid", "llama.attention.head_count", |f| {
            f.remove("llama.attention.key_length");
            f.remove("llama.attention.head_count_kv");
            f.set("llama.attention.head_count", Value::u32(3));
        }),
    ]
}

fn another_function() -> Vec<Case> {
    const CLASS: &str = "asks for another function";
    let refused = |name, value| config(14, CLASS, "Unsupported", name, value);
    let refused_key = |name, value| key(14, CLASS, "Unsupported", name, value);
    vec![
        refused("model_type", json!("gpt2")),
        refused("architectures", json!(["LlamaForSequenceClassification"])),
        refused("hidden_act", json!("gelu")),
        refused("rope_scaling", json!({"type": "dynamic", "factor": 2.0})),
        refused("rope_parameters", json!({"rope_type": "dynamic", "rope_theta": 5e5})),
        refused("partial_rotary_factor", json!(0.5)),
        refused("sliding_window", json!(4096)),
        config(14, CLASS, "Other", "quantization_config", json!({"quant_method": "gptq"})),
        refused_key("general.architecture", Value::string("qwen2\u{1b}[31m")),
        refused_key("llama.rope.scaling.type", Value::string("ntk")),
        refused_key("llama.rope.scaling.attn_factor", Value::f32(1.5)),
        refused_key("llama.expert_count", Value::u32(8)),
        refused_key("llama.rope.dimension_count", Value::u32(2)),
        key(14, CLASS, "Other", "split.count", Value::u32(3)),
    ]
}

/// Scalings of RoPE, in either format, that name no function.
fn rope_scaling() -> Vec<Case> {
    const CLASS: &str = "rope scaling";
    let rope = |variant, says, rope| {
        let mut json = TinyModel::new().config();
        json["rope_scaling"] = rope;
        raw_config(14, CLASS, variant, says, json.to_string())
    };
    let yarn = |variant, says, name: &str, value: Json| {
        let mut scaling = json!({"rope_type": "yarn", "factor": 4.0});
        scaling[name] = value;
        rope(variant, says, scaling)
    };
    let llama3 = |variant, says, name: &str, value: Json| {
        let mut scaling =
            json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4});
        scaling[name] = value;
        rope(variant, says, scaling)
    };
    let long = |variant, says, name: &str, value: Json| {
        let mut scaling = json!({"rope_type": "longrope", "short_factor": [1, 1], "long_factor": [2, 3]});
        scaling[name] = value;
        rope(variant, says, scaling)
    };
    let gguf_yarn = |variant, says: &'static str, value| {
        gguf(14, CLASS, variant, says, |f| {
            f.set("llama.rope.scaling.type", Value::string("yarn"));
            f.set("llama.rope.scaling.factor", Value::f32(4.0));
            f.set(says, value);
        })
    };
    let mut flat = TinyModel::new().config();
    flat["rope_theta"] = json!(1.0);
    flat["rope_scaling"] = json!({"rope_type": "yarn", "factor": 4.0});
    vec![
        rope("WrongType", "rope_scaling", json!("linear")),
        rope("WrongType", "rope_scaling.rope_type", json!({"rope_type": 3})),
        rope("Unsupported", "supported: default, linear, llama3, yarn", json!({"type": "\u{1b}[31m"})),
        rope("Missing", "rope_scaling.factor", json!({"type": "linear"})),
        rope("Invalid", "rope_scaling.factor", json!({"type": "linear", "factor": 0})),
        rope("Invalid", "rope_scaling.factor", json!({"type": "linear", "factor": -2.0})),
        rope("Invalid", "rope_scaling.factor", json!({"type": "linear", "factor": 1e300})),
        rope("WrongType", "rope_scaling.factor", json!({"type": "linear", "factor": "4"})),
        llama3("Missing", "low_freq_factor", "low_freq_factor", json!(null)),
        llama3("Invalid", "high_freq_factor", "high_freq_factor", json!(1)),
        llama3("Invalid", "low_freq_factor", "low_freq_factor", json!(0)),
        llama3("Invalid", "original_max_position", "original_max_position_embeddings", json!(0)),
        llama3("OverCap", "original_max_position", "original_max_position_embeddings", json!(1_u64 << 40)),
        yarn("Invalid", "beta_fast", "beta_fast", json!(0.5)),
        yarn("Invalid", "beta_slow", "beta_slow", json!(-1)),
        yarn("Invalid", "attention_factor", "attention_factor", json!(-1)),
        // The file's number, not what the formula makes of it.
        rope(
            "Invalid",
            "mscale\" is -1000, ",
            json!({"type": "yarn", "factor": 4, "mscale": -1000, "mscale_all_dim": 1}),
        ),
        gguf(14, CLASS, "Invalid", "llama.rope.scaling.attn_factor\" is 1000000, ", |f| {
            f.set("llama.rope.scaling.type", Value::string("yarn"));
            f.set("llama.rope.scaling.factor", Value::f32(4.0));
            f.set("llama.rope.scaling.attn_factor", Value::f32(1e6));
        }),
        long("Missing", "long_factor", "long_factor", Json::Null),
        long("Invalid", "short_factor\" count is 1, expected the 2 pairs", "short_factor", json!([1])),
        long("Invalid", "long_factor", "long_factor", json!([1, 0])),
        long("Invalid", "long_factor", "long_factor", json!([1, 1e300])),
        long("WrongType", "short_factor", "short_factor", json!([1, "2"])),
        long("WrongType", "short_factor", "short_factor", json!(1)),
        long("OverCap", "short_factor\" count", "short_factor", json!(vec![1; 1025])),
        long("Invalid", "attention_factor", "attention_factor", json!(0)),
        long("Invalid", "original_max_position_embeddings", "original_max_position_embeddings", json!(0)),
        long(
            "Invalid",
            "embeddings\" is 1, expected at least 2",
            "original_max_position_embeddings",
            json!(1),
        ),
        gguf(14, CLASS, "Missing", "rope_factors_short.weight", |f| {
            f.set("llama.rope.scaling.type", Value::string("longrope"));
        }),
        gguf(14, CLASS, "Missing", "rope_factors_short.weight", |f| {
            f.add_tensor("rope_factors_long.weight", &[2], ggml::F32, vec![0; 8]);
        }),
        gguf(14, CLASS, "Unsupported", "rope_factors_long.weight", |f| {
            f.set("llama.rope.scaling.factor", Value::f32(4.0));
            f.add_tensor("rope_factors_long.weight", &[2], ggml::F32, vec![0; 8]);
        }),
        yarn("WrongType", "truncate", "truncate", json!("no")),
        raw_config(14, CLASS, "Invalid", "under YaRN", flat.to_string()),
        gguf_yarn("Invalid", "llama.rope.scaling.yarn_beta_fast", Value::f32(0.5)),
        gguf_yarn("Invalid", "llama.rope.scaling.factor", Value::f32(f32::NAN)),
        gguf_yarn("Invalid", "llama.rope.scaling.attn_factor", Value::f32(f32::INFINITY)),
        gguf_yarn("Invalid", "llama.rope.scaling.original_context_length", Value::u32(0)),
        gguf_yarn("Unsupported", "llama.rope.scaling.yarn_log_multiplier", Value::f32(0.1)),
        gguf_yarn("Unsupported", "llama.rope.scaling.yarn_ext_factor", Value::f32(0.5)),
        gguf_yarn("WrongType", "llama.rope.scaling.yarn_beta_slow", Value::u32(1)),
        gguf(14, CLASS, "Unsupported", "rope_freqs.weight", |f| {
            f.set("llama.rope.scaling.factor", Value::f32(4.0));
            f.add_tensor("rope_freqs.weight", &[2], ggml::F32, vec![0; 8]);
        }),
        gguf(15, CLASS, "Shape", "rope_freqs.weight", |f| {
            f.add_tensor("rope_freqs.weight", &[3], ggml::F32, vec![0; 12]);
        }),
    ]
}

/// What only some architectures have.
fn other_architectures() -> Vec<Case> {
    const CLASS: &str = "another architecture";
    let changed = |variant, says, changes: Json| {
        let mut json = TinyModel::new().config();
        for (name, value) in changes.as_object().into_iter().flatten() {
            json[name] = value.clone();
        }
        raw_config(14, CLASS, variant, says, json.to_string())
    };
    let named = |variant, says, name: &str, class: &str, mut changes: Json| {
        changes["model_type"] = json!(name);
        changes["architectures"] = json!([class]);
        changed(variant, says, changes)
    };
    let qwen = |variant, says, changes| named(variant, says, "qwen3", "Qwen3ForCausalLM", changes);
    let smollm = |variant, says, changes| named(variant, says, "smollm3", "SmolLM3ForCausalLM", changes);
    let short =
        json!({"use_sliding_window": true, "sliding_window": 8, "layer_types": [], "num_hidden_layers": 2});
    let mixed = json!({"sliding_window": 8, "layer_types": ["full_attention"]});
    let odd_layers =
        json!({"use_sliding_window": true, "sliding_window": 8, "layer_types": ["linear_attention"]});
    vec![
        changed(
            "Unsupported",
            "supported: llama, mistral, qwen2, qwen3, smollm3, phi3, gemma2, gemma3_text",
            json!({"model_type": "gpt2"}),
        ),
        changed("Unsupported", "supported: LlamaForCausalLM", json!({"architectures": ["Qwen2ForCausalLM"]})),
        qwen("Missing", "num_key_value_heads", json!({"num_key_value_heads": null})),
        qwen("Invalid", "layer_types\" count is 0, expected the 2 layers", short),
        named("Unsupported", "not of every layer", "mistral", "MistralForCausalLM", mixed),
        qwen("Unsupported", "layer_types", odd_layers),
        qwen("Unsupported", "partial_rotary_factor", json!({"partial_rotary_factor": 0.5})),
        named("Invalid", "sliding_window", "mistral", "MistralForCausalLM", json!({"sliding_window": 0})),
        named(
            "OverCap",
            "sliding_window",
            "mistral",
            "MistralForCausalLM",
            json!({"sliding_window": 1_u64 << 40}),
        ),
        named(
            "Invalid",
            "partial_rotary_factor",
            "phi3",
            "Phi3ForCausalLM",
            json!({"partial_rotary_factor": 0.1}),
        ),
        named(
            "Invalid",
            "partial_rotary_factor",
            "phi3",
            "Phi3ForCausalLM",
            json!({"partial_rotary_factor": 1.5}),
        ),
        named(
            "Unsupported",
            "rope_type",
            "phi3",
            "Phi3ForCausalLM",
            json!({"rope_scaling": {"type": "yarn", "factor": 2}}),
        ),
        smollm("Invalid", "no_rope_layers", json!({"no_rope_layers": []})),
        smollm("WrongType", "no_rope_layers", json!({"no_rope_layers": [2]})),
        smollm("WrongType", "no_rope_layers", json!({"no_rope_layers": {"0": 1}})),
        gguf(
            14,
            CLASS,
            "Unsupported",
            "supported: llama, qwen2, qwen3, smollm3, phi3, gemma2, gemma3",
            |f| {
                f.set("general.architecture", Value::string("gemma"));
            },
        ),
        // The keys of another architecture are not there.
        gguf(14, CLASS, "Missing", "qwen2.block_count", |f| {
            f.set("general.architecture", Value::string("qwen2"));
        }),
        gguf(14, CLASS, "Unsupported", "sliding_window_pattern", |f| {
            f.set("llama.attention.sliding_window", Value::u32(8));
            f.set("llama.attention.sliding_window_pattern", Value::u32(2));
        }),
    ]
}

fn files() -> Vec<Case> {
    let weights = || TinyModel::new().safetensors().bytes();
    let twice = TinyModel::new().config().to_string().replacen('{', "{\"vocab_size\":12,", 1);
    let nested = format!("{{\"x\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(1 << 20));
    let mut cases = vec![
        raw_config(14, "config not JSON", "Json", "the file", "{\"hidden_size\": 8".to_owned()),
        raw_config(14, "config not JSON", "Json", "the file", "{\"rms_norm_eps\": NaN}".to_owned()),
        raw_config(14, "config not JSON", "Json", "the file", "{} {}".to_owned()),
        raw_config(14, "config not an object", "WrongType", "the file", "[]".to_owned()),
        raw_config(14, "config nests too deep", "Json", "recursion limit", nested),
        raw_config(14, "config too long", "OverCap", "length", long),
        raw_config(19, "duplicate JSON key", "Duplicate", "vocab_size", twice),
        key(14, "policy not JSON", "Json", "killick.policy", Value::string("{")),
        key(14, "policy not an object", "WrongType", "killick.policy", Value::string("7")),
        config(14, "policy not an object", "WrongType", "killick_policy", json!("full")),
    ];
    let mut odd = |class, variant, file, says, files| {
        cases.push(Case { row: 18, class, variant, file, says, files });
    };
    odd("no config", "Missing", "tiny", "config.json", set([(WEIGHTS, weights())]));
    odd("no model file", "Missing", "tiny", "a model file", set([(CONFIG, b"{}".to_vec())]));
    odd("two models", "Invalid", "tiny", "b.gguf", set([(GGUF, Vec::new()), ("b.gguf", Vec::new())]));
    let config = || TinyModel::new().config().to_string().into_bytes();
    let mut beside = |row, class, variant, file, says, bytes| {
        let files = set([(CONFIG, config()), (WEIGHTS, weights()), (file, bytes)]);
        cases.push(Case { row, class, variant, file, says, files });
    };
    let template = |len: usize| format!("{{\"chat_template\":\"{}\"}}", "{".repeat(len)).into_bytes();
    beside(
        21,
        "template too long",
        "OverCap",
        "tokenizer_config.json",
        "chat_template",
        template((256 << 10) + 1),
    );
    beside(21, "template too long", "OverCap", "chat_template.jinja", "length", vec![b'{'; (256 << 10) + 1]);
    beside(21, "template not UTF-8", "Invalid", "chat_template.jinja", "UTF-8", vec![0xFF]);
    beside(
        14,
        "token number",
        "Invalid",
        "generation_config.json",
        "eos_token_id",
        b"{\"eos_token_id\":99}".to_vec(),
    );
    cases
}
