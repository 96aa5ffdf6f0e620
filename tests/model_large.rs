//! A model of more than 2 GiB, with matrices of more than a binding each: it loads piece by piece.
//!
//! The file is sparse, so it takes no room on the disk; its weights are zeros, which every kernel has to survive: all tokens are
//! equally likely.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

mod support {
    pub mod bounds;
    pub mod gpu;
    pub mod skip;
}

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use killick::block_on;
use killick::kernels::WeightFormat;
use killick::kv::{PolicySpec, Preset};
use killick::model::Model;
use killick::model_file::ModelFile;
use killick::score::{self, score};
use serde_json::{Map, Value, json};
use support::bounds::bound;
use support::gpu::gpu;
use support::skip::skipped;

const VOCAB: u64 = 128_256;
const HIDDEN: u64 = 4096;
const FFN: u64 = 14_336;
const KV: u64 = 1024;

/// Memory beside the device's own that loading may take: pieces read, converted, and staged until they are flushed.
const ROOM: u64 = 256 << 20;

fn write_sparse(folder: &Path) -> u64 {
    let config = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": HIDDEN, "intermediate_size": FFN,
        "num_hidden_layers": 1, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": VOCAB,
        "max_position_embeddings": 8192, "tie_word_embeddings": false, "hidden_act": "silu", "rms_norm_eps": 1e-5,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    let tensors = [
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("lm_head.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
        (layer("input_layernorm"), vec![HIDDEN]),
        (layer("self_attn.q_proj"), vec![HIDDEN, HIDDEN]),
        (layer("self_attn.k_proj"), vec![KV, HIDDEN]),
        (layer("self_attn.v_proj"), vec![KV, HIDDEN]),
        (layer("self_attn.o_proj"), vec![HIDDEN, HIDDEN]),
        (layer("post_attention_layernorm"), vec![HIDDEN]),
        (layer("mlp.gate_proj"), vec![FFN, HIDDEN]),
        (layer("mlp.up_proj"), vec![FFN, HIDDEN]),
        (layer("mlp.down_proj"), vec![HIDDEN, FFN]),
    ];
    let (mut header, mut end) = (Map::new(), 0);
    for (name, shape) in tensors {
        let begin = end;
        end += shape.iter().product::<u64>() * 2;
        header.insert(name, json!({ "dtype": "F16", "shape": shape, "data_offsets": [begin, end] }));
    }
    let header = Value::Object(header).to_string();
    let mut file = std::fs::File::create(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + end).unwrap();
    end
}

/// The most memory this process ever had resident, in bytes.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[test]
fn a_model_larger_than_a_binding_and_than_2_gib_loads_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let stored = write_sparse(folder.path());
    assert!(stored > 2 << 30, "{stored} bytes");
    let file = ModelFile::open_path(folder.path()).unwrap();
    let gpu = gpu();
    assert!(VOCAB * HIDDEN * 2 > gpu.max_binding_bytes(), "the embedding has to be cut");
    let before = peak();
    let model = Arc::new(block_on(Model::load(gpu, &file, WeightFormat::F16, &mut |_, _| {})).unwrap());
    // A software device keeps its memory in this process, so that is part of the peak; another one does not.
    let device = if gpu.is_software() { model.allocated_bytes() } else { 0 };
    if let (Some(before), Some(after)) = (before, peak()) {
        let beside = (after - before).saturating_sub(device);
        println!("{stored} bytes of weights, {} on the device, {beside} beside it", model.allocated_bytes());
        assert!(beside < ROOM, "{beside} bytes beside the device's own");
    } else {
        skipped("the memory that loading a large model takes", "this system has no /proc/self/status");
    }

    let policy = PolicySpec { ctx: Some(64), ..PolicySpec::new(Preset::Full) }.resolve(8192).unwrap();
    let score = block_on(score(&model, &policy, &[0, 128_255, 7], score::Path::Chunk(8))).unwrap();
    let close = bound("nats of a token when all are equally likely");
    for nll in score.nll {
        assert!((f64::from(nll) - (VOCAB as f64).ln()).abs() < close, "{nll}");
    }
    assert_eq!(score.top1, [0, 0, 0], "of equally likely tokens the lowest");
}
