//! SmolLM2-135M-Instruct against PyTorch: likelihoods under every policy along every path, and greedy text.
//!
//! A full-size forward pass is slow on a software GPU, so `make test` scores each text under every policy along one path
//! and one text along all of them; `KILLICK_FULL=1` (`make test-full`) runs the whole matrix, long texts and 16-bit weights too.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

mod support {
    pub mod bounds;
    pub mod golden;
    pub mod gpu;
    pub mod skip;
    pub mod smollm2;
}

use std::sync::{Arc, OnceLock};

use killick::kernels::WeightFormat;
use killick::kv::{PolicySpec, Preset};
use killick::model::Model;
use killick::model_file::ModelFile;
use killick::score::{Path, Score, score};
use killick::session::{Session, SessionOptions};
use killick::{GenerateOptions, Tokenizer};
use pollster::block_on;
use serde_json::Value;
use support::bounds::bound;
use support::golden::{difference, ids, json, list, name, numbers, spec};
use support::gpu::gpu;
use support::skip::skipped;
use support::smollm2;

/// Rows of docs/numerics.md.
const TOKEN: &str = "nats of a token of SmolLM2";
const MEAN: &str = "mean nats of SmolLM2";
const MEAN_F16: &str = "mean nats of SmolLM2 with 16-bit weights";
const PATH_TOKEN: &str = "nats of a token of SmolLM2 between paths";
const PATH_MEAN: &str = "mean nats of SmolLM2 between paths";
const MARGIN: &str = "margin of the likeliest token of SmolLM2";

const PATHS: [Path; 4] = [Path::Masked, Path::Ring, Path::Chunk(7), Path::Chunk(64)];

fn full_matrix() -> bool {
    std::env::var("KILLICK_FULL").is_ok_and(|value| value == "1")
}

fn file() -> ModelFile {
    ModelFile::open_path(&smollm2::needed()).unwrap()
}

fn load(format: WeightFormat) -> Arc<Model> {
    Arc::new(block_on(Model::load(gpu(), &file(), format, &mut |_, _| {})).unwrap())
}

/// The model in 32 bits, loaded once for all tests.
fn model() -> &'static Arc<Model> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    MODEL.get_or_init(|| load(WeightFormat::F32))
}

fn run(model: &Arc<Model>, case: &Value, ids: &[u32], path: Path) -> Score {
    let policy = spec(case).resolve(model.config()).unwrap();
    block_on(score(model, &policy, ids, path)).unwrap()
}

/// Scores `text` under every policy along `paths`; PyTorch's tolerance for each, the paths' own between them.
fn check_text(model: &Arc<Model>, text: &Value, paths: &[Path]) {
    let tokens = ids(&text["ids"]);
    for (policy, case) in text["cases"].as_object().expect("cases") {
        let mut first: Option<Score> = None;
        for path in paths {
            let got = run(model, case, &tokens, *path);
            let what = format!("{}, {policy}, {path}", name(text));
            let off = difference(&got.nll, &numbers(&case["nll"]));
            println!("{what}: token {:.1e}, mean {:.1e} nats", off.token, off.mean);
            assert!(off.token <= bound(TOKEN), "{what}: token {} is off by {:e} nats", off.at, off.token);
            assert!(off.mean <= bound(MEAN), "{what}: the mean is off by {:e} nats", off.mean);
            if let Some(first) = &first {
                let want: Vec<f64> = first.nll.iter().map(|nll| f64::from(*nll)).collect();
                let off = difference(&got.nll, &want);
                assert!(off.token <= bound(PATH_TOKEN), "{what}: {:e} nats from {}", off.token, paths[0]);
                assert!(off.mean <= bound(PATH_MEAN), "{what}: mean {:e} nats from {}", off.mean, paths[0]);
            }
            first.get_or_insert(got);
        }
    }
}

#[test]
fn every_policy_scores_as_pytorch_does() {
    let golden = json("smollm2/golden.json");
    for text in list(&golden["texts"]) {
        check_text(model(), text, if full_matrix() { &PATHS } else { &[Path::Chunk(64), Path::Masked] });
    }
}

/// The one text whose numbers and dots make most segments, token by token and in small chunks too.
#[test]
fn every_path_scores_as_pytorch_does() {
    let golden = json("smollm2/golden.json");
    let text =
        list(&golden["texts"]).iter().find(|text| name(text) == "numbers").expect("the text with numbers");
    let mut one = text.clone();
    if !full_matrix() {
        let short: serde_json::Map<String, Value> = text["cases"]
            .as_object()
            .expect("cases")
            .iter()
            .filter(|(policy, _)| matches!(policy.as_str(), "anchor" | "sepllm"))
            .map(|(policy, case)| (policy.clone(), case.clone()))
            .collect();
        one["cases"] = short.into();
    }
    check_text(model(), &one, &PATHS);
}

