//! Which policy a model is read under: what is recorded with it, presets and options, in their order. No GPU.

mod support;

use killick::kv::{AtMaxSegment, Insert, KvError, Place};
use killick::model_file::FileSet;
use killick::policy_options::{ChosenPolicy, Insertion, PolicyError, PolicyNote, Sinks};
use killick::session::SessionError;
use killick::tokenizer::TokenizerError;
use killick::{Error, ModelFile, Opened, PolicyOptions, PolicySpec, Preset, block_on};
use serde_json::{Value, json};
use support::tiny_model::{CONFIG, TinyModel};

const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
/// Ends a turn.
const IM_END: u32 = 3;
/// An added token that can stand for `<AC>`.
const AC: u32 = 510;

/// A model with a tokenizer and a chat template, trained on 2,048 positions, and with this policy recorded.
fn speaking(recorded: &Value) -> Opened {
    let mut files = TinyModel::speaking().folder(IM_END, CHATML);
    let mut config: Value = serde_json::from_slice(&files[CONFIG]).unwrap();
    if !recorded.is_null() {
        config["killick_policy"] = recorded.clone();
    }
    files.insert(CONFIG.to_owned(), config.to_string().into_bytes());
    Opened::new(block_on(ModelFile::open(FileSet::from_bytes(files))).unwrap())
}

/// A model that knows 12 ids and no text, trained on 64 positions.
fn mute() -> Opened {
    Opened::new(block_on(ModelFile::open(FileSet::from_bytes(TinyModel::new().files()))).unwrap())
}

fn nothing() -> PolicyOptions {
    PolicyOptions::default()
}

fn preset(preset: Preset) -> PolicyOptions {
    PolicyOptions { preset: Some(preset), ..nothing() }
}

fn spec(model: &Opened, options: &PolicyOptions) -> PolicySpec {
    model.policy(options).unwrap().spec
}

fn ids(model: &Opened, texts: &[&str]) -> Vec<u32> {
    let tokenizer = model.tokenizer().unwrap();
    texts.iter().flat_map(|text| tokenizer.ids_of_bytes(text.as_bytes())).collect()
}

/// A policy every field of which is recorded.
fn recorded() -> PolicySpec {
    PolicySpec {
        seg_rule: Some(true),
        window: Some(5),
        sinks: Some(2),
        anchors: Some(vec![AC]),
        isolated: Some(false),
        max_anchors: Some(9),
        max_segment: Some(40),
        at_max_segment: Some(AtMaxSegment::Close),
        max_distance: Some(100),
        insert: Some(Insert { id: AC, place: Place::After }),
        ..PolicySpec::new(Preset::Anchor)
    }
}

#[test]
fn every_option_goes_before_what_is_recorded_and_leaves_the_rest() {
    let model = speaking(&serde_json::to_value(recorded()).unwrap());
    assert_eq!(model.recorded_policy().unwrap(), Some(recorded()));
    assert_eq!(spec(&model, &nothing()), recorded());
    assert_eq!(spec(&model, &preset(Preset::Anchor)), recorded(), "the recorded preset by its name");
    let between = Some(Insert { id: AC, place: Place::Between });
    for (options, expected) in [
        (PolicyOptions { window: Some(6), ..nothing() }, PolicySpec { window: Some(6), ..recorded() }),
        (
            PolicyOptions { sinks: Some(Sinks::Tokens(0)), ..nothing() },
            PolicySpec { sinks: Some(0), ..recorded() },
        ),
        (
            PolicyOptions { max_anchors: Some(1), ..nothing() },
            PolicySpec { max_anchors: Some(1), ..recorded() },
        ),
        (
            PolicyOptions { max_segment: Some(8), ..nothing() },
            PolicySpec { max_segment: Some(8), ..recorded() },
        ),
        (
            PolicyOptions { at_max_segment: Some(AtMaxSegment::Error), ..nothing() },
            PolicySpec { at_max_segment: Some(AtMaxSegment::Error), ..recorded() },
        ),
        (
            PolicyOptions { max_distance: Some(7), ..nothing() },
            PolicySpec { max_distance: Some(7), ..recorded() },
        ),
        (
            PolicyOptions { isolated: Some(true), ..nothing() },
            PolicySpec { isolated: Some(true), ..recorded() },
        ),
        (
            PolicyOptions { insert: Some(Insertion::At(Place::Between)), ..nothing() },
            PolicySpec { insert: between, ..recorded() },
        ),
        (
            PolicyOptions { insert: Some(Insertion::Off), ..nothing() },
            PolicySpec { insert: None, ..recorded() },
        ),
        (
            PolicyOptions { anchor_ids: vec![7], insert: Some(Insertion::Off), ..nothing() },
            PolicySpec { anchors: Some(vec![7]), insert: None, ..recorded() },
        ),
    ] {
        assert_eq!(spec(&model, &options), expected, "{options:?}");
    }
}

