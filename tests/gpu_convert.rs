//! A converted model on a GPU: the logits of the model it was made from, bit for bit where the type holds the weights.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

mod support {
    pub mod bounds;
    pub mod golden;
    pub mod gpu;
    pub mod skip;
}

use std::path::Path as FilePath;
use std::process::Command;
use std::sync::Arc;

use killick::kernels::WeightFormat;
use killick::kv::{Policy, PolicySpec, Preset};
use killick::model::Model;
use killick::model_file::{FileSet, ModelFile};
use killick::session::{Session, SessionOptions};
use pollster::block_on;
use support::bounds::bound;
use support::golden::{base64_floats, data, ids, json, list, name, nmse, policy};
use support::gpu::gpu;

/// Logits of the last row of the first case of a golden file.
fn logits(path: &FilePath, golden: &str) -> Vec<f32> {
    let golden = json(golden);
    let case = &list(&golden["cases"])[0];
    let file = ModelFile::open_path(path).unwrap();
    let policy = policy(case, file.config.context_len);
    logits_under(&policy, &file, WeightFormat::F32, &ids(&case["ids"]))
}

fn logits_under(policy: &Policy, file: &ModelFile, format: WeightFormat, text: &[u32]) -> Vec<f32> {
    let model = Arc::new(block_on(Model::load(gpu(), file, format, &mut |_, _| {})).unwrap());
    let mut session = block_on(Session::new(&model, policy, SessionOptions::default())).unwrap();
    // A chunk and a step: many inputs at once, and one.
    let (last, before) = text.split_last().unwrap();
    block_on(session.append(before)).unwrap();
    block_on(session.step_logits(*last)).unwrap()
}

fn convert(from: &FilePath, to: &FilePath, flags: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_killick"));
    let output = command.arg("convert").args([from, to]).args(flags).output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn logits_survive_every_form_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for (model, to) in
        [("gqa", "f32"), ("mha-untied", "f16"), ("qwen3", "f16"), ("phi3", "f16"), ("mistral", "f16")]
    {
        let (gguf, back) = (folder.path().join(format!("{model}.gguf")), folder.path().join(model));
        let source = data(&format!("tiny/{model}"));
        convert(&source, &gguf, &["--to", to]);
        convert(&gguf, &back, &["--to", to]);
        let golden = format!("tiny/{model}/golden.json");
        let want = logits(&source, &golden);
        assert_eq!(logits(&gguf, &golden), want, "{model} as GGUF");
        assert_eq!(logits(&back, &golden), want, "{model} as a folder");
    }
}

#[test]
fn blocks_move_the_logits_by_their_own_error_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let want = logits(&data("tiny/mha-untied"), "tiny/mha-untied/golden.json");
    let mut last = 0.0;
    for to in ["q8_0", "q4_0"] {
        let path = folder.path().join(format!("{to}.gguf"));
        convert(&data("tiny/blocks"), &path, &["--to", to]);
        let want = logits(&data("tiny/blocks"), "tiny/blocks/golden.json");
        let error = nmse(&logits(&path, "tiny/blocks/golden.json"), &want);
        assert!(error > last && error < bound(&format!("logits of a tiny model in {to}")), "{to}: {error:e}");
        last = error;
    }
    assert!(!want.is_empty());
}

/// What a file keeps in Q8_0 is kept so on the device, and computes what its dequantised weights compute.
#[test]
fn eight_bit_blocks_of_a_file_are_those_on_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("embedded.gguf");
    let mut command = Command::new(env!("CARGO_BIN_EXE_killick"));
    let output = command.args(["convert", "--embedded", "--to", "q8_0"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let blocks = ModelFile::open_path(&path).unwrap();
    let original = block_on(ModelFile::open(FileSet::embedded())).unwrap();
    let policy = PolicySpec { window: Some(64), ..PolicySpec::new(Preset::Window) };
    let policy = policy.resolve(blocks.config.context_len).unwrap();
    let text: Vec<u32> = (0..150_u32).map(|i| (i * 37 + i * i) % 4000).collect();
    let logits = |file, format| logits_under(&policy, file, format, &text);
    let want = logits(&blocks, WeightFormat::F32);
    let error = nmse(&logits(&blocks, WeightFormat::Q8_0), &want);
    let rounding = nmse(&logits(&original, WeightFormat::F32), &want);
    println!("q8_0 against its dequantised weights: NMSE {error:e}; these against the original {rounding:e}");
    let close = bound("logits of blocks of 8 bits on the device");
    assert!(error <= close, "NMSE {error:e}");
    assert!(rounding > 10.0 * close, "the blocks round, or nothing was compared: NMSE {rounding:e}");
}

#[test]
fn a_merged_adapter_needs_no_adapter() {
    let golden = json("adapter/golden.json");
    let case = list(&golden["cases"]).iter().find(|case| name(case) == "two with scales").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("merged.gguf");
    let adapter = |name: &str, scale: f32| format!("{}={scale}", data(&format!("adapter/{name}")).display());
    let (wide, narrow) = (adapter("wide", 0.75), adapter("narrow", -1.5));
    convert(&data("tiny/gqa"), &path, &["--to", "f32", "--adapter", &wide, "--adapter", &narrow]);
    let file = ModelFile::open_path(&path).unwrap();
    assert_eq!(file.policy().unwrap()["preset"], "anchor", "what the adapter brings is recorded");
    let model = Arc::new(block_on(Model::load(gpu(), &file, WeightFormat::F32, &mut |_, _| {})).unwrap());
    let policy = policy(case, model.config().context_len);
    let mut session = block_on(Session::new(&model, &policy, SessionOptions::default())).unwrap();
    let vocab = model.config().vocab_size as usize;
    let rows = base64_floats(case["logits"].as_str().unwrap());
    block_on(session.append(&ids(&case["ids"]))).unwrap();
    let error = nmse(&block_on(session.next_logits()).unwrap(), &rows[rows.len() - vocab..]);
    assert!(error <= bound("logits of a tiny model"), "NMSE {error:e} against PEFT");
}
