//! What a config of each architecture means: defaults, windows, layers without positions, scalings of RoPE.
//!
//! Only the reading; that the numbers are used as PyTorch uses them is the matter of tests/gpu_families.rs.

mod support;

use std::collections::BTreeMap;

use killick::model_file::{
    Activation, Architecture, Biases, Config, FileSet, LayerWeight, ModelFile, ModelFileError, RopeDivisors,
    RopeScaling, WeightName,
};
use pollster::block_on;
use serde_json::{Value as Json, json};
use support::gguf_writer::{Value, ggml};
use support::tiny_model::{CONFIG, GGUF, TinyModel, WEIGHTS, f32_bytes};

/// The tiny checkpoint with these keys of config.json, and whatever further tensors they ask for.
fn read(changes: Json, tensors: &[(&str, &[u64])]) -> Result<ModelFile, ModelFileError> {
    let mut model = TinyModel { layers: 4, ..TinyModel::new() };
    model.randomize(3);
    let mut config = model.config();
    for (key, value) in changes.as_object().expect("an object") {
        config[key] = value.clone();
    }
    let mut weights = model.safetensors();
    for (name, shape) in tensors {
        for layer in 0..4 {
            let bytes = vec![0; 4 * shape.iter().product::<u64>() as usize];
            weights.add(&format!("model.layers.{layer}.{name}"), "F32", shape, bytes);
        }
    }
    let files = [(CONFIG, config.to_string().into_bytes()), (WEIGHTS, weights.bytes())];
    block_on(ModelFile::open(FileSet::from_bytes(BTreeMap::from(
        files.map(|(name, b)| (name.to_owned(), b)),
    ))))
}

fn config(changes: Json) -> Config {
    read(changes, &[]).unwrap_or_else(|error| panic!("{error}")).config
}

/// The same with the names of an architecture.
fn of(name: &str, class: &str, mut changes: Json) -> Json {
    changes["model_type"] = json!(name);
    changes["architectures"] = json!([class]);
    changes
}

const QKV_BIAS: [(&str, &[u64]); 3] =
    [("self_attn.q_proj.bias", &[8]), ("self_attn.k_proj.bias", &[4]), ("self_attn.v_proj.bias", &[4])];

fn qwen2(changes: Json) -> Config {
    read(of("qwen2", "Qwen2ForCausalLM", changes), &QKV_BIAS).unwrap_or_else(|error| panic!("{error}")).config
}

#[test]
fn a_class_alone_names_the_architecture() {
    let class = |class: &str| config(json!({"model_type": null, "architectures": [class]})).architecture;
    assert_eq!(class("LlamaForCausalLM"), Architecture::Llama);
    assert_eq!(class("MistralForCausalLM"), Architecture::Mistral);
    assert_eq!(config(json!({"architectures": null})).architecture, Architecture::Llama);
}

#[test]
fn a_window_is_none_when_null_and_the_default_when_absent() {
    let mistral = |changes| config(of("mistral", "MistralForCausalLM", changes)).sliding_window;
    assert_eq!(mistral(json!({"sliding_window": 16})), Some(16));
    assert_eq!(mistral(json!({"sliding_window": null})), None);
    assert_eq!(mistral(json!({})), Some(4096), "MistralConfig of transformers");
    assert_eq!(mistral(json!({"sliding_window": 16, "layer_types": vec!["sliding_attention"; 4]})), Some(16));
}

#[test]
fn qwen_has_a_window_where_its_layers_say() {
    let window = |changes| qwen2(changes).sliding_window;
    assert_eq!(window(json!({"sliding_window": 16})), None, "not used");
    assert_eq!(window(json!({"sliding_window": 16, "use_sliding_window": false})), None);
    let used = |key: &str, value: Json| json!({"sliding_window": 16, "use_sliding_window": true, key: value});
    assert_eq!(window(used("max_window_layers", json!(0))), Some(16));
    assert_eq!(window(used("max_window_layers", json!(4))), None, "no layer reaches it");
    assert_eq!(window(used("max_window_layers", json!(null))), None, "28 layers by default");
    assert_eq!(window(used("layer_types", json!(vec!["full_attention"; 4]))), None);
    let [full, near] = ["full_attention", "sliding_attention"];
    let mixed = qwen2(used("layer_types", json!([full, near, near, full])));
    assert_eq!((mixed.sliding_window, &mixed.full_layers[..]), (Some(16), &[0, 3][..]));
    let near = [0, 1, 2, 3].map(|layer| mixed.scoring(layer).near);
    assert_eq!(near, [false, true, true, false]);
    let late = qwen2(used("max_window_layers", json!(1)));
    assert_eq!((late.sliding_window, &late.full_layers[..]), (Some(16), &[0][..]));
    let all = qwen2(used("max_window_layers", json!(0)));
    assert!(all.full_layers.is_empty() && !all.scoring(0).near, "that is the window of policy full");
    let short = used("layer_types", json!([full, "sliding_attention"]));
    let error = read(of("qwen2", "Qwen2ForCausalLM", short), &QKV_BIAS).err().expect("two of four layers");
    assert_eq!(error.to_string(), "\"config.json\": key \"layer_types\" count is 2, expected the 4 layers");
}

