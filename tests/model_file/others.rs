//! What is no model says what it is and what to do, under whatever name it comes.

use std::collections::BTreeMap;

use killick::model_file::{FileSet, ModelFile, ModelFileError};
use pollster::block_on;
use serde_json::json;

use super::{bigger, open, open_gguf};
use crate::support::gguf_writer::{Value, kind};
use crate::support::tiny_model::{CONFIG, GGUF, TinyModel, WEIGHTS};

fn opened(files: BTreeMap<String, Vec<u8>>) -> Result<ModelFile, ModelFileError> {
    block_on(ModelFile::open(FileSet::from_bytes(files)))
}

fn fails(files: BTreeMap<String, Vec<u8>>) -> String {
    let error = opened(files).err().expect("no model").to_string();
    assert!(!error.chars().any(char::is_control) && error.chars().count() < 500, "{error:?}");
    error
}

const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:abab\nsize 270000000\n";

/// Contents, what each is called, and what to do about it.
fn contents() -> Vec<(Vec<u8>, &'static str, &'static str)> {
    let padded = |start: &[u8]| [start, &[7; 600]].concat();
    let mut tar = vec![b'a'; 600];
    tar[257..262].copy_from_slice(b"ustar");
    let entry = |name: &str| {
        [
            b"PK\x03\x04".as_slice(),
            &[0; 22],
            &(name.len() as u16).to_le_bytes(),
            &[0; 2],
            name.as_bytes(),
            &[9; 80],
        ]
        .concat()
    };
    vec![
        (LFS.to_vec(), "Git LFS pointer, which stands for a file of 270000000 bytes", "git lfs pull"),
        ([b"\xef\xbb\xbf", LFS].concat(), "Git LFS pointer", "git lfs pull"),
        (b"/annex/objects/SHA256E-s1--ab.gguf\n".to_vec(), "git-annex pointer", "git annex get"),
        (b"<!DOCTYPE html>\n<html><head><title>Sign in</title>".to_vec(), "a web page", "login"),
        (b"\n  <HTML>".to_vec(), "a web page", "download it again"),
        (
            b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>".to_vec(),
            "a message of a server",
            "download it again",
        ),
        (padded(b"lmgg\x01\0\0\0"), "ggml", "get the model as GGUF"),
        (padded(b"fmgg\x01\0\0\0"), "ggmf", "get the model as GGUF"),
        (padded(b"tjgg\x03\0\0\0"), "ggjt", "get the model as GGUF"),
        (padded(b"algg\x01\0\0\0"), "a LoRA adapter in the form ggla", "PEFT"),
        (padded(b"GGUF\0\0\0\x03"), "big-endian", "gguf_convert_endian.py"),
        (padded(b"GGUF\x01\0\0\0"), "GGUF file of version 1", "newer GGUF"),
        (padded(b"\x1f\x8b\x08"), "packed by gzip", "gunzip"),
        (padded(b"\x28\xb5\x2f\xfd"), "packed by zstd", "unpack"),
        (padded(b"\xfd7zXZ\0"), "packed by xz", "unpack"),
        (padded(b"\0\x05\x16\x07"), "a sidecar that macOS writes", "the file that it lies beside"),
        (padded(b"\x89HDF\r\n\x1a\n"), "HDF5", "GGUF or safetensors"),
        (padded(b"\x93NUMPY"), "NumPy", "GGUF or safetensors"),
        (tar, "a tar archive", "unpack"),
        (entry("model/config.json"), "a zip archive, whose first file is \"model/config.json\"", "unpack"),
        (entry("arr_0.npy"), "a zip archive", "GGUF or safetensors"),
        (entry("archive/data.pkl"), "pickled", "tools/convert/pickled.py"),
        (entry("pytorch_model/.format_version"), "pickled", "tools/convert/pickled.py"),
        (padded(b"\x80\x02\x8a\x0al\xfc\x9cF"), "pickled", "tools/convert/pickled.py"),
        (Vec::new(), "an empty file", "download it again"),
        (vec![0; 4096], "begins with zeros", "download it again"),
        (b"\xff\xfe{\0}\0".to_vec(), "a text in UTF-16", "UTF-8"),
        (padded(b"MZ\x90\0"), "a program", "GGUF"),
        (
            b"../store/model.safetensors".to_vec(),
            "holds only the path \"../store/model.safetensors\"",
            "put the file",
        ),
    ]
}

