//! Every tiny checkpoint, from one form to the other and back.

use killick::convert::Form;
use killick::model_file::{Config, Encoding, RopeScaling};
use pollster::block_on;
use serde_json::{Value as Json, json};

use super::{assert_same_weights, data, in_memory, open, to};

/// The tiny checkpoints, each as a folder and where there is one as GGUF.
const MODELS: [&str; 30] = [
    "gqa",
    "gqa.f32.gguf",
    "mha-untied",
    "mha-untied.f16.gguf",
    "bf16",
    "blocks",
    "blocks.mixed.gguf",
    "anllm",
    "linear",
    "linear.f16.gguf",
    "yarn",
    "yarn.f16.gguf",
    "llama3",
    "biases",
    "biases.f16.gguf",
    "mistral",
    "mistral.f16.gguf",
    "qwen2",
    "qwen2.f16.gguf",
    "qwen3",
    "qwen3.f16.gguf",
    "smollm3",
    "smollm3.f16.gguf",
    "phi3",
    "longrope",
    "longrope.f16.gguf",
    "gemma2",
    "gemma2.f16.gguf",
    "gemma3",
    "gemma3.f16.gguf",
];

#[test]
fn every_architecture_goes_to_both_forms_and_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for name in MODELS.into_iter().chain(["phi3.f16.gguf"]) {
        let old = open(&data(&format!("tiny/{name}")));
        let (gguf, back) =
            (folder.path().join(format!("{name}.gguf")), folder.path().join(format!("{name}-back")));
        to(&old, &gguf, Form::Gguf, Encoding::F32).unwrap_or_else(|error| panic!("{name}: {error}"));
        let middle = open(&gguf);
        assert_same_weights(name, &old, &middle);
        assert_eq!(middle.policy(), old.policy(), "{name}");
        if name == "llama3" {
            // Its scaling is a tensor of divisors now, and not one of those that were published.
            assert_eq!(middle.config.rope_scaling, RopeScaling::Divisors);
            let error = to(&middle, &back, Form::Safetensors, Encoding::F32).unwrap_err();
            assert!(error.to_string().contains("rope_freqs.weight"), "{error}");
            continue;
        }
        to(&middle, &back, Form::Safetensors, Encoding::F32)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let new = open(&back);
        assert_same_weights(name, &old, &new);
        assert_eq!(new.policy(), old.policy(), "{name}");
        if name == "longrope.f16.gguf" {
            // Tensors there, lists here.
            assert!(new.config.rope_factors.is_some() && old.config.rope_factors.is_none());
            assert_eq!(Config { rope_factors: None, ..new.config.clone() }, old.config, "{name}");
            assert_eq!(block_on(new.rope_divisors()).unwrap(), block_on(old.rope_divisors()).unwrap());
        } else if name != "mistral.f16.gguf" {
            assert_eq!(new.config, old.config, "{name}");
        }
    }
}

/// GGUF has no key for which layers of a Qwen have a window; config.json has.
#[test]
fn windows_of_some_layers_go_to_a_folder_only() {
    let folder = tempfile::tempdir().unwrap();
    let old = open(&data("tiny/windows"));
    let error = to(&old, &folder.path().join("a.gguf"), Form::Gguf, Encoding::F32).unwrap_err();
    assert!(error.to_string().contains("a window that some layers have"), "{error}");
    let path = folder.path().join("b");
    to(&old, &path, Form::Safetensors, Encoding::F32).unwrap();
    let new = open(&path);
    assert_same_weights("windows", &old, &new);
    assert_eq!(new.config, old.config);
}

/// What no key of GGUF says about a Gemma, and what it says by other means.
#[test]
fn a_gemma_that_gguf_cannot_describe_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let changed = |family: &str, key: &str, value: Json| {
        let read = |file: &str| std::fs::read(data(&format!("tiny/{family}/{file}"))).unwrap();
        let mut config: Json = serde_json::from_slice(&read("config.json")).unwrap();
        config[key] = value;
        let files = [
            ("config.json", config.to_string().into_bytes()),
            ("model.safetensors", read("model.safetensors")),
        ];
        in_memory(files.map(|(name, bytes)| (name.to_owned(), bytes)).into())
    };
    let full = "full_attention";
    for (family, key, value, named) in [
        ("gemma2", "query_pre_attn_scalar", json!(64), "query_scalar"),
        ("gemma2", "attn_logit_softcapping", Json::Null, "score_cap"),
        ("gemma2", "layer_types", json!([full, "sliding_attention", "sliding_attention"]), "full_layers"),
        ("gemma3", "sliding_window_pattern", json!(3), "full_layers"),
        ("gemma3", "final_logit_softcapping", json!(20.0), "logit_cap"),
    ] {
        let file = changed(family, key, value);
        let error = to(&file, &folder.path().join("a.gguf"), Form::Gguf, Encoding::F32).unwrap_err();
        assert!(error.to_string().contains(named), "{family} {key}: {error}");
        to(&file, &folder.path().join(key), Form::Safetensors, Encoding::F32)
            .unwrap_or_else(|error| panic!("{family} {key}: {error}"));
        assert_eq!(open(&folder.path().join(key)).config, file.config, "{family} {key}");
        std::fs::remove_dir_all(folder.path().join(key)).unwrap();
    }
}
