//! The fuzzers' targets on their seeds, on inputs that reach deep (`fuzz/corpus`), and on every input that once broke something
//! (`fuzz/found`).
//!
//! The seeds are made here; with `KILLICK_SEEDS` they are written to that folder, for the fuzzers to start from.

mod support;

#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use support::gguf_writer::{Gguf, Tensor, Value, ggml};
use support::safetensors_writer::Safetensors;
use support::tiny_model::{CONFIG, TinyModel, WEIGHTS, f32_bytes};
use targets::{Reached, TARGETS};

/// Files of one input, as the targets separate them.
fn join(files: &[&[u8]]) -> Vec<u8> {
    files.join(&b"\n%%\n"[..])
}

/// Inputs that each target accepts: by target, name and content.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let tiny = TinyModel::new();
    let files = tiny.files();
    let (config, weights) = (files[CONFIG].as_slice(), files[WEIGHTS].as_slice());
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": byte_level,
        "added_tokens": [{"id": 3, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<s>": 3}, "merges": [["a", "b"]]},
    });
    let adapter_config =
        json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "fan_in_fan_out": false});
    let mut adapter_gguf = Gguf::new(3);
    adapter_gguf.set("general.architecture", Value::string("llama"));
    adapter_gguf.set("general.type", Value::string("adapter"));
    adapter_gguf.set("adapter.type", Value::string("lora"));
    adapter_gguf.set("adapter.lora.alpha", Value::f32(4.0));
    let mut adapter_weights = Safetensors::default();
    for (letter, shape) in
        [("A", [2, u64::from(tiny.hidden)]), ("B", [u64::from(tiny.heads * tiny.head_dim), 2])]
    {
        let name = format!("base_model.model.model.layers.0.self_attn.q_proj.lora_{letter}.weight");
        let values = vec![0.5; (shape[0] * shape[1]) as usize];
        adapter_weights.add(&name, "F32", &shape, f32_bytes(&values));
        let name = format!("blk.0.attn_q.weight.lora_{}", letter.to_lowercase());
        adapter_gguf.add_tensor(&name, &[shape[1], shape[0]], ggml::F32, f32_bytes(&values));
    }
    let policy = json!({"preset": "anchor", "anchors": [1], "sinks": 4, "window": 32, "max_segment": 40});
    let template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
    vec![
        ("gguf", "tiny", tiny.gguf().bytes()),
        ("split", "two", split(&tiny)),
        ("safetensors", "tiny", join(&[config, weights])),
        ("sniff", "a GGUF", join(&[b"m.bin", &tiny.gguf().bytes()])),
        ("sniff", "safetensors", join(&[b"m.gguf", weights, config])),
        (
            "tokenizer",
            "pieces",
            join(&[include_bytes!("data/tokenizer/pieces/merged.model"), b"", b"a text to encode", b""]),
        ),
        (
            "tokenizer",
            "tiny",
            join(&[tokenizer.to_string().as_bytes(), b"{\"bos_token\": \"<s>\"}", b"abba <s> ab"]),
        ),
        (
            "adapter",
            "tiny",
            join(&[config, weights, adapter_config.to_string().as_bytes(), &adapter_weights.bytes()]),
        ),
        ("adapter", "a GGUF", join(&[config, weights, &adapter_gguf.bytes()])),
        ("plan", "tiny", join(&[config, policy.to_string().as_bytes(), b"134217728"])),
        ("template", "chatml", join(&[template.as_bytes(), b"What is an anchor?"])),
    ]
}

/// The tiny model in two parts.
fn split(tiny: &TinyModel) -> Vec<u8> {
    let whole = tiny.gguf();
    let (first, second) = whole.tensors.split_at(3);
    let part = |mut part: Gguf, number: u32, tensors: &[Tensor]| {
        part.tensors = tensors.to_vec();
        part.set("split.no", Value::u32(number));
        part.set("split.count", Value::u32(2));
        part.set("split.tensors.count", Value::u32(whole.tensors.len() as u32));
        part.bytes()
    };
    join(&[&part(whole.clone(), 0, first), &part(Gguf::new(3), 1, second)])
}

#[test]
fn every_target_accepts_its_seed() {
    for (target, name, seed) in seeds() {
        let (_, run) = TARGETS.iter().find(|(other, _)| *other == target).expect("a target");
        assert_eq!(run(&seed), Reached::Used, "{target}/{name}");
        // And what is cut in half is refused, so a target does not just say yes.
        assert_eq!(run(&seed[..seed.len() / 2]), Reached::Refused, "half of {target}/{name}");
        if let Ok(folder) = std::env::var("KILLICK_SEEDS") {
            let folder = Path::new(&folder).join(target);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), &seed).unwrap();
        }
    }
}

#[test]
fn no_input_of_the_corpus_breaks_a_target() {
    let fuzz = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (target, run) in TARGETS {
        let inputs = |folder: &str| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(fuzz.join(folder).join(target)).into_iter().flatten();
            entries.map(|entry| entry.unwrap().path()).collect()
        };
        let corpus = inputs("corpus");
        assert!(corpus.len() >= 20, "{} inputs for {target}", corpus.len());
        for path in corpus.into_iter().chain(inputs("found")) {
            let input = std::fs::read(&path).unwrap();
            let fastest = (0..3).map(|_| {
                let begun = Instant::now();
                run(&input);
                begun.elapsed()
            });
            let fastest = fastest.min().unwrap();
            assert!(fastest < Duration::from_secs(1), "{} took {fastest:?}", path.display());
        }
    }
}
