//! The tokenizer against second implementations, on ten thousand texts for each vocabulary.
//!
//! The texts are made from `parts.json` by the generator of `tools/golden/parts.py`, repeated here. Of the ids that the
//! reference gives one byte is stored for each text, by which a failing text is found, and a hash of them all.

mod support;

#[path = "tokenizer_strings/added.rs"]
mod added;
#[path = "tokenizer_strings/anchors.rs"]
mod anchors;
#[path = "tokenizer_strings/begin.rs"]
mod begin;
#[path = "tokenizer_strings/json_files.rs"]
mod json_files;
#[path = "tokenizer_strings/outside.rs"]
mod outside;
#[path = "tokenizer_strings/pieces.rs"]
mod pieces;
#[path = "tokenizer_strings/splits.rs"]
mod splits;

use std::path::PathBuf;
use std::sync::LazyLock;

use killick::model_file::{GgufTokenizer, TokenizerSource};
use killick::tokenizer::Tokenizer;
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn data(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizer").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&data(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

static PARTS: LazyLock<Vec<Vec<String>>> = LazyLock::new(|| json("parts.json"));

/// The texts of a seed, as `texts` of `parts.py` makes them.
fn texts(seed: u64, count: usize) -> Vec<String> {
    texts_of(&PARTS.iter().map(Vec::as_slice).collect::<Vec<_>>(), seed, count)
}

/// The same from other groups of parts.
fn texts_of(groups: &[&[String]], seed: u64, count: usize) -> Vec<String> {
    let mut state = seed;
    let mut draw = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % u64::try_from(n).unwrap()).unwrap()
    };
    let mut text = |_| {
        let mut text = String::new();
        for _ in 0..=draw(12) {
            let group = groups[draw(groups.len())];
            text += &group[draw(group.len())];
        }
        text
    };
    (0..count).map(&mut text).collect()
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a of ids and their count.
fn hash(ids: &[u32], start: u64) -> u64 {
    let count = u32::try_from(ids.len()).unwrap();
    let bytes = ids.iter().chain([&count]).flat_map(|number| number.to_le_bytes());
    bytes.fold(start, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// What is stored of the reference's ids.
#[derive(Deserialize)]
struct Digest {
    all: String,
    each: String,
}

impl Digest {
    /// The number of texts whose ids are seen to differ, and the first of them; `rows` are ours.
    fn differences(&self, rows: &[Vec<u32>]) -> (usize, Option<usize>) {
        assert_eq!(self.each.len(), 2 * rows.len());
        let differs =
            |i: &usize| format!("{:02x}", hash(&rows[*i], FNV_START) & 0xff) != self.each[2 * i..2 * i + 2];
        let wrong: Vec<usize> = (0..rows.len()).filter(differs).collect();
        (wrong.len(), wrong.first().copied())
    }

    /// Fails with the first text that has other ids than the reference.
    fn assert_equal(&self, name: &str, texts: &[String], rows: &[Vec<u32>]) {
        assert!(texts.len() >= 10_000);
        let (wrong, first) = self.differences(rows);
        if let Some(i) = first {
            panic!("{name}: {wrong} texts differ, the first is number {i}, {:?}: {:?}", texts[i], rows[i]);
        }
        let all = rows.iter().fold(FNV_START, |state, ids| hash(ids, state));
        assert_eq!(format!("{all:016x}"), self.all, "{name}");
    }
}

fn encode(tokenizer: &Tokenizer, texts: &[String]) -> Vec<Vec<u32>> {
    texts.iter().map(|text| tokenizer.encode(text, false).unwrap()).collect()
}

/// A GGUF source without a token in it.
fn gguf(model: &str) -> GgufTokenizer {
    GgufTokenizer {
        model: model.to_owned(),
        pre: None,
        tokens: Vec::new(),
        token_types: Vec::new(),
        merges: Vec::new(),
        scores: Vec::new(),
        bos: None,
        eos: None,
        unk: None,
        pad: None,
        add_bos: false,
        add_eos: false,
        add_space_prefix: false,
        remove_extra_whitespaces: false,
        has_charsmap: false,
        is_phi3: false,
    }
}

fn load(source: TokenizerSource) -> Tokenizer {
    Tokenizer::from_source(&source, "test").unwrap()
}
