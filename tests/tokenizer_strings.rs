//! The tokenizer against second implementations, on ten thousand texts for each vocabulary.
//!
//! The texts are made from `parts.json` by the generator of `tools/golden/parts.py`, repeated here. Of the ids that the
//! reference gives one byte is stored for each text, by which a failing text is found, and a hash of them all.

use std::collections::BTreeMap;
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
    let mut state = seed;
    let mut draw = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % u64::try_from(n).unwrap()).unwrap()
    };
    let mut text = |_| {
        let mut text = String::new();
        for _ in 0..=draw(12) {
            let group = &PARTS[draw(PARTS.len())];
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
    }
}

fn load(source: TokenizerSource) -> Tokenizer {
    Tokenizer::from_source(&source, "test").unwrap()
}

/// The byte-level vocabulary of `splits.json` with a split by its name.
fn split_by(name: &str) -> Tokenizer {
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

/// A vocabulary of pieces.
#[derive(Deserialize)]
struct Pieces {
    tokens: Vec<String>,
    scores: Vec<f32>,
    types: Vec<i32>,
    unk: u32,
    bos: u32,
    eos: u32,
    add_space_prefix: bool,
    remove_extra_whitespaces: bool,
}

#[derive(Deserialize)]
struct PieceGolden {
    gguf: Digest,
    alone: Digest,
    first: Vec<(String, Vec<u32>)>,
}

const PIECES: [(&str, &str); 4] =
    [("merged", "llama"), ("likeliest", "t5"), ("plain_merged", "llama"), ("plain_likeliest", "t5")];

/// The keys of a GGUF file with one of the vocabularies.
fn piece_keys(name: &str, model: &str) -> GgufTokenizer {
    let pieces: Pieces = json(&format!("pieces/{name}.json"));
    GgufTokenizer {
        tokens: pieces.tokens,
        scores: pieces.scores,
        token_types: pieces.types,
        unk: Some(pieces.unk),
        bos: Some(pieces.bos),
        eos: Some(pieces.eos),
        add_space_prefix: pieces.add_space_prefix,
        remove_extra_whitespaces: pieces.remove_extra_whitespaces,
        ..gguf(model)
    }
}

/// The same vocabulary from the trainer's own file, `<AC>` and `[PAD]` beside it where they are added.
fn alone(name: &str) -> Tokenizer {
    let model = data(&format!("pieces/{name}.model"));
    let added = name.starts_with("plain").then_some(()).is_none();
    let added_tokens = added.then(|| br#"{"<AC>": 1001, "[PAD]": 1000}"#.to_vec());
    let tokenizer_config = Some(br#"{"add_bos_token": false}"#.to_vec());
    load(TokenizerSource::SentencePiece { model, added_tokens, tokenizer_config })
}

#[test]
fn pieces_have_the_ids_of_sentencepiece_in_gguf_and_alone() {
    let golden: BTreeMap<String, PieceGolden> = json("pieces.golden.json");
    assert_eq!(golden.len(), PIECES.len());
    let texts = texts(3, 10_000);
    for (name, model) in PIECES {
        let golden = &golden[name];
        let from_gguf = load(TokenizerSource::Gguf(piece_keys(name, model)));
        for (text, ids) in &golden.first {
            assert_eq!(&from_gguf.encode(text, false).unwrap(), ids, "{name}: {text:?}");
        }
        golden.gguf.assert_equal(name, &texts, &encode(&from_gguf, &texts));
        golden.alone.assert_equal(name, &texts, &encode(&alone(name), &texts));
    }
}

#[test]
fn each_rule_of_pieces_is_seen() {
    let golden: BTreeMap<String, PieceGolden> = json("pieces.golden.json");
    let texts = texts(3, 10_000);
    type Change = fn(&mut GgufTokenizer);
    let reversed: Change = |keys| keys.scores.iter_mut().for_each(|score| *score = -*score);
    let changes: [(&str, Change); 7] = [
        ("the other algorithm", |keys| {
            keys.model = if keys.model == "llama" { "t5" } else { "llama" }.to_owned();
        }),
        ("scores the other way round", reversed),
        ("no space in front", |keys| keys.add_space_prefix = false),
        ("spaces collapsed or not", |keys| keys.remove_extra_whitespaces = !keys.remove_extra_whitespaces),
        ("no fallback, or another unknown token", |keys| {
            keys.token_types.iter_mut().filter(|kind| **kind == 6).for_each(|kind| *kind = 1);
            keys.unk = Some(5);
        }),
        ("nothing user defined", |keys| {
            keys.token_types.iter_mut().filter(|kind| **kind == 4).for_each(|kind| *kind = 1);
        }),
        ("nothing unused", |keys| {
            keys.token_types.iter_mut().filter(|kind| **kind == 5).for_each(|kind| *kind = 1);
        }),
    ];
    for (name, model) in PIECES {
        for (what, change) in changes {
            let mut keys = piece_keys(name, model);
            let before = format!("{keys:?}");
            change(&mut keys);
            if format!("{keys:?}") == before {
                continue;
            }
            let rows = encode(&load(TokenizerSource::Gguf(keys)), &texts);
            let (wrong, _) = golden[name].gguf.differences(&rows);
            assert!(wrong >= 20, "{name} with {what}: {wrong} texts tell it apart");
        }
    }
}