#[test]
fn biases_are_those_of_the_architecture() {
    assert_eq!(qwen2(json!({})).biases, Biases { qkv: true, ..Biases::default() });
    let attention = read(json!({"attention_bias": true}), &QKV_BIAS).err().expect("no bias of the output");
    assert!(attention.to_string().contains("o_proj.bias\" is missing"), "{attention}");
    let mut tensors = QKV_BIAS.to_vec();
    tensors.push(("self_attn.o_proj.bias", &[8]));
    let file = read(json!({"attention_bias": true}), &tensors).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(file.config.biases, Biases { qkv: true, attention_output: true, mlp: false });
    let unasked = read(json!({}), &QKV_BIAS).err().expect("biases that the config does not ask for");
    assert!(matches!(unasked, ModelFileError::Unsupported { .. }), "{unasked}");
}

#[test]
fn smollm3_leaves_every_fourth_layer_without_positions() {
    let smollm = |changes| config(of("smollm3", "SmolLM3ForCausalLM", changes));
    assert_eq!(smollm(json!({})).no_rope_layers, [3]);
    assert_eq!(smollm(json!({"no_rope_layer_interval": 2})).no_rope_layers, [1, 3]);
    assert_eq!(smollm(json!({"no_rope_layers": [0, 1, 1, 0, 0]})).no_rope_layers, [0, 3], "a longer list");
    let defaults = smollm(json!({"rope_theta": null, "tie_word_embeddings": null}));
    assert!(defaults.rope_theta == 2_000_000.0 && defaults.tied_embeddings);
    assert!(defaults.has_rope(2) && !defaults.has_rope(3));
    assert_eq!(
        config(json!({"no_rope_layers": [0, 0, 0, 0]})).no_rope_layers,
        [0_u32; 0],
        "Llama has no such key"
    );
}

/// Without weights, as only the config is asked about.
fn gemma(name: &str, changes: Json) -> Result<Config, ModelFileError> {
    let class = if name == "gemma2" { "Gemma2ForCausalLM" } else { "Gemma3ForCausalLM" };
    let mut config = TinyModel { layers: 8, ..TinyModel::new() }.config();
    config.as_object_mut().expect("an object").remove("tie_word_embeddings");
    for (key, value) in of(name, class, changes).as_object().expect("an object") {
        config[key] = value.clone();
    }
    Config::from_config_json(config.to_string().as_bytes())
}

#[test]
fn gemma_2_has_windows_in_every_other_layer_and_bounds() {
    let read = |changes| gemma("gemma2", changes).unwrap_or_else(|error| panic!("{error}"));
    let defaults = read(json!({}));
    assert_eq!((defaults.sliding_window, &defaults.full_layers[..]), (Some(4096), &[1, 3, 5, 7][..]));
    assert_eq!((defaults.score_cap, defaults.logit_cap), (Some(50.0), Some(30.0)));
    assert_eq!((defaults.query_scalar, defaults.local_rope_theta), (Some(256.0), None));
    assert_eq!((defaults.activation, defaults.embedding_scale), (Activation::Gelu, 8.0_f32.sqrt()));
    assert!(defaults.post_norms && defaults.tied_embeddings && !defaults.qk_norm);
    let scoring = defaults.scoring(0);
    assert_eq!((scoring.scale, scoring.cap, scoring.near), (1.0 / 16.0, 50.0, true));
    assert!(!defaults.scoring(1).near);
    let none = read(
        json!({"attn_logit_softcapping": null, "final_logit_softcapping": null, "query_pre_attn_scalar": 4}),
    );
    assert_eq!((none.score_cap, none.logit_cap, none.query_scalar), (None, None, None), "heads are 4 wide");
    // What older files call the activation is not read.
    assert_eq!(read(json!({"hidden_act": "gelu"})).activation, Activation::Gelu);
    for (key, value) in [
        ("hidden_activation", json!("relu")),
        ("use_bidirectional_attention", json!(true)),
        ("head_dim", Json::Null),
        ("attn_logit_softcapping", json!(0)),
        ("query_pre_attn_scalar", json!(-1)),
    ] {
        let error = gemma("gemma2", json!({key: value})).expect_err("no Gemma that is computed here");
        assert!(error.to_string().contains(key), "{error}");
    }
}

