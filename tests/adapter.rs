//! Adapters on the level of files: rows read as W + s B A whatever the base's format, and what is not a plain LoRA of
//! projections, or does not fit, is a typed error.

mod support;

#[path = "adapter/files.rs"]
mod files_of;

use std::collections::BTreeMap;

use killick::model_file::{FileSet, LayerWeight, ModelFile, ModelFileError, WeightName};
use pollster::block_on;
use serde_json::{Value, json};
use support::Random;
use support::bounds::bound;
use support::safetensors_writer::Safetensors;
use support::tiny_model::{GGUF, TinyModel, f32_bytes};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PROJECTIONS: [LayerWeight; 7] = [
    LayerWeight::Q,
    LayerWeight::K,
    LayerWeight::V,
    LayerWeight::O,
    LayerWeight::Gate,
    LayerWeight::Up,
    LayerWeight::Down,
];

/// Two layers, three query heads per key head.
fn base() -> TinyModel {
    let mut model = TinyModel::new();
    (model.layers, model.heads, model.kv_heads, model.head_dim) = (2, 6, 2, 12);
    (model.hidden, model.ffn, model.vocab, model.tied) = (32, 64, 20, false);
    model.randomize(3);
    model
}

fn open(files: BTreeMap<String, Vec<u8>>) -> ModelFile {
    block_on(ModelFile::open(FileSet::from_bytes(files))).expect("a valid model")
}

/// The base in both formats.
fn bases(model: &TinyModel) -> [ModelFile; 2] {
    [open(model.files()), open(BTreeMap::from([(GGUF.to_owned(), model.gguf().bytes())]))]
}

/// An adapter to be: its config, and its factors by weight.
#[derive(Clone)]
struct Lora {
    config: Value,
    /// A (rank, columns) and B (rows, rank).
    factors: BTreeMap<WeightName, (Vec<f32>, Vec<f32>)>,
    rank: u32,
}

impl Lora {
    fn new(model: &TinyModel, rank: u32, seed: u64) -> Self {
        let mut random = Random(seed);
        let mut draw = |n: u32| (0..n).map(|_| random.uniform()).collect::<Vec<f32>>();
        let changed = |name: &WeightName| {
            matches!(name, WeightName::Output)
                || matches!(name, WeightName::Layer(_, weight) if PROJECTIONS.contains(weight))
        };
        let factors = model.weights.iter().filter(|(name, _)| changed(name));
        let factors =
            factors.map(|(name, (rows, cols, _))| (*name, (draw(rank * cols), draw(rows * rank)))).collect();
        let config = json!({"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "bias": "none", "fan_in_fan_out": false,
            "modules_to_save": null, "rank_pattern": {}, "alpha_pattern": {}, "init_lora_weights": true, "loftq_config": {}});
        Self { config, factors, rank }
    }

    fn weights(&self) -> Safetensors {
        let mut file = Safetensors::default();
        for (name, (a, b)) in &self.factors {
            let module = name.huggingface().replace(".weight", "");
            for (letter, values, shape) in [
                ("A", a, [u64::from(self.rank), a.len() as u64 / u64::from(self.rank)]),
                ("B", b, [b.len() as u64 / u64::from(self.rank), u64::from(self.rank)]),
            ] {
                let name = format!("base_model.model.{module}.lora_{letter}.weight");
                file.add(&name, "F32", &shape, f32_bytes(values));
            }
        }
        file
    }

    fn files(&self) -> FileSet {
        files(&self.config, self.weights().bytes())
    }

    /// What it adds to a weight of `columns`, in f64.
    fn delta(&self, name: WeightName, columns: usize, scale: f64) -> Option<Vec<f64>> {
        let (a, b) = self.factors.get(&name)?;
        let rank = self.rank as usize;
        let sum = |(row, column): (usize, usize)| -> f64 {
            (0..rank).map(|k| f64::from(b[row * rank + k]) * f64::from(a[k * columns + column])).sum()
        };
        let places = (0..b.len() / rank).flat_map(|row| (0..columns).map(move |column| (row, column)));
        Some(places.map(|place| scale * sum(place)).collect())
    }
}

fn files(config: &Value, weights: Vec<u8>) -> FileSet {
    FileSet::from_bytes(BTreeMap::from([
        (CONFIG.to_owned(), config.to_string().into_bytes()),
        (WEIGHTS.to_owned(), weights),
    ]))
}

fn add(file: &mut ModelFile, adapter: FileSet, scale: f32) -> Result<(), ModelFileError> {
    block_on(file.add_adapter(adapter, scale))
}