#[test]
fn another_preset_than_the_recorded_one_starts_from_its_own_defaults() {
    let model = speaking(&serde_json::to_value(recorded()).unwrap());
    assert_eq!(spec(&model, &preset(Preset::Window)), PolicySpec::new(Preset::Window));
    assert_eq!(spec(&model, &preset(Preset::Full)), PolicySpec::new(Preset::Full));
    let sepllm = spec(&model, &preset(Preset::SepLlm));
    assert_eq!((sepllm.window, sepllm.insert), (None, None));
    assert_eq!(sepllm.anchors, Some(ids(&model, &[".", ",", "?", "!", ";", ":", "\n"])));
}

#[test]
fn a_stock_model_remembers_everything_unless_an_option_bounds_it() {
    let model = speaking(&Value::Null);
    assert_eq!(model.recorded_policy().unwrap(), None);
    assert_eq!(spec(&model, &nothing()), PolicySpec::new(Preset::Full));
    for bounded in [
        PolicyOptions { anchors: vec![".".to_owned()], ..nothing() },
        PolicyOptions { anchor_ids: vec![7], ..nothing() },
        PolicyOptions { window: Some(9), ..nothing() },
        PolicyOptions { max_anchors: Some(9), ..nothing() },
        PolicyOptions { max_distance: Some(9), ..nothing() },
    ] {
        assert_eq!(spec(&model, &bounded).preset, Preset::SepLlm, "{bounded:?}");
    }
    for unbounded in [
        PolicyOptions { sinks: Some(Sinks::Tokens(3)), ..nothing() },
        PolicyOptions { max_segment: Some(9), ..nothing() },
        PolicyOptions { at_max_segment: Some(AtMaxSegment::Error), ..nothing() },
        PolicyOptions { isolated: Some(true), ..nothing() },
        PolicyOptions { anchor_not_after_digit: true, ..nothing() },
        PolicyOptions { ctx: Some(9), ..nothing() },
    ] {
        assert_eq!(spec(&model, &unbounded).preset, Preset::Full, "{unbounded:?}");
    }
    // What is recorded is not a stock model's any more, whatever bounds it.
    let full = speaking(&json!({"preset": "full"}));
    assert_eq!(spec(&full, &PolicyOptions { window: Some(9), ..nothing() }).preset, Preset::Full);
}

#[test]
fn anchors_are_given_by_text_and_id_else_recorded_else_those_of_the_preset() {
    let stock = speaking(&Value::Null);
    assert_eq!(spec(&stock, &preset(Preset::Anchor)).anchors, Some(ids(&stock, &["."])));
    let separators = ids(&stock, &[".", ",", "?", "!", ";", ":", "\n"]);
    assert_eq!(separators.len(), 7);
    assert_eq!(spec(&stock, &preset(Preset::SepLlm)).anchors, Some(separators));
    assert_eq!(spec(&stock, &preset(Preset::Streaming)).anchors, None);

    let both = PolicyOptions { anchor_ids: vec![7], anchors: vec!["!".to_owned()], ..nothing() };
    let expected = [vec![7], ids(&stock, &["!"])].concat();
    assert_eq!(spec(&stock, &both).anchors, Some(expected.clone()));
    let model = speaking(&json!({"preset": "sepllm", "anchors": [9]}));
    assert_eq!(spec(&model, &nothing()).anchors, Some(vec![9]));
    assert_eq!(spec(&model, &both).anchors, Some(expected));
    // Nothing recorded but the preset: its defaults.
    let named = speaking(&json!({"preset": "anchor"}));
    assert_eq!(spec(&named, &nothing()).anchors, Some(ids(&named, &["."])));
    // Ids need no tokenizer.
    let by_id = PolicyOptions { anchor_ids: vec![7], ..nothing() };
    assert_eq!(spec(&mute(), &by_id).anchors, Some(vec![7]));
}

