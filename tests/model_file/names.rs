//! Names of tensors: wrappers come off, what is not a model is named, tied is what is equal.

use std::collections::BTreeMap;

use killick::model_file::{FileSet, ModelFile, ModelFileError, WeightName};
use pollster::block_on;
use serde_json::json;

use super::{assert_reads_as, bigger, open, read};
use crate::support::safetensors_writer::Safetensors;
use crate::support::tiny_model::{CONFIG, TinyModel, WEIGHTS, f32_bytes};

/// The files of `model` with the names of its tensors as `rename` has them.
fn renamed(model: &TinyModel, rename: impl Fn(&str) -> String) -> BTreeMap<String, Vec<u8>> {
    let mut weights = model.safetensors();
    weights.tensors.iter_mut().for_each(|(name, ..)| *name = rename(name));
    let mut files = model.files();
    files.insert(WEIGHTS.to_owned(), weights.bytes());
    files
}

fn with(
    files: BTreeMap<String, Vec<u8>>,
    change: impl FnOnce(&mut Safetensors),
    model: &TinyModel,
) -> BTreeMap<String, Vec<u8>> {
    let mut weights = model.safetensors();
    change(&mut weights);
    let mut files = files;
    files.insert(WEIGHTS.to_owned(), weights.bytes());
    files
}

fn fails(files: BTreeMap<String, Vec<u8>>) -> ModelFileError {
    block_on(ModelFile::open(FileSet::from_bytes(files))).err().expect("not a model")
}

#[test]
fn what_wrappers_put_into_names_is_taken_off() {
    let model = bigger();
    let wrappers: [fn(&str) -> String; 8] = [
        |name| format!("_orig_mod.{name}"),
        |name| format!("module.{name}"),
        |name| format!("module._orig_mod.{name}"),
        |name| format!("_orig_mod.module.{name}"),
        |name| format!("base_model.model.{name}"),
        |name| name.replace("model.layers.0.", "model.layers.0._orig_mod."),
        |name| name.replace("self_attn.", "self_attn._fsdp_wrapped_module."),
        // As a model without a head is saved.
        |name| name.strip_prefix("model.").unwrap_or(name).to_owned(),
    ];
    for wrap in wrappers {
        assert_reads_as(&open(renamed(&model, wrap)), &model);
    }
    // In shards as well, whose index has the wrapped names.
    let wrapped = |model: &TinyModel| {
        let mut shards = [Safetensors::default(), Safetensors::default()];
        let mut map = serde_json::Map::new();
        for (n, mut tensor) in model.safetensors().tensors.into_iter().enumerate() {
            tensor.0 = format!("_orig_mod.{}", tensor.0);
            map.insert(tensor.0.clone(), format!("{}.safetensors", n % 2).into());
            shards[n % 2].tensors.push(tensor);
        }
        let index = json!({ "weight_map": map }).to_string().into_bytes();
        let config = model.config().to_string().into_bytes();
        let [first, second] = shards.map(|shard| shard.bytes());
        let names =
            [CONFIG, "model.safetensors.index.json", "0.safetensors", "1.safetensors"].map(str::to_owned);
        names.into_iter().zip([config, index, first, second]).collect()
    };
    assert_reads_as(&open(wrapped(&model)), &model);
    let twice =
        |weights: &mut Safetensors| weights.add("_orig_mod.model.norm.weight", "F32", &[32], vec![0; 128]);
    assert!(matches!(fails(with(model.files(), twice, &model)), ModelFileError::Duplicate { .. }));
}

#[test]
fn a_beginning_that_is_not_read_is_named() {
    let error = fails(renamed(&bigger(), |name| format!("thing.{name}"))).to_string();
    assert!(error.contains("embed_tokens") && error.contains("begin with \"thing.model.\""), "{error}");
}

