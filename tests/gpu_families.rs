//! What the descendants of Llama add to it, each on a tiny checkpoint against PyTorch in 64-bit, from both formats.
//!
//! Made by tools/golden/families.py, which also compares itself with the stock models of transformers.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

mod support {
    pub mod bounds;
    pub mod golden;
    pub mod gpu;
    pub mod skip;
}

use std::collections::BTreeMap;
use std::sync::Arc;

use killick::GenerateOptions;
use killick::kernels::WeightFormat;
use killick::kv::{Policy, PolicySpec, Preset};
use killick::model::Model;
use killick::model_file::{Architecture, FileSet, ModelFile, RopeScaling};
use killick::score::{Path, Score, score};
use killick::session::{Session, SessionOptions};
use pollster::block_on;
use serde_json::Value;
use support::bounds::bound;
use support::golden::{base64_floats, data, difference, ids, json, list, nmse, numbers, policy, spec};
use support::gpu::{gpu, share};
use support::skip::skipped;

const FAMILIES: [&str; 13] = [
    "linear", "llama3", "yarn", "biases", "mistral", "qwen2", "qwen3", "smollm3", "phi3", "longrope",
    "windows", "gemma2", "gemma3",
];
/// Those that llama.cpp has no keys for.
const HUGGINGFACE_ONLY: [&str; 1] = ["windows"];
/// Rows of docs/numerics.md: an NMSE, and the nats of a token.
const LOGITS: &str = "logits of a tiny model";
const TOKEN: &str = "nats of a token of a tiny model";

fn open(files: BTreeMap<String, Vec<u8>>) -> ModelFile {
    block_on(ModelFile::open(FileSet::from_bytes(files))).unwrap()
}

/// config.json and model.safetensors.
fn checkpoint(family: &str) -> BTreeMap<String, Vec<u8>> {
    let read = |file: &str| (file.to_owned(), std::fs::read(data(&format!("tiny/{family}/{file}"))).unwrap());
    [read("config.json"), read("model.safetensors")].into()
}

fn gguf(family: &str) -> BTreeMap<String, Vec<u8>> {
    let file = format!("{family}.f16.gguf");
    let bytes = std::fs::read(data(&format!("tiny/{file}"))).unwrap();
    [(file, bytes)].into()
}

fn has_gguf(family: &&str) -> bool {
    !HUGGINGFACE_ONLY.contains(family)
}

/// The files of both formats, or of the one there is.
fn formats(family: &str) -> Vec<(&'static str, BTreeMap<String, Vec<u8>>)> {
    let gguf = has_gguf(&family).then(|| ("gguf", gguf(family)));
    [("safetensors", checkpoint(family))].into_iter().chain(gguf).collect()
}

fn load(file: &ModelFile) -> Arc<Model> {
    Arc::new(block_on(Model::load(gpu(), file, WeightFormat::F32, &mut |_, _| {})).unwrap())
}

fn run(model: &Arc<Model>, spec: &PolicySpec, ids: &[u32], path: Path) -> Score {
    let policy = spec.resolve(model.config()).unwrap();
    block_on(score(model, &policy, ids, path)).unwrap()
}

/// The largest difference of a token's NLL from PyTorch's.
fn off(got: &Score, want: &Value) -> f64 {
    difference(&got.nll, &numbers(&want["nll"])).token
}

