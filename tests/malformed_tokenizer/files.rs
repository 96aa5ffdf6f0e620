//! Crafted tokenizer.json and tokenizer_config.json files.

use serde_json::{Value, json};

use super::Kind::{Invalid, Json, TooLarge, Unsupported};
use super::{Kind, LIMIT, added, assert_refused, base, byte_level, load, template, with};

#[test]
fn known_panics_of_the_crate_are_errors() {
    // As published with the bug reports; the crate panics on each when it loads the file or encodes a text.
    let file = |rest: &str| {
        let fields = r#""version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null"#;
        let start = format!("{{{fields}");
        let mut json: Value = serde_json::from_str(&format!("{start}}}")).unwrap();
        json.as_object_mut()
            .unwrap()
            .extend(serde_json::from_str::<Value>(rest).unwrap().as_object().unwrap().clone());
        json
    };
    let model = r#""model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}"#;
    let cases = [
        ("merge longer than the vocabulary", r#"{"model":{"type":"BPE","vocab":{"aa":0,"bb":1},"merges":["aa bb"]}}"#.to_owned(), (Invalid, "model.merges[0]")),
        (
            "continuing_subword_prefix longer than a token",
            r#"{"model":{"type":"BPE","continuing_subword_prefix":"@@@@","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}"#.to_owned(),
            (Unsupported, "model.continuing_subword_prefix: \"@@@@\""),
        ),
        (
            "template without its special token",
            format!(
                r#"{{{model},"post_processor":{{"type":"TemplateProcessing","single":[{{"SpecialToken":{{"id":"[CLS]","type_id":0}}}},{{"Sequence":{{"id":"A","type_id":0}}}}],"pair":[{{"Sequence":{{"id":"A","type_id":0}}}},{{"Sequence":{{"id":"B","type_id":1}}}}],"special_tokens":{{}}}}}}"#
            ),
            (Invalid, "post_processor.single: \"[CLS]\""),
        ),
        ("FixedLength of 0", format!(r#"{{{model},"pre_tokenizer":{{"type":"FixedLength","length":0}}}}"#), (Json, "pre_tokenizer: line 1, column 21: unknown variant `FixedLength`")),
        (
            "Precompiled that is not a table",
            format!(r#"{{{model},"normalizer":{{"type":"Precompiled","precompiled_charsmap":"AAAA"}}}}"#),
            (Json, "unknown variant `Precompiled`"),
        ),
    ];
    for (name, rest, expected) in cases {
        let mut json = file(&rest);
        load(&json.to_string(), None).expect_err(name);
        // The files lack other things as well; with those mended, the error is about what makes the crate panic.
        json["decoder"] = byte_level();
        if json["pre_tokenizer"].is_null() {
            json["pre_tokenizer"] = byte_level();
        }
        assert_refused(name, expected, LIMIT, || load(&json.to_string(), None));
    }
}

#[test]
fn malformed_tokenizer_files_are_refused() {
    let sequence = |n: usize| json!({"type": "Sequence", "pretokenizers": vec![byte_level(); n]});
    let nested = |n: usize| {
        (0..n).fold(byte_level(), |inner, _| json!({"type": "Sequence", "pretokenizers": [inner]}))
    };
    let split = |pattern: Value| json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false});
    let cls = json!({"SpecialToken": {"id": "c", "type_id": 0}});
    let a = json!({"Sequence": {"id": "A", "type_id": 0}});
    let replace = |content: &str| json!({"type": "Replace", "pattern": {"String": "a"}, "content": content});
    let cases: Vec<(&str, String, (Kind, &str))> = vec![
        ("empty file", String::new(), (Json, "crafted/tokenizer.json: tokenizer.json: line 1")),
        ("not JSON", "\u{0}\u{1b}[31m".into(), (Json, "tokenizer.json")),
        ("cut in the middle", base().to_string()[..120].into(), (Json, "EOF")),
        ("a list", "[]".into(), (Json, "tokenizer.json")),
        ("100,000 open brackets", "[".repeat(100_000), (Json, "tokenizer.json")),
        ("no model", "{}".into(), (Json, "missing field `model`")),
        (
            "unknown field with an escape",
            r#"{"mo\u001bdel":1}"#.into(),
            (Json, r"unknown field `mo\u{1b}del`"),
        ),
        ("field twice", r#"{"model":{},"model":{}}"#.into(), (Json, "duplicate field `model`")),
        ("another version", with("/version", json!("2.0")), (Unsupported, "version: \"2.0\"")),
        (
            "unigram piece without a score",
            with("/model", json!({"type": "Unigram", "unk_id": 0, "vocab": [["a"]]})),
            (Json, "model: line 1"),
        ),
        (
            "unigram score that is a text",
            with("/model", json!({"type": "Unigram", "unk_id": 0, "vocab": [["a", "0"]]})),
            (Json, "model: line 1"),
        ),
        (
            "unigram piece twice",
            with("/model", json!({"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["a", -1.0]]})),
            (Invalid, "model.vocab: \"a\""),
        ),
        (
            "unigram unknown piece beyond the end",
            with("/model", json!({"type": "Unigram", "unk_id": 1, "vocab": [["a", 0.0]]})),
            (Invalid, "model.unk_id: 1"),
        ),
        (
            "unigram piece of 257 bytes",
            with("/model", json!({"type": "Unigram", "unk_id": 0, "vocab": [["a".repeat(257), 0.0]]})),
            (TooLarge, "model.vocab[]"),
        ),
        (
            "unigram fallback without its pieces",
            with(
                "/model",
                json!({"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]], "byte_fallback": true}),
            ),
            (Invalid, "model.vocab: no token \"<0x00>\""),
        ),
        (
            "replacement of another regular expression",
            with("/normalizer", json!({"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": " "})),
            (Unsupported, "normalizer.pattern: \"(a+)+$\""),
        ),
        (
            "runs of spaces that become another text",
            with("/normalizer", json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "xx"})),
            (Unsupported, "normalizer.pattern: \" {2,}\""),
        ),
        (
            "model of type WordPiece",
            with("/model", json!({"type": "WordPiece", "vocab": {}})),
            (Unsupported, "model.type: \"WordPiece\""),
        ),
        (
            "model of an unknown type",
            with("/model/type", json!("\u{7}x".repeat(99))),
            (Unsupported, "model.type"),
        ),
        ("model type that is a number", with("/model/type", json!(7)), (Json, "model")),
        ("unknown field in the model", with("/model/magic", json!(true)), (Json, "unknown field `magic`")),
        ("dropout", with("/model/dropout", json!(0.5)), (Unsupported, "model.dropout: 0.5")),
        (
            "end_of_word_suffix",
            with("/model/end_of_word_suffix", json!("</w>")),
            (Unsupported, "model.end_of_word_suffix"),
        ),
        (
            "unknown token that is not there",
            with("/model/unk_token", json!("<unk>")),
            (Invalid, "model.unk_token: \"<unk>\""),
        ),
        (
            "no token",
            with("/model", json!({"type": "BPE", "vocab": {}, "merges": []})),
            (Invalid, "model.vocab"),
        ),
        ("negative id", with("/model/vocab/a", json!(-1)), (Json, "model")),
        ("id beyond 32 bits", with("/model/vocab/a", json!(1u64 << 40)), (Json, "model")),
        ("id that is a fraction", with("/model/vocab/a", json!(0.5)), (Json, "model")),
        ("id 4294967295", with("/model/vocab/a", json!(u32::MAX)), (TooLarge, "model.vocab: 4294967295")),
        ("vocabulary full of holes", with("/model/vocab/a", json!(10_000)), (TooLarge, "model.vocab: 10000")),
        ("one id for two tokens", with("/model/vocab/b", json!(0)), (Invalid, "every id once")),
        (
            "token twice",
            base().to_string().replace(r#""b":1"#, r#""b":1,"b":5"#),
            (Invalid, "every token once"),
        ),
        (
            "token of 1 MiB",
            with("/model/vocab", json!({"a": 0, "b": 1, "ab": 2, "x".repeat(1 << 20): 3})),
            (TooLarge, "model.vocab[]: 1048576"),
        ),
        (
            "merge of an unknown part",
            with("/model/merges", json!([["a", "c"]])),
            (Invalid, "model.merges[0]: \"a\" + \"c\""),
        ),
        (
            "merge into an unknown token",
            with("/model/merges", json!([["b", "a"]])),
            (Invalid, "model.merges[0]: \"b\" + \"a\""),
        ),
        (
            "merge with an empty part",
            with("/model/merges", json!([["a", "b"], ["", "a"]])),
            (Invalid, "model.merges[1]"),
        ),
        ("merge of three parts", with("/model/merges", json!([["a", "b", "a"]])), (Json, "model")),
        ("merge of one part", with("/model/merges", json!([["a"]])), (Json, "fewer than two")),
        (
            "merge line of three parts",
            with("/model/merges", json!(["a b a"])),
            (Json, "two parts and one space"),
        ),
        ("merge that is a number", with("/model/merges", json!([7])), (Json, "two parts")),
        (
            "unknown pre-tokenizer",
            with("/pre_tokenizer", json!({"type": "Mecab"})),
            (Json, "unknown variant `Mecab`"),
        ),
        (
            "pre-tokenizer without a type",
            with("/pre_tokenizer", json!({"length": 0})),
            (Json, "missing field `type`"),
        ),
        (
            "pre-tokenizer with an unknown field",
            with("/pre_tokenizer/length", json!(0)),
            (Json, "unknown field `length`"),
        ),
        ("17 pre-tokenizers", with("/pre_tokenizer", sequence(17)), (TooLarge, "parts of pre_tokenizer: 17")),
        (
            "two byte-level pre-tokenizers",
            with("/pre_tokenizer", sequence(2)),
            (Invalid, "pre_tokenizer: 2 parts"),
        ),
        (
            "pre-tokenizers nested 5 deep",
            with("/pre_tokenizer", nested(5)),
            (TooLarge, "depth of pre_tokenizer: 5"),
        ),
        ("pre-tokenizers nested 200 deep", with("/pre_tokenizer", nested(200)), (Json, "tokenizer.json")),
        (
            "catastrophic regular expression",
            with("/pre_tokenizer", split(json!({"Regex": "(a+)+(?=b)$"}))),
            (Unsupported, "\"(a+)+(?=b)$\""),
        ),
        (
            "regular expression that does not parse",
            with("/pre_tokenizer", split(json!({"Regex": "(((("}))),
            (Unsupported, "Regex"),
        ),
        (
            "split at an empty text",
            with("/pre_tokenizer", split(json!({"String": ""}))),
            (Invalid, "pattern.String"),
        ),
        (
            "split at a long text",
            with("/pre_tokenizer", split(json!({"String": "ab".repeat(40)}))),
            (TooLarge, "pattern.String: 80"),
        ),
        (
            "metaspace of a letter",
            with(
                "/pre_tokenizer",
                json!({"type": "Metaspace", "replacement": "x", "prepend_scheme": "always", "split": true}),
            ),
            (Unsupported, "pre_tokenizer.replacement: \"x\""),
        ),
        (
            "component of 600 KB",
            with("/normalizer", json!({"type": "Prepend", "prepend": "x".repeat(600_000)})),
            (TooLarge, "normalizer: "),
        ),
        (
            "prepend of 65 bytes",
            with("/normalizer", json!({"type": "Prepend", "prepend": "x".repeat(65)})),
            (TooLarge, "normalizer.prepend: 65"),
        ),
        (
            "prepend of nothing, which makes the crate panic on \"\u{606}{\"",
            with("/normalizer", json!({"type": "Prepend", "prepend": ""})),
            (Invalid, "normalizer.prepend: \"\""),
        ),
        (
            "replacement that grows",
            with("/normalizer", json!({"type": "Sequence", "normalizers": vec![replace("aaaaaaaaaa"); 16]})),
            (Invalid, "normalizer.content"),
        ),
        (
            "replacement by a regular expression",
            with("/normalizer", json!({"type": "Replace", "pattern": {"Regex": "(a*)*$"}, "content": ""})),
            (Unsupported, "normalizer.pattern"),
        ),
        ("unknown decoder", with("/decoder", json!({"type": "CTC"})), (Json, "unknown variant `CTC`")),
        ("no decoder", with("/decoder", Value::Null), (Unsupported, "decoder: null")),
        ("byte-level decoder alone", with("/pre_tokenizer", Value::Null), (Unsupported, "decoder")),
        (
            "template of the second text",
            with("/post_processor", template(json!([{"Sequence": {"id": "B", "type_id": 0}}]), json!({}))),
            (Invalid, "sequence \"B\""),
        ),
        (
            "template without a text",
            with("/post_processor", template(json!([]), json!({}))),
            (Invalid, "post_processor.single: sequence \"A\" 0 times"),
        ),
        (
            "template with the text twice",
            with("/post_processor", template(json!([a, a]), json!({}))),
            (Invalid, "2 times"),
        ),
        (
            "template of 1,000 parts",
            with("/post_processor", template(json!(vec![a.clone(); 1000]), json!({}))),
            (TooLarge, "post_processor.single: 1000"),
        ),
        (
            "template token of 1,000 ids",
            with("/post_processor", template(json!([cls, a]), json!({"c": {"ids": vec![0; 1000]}}))),
            (TooLarge, "special_tokens: 1000"),
        ),
        (
            "template token without an entry",
            with("/post_processor", template(json!([cls, a]), json!({"c": {"ids": [9]}}))),
            (Invalid, "post_processor: 9"),
        ),
        (
            "end token without an entry",
            with("/post_processor", json!({"type": "BertProcessing", "sep": ["a", 0], "cls": ["z", 77]})),
            (Invalid, "post_processor: 77"),
        ),
        (
            "added token without content",
            with("/added_tokens", json!([added(3, "")])),
            (Invalid, "added_tokens[0]"),
        ),
        (
            "added token twice",
            with("/added_tokens", json!([added(3, "x"), added(4, "x")])),
            (Invalid, "added_tokens[1]: \"x\""),
        ),
        (
            "added id twice",
            with("/added_tokens", json!([added(3, "x"), added(3, "y")])),
            (Invalid, "added_tokens[1]: \"y\""),
        ),
        (
            "added token with another's id",
            with("/added_tokens", json!([added(0, "x")])),
            (Invalid, "added_tokens[0]: \"x\" with id 0"),
        ),
        (
            "added token with a gap before it",
            with("/added_tokens", json!([added(9, "x")])),
            (Invalid, "added_tokens[0]: \"x\" with id 9"),
        ),
        (
            "added token far away",
            with("/added_tokens", json!([added(4_000_000_000, "x")])),
            (TooLarge, "model.vocab: 4000000000"),
        ),
        (
            "added token of 5,000 bytes",
            with("/added_tokens", json!([added(3, &"x".repeat(5000))])),
            (TooLarge, "added_tokens[0]: 5000"),
        ),
        (
            "added tokens that would overlap",
            with(
                "/added_tokens",
                json!([{"id": 3, "content": "x", "single_word": false, "lstrip": false, "rstrip": true, "normalized": false, "special": true}, added(4, " y")]),
            ),
            (Invalid, "added_tokens[1]: \" y\""),
        ),
    ];
    assert!(cases.len() >= 60);
    for (name, json, expected) in &cases {
        assert_refused(name, *expected, LIMIT, || load(json, None));
    }
}

#[test]
fn too_many_added_tokens_are_refused() {
    let many: Vec<Value> = (0..20_000).map(|i| added(3 + i, &format!("x{i}"))).collect();
    let file = with("/added_tokens", json!(many));
    assert_refused("20,000 added tokens", (Json, "more than 16384 entries"), LIMIT, || load(&file, None));
    let long: Vec<Value> = (0..400).map(|i| added(3 + i, &format!("{i}{}", "x".repeat(4000)))).collect();
    let file = with("/added_tokens", json!(long));
    assert_refused("1.6 MB of added tokens", (TooLarge, "added_tokens: 10"), LIMIT, || load(&file, None));
}

#[test]
fn malformed_tokenizer_configs_are_refused() {
    let file = base().to_string();
    let cases = [
        ("not JSON", "{", (Json, "crafted/tokenizer_config.json")),
        ("token that is a number", r#"{"eos_token":5}"#, (Json, "tokenizer_config.json")),
        ("token twice", r#"{"eos_token":"a","eos_token":"b"}"#, (Json, "duplicate field `eos_token`")),
    ];
    for (name, config, expected) in cases {
        assert_refused(name, expected, LIMIT, || load(&file, Some(config)));
    }
}

#[test]
fn what_changes_nothing_is_ignored() {
    let ids = |file: &str, config: Option<&str>| load(file, config).unwrap().encode("ab a", true).unwrap();
    let plain = ids(&base().to_string(), None);
    for (pointer, left) in [
        (
            "/truncation",
            json!({"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 5}),
        ),
        ("/truncation", json!({"anything": "else"})),
        ("/padding", json!({"strategy": {"Fixed": 4_000_000_000u64}, "direction": "Left", "pad_id": 0})),
    ] {
        assert_eq!(ids(&with(pointer, left), None), plain, "{pointer}");
    }
    let empty = r#"{"bos_token": "", "eos_token": "", "unk_token": "", "pad_token": null, "additional_special_tokens": ["", 5]}"#;
    assert_eq!(ids(&base().to_string(), Some(empty)), plain);
    assert_eq!(load(&base().to_string(), Some(empty)).unwrap().bos(), None);
    // A name that is no token becomes the next one, as in the reference.
    let named = load(&base().to_string(), Some(r#"{"bos_token": "<s>"}"#)).unwrap();
    assert_eq!((named.bos(), named.special_ids()), (Some(3), &[3][..]));
}
