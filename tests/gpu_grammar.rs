//! Texts that are held to a JSON schema, on a tiny random model: whatever it would like to write, JSON comes out.

#[path = "support/gpu.rs"]
mod device;
mod support;

use std::sync::Arc;

use device::gpu;
use killick::generate::{GenerateError, Grammar};
use killick::kernels::WeightFormat;
use killick::kv::{Insert, Place, PolicySpec, Preset};
use killick::model::Model;
use killick::model_file::{FileSet, ModelFile};
use killick::session::{Session, SessionOptions};
use killick::tokenizer::StopStrings;
use killick::{Batch, GenerateOptions, Pool, SamplerOptions, Steps, StopReason, Tokenizer};
use pollster::block_on;
use serde_json::{Value, json};
use support::skip;
use support::tiny_model::TinyModel;

/// Ends a text.
const END: u32 = 3;
/// An added token that is inserted between sentences and at the bound of a segment.
const AC: u32 = 510;

struct Opened {
    model: Arc<Model>,
    tokenizer: Tokenizer,
}

impl Opened {
    fn new() -> Self {
        let files = TinyModel::speaking().folder(END, "{{ messages }}");
        let file = block_on(ModelFile::open(FileSet::from_bytes(files))).unwrap();
        let model = block_on(Model::load(gpu(), &file, WeightFormat::F32, &mut |_, _| {})).unwrap();
        Self { model: Arc::new(model), tokenizer: Tokenizer::from_source(file.tokenizer(), "tiny").unwrap() }
    }

    fn grammar(&self, schema: Value) -> Result<Grammar, GenerateError> {
        Grammar::json_schema(&self.tokenizer, self.model.config(), schema)
    }

    /// The ids and the text of an answer, and why it ended.
    fn answer(&self, spec: &PolicySpec, options: GenerateOptions) -> (Vec<u32>, String, StopReason) {
        let policy = spec.resolve(self.model.config()).unwrap();
        let mut session = block_on(Session::new(&self.model, &policy, SessionOptions::default())).unwrap();
        block_on(session.append(&self.tokenizer.encode("The sea is wide.", true).unwrap())).unwrap();
        let stops = StopStrings::new(Vec::new()).unwrap();
        let mut pieces = session.generate_text(&self.tokenizer, options, stops).unwrap();
        let (mut ids, mut text) = (Vec::new(), String::new());
        for piece in pieces.by_ref() {
            let piece = piece.unwrap();
            ids.extend(piece.token.map(|token| token.id));
            text.push_str(&piece.text);
        }
        let reason = pieces.stop_reason().unwrap();
        (ids, text, reason)
    }
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3}
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": false
    })
}

fn fits(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    let fields = value.as_object().unwrap();
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["name", "age", "tags"], "{text}");
    assert!(value["name"].as_str().unwrap().chars().count() <= 12, "{text}");
    assert!(value["age"].as_u64().unwrap() <= 150, "{text}");
    let tags = value["tags"].as_array().unwrap();
    assert!(
        tags.len() <= 3 && tags.iter().all(|tag| ["red", "green", "blue"].contains(&tag.as_str().unwrap())),
        "{text}"
    );
}

#[test]
fn whatever_a_model_would_write_the_schema_is_kept() {
    let opened = Opened::new();
    let grammar = opened.grammar(schema()).unwrap();
    let specs = [
        PolicySpec::new(Preset::Full),
        PolicySpec {
            anchors: Some(vec![AC]),
            insert: Some(Insert { id: AC, place: Place::Between }),
            max_segment: Some(6),
            at_max_segment: Some(killick::kv::AtMaxSegment::Insert),
            ..PolicySpec::new(Preset::Anchor)
        },
    ];
    let mut texts = std::collections::BTreeSet::new();
    for spec in &specs {
        for seed in 0..6 {
            let temperature = if seed == 0 { 0.0 } else { 1.5 };
            let sampler =
                SamplerOptions { temperature, seed, repetition_penalty: 1.1, ..SamplerOptions::default() };
            let options = |steps| GenerateOptions {
                max_tokens: 400,
                sampler: sampler.clone(),
                steps,
                grammar: Some(grammar.clone()),
                ..GenerateOptions::default()
            };
            let (ids, text, reason) = opened.answer(spec, options(Steps::Auto));
            fits(&text);
            assert_eq!((reason, ids.last()), (StopReason::Eos, Some(&END)), "{text}");
            assert_eq!(
                ids.contains(&AC),
                spec.insert.is_some(),
                "an anchor is put in, and is no part of the JSON"
            );
            if seed < 2 {
                assert_eq!(opened.answer(spec, options(Steps::OnHost)), (ids, text.clone(), reason));
            }
            texts.insert(text);
        }
    }
    assert!(texts.len() > 6, "{texts:?}");
}

/// Where an end token ends nothing, a text ends when it is complete and nothing else may follow.
#[test]
fn a_complete_text_ends_though_end_tokens_are_ignored() {
    let opened = Opened::new();
    let options = GenerateOptions {
        max_tokens: 400,
        ignore_eos: true,
        grammar: Some(opened.grammar(schema()).unwrap()),
        ..GenerateOptions::default()
    };
    let (ids, text, reason) = opened.answer(&PolicySpec::new(Preset::Full), options);
    fits(&text);
    assert!(!ids.contains(&END) && reason == StopReason::Eos, "{ids:?} {reason:?}");
}

