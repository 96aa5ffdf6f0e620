//! Policies: the presets and their defaults, what may be overridden, what is refused, and their JSON.

use killick::kv::{
    AtMaxSegment, Insert, KvError, MAX_POSITIONS, Place, Policy, PolicySpec, Preset, Ring, RingLayout,
    Trained,
};
use serde_json::json;

const ANCHOR: u32 = 0;
const INSERT: Insert = Insert { id: 5, place: Place::After };

/// A preset for a model trained on 4,096 positions, with `ANCHOR` as the anchor where it takes one.
fn policy(preset: Preset) -> Policy {
    let mut spec = PolicySpec::new(preset);
    if matches!(preset, Preset::Anchor | Preset::SepLlm) {
        spec.anchors = Some(vec![ANCHOR]);
    }
    spec.resolve(4096).unwrap()
}

/// A model's own window is that of `full`, within the capacity; the other presets have their own.
#[test]
fn the_window_a_model_was_trained_with_is_that_of_full() {
    let trained = Trained { context: 4096, window: Some(512), layer_window: None };
    let full = PolicySpec::new(Preset::Full);
    let resolved = full.resolve(trained).unwrap();
    assert_eq!((resolved.window, resolved.limit), (512, Some(4096)));
    let short = PolicySpec { ctx: Some(100), ..full.clone() };
    assert_eq!(short.resolve(trained).unwrap().window, 100);
    let wider = PolicySpec { window: Some(1000), ..full };
    assert_eq!(wider.resolve(trained).unwrap().window, 1000);
    for preset in [Preset::Streaming, Preset::Window] {
        let spec = PolicySpec::new(preset);
        assert_eq!(spec.resolve(trained), spec.resolve(4096), "{preset}");
    }
}

/// It decides between the two lists of LongRoPE.
#[test]
fn reach_is_the_largest_distance_that_a_policy_shows_plus_one() {
    assert_eq!(Preset::ALL.map(|preset| policy(preset).reach()), [4096, 4096, 4096, 517, 256]);
    let anchor = policy(Preset::Anchor);
    assert_eq!(Policy { max_distance: 2000, ..anchor.clone() }.reach(), 2000);
    assert_eq!(Policy { max_distance: 20, ..anchor.clone() }.reach(), 1024, "a segment may be so long");
    assert_eq!(Policy { max_anchors: 0, ..anchor }.reach(), 1024);
    assert_eq!(Policy { limit: Some(9), ..policy(Preset::Full) }.reach(), 9);
    assert_eq!(Policy { sinks: 1, ..policy(Preset::Window) }.reach(), 4096);
}

#[test]
fn presets_have_their_documented_defaults() {
    let columns = |trained: u32| {
        Preset::ALL.map(|preset| {
            let mut spec = PolicySpec::new(preset);
            if matches!(preset, Preset::Anchor | Preset::SepLlm) {
                spec.anchors = Some(vec![30, 17, 30]);
            }
            let p = spec.resolve(trained).unwrap();
            assert_eq!(p.limit, (preset == Preset::Full).then_some(trained));
            assert_eq!(p.seg_rule, preset == Preset::Anchor);
            assert_eq!(p.isolated, preset == Preset::Anchor);
            (p.window, p.sinks, p.max_anchors, p.max_segment, p.max_distance)
        })
    };
    let large = [
        (8192, 0, 1024, 1024, 8192),
        (1, 0, 1024, 1024, 8192),
        (256, 3, 1024, 1024, 8192),
        (513, 4, 1024, 1024, 517),
        (256, 0, 1024, 1024, 8192),
    ];
    assert_eq!(columns(8192), large);
    let small = [
        (128, 0, 128, 128, 128),
        (1, 0, 128, 128, 128),
        (128, 3, 128, 128, 128),
        (124, 4, 128, 128, 128),
        (128, 0, 128, 128, 128),
    ];
    assert_eq!(columns(128), small, "no default reaches beyond the trained context");
    assert_eq!(policy(Preset::Anchor).live_len(), 1024);
    assert_eq!(policy(Preset::SepLlm).live_len(), 256);
}

#[test]
fn every_field_can_be_set_on_every_preset() {
    for preset in Preset::ALL {
        let spec = PolicySpec {
            preset,
            seg_rule: Some(true),
            window: Some(11),
            sinks: Some(12),
            anchors: Some(vec![5, 3, 5]),
            not_after: None,
            isolated: Some(true),
            max_anchors: Some(13),
            max_segment: Some(14),
            at_max_segment: Some(AtMaxSegment::Error),
            max_distance: Some(15),
            ctx: None,
            insert: Some(INSERT),
        };
        let policy = spec.resolve(4096).unwrap();
        let limit = (preset == Preset::Full).then_some(4096);
        let want = Policy {
            preset,
            seg_rule: true,
            window: 11,
            sinks: 12,
            anchors: [3, 5].into_iter().collect(),
            not_after: [].into_iter().collect(),
            isolated: true,
            max_anchors: 13,
            max_segment: 14,
            at_max_segment: AtMaxSegment::Error,
            max_distance: 15,
            limit,
            insert: Some(INSERT),
            layer_window: None,
        };
        assert_eq!(policy, want);
    }
    let mut wide = PolicySpec::new(Preset::Full);
    (wide.ctx, wide.window) = (Some(100), Some(3000));
    let wide = wide.resolve(4096).unwrap();
    assert_eq!((wide.window, wide.limit), (100, Some(100)), "full needs no window beyond its capacity");
}

