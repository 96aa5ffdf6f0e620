//! Tokenizers and chat templates that were made to break something: each gives a typed error that names the file and
//! the field, soon, and nothing panics. The six `tokenizers` crate panics of published bug reports are among them.

#[path = "malformed_tokenizer/files.rs"]
mod files;
#[path = "malformed_tokenizer/gguf.rs"]
mod gguf;
#[path = "malformed_tokenizer/pieces.rs"]
mod pieces;
#[path = "malformed_tokenizer/templates.rs"]
mod templates;

use std::time::{Duration, Instant};

use killick::model_file::TokenizerSource;
use killick::tokenizer::{Tokenizer, TokenizerError};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Time a refusal may take. The fastest of a few tries counts, because other work runs beside.
const LIMIT: Duration = Duration::from_millis(100);

/// The variant of an error, as a word that a table can hold.
#[derive(Debug, PartialEq, Clone, Copy)]
enum Kind {
    Json,
    TooLarge,
    Unsupported,
    Invalid,
    Template,
}

fn kind(error: &TokenizerError) -> Option<Kind> {
    Some(match error {
        TokenizerError::Json { .. } => Kind::Json,
        TokenizerError::TooLarge { .. } => Kind::TooLarge,
        TokenizerError::Unsupported { .. } => Kind::Unsupported,
        TokenizerError::Invalid { .. } => Kind::Invalid,
        TokenizerError::TemplateSyntax { .. }
        | TokenizerError::TemplateRun { .. }
        | TokenizerError::TemplateTooLarge { .. } => Kind::Template,
        _ => return None,
    })
}

/// Runs `refuse` until it is quick enough, at most five times, and checks its error.
fn assert_refused<T: std::fmt::Debug>(
    name: &str,
    expected: (Kind, &str),
    limit: Duration,
    refuse: impl Fn() -> Result<T, TokenizerError>,
) {
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        let error = refuse().expect_err(name);
        fastest = fastest.min(start.elapsed());
        let text = error.to_string();
        assert_eq!(kind(&error), Some(expected.0), "{name}: {text}");
        assert!(text.contains(expected.1), "{name}: {text:?} does not name {:?}", expected.1);
        assert!(!text.chars().any(char::is_control) && text.len() < 600, "{name}: {text:?}");
        if fastest < limit {
            return;
        }
    }
    panic!("{name}: {fastest:?}");
}

fn load(json: &str, config: Option<&str>) -> Result<Tokenizer, TokenizerError> {
    let source = TokenizerSource::HuggingFace {
        tokenizer_json: json.as_bytes().to_vec(),
        tokenizer_config: config.map(|config| config.as_bytes().to_vec()),
    };
    Tokenizer::from_source(&source, "crafted")
}

fn byte_level() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})
}

/// A smallest file that loads.
fn base() -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": byte_level(), "post_processor": null, "decoder": byte_level(),
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
    })
}

/// `base` with the value at a JSON pointer replaced.
fn with(pointer: &str, value: Value) -> String {
    let mut json = base();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    json.pointer_mut(parent).unwrap()[field] = value;
    json.to_string()
}

fn added(id: u64, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
}

fn template(single: Value, special_tokens: Value) -> Value {
    json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": special_tokens})
}

#[test]
fn base_loads() {
    let tokenizer = load(&base().to_string(), None).unwrap();
    assert_eq!(tokenizer.encode("abb", true).unwrap(), [2, 1]);
}

#[test]
fn no_tokenizer_is_an_error_that_names_the_model() {
    let error = Tokenizer::from_source(&TokenizerSource::None, "bare").unwrap_err();
    assert_eq!(error, TokenizerError::Missing { file: "bare".into() });
}

/// Values that a changed field may get.
fn hostile() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(3),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("a"),
        json!(" "),
        json!("Sequence"),
        json!([]),
        json!({}),
        json!([["a", "b"], ["ab", "a"]]),
        json!({"a": 0, "b": 1, "ab": 2, "aba": 4}),
        json!({"type": "Sequence", "pretokenizers": [], "normalizers": [], "processors": [], "decoders": []}),
        json!({"type": "Digits", "individual_digits": true}),
        json!({"type": "NFKD"}),
    ])
}

/// Every place of a JSON value.
fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(list) => list.iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    for (key, value) in entries {
        let pointer = format!("{at}/{key}");
        pointers(value, &pointer, into);
        into.push(pointer);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_fields_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), hostile()), 1..4), text in "[ab1 .\\PC<mask>]{0,20}") {
        let mut json = base();
        json["added_tokens"] = json!([added(3, "<x>"), added(4, "b b")]);
        json["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend", "prepend": "a"}]});
        json["post_processor"] = template(json!([{"SpecialToken": {"id": "c", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]), json!({"c": {"ids": [3]}}));
        for (place, value) in changes {
            let mut places = Vec::new();
            pointers(&json, "", &mut places);
            *json.pointer_mut(&places[place.index(places.len())]).unwrap() = value;
        }
        // Whatever is accepted has to work.
        if let Ok(tokenizer) = load(&json.to_string(), None) {
            let ids = tokenizer.encode(&text, true).unwrap();
            tokenizer.decode(&ids, false).unwrap();
        }
    }

    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = base().to_string().into_bytes();
        for (place, byte) in changes {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        let source = TokenizerSource::HuggingFace { tokenizer_json: bytes, tokenizer_config: None };
        if let Ok(tokenizer) = Tokenizer::from_source(&source, "changed") {
            tokenizer.encode("ab b", true).unwrap();
        }
    }
}