#[test]
fn rows_read_as_the_base_and_all_that_is_added_in_either_format() {
    let model = base();
    let (one, two) = (Lora::new(&model, 3, 11), Lora::new(&model, 5, 12));
    let close = bound("a weight with adapters added");
    for mut file in bases(&model) {
        add(&mut file, one.files(), 1.0).unwrap();
        add(&mut file, two.files(), -0.25).unwrap();
        for (name, (rows, columns, values)) in &model.weights {
            let columns = *columns as usize;
            let added = |lora: &Lora, scale| {
                lora.delta(*name, columns, scale).unwrap_or_else(|| vec![0.0; values.len()])
            };
            let (first, second) = (added(&one, 2.0), added(&two, -0.5));
            let got = block_on(file.read_rows(*name, 0..*rows)).unwrap();
            for (at, got) in got.iter().enumerate() {
                let want = f64::from(values[at]) + first[at] + second[at];
                assert!((f64::from(*got) - want).abs() < close, "{name:?}[{at}]: {got}, {want}");
            }
            // Any range of rows is a part of the whole.
            if *rows > 4 {
                let part = block_on(file.read_rows(*name, 3..*rows - 1)).unwrap();
                assert_eq!(part, got[3 * columns..(*rows as usize - 1) * columns], "{name:?}");
            }
        }
    }
}

#[test]
fn both_formats_read_as_the_same_bits() {
    let model = base();
    let lora = Lora::new(&model, 4, 5);
    let [mut folder, mut gguf] = bases(&model);
    add(&mut folder, lora.files(), 0.5).unwrap();
    add(&mut gguf, lora.files(), 0.5).unwrap();
    for (name, (rows, ..)) in &model.weights {
        let read = |file: &ModelFile| block_on(file.read_rows(*name, 0..*rows)).unwrap();
        assert_eq!(read(&folder), read(&gguf), "{name:?}");
    }
}

#[test]
fn an_adapter_of_scale_0_is_none_its_policy_included() {
    let model = base();
    let mut lora = Lora::new(&model, 4, 5);
    lora.config["killick_policy"] = json!({"preset": "anchor", "anchors": [3]});
    for mut file in bases(&model) {
        add(&mut file, lora.files(), 0.0).unwrap();
        assert_eq!((file.policy(), file.adapters().count()), (None, 0));
        add(&mut file, lora.files(), 1.0).unwrap();
        assert_eq!(file.adapters().count(), 1);
        // It is read all the same: a wrong one is an error whatever its scale.
        assert!(add(&mut file, files(&json!({"peft_type": "LOHA"}), Vec::new()), 0.0).is_err());
    }
}

#[test]
fn the_scale_follows_from_alpha_rank_and_patterns() {
    let model = base();
    let name = WeightName::Layer(1, LayerWeight::Up);
    let plain = Lora::new(&model, 4, 5);
    // Factors of one are exact, so the bits tell the scale.
    let scale_of = |settings: Value| {
        let mut lora = plain.clone();
        for (key, value) in settings.as_object().unwrap() {
            lora.config[key] = value.clone();
        }
        let (a, b) = lora.factors.get_mut(&name).unwrap();
        (*a, *b) = (vec![0.25; a.len()], vec![1.0; b.len()]);
        let mut changed = base();
        changed.weights.get_mut(&name).unwrap().2.fill(0.0);
        let mut file = open(changed.files());
        add(&mut file, lora.files(), 1.0).unwrap();
        block_on(file.read_rows(name, 0..1)).unwrap()[0]
    };
    assert_eq!(scale_of(json!({})), 2.0, "lora_alpha 8, rank 4");
    assert_eq!(scale_of(json!({"lora_alpha": 3})), 0.75);
    assert_eq!(scale_of(json!({"lora_alpha": 3, "use_rslora": true})), 1.5);
    assert_eq!(scale_of(json!({"alpha_pattern": {"up_proj": 12}})), 3.0);
    assert_eq!(scale_of(json!({"alpha_pattern": {"layers.0.mlp.up_proj": 12}})), 2.0, "another layer");
    assert_eq!(scale_of(json!({"alpha_pattern": {"layers.1.mlp.up_proj": 12, "up_proj": 16}})), 3.0);
    assert_eq!(
        scale_of(
            json!({"r": 9, "rank_pattern": {"proj": 9, "up_proj": 4, "q_proj": 4, "k_proj": 4, "v_proj": 4,
        "o_proj": 4, "gate_proj": 4, "down_proj": 4, "lm_head": 4}})
        ),
        2.0,
        "the pattern wins over r"
    );
}