/// The largest NMSE of the case's rows of logits.
fn logits_error(model: &Arc<Model>, case: &Value) -> f64 {
    let (text, policy) = (ids(&case["ids"]), policy(case, model.config()));
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
fn every_family_equals_pytorch_from_both_formats() {
    for family in FAMILIES {
        let golden = json(&format!("tiny/{family}/golden.json"));
        for (format, files) in formats(family) {
            let model = load(&open(files));
            let (mut logits, mut token) = (0.0_f64, 0.0_f64);
            for case in list(&golden["cases"]) {
                logits = logits.max(logits_error(&model, case));
                for path in [Path::Masked, Path::Ring, Path::Chunk(7)] {
                    token = token.max(off(&run(&model, &spec(case), &ids(&case["ids"]), path), case));
                }
            }
            println!("{family} from {format}: worst logits NMSE {logits:.1e}, worst token {token:.1e} nats");
            assert!(logits <= bound(LOGITS), "{family} from {format}: NMSE {logits:e}");
            assert!(token <= bound(TOKEN), "{family} from {format}: a token is off by {token:e} nats");
        }
    }
}

/// A metadata value of 32 bits in place.
fn set_key(bytes: &mut [u8], key: &str, value: &Value) {
    const U32: u32 = 4;
    let at = bytes.windows(key.len()).position(|window| window == key.as_bytes()).expect("the key");
    let at = at + key.len();
    let kind = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let value = if kind == U32 {
        (value.as_u64().unwrap() as u32).to_le_bytes()
    } else {
        (value.as_f64().unwrap() as f32).to_le_bytes()
    };
    bytes[at + 4..at + 8].copy_from_slice(&value);
}

/// Every F16 tensor whose name ends so gets one value throughout.
fn fill(bytes: &mut [u8], end: &str, value: f64) {
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    let mut filled = 0;
    for (_, tensor) in header.as_object().unwrap().iter().filter(|(name, _)| name.ends_with(end)) {
        assert_eq!(tensor["dtype"], "F16");
        let [from, to] =
            [0, 1].map(|i| 8 + header_len + tensor["data_offsets"][i].as_u64().unwrap() as usize);
        for weight in bytes[from..to].chunks_exact_mut(2) {
            weight.copy_from_slice(&half::f16::from_f64(value).to_le_bytes());
        }
        filled += 1;
    }
    assert!(filled > 0, "no tensor is called {end}");
}

/// The files after one change, and what changed them.
fn changed(family: &str, field: &Value) -> BTreeMap<String, Vec<u8>> {
    let mut files = checkpoint(family);
    if let Some(changes) = field["config"].as_object() {
        let mut config: Value = serde_json::from_slice(&files["config.json"]).unwrap();
        for (key, value) in changes {
            config[key] = value.clone();
        }
        files.insert("config.json".to_owned(), serde_json::to_vec(&config).unwrap());
    } else if let Some(fills) = field["fill"].as_object() {
        for (end, value) in fills {
            fill(files.get_mut("model.safetensors").unwrap(), end, value.as_f64().unwrap());
        }
    } else {
        // A text-only Gemma 3 is `gemma3_text` in config.json alone.
        let architecture = open(gguf(family)).config.architecture.name().trim_end_matches("_text");
        files = gguf(family);
        for (key, value) in field["key"].as_object().expect("a change of some kind") {
            files.values_mut().for_each(|bytes| set_key(bytes, &format!("{architecture}.{key}"), value));
        }
    }
    files
}

/// A field that did nothing would leave the loss where it was; PyTorch says where it goes.
#[test]
fn every_field_moves_the_loss_where_pytorch_says() {
    for family in FAMILIES {
        let golden = json(&format!("tiny/{family}/golden.json"));
        let ablations = &golden["ablations"];
        let (text, spec) = (ids(&ablations["ids"]), spec(ablations));
        let base = run(&load(&open(checkpoint(family))), &spec, &text, Path::Chunk(64));
        assert!(off(&base, ablations) <= bound(TOKEN), "{family}, unchanged: {} nats", off(&base, ablations));
        let fields = list(&ablations["fields"]);
        for field in &fields[..share(fields.len(), 1)] {
            let got = run(&load(&open(changed(family, field))), &spec, &text, Path::Chunk(64));
            let (right, still) = (off(&got, field), off(&base, field));
            let what = format!("{family}, {}", field["field"]);
            assert!(right <= bound(TOKEN), "{what}: a token is off by {right:e} nats");
            assert!(still > 100.0 * bound(TOKEN), "{what}: without the change it is only {still} nats off");
        }
        println!("{family}: {} of {} fields", share(fields.len(), 1), fields.len());
    }
}

/// The same weights in the same order of operations: the same bits, except where GGUF rounds the frequencies itself.
#[test]
fn gguf_and_safetensors_give_the_same_logits() {
    for family in FAMILIES.into_iter().filter(has_gguf) {
        let golden = json(&format!("tiny/{family}/golden.json"));
        let case = &list(&golden["cases"])[0];
        let [folder, gguf] = [checkpoint(family), gguf(family)].map(|files| {
            let model = load(&open(files));
            let mut session =
                block_on(Session::new(&model, &policy(case, model.config()), SessionOptions::default()))
                    .unwrap();
            block_on(session.append(&ids(&case["ids"]))).unwrap();
            block_on(session.next_logits()).unwrap()
        });
        if family == "llama3" {
            let error = nmse(&folder, &gguf);
            assert!(folder != gguf && error < bound("logits where GGUF rounds the frequencies"), "{error:e}");
        } else {
            assert_eq!(folder, gguf, "{family}");
        }
    }
}

/// What a GGUF does not spell out, the architecture does.
#[test]
fn both_formats_give_the_same_config() {
    for family in FAMILIES.into_iter().filter(has_gguf) {
        let (mut folder, gguf) = (open(checkpoint(family)).config, open(gguf(family)).config);
        let has_token = |config: &killick::model_file::Config| config.bos_token.is_some();
        assert!(has_token(&folder) && !has_token(&gguf), "the writer leaves the tokenizer out");
        (folder.bos_token, folder.eos_tokens) = (None, Vec::new());
        if family == "llama3" {
            assert!(matches!(folder.rope_scaling, RopeScaling::Llama3 { .. }));
            folder.rope_scaling = RopeScaling::Divisors;
        }
        // What config.json lists is a tensor there.
        assert_eq!((folder.rope_factors.take().is_some(), &gguf.rope_factors), (family == "longrope", &None));
        if family == "mistral" {
            assert_eq!(
                (folder.architecture, gguf.architecture),
                (Architecture::Mistral, Architecture::Llama)
            );
            folder.architecture = Architecture::Llama;
        }
        assert_eq!(folder, gguf, "{family}");
    }
}

#[test]
fn a_models_own_window_is_its_full_policy_and_the_others_replace_it() {
    let model = load(&open(checkpoint("mistral")));
    let full = PolicySpec::new(Preset::Full);
    let policy = full.resolve(model.config()).unwrap();
    assert_eq!((policy.window, policy.limit), (9, Some(256)));
    let text: Vec<u32> = (0..60).collect();
    let kv = run(&model, &full, &text, Path::Ring).kv;
    assert_eq!(kv.live, 8, "what the window of the next token, itself counted, can still see");
    // A wider one may be asked for, as under any preset.
    let wide = PolicySpec { window: Some(40), ..full.clone() };
    assert_eq!(wide.resolve(model.config()).unwrap().window, 40);
    let narrow = PolicySpec { ctx: Some(5), ..full };
    assert_eq!(narrow.resolve(model.config()).unwrap().window, 5);
    for preset in [Preset::Window, Preset::Streaming] {
        let spec = PolicySpec::new(preset);
        assert_eq!(spec.resolve(model.config()), spec.resolve(256), "{preset}");
    }
}

/// A window that only some layers have is no policy's: `full` sees everything, and every preset leaves those layers theirs.
#[test]
fn windows_of_some_layers_stay_under_every_policy() {
    let model = load(&open(checkpoint("windows")));
    let text: Vec<u32> = (0..60).collect();
    for preset in [Preset::Full, Preset::Window, Preset::Streaming] {
        let policy = PolicySpec::new(preset).resolve(model.config()).unwrap();
        let plain = PolicySpec::new(preset).resolve(256).unwrap();
        assert_eq!((policy.layer_window, plain.layer_window), (Some(9), None));
        assert_eq!(Policy { layer_window: None, ..policy }, plain, "{preset}");
    }
    let kv = run(&model, &PolicySpec::new(Preset::Full), &text, Path::Ring).kv;
    assert_eq!(kv.live, 60, "a layer without a window reads them all");
}

/// Which of two lists divides the frequencies is decided by how far a policy lets a token see, before the first token.
#[test]
fn a_short_reach_takes_the_short_list() {
    let model = load(&open(checkpoint("longrope")));
    let text: Vec<u32> = (0..30).collect();
    let under = |ctx| PolicySpec { ctx, ..PolicySpec::new(Preset::Full) };
    let [short, edge, long] =
        [Some(30), Some(32), Some(33)].map(|ctx| run(&model, &under(ctx), &text, Path::Ring).nll);
    assert_eq!(short, edge, "both stay within the original context of 32");
    assert!(
        short.iter().zip(&long).any(|(a, b)| f64::from((a - b).abs()) > 100.0 * bound(TOKEN)),
        "the other list is another function"
    );
}

/// Biases of q, k and v, or a norm of each head, cost one dispatch a layer; without them a layer has six.
#[test]
fn what_a_model_does_not_have_costs_no_dispatch() {
    if std::env::var("KILLICK_MAX_BINDING").is_ok() {
        skipped("dispatches of what a model does not have", "parts of weights cost dispatches of their own");
        return;
    }
    for (family, per_layer) in [
        ("linear", 6),
        ("mistral", 6),
        ("smollm3", 6),
        ("phi3", 6),
        ("longrope", 6),
        ("windows", 7),
        ("qwen2", 7),
        ("qwen3", 7),
        ("biases", 13),
        // Two norms after a block, and queries and keys normalized.
        ("gemma2", 8),
        ("gemma3", 9),
    ] {
        let model = load(&open(checkpoint(family)));
        let policy = PolicySpec::new(Preset::Full).resolve(model.config()).unwrap();
        let mut session = block_on(Session::new(&model, &policy, SessionOptions::default())).unwrap();
        block_on(session.append(&[1, 2, 3])).unwrap();
        let generation = session.generate(GenerateOptions::default()).unwrap();
        let layers = model.config().n_layers as usize;
        // Bounds of logits are one more.
        let beside = 5 + usize::from(model.config().logit_cap.is_some());
        assert_eq!(generation.step_dispatches().len(), per_layer * layers + beside, "{family}");
    }
}
