//! Crafted `tokenizer.model` and `added_tokens.json` files.

use std::time::Duration;

use killick::model_file::TokenizerSource;
use killick::tokenizer::{Tokenizer, TokenizerError};
use serde_json::json;

use super::Kind::{Invalid, Json, TooLarge, Unsupported};
use super::{LIMIT, assert_refused};

fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// A field that holds a number.
fn set(field: u64, value: u64) -> Vec<u8> {
    [number(field << 3), number(value)].concat()
}

/// A field that holds bytes.
fn put(field: u64, bytes: &[u8]) -> Vec<u8> {
    [number(field << 3 | 2), number(u64::try_from(bytes.len()).unwrap()), bytes.to_vec()].concat()
}

fn piece(spelling: &[u8], score: f32, kind: u64) -> Vec<u8> {
    let score = [&[2 << 3 | 5][..], &score.to_le_bytes()].concat();
    put(1, &[put(1, spelling), score, set(3, kind)].concat())
}

/// The fields of a smallest file that loads.
fn base() -> Vec<Vec<u8>> {
    vec![
        piece(b"<unk>", 0.0, 2),
        piece(b"<s>", 0.0, 3),
        piece("\u{2581}".as_bytes(), -1.0, 1),
        piece(b"a", -2.0, 1),
        piece(b"b", -3.0, 1),
        piece(b"ab", -0.5, 1),
        put(2, &[set(3, 2), set(42, u64::MAX)].concat()),
        put(3, &[set(3, 1), set(4, 0)].concat()),
    ]
}

fn load(model: Vec<u8>, added: Option<&str>, config: Option<&str>) -> Result<Tokenizer, TokenizerError> {
    let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
    let (added_tokens, tokenizer_config) = (bytes(added), bytes(config));
    let source = TokenizerSource::SentencePiece { model, added_tokens, tokenizer_config };
    Tokenizer::from_source(&source, "crafted")
}

