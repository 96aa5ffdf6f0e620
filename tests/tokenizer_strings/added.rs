//! Added tokens from each place that a folder has for them, as transformers 4.57 and 5 read them.

use std::collections::BTreeMap;

use killick::model_file::{FileSet, ModelFile};
use killick::tokenizer::Tokenizer;
use pollster::block_on;
use serde::Deserialize;
use serde_json::Value;

use super::support::tiny_model::TinyModel;
use super::{Digest, FNV_START, PARTS, data, encode, hash, json, texts_of};

#[derive(Deserialize)]
struct Golden {
    /// A group of parts that the texts have besides.
    extra: Vec<String>,
    folders: BTreeMap<String, Folder>,
}

#[derive(Deserialize)]
struct Folder {
    base: String,
    /// `added_tokens` of tokenizer.json, behind those that the vocabulary's own file begins with.
    added: Vec<Value>,
    config: Value,
    later: Option<Value>,
    #[serde(flatten)]
    digest: Digest,
    first: Vec<(String, Vec<u32>)>,
}

/// The tokenizer as a whole folder gives it; `mark` is put before every JSON.
fn open(folder: &Folder, mark: &[u8]) -> Tokenizer {
    let mut files = TinyModel::new().files();
    let text = |value: &Value| [mark, value.to_string().as_bytes()].concat();
    let with = |name: &str, keep: usize| {
        let mut file: Value = json(name);
        let list = file["added_tokens"].as_array_mut().unwrap();
        list.truncate(keep);
        list.extend(folder.added.iter().cloned());
        text(&file)
    };
    match folder.base.as_str() {
        "bytes" => files.insert("tokenizer.json".to_owned(), with("tiny.json", 4)),
        "metaspace" => files.insert("tokenizer.json".to_owned(), with("llama.json", 3)),
        _ => files.insert("tokenizer.model".to_owned(), data("pieces/merged.model")),
    };
    files.insert("tokenizer_config.json".to_owned(), text(&folder.config));
    if let Some(later) = &folder.later {
        files.insert("added_tokens.json".to_owned(), text(later));
    }
    let file = block_on(ModelFile::open(FileSet::from_bytes(files))).unwrap();
    Tokenizer::from_source(file.tokenizer(), "test").unwrap()
}

#[test]
fn added_tokens_of_every_place_give_the_ids_of_transformers() {
    let golden: Golden = json("added.golden.json");
    assert_eq!(golden.folders.len(), 37);
    let groups: Vec<&[String]> =
        PARTS.iter().map(Vec::as_slice).chain(std::iter::repeat_n(golden.extra.as_slice(), 3)).collect();
    let texts = texts_of(&groups, 17, 2000);
    let mut wrong = Vec::new();
    let mut digests = BTreeMap::new();
    for (name, folder) in &golden.folders {
        let rows = encode(&open(folder, b""), &texts);
        for ((text, ids), ours) in folder.first.iter().zip(&rows) {
            assert_eq!(ours, ids, "{name}: {text:?}");
        }
        let (differ, first) = folder.digest.differences(&rows);
        if let Some(i) = first {
            wrong.push(format!(
                "{name}: {differ} of {} texts, first {:?}: {:?}",
                texts.len(),
                texts[i],
                rows[i]
            ));
        } else {
            let all = rows.iter().fold(FNV_START, |state, ids| hash(ids, state));
            assert_eq!(format!("{all:016x}"), folder.digest.all, "{name}");
        }
        digests.insert(name, rows);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The control: what is added is seen, and so is a flag.
    for base in ["bytes", "metaspace", "pieces"] {
        let rows = |name: &str| &digests[&format!("{base}: {name}")];
        let differ = |a: &str, b: &str| rows(a).iter().zip(rows(b)).filter(|(a, b)| a != b).count();
        for name in ["described", "described with other ids", "in added_tokens.json"] {
            assert!(differ("none", name) > 300, "{base}: {name}");
        }
        for (one, other) in
            [("described", "described in part"), ("none", "a word of the vocabulary is named")]
        {
            let found = differ(one, other);
            assert!(found >= 20, "{base}: {found} texts tell {one} from {other}");
        }
    }
}

#[test]
fn a_byte_order_mark_before_any_of_the_files_changes_nothing() {
    let golden: Golden = json("added.golden.json");
    for folder in golden.folders.values() {
        let (plain, marked) = (open(folder, b""), open(folder, b"\xef\xbb\xbf"));
        for (text, _) in &folder.first {
            assert_eq!(marked.encode(text, true).unwrap(), plain.encode(text, true).unwrap(), "{text:?}");
        }
    }
}
