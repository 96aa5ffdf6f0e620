//! The tokens that begin and end a text, where config and tokenizer do not say the same.

use killick::convert::Form;
use killick::model_file::{Encoding, ModelFile};
use serde_json::{Value as Json, json};

use super::support::tiny_model::{CONFIG, TinyModel};
use super::{TEXTS, data, ids, in_memory, open, to};

/// A folder whose tokenizer marks both ends, with `<bos>` (0) and `<eos>` (1); its config says so much of them.
fn with(bos: Json, eos: Json, change: impl Fn(&mut Json)) -> ModelFile {
    let mut model = TinyModel::new();
    model.vocab = 800;
    model.randomize(1);
    let mut config = model.config();
    (config["bos_token_id"], config["eos_token_id"]) = (bos, eos);
    let text = std::fs::read(data("tokenizer/tiny.json")).unwrap();
    let mut tokenizer: Json = serde_json::from_slice(&text).unwrap();
    change(&mut tokenizer);
    let names = json!({"bos_token": "<bos>", "eos_token": "<eos>"});
    let mut files = model.files();
    for (name, json) in [(CONFIG, config), ("tokenizer.json", tokenizer), ("tokenizer_config.json", names)] {
        files.insert(name.to_owned(), json.to_string().into_bytes());
    }
    in_memory(files)
}

#[test]
fn the_tokenizer_wins_where_a_config_names_no_ends_or_another_beginning() {
    let folder = tempfile::tempdir().unwrap();
    for (number, (bos, eos, ends)) in [
        (json!(null), json!(1), vec![1]),
        (json!(null), json!(null), vec![1]),
        // As in DeepSeek-R1-Distill-Qwen.
        (json!(5), json!([7, 1]), vec![1, 7]),
    ]
    .into_iter()
    .enumerate()
    {
        let old = with(bos, eos, |_| {});
        let path = folder.path().join(format!("{number}.gguf"));
        to(&old, &path, Form::Gguf, Encoding::F32).unwrap_or_else(|error| panic!("{number}: {error}"));
        let new = open(&path);
        assert_eq!((new.config.bos_token, new.config.eos_tokens.clone()), (Some(0), ends), "{number}");
        for text in TEXTS {
            assert_eq!(ids(&new, text), ids(&old, text), "{number}: {text:?}");
        }
    }
}

#[test]
fn the_end_of_the_tokenizer_is_kept_beside_another_of_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.gguf");
    let old = with(json!(0), json!(7), |_| {});
    assert_eq!(old.config.eos_tokens, [7, 1]);
    to(&old, &path, Form::Gguf, Encoding::F32).unwrap();
    let mut ends = open(&path).config.eos_tokens;
    ends.sort_unstable();
    assert_eq!(ends, [1, 7]);
}

#[test]
fn a_list_of_no_normalizers_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.gguf");
    let empty = json!({"type": "Sequence", "normalizers": []});
    let old = with(json!(0), json!(1), |json| json["normalizer"] = empty.clone());
    to(&old, &path, Form::Gguf, Encoding::F32).unwrap();
    assert_eq!(ids(&open(&path), TEXTS[1]), ids(&old, TEXTS[1]));
}

#[test]
fn a_text_of_one_end_has_no_other_once_it_is_gguf() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.gguf");
    // The vocabulary has <|im_end|> as well, which a reader would take for one by its spelling.
    let old = with(json!(0), json!(1), |_| {});
    let tokenizer = killick::Tokenizer::from_source(old.tokenizer(), old.label()).unwrap();
    assert_eq!(tokenizer.encode("<|im_end|>", false).unwrap().len(), 1, "a token of its own");
    to(&old, &path, Form::Gguf, Encoding::F32).unwrap();
    assert_eq!(open(&path).config.eos_tokens, [1]);
}