#[test]
fn an_output_that_differs_from_the_embedding_it_is_tied_to_is_used() {
    let mut model = bigger();
    let mut files = model.files();
    let mut config = model.config();
    config["tie_word_embeddings"] = json!(true);
    files.insert(CONFIG.to_owned(), config.to_string().into_bytes());
    let file = open(files.clone());
    assert!(!file.config.tied_embeddings);
    assert_reads_as(&file, &model);
    // GGUF stores it or does not, so it says the same.
    assert_eq!(file.config, super::open_gguf(model.gguf().bytes()).config);
    // An equal one is tied, whichever of the two is stored; the last value decides.
    let embedding = model.weights[&WeightName::TokenEmbedding].clone();
    model.weights.insert(WeightName::Output, embedding.clone());
    let equal = |model: &TinyModel| {
        let mut files = files.clone();
        files.insert(WEIGHTS.to_owned(), model.safetensors().bytes());
        files
    };
    let file = open(equal(&model));
    assert!(file.config.tied_embeddings && file.weight(WeightName::Output).is_none());
    let (_, _, values) = model.weights.get_mut(&WeightName::Output).unwrap();
    *values.last_mut().unwrap() += 1.0;
    assert!(!open(equal(&model)).config.tied_embeddings);
    // Another type with the same values is equal.
    let halved =
        |values: &[f32]| values.iter().map(|value| half::bf16::from_f32(*value).to_f32()).collect::<Vec<_>>();
    let mut weights = Safetensors::default();
    for (name, (rows, cols, values)) in &model.weights {
        let shape =
            if *rows == 1 { vec![u64::from(*cols)] } else { vec![u64::from(*rows), u64::from(*cols)] };
        match name {
            WeightName::TokenEmbedding => {
                weights.add(&name.huggingface(), "F32", &shape, f32_bytes(&halved(values)));
            }
            WeightName::Output => {
                let bytes = halved(&embedding.2)
                    .into_iter()
                    .flat_map(|value| half::bf16::from_f32(value).to_le_bytes());
                weights.add(&name.huggingface(), "BF16", &shape, bytes.collect());
            }
            _ => weights.add(&name.huggingface(), "F32", &shape, f32_bytes(values)),
        }
    }
    let mut mixed = files.clone();
    mixed.insert(WEIGHTS.to_owned(), weights.bytes());
    assert!(open(mixed).config.tied_embeddings);
    // Only the output is stored: it is both.
    let mut alone = with(
        files,
        |weights| weights.tensors.retain(|(name, ..)| name != "model.embed_tokens.weight"),
        &model,
    );
    alone.insert(CONFIG.to_owned(), config.to_string().into_bytes());
    let file = open(alone);
    assert!(file.config.tied_embeddings);
    let rows = model.vocab;
    assert_eq!(read(&file, WeightName::TokenEmbedding, 0..rows), model.weights[&WeightName::Output].2);
}

#[test]
fn tensors_of_other_types_matter_only_where_they_are_needed() {
    let model = bigger();
    let extra = |weights: &mut Safetensors| {
        weights.add("position_ids", "I64", &[1, 3], vec![0; 24]);
        weights.add("mask", "BOOL", &[5], vec![1; 5]);
        weights.add("nothing", "U8", &[0], Vec::new());
        weights.add("four.bits", "F4", &[2, 2], vec![0; 2]);
    };
    assert_reads_as(&open(with(model.files(), extra, &model)), &model);
    let needed = |weights: &mut Safetensors| weights.tensors[0].1 = "I32".to_owned();
    let error = fails(with(model.files(), needed, &model)).to_string();
    assert!(error.contains("\"I32\"") && error.ends_with("this reader knows F32, F16, BF16"), "{error}");
    let unknown = |weights: &mut Safetensors| weights.add("x", "Q9", &[1], vec![0]);
    assert!(matches!(fails(with(model.files(), unknown, &model)), ModelFileError::UnknownDtype { .. }));
    let wrong = |weights: &mut Safetensors| weights.add("x", "I64", &[2], vec![0; 24]);
    assert!(matches!(fails(with(model.files(), wrong, &model)), ModelFileError::Invalid { .. }));
}

#[test]
fn quantised_weights_are_called_by_their_method_and_never_read() {
    let model = bigger();
    let configs = [
        ("GPTQ", json!({"quantization_config": {"quant_method": "gptq", "bits": 4}})),
        ("AWQ", json!({"quantization_config": {"quant_method": "awq"}})),
        (
            "bitsandbytes",
            json!({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}}),
        ),
        ("bitsandbytes", json!({"quantization_config": {"load_in_8bit": true}})),
        ("FP8", json!({"quantization_config": {"quant_method": "fp8"}})),
        ("\"brand-new\"", json!({"quantization_config": {"quant_method": "brand-new"}})),
        ("MLX", json!({"quantization": {"bits": 4, "group_size": 64}, "quantization_config": {"bits": 4}})),
    ];
    for (method, keys) in configs {
        let mut config = model.config();
        config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let mut files = model.files();
        files.insert(CONFIG.to_owned(), config.to_string().into_bytes());
        // As their files have them: nothing here is a type that weights have.
        files.insert(WEIGHTS.to_owned(), Safetensors::default().bytes());
        let error = fails(files).to_string();
        assert!(
            error.contains(&format!("quantised by {method}")) && error.contains("unquantised"),
            "{error}"
        );
    }
    // Old files have no word of it in the config.
    for (method, tensor) in [
        ("GPTQ or AWQ", "model.layers.0.mlp.up_proj.qweight"),
        ("bitsandbytes", "model.layers.0.mlp.up_proj.weight.absmax"),
        ("bitsandbytes", "model.layers.0.mlp.up_proj.SCB"),
        ("FP8", "model.layers.0.mlp.up_proj.weight_scale_inv"),
        ("MLX", "model.layers.0.mlp.up_proj.scales"),
    ] {
        let error =
            fails(with(model.files(), |weights| weights.add(tensor, "I32", &[1], vec![0; 4]), &model))
                .to_string();
        assert!(error.contains(&format!("quantised by {method}")), "{tensor}: {error}");
    }
    let own = |weights: &mut Safetensors| weights.add("tok_embeddings.weight", "F32", &[1], vec![0; 4]);
    assert!(
        fails(with(model.files(), own, &model)).to_string().contains("layout of Llama's and Mistral's own")
    );
}