#[test]
fn long_texts_score_as_pytorch_does() {
    if !full_matrix() {
        skipped("long texts of SmolLM2 against PyTorch", "for `make test-full`");
        return;
    }
    for text in list(&json("smollm2/golden_long.json")["texts"]) {
        check_text(model(), text, &[Path::Chunk(64), Path::Chunk(7), Path::Masked, Path::Ring]);
    }
}

/// Means of PyTorch (2.15.0, policy full) with its matrices rounded to 16 bits: what rounding alone does to these texts.
const ROUNDED_MEANS: [(&str, f64); 4] =
    [("numbers", 2.797859), ("no_stop", 3.995999), ("stops", 4.282681), ("prose", 4.413513)];

/// Rounding the weights moves the mean by at most 2e-3 nats on texts that are texts. "stops" is one prediction made
/// forty times over, so nothing averages out: PyTorch's own mean moves by 3.3e-3 there, and ours must move with it.
#[test]
fn sixteen_bit_weights_keep_the_mean() {
    let model = load(WeightFormat::F16);
    let golden = json("smollm2/golden.json");
    for text in list(&golden["texts"]) {
        let tokens = ids(&text["ids"]);
        for (policy, case) in text["cases"].as_object().expect("cases") {
            if !full_matrix() && !matches!(policy.as_str(), "full" | "anchor") {
                continue;
            }
            let got = run(&model, case, &tokens, Path::Chunk(64)).mean_nll();
            let off = (got - case["mean_nll"].as_f64().expect("a mean")).abs();
            println!("{}, {policy}: mean off by {off:.1e} nats", name(text));
            assert!(
                off <= bound(MEAN_F16) || name(text) == "stops",
                "{}, {policy}: off by {off:e} nats",
                name(text)
            );
            if policy == "full" {
                let (_, rounded) =
                    ROUNDED_MEANS.iter().find(|(known, _)| *known == name(text)).expect("a known text");
                assert!(
                    (got - rounded).abs() <= bound(MEAN),
                    "{}: {got}, PyTorch rounded {rounded}",
                    name(text)
                );
            }
        }
    }
}

/// With bindings of 8 MiB the embedding is cut into fourteen parts, and the sums stay the same.
#[test]
fn split_weights_change_nothing() {
    let options = killick::GpuOptions { max_binding_bytes: Some(8 << 20), ..support::gpu::options() };
    let gpu = support::gpu::open(&options);
    let split = Arc::new(block_on(Model::load(&gpu, &file(), WeightFormat::F32, &mut |_, _| {})).unwrap());
    assert!(gpu.counters().buffers > 272 - 60 + 13, "{} buffers", gpu.counters().buffers);
    let golden = json("smollm2/golden.json");
    let text = list(&golden["texts"]).iter().find(|text| name(text) == "prose").expect("the prose");
    let case = &text["cases"]["sepllm"];
    let tokens = ids(&text["ids"]);
    for path in [Path::Chunk(64), Path::Masked] {
        assert_eq!(run(&split, case, &tokens, path).nll, run(model(), case, &tokens, path).nll, "{path}");
    }
    let off = difference(&run(&split, case, &tokens[..20], Path::Ring).nll, &numbers(&case["nll"])[..19]);
    assert!(off.token <= bound(TOKEN), "token {} is off by {:e} nats", off.at, off.token);
}

/// PyTorch's 200 greedy ids, fed to the model as they are: the likeliest token agrees wherever PyTorch was sure.
#[test]
fn the_likeliest_token_is_pytorchs() {
    let golden = json("smollm2/greedy.json");
    let forced = &golden["forced_200"];
    for policy in ["full", "anchor"] {
        let case = &forced["forced"][policy];
        let (want, margins) = (ids(&case["top1"]), numbers(&case["margin"]));
        let text: Vec<u32> = ids(&forced["prompt_ids"]).into_iter().chain(ids(&forced["ids"])).collect();
        let anchors = (policy == "anchor").then(|| vec![30]);
        let preset = if policy == "anchor" { Preset::Anchor } else { Preset::Full };
        let spec = PolicySpec { anchors, ..PolicySpec::new(preset) };
        let resolved = spec.resolve(model().config()).unwrap();
        let got = block_on(score(model(), &resolved, &text, Path::Chunk(64))).unwrap().top1;
        // PyTorch's list starts with the successor of the prompt's last token.
        let got = &got[text.len() - 1 - want.len()..text.len() - 1];
        let close = bound(MARGIN);
        let sure = margins.iter().filter(|margin| **margin > close).count();
        assert!(sure > 190, "{policy}: PyTorch was sure of only {sure} tokens");
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert!(got == want || margins[i] <= close, "{policy}: token {i} is {got}, PyTorch says {want}");
        }
    }
}

