//! The forms in which an adapter comes: PEFT's folder or either of its files, and llama.cpp's GGUF.

use std::collections::BTreeMap;
use std::path::Path;

use killick::model_file::{FileSet, LayerWeight, ModelFile, ModelFileError, WeightName};
use pollster::block_on;

use super::{CONFIG, Lora, WEIGHTS, add, base, bases};
use crate::support::gguf_writer::{Gguf, Value, ggml};
use crate::support::tiny_model::{TinyModel, f32_bytes, permuted};

impl Lora {
    /// As `convert_lora_to_gguf.py` writes it: rows of B in the order of the base's file.
    fn gguf(&self, model: &TinyModel) -> Gguf {
        let mut file = Gguf::new(3);
        file.set("general.architecture", Value::string("llama"));
        file.set("general.type", Value::string("adapter"));
        file.set("adapter.type", Value::string("lora"));
        file.set("adapter.lora.alpha", Value::f32(self.config["lora_alpha"].as_f64().unwrap() as f32));
        let rank = u64::from(self.rank);
        for (name, (a, b)) in &self.factors {
            let b = match name {
                WeightName::Layer(_, LayerWeight::Q | LayerWeight::K) => {
                    permuted(b, self.rank as usize, model.head_dim as usize)
                }
                _ => b.clone(),
            };
            let name = name.gguf();
            file.add_tensor(
                &format!("{name}.lora_a"),
                &[a.len() as u64 / rank, rank],
                ggml::F32,
                f32_bytes(a),
            );
            file.add_tensor(
                &format!("{name}.lora_b"),
                &[rank, b.len() as u64 / rank],
                ggml::F32,
                f32_bytes(&b),
            );
        }
        file
    }
}

fn set(file: &Gguf) -> FileSet {
    FileSet::from_bytes(BTreeMap::from([("lora.gguf".to_owned(), file.bytes())]))
}

/// The bits of all rows of every weight.
fn bits(file: &ModelFile, model: &TinyModel) -> Vec<Vec<u32>> {
    let rows = |(name, (rows, ..)): (&WeightName, &(u32, u32, Vec<f32>))| {
        let rows = block_on(file.read_rows(*name, 0..*rows)).unwrap();
        rows.into_iter().map(f32::to_bits).collect()
    };
    model.weights.iter().map(rows).collect()
}

#[test]
fn an_adapter_as_gguf_is_the_one_of_peft_bit_for_bit() {
    let model = base();
    let lora = Lora::new(&model, 3, 11);
    for (mut peft, mut gguf) in bases(&model).into_iter().zip(bases(&model)) {
        let plain = bits(&peft, &model);
        add(&mut peft, lora.files(), 0.5).unwrap();
        add(&mut gguf, set(&lora.gguf(&model)), 0.5).unwrap();
        assert_eq!(bits(&peft, &model), bits(&gguf, &model));
        assert_ne!(bits(&gguf, &model), plain);
        let described = |file: &ModelFile| {
            file.adapters().map(|(_, changes, scale)| (changes, scale)).collect::<Vec<_>>()
        };
        assert_eq!(described(&peft), described(&gguf));
    }
    // An alpha of 0 stands for the rank, and each tensor has a rank of its own.
    let mut file = lora.gguf(&model);
    file.set("adapter.lora.alpha", Value::f32(0.0));
    let [mut zero, _] = bases(&model);
    add(&mut zero, set(&file), 2.0).unwrap();
    let [mut two, _] = bases(&model);
    add(&mut two, lora.files(), 1.0).unwrap();
    assert_eq!(bits(&zero, &model), bits(&two, &model), "alpha is twice the rank there");
}

