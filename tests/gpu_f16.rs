//! Products of prompts in 16-bit floats, end to end: what they cost in nats, that they run where they were asked for, and nowhere else.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

mod support {
    pub mod bounds;
    pub mod golden;
    pub mod gpu;
    pub mod skip;
}

use std::sync::Arc;
use std::time::Duration;

use killick::bench::tune;
use killick::gpu::{F16, Family, Gpu, GpuError, GpuOptions};
use killick::kernels::WeightFormat;
use killick::kv::{PolicySpec, Preset};
use killick::model::{Model, PlannedProduct};
use killick::model_file::{FileSet, ModelFile};
use killick::score::{Path, score};
use killick::{Engine, block_on};
use support::bounds::bound;
use support::golden::{ids, json, list};
use support::gpu::{open, options, share};
use support::skip::skipped;

const KERNEL: &str = "matmul_tiled_f16";

/// The device with the kernels for GPUs, and 16-bit floats as asked; `None` where it has none.
fn gpu(f16: F16) -> Option<Gpu> {
    let asked = |f16| GpuOptions { family: Some(Family::Gpu), f16: Some(f16), ..options() };
    let gpu = open(&asked(F16::Off));
    if f16 == F16::Off {
        return Some(gpu);
    }
    match block_on(Gpu::open(&asked(f16))) {
        Ok(gpu) if gpu.capabilities().f16 == f16 => Some(gpu),
        // Measured is off where there is none, always is refused.
        Ok(_) | Err(GpuError::NoF16 { .. }) => {
            skipped("products in 16-bit floats", "this device has no shader-f16, or it is not used");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn embedded() -> ModelFile {
    block_on(ModelFile::open(FileSet::embedded())).unwrap()
}

/// Nats of each token of the texts, read as prompts of 128 tokens.
fn nats(gpu: &Gpu, file: &ModelFile, texts: &[Vec<u32>]) -> Vec<f64> {
    let model = Arc::new(block_on(Model::load(gpu, file, WeightFormat::F16, &mut |_, _| {})).unwrap());
    let spec = PolicySpec { window: Some(64), ..PolicySpec::new(Preset::Window) };
    let policy = spec.resolve(file.config.context_len).unwrap();
    let of = |text: &Vec<u32>| block_on(score(&model, &policy, text, Path::Chunk(128))).unwrap().nll;
    let nats = texts.iter().flat_map(of).map(f64::from).collect();
    gpu.wait().unwrap();
    nats
}

/// The beginning of a held-out text: enough for a chunk whose tiles are filled in part.
fn some_text() -> Vec<u32> {
    let golden = json("embedded/windows.json");
    let mut text = ids(&list(&golden["windows"])[0]);
    text.truncate(170);
    text
}

#[test]
fn what_it_costs_in_nats_is_small_and_it_is_what_ran() {
    let (Some(usual), Some(asked)) = (gpu(F16::Off), gpu(F16::Always)) else { return };
    let golden = json("embedded/windows.json");
    let mut left: usize = share(4000, 400);
    let tokens = left;
    let mut texts: Vec<Vec<u32>> = list(&golden["windows"]).iter().map(ids).collect();
    for text in &mut texts {
        text.truncate(left);
        left -= text.len();
    }
    texts.retain(|text| text.len() > 1);
    let file = embedded();
    let (want, got) = (nats(&usual, &file, &texts), nats(&asked, &file, &texts));
    let mean = |nats: &[f64]| nats.iter().sum::<f64>() / nats.len() as f64;
    let worst = want.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let cost = mean(&got) - mean(&want);
    println!("{:.5} nats, {cost:+.1e} by 16-bit products, a token {worst:.1e}; {tokens} tokens", mean(&want));
    assert!(worst > 0.0, "nothing was computed in 16 bits");
    assert!(cost.abs() <= bound("mean nats of the embedded model by 16-bit products"), "{cost:e}");
    assert!(worst <= bound("nats of a token of the embedded model by 16-bit products"), "{worst:e}");
}

/// The tolerance of the mean is one that a fault breaks: the same texts with weights of 4 bits.
#[test]
fn a_rougher_rounding_is_seen() {
    let Some(usual) = gpu(F16::Off) else { return };
    let texts = [some_text()];
    let file = embedded();
    let exact = nats(&usual, &file, &texts);
    let model = Arc::new(block_on(Model::load(&usual, &file, WeightFormat::Q4_0, &mut |_, _| {})).unwrap());
    let spec = PolicySpec { window: Some(64), ..PolicySpec::new(Preset::Window) };
    let policy = spec.resolve(file.config.context_len).unwrap();
    let rough = block_on(score(&model, &policy, &texts[0], Path::Chunk(128))).unwrap().nll;
    let moved = exact.iter().zip(&rough).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max);
    assert!(moved > bound("nats of a token of the embedded model by 16-bit products"), "{moved:e}");
}

#[test]
fn where_it_was_asked_for_its_candidates_are_right_and_it_runs() {
    let Some(asked) = gpu(F16::Always) else { return };
    let file = embedded();
    let mut planned = PlannedProduct::of(&file, WeightFormat::F16, asked.capabilities()).unwrap();
    planned.retain(|product| product.op == "matmul");
    let tuned = block_on(tune(&asked, &planned, Duration::MAX)).unwrap();
    assert!(!tuned.is_empty() && tuned.len() == planned.len());
    for one in &tuned {
        assert_eq!(one.default.implementation, KERNEL);
        assert_eq!(one.trials.len(), 2, "{:?}", one.trials);
        for trial in &one.trials {
            assert_eq!((trial.of.implementation.as_str(), &trial.fault), (KERNEL, &None), "{trial:?}");
        }
    }
    // What was measured runs where it is there, and is passed over where it is not.
    let (Some(measured), Some(off)) = (gpu(F16::Measured), gpu(F16::Off)) else { return };
    let texts = [some_text()];
    let want = nats(&off, &file, &texts);
    let of = |gpu| nats(Engine::from(gpu).tuned(&tuned).gpu(), &file, &texts);
    assert_ne!(of(measured), want);
    assert_eq!(of(off), want);
}

#[test]
fn unless_it_was_measured_or_asked_for_the_numbers_stay() {
    let (Some(off), Some(measured)) = (gpu(F16::Off), gpu(F16::Measured)) else { return };
    assert!(measured.adapter().features.contains(&"shader-f16"));
    assert!(!off.adapter().features.contains(&"shader-f16"));
    let file = embedded();
    let texts = [some_text()];
    assert_eq!(nats(&off, &file, &texts), nats(&measured, &file, &texts), "bit by bit");
}

#[test]
fn a_baseline_device_has_none_of_it() {
    let baseline = GpuOptions { baseline: true, family: Some(Family::Gpu), ..options() };
    assert_eq!(open(&baseline).capabilities().f16, F16::Off);
    let refused = block_on(Gpu::open(&GpuOptions { f16: Some(F16::Always), ..baseline })).unwrap_err();
    assert!(matches!(refused, GpuError::NoF16 { .. }), "{refused}");
}
