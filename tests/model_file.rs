//! Valid model files in every form read as the weights they were written from.

mod support;

#[path = "model_file/names.rs"]
mod names;
#[path = "model_file/others.rs"]
mod others;
#[path = "model_file/places.rs"]
mod places;
#[path = "model_file/split.rs"]
mod split;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use killick::model_file::{
    Dtype, FileSet, Format, LayerWeight, ModelFile, ModelFileError, TokenizerSource, WeightName,
};
use pollster::block_on;
use proptest::prelude::*;
use serde_json::json;

use support::gguf_writer::{Gguf, Value};
use support::safetensors_writer::{self, Safetensors};
use support::tiny_model::{CONFIG, GGUF, TinyModel, WEIGHTS, f32_bytes};

fn open(files: BTreeMap<String, Vec<u8>>) -> ModelFile {
    block_on(ModelFile::open(FileSet::from_bytes(files))).expect("a valid model")
}

fn open_gguf(bytes: Vec<u8>) -> ModelFile {
    open(BTreeMap::from([(GGUF.to_owned(), bytes)]))
}

/// Two layers, three query heads per key head, heads wider than 4, an output of its own.
fn bigger() -> TinyModel {
    let mut model = TinyModel::new();
    (model.layers, model.heads, model.kv_heads, model.head_dim) = (2, 6, 2, 12);
    (model.hidden, model.ffn, model.vocab, model.tied) = (32, 64, 20, false);
    model.randomize(3);
    model
}

fn read(file: &ModelFile, name: WeightName, rows: std::ops::Range<u32>) -> Vec<f32> {
    block_on(file.read_rows(name, rows)).expect("rows of a valid model")
}

fn assert_reads_as(file: &ModelFile, model: &TinyModel) {
    for (name, (rows, cols, values)) in &model.weights {
        assert_eq!(name.shape(&file.config), (*rows, *cols), "{name:?}");
        assert_eq!(&read(file, *name, 0..*rows), values, "{name:?}");
    }
}

#[test]
fn both_formats_read_as_the_same_weights_and_config() {
    for model in [TinyModel::new(), bigger()] {
        let gguf = open_gguf(model.gguf().bytes());
        let safetensors = open(model.files());
        assert_eq!(gguf.format(), Format::Gguf { version: 3 });
        assert_eq!(safetensors.format(), Format::Safetensors);
        assert_reads_as(&gguf, &model);
        assert_reads_as(&safetensors, &model);
        assert_eq!(gguf.config, safetensors.config);
        assert_eq!(gguf.config.tied_embeddings, model.tied);
        assert_eq!(gguf.weight(WeightName::Output).is_none(), model.tied);
        assert_eq!((gguf.label(), safetensors.label()), (GGUF, WEIGHTS));
    }
}

/// `tests/data/tiny` holds models that `transformers` and the `gguf` package wrote from the same weights.
#[test]
fn reads_files_of_the_reference_writers_alike() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny");
    for (folder, gguf) in
        [("gqa", "gqa.f32.gguf"), ("mha-untied", "mha-untied.f16.gguf"), ("blocks", "blocks.mixed.gguf")]
    {
        let [safetensors, gguf] =
            [folder, gguf].map(|name| ModelFile::open_path(&data.join(name)).expect("a valid model"));
        for name in WeightName::all(&safetensors.config) {
            let rows = 0..name.shape(&safetensors.config).0;
            assert_eq!(read(&safetensors, name, rows.clone()), read(&gguf, name, rows), "{folder} {name:?}");
        }
        let numbers = |file: &ModelFile| {
            let c = &file.config;
            (c.n_layers, c.n_heads, c.n_kv_heads, c.head_dim, c.context_len, c.rms_norm_eps, c.rope_theta)
        };
        assert_eq!(numbers(&safetensors), numbers(&gguf), "{folder}");
    }
    let sharded = ModelFile::open_path(&data.join("bf16")).expect("a valid model");
    assert!(sharded.tensors().iter().all(|tensor| tensor.dtype == Dtype::BF16));
}