#[test]
fn a_gguf_that_is_no_such_adapter_is_refused() {
    let model = base();
    let lora = Lora::new(&model, 3, 11);
    type Change = fn(&mut Gguf);
    let cases: [(&str, Change); 11] = [
        ("give a whole model as --model", |file| file.set("general.type", Value::string("model"))),
        ("adapter.type", |file| file.set("adapter.type", Value::string("control_vector"))),
        ("general.architecture", |file| file.set("general.architecture", Value::string("qwen2"))),
        ("adapter.alora.invocation_tokens", |file| {
            file.set("adapter.alora.invocation_tokens", Value::i32s(&[1]));
        }),
        ("adapter.lora.alpha", |file| file.remove("adapter.lora.alpha")),
        ("adapter.lora.alpha", |file| file.set("adapter.lora.alpha", Value::f32(f32::INFINITY))),
        ("lora_b", |file| file.tensors.retain(|tensor| !tensor.name.ends_with(b"attn_q.weight.lora_b"))),
        ("lora_a", |file| file.tensors.retain(|tensor| !tensor.name.ends_with(b"ffn_up.weight.lora_a"))),
        ("token_embd.weight.lora_a", |file| file.add_tensor("token_embd.weight.lora_a", &[1], 0, vec![0; 4])),
        ("a LoRA factor", |file| file.tensors.clear()),
        ("the config asks for", |file| file.tensors[0].dims.reverse()),
    ];
    for (says, change) in cases {
        let mut file = lora.gguf(&model);
        change(&mut file);
        let [mut safetensors, _] = bases(&model);
        let error = add(&mut safetensors, set(&file), 1.0).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
    let [mut untouched, _] = bases(&model);
    let deep = Gguf { tensors: Vec::new(), ..lora.gguf(&model) };
    let mut deep = deep;
    deep.add_tensor("output.weight.lora_a", &[32, 2000], 0, vec![0; 32 * 2000 * 4]);
    deep.add_tensor("output.weight.lora_b", &[2000, 20], 0, vec![0; 20 * 2000 * 4]);
    assert!(matches!(add(&mut untouched, set(&deep), 1.0), Err(ModelFileError::OverCap { value: 2000, .. })));
}

#[test]
fn of_two_adapters_in_one_folder_the_file_must_be_named() {
    let model = base();
    let folder = tempfile::tempdir().unwrap();
    for name in ["one.gguf", "two.gguf"] {
        std::fs::write(folder.path().join(name), Lora::new(&model, 3, 11).gguf(&model).bytes()).unwrap();
    }
    let open = |path: &Path| {
        let [mut file, _] = bases(&model);
        add(&mut file, FileSet::adapter_from_path(path).unwrap(), 1.0)
    };
    let error = open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("one.gguf, two.gguf") && error.contains("one adapter; name the file"), "{error}");
    open(&folder.path().join("two.gguf")).unwrap();
}

#[test]
fn an_adapter_is_its_folder_either_of_its_files_or_a_file_of_another_name() {
    let model = base();
    let lora = Lora::new(&model, 3, 11);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path(CONFIG), lora.config.to_string()).unwrap();
    std::fs::write(path(WEIGHTS), lora.weights().bytes()).unwrap();
    std::fs::write(path("._adapter_model.safetensors"), b"\0\x05\x16\x07").unwrap();
    std::fs::create_dir(path("checkpoint-1")).unwrap();
    let [mut peft, _] = bases(&model);
    add(&mut peft, lora.files(), 1.0).unwrap();
    let expected = bits(&peft, &model);
    let opened = |path: &Path| {
        let [mut file, _] = bases(&model);
        add(&mut file, FileSet::adapter_from_path(path).unwrap(), 1.0).map(|()| bits(&file, &model))
    };
    for place in [folder.path().to_owned(), path(CONFIG), path(WEIGHTS)] {
        assert_eq!(opened(&place).unwrap(), expected, "{}", place.display());
    }
    std::fs::rename(path(WEIGHTS), path("step-100.safetensors")).unwrap();
    assert_eq!(opened(&path("step-100.safetensors")).unwrap(), expected);
    let error = opened(folder.path()).unwrap_err().to_string();
    assert!(error.contains("adapter_model.safetensors"), "{error}");
    // A GGUF needs no folder, and its folder is enough if nothing of PEFT's is there.
    let alone = tempfile::tempdir().unwrap();
    std::fs::write(alone.path().join("lora.gguf"), lora.gguf(&model).bytes()).unwrap();
    assert_eq!(opened(&alone.path().join("lora.gguf")).unwrap(), expected);
    assert_eq!(opened(alone.path()).unwrap(), expected);
    // What is no adapter says so.
    let whole = tempfile::tempdir().unwrap();
    for (name, bytes) in model.files() {
        std::fs::write(whole.path().join(name), bytes).unwrap();
    }
    let error = FileSet::adapter_from_path(whole.path()).err().expect("a model").to_string();
    assert!(error.contains("--model"), "{error}");
    std::fs::write(path(WEIGHTS), b"version https://git-lfs.github.com/spec/v1\nsize 5\n").unwrap();
    assert!(opened(folder.path()).unwrap_err().to_string().contains("git lfs pull"));
}