#[test]
fn gemma_3_turns_its_layers_by_two_bases() {
    let read = |changes| gemma("gemma3_text", changes).unwrap_or_else(|error| panic!("{error}"));
    let defaults = read(json!({"rope_theta": null}));
    assert_eq!((defaults.rope_theta, defaults.local_rope_theta), (1e6, Some(1e4)));
    assert_eq!(defaults.full_layers, [5]);
    assert_eq!((defaults.score_cap, defaults.logit_cap, defaults.qk_norm), (None, None, true));
    assert_eq!(read(json!({"sliding_window_pattern": 2})).full_layers, [1, 3, 5, 7]);
    let old = read(json!({"rope_scaling": {"rope_type": "linear", "factor": 8}, "rope_local_base_freq": 7}));
    assert_eq!((old.rope_scaling, old.local_rope_theta), (RopeScaling::Linear { factor: 8.0 }, Some(7.0)));
    // As transformers 5 writes it.
    let new = read(json!({"rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8, "rope_theta": 9.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 7.0},
    }}));
    assert_eq!((new.rope_scaling, new.rope_theta, new.local_rope_theta), (old.rope_scaling, 9.0, Some(7.0)));
    for (key, changes) in [
        ("attn_logit_softcapping", json!({"attn_logit_softcapping": 50})),
        (
            "rope_type",
            json!({"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2}}}),
        ),
        ("rope_local_base_freq", json!({"rope_local_base_freq": 0})),
    ] {
        let error = gemma("gemma3_text", changes).expect_err("no Gemma that is computed here");
        assert!(error.to_string().contains(key), "{error}");
    }
}

#[test]
fn reads_every_scaling_of_rope() {
    let scaling = |rope: Json| config(json!({"rope_scaling": rope})).rope_scaling;
    assert_eq!(scaling(json!({"rope_type": "default"})), RopeScaling::None);
    assert_eq!(scaling(json!({})), RopeScaling::None);
    assert_eq!(scaling(json!({"type": "linear", "factor": 2})), RopeScaling::Linear { factor: 2.0 });
    let llama3 = json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
        "original_max_position_embeddings": 16});
    assert_eq!(
        scaling(llama3),
        RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 16
        }
    );
    let yarn = |attention_factor| RopeScaling::Yarn {
        factor: 4.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor,
        truncate: true,
        original_context: 64,
    };
    // The context is 64; a suggested attention factor is 0.1 ln(factor) + 1.
    assert_eq!(scaling(json!({"type": "yarn", "factor": 4})), yarn(1.138_629_4));
    assert_eq!(scaling(json!({"type": "yarn", "factor": 4, "attention_factor": 1.5})), yarn(1.5));
    let weighted = json!({"type": "yarn", "factor": 4, "mscale": 1, "mscale_all_dim": 1});
    assert_eq!(scaling(weighted), yarn(1.0));
    // Its context is 4 times the original one; a growth is suggested where none is given.
    let long = |more: Json| {
        let mut rope = json!({"type": "longrope", "short_factor": [1, 2], "long_factor": [3, 4.5],
            "original_max_position_embeddings": 16});
        rope.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        config(json!({"rope_scaling": rope}))
    };
    let growth = |attention_factor| RopeScaling::LongRope { attention_factor, original_context: 16 };
    let suggested = long(json!({}));
    assert_eq!(suggested.rope_scaling, growth(1.224_744_9));
    let factors = RopeDivisors { short: vec![1.0, 2.0], long: Some(vec![3.0, 4.5]) };
    assert_eq!(suggested.rope_factors, Some(factors));
    assert_eq!(long(json!({"factor": 1})).rope_scaling, growth(1.0));
    assert_eq!(long(json!({"attention_factor": 1.5})).rope_scaling, growth(1.5));
    let phi3 = |kind: &str| {
        let rope = json!({"type": kind, "short_factor": [1, 2], "long_factor": [3, 4]});
        read(of("phi3", "Phi3ForCausalLM", json!({"rope_scaling": rope})), &[])
    };
    assert!(phi3("longrope").err().expect("no stacked weights").to_string().contains("qkv_proj"));
    assert!(phi3("su").err().expect("no stacked weights").to_string().contains("qkv_proj"));
    assert!(phi3("yarn").err().expect("another formula").to_string().contains("rope_type"));
    // transformers 5 writes one object, and what it says of the base wins.
    let new = config(json!({"rope_parameters": {"rope_type": "linear", "factor": 3, "rope_theta": 7.0}}));
    assert_eq!((new.rope_scaling, new.rope_theta), (RopeScaling::Linear { factor: 3.0 }, 7.0));
    let both = config(
        json!({"rope_parameters": {"rope_type": "linear", "factor": 3}, "rope_scaling": {"type": "linear", "factor": 2}}),
    );
    assert_eq!(both.rope_scaling, RopeScaling::Linear { factor: 2.0 });
}

