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
        remove_extra_whitespaces: false,
        has_charsmap: false,
        is_phi3: false,
    }
}

/// No key says so; transformers reads it in the folder.
#[test]
fn control_tokens_of_phi3_take_the_white_space_after_them() {
    let tokens = ["<unk>", "<s>", "<|end|>", "a", "\u{2581}", "\n"];
    let source = |is_phi3: bool, model: &str| {
        let keys = GgufTokenizer {
            model: model.into(),
            tokens: tokens.map(str::to_owned).to_vec(),
            token_types: vec![2, 3, 3, 1, 1, 1],
            scores: vec![0.0, 0.0, 0.0, -1.0, -2.0, -3.0],
            merges: Vec::new(),
            pre: None,
            bos: Some(1),
            eos: Some(2),
            unk: Some(0),
            add_bos: false,
            is_phi3,
            ..keys()
        };
        Tokenizer::from_source(&TokenizerSource::Gguf(keys), "phi3.gguf").unwrap()
    };
    let text = "<s>\na<|end|> \n a";
    assert_eq!(source(true, "llama").encode(text, true).unwrap(), [1, 5, 3, 2, 3]);
    for other in [source(false, "llama"), source(true, "t5")] {
        assert_eq!(other.encode(text, true).unwrap(), [1, 5, 3, 2, 4, 5, 4, 3]);
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
            GgufTokenizer { model: "rwkv".into(), ..keys() },
            (Unsupported, "crafted.gguf: tokenizer.ggml.model: \"rwkv\""),
        ),
        (
            "hostile model name",
            GgufTokenizer { model: "\u{1b}]0;x".repeat(999), ..keys() },
            (Unsupported, r"\u{1b}"),
        ),
        (
            "another pre-tokenizer",
            GgufTokenizer { pre: Some("chameleon".into()), ..keys() },
            (Unsupported, "tokenizer.ggml.pre: \"chameleon\""),
        ),
        (
            "hostile pre-tokenizer",
            GgufTokenizer { pre: Some("gpt-2\u{1b}[0m".into()), ..keys() },
            (Unsupported, r#"tokenizer.ggml.pre: "gpt-2\u{1b}[0m""#),
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

/// A smallest GGUF tokenizer of pieces that loads.
fn pieces() -> GgufTokenizer {
    let bytes = (0..=255).map(|byte| format!("<0x{byte:02X}>"));
    let words = ["<unk>", "<s>", "\u{2581}", "a", "b", "ab"].map(str::to_owned);
    let tokens: Vec<String> = words.into_iter().chain(bytes).collect();
    GgufTokenizer {
        model: "llama".into(),
        pre: Some("default".into()),
        token_types: [2, 3].into_iter().chain([1; 4]).chain([6; 256]).collect(),
        scores: (0u8..=255).chain(0..6).map(|rank| -f32::from(rank)).collect(),
        merges: Vec::new(),
        tokens,
        bos: Some(1),
        eos: None,
        unk: Some(0),
        add_space_prefix: true,
        ..keys()
    }
}

#[test]
fn malformed_vocabularies_of_pieces_are_refused() {
    let load =
        |keys: &GgufTokenizer| Tokenizer::from_source(&TokenizerSource::Gguf(keys.clone()), "crafted.gguf");
    assert_eq!(load(&pieces()).unwrap().encode("ab<s>\n", true).unwrap(), [1, 2, 5, 1, 2, 6 + 10]);
    let changed = |change: fn(&mut GgufTokenizer)| {
        let mut keys = pieces();
        change(&mut keys);
        keys
    };
    let cases = [
        ("no scores", changed(|k| k.scores.clear()), (Invalid, "tokenizer.ggml.scores: 0 entries")),
        ("no types", changed(|k| k.token_types.clear()), (Invalid, "tokenizer.ggml.token_type: 0 entries")),
        (
            "score without bound",
            changed(|k| k.scores[4] = f32::INFINITY),
            (Invalid, "tokenizer.ggml.scores[4]: inf"),
        ),
        (
            "score that is none",
            changed(|k| k.scores[5] = f32::NAN),
            (Invalid, "tokenizer.ggml.scores[5]: NaN"),
        ),
        (
            "unknown type",
            changed(|k| k.token_types[3] = 7),
            (Invalid, "tokenizer.ggml.token_type[3]: 7 is not valid: expected 1 to 6"),
        ),
        (
            "a byte without a piece",
            changed(|k| k.tokens[6 + 0x41] = "<0x4>".into()),
            (Invalid, "tokenizer.ggml.tokens: no token \"<0x41>\""),
        ),
        ("piece twice", changed(|k| k.tokens[4] = "a".into()), (Invalid, "tokenizer.ggml.tokens: \"a\"")),
        ("empty special piece", changed(|k| k.tokens[1].clear()), (Invalid, "tokenizer.ggml.token_type[1]")),
        ("unknown piece beyond the end", changed(|k| k.unk = Some(262)), (Invalid, "unknown_token_id: 262")),
        (
            "piece of 1 MiB",
            changed(|k| k.tokens[3] = "x".repeat(1 << 20)),
            (TooLarge, "tokenizer.ggml.tokens[]"),
        ),
        (
            "long piece of a unigram vocabulary",
            changed(|k| {
                k.model = "t5".into();
                k.tokens[3] = "x".repeat(257);
            }),
            (TooLarge, "tokenizer.ggml.tokens[]: 257 is more than the limit of 256"),
        ),
        (
            "table of characters",
            changed(|k| k.has_charsmap = true),
            (Unsupported, "tokenizer.ggml.precompiled_charsmap"),
        ),
        ("begin token wanted but not named", changed(|k| k.bos = None), (Invalid, "bos_token_id: no value")),
    ];
    for (name, keys, expected) in &cases {
        assert_refused(name, *expected, LIMIT, || load(keys));
    }
}

#[test]
fn hostile_vocabularies_of_pieces_take_no_more_than_linear_time() {
    // Every merge is possible, every piece begins like every other, and unused ones have to be taken apart again.
    let runs = || (1..=200).map(|len| "a".repeat(len));
    let tokens: Vec<String> = ["<unk>".to_owned()].into_iter().chain(runs()).collect();
    for (model, kind) in [("llama", 1), ("llama", 5), ("t5", 1), ("llama", 4), ("t5", 4)] {
        let keys = GgufTokenizer {
            model: model.into(),
            token_types: [2].into_iter().chain([kind; 200]).collect(),
            scores: (0..=200u8).map(f32::from).collect(),
            tokens: tokens.clone(),
            bos: None,
            add_bos: false,
            ..pieces()
        };
        let tokenizer = Tokenizer::from_source(&TokenizerSource::Gguf(keys), "crafted.gguf").unwrap();
        let start = std::time::Instant::now();
        let ids = tokenizer.encode(&"a".repeat(100_000), false).unwrap();
        assert!(!ids.is_empty() && start.elapsed().as_secs() < 20, "{model} {kind}: {:?}", start.elapsed());
    }
}
