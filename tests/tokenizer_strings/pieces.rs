//! Vocabularies of SentencePiece, merged by score and unigram, from GGUF and from their own files.

use std::collections::BTreeMap;

use killick::model_file::{GgufTokenizer, TokenizerSource};
use killick::tokenizer::Tokenizer;
use serde::Deserialize;

use super::{Digest, data, encode, gguf, json, load, texts};

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

pub(super) const PIECES: [(&str, &str); 4] =
    [("merged", "llama"), ("likeliest", "t5"), ("plain_merged", "llama"), ("plain_likeliest", "t5")];

/// The keys of a GGUF file with one of the vocabularies.
pub(super) fn piece_keys(name: &str, model: &str) -> GgufTokenizer {
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
pub(super) fn alone(name: &str) -> Tokenizer {
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

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = tokenizer.decode_stream();
    let text: String = ids.iter().map(|id| stream.push(*id)).collect();
    text + &stream.finish()
}

#[test]
fn text_survives_where_the_vocabulary_promises_it() {
    let texts = texts(4, 10_000);
    for (name, model) in [("merged", "llama"), ("likeliest", "t5")] {
        let tokenizer = load(TokenizerSource::Gguf(piece_keys(name, model)));
        let added = ["<s>", "</s>", "<unk>", "<AC>", "[PAD]"];
        let mut whole = 0;
        // A U+2581 of the text becomes a space, and after an added token there is a space too many.
        for text in texts
            .iter()
            .filter(|text| !text.contains(['\u{2581}']) && !added.iter().any(|a| text.contains(a)))
        {
            let ids = tokenizer.encode(text, true).unwrap();
            assert_eq!(&tokenizer.decode(&ids, true).unwrap(), text);
            assert_eq!(streamed(&tokenizer, &ids).strip_prefix(' '), Some(text.as_str()));
            whole += 1;
        }
        assert!(whole >= 5_000, "{whole}");
    }
}

#[test]
fn a_stream_shows_what_the_whole_decodes_to_wherever_it_is_cut() {
    let tokenizer = load(TokenizerSource::Gguf(piece_keys("merged", "llama")));
    let (mut cuts, mut inside) = (0, 0);
    for text in texts(4, 600) {
        let ids = tokenizer.encode(&text, false).unwrap();
        let mut stream = tokenizer.decode_stream();
        let mut shown = String::new();
        for (i, id) in ids.iter().enumerate() {
            shown += &stream.push(*id);
            let bytes: Vec<u8> = ids[..=i]
                .iter()
                .filter(|id| !tokenizer.special_ids().contains(id))
                .flat_map(|id| tokenizer.token_bytes(*id).unwrap())
                .collect();
            let whole = String::from_utf8_lossy(&bytes);
            assert_eq!(shown.clone() + &stream.clone().finish(), whole, "{text:?} cut after {i}");
            cuts += 1;
            inside += usize::from(str::from_utf8(&bytes).is_err());
        }
    }
    assert!(cuts > 5_000 && inside > 200, "{cuts} cuts, {inside} inside a character");
}

#[test]
fn any_ids_decode_alike_in_a_stream_and_as_a_whole() {
    let tokenizer = load(TokenizerSource::Gguf(piece_keys("likeliest", "t5")));
    let mut state = 1u32;
    for _ in 0..3_000 {
        let ids: Vec<u32> = (0..12)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Half of them are bytes.
                if state >> 31 == 0 { 3 + (state >> 8) % 256 } else { (state >> 8) % 1002 }
            })
            .collect();
        let (streamed, whole) = (streamed(&tokenizer, &ids), tokenizer.decode(&ids, true).unwrap());
        assert!(streamed == whole || streamed.strip_prefix(' ') == Some(&*whole), "{ids:?}");
    }
}
