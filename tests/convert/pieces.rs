//! Pieces of SentencePiece in a GGUF, written as a tokenizer.json.

use std::collections::BTreeMap;

use killick::convert::{ConvertError, Form};
use killick::model_file::{Encoding, ModelFile};
use killick::tokenizer::Tokenizer;

use super::support::gguf_writer::Value;
use super::support::tiny_model::{GGUF, TinyModel};
use super::{assert_same_weights, data, ids, in_memory, open, refused, to};

/// A GGUF with these pieces, the first of them unknown, each with a worse score than the one before.
fn with_pieces(tokens: &[String]) -> ModelFile {
    let mut model = TinyModel::new();
    model.vocab = u32::try_from(tokens.len()).unwrap();
    model.randomize(1);
    let mut gguf = model.gguf();
    let mut kinds = vec![1; tokens.len()];
    kinds[0] = 2;
    let scores: Vec<f32> = (0..tokens.len()).map(|id| -(id as f32)).collect();
    gguf.set("tokenizer.ggml.model", Value::string("llama"));
    gguf.remove("tokenizer.ggml.pre");
    gguf.remove("tokenizer.ggml.merges");
    gguf.set("tokenizer.ggml.tokens", Value::strings(tokens));
    gguf.set("tokenizer.ggml.token_type", Value::i32s(&kinds));
    gguf.set("tokenizer.ggml.scores", Value::f32s(&scores));
    gguf.set("tokenizer.ggml.add_bos_token", Value::bool(false));
    in_memory(BTreeMap::from([(GGUF.to_owned(), gguf.bytes())]))
}

#[test]
fn a_vocabulary_with_a_merge_at_every_place_is_refused_while_merges_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    // 500,000 merges, in a file of half a megabyte; their spellings are 300 MB.
    let tokens: Vec<String> =
        ["<unk>".to_owned()].into_iter().chain((1..1000).map(|n| "a".repeat(n))).collect();
    let result = to(&with_pieces(&tokens), &path, Form::Safetensors, Encoding::F32);
    assert!(matches!(result, Err(ConvertError::Inexpressible { .. })), "{result:?}");
    refused(result, &path, &["the tokenizer", "merges"]);
}

#[test]
fn a_piece_that_holds_a_space_survives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let tokens = ["<unk>", "ab", "a", "b", " ", "a ", "\u{2581}"].map(str::to_owned);
    let old = with_pieces(&tokens);
    to(&old, &path, Form::Safetensors, Encoding::F32).unwrap();
    let new = open(&path);
    assert_same_weights("pieces", &old, &new);
    for text in ["ab a b", "a ", "  ab"] {
        assert_eq!(ids(&new, text), ids(&old, text), "{text:?}");
    }
}

#[test]
fn a_name_that_has_no_row_in_the_embedding_is_left_out_unless_it_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.gguf");
    let pieces = std::fs::read(data("tokenizer/pieces/merged.model")).unwrap();
    let model = |rows: u32, config: &str| {
        let mut model = TinyModel::new();
        model.vocab = rows;
        model.randomize(1);
        let mut files = model.files();
        files.insert("tokenizer.model".to_owned(), pieces.clone());
        files.insert("tokenizer_config.json".to_owned(), config.as_bytes().to_vec());
        in_memory(files)
    };
    let count = Tokenizer::from_source(model(4000, "{}").tokenizer(), "pieces").unwrap().vocab_size();
    let old = model(count, r#"{"pad_token": "[PAD]"}"#);
    to(&old, &path, Form::Gguf, Encoding::F32).unwrap();
    assert_eq!(ids(&open(&path), "The killick held."), ids(&old, "The killick held."));
    std::fs::remove_file(&path).unwrap();
    let config =
        format!(r#"{{"pad_token": "[PAD]", "added_tokens_decoder": {{"{count}": {{"content": "[PAD]"}}}}}}"#);
    let result = to(&model(count, &config), &path, Form::Gguf, Encoding::F32);
    refused(result, &path, &["the tokenizer", "no row in the embedding"]);
}