#[test]
fn reads_gguf_version_2() {
    let mut file = TinyModel::new().gguf();
    file.version = 2;
    let model = open_gguf(file.bytes());
    assert_eq!(model.format(), Format::Gguf { version: 2 });
    assert_reads_as(&model, &TinyModel::new());
}

#[test]
fn reads_any_range_of_permuted_rows() {
    let model = bigger();
    let file = open_gguf(model.gguf().bytes());
    for weight in [LayerWeight::Q, LayerWeight::K, LayerWeight::V] {
        let name = WeightName::Layer(1, weight);
        let (rows, cols, values) = &model.weights[&name];
        for start in 0..*rows {
            for end in start..=*rows {
                let expected = &values[(start * cols) as usize..(end * cols) as usize];
                assert_eq!(read(&file, name, start..end), expected, "{name:?} {start}..{end}");
            }
        }
    }
}

#[test]
fn refuses_rows_and_weights_the_model_lacks() {
    let file = open(TinyModel::new().files());
    let too_many = block_on(file.read_rows(WeightName::TokenEmbedding, 0..13)).expect_err("12 rows");
    assert!(matches!(too_many, ModelFileError::OverCap { value: 13, cap: 12, .. }), "{too_many}");
    let tied = block_on(file.read_rows(WeightName::Output, 0..1)).expect_err("tied");
    assert!(matches!(tied, ModelFileError::Missing { .. }), "{tied}");
}

/// A block type's writer of zeros and ones is not needed: any bytes are valid blocks.
#[test]
fn reads_every_data_type_as_its_dequantisation() {
    let mut model = bigger();
    model.hidden = 512; // rows of two superblocks
    model.randomize(3);
    let name = WeightName::Layer(0, LayerWeight::Up);
    for dtype in Dtype::ALL {
        let mut file = model.gguf();
        let mut random = support::Random(5);
        let bytes = dtype.bytes_of(64 * 512).expect("whole blocks");
        // Bytes below 0x70 make no infinite or NaN number of any type.
        let data: Vec<u8> = (0..bytes).map(|_| random.below(0x70) as u8).collect();
        let tensor = file.tensor("blk.0.ffn_up.weight");
        (tensor.dtype, tensor.data) = (dtype.ggml_type(), data.clone());
        let file = open_gguf(file.bytes());
        assert_eq!(file.weight(name).map(|tensor| tensor.dtype), Some(dtype));
        let mut expected = vec![0.0; 64 * 512];
        dtype.dequantize(&data, &mut expected);
        assert_eq!(read(&file, name, 0..64), expected, "{dtype:?}");
        assert_eq!(read(&file, name, 9..31), expected[9 * 512..31 * 512], "{dtype:?}");
    }
}

#[test]
fn reads_half_precision_safetensors() {
    let model = TinyModel::new();
    let halved =
        |values: &[f32]| values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
    let mut file = Safetensors::default();
    for (name, (rows, cols, values)) in &model.weights {
        let shape =
            if *rows == 1 { vec![u64::from(*cols)] } else { vec![u64::from(*rows), u64::from(*cols)] };
        file.add(&name.huggingface(), "BF16", &shape, halved(values));
    }
    let mut files = model.files();
    files.insert(WEIGHTS.to_owned(), file.bytes());
    let file = open(files);
    for (name, (rows, _, values)) in &model.weights {
        let expected: Vec<f32> = values.iter().map(|v| half::bf16::from_f32(*v).to_f32()).collect();
        assert_eq!(read(&file, *name, 0..*rows), expected, "{name:?}");
    }
}

/// The files of `model` with its weights in two shards.
fn sharded(model: &TinyModel) -> BTreeMap<String, Vec<u8>> {
    let mut shards = [Safetensors::default(), Safetensors::default()];
    let mut map = serde_json::Map::new();
    for (n, tensor) in model.safetensors().tensors.into_iter().enumerate() {
        map.insert(tensor.0.clone(), format!("model-0000{}-of-00002.safetensors", n % 2 + 1).into());
        shards[n % 2].tensors.push(tensor);
    }
    let mut files = BTreeMap::from([
        (CONFIG.to_owned(), model.config().to_string().into_bytes()),
        ("model.safetensors.index.json".to_owned(), json!({ "weight_map": map }).to_string().into_bytes()),
    ]);
    for (n, shard) in shards.iter().enumerate() {
        files.insert(format!("model-0000{}-of-00002.safetensors", n + 1), shard.bytes());
    }
    files
}