#[test]
fn weights_that_are_something_else_are_named() {
    for (bytes, what, advice) in contents() {
        for name in ["m.gguf", WEIGHTS, "sha256-1234"] {
            let mut files = BTreeMap::from([(name.to_owned(), bytes.clone())]);
            if name == WEIGHTS {
                files.insert(CONFIG.to_owned(), TinyModel::new().config().to_string().into_bytes());
            }
            let error = fails(files);
            assert!(
                error.contains(what) && error.contains(advice) && error.contains(name),
                "{name}: {error}"
            );
        }
    }
    for name in ["m.gguf", WEIGHTS] {
        let error = fails(BTreeMap::from([
            (name.to_owned(), b"Entry not found".to_vec()),
            (CONFIG.to_owned(), b"{}".to_vec()),
        ]));
        assert!(error.contains("a text that begins with \"Entry not found\""), "{error}");
    }
}

#[test]
fn every_other_file_of_a_folder_is_looked_at_in_the_same_way() {
    for (bytes, what, advice) in contents() {
        if what == "pickled" || what.starts_with("an empty") || what.contains("GGUF") || what == "big-endian"
        {
            continue;
        }
        for name in [
            CONFIG,
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "tokenizer.model",
            "chat_template.jinja",
        ] {
            let mut files = TinyModel::new().files();
            files.insert(name.to_owned(), bytes.clone());
            let error = fails(files);
            assert!(
                error.contains(what) && error.contains(advice) && error.contains(name),
                "{name}: {error}"
            );
        }
        let mut files = super::sharded(&bigger());
        files.insert("model.safetensors.index.json".to_owned(), bytes.clone());
        assert!(fails(files).contains(what));
        let mut files = super::sharded(&bigger());
        files.insert("model-00002-of-00002.safetensors".to_owned(), bytes);
        assert!(fails(files).contains(what));
    }
    // One too long to be what its name says, and too long to be read.
    let mut files = TinyModel::new().files();
    files.insert(CONFIG.to_owned(), [TinyModel::new().gguf().bytes(), vec![0; 2 << 20]].concat());
    assert!(fails(files).contains("a GGUF file under a wrong name"));
}

#[test]
fn the_content_counts_and_not_the_name() {
    let model = TinyModel::new();
    for name in ["m.safetensors", "m.bin", "m"] {
        super::assert_reads_as(&open(BTreeMap::from([(name.to_owned(), model.gguf().bytes())])), &model);
    }
    let mut files = model.files();
    let weights = files.remove(WEIGHTS).unwrap();
    files.insert("m.gguf".to_owned(), weights);
    super::assert_reads_as(&open(files), &model);
}

#[test]
fn a_piece_of_a_file_and_an_unfinished_download_are_told_by_their_names() {
    let whole = TinyModel::new().gguf().bytes();
    for name in ["m.gguf-split-a", "m.gguf.part1of2", "m.gguf.part2"] {
        let error = fails(BTreeMap::from([(name.to_owned(), whole[..500].to_vec())]));
        assert!(error.contains("a piece of a file") && error.contains("cat"), "{error}");
    }
    for name in ["m.gguf.incomplete", "m.gguf.crdownload", "m.gguf.part"] {
        let error = fails(BTreeMap::from([(name.to_owned(), whole[..500].to_vec())]));
        assert!(error.contains("not finished"), "{error}");
    }
}

#[test]
fn an_adapter_given_as_a_model_says_so() {
    let adapter = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4}).to_string().into_bytes();
    let mut weights = crate::support::safetensors_writer::Safetensors::default();
    weights.add(
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        "F32",
        &[2, 8],
        vec![0; 64],
    );
    let names = ["adapter_config.json", "adapter_model.safetensors"].map(str::to_owned);
    let [config, file] = names;
    let sets = [
        vec![(config.clone(), adapter.clone()), (file.clone(), weights.bytes())],
        vec![(config.clone(), adapter.clone())],
        vec![(file, weights.bytes())],
        // Under the name of a model, with the config of its base.
        vec![
            (WEIGHTS.to_owned(), weights.bytes()),
            (CONFIG.to_owned(), TinyModel::new().config().to_string().into_bytes()),
        ],
        vec![(config, adapter), ("adapter_model.bin".to_owned(), b"PK\x03\x04".to_vec())],
    ];
    for set in sets {
        let error = fails(set.into_iter().collect());
        assert!(error.contains("a LoRA adapter") && error.contains("--adapter"), "{error}");
    }
    let mut gguf = TinyModel::new().gguf();
    for (kind, what) in
        [("adapter", "a LoRA adapter"), ("mmproj", "a projector"), ("imatrix", "an importance matrix")]
    {
        gguf.set("general.type", Value::string(kind));
        assert!(fails(BTreeMap::from([(GGUF.to_owned(), gguf.bytes())])).contains(what));
    }
    gguf.set("general.type", Value::string("model"));
    open_gguf(gguf.bytes());
}