#[test]
fn a_policy_prints_json_that_resolves_to_itself() {
    let mut spec = PolicySpec::new(Preset::Anchor);
    (spec.anchors, spec.sinks) = (Some(vec![30, 17]), Some(4));
    let policy = spec.resolve(2048).unwrap();
    let want = json!({
        "name": "anchor", "seg_rule": true, "window": 1, "sinks": 4, "anchors": [17, 30], "isolated": true,
        "max_anchors": 1024, "max_segment": 1024, "at_max_segment": "close", "max_distance": 2048,
    });
    assert_eq!(serde_json::to_value(&policy).unwrap(), want);
    for preset in Preset::ALL {
        let policy = self::policy(preset);
        let spec: PolicySpec = serde_json::from_value(serde_json::to_value(&policy).unwrap()).unwrap();
        assert_eq!(spec.resolve(4096), Ok(policy));
        assert_eq!(preset.to_string().parse(), Ok(preset));
    }
    let spec: PolicySpec = serde_json::from_str(r#"{"preset": "sepllm", "anchors": [7]}"#).unwrap();
    assert_eq!(spec.resolve(4096).unwrap().sinks, 3);
    let typo = serde_json::from_str::<PolicySpec>(r#"{"preset": "sepllm", "windows": 7}"#);
    assert!(typo.unwrap_err().to_string().contains("windows"));
}

#[test]
fn refuses_what_cannot_be_planned() {
    let range = |field, value, min, max| KvError::OutOfRange { field, value, min, max };
    let resolve = |preset, set: fn(&mut PolicySpec)| {
        let mut spec = PolicySpec { anchors: Some(vec![ANCHOR]), ..PolicySpec::new(preset) };
        set(&mut spec);
        spec.resolve(4096).unwrap_err()
    };
    let any = Preset::SepLlm;
    let cases = [
        (resolve(any, |s| s.window = Some(0)), range("window", 0, 1, MAX_POSITIONS)),
        (resolve(any, |s| s.window = Some(u32::MAX)), range("window", u32::MAX, 1, MAX_POSITIONS)),
        (resolve(any, |s| s.sinks = Some(1 << 23)), range("sinks", 1 << 23, 0, MAX_POSITIONS)),
        (resolve(any, |s| s.max_anchors = Some(1 << 31)), range("max_anchors", 1 << 31, 0, MAX_POSITIONS)),
        (resolve(any, |s| s.max_segment = Some(0)), range("max_segment", 0, 1, MAX_POSITIONS)),
        (resolve(any, |s| s.max_distance = Some(0)), range("max_distance", 0, 1, u32::MAX)),
        (resolve(Preset::Full, |s| s.ctx = Some(0)), range("ctx", 0, 1, u32::MAX)),
        (resolve(any, |s| s.anchors = None), KvError::MissingAnchors { preset: any }),
        (resolve(any, |s| s.ctx = Some(9)), KvError::CtxWithoutFull { ctx: 9, preset: any }),
        (resolve(any, |s| s.insert = Some(INSERT)), KvError::InsertNotAnchor { id: 5 }),
    ];
    for (got, want) in cases {
        assert_eq!(got, want);
    }
    let message = resolve(any, |s| s.window = Some(0)).to_string();
    assert_eq!(message, "window is 0, allowed are 1 to 4194304");
    assert_eq!(PolicySpec::new(Preset::Full).resolve(0), Err(range("trained_context", 0, 1, u32::MAX)));
    assert_eq!(Ring::new(&policy(any), 0).unwrap_err(), range("in_flight", 0, 1, MAX_POSITIONS));
    let unbounded = Policy { window: u32::MAX, ..policy(any) };
    assert_eq!(Ring::new(&unbounded, 1).unwrap_err(), range("window", u32::MAX, 1, MAX_POSITIONS));
    let largest =
        Policy { window: MAX_POSITIONS, sinks: MAX_POSITIONS, max_anchors: MAX_POSITIONS, ..policy(any) };
    assert_eq!(RingLayout::new(&largest, MAX_POSITIONS).unwrap().slots(), 5 * MAX_POSITIONS);
    let unknown: Result<Preset, KvError> = "x".repeat(99).parse();
    assert_eq!(unknown, Err(KvError::UnknownPreset { name: "x".repeat(64) }));
}

#[test]
fn anchor_ids_become_a_bitset() {
    let policy = Policy { anchors: [0, 33, 63, 69].into_iter().collect(), ..policy(Preset::Anchor) };
    assert_eq!(policy.anchors.bitset_words(70), [1, 1 << 1 | 1 << 31, 1 << 5]);
    assert_eq!(policy.anchors.bitset_words(64), [1, 1 << 1 | 1 << 31]);
    assert_eq!(policy.check_vocab(70), Ok(()));
    assert_eq!(policy.check_vocab(69), Err(KvError::AnchorOutsideVocab { id: 69, vocab_size: 69 }));
}

#[test]
fn an_inserted_anchor_is_recorded_with_the_policy() {
    let json = json!({ "preset": "anchor", "anchors": [5, 9], "insert": { "id": 5, "place": "between" } });
    let spec: PolicySpec = serde_json::from_value(json.clone()).unwrap();
    let policy = spec.resolve(4096).unwrap();
    assert_eq!(policy.insert, Some(Insert { id: 5, place: Place::Between }));
    let printed = serde_json::to_value(&policy).unwrap();
    assert_eq!(printed["insert"], json["insert"]);
    let again: PolicySpec = serde_json::from_value(printed).unwrap();
    assert_eq!(again.resolve(4096), Ok(policy.clone()));
    assert_eq!(self::policy(Preset::Anchor).insert, None);
    for insert in
        [json!({ "id": 5 }), json!({ "id": 5, "place": "Between" }), json!({ "id": -1, "place": "after" })]
    {
        let json = json!({ "preset": "anchor", "anchors": [5], "insert": insert });
        assert!(serde_json::from_value::<PolicySpec>(json).is_err(), "{insert}");
    }
}

#[test]
fn an_inserted_anchor_is_an_anchor_of_the_vocabulary() {
    let inserting =
        Policy { anchors: [0, 5].into_iter().collect(), insert: Some(INSERT), ..policy(Preset::Anchor) };
    assert_eq!((inserting.validate(), inserting.check_vocab(6)), (Ok(()), Ok(())));
    assert_eq!(inserting.check_vocab(5), Err(KvError::AnchorOutsideVocab { id: 5, vocab_size: 5 }));
    let no_anchor = Policy { insert: Some(INSERT), ..policy(Preset::Anchor) };
    assert_eq!(Ring::new(&no_anchor, 1).unwrap_err(), KvError::InsertNotAnchor { id: 5 });
    assert_eq!(no_anchor.check_vocab(5), Err(KvError::AnchorOutsideVocab { id: 5, vocab_size: 5 }));
    assert_eq!(
        no_anchor.validate().unwrap_err().to_string(),
        "inserted token id 5 is not one of the anchors"
    );
}

#[test]
fn what_happens_to_a_long_segment_follows_what_prompts_get() {
    assert_eq!(policy(Preset::Anchor).at_max_segment, AtMaxSegment::Close);
    let spec = PolicySpec { anchors: Some(vec![5]), insert: Some(INSERT), ..PolicySpec::new(Preset::Anchor) };
    let inserting = spec.resolve(4096).unwrap();
    assert_eq!(inserting.at_max_segment, AtMaxSegment::Insert);
    let closing = PolicySpec { at_max_segment: Some(AtMaxSegment::Close), ..spec.clone() };
    assert_eq!(closing.resolve(4096).unwrap().at_max_segment, AtMaxSegment::Close);
    let printed = serde_json::to_value(&inserting).unwrap();
    assert_eq!(printed["at_max_segment"], "insert");
    assert_eq!(serde_json::from_value::<PolicySpec>(printed).unwrap().resolve(4096), Ok(inserting));

    let nothing = PolicySpec { insert: None, at_max_segment: Some(AtMaxSegment::Insert), ..spec.clone() };
    assert_eq!(nothing.resolve(4096), Err(KvError::NothingToInsert));
    let barred = PolicySpec { not_after: Some(vec![9]), ..spec.clone() };
    assert_eq!(barred.resolve(4096), Err(KvError::InsertBarred));
    let endless = PolicySpec { max_segment: Some(1), ..spec };
    assert_eq!(
        endless.resolve(4096),
        Err(KvError::OutOfRange { field: "max_segment", value: 1, min: 2, max: MAX_POSITIONS })
    );
}

#[test]
fn ids_that_bar_an_anchor_are_recorded_and_checked() {
    let spec = PolicySpec {
        anchors: Some(vec![0, 33]),
        not_after: Some(vec![40, 7, 7]),
        ..PolicySpec::new(Preset::Anchor)
    };
    let policy = spec.resolve(4096).unwrap();
    assert_eq!(policy.not_after.ids(), [7, 40]);
    assert_eq!(policy.anchor_bits(64), [1, 1 << 7, 1 << 1, 1 << 8]);
    let printed = serde_json::to_value(&policy).unwrap();
    assert_eq!(printed["not_after"], json!([7, 40]));
    assert_eq!(serde_json::from_value::<PolicySpec>(printed).unwrap().resolve(4096), Ok(policy.clone()));
    assert_eq!(policy.check_vocab(40), Err(KvError::AnchorOutsideVocab { id: 40, vocab_size: 40 }));
    assert!(serde_json::to_value(self::policy(Preset::Anchor)).unwrap().get("not_after").is_none());
}