#[test]
fn reads_a_sharded_checkpoint() {
    assert_reads_as(&open(sharded(&bigger())), &bigger());
}

#[test]
fn ignores_tensors_that_change_nothing() {
    let mut file = TinyModel::new().safetensors();
    file.add("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", &[2], vec![0; 8]);
    file.add("vision.patch.weight", "F16", &[1, 1, 2], vec![0; 4]);
    file.add("scalar", "F32", &[], vec![0; 4]);
    // A layer after the last one, as checkpoints with a prediction head for later tokens have.
    file.add("model.layers.1.eh_proj.weight", "F32", &[1], vec![0; 4]);
    let mut files = TinyModel::new().files();
    files.insert(WEIGHTS.to_owned(), file.bytes());
    assert_reads_as(&open(files), &TinyModel::new());
}

#[test]
fn end_tokens_come_from_both_configs_and_once() {
    let mut files = TinyModel::new().files();
    files.insert("generation_config.json".to_owned(), b"{\"eos_token_id\":[2,5]}".to_vec());
    assert_eq!(open(files).config.eos_tokens, [2, 5]);
    let mut file = TinyModel::new().gguf();
    file.set("tokenizer.ggml.eot_token_id", Value::u32(4));
    file.set("tokenizer.ggml.eom_token_id", Value::u32(2));
    assert_eq!(open_gguf(file.bytes()).config.eos_tokens, [2, 4]);
}

#[test]
fn tokens_that_end_a_turn_are_found_by_their_spelling_where_no_key_names_one() {
    let mut file = TinyModel::new().gguf();
    let tokens =
        ["a", "b", "c", "<|im_end|>", "<|end|>", "d", "<|eot_id|>", "<|endoftext|>", "e", "f", "g", "h"];
    file.set("tokenizer.ggml.tokens", Value::strings(&tokens));
    let mut kinds = [1; 12];
    (kinds[4], kinds[6], kinds[7]) = (3, 4, 3);
    file.set("tokenizer.ggml.token_type", Value::i32s(&kinds));
    let kinds_of =
        |file: &ModelFile| format!("{:?}", file.tokenizer()).contains("token_types: [1, 1, 1, 3, 3, 1, 4, 3");
    // A normal token of that spelling is one that whoever made the file forgot to mark.
    let opened = open_gguf(file.bytes());
    assert_eq!((opened.config.eos_tokens.as_slice(), kinds_of(&opened)), (&[2, 3, 4, 6][..], true));
    file.set("tokenizer.ggml.eot_token_id", Value::u32(2));
    let opened = open_gguf(file.bytes());
    assert_eq!(opened.config.eos_tokens, [2], "a file that names one is believed");
    assert!(!kinds_of(&opened));
}