#[test]
fn reads_the_scalings_of_gguf() {
    let scaling = |entries: &[(&str, Value)]| {
        let mut file = TinyModel::new().gguf();
        entries.iter().for_each(|(key, value)| file.set(&format!("llama.rope.{key}"), value.clone()));
        let files = BTreeMap::from([(GGUF.to_owned(), file.bytes())]);
        block_on(ModelFile::open(FileSet::from_bytes(files))).expect("a valid model").config.rope_scaling
    };
    assert_eq!(
        scaling(&[("scaling.type", Value::string("none")), ("scaling.factor", Value::f32(4.0))]),
        RopeScaling::None
    );
    assert_eq!(scaling(&[("scaling.factor", Value::f32(1.0))]), RopeScaling::None);
    assert_eq!(scaling(&[("scale_linear", Value::f32(4.0))]), RopeScaling::Linear { factor: 4.0 });
    assert_eq!(
        scaling(&[("scaling.type", Value::string("linear")), ("scaling.factor", Value::f32(2.0))]),
        RopeScaling::Linear { factor: 2.0 }
    );
    let yarn = scaling(&[
        ("scaling.type", Value::string("yarn")),
        ("scaling.factor", Value::f32(4.0)),
        ("scaling.original_context_length", Value::u32(16)),
        ("scaling.attn_factor", Value::f32(0.5)),
    ]);
    assert_eq!(
        yarn,
        RopeScaling::Yarn {
            factor: 4.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: 0.569_314_7,
            truncate: true,
            original_context: 16
        }
    );
}

#[test]
fn divisors_of_frequencies_are_read_and_checked() {
    let open = |divisors: &[f32]| {
        let mut file = TinyModel::new().gguf();
        file.add_tensor("rope_freqs.weight", &[2], ggml::F32, f32_bytes(divisors));
        let files = BTreeMap::from([(GGUF.to_owned(), file.bytes())]);
        block_on(ModelFile::open(FileSet::from_bytes(files))).expect("a valid header")
    };
    let file = open(&[1.0, 8.0]);
    assert_eq!(file.config.rope_scaling, RopeScaling::Divisors);
    let divisors = block_on(file.rope_divisors()).expect("valid");
    assert_eq!(divisors, Some(RopeDivisors { short: vec![1.0, 8.0], long: None }));
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let error = block_on(open(&[1.0, bad]).rope_divisors()).expect_err("no divisor");
        assert!(matches!(&error, ModelFileError::Invalid { .. }), "{error}");
        assert!(error.to_string().contains("rope_freqs.weight"), "{error}");
    }
}

/// Phi-3 stacks q, k and v, and gate and up; each is a range of the rows of one tensor.
#[test]
fn stacked_weights_are_taken_apart() {
    let model = TinyModel::new();
    let rows_of = |weights: &[LayerWeight]| -> Vec<f32> {
        weights.iter().flat_map(|weight| model.weights[&WeightName::Layer(0, *weight)].2.clone()).collect()
    };
    let mut weights = model.safetensors();
    weights.tensors.retain(|(name, ..)| {
        !["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"].iter().any(|w| name.contains(w))
    });
    use LayerWeight::{Gate, K, Q, Up, V};
    weights.add("model.layers.0.self_attn.qkv_proj.weight", "F32", &[16, 8], f32_bytes(&rows_of(&[Q, K, V])));
    weights.add("model.layers.0.mlp.gate_up_proj.weight", "F32", &[24, 8], f32_bytes(&rows_of(&[Gate, Up])));
    let mut config = model.config();
    config["model_type"] = json!("phi3");
    config["architectures"] = json!(["Phi3ForCausalLM"]);
    let files = [(CONFIG, config.to_string().into_bytes()), (WEIGHTS, weights.bytes())];
    let files = BTreeMap::from(files.map(|(name, bytes)| (name.to_owned(), bytes)));
    let file = block_on(ModelFile::open(FileSet::from_bytes(files))).expect("a valid model");
    for weight in [Q, K, V, Gate, Up] {
        let name = WeightName::Layer(0, weight);
        let (rows, cols, values) = &model.weights[&name];
        let all = block_on(file.read_rows(name, 0..*rows)).expect("its rows");
        assert_eq!(&all, values, "{weight:?}");
        let last = block_on(file.read_rows(name, rows - 1..*rows)).expect("its last row");
        assert_eq!(last, values[(rows - 1) as usize * *cols as usize..], "{weight:?}");
        let beyond = block_on(file.read_rows(name, 0..rows + 1)).expect_err("the next weight's row");
        assert!(matches!(beyond, ModelFileError::OverCap { .. }), "{beyond}");
    }
}
