//! Which kernels are fastest: every candidate is checked, what was chosen runs, and the numbers stay what they are.

#![allow(clippy::print_stdout, reason = "what was chosen is part of a test's report")]

mod support {
    pub mod bounds;
    pub mod golden;
    pub mod gpu;
    pub mod skip;
}

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use killick::bench::{TunedProduct, tune};
use killick::gpu::{Family, Gpu, GpuOptions};
use killick::kernels::WeightFormat;
use killick::model::{Model, PlannedProduct};
use killick::model_file::{FileSet, ModelFile};
use killick::score::{Path, Score, score};
use killick::{Engine, block_on};
use support::bounds::bound;
use support::golden::{data, difference, ids, json, list, numbers, policy};
use support::gpu::{open, options};

/// A tiny model with biases, so that its gate and up are products of their own, and one without.
const TINY: [&str; 2] = ["biases", "llama3"];
/// A row of docs/numerics.md.
const TOKEN: &str = "nats of a token of a tiny model";

/// The kernels for GPUs, whatever the device: a software device has nothing to choose among its own.
fn gpu() -> Gpu {
    open(&GpuOptions { family: Some(Family::Gpu), ..options() })
}

fn file(family: &str) -> ModelFile {
    let read = |file: &str| (file.to_owned(), std::fs::read(data(&format!("tiny/{family}/{file}"))).unwrap());
    let files: BTreeMap<_, _> = [read("config.json"), read("model.safetensors")].into();
    block_on(ModelFile::open(FileSet::from_bytes(files))).unwrap()
}

fn products(gpu: &Gpu, file: &ModelFile) -> Vec<PlannedProduct> {
    PlannedProduct::of(file, WeightFormat::F32, gpu.capabilities()).unwrap()
}

/// What came of one family, which is measured once.
fn measured(family: &str) -> Vec<TunedProduct> {
    static MEASURED: [OnceLock<Vec<TunedProduct>>; 2] = [const { OnceLock::new() }; 2];
    let place = TINY.iter().position(|other| *other == family).unwrap();
    let all = || block_on(tune(&gpu(), &products(&gpu(), &file(family)), Duration::MAX)).unwrap();
    MEASURED[place].get_or_init(all).clone()
}

/// The largest difference of a token's nats from PyTorch's, over all cases and paths.
fn worst(gpu: &Gpu, family: &str) -> f64 {
    let file = file(family);
    let model = Arc::new(block_on(Model::load(gpu, &file, WeightFormat::F32, &mut |_, _| {})).unwrap());
    let run = |case: &serde_json::Value, path| -> Score {
        block_on(score(&model, &policy(case, model.config()), &ids(&case["ids"]), path)).unwrap()
    };
    let golden = json(&format!("tiny/{family}/golden.json"));
    let of = |case: &serde_json::Value, path| difference(&run(case, path).nll, &numbers(&case["nll"])).token;
    let cases = list(&golden["cases"]).iter();
    cases.flat_map(|case| [Path::Ring, Path::Chunk(64)].map(|path| of(case, path))).fold(0.0, f64::max)
}

#[test]
fn every_candidate_is_right_and_the_fastest_is_chosen() {
    let gpu = gpu();
    for family in TINY {
        let (planned, tuned) = (products(&gpu, &file(family)), measured(family));
        let ops: BTreeSet<_> = planned.iter().map(|product| product.op).collect();
        assert_eq!(ops.contains("gated_mlp"), family != "biases", "{ops:?}");
        assert_eq!(tuned.len(), planned.len(), "all are measured");
        for one in &tuned {
            let of = &one.of;
            let name = format!("{family}: {} {} {}x{}", of.op, of.layout, of.rows, of.cols);
            assert!(one.trials.len() >= 2, "{name}: there is nothing to choose from");
            let faults: Vec<_> = one.trials.iter().filter(|trial| trial.fault.is_some()).collect();
            assert!(faults.is_empty(), "{name}: {faults:?}");
            assert_eq!(one.trials[0].of, one.default, "{name}: the default goes first");
            let ns = |of| one.trials.iter().find(|trial| trial.of == of).and_then(|trial| trial.ns).unwrap();
            let least = one.trials.iter().filter_map(|trial| trial.ns).fold(f64::INFINITY, f64::min);
            assert!(ns(one.chosen.clone()) <= least / 0.97 + 1e-9, "{name}: {:?}", one.trials);
            println!("{name}: {:?}, {:.2} times the default", one.chosen, one.gain());
        }
    }
}

#[test]
fn a_model_runs_what_was_chosen_and_gives_the_same_numbers() {
    let gpu = gpu();
    for family in TINY {
        // The workgroups that nobody would choose here, so that it is seen whether they run.
        let tuned: Vec<_> = measured(family)
            .into_iter()
            .map(|one| {
                let other = one.trials.iter().map(|trial| &trial.of).max_by_key(|of| of.workgroup).unwrap();
                TunedProduct { chosen: other.clone(), ..one }
            })
            .collect();
        assert!(tuned.iter().all(|one| one.chosen != one.default));
        let engine = Engine::from(gpu.clone());
        let before = gpu.counters().pipelines;
        let usual = worst(engine.gpu(), family);
        let between = gpu.counters().pipelines;
        let chosen = worst(engine.tuned(&tuned).gpu(), family);
        assert!(between > before && gpu.counters().pipelines > between, "other pipelines run");
        println!("{family}: a token is off by {usual:.1e} nats, with other workgroups by {chosen:.1e}");
        assert!(usual <= bound(TOKEN) && chosen <= bound(TOKEN), "{family}: {usual:e}, {chosen:e}");
    }
}

#[test]
fn without_time_nothing_is_measured_and_a_little_time_brings_one() {
    let gpu = gpu();
    let planned = products(&gpu, &file("llama3"));
    assert_eq!(block_on(tune(&gpu, &planned, Duration::ZERO)).unwrap(), []);
    let some = block_on(tune(&gpu, &planned, Duration::from_millis(5))).unwrap().len();
    assert!((1..planned.len()).contains(&some), "what is begun is finished, and no more: {some}");
}