#[test]
fn the_vocabulary_says_which_token_ends_a_turn_and_not_a_number_beside_it() {
    let ends = |name: &str, bytes: &[u8], config: serde_json::Value| {
        let mut files = TinyModel::new().files();
        files.insert(name.to_owned(), bytes.to_vec());
        files.insert("tokenizer_config.json".to_owned(), config.to_string().into_bytes());
        open(files).config.eos_tokens
    };
    let config = json!({"eos_token": "<e>", "added_tokens_decoder": {"5": {"content": "<e>"}}});
    let added = br#"{"added_tokens": [{"id": 7, "content": "<e>"}], "model": {"vocab": {"<e>": 3}}}"#;
    assert_eq!(ends("tokenizer.json", added, config.clone()), [2, 7]);
    assert_eq!(ends("tokenizer.json", br#"{"model": {"vocab": {"<e>": 7}}}"#, config.clone()), [2, 7]);
    assert_eq!(ends("tokenizer.json", br#"{"model": {"vocab": {"e": 7}}}"#, config.clone()), [2, 5]);
    // Pieces 0 and 1 of a tokenizer.model, each a message that holds its spelling.
    let pieces = |spellings: [&str; 2]| {
        let piece = |text: &str| {
            let len = u8::try_from(text.len()).unwrap();
            [&[0x0a, len + 2, 0x0a, len], text.as_bytes()].concat()
        };
        spellings.map(piece).concat()
    };
    assert_eq!(ends("tokenizer.model", &pieces(["a", "<e>"]), config.clone()), [2, 1]);
    assert_eq!(ends("tokenizer.model", &pieces(["a", "b"]), config), [2, 5]);
}

#[test]
fn absent_fields_have_the_defaults_of_the_reference() {
    // LlamaConfig of transformers; for GGUF those of llama.cpp.
    let mut model = TinyModel::new();
    (model.kv_heads, model.theta, model.eps) = (model.heads, 10_000.0, 1e-6);
    model.randomize(1);
    let mut config = model.config();
    let absent =
        ["num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta", "hidden_act", "bos_token_id"];
    absent
        .into_iter()
        .chain(["tie_word_embeddings", "eos_token_id"])
        .for_each(|key| config[key] = json!(null));
    let mut files = model.files();
    files.insert(CONFIG.to_owned(), config.to_string().into_bytes());
    let mut expected = open(model.files()).config;
    (expected.bos_token, expected.eos_tokens) = (None, Vec::new());
    assert_eq!(open(files).config, expected);
    let mut gguf = model.gguf();
    for key in [
        "attention.head_count_kv",
        "attention.key_length",
        "rope.freq_base",
        "rope.dimension_count",
        "vocab_size",
    ] {
        gguf.remove(&format!("llama.{key}"));
    }
    for key in ["bos_token_id", "eos_token_id"] {
        gguf.remove(&format!("tokenizer.ggml.{key}"));
    }
    assert_eq!(open_gguf(gguf.bytes()).config, expected);
    let tokenizer_keys = |key: &[u8]| key.starts_with(b"tokenizer");
    gguf.entries.retain(|(key, _)| !tokenizer_keys(key));
    let file = open_gguf(gguf.bytes());
    assert_eq!(file.config, expected, "the vocabulary's size is that of the embedding");
    assert!(matches!(file.tokenizer(), TokenizerSource::None));
}

#[test]
fn the_rope_base_may_lie_in_rope_parameters() {
    // transformers 5 writes it there.
    let mut config = TinyModel::new().config();
    config["rope_theta"] = json!(null);
    config["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 500_000.0});
    config["rope_scaling"] = json!(null);
    let mut files = TinyModel::new().files();
    files.insert(CONFIG.to_owned(), config.to_string().into_bytes());
    assert_eq!(open(files).config.rope_theta, 500_000.0);
}

#[test]
fn a_policy_travels_with_the_model() {
    let policy = json!({"preset": "anchor", "anchors": [3]});
    let mut gguf = TinyModel::new().gguf();
    gguf.set("killick.policy", Value::string(policy.to_string()));
    assert_eq!(open_gguf(gguf.bytes()).policy(), Some(&policy));
    let mut config = TinyModel::new().config();
    config["killick_policy"] = policy.clone();
    let mut files = TinyModel::new().files();
    files.insert(CONFIG.to_owned(), config.to_string().into_bytes());
    assert_eq!(open(files).policy(), Some(&policy));
    assert_eq!(open(TinyModel::new().files()).policy(), None);
}

#[test]
fn finds_tokenizer_and_template_of_either_format() {
    let mut gguf = TinyModel::new().gguf();
    gguf.set("tokenizer.chat_template", Value::string("{{ x }}"));
    let file = open_gguf(gguf.bytes());
    let TokenizerSource::Gguf(tokenizer) = file.tokenizer() else { panic!("{:?}", file.tokenizer()) };
    assert_eq!((tokenizer.model.as_str(), tokenizer.pre.as_deref()), ("gpt2", Some("smollm")));
    assert_eq!((tokenizer.tokens.len(), tokenizer.merges.as_slice()), (12, ["a b".to_owned()].as_slice()));
    assert_eq!((tokenizer.bos, tokenizer.eos, tokenizer.add_bos), (Some(1), Some(2), false));
    assert_eq!(file.chat_template(), Some("{{ x }}"));

    let mut files = TinyModel::new().files();
    files.insert("tokenizer.json".to_owned(), b"{}".to_vec());
    let list =
        json!({"chat_template": [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]});
    files.insert("tokenizer_config.json".to_owned(), list.to_string().into_bytes());
    let file = open(files.clone());
    assert!(
        matches!(file.tokenizer(), TokenizerSource::HuggingFace { tokenizer_json, .. } if tokenizer_json == b"{}")
    );
    assert_eq!(file.chat_template(), Some("d"));
    files.insert("chat_template.jinja".to_owned(), b"own file".to_vec());
    assert_eq!(open(files).chat_template(), Some("own file"));
    assert!(matches!(open(TinyModel::new().files()).tokenizer(), TokenizerSource::None));
}

#[test]
fn finds_the_pieces_of_either_format() {
    let mut gguf = TinyModel::new().gguf();
    let keys = |gguf: &Gguf| match open_gguf(gguf.bytes()).tokenizer() {
        TokenizerSource::Gguf(keys) => keys.clone(),
        other => panic!("{other:?}"),
    };
    // What a file does not say depends on the algorithm.
    for (model, add_bos, add_eos, add_space) in [("llama", true, false, true), ("t5", false, true, false)] {
        gguf.set("tokenizer.ggml.model", Value::string(model));
        for key in ["add_bos_token", "add_eos_token"] {
            gguf.remove(&format!("tokenizer.ggml.{key}"));
        }
        let keys = keys(&gguf);
        assert_eq!((keys.add_bos, keys.add_eos, keys.add_space_prefix), (add_bos, add_eos, add_space));
        assert!(!keys.remove_extra_whitespaces && !keys.has_charsmap);
    }
    gguf.set("tokenizer.ggml.add_space_prefix", Value::bool(true));
    gguf.set("tokenizer.ggml.remove_extra_whitespaces", Value::bool(true));
    gguf.set("tokenizer.ggml.precompiled_charsmap", Value::array(0, 3, vec![1, 2, 3]));
    let keys = keys(&gguf);
    assert!(keys.add_space_prefix && keys.remove_extra_whitespaces && keys.has_charsmap);

    let mut files = TinyModel::new().files();
    files.insert("tokenizer.model".to_owned(), b"pieces".to_vec());
    files.insert("added_tokens.json".to_owned(), b"{}".to_vec());
    match open(files.clone()).tokenizer() {
        TokenizerSource::SentencePiece { model, added_tokens, tokenizer_config: None } => {
            assert_eq!((model.as_slice(), added_tokens.as_deref()), (&b"pieces"[..], Some(&b"{}"[..])));
        }
        other => panic!("{other:?}"),
    }
    files.insert("tokenizer.json".to_owned(), b"{}".to_vec());
    assert!(matches!(open(files).tokenizer(), TokenizerSource::HuggingFace { .. }));
}

fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    files.iter().try_for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes))
}

#[test]
fn opens_folders_and_single_files_on_disk() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    write(folder.path(), &sharded(&bigger()))?;
    let open = |path: &Path| ModelFile::open_path(path).expect("a valid model");
    assert_reads_as(&open(folder.path()), &bigger());
    assert_reads_as(&open(&folder.path().join("model.safetensors.index.json")), &bigger());

    let folder = tempfile::tempdir()?;
    write(folder.path(), &TinyModel::new().files())?;
    std::fs::write(folder.path().join("notes.txt"), "not a model")?;
    assert_reads_as(&open(folder.path()), &TinyModel::new());
    assert_reads_as(&open(&folder.path().join(WEIGHTS)), &TinyModel::new());
    // Content counts, not the name: some stores name files by their hash.
    let blob = folder.path().join("sha256-1234");
    std::fs::write(&blob, TinyModel::new().gguf().bytes())?;
    assert_reads_as(&open(&blob), &TinyModel::new());

    let absent = ModelFile::open_path(&folder.path().join("absent.gguf")).err().expect("no such file");
    assert!(absent.to_string().contains("absent.gguf"), "{absent}");
    Ok(())
}

#[cfg(unix)]
#[test]
fn pickled_weights_are_refused_with_the_way_to_convert_them() -> io::Result<()> {
    let config = TinyModel::new().config().to_string().into_bytes();
    let zip = b"PK\x03\x04 and what follows".to_vec();
    let shards = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"];
    let index = "pytorch_model.bin.index.json";
    for names in [vec!["pytorch_model.bin"], shards.to_vec(), [&[index], &shards[..]].concat()] {
        let folder = tempfile::tempdir()?;
        let named = names.iter().map(|name| ((*name).to_owned(), zip.clone()));
        write(folder.path(), &named.chain([(CONFIG.to_owned(), config.clone())]).collect())?;
        let error = ModelFile::open_path(folder.path()).err().expect("no reader for pickles");
        let first = names.iter().min().copied();
        assert!(matches!(&error, ModelFileError::Pickled { file } if Some(&**file) == first), "{error:?}");
        assert!(error.to_string().contains("tools/convert/pickled.py"), "{error}");
    }
    // Alone, and under a name of its own, its first bytes tell.
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("weights.pth"), &zip)?;
    let error =
        ModelFile::open_path(&folder.path().join("weights.pth")).err().expect("no reader for pickles");
    assert!(matches!(error, ModelFileError::Pickled { .. }), "{error:?}");
    // Beside safetensors a pickle is a copy that nobody needs.
    let mut files = TinyModel::new().files();
    files.insert("pytorch_model.bin".to_owned(), zip);
    let folder = tempfile::tempdir()?;
    write(folder.path(), &files)?;
    assert!(ModelFile::open_path(folder.path()).is_ok());
    Ok(())
}

