//! Adapters that PEFT trained: the logits are those of PEFT's own merge, from either format of the base.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

mod support {
    pub mod bounds;
    pub mod golden;
    pub mod gpu;
    pub mod skip;
}

use std::collections::BTreeMap;
use std::sync::Arc;

use killick::kernels::WeightFormat;
use killick::kv::PolicySpec;
use killick::model::Model;
use killick::model_file::{FileSet, ModelFile};
use killick::score::{Path, score};
use killick::session::{Session, SessionOptions};
use killick::{Engine, LoadOptions};
use pollster::block_on;
use safetensors::SafeTensors;
use serde_json::Value;
use support::bounds::bound;
use support::golden::{base64_floats, data, ids, json, list, name, nmse, policy, spec};
use support::gpu::{gpu, options};

/// Rows of docs/numerics.md: an NMSE, and the nats of a mean.
const LOGITS: &str = "logits of a tiny model";
const NATS: &str = "nats of a token of a tiny model";

/// The base of a case as a folder and as a GGUF.
fn bases(case: &Value) -> [String; 2] {
    let base = case["base"].as_str().unwrap();
    let gguf = match base {
        "gqa" => "tiny/gqa.f32.gguf".to_owned(),
        other => format!("tiny/{other}.f16.gguf"),
    };
    [format!("tiny/{base}"), gguf]
}

fn adapter(name: &str) -> FileSet {
    FileSet::adapter_from_path(&data(&format!("adapter/{name}"))).unwrap()
}

fn adapters(case: &Value) -> Vec<(FileSet, f32)> {
    let pair = |pair: &Value| (adapter(pair[0].as_str().unwrap()), pair[1].as_f64().unwrap() as f32);
    list(&case["adapters"]).iter().map(pair).collect()
}

fn load(base: &str, adapters: Vec<(FileSet, f32)>) -> Arc<Model> {
    let mut file = ModelFile::open_path(&data(base)).unwrap();
    for (files, scale) in adapters {
        block_on(file.add_adapter(files, scale)).unwrap();
    }
    Arc::new(block_on(Model::load(gpu(), &file, WeightFormat::F32, &mut |_, _| {})).unwrap())
}

/// The largest error of the rows of a case.
fn worst_row(model: &Arc<Model>, case: &Value) -> f64 {
    let (text, policy) = (ids(&case["ids"]), policy(case, model.config().context_len));
    let want = base64_floats(case["logits"].as_str().unwrap());
    let mut session = block_on(Session::new(model, &policy, SessionOptions::default())).unwrap();
    let (mut seen, mut worst) = (0, 0.0_f64);
    for (row, want) in
        ids(&case["logit_rows"]).into_iter().zip(want.chunks(model.config().vocab_size as usize))
    {
        block_on(session.append(&text[seen..=row as usize])).unwrap();
        seen = row as usize + 1;
        worst = worst.max(nmse(&block_on(session.next_logits()).unwrap(), want));
    }
    worst
}

#[test]
fn logits_equal_those_of_pefts_merge_from_both_formats() {
    for case in list(&json("adapter/golden.json")["cases"]) {
        for base in bases(case) {
            let merged = worst_row(&load(&base, adapters(case)), case);
            println!("{} on {base}: NMSE {merged:.1e}", name(case));
            assert!(merged <= bound(LOGITS), "{} on {base}: NMSE {merged:e}", name(case));
            // The base alone, and the adapters at other scales, are other functions.
            let plain = worst_row(&load(&base, Vec::new()), case);
            let halved = adapters(case).into_iter().map(|(files, scale)| (files, scale / 2.0)).collect();
            let halved = worst_row(&load(&base, halved), case);
            let far = 1e4 * bound(LOGITS);
            assert!(plain > 10.0 * far && halved > far, "{} on {base}: {plain:e}, {halved:e}", name(case));
        }
    }
}

/// A setting or a factor that did nothing would leave the loss where it was; PEFT says where it goes.
#[test]
fn every_setting_and_module_moves_the_loss_where_peft_says() {
    let golden = json("adapter/golden.json");
    let ablations = list(&golden["ablations"]);
    let (text, spec): (_, PolicySpec) = (ids(&ablations[0]["ids"]), spec(&ablations[0]));
    let mean = |config: &Value, without: Option<&str>| {
        let model = load("tiny/gqa.f32.gguf", vec![(changed("wide", config, without), 1.0)]);
        let policy = spec.resolve(model.config().context_len).unwrap();
        block_on(score(&model, &policy, &text, Path::Chunk(64))).unwrap().mean_nll()
    };
    let whole = mean(&Value::Null, None);
    assert!((whole - ablations[0]["mean_nll"].as_f64().unwrap()).abs() < bound(NATS), "unchanged: {whole}");
    for ablation in &ablations[1..] {
        let got = mean(&ablation["config"], ablation["without"].as_str());
        let want = ablation["mean_nll"].as_f64().unwrap();
        assert!((got - want).abs() < bound(NATS), "{}: {got}, PEFT {want}", ablation["field"]);
        assert!((got - whole).abs() > 20.0 * bound(NATS), "{}: the loss did not move", ablation["field"]);
    }
    assert!(ablations.len() > 10, "four settings and seven modules");
}

/// An adapter of tests/data with keys of its config changed and the tensors left out whose name holds `without`.
fn changed(name: &str, config: &Value, without: Option<&str>) -> FileSet {
    let read = |file: &str| std::fs::read(data(&format!("adapter/{name}/{file}"))).unwrap();
    let mut json: Value = serde_json::from_slice(&read("adapter_config.json")).unwrap();
    for (key, value) in config.as_object().into_iter().flatten() {
        json[key] = value.clone();
    }
    let weights = read("adapter_model.safetensors");
    let tensors = SafeTensors::deserialize(&weights).unwrap();
    let kept =
        tensors.tensors().into_iter().filter(|(name, _)| without.is_none_or(|part| !name.contains(part)));
    let weights = safetensors::serialize(kept, None).unwrap();
    FileSet::from_bytes(BTreeMap::from([
        ("adapter_config.json".to_owned(), serde_json::to_vec(&json).unwrap()),
        ("adapter_model.safetensors".to_owned(), weights),
    ]))
}

/// The library's way: adapters among the options of loading, and the policy that one of them brings.
#[test]
fn the_engine_loads_adapters_and_the_policy_they_were_trained_for() {
    // Skips this program where there is no device.
    gpu();
    let engine = Engine::new(&options()).unwrap();
    let golden = json("adapter/golden.json");
    let case = &list(&golden["cases"])[0];
    let options = LoadOptions { format: WeightFormat::F32, adapters: vec![(adapter("wide"), 1.0)] };
    let loaded = engine.load(data("tiny/gqa"), options).unwrap();
    assert_eq!(loaded.recorded_policy().unwrap(), Some(spec(case)));
    assert!(worst_row(&loaded.model, case) <= bound(LOGITS));
}