#[test]
fn the_smallest_file_loads() {
    let tokenizer = load(base().concat(), Some(r#"{"<AC>": 6}"#), None).unwrap();
    assert_eq!(tokenizer.encode("ab <AC> a!", true).unwrap(), [1, 2, 5, 6, 2, 3, 0]);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), None));
    let named =
        load(base().concat(), None, Some(r#"{"bos_token":"a","eos_token":"","add_bos_token":false}"#));
    assert_eq!(named.unwrap().encode("b", true).unwrap(), [2, 4]);
}

#[test]
fn malformed_piece_files_are_refused() {
    let with = |place: usize, field: Vec<u8>| {
        let mut fields = base();
        fields[place] = field;
        fields.concat()
    };
    let and = |field: Vec<u8>| [base().concat(), field].concat();
    let normalizer = |field: Vec<u8>| with(7, put(3, &field));
    let trainer = |field: Vec<u8>| with(6, put(2, &field));
    let cases = [
        ("empty file", Vec::new(), (Invalid, "crafted/tokenizer.model: pieces: no entry")),
        ("not a message", b"PK\x03\x04 not a message".to_vec(), (Invalid, "the file: a broken field")),
        ("a group", and(vec![0x0b]), (Invalid, "the file: a broken field")),
        ("cut off", base().concat()[..29].to_vec(), (Invalid, "a broken field")),
        ("length of 2^63", and([number(1 << 3 | 2), number(1 << 63)].concat()), (Invalid, "a broken field")),
        ("piece that is no message", with(3, put(1, &[0xff])), (Invalid, "pieces[3]: a broken field")),
        (
            "piece that is not UTF-8",
            with(3, piece(b"k\xff", 0.0, 1)),
            (Invalid, "pieces[3].piece: \"k\u{fffd}\""),
        ),
        (
            "piece without a spelling that is special",
            with(1, put(1, &set(3, 3))),
            (Invalid, "added tokens[1]"),
        ),
        ("piece twice", with(4, piece(b"a", 0.0, 1)), (Invalid, "pieces: \"a\"")),
        ("piece of 1 MiB", with(4, piece(&[b'x'; 1 << 20], 0.0, 1)), (TooLarge, "pieces.piece")),
        ("unknown kind", with(4, piece(b"b", 0.0, 9)), (Invalid, "pieces[4].type: 9")),
        (
            "kind of 2^64 - 1",
            with(4, piece(b"b", 0.0, u64::MAX)),
            (Invalid, "pieces[4].type: 18446744073709551615"),
        ),
        ("score that is none", with(4, piece(b"b", f32::NAN, 1)), (Invalid, "pieces.score[4]: NaN")),
        ("words as pieces", trainer(set(3, 3)), (Unsupported, "trainer_spec.model_type: 3")),
        (
            "spaces behind words",
            trainer([set(3, 2), set(24, 1)].concat()),
            (Unsupported, "trainer_spec.treat_whitespace_as_suffix: true"),
        ),
        (
            "fallback without its pieces",
            trainer([set(3, 2), set(35, 1)].concat()),
            (Invalid, "pieces: no token \"<0x00>\""),
        ),
        (
            "unknown piece beyond the end",
            trainer([set(3, 2), set(40, 6)].concat()),
            (Invalid, "trainer_spec.unk_id: 6"),
        ),
        (
            "table of characters",
            normalizer(put(2, &[0; 64])),
            (Unsupported, "normalizer_spec.precompiled_charsmap: a table of 64 bytes"),
        ),
        (
            "spaces as they are",
            normalizer(set(5, 0)),
            (Unsupported, "normalizer_spec.escape_whitespaces: false"),
        ),
    ];
    for (name, model, expected) in &cases {
        assert_refused(name, *expected, LIMIT, || load(model.clone(), None, None));
    }
}

#[test]
fn malformed_added_tokens_are_refused() {
    let cases = [
        ("not JSON", "{", (Json, "crafted/added_tokens.json: added_tokens.json: line 1")),
        ("a list", "[]", (Json, "added_tokens.json")),
        ("id that is no number", r#"{"x": "6"}"#, (Json, "added_tokens.json")),
    ];
    for (name, added, expected) in cases {
        assert_refused(name, expected, LIMIT, || load(base().concat(), Some(added), None));
    }
}

#[test]
fn an_added_token_gets_the_next_id_whatever_the_file_says() {
    // As in the reference: ids only say in which order they come. None of them decides how much memory is taken.
    for (added, ids) in [
        (r#"{"x": 4294967295}"#, vec![6]),
        (r#"{"x": 7}"#, vec![6]),
        (r#"{"x": 3}"#, vec![6]),
        (r#"{"y": 4000000000, "x": 9}"#, vec![6]),
        (r#"{"y": 6, "x": 6}"#, vec![6]),
        (r#"{"x": 6, "x": 7}"#, vec![6]),
        (r#"{"": 6, "x": 7}"#, vec![6]),
        (r#"{"y": 6, "x": 8}"#, vec![7]),
    ] {
        let tokenizer = load(base().concat(), Some(added), None).unwrap();
        assert_eq!(tokenizer.encode("x", false).unwrap(), ids, "{added}");
    }
    let named = load(base().concat(), None, Some(r#"{"eos_token": "</s>"}"#)).unwrap();
    assert_eq!(named.eos(), Some(6));
}

#[test]
fn added_tokens_are_found_as_the_config_describes_them() {
    // As the reference writes it: the pieces that are special, and what was added, of which the first file says nothing.
    let config = json!({"added_tokens_decoder": {
        "0": {"content": "<unk>", "lstrip": false, "rstrip": false, "special": true},
        "6": {"content": "<|im_end|>", "lstrip": false, "rstrip": false, "normalized": false, "special": true},
        "7": {"content": "<r>", "rstrip": true},
        "3": {"content": "a", "special": false},
    }});
    // Beside a config that describes tokens this file does not count.
    let added = Some(r#"{"<|im_end|>": 6, "<old>": 8}"#);
    let tokenizer = load(base().concat(), added, Some(&config.to_string())).unwrap();
    let encode = |text: &str| tokenizer.encode(text, false).unwrap();
    // A piece is there for each space that no token takes.
    assert_eq!(encode("<|im_end|> b"), [6, 2, 2, 4]);
    assert_eq!(encode("<r>  b"), [7, 2, 4]);
    assert!(!encode("<old>").contains(&8));
    // Without such a config it does, and its tokens take the white space beside them, as in old checkpoints.
    let old = load(base().concat(), Some(r#"{"<|im_end|>": 6, "<old>": 7}"#), None).unwrap();
    assert_eq!(old.encode("<|im_end|>  <old>  b", false).unwrap(), [6, 7, 2, 4]);
    assert_eq!(tokenizer.special_ids(), [0, 1, 6]);
    assert_eq!(tokenizer.decode_stream().push(6), "", "what is special is not shown");
}

#[test]
fn more_names_of_special_tokens_than_there_may_be_tokens_are_refused() {
    let names = |count: usize| {
        let names: Vec<String> = (0..count).map(|name| format!("<{name}>")).collect();
        json!({"additional_special_tokens": names}).to_string()
    };
    let config = names(20_000);
    assert_refused("too many", (TooLarge, "names of special tokens: 20000"), LIMIT, || {
        load(base().concat(), None, Some(&config))
    });
}

#[test]
fn malformed_descriptions_of_added_tokens_are_refused() {
    let many: serde_json::Map<_, _> =
        (0..20_000).map(|id| (id.to_string(), json!({"content": "x"}))).collect();
    let cases = [
        ("no number", json!({"x": {"content": "x"}}), (Invalid, "added_tokens_decoder: \"x\"")),
        ("negative", json!({"-1": {"content": "x"}}), (Invalid, "added_tokens_decoder: \"-1\"")),
        (
            "too large",
            json!({"4294967296": {"content": "x"}}),
            (Invalid, "added_tokens_decoder: \"4294967296\""),
        ),
        ("no content", json!({"7": {}}), (Json, "missing field `content`")),
        ("a list", json!([]), (Json, "tokenizer_config.json")),
        ("too many", json!(many), (TooLarge, "added_tokens_decoder: 20000")),
    ];
    for (name, decoder, expected) in cases {
        let config = json!({"added_tokens_decoder": decoder}).to_string();
        assert_refused(name, expected, LIMIT, || load(base().concat(), Some(r#"{"y": 6}"#), Some(&config)));
    }
}

#[test]
fn more_added_tokens_than_allowed_are_refused_before_they_are_looked_at() {
    // In time that grows with their square, these would take hours.
    let many: Vec<String> = (0..700_000).map(|i| format!("\"x{i}\":{}", 6 + i)).collect();
    let added = format!("{{{}}}", many.join(","));
    let expected = (TooLarge, "crafted/added_tokens.json: added tokens: 700000");
    assert_refused("700,000 added tokens", expected, Duration::from_secs(20), || {
        load(base().concat(), Some(&added), None)
    });
}

#[test]
fn a_file_cut_or_changed_at_any_byte_never_panics() {
    let file = base().concat();
    let mut loaded = 0;
    let mut try_it = |model: Vec<u8>| {
        // Whatever is accepted has to work.
        if let Ok(tokenizer) = load(model, None, None) {
            let ids = tokenizer.encode(" ab\u{2581}a<s>é b", true).unwrap();
            tokenizer.decode(&ids, false).unwrap();
            loaded += 1;
        }
    };
    for at in 0..file.len() {
        try_it(file[..at].to_vec());
        for byte in 0..=255 {
            let mut changed = file.clone();
            changed[at] = byte;
            try_it(changed);
        }
    }
    assert!(loaded > file.len(), "{loaded}");
}
