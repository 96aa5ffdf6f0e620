//! Weights that stay in the blocks of their file: on text they are worth what the same blocks are worth as 32-bit floats.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

mod support {
    pub mod blocks;
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
use killick::model::{MemoryPlan, Model, Precisions, SessionShape};
use killick::model_file::{Dtype, FileSet, ModelFile};
use killick::score::{Path, score};
use pollster::block_on;
use support::blocks::requantized;
use support::bounds::bound;
use support::golden::{ids, json, list};
use support::gpu::{gpu, leave_idle, share};

/// The types that stay blocks on the device.
const TYPES: [Dtype; 8] =
    [Dtype::Q8_0, Dtype::Q4_0, Dtype::Q4_1, Dtype::Q5_0, Dtype::Q5_1, Dtype::Q4K, Dtype::Q5K, Dtype::Q6K];

fn convert(to: &FilePath, dtype: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_killick"));
    let output = command.args(["convert", "--embedded", "--to", dtype]).arg(to).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The embedded model with its matrices in `dtype`.
fn file_of(folder: &FilePath, dtype: Dtype) -> ModelFile {
    let path = folder.join(format!("{}.gguf", dtype.name()));
    match dtype {
        Dtype::Q8_0 => convert(&path, "q8_0"),
        Dtype::Q4_0 => convert(&path, "q4_0"),
        _ => {
            let floats = folder.join("floats.gguf");
            if !floats.exists() {
                convert(&floats, "f32");
            }
            std::fs::write(&path, requantized(&std::fs::read(floats).unwrap(), dtype)).unwrap();
        }
    }
    ModelFile::open_path(&path).unwrap()
}

fn policy(file: &ModelFile) -> Policy {
    let spec = PolicySpec { window: Some(64), ..PolicySpec::new(Preset::Window) };
    spec.resolve(file.config.context_len).unwrap()
}

/// Mean loss of the texts, in nats a token.
fn loss(file: &ModelFile, format: WeightFormat, texts: &[Vec<u32>]) -> f64 {
    leave_idle(gpu());
    let model = Arc::new(block_on(Model::load(gpu(), file, format, &mut |_, _| {})).unwrap());
    let nll = texts
        .iter()
        .flat_map(|text| block_on(score(&model, &policy(file), text, Path::Chunk(128))).unwrap().nll);
    let nll: Vec<f64> = nll.map(f64::from).collect();
    nll.iter().sum::<f64>() / nll.len() as f64
}

#[test]
fn blocks_are_worth_what_their_floats_are_worth() {
    let golden = json("embedded/windows.json");
    let mut texts: Vec<Vec<u32>> = list(&golden["windows"]).iter().map(ids).collect();
    // 4,000 tokens where a step is thorough.
    let tokens: usize = share(4000, 160);
    let mut left = tokens;
    for text in &mut texts {
        text.truncate(left);
        left -= text.len();
    }
    texts.retain(|text| text.len() > 1);
    let folder = tempfile::tempdir().unwrap();
    let original = block_on(ModelFile::open(FileSet::embedded())).unwrap();
    let base = loss(&original, WeightFormat::F32, &texts);
    let close = bound("nats of blocks on the device");
    for dtype in TYPES {
        let file = file_of(folder.path(), dtype);
        let (got, want) = (loss(&file, WeightFormat::File, &texts), loss(&file, WeightFormat::F32, &texts));
        println!(
            "{}: {got:.5} nats, its floats {want:.5} ({:+.1e}), the original {base:.5}; {tokens} tokens",
            dtype.name(),
            got - want
        );
        assert!((got - want).abs() <= close, "{}: {got} and {want}", dtype.name());
        assert!((want - base).abs() > 0.0, "{}: nothing was rounded", dtype.name());
        let sane = bound("nats that rounding to blocks may cost");
        assert!((want - base).abs() < sane, "{}: the test's encoder is wrong", dtype.name());
    }
}

#[test]
fn blocks_take_the_memory_of_their_bits() {
    let folder = tempfile::tempdir().unwrap();
    let shape = SessionShape { chunk: 16, in_flight: 8, ..SessionShape::default() };
    let bytes = |file: &ModelFile, format| {
        let (config, precisions) = (&file.config, Precisions::of(file, format));
        let plan = MemoryPlan::new(config, precisions, &policy(file), shape, gpu().capabilities()).unwrap();
        plan.lines[0].bytes as f64
    };
    for (dtype, bits) in [(Dtype::Q8_0, 8.5), (Dtype::Q6K, 7.0), (Dtype::Q5K, 6.0), (Dtype::Q4K, 5.0)] {
        let file = file_of(folder.path(), dtype);
        // The table of rotations and the gains are the same in both.
        let floats = bytes(&file, WeightFormat::F32) - bytes(&file, WeightFormat::F16);
        let saved = bytes(&file, WeightFormat::F32) - bytes(&file, WeightFormat::File);
        let want = (32.0 - bits) / 16.0;
        let off = saved / floats / want - 1.0;
        assert!(off.abs() < bound("bits of a weight, share of them"), "{}: {off}", dtype.name());
    }
}