#[test]
fn digits_bar_an_anchor_where_that_is_asked_for() {
    let model = speaking(&Value::Null);
    let policy = model.policy(&PolicyOptions { anchor_not_after_digit: true, ..preset(Preset::Anchor) });
    let barring = model.tokenizer().unwrap().ids_ending_in_digit();
    assert!(!barring.is_empty());
    assert_eq!(policy.unwrap().spec.not_after, Some(barring));
}

#[test]
fn a_pinned_system_prompt_has_as_many_sinks_as_tokens() {
    let model = speaking(&Value::Null);
    let (tokenizer, turns) = (model.tokenizer().unwrap(), model.turns().unwrap());
    let pin = |system: Option<&str>, options: PolicyOptions| {
        let sinks = Some(Sinks::SystemPrompt(system.map(str::to_owned)));
        model.policy(&PolicyOptions { sinks, ..options }).unwrap().policy
    };
    let system = Some("Be brief. Be kind.");
    let plain = pin(system, preset(Preset::SepLlm));
    assert_eq!(plain.sinks, turns.system_tokens(&tokenizer, system, &plain).unwrap());
    let first = turns.first_ids(&tokenizer, system, "Hello", &plain).unwrap();
    let pinned = tokenizer.decode(&first[..plain.sinks as usize], false).unwrap();
    assert_eq!(pinned, "<|im_start|>system\nBe brief. Be kind.<|im_end|>\n<|im_start|>user\n");
    assert!((1..plain.sinks).contains(&pin(None, preset(Preset::SepLlm)).sinks), "the opening alone");
    let inserting = PolicyOptions {
        anchor_ids: vec![AC],
        insert: Some(Insertion::At(Place::After)),
        ..preset(Preset::Anchor)
    };
    assert_eq!(pin(system, inserting).sinks, plain.sinks + 2, "an anchor after each sentence is part of it");
}

#[test]
fn what_a_user_may_want_to_know_comes_as_notes() {
    let stock = speaking(&Value::Null);
    let notes = |model: &Opened, options: &PolicyOptions| model.policy(options).unwrap().notes;
    let label = || stock.file.label().to_owned();
    let long = PolicyOptions { ctx: Some(9000), ..nothing() };
    let beyond = PolicyNote::CtxBeyondTraining { model: label(), asked: 9000, limit: 2048 };
    assert_eq!(
        beyond.to_string(),
        "ctx 9000 is more than the 2048 tokens model.safetensors was trained for; the text ends there"
    );
    assert_eq!(notes(&stock, &long), [beyond]);
    assert_eq!(notes(&stock, &PolicyOptions { ctx: Some(2048), ..nothing() }), []);
    let untrained = PolicyNote::NotTrainedWithAnchors { model: label() };
    assert!(untrained.to_string().contains("sepllm suits it better"), "{untrained}");
    assert_eq!(notes(&stock, &preset(Preset::Anchor)), [untrained]);
    assert_eq!(notes(&stock, &preset(Preset::SepLlm)), []);
    assert_eq!(notes(&speaking(&json!({"preset": "anchor"})), &nothing()), []);
}

/// The error, whose words name settings and no flags of a program.
fn refused(model: &Opened, options: &PolicyOptions) -> Error {
    match model.policy(options) {
        Err(error) => {
            assert!(!error.to_string().contains("--"), "{error}");
            error
        }
        Ok(ChosenPolicy { spec, .. }) => panic!("{options:?} gives {spec:?}"),
    }
}

