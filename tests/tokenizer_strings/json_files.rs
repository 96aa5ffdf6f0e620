//! The shapes in which transformers writes Llama's tokenizer.json, and unigram files.

use std::collections::BTreeMap;

use killick::model_file::TokenizerSource;
use killick::tokenizer::Tokenizer;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Digest, encode, json, load, texts};

#[derive(Deserialize)]
pub(super) struct Golden {
    model: String,
    byte_fallback: bool,
    patch: Map<String, Value>,
    #[serde(flatten)]
    digest: Digest,
    first: Vec<(String, Vec<u32>)>,
}

/// `llama.json` with fields replaced; for a unigram model also with the pieces of `likeliest.json`.
pub(super) fn patched(golden: &Golden) -> Tokenizer {
    let mut file: Value = json("llama.json");
    file.as_object_mut().unwrap().extend(golden.patch.clone());
    if golden.model == "Unigram" {
        let pieces: Value = json("pieces/likeliest.json");
        let list = |key: &str| pieces[key].as_array().unwrap().iter().take(1000).cloned().collect::<Vec<_>>();
        let vocab: Vec<Value> = list("tokens")
            .into_iter()
            .zip(list("scores"))
            .map(|(piece, score)| json!([piece, score]))
            .collect();
        let byte_fallback = golden.byte_fallback;
        file["model"] =
            json!({"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": byte_fallback});
    }
    let tokenizer_json = file.to_string().into_bytes();
    load(TokenizerSource::HuggingFace { tokenizer_json, tokenizer_config: None })
}

#[test]
fn every_shape_of_the_file_gives_the_ids_of_a_second_implementation() {
    let golden: BTreeMap<String, Golden> = json("llama.golden.json");
    assert_eq!(golden.len(), 6);
    let texts = texts(5, 10_000);
    let rows: BTreeMap<&String, Vec<Vec<u32>>> =
        golden.iter().map(|(name, golden)| (name, encode(&patched(golden), &texts))).collect();
    for (name, golden) in &golden {
        for ((text, ids), (made, ours)) in golden.first.iter().zip(texts.iter().zip(&rows[name])) {
            assert_eq!((text, ids), (made, ours), "{name}");
        }
        golden.digest.assert_equal(name, &texts, &rows[name]);
        for (other, rows) in rows.iter().filter(|(other, _)| **other != name) {
            let (wrong, _) = golden.digest.differences(rows);
            assert!(wrong >= 20, "{name} and {other}: {wrong} texts tell them apart");
        }
    }
}

#[test]
fn the_classic_file_gives_the_ids_of_sentencepiece() {
    // Merges by rank are another model than pieces by score, but of a vocabulary as the trainer leaves it the ids agree.
    let golden: BTreeMap<String, Golden> = json("llama.golden.json");
    #[derive(Deserialize)]
    struct Pieces {
        gguf: Digest,
    }
    let pieces: BTreeMap<String, Pieces> = json("pieces.golden.json");
    let texts = texts(3, 10_000);
    pieces["merged"].gguf.assert_equal("classic", &texts, &encode(&patched(&golden["classic"]), &texts));
    let (wrong, _) = pieces["merged"].gguf.differences(&encode(&patched(&golden["as written"]), &texts));
    assert!(wrong >= 20, "{wrong} texts tell a Metaspace from the classic normalizer");
}