#[test]
fn a_greedy_text_equals_pytorchs_id_by_id() {
    let golden = json("smollm2/greedy.json");
    let (steady, model) = (&golden["steady"], model());
    let policy = PolicySpec::new(Preset::Full).resolve(model.config()).unwrap();
    let tokenizer = Tokenizer::from_source(file().tokenizer(), "SmolLM2").unwrap();
    let prompt = tokenizer.encode(steady["prompt"].as_str().expect("a prompt"), true).unwrap();
    let want = ids(&steady["ids"]);
    let mut session = block_on(Session::new(model, &policy, SessionOptions::default())).unwrap();
    block_on(session.append(&prompt)).unwrap();
    let options =
        GenerateOptions { max_tokens: want.len() as u32, ignore_eos: true, ..GenerateOptions::default() };
    let got: Vec<u32> = session.generate(options).unwrap().map(|token| token.unwrap().id).collect();
    assert_eq!(got, want);
}

/// A token at 20,000 costs what one at 2,000 does, the ring being full at both: alternating stretches of two sessions.
#[test]
fn a_token_costs_the_same_at_20000_as_at_2000() {
    if !full_matrix() {
        skipped(
            "a token of SmolLM2 at 20,000 and at 2,000",
            "for `make test-full`; tests/gpu_cost.rs asks a tiny model",
        );
        return;
    }
    let tokenizer = Tokenizer::from_source(file().tokenizer(), "SmolLM2").unwrap();
    let spec = PolicySpec {
        anchors: Some(tokenizer.ids_of_bytes(b".")),
        max_anchors: Some(32),
        max_segment: Some(32),
        max_distance: Some(1 << 20),
        ..PolicySpec::new(Preset::Anchor)
    };
    let policy = spec.resolve(model().config()).unwrap();
    let sentence =
        tokenizer.encode(" The boat lay at anchor in the bay and waited for the wind.", false).unwrap();
    let reached = |length: usize| {
        let text: Vec<u32> = sentence.iter().copied().cycle().take(length).collect();
        let mut session = block_on(Session::new(model(), &policy, SessionOptions::default())).unwrap();
        block_on(session.append(&text)).unwrap();
        session
    };
    let (mut early, mut late) = (reached(2_000), reached(20_000));
    let stretch = |session: &mut Session| {
        let options = GenerateOptions { max_tokens: 8, ignore_eos: true, ..GenerateOptions::default() };
        let begun = support::gpu::cpu_seconds();
        assert_eq!(session.generate(options).unwrap().map(Result::unwrap).count(), 8);
        support::gpu::cpu_seconds() - begun
    };
    stretch(&mut early);
    stretch(&mut late);
    let mut ratios: Vec<f64> = (0..9).map(|_| stretch(&mut late) / stretch(&mut early)).collect();
    ratios.sort_by(f64::total_cmp);
    println!(
        "a token at 20,000 costs {:.3} of one at 2,000 ({:.3} to {:.3})",
        ratios[4], ratios[0], ratios[8]
    );
    let most = bound("cost of a token at 20,000 from one at 2,000, share of it");
    assert!((ratios[4] - 1.0).abs() < most, "{ratios:?}");
}

/// The same weights from the folder that `tools/golden/make.sh smollm2` makes: only in `make test-full`.
#[test]
fn gguf_and_safetensors_score_the_same() {
    if !full_matrix() {
        skipped("SmolLM2 from GGUF and from safetensors", "for `make test-full`");
        return;
    }
    let folder = smollm2::needed().with_file_name("smollm2-hf");
    assert!(folder.exists(), "{} is missing; run tools/golden/make.sh smollm2", folder.display());
    let text = json("smollm2/golden.json");
    let text = &list(&text["texts"])[0];
    let other_file = ModelFile::open_path(&folder).unwrap();
    let other =
        Arc::new(block_on(Model::load(gpu(), &other_file, WeightFormat::F32, &mut |_, _| {})).unwrap());
    let case = &text["cases"]["full"];
    let tokens = ids(&text["ids"]);
    assert_eq!(
        run(model(), case, &tokens, Path::Chunk(64)).nll,
        run(&other, case, &tokens, Path::Chunk(64)).nll
    );
}