/// An anchor that is a word of the text elsewhere is none where the policy puts it in: what is shown is all of the JSON.
#[test]
fn an_inserted_anchor_is_no_part_of_the_json_even_if_it_is_an_ordinary_token() {
    let opened = Opened::new();
    let stop = opened.tokenizer.ids_of_bytes(b".")[0];
    let spec = PolicySpec {
        anchors: Some(vec![stop]),
        insert: Some(Insert { id: stop, place: Place::Between }),
        max_segment: Some(5),
        at_max_segment: Some(killick::kv::AtMaxSegment::Insert),
        ..PolicySpec::new(Preset::Anchor)
    };
    // With the full stop in it the first would be shown without it.
    let grammar = opened.grammar(json!({"enum": ["a ship. at sea", "a ship at sea"]})).unwrap();
    let options = GenerateOptions { max_tokens: 100, grammar: Some(grammar), ..GenerateOptions::default() };
    let (ids, text, _) = opened.answer(&spec, options);
    assert!(ids.contains(&stop), "{ids:?}");
    assert_eq!(text, r#""a ship at sea""#);
}

#[test]
fn a_text_without_a_grammar_is_another() {
    let opened = Opened::new();
    let (_, text, _) = opened.answer(
        &PolicySpec::new(Preset::Full),
        GenerateOptions { max_tokens: 60, ..GenerateOptions::default() },
    );
    assert!(serde_json::from_str::<Value>(&text).is_err(), "{text}");
}

#[test]
fn any_object_is_an_object_and_a_cut_is_told() {
    let opened = Opened::new();
    let grammar = Grammar::json_object(&opened.tokenizer, opened.model.config()).unwrap();
    // The likeliest beginning of an object is a brace; what ends it soon is made likely.
    let close = opened.tokenizer.ids_of_bytes(b"}").into_iter().map(|id| (id, 50.0)).collect();
    let sampler = SamplerOptions { logit_bias: close, ..SamplerOptions::default() };
    let options =
        GenerateOptions { grammar: Some(grammar), sampler, max_tokens: 200, ..GenerateOptions::default() };
    let full = PolicySpec::new(Preset::Full);
    let (_, text, reason) = opened.answer(&full, options.clone());
    assert!(reason == StopReason::Eos && serde_json::from_str::<Value>(&text).unwrap().is_object(), "{text}");
    let (_, text, reason) = opened.answer(&full, GenerateOptions { max_tokens: 1, ..options });
    assert_eq!((text.as_str(), reason), ("{", StopReason::MaxTokens));
}

#[test]
fn what_cannot_be_followed_is_refused_before_anything_is_drawn() {
    let opened = Opened::new();
    for (schema, words) in [
        (json!([]), "JSON object"),
        (json!({"type": "color"}), "color"),
        (json!({"$ref": "#/nowhere"}), "nowhere"),
        (json!({"type": "string", "pattern": "("}), "("),
        (json!({"type": "integer", "minimum": 5, "maximum": 3}), "3"),
        (json!(false), "JSON object"),
    ] {
        let error = opened.grammar(schema.clone()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(words) && error.lines().count() == 1, "{schema}: {error}");
    }
    // Every way to begin is banned.
    let grammar = opened.grammar(schema()).unwrap();
    let banned = (0..514)
        .filter(|id| opened.tokenizer.token_bytes(*id).is_some_and(|bytes| bytes.starts_with(b"{")))
        .collect();
    let options = GenerateOptions {
        grammar: Some(grammar.clone()),
        sampler: SamplerOptions { banned, ..SamplerOptions::default() },
        ..GenerateOptions::default()
    };
    let policy = PolicySpec::new(Preset::Full).resolve(opened.model.config()).unwrap();
    let mut session = block_on(Session::new(&opened.model, &policy, SessionOptions::default())).unwrap();
    block_on(session.append(&[5, 6])).unwrap();
    let error = session.generate(options).unwrap().next().unwrap().unwrap_err().to_string();
    assert!(error.contains("no token may follow"), "{error}");

    // One that leaves nothing after the first token: that token comes out, then the error.
    let quote =
        (0..514).filter(|id| opened.tokenizer.token_bytes(*id).is_some_and(|bytes| bytes.contains(&b'"')));
    let options = GenerateOptions {
        grammar: Some(grammar.clone()),
        sampler: SamplerOptions { banned: quote.collect(), ..SamplerOptions::default() },
        ..GenerateOptions::default()
    };
    let mut session = block_on(Session::new(&opened.model, &policy, SessionOptions::default())).unwrap();
    block_on(session.append(&[5, 6])).unwrap();
    let results: Vec<_> = session.generate(options).unwrap().collect();
    assert!(results.len() == 2 && results[0].is_ok() && results[1].is_err(), "{results:?}");
    assert_eq!(session.length(), 3, "what the session holds was given out");

    // Another model's grammar.
    let file = block_on(ModelFile::open(FileSet::from_bytes(TinyModel::new().files()))).unwrap();
    let other = block_on(Model::load(gpu(), &file, WeightFormat::F32, &mut |_, _| {})).unwrap();
    let mut stranger = block_on(Session::new(&Arc::new(other), &policy, SessionOptions::default())).unwrap();
    block_on(stranger.append(&[5, 6])).unwrap();
    let options = GenerateOptions { grammar: Some(grammar.clone()), ..GenerateOptions::default() };
    let error = stranger.generate(options).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("another vocabulary"), "{error}");

    // Texts that go on together cannot wait for one of them.
    let pool = block_on(Pool::new(&opened.model, &policy, SessionOptions::default(), 2)).unwrap();
    let mut session = block_on(pool.session()).unwrap();
    block_on(session.append(&[5, 6])).unwrap();
    let mut batch = Batch::new(&pool, Steps::Auto).unwrap();
    let options = GenerateOptions { grammar: Some(grammar), ..GenerateOptions::default() };
    let refused = batch.add(session, options).map(|_| ()).unwrap_err();
    assert!(matches!(refused.error, GenerateError::GrammarTogether));
}