#[test]
fn the_last_policy_of_an_adapter_replaces_the_models() {
    let model = base();
    let mut base_files = model.files();
    let mut config = model.config();
    config["killick_policy"] = json!({"preset": "full"});
    base_files.insert("config.json".to_owned(), config.to_string().into_bytes());
    let mut file = open(base_files);
    let mut lora = Lora::new(&model, 2, 1);
    add(&mut file, lora.files(), 1.0).unwrap();
    assert_eq!(file.policy(), Some(&json!({"preset": "full"})));
    lora.config["killick_policy"] = json!({"preset": "anchor", "anchors": [3]});
    add(&mut file, lora.files(), 1.0).unwrap();
    lora.config["killick_policy"] = Value::Null;
    add(&mut file, lora.files(), 1.0).unwrap();
    assert_eq!(file.policy(), Some(&json!({"preset": "anchor", "anchors": [3]})));
}

/// A fault, and what its error must be and say.
type Fault = (&'static str, &'static str, Box<dyn Fn(&mut Lora)>);

fn set(key: &'static str, value: Value) -> Box<dyn Fn(&mut Lora)> {
    Box::new(move |lora| lora.config[key] = value.clone())
}

#[test]
fn what_is_no_plain_lora_is_refused_by_name() {
    let faults: Vec<Fault> = vec![
        ("Missing", "peft_type", set("peft_type", Value::Null)),
        ("Unsupported", "\"IA3\"", set("peft_type", json!("IA3"))),
        ("WrongType", "peft_type", set("peft_type", json!(7))),
        ("Unsupported", "use_dora", set("use_dora", json!(true))),
        ("Unsupported", "fan_in_fan_out", set("fan_in_fan_out", json!(true))),
        ("Unsupported", "modules_to_save", set("modules_to_save", json!(["lm_head"]))),
        ("Unsupported", "lora_bias", set("lora_bias", json!(true))),
        ("Unsupported", "\"lora_only\"", set("bias", json!("lora_only"))),
        ("Unsupported", "layer_replication", set("layer_replication", json!([[0, 1]]))),
        ("Unsupported", "alora_invocation_tokens", set("alora_invocation_tokens", json!([1]))),
        ("Unsupported", "trainable_token_indices", set("trainable_token_indices", json!([1]))),
        ("Unsupported", "\"pissa\"", set("init_lora_weights", json!("pissa"))),
        ("Unsupported", "rank_pattern.a|b", set("rank_pattern", json!({"a|b": 2}))),
        ("WrongType", "rank_pattern.up_proj", set("rank_pattern", json!({"up_proj": -2}))),
        ("WrongType", "alpha_pattern.up_proj", set("alpha_pattern", json!({"up_proj": "2"}))),
        ("WrongType", "killick_policy", set("killick_policy", json!("full"))),
        ("Missing", "key \"r\"", set("r", Value::Null)),
        ("Missing", "lora_alpha", set("lora_alpha", Value::Null)),
        ("Invalid", "at least 1", set("r", json!(0))),
        ("OverCap", "is 1025, the limit is 1024", set("r", json!(1025))),
        ("OverCap", "18446744073709551615", set("r", json!(u64::MAX))),
        ("Shape", "lora_A", set("r", json!(3))),
        ("Shape", "lora_A", set("rank_pattern", json!({"q_proj": 5}))),
        ("Invalid", "a finite number", set("lora_alpha", json!(1e300))),
        ("Missing", "a LoRA factor", Box::new(|lora| lora.factors.clear())),
    ];
    for (kind, text, fault) in faults {
        let model = base();
        let mut lora = Lora::new(&model, 2, 1);
        fault(&mut lora);
        refused(&model, lora.files(), kind, text);
    }
}

/// The adapter's error is of that kind, says that, and leaves the model as it was.
fn refused(model: &TinyModel, adapter: FileSet, kind: &str, text: &str) {
    for mut file in bases(model) {
        let error = block_on(file.add_adapter(adapter.clone(), 1.0)).expect_err(text);
        let found = format!("{error:?}");
        assert!(found.starts_with(kind), "{text}: {found}, expected {kind}");
        assert!(error.to_string().contains(text), "{error} does not say {text}");
        let name = WeightName::Layer(0, LayerWeight::Q);
        assert_eq!(block_on(file.read_rows(name, 0..1)).unwrap(), model.weights[&name].2[..32]);
    }
}

