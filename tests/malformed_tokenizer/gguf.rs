//! Crafted tokenizer keys of a GGUF file.

use killick::model_file::{GgufTokenizer, TokenizerSource};
use killick::tokenizer::Tokenizer;

use super::Kind::{Invalid, TooLarge, Unsupported};
use super::{LIMIT, assert_refused};

/// A smallest GGUF tokenizer that loads.
fn keys() -> GgufTokenizer {
    GgufTokenizer {
        model: "gpt2".into(),
        pre: Some("smollm".into()),
        tokens: ["<|end|>", "a", "b", "ab"].map(str::to_owned).to_vec(),
        token_types: vec![3, 1, 1, 1],
        merges: vec!["a b".into()],
        scores: Vec::new(),
        bos: Some(0),
        eos: Some(0),
        unk: None,
        pad: None,
        add_bos: true,
        add_eos: false,
        add_space_prefix: false,
    }
}

#[test]
fn malformed_gguf_tokenizers_are_refused() {
    let load =
        |keys: &GgufTokenizer| Tokenizer::from_source(&TokenizerSource::Gguf(keys.clone()), "crafted.gguf");
    assert_eq!(load(&keys()).unwrap().encode("ab<|end|>b", true).unwrap(), [0, 3, 0, 2]);
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let cases = [
        (
            "another model",
            GgufTokenizer { model: "llama".into(), ..keys() },
            (Unsupported, "crafted.gguf: tokenizer.ggml.model: \"llama\""),
        ),
        (
            "hostile model name",
            GgufTokenizer { model: "\u{1b}]0;x".repeat(999), ..keys() },
            (Unsupported, r"\u{1b}"),
        ),
        (
            "another pre-tokenizer",
            GgufTokenizer { pre: Some("llama-bpe".into()), ..keys() },
            (Unsupported, "tokenizer.ggml.pre: \"llama-bpe\""),
        ),
        (
            "llama.cpp's default split",
            GgufTokenizer { pre: Some("default".into()), ..keys() },
            (Unsupported, "tokenizer.ggml.pre"),
        ),
        (
            "no pre-tokenizer",
            GgufTokenizer { pre: None, ..keys() },
            (Unsupported, "tokenizer.ggml.pre: no value"),
        ),
        (
            "no tokens",
            GgufTokenizer {
                tokens: Vec::new(),
                token_types: Vec::new(),
                bos: None,
                add_bos: false,
                eos: None,
                merges: Vec::new(),
                ..keys()
            },
            (Invalid, "tokenizer.ggml.tokens"),
        ),
        (
            "token twice",
            GgufTokenizer { tokens: strings(&["<|end|>", "a", "a", "ab"]), ..keys() },
            (Invalid, "tokenizer.ggml.tokens: \"a\""),
        ),
        (
            "token of 1 MiB",
            GgufTokenizer {
                tokens: vec!["x".repeat(1 << 20), "a".into(), "b".into(), "ab".into()],
                ..keys()
            },
            (TooLarge, "tokenizer.ggml.tokens[]"),
        ),
        (
            "too few types",
            GgufTokenizer { token_types: vec![3, 1], ..keys() },
            (Invalid, "tokenizer.ggml.token_type: 2 entries"),
        ),
        (
            "unknown type",
            GgufTokenizer { token_types: vec![3, 1, -7, 1], ..keys() },
            (Invalid, "tokenizer.ggml.token_type[2]: -7"),
        ),
        (
            "byte token",
            GgufTokenizer { token_types: vec![3, 1, 6, 1], ..keys() },
            (Invalid, "tokenizer.ggml.token_type[2]: 6"),
        ),
        (
            "too many scores",
            GgufTokenizer { scores: vec![0.0; 9], ..keys() },
            (Invalid, "tokenizer.ggml.scores: 9 entries"),
        ),
        (
            "empty special token",
            GgufTokenizer { tokens: strings(&["", "a", "b", "ab"]), ..keys() },
            (Invalid, "tokenizer.ggml.token_type[0]"),
        ),
        (
            "merge of one part",
            GgufTokenizer { merges: strings(&["ab"]), ..keys() },
            (Invalid, "tokenizer.ggml.merges[0]: \"ab\""),
        ),
        (
            "merge of three parts",
            GgufTokenizer { merges: strings(&["a b", "a b a"]), ..keys() },
            (Invalid, "tokenizer.ggml.merges[1]"),
        ),
        (
            "merge of an unknown part",
            GgufTokenizer { merges: strings(&["a c"]), ..keys() },
            (Invalid, "tokenizer.ggml.merges[0]: \"a\" + \"c\""),
        ),
        (
            "merge with an empty part",
            GgufTokenizer { merges: strings(&[" a"]), ..keys() },
            (Invalid, "tokenizer.ggml.merges[0]"),
        ),
        ("begin token beyond the end", GgufTokenizer { bos: Some(4), ..keys() }, (Invalid, "4 is not valid")),
        (
            "end token beyond the end",
            GgufTokenizer { eos: Some(u32::MAX), ..keys() },
            (Invalid, "tokenizer.ggml.eos_token_id: 4294967295"),
        ),
        (
            "unknown token beyond the end",
            GgufTokenizer { unk: Some(9), ..keys() },
            (Invalid, "tokenizer.ggml.unknown_token_id: 9"),
        ),
        (
            "padding token beyond the end",
            GgufTokenizer { pad: Some(9), ..keys() },
            (Invalid, "tokenizer.ggml.padding_token_id: 9"),
        ),
        (
            "begin token wanted but not named",
            GgufTokenizer { bos: None, ..keys() },
            (Invalid, "tokenizer.ggml.bos_token_id: no value"),
        ),
        (
            "end token wanted but not named",
            GgufTokenizer { eos: None, add_eos: true, ..keys() },
            (Invalid, "tokenizer.ggml.eos_token_id: no value"),
        ),
    ];
    for (name, keys, expected) in &cases {
        assert_refused(name, *expected, LIMIT, || load(keys));
    }
}