#[test]
fn data_types_have_their_names_and_the_list_is_that_of_the_format() {
    let types = [
        (4, "Q4_2 (number 4), which was removed"),
        (31, "Q4_0_4_4 (number 31), which was removed"),
        (33, "Q4_0_8_8"),
        (36, "IQ4_NL_4_4 (number 36), which was removed from the format (or I2_S, if the file is BitNet's"),
        (39, "MXFP4 (or TL2, if the file is BitNet's"),
        (23, "IQ4_XS"),
        (40, "NVFP4"),
        (41, "Q1_0"),
        (139, "ik_llama.cpp"),
        (60, "number 60, which is newer"),
        (u32::MAX, "newer than this reader or no data type"),
    ];
    for (number, says) in types {
        let mut file = TinyModel::new().gguf();
        file.tensor("blk.0.attn_q.weight").dtype = number;
        let error = fails(BTreeMap::from([(GGUF.to_owned(), file.bytes())]));
        assert!(error.contains(says) && error.contains("Q4_K, Q5_K, Q6_K"), "{error}");
    }
}

#[test]
fn what_nobody_reads_of_a_gguf_file_may_be_anything() {
    let mut file = TinyModel::new().gguf();
    file.set("tokenizer.huggingface.json", Value::string(vec![b'x'; (1 << 20) + 200_000]));
    file.set("general.description", Value::string([0xff, 0xfe, 0x80]));
    file.set("general.tags", Value::strings(&[vec![b'y'; 3 << 20], vec![0xff]]));
    let inner = |count: u64| {
        [kind::U8.to_le_bytes().as_slice(), &count.to_le_bytes(), &vec![1; count as usize]].concat()
    };
    file.set("general.nested", Value::array(kind::ARRAY, 3, [inner(2), inner(0), inner(5)].concat()));
    file.set("tokenizer.ggml.scores", Value::i32s(&[0; 12]));
    let model = open_gguf(file.bytes());
    super::assert_reads_as(&model, &TinyModel::new());
    // Whoever reads such a key is told.
    let mut long = TinyModel::new().gguf();
    long.set("general.architecture", Value::string(vec![b'x'; (1 << 20) + 1]));
    assert!(fails(BTreeMap::from([(GGUF.to_owned(), long.bytes())])).contains("general.architecture"));
}

#[test]
fn scores_and_kinds_of_other_types_are_read_as_the_numbers_they_are() {
    let mut file = TinyModel::new().gguf();
    file.set("tokenizer.ggml.model", Value::string("llama"));
    let keys =
        |file: &crate::support::gguf_writer::Gguf| format!("{:?}", open_gguf(file.bytes()).tokenizer());
    let numbers: Vec<i32> = (0..12).map(|i| -i).collect();
    file.set("tokenizer.ggml.scores", Value::f32s(&numbers.iter().map(|n| *n as f32).collect::<Vec<_>>()));
    let plain = keys(&file);
    let bytes = |list: Vec<Vec<u8>>| list.concat();
    file.set("tokenizer.ggml.scores", Value::i32s(&numbers));
    assert_eq!(keys(&file), plain);
    file.set(
        "tokenizer.ggml.scores",
        Value::array(12, 12, bytes(numbers.iter().map(|n| f64::from(*n).to_le_bytes().to_vec()).collect())),
    );
    assert_eq!(keys(&file), plain);
    file.set(
        "tokenizer.ggml.scores",
        Value::array(11, 12, bytes(numbers.iter().map(|n| i64::from(*n).to_le_bytes().to_vec()).collect())),
    );
    assert_eq!(keys(&file), plain);
    file.set("tokenizer.ggml.token_type", Value::array(kind::U8, 12, vec![1; 12]));
    assert_eq!(keys(&file), plain);
    file.set(
        "tokenizer.ggml.token_type",
        Value::array(4, 12, bytes(vec![u32::MAX.to_le_bytes().to_vec(); 12])),
    );
    assert!(fails(BTreeMap::from([(GGUF.to_owned(), file.bytes())])).contains("a number of 32 bits"));
}

#[test]
fn a_byte_order_mark_before_json_is_passed_over() {
    let model = bigger();
    let mut files = super::sharded(&model);
    files.insert("generation_config.json".to_owned(), b"{\"eos_token_id\":[2,5]}".to_vec());
    for (name, bytes) in &mut files {
        if name.ends_with(".json") {
            bytes.splice(0..0, *b"\xef\xbb\xbf");
        }
    }
    let file = open(files);
    super::assert_reads_as(&file, &model);
    assert_eq!(file.config.eos_tokens, [2, 5]);
}