#[test]
fn factors_that_do_not_fit_are_refused() {
    let model = base();
    let lora = Lora::new(&model, 2, 1);
    let q = "base_model.model.model.layers.0.self_attn.q_proj";
    let with = |change: &dyn Fn(&mut Safetensors)| {
        let mut weights = lora.weights();
        change(&mut weights);
        files(&lora.config, weights.bytes())
    };
    let without = |end: &'static str| {
        with(&move |file: &mut Safetensors| file.tensors.retain(|(name, ..)| *name != format!("{q}{end}")))
    };
    refused(&model, without(".lora_A.weight"), "Missing", "lora_A");
    refused(&model, without(".lora_B.weight"), "Missing", "lora_B");
    for extra in [
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector.weight",
        "base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight",
        "base_model.model.lm_head.weight",
        "model.layers.0.self_attn.q_proj.lora_A.weight",
    ] {
        let files = with(&|file| file.add(extra, "F32", &[1, 1], vec![0; 4]));
        refused(&model, files, "Unsupported", &extra[..extra.len().min(60)]);
    }
    let reshaped = |shape: &'static [u64], bytes: usize| {
        with(&move |file| {
            let tensor = file.tensors.iter_mut().find(|(name, ..)| *name == format!("{q}.lora_B.weight"));
            let tensor = tensor.expect("the factor");
            (tensor.2, tensor.3) = (shape.to_vec(), vec![0; bytes]);
        })
    };
    refused(&model, reshaped(&[2, 72], 576), "Shape", "[2, 72]");
    refused(&model, reshaped(&[72, 2, 1], 576), "Shape", "[72, 2, 1]");
    refused(&model, reshaped(&[144], 576), "Shape", "[144]");
    refused(&model, reshaped(&[72, 2], 575), "Invalid", "lora_B");
    refused(&model, reshaped(&[1 << 40, 1 << 40], 576), "Invalid", "below 2^64");

    // Tied embeddings: the output is no matrix of its own to add to.
    let mut tied = base();
    tied.tied = true;
    tied.randomize(3);
    refused(&tied, lora.files(), "Unsupported", "lm_head");

    let bytes = lora.weights().bytes();
    for len in [0, 7, 8, 100, bytes.len() - 1] {
        let mut file = open(model.files());
        let cut = files(&lora.config, bytes[..len].to_vec());
        assert!(add(&mut file, cut, 1.0).is_err(), "cut to {len} bytes");
    }
    let set = |names: &[&str]| {
        let all = [(CONFIG, lora.config.to_string().into_bytes()), (WEIGHTS, bytes.clone())];
        let some = all.into_iter().filter(|(name, _)| names.contains(name));
        FileSet::from_bytes(some.map(|(name, bytes)| (name.to_owned(), bytes)).collect())
    };
    refused(&model, set(&[WEIGHTS]), "Missing", CONFIG);
    refused(&model, set(&[CONFIG]), "Missing", WEIGHTS);
    let pickled = BTreeMap::from([
        (CONFIG.to_owned(), lora.config.to_string().into_bytes()),
        ("adapter_model.bin".to_owned(), b"PK".to_vec()),
    ]);
    refused(&model, FileSet::from_bytes(pickled), "Pickled", "tools/convert/pickled.py");
    let twice = lora.config.to_string().replacen('{', r#"{"r": 2, "#, 1);
    let twice =
        BTreeMap::from([(CONFIG.to_owned(), twice.into_bytes()), (WEIGHTS.to_owned(), bytes.clone())]);
    refused(&model, FileSet::from_bytes(twice), "Duplicate", "\"r\"");
}

#[test]
fn a_tensor_that_holds_several_weights_counts_once_among_those_changed() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny/phi3");
    let mut file = ModelFile::open_path(&path).unwrap();
    let config = &file.config;
    let qkv = (config.n_heads + 2 * config.n_kv_heads) * config.head_dim;
    let mut weights = Safetensors::default();
    for (module, rows, columns) in [
        ("self_attn.qkv_proj", qkv, config.hidden_size),
        ("mlp.gate_up_proj", 2 * config.ffn_size, config.hidden_size),
        ("mlp.down_proj", config.hidden_size, config.ffn_size),
    ] {
        for (letter, rows, columns) in [("A", 1, columns), ("B", rows, 1)] {
            let name = format!("base_model.model.model.layers.0.{module}.lora_{letter}.weight");
            let zeros = f32_bytes(&vec![0.0; (rows * columns) as usize]);
            weights.add(&name, "F32", &[rows.into(), columns.into()], zeros);
        }
    }
    add(&mut file, files(&json!({"peft_type": "LORA", "r": 1, "lora_alpha": 1}), weights.bytes()), 1.0)
        .unwrap();
    // Queries, keys and values are one tensor there, and so are gate and up.
    assert_eq!(file.adapters().map(|(_, changed, _)| changed).collect::<Vec<_>>(), [3]);
}
