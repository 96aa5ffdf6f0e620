//! SmolLM2 with the adapter of models/smollm2-anchor, under the policy recorded with it, against PyTorch.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

mod support {
    pub mod bounds;
    pub mod golden;
    pub mod gpu;
    pub mod skip;
    pub mod smollm2;
}

use std::path::Path as FilePath;
use std::sync::Arc;

use killick::kernels::WeightFormat;
use killick::kv::{PolicySpec, Preset};
use killick::model::Model;
use killick::model_file::{FileSet, ModelFile};
use killick::score::{Path, score};
use pollster::block_on;
use support::bounds::bound;
use support::golden::{difference, ids, json, numbers};
use support::gpu::gpu;
use support::smollm2;

/// Rows of docs/numerics.md, as for the stock model.
const TOKEN: &str = "nats of a token of SmolLM2";
const MEAN: &str = "mean nats of SmolLM2";

#[test]
fn the_adapted_model_computes_what_pytorch_computes_under_the_mask() {
    let mut file = ModelFile::open_path(&smollm2::needed()).unwrap();
    let adapter = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("models/smollm2-anchor");
    block_on(file.add_adapter(FileSet::adapter_from_path(&adapter).unwrap(), 1.0)).unwrap();
    let recorded: PolicySpec =
        serde_json::from_value(file.policy().expect("the adapter's policy").clone()).unwrap();
    assert_eq!((recorded.preset, recorded.window, recorded.sinks), (Preset::Anchor, Some(32), Some(4)));
    let model = Arc::new(block_on(Model::load(gpu(), &file, WeightFormat::F32, &mut |_, _| {})).unwrap());

    let golden = json("adapter/smollm2_anchor.json");
    let tokens = ids(&golden["ids"]);
    let tokenizer = killick::Tokenizer::from_source(file.tokenizer(), file.label()).unwrap();
    assert_eq!(tokenizer.encode(golden["text"].as_str().unwrap(), false).unwrap(), tokens);
    let run = |spec: &PolicySpec, path: Path| {
        let policy = spec.resolve(model.config()).unwrap();
        block_on(score(&model, &policy, &tokens, path)).unwrap()
    };
    let want = |name: &str| numbers(&golden["nll"][name]);
    for (name, spec, path) in [
        ("adapted_anchor", &recorded, Path::Chunk(64)),
        ("adapted_anchor", &recorded, Path::Masked),
        ("adapted_full", &PolicySpec::new(Preset::Full), Path::Chunk(64)),
    ] {
        let got = run(spec, path);
        let off = difference(&got.nll, &want(name));
        println!("{name}, {path}: token {:.1e}, mean {:.1e} nats; {} live", off.token, off.mean, got.kv.live);
        assert!(off.token <= bound(TOKEN), "{name}, {path}: token {} is off by {:e} nats", off.at, off.token);
        assert!(off.mean <= bound(MEAN), "{name}, {path}: the mean is off by {:e} nats", off.mean);
        // Neither the stock weights nor another policy gives these figures.
        for other in ["stock_anchor", "stock_full", "adapted_anchor", "adapted_full"] {
            let off = difference(&got.nll, &want(other));
            assert!(
                other == name || off.token > 50.0 * bound(TOKEN),
                "{name} is {other} to {:e} nats",
                off.token
            );
        }
    }
}