proptest! {
    /// The `safetensors` crate is the format's reference: both readers give one verdict on layouts,
    /// apart from what this engine refuses besides (empty tensors).
    #[test]
    fn agrees_with_the_safetensors_crate_on_layouts(
        entries in prop::collection::vec((1_u64..4, 1_u64..4, prop::sample::select(vec!["F32", "F16"])), 1..5),
        damage in (0_usize..8, 0_usize..3, -2_i64..3),
        extra in -1_i64..2,
    ) {
        let mut header = serde_json::Map::new();
        let mut start = 0;
        for (n, (rows, cols, dtype)) in entries.iter().enumerate() {
            let end = start + rows * cols * if *dtype == "F32" { 4 } else { 2 };
            header.insert(format!("t{n}"), json!({"dtype": dtype, "shape": [rows, cols], "data_offsets": [start, end]}));
            start = end;
        }
        let (which, field, by) = damage;
        if let Some(entry) = header.get_mut(&format!("t{which}")) {
            let number = match field {
                0 => &mut entry["data_offsets"][0],
                1 => &mut entry["data_offsets"][1],
                _ => &mut entry["shape"][1],
            };
            *number = number.as_u64().expect("a number").saturating_add_signed(by).into();
        }
        prop_assume!(header.values().all(|entry| entry["shape"][1] != 0));
        let bytes = safetensors_writer::file(
            &serde_json::Value::Object(header).to_string(),
            &vec![0; start.saturating_add_signed(extra) as usize],
        );
        let crate_accepts = safetensors::SafeTensors::deserialize(&bytes).is_ok();
        let mut files = TinyModel::new().files();
        files.insert(WEIGHTS.to_owned(), bytes);
        // A sound layout gets as far as the search for the weights.
        let error = block_on(ModelFile::open(FileSet::from_bytes(files))).err().expect("not a Llama model");
        let we_accept = matches!(&error, ModelFileError::Missing { field, .. } if field.contains("embed_tokens"));
        prop_assert_eq!(we_accept, crate_accepts, "{}", error);
    }
}

#[test]
fn writes_what_the_safetensors_crate_reads() {
    let bytes = TinyModel::new().safetensors().bytes();
    let parsed = safetensors::SafeTensors::deserialize(&bytes).expect("a valid file");
    let embedding = parsed.tensor("model.embed_tokens.weight").expect("the embedding");
    assert_eq!(embedding.data(), f32_bytes(&TinyModel::new().weights[&WeightName::TokenEmbedding].2));
}