#[test]
fn what_a_model_cannot_be_asked_for_is_refused() {
    let (model, mute) = (speaking(&Value::Null), mute());
    let text = |text: &str| PolicyOptions { anchors: vec![text.to_owned()], ..nothing() };
    let error = refused(&mute, &text("."));
    assert!(matches!(error, Error::Policy(PolicyError::AnchorWithoutTokenizer { .. })), "{error:?}");
    let error = refused(&model, &text("no such token"));
    assert!(matches!(error, Error::Policy(PolicyError::UnknownAnchor { .. })), "{error:?}");
    let digits = PolicyOptions { anchor_not_after_digit: true, ..nothing() };
    let error = refused(&mute, &digits);
    assert!(matches!(error, Error::Policy(PolicyError::DigitsWithoutTokenizer { .. })), "{error:?}");
    for (anchor_ids, found) in [(vec![], 0), (vec![7, 8], 2)] {
        let options = PolicyOptions { anchor_ids, insert: Some(Insertion::At(Place::After)), ..nothing() };
        let error = refused(&model, &options);
        assert!(
            matches!(error, Error::Policy(PolicyError::InsertNeedsOneAnchor { found: n }) if n == found),
            "{error:?}"
        );
    }
    let error = refused(&mute, &preset(Preset::Anchor));
    assert!(matches!(error, Error::Kv(KvError::MissingAnchors { preset: Preset::Anchor })), "{error:?}");
    let error = refused(&mute, &PolicyOptions { anchor_ids: vec![12], ..nothing() });
    assert!(matches!(error, Error::Kv(KvError::AnchorOutsideVocab { id: 12, vocab_size: 12 })), "{error:?}");
    let error = refused(&model, &PolicyOptions { ctx: Some(9), ..preset(Preset::Window) });
    assert!(matches!(error, Error::Kv(KvError::CtxWithoutFull { .. })), "{error:?}");
    let error = refused(&speaking(&json!({"preset": "nonsense"})), &nothing());
    assert!(matches!(error, Error::Policy(PolicyError::Recorded { .. })), "{error:?}");
    let pinned = PolicyOptions { sinks: Some(Sinks::SystemPrompt(None)), ..nothing() };
    let error = refused(&mute, &pinned);
    assert!(matches!(error, Error::Tokenizer(TokenizerError::Missing { .. })), "{error:?}");
    // The embedded model has a tokenizer and no chat template.
    let embedded = Opened::new(block_on(ModelFile::open(FileSet::embedded())).unwrap());
    let error = refused(&embedded, &pinned);
    assert!(matches!(error, Error::Tokenizer(TokenizerError::NoChatTemplate { .. })), "{error:?}");
}

#[test]
fn a_text_is_checked_without_a_device() {
    let model = mute();
    let policy = |options: &PolicyOptions| model.policy(options).unwrap().policy;
    let full = policy(&PolicyOptions { ctx: Some(3), ..nothing() });
    assert!(model.check(&full, &[1, 2, 11]).is_ok());
    let error = |policy, ids: &[u32]| model.check(policy, ids).unwrap_err();
    assert!(matches!(error(&full, &[]), Error::Session(SessionError::EmptyPrompt)));
    assert!(matches!(
        error(&full, &[1, 12]),
        Error::Session(SessionError::TokenOutsideVocab { id: 12, vocab_size: 12 })
    ));
    assert!(matches!(error(&full, &[1, 2, 3, 4]), Error::Kv(KvError::PositionLimit { limit: 3, .. })));
    let strict = policy(&PolicyOptions {
        anchor_ids: vec![7],
        max_segment: Some(3),
        at_max_segment: Some(AtMaxSegment::Error),
        ..preset(Preset::Anchor)
    });
    assert!(model.check(&strict, &[1, 2, 7, 1, 2, 7]).is_ok());
    assert!(matches!(error(&strict, &[1, 2, 3]), Error::Kv(KvError::SegmentTooLong { pos: 2, .. })));
}
