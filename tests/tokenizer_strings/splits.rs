//! Byte-level vocabularies under every split that GGUF has a name for.

use std::collections::BTreeMap;

use killick::model_file::{GgufTokenizer, TokenizerSource};
use killick::tokenizer::Tokenizer;
use serde::Deserialize;

use super::{Digest, encode, gguf, json, load, texts};

/// The byte-level vocabulary of `splits.json` with a split by its name.
pub(super) fn split_by(name: &str) -> Tokenizer {
    #[derive(Deserialize)]
    struct Data {
        tokens: Vec<String>,
        merges: Vec<String>,
    }
    let Data { tokens, merges } = json("splits.json");
    let token_types = (0..tokens.len()).map(|id| if id < 2 { 3 } else { 1 }).collect();
    let pre = Some(name.to_owned());
    load(TokenizerSource::Gguf(GgufTokenizer { pre, tokens, token_types, merges, ..gguf("gpt2") }))
}

#[derive(Deserialize)]
struct SplitGolden {
    #[serde(flatten)]
    digest: Digest,
    first: Vec<(String, Vec<u32>)>,
}

#[test]
fn every_named_split_gives_the_ids_of_a_second_implementation() {
    let golden: BTreeMap<String, SplitGolden> = json("splits.golden.json");
    assert_eq!(golden.len(), 9);
    let texts = texts(2, 10_000);
    let rows: BTreeMap<&String, Vec<Vec<u32>>> =
        golden.keys().map(|name| (name, encode(&split_by(name), &texts))).collect();
    for (name, golden) in &golden {
        for ((text, ids), (made, ours)) in golden.first.iter().zip(texts.iter().zip(&rows[name])) {
            assert_eq!((text, ids), (made, ours), "{name}");
        }
        golden.digest.assert_equal(name, &texts, &rows[name]);
        // The ids under any other name are seen to be wrong.
        for (other, rows) in rows.iter().filter(|(other, _)| **other != name) {
            let (wrong, _) = golden.digest.differences(rows);
            assert!(wrong >= 20, "{name} and {other}: {wrong} texts tell them apart");
        }
    }
}
