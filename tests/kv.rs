//! The kv room by example: worked cases of the paper, presets and their bounds, errors, and what must not be
//! equal.

#[path = "support/slots.rs"]
mod slots;

use killick::kv::{
    AtMaxSegment, Insert, KvCounts, KvError, MAX_POSITIONS, NONE, Place, Policy, PolicySpec, Preset, Ring,
    RingLayout, RingParams, RingState, Row, Tagger, Tags, mask,
};
use serde_json::Value;
use slots::Slots;

const ANCHOR: u32 = 0;
const WORD: u32 = 1;
/// w0 w1 w2 a0 w4 w5 a1 w7, Figure 2 of the AnLLM paper.
const FIGURE_2: [u32; 8] = [WORD, WORD, WORD, ANCHOR, WORD, WORD, ANCHOR, WORD];

/// A preset for a model trained on 4,096 positions, with `ANCHOR` as the anchor where it takes one.
fn policy(preset: Preset) -> Policy {
    let mut spec = PolicySpec::new(preset);
    if matches!(preset, Preset::Anchor | Preset::SepLlm) {
        spec.anchors = Some(vec![ANCHOR]);
    }
    spec.resolve(4096).unwrap()
}

fn masked(policy: &Policy, ids: &[u32]) -> Vec<Vec<u32>> {
    let tags = Tags::of(policy, ids);
    (0..ids.len() as u32).map(|i| mask::row(policy, &tags, i).collect()).collect()
}

fn sorted(mut read: Vec<u32>) -> Vec<u32> {
    read.sort_unstable();
    read
}

fn stepped(policy: &Policy, ids: &[u32]) -> Vec<Vec<u32>> {
    let mut slots = Slots::new(policy, 1);
    ids.iter().map(|&id| sorted(slots.step(id))).collect()
}

/// What an ordinary next token could read, itself left out.
fn kept(slots: &Slots) -> Vec<u32> {
    let mut next = slots.clone();
    let mut read = sorted(next.step(WORD));
    read.pop();
    read
}

/// A forward pass on integers: every layer mixes a token's own value with those of the keys it reads, so any
/// key more, fewer or different changes the value. `rows[i]` lists the keys of query i; returns the last
/// layer.
fn forward(ids: &[u32], rows: &[Vec<u32>]) -> Vec<u64> {
    let mix = |x: u64| (x ^ (x >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ 0x5bd1_e995;
    let mut hidden: Vec<u64> = ids.iter().map(|&id| mix(u64::from(id) + 1)).collect();
    for _layer in 0..3 {
        let key = |j: u32| mix(hidden[j as usize] ^ mix(u64::from(j)));
        let sum = |row: &Vec<u32>| row.iter().fold(0_u64, |sum, &j| sum.wrapping_add(key(j)));
        hidden = hidden.iter().zip(rows).map(|(&own, row)| mix(own.wrapping_add(sum(row)))).collect();
    }
    hidden
}

#[test]
fn figure_2_of_the_paper() {
    let policy = policy(Preset::Anchor);
    let want: [&[u32]; 8] =
        [&[0], &[0, 1], &[0, 1, 2], &[0, 1, 2, 3], &[3, 4], &[3, 4, 5], &[4, 5, 6], &[3, 6, 7]];
    assert_eq!(masked(&policy, &FIGURE_2), want);
    assert_eq!(stepped(&policy, &FIGURE_2), want);
    let mut slots = Slots::new(&policy, 1);
    let chunk: Vec<Vec<u32>> = slots.chunk(&FIGURE_2).into_iter().map(sorted).collect();
    assert_eq!(chunk, want);
    assert_eq!(kept(&slots), [3, 6, 7]);
    let want = KvCounts {
        seen: 8,
        live: 3,
        peak_live: 3,
        anchors: 2,
        forced_anchors: 0,
        dropped_anchors: 0,
        segments: 2,
    };
    assert_eq!(slots.ring.stats(), want);
}

/// The continuation "g h ." of the same text, traced on the reference code.
#[test]
fn figure_2_continued_by_a_segment() {
    let mut slots = Slots::new(&policy(Preset::Anchor), 1);
    slots.chunk(&FIGURE_2);
    assert_eq!(sorted(slots.step(WORD)), [3, 6, 7, 8]);
    assert_eq!(sorted(slots.step(WORD)), [3, 6, 7, 8, 9]);
    assert_eq!(sorted(slots.step(ANCHOR)), [7, 8, 9, 10]);
    assert_eq!(kept(&slots), [3, 6, 10]);
}

/// Rows computed by `tools/golden/visibility.py`, a separate program.
#[test]
fn rows_equal_the_golden_visibility() {
    let golden: Value = serde_json::from_str(include_str!("data/visibility.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() > 10);
    for case in cases {
        let spec = &case["policy"];
        let number = |field: &str| spec[field].as_u64().unwrap() as u32;
        let ids = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
        let policy = Policy {
            preset: Preset::Anchor,
            seg_rule: spec["seg_rule"].as_bool().unwrap(),
            window: number("window"),
            sinks: number("sinks"),
            anchors: ids(&spec["anchors"]).into_iter().collect(),
            not_after: ids(&spec["not_after"]).into_iter().collect(),
            isolated: spec["isolated"].as_bool().unwrap(),
            max_anchors: number("max_anchors"),
            max_segment: number("max_segment"),
            at_max_segment: AtMaxSegment::Close,
            max_distance: number("max_distance"),
            limit: None,
            insert: None,
            layer_window: None,
        };
        let ids = ids(&case["ids"]);
        let tags = Tags::of(&policy, &ids);
        let anchors: String = tags.as_slice().iter().map(|tag| tag.is_anchor.to_string()).collect();
        assert_eq!(anchors, case["anchors"], "{}", case["name"]);
        for (i, want) in (0..).zip(case["rows"].as_array().unwrap()) {
            let visible = |j| if mask::visible(&policy, &tags, i, j) { '1' } else { '0' };
            let row: String = (0..ids.len() as u32).map(visible).collect();
            assert_eq!(&row, want, "{} row {i}", case["name"]);
        }
        // The rule takes unbounded fields; the ring needs numbers, and a text has no more tokens than it has.
        let bound = |value: u32| value.min(ids.len() as u32 + 1);
        let bounded = Policy {
            window: bound(policy.window),
            max_anchors: bound(policy.max_anchors),
            max_segment: bound(policy.max_segment),
            ..policy.clone()
        };
        assert_eq!(stepped(&bounded, &ids), masked(&policy, &ids), "{}", case["name"]);
    }
}

#[test]
fn anchors_at_every_edge() {
    let policy = policy(Preset::Anchor);
    let (a, w) = (ANCHOR, WORD);
    // Adjacent: the second anchor is a segment of its own, and reads only itself.
    assert_eq!(stepped(&policy, &[w, a, a, w])[1..], [vec![0, 1], vec![2], vec![1, 2, 3]]);
    // First and last.
    assert_eq!(stepped(&policy, &[a, w, w, a]), [vec![0], vec![0, 1], vec![0, 1, 2], vec![1, 2, 3]]);
    // Nothing but anchors.
    assert_eq!(stepped(&policy, &[a, a, a]), [vec![0], vec![1], vec![2]]);
    // None at all: plain causal attention.
    assert_eq!(stepped(&policy, &[w, w, w]), [vec![0], vec![0, 1], vec![0, 1, 2]]);
    // Not isolated: an anchor reads the earlier ones as well.
    let open = Policy { isolated: false, ..policy };
    assert_eq!(stepped(&open, &[w, a, a, w])[2], [1, 2]);
}

#[test]
fn a_full_segment_is_closed_by_force() {
    let policy = Policy { max_segment: 3, ..policy(Preset::Anchor) };
    let ids = [WORD, WORD, WORD, WORD, ANCHOR, WORD, WORD, ANCHOR];
    let tags = Tags::of(&policy, &ids);
    let column = |field: fn(&killick::kv::Tag) -> u32| tags.as_slice().iter().map(field).collect::<Vec<_>>();
    assert_eq!(column(|tag| tag.is_anchor), [0, 0, 1, 0, 1, 0, 0, 1]);
    assert_eq!(
        column(|tag| tag.forced),
        [0, 0, 1, 0, 0, 0, 0, 0],
        "an anchor in the third place is not forced"
    );
    assert_eq!(column(|tag| tag.seg_start), [0, 0, 0, 3, 3, 5, 5, 5]);
    assert_eq!(column(|tag| tag.anchors_upto), [0, 0, 1, 1, 2, 2, 2, 3]);
    let mut ring = Ring::new(&policy, 1).unwrap();
    for (&id, tag) in ids.iter().zip(tags.as_slice()) {
        let row = ring.step(id).unwrap();
        assert_eq!((row.is_anchor, row.forced, row.seg_start), (tag.is_anchor, tag.forced, tag.seg_start));
    }
    let stats = ring.stats();
    assert_eq!((stats.anchors, stats.forced_anchors, stats.segments), (3, 1, 3));
}

#[test]
fn anchors_are_dropped_by_number_and_by_distance() {
    let few = Policy { max_anchors: 2, ..policy(Preset::Anchor) };
    let near = Policy { max_distance: 3, ..policy(Preset::Anchor) };
    for (policy, dropped, read) in [(few, 2, vec![5, 7, 8]), (near, 3, vec![7, 8])] {
        let mut slots = Slots::new(&policy, 2);
        slots.chunk(&[WORD, ANCHOR, WORD, ANCHOR, WORD, ANCHOR, WORD, ANCHOR]);
        assert_eq!(slots.ring.stats().anchors, 4);
        let before = slots.ring.stats();
        assert_eq!(sorted(slots.step(WORD)), read);
        assert_eq!((before.dropped_anchors, before.live as usize), (dropped, read.len() - 1));
    }
}

#[test]
fn streaming_keeps_sinks_and_window_at_positions_inside_the_cache() {
    let mut spec = PolicySpec::new(Preset::Streaming);
    (spec.sinks, spec.window) = (Some(2), Some(3));
    let policy = spec.resolve(4096).unwrap();
    assert_eq!(policy.max_distance, 5);
    let mut slots = Slots::new(&policy, 1);
    slots.chunk(&[WORD; 9]);
    assert_eq!(slots.step(WORD), [0, 1, 7, 8, 9]);
    let row = slots.ring.step(WORD).unwrap();
    assert_eq!((row.pos, row.pinned_query_pos), (10, 4));
    assert_eq!([3, 4, 5, 900].map(|i| mask::pinned_query_position(&policy, i)), [3, 4, 4, 4]);
}

#[test]
fn slots_are_numbered_region_by_region() {
    let policy =
        Policy { sinks: 2, max_anchors: 3, max_segment: 5, max_distance: 9, ..policy(Preset::Anchor) };
    let mut ring = Ring::new(&policy, 2).unwrap();
    assert_eq!(*ring.layout(), RingLayout { sinks: 2, anchor_cap: 5, live_cap: 7 });
    assert_eq!(ring.layout().slots(), 14);
    // (live or pinned slot, anchor slot): an anchor within the sinks has no second copy.
    let ids = [WORD, ANCHOR, WORD, ANCHOR, WORD, WORD, ANCHOR, WORD];
    let got = ids.map(|id| ring.step(id).map(|row| (row.live_slot, row.anchor_slot)).unwrap());
    let live = |t: u32| 2 + 5 + t % 7;
    let want = [
        (0, NONE),
        (1, NONE),
        (live(2), NONE),
        (live(3), 2),
        (live(4), NONE),
        (live(5), NONE),
        (live(6), 3),
        (live(7), NONE),
    ];
    assert_eq!(got, want);
    let mut row = Row::default();
    for _ in 8..20 {
        row = ring.step(ANCHOR).unwrap();
    }
    assert_eq!(row.anchor_slot, 2 + 13 % 5, "anchor number 13 has wrapped twice");
    assert_eq!(ring.stats().anchors, 15);
}

#[test]
fn no_anchor_ring_where_none_is_read() {
    for preset in [Preset::Full, Preset::Streaming, Preset::Window] {
        assert_eq!(RingLayout::new(&policy(preset), 4).unwrap().anchor_cap, 0);
    }
    let policy = Policy { max_anchors: 0, window: 2, ..policy(Preset::SepLlm) };
    let mut slots = Slots::new(&policy, 4);
    assert_eq!(slots.ring.layout().anchor_cap, 0);
    assert!(slots.ring.anchor_positions().is_empty());
    let reads = slots.chunk(&[ANCHOR; 7]);
    assert_eq!(reads[6], [0, 1, 2, 5, 6]);
    assert_eq!(slots.step(WORD), [0, 1, 2, 6, 7]);
    assert_eq!(slots.ring.stats().dropped_anchors, 4);
}

#[test]
fn only_the_last_row_of_a_chunk_writes_a_slot() {
    let policy = Policy { max_anchors: 1, max_segment: 2, ..policy(Preset::Anchor) };
    let mut ring = Ring::new(&policy, 1).unwrap();
    let (mut rows, mut anchor_rows) = ([Row::default(); 7], [NONE; 7]);
    let ids = [WORD, ANCHOR, WORD, ANCHOR, WORD, ANCHOR, WORD];
    let chunk = ring.chunk(&ids, &mut rows, &mut anchor_rows).unwrap();
    assert_eq!((chunk.start, chunk.rows, chunk.anchors_before, chunk.anchors), (0, 7, 0, 3));
    assert_eq!(anchor_rows[..3], [1, 3, 5]);
    assert_eq!(rows.map(|row| row.live_slot), [NONE, NONE, NONE, NONE, 2 + 1, 2 + 2, 2]);
    assert_eq!(rows.map(|row| row.anchor_slot), [NONE, NONE, NONE, 1, NONE, 0, NONE]);
}

#[test]
fn a_reset_ring_remembers_nothing() {
    let policy = policy(Preset::Anchor);
    let mut slots = Slots::new(&policy, 2);
    slots.chunk(&[WORD, ANCHOR, WORD, ANCHOR, WORD]);
    slots.ring.reset();
    assert_eq!(slots.ring.state(), RingState::default());
    assert_eq!(slots.ring.stats(), KvCounts::default());
    let again: Vec<Vec<u32>> = FIGURE_2.iter().map(|&id| sorted(slots.step(id))).collect();
    assert_eq!(again, stepped(&policy, &FIGURE_2));
    slots.ring.reset();
    let undo = slots.ring.restore(RingState { pos: 5, ..RingState::default() });
    assert_eq!(undo, Err(KvError::UndoTooFar { pos: 5, reached: 0, in_flight: 2 }));
}

#[test]
fn undo_restores_what_the_steps_overwrote() {
    // One anchor is kept. The undone token is an anchor, which without a spare slot lands on the only one.
    let one_anchor = Policy { max_anchors: 1, max_segment: 4, ..policy(Preset::Anchor) };
    // The undone tokens fill the window.
    let window = Policy { window: 3, ..policy(Preset::Window) };
    for (policy, undone) in [(one_anchor, [ANCHOR, ANCHOR]), (window, [WORD, WORD])] {
        let text = [WORD, WORD, ANCHOR, WORD, ANCHOR];
        let run = |mut slots: Slots| {
            text.iter().for_each(|&id| drop(slots.step(id)));
            let state = slots.ring.state();
            undone.iter().for_each(|&id| drop(slots.step(id)));
            slots.ring.restore(state).unwrap();
            assert_eq!(slots.ring.state(), state);
            sorted(slots.step(WORD))
        };
        let want = masked(&policy, &[&text[..], &[WORD]].concat()).pop().unwrap();
        assert_eq!(run(Slots::new(&policy, 2)), want);
        assert_ne!(
            run(Slots::without_spare(&policy, 2)),
            want,
            "the check must notice the missing spare slots"
        );
    }
}

#[test]
fn refuses_to_undo_more_than_is_in_flight() {
    let mut ring = Ring::new(&policy(Preset::Anchor), 2).unwrap();
    let states: Vec<RingState> = FIGURE_2
        .iter()
        .map(|&id| {
            let state = ring.state();
            ring.step(id).unwrap();
            state
        })
        .collect();
    assert_eq!(ring.restore(states[5]), Err(KvError::UndoTooFar { pos: 5, reached: 8, in_flight: 2 }));
    let broken = RingState { n_anchors: 9, ..states[7] };
    assert_eq!(ring.restore(broken), Err(KvError::BrokenState { pos: 7 }));
    assert_eq!(ring.restore(states[6]), Ok(()));
    ring.step(WORD).unwrap();
    // It counts from the farthest position reached, for those slots are overwritten.
    assert_eq!(ring.restore(states[5]), Err(KvError::UndoTooFar { pos: 5, reached: 8, in_flight: 2 }));
}

#[test]
fn paths_agree_on_values_and_wrong_paths_do_not() {
    let ids: Vec<u32> = (0_u32..48).map(|t| if t % 7 == 6 { ANCHOR } else { 1 + t * t % 5 }).collect();
    let prompt = 30;
    for preset in Preset::ALL {
        let small = |preset| Policy { window: 4, ..policy(preset) };
        let policy = match preset {
            Preset::Full | Preset::Anchor => policy(preset),
            Preset::SepLlm | Preset::Streaming | Preset::Window => small(preset),
        };
        let rows = masked(&policy, &ids);
        let want = forward(&ids, &rows);
        assert_eq!(forward(&ids, &stepped(&policy, &ids)), want, "{preset}");

        // Dense prefill, then evicting decode: what many engines do, and another function.
        let causal = |i: usize| (0..=i as u32).collect();
        let dense: Vec<Vec<u32>> =
            (0..ids.len()).map(|i| if i < prompt { causal(i) } else { rows[i].clone() }).collect();
        assert_eq!(forward(&ids, &dense)[prompt..] == want[prompt..], preset == Preset::Full, "{preset}");

        // Eviction without the residual mask: an anchor then reads all that is kept, earlier anchors too.
        let mut slots = Slots::new(&policy, 1);
        let evicted = ids.iter().map(|&id| {
            let mut reads = kept(&slots);
            reads.push(slots.ring.state().pos);
            slots.step(id);
            reads
        });
        let evicted: Vec<Vec<u32>> = evicted.collect();
        assert_eq!(forward(&ids, &evicted)[prompt..] == want[prompt..], !policy.isolated, "{preset}");
    }
}

#[test]
fn a_ring_runs_to_its_last_position_and_stops() {
    let mut ring = Ring::new(&policy(Preset::Anchor), 3).unwrap();
    let (mut rows, mut anchor_rows) = (vec![Row::default(); 1 << 12], vec![NONE; 1 << 12]);
    let ids: Vec<u32> = (0..1 << 12).map(|t| if t % 9 == 0 { ANCHOR } else { WORD }).collect();
    while ring.remaining() > 0 {
        ring.chunk(&ids, &mut rows, &mut anchor_rows).unwrap();
    }
    let full = KvError::PositionLimit { pos: MAX_POSITIONS, tokens: 1, limit: MAX_POSITIONS };
    assert_eq!(ring.step(WORD), Err(full));
    let stats = ring.stats();
    assert_eq!((stats.seen, stats.anchors), (MAX_POSITIONS, 1024 * 456));
    assert!(stats.peak_live <= 1024 + 9, "{stats:?}");

    let mut spec = PolicySpec::new(Preset::Full);
    spec.ctx = Some(5);
    let mut ring = Ring::new(&spec.resolve(4096).unwrap(), 1).unwrap();
    assert_eq!(
        ring.chunk(&[WORD; 6], &mut rows, &mut anchor_rows),
        Err(KvError::PositionLimit { pos: 0, tokens: 6, limit: 5 })
    );
    assert_eq!(
        ring.chunk(&[WORD; 3], &mut rows[..2], &mut anchor_rows),
        Err(KvError::ChunkTooLong { tokens: 3, capacity: 2 })
    );
    assert_eq!(ring.state(), RingState::default(), "a refused chunk consumes nothing");
    ring.chunk(&[WORD; 5], &mut rows, &mut anchor_rows).unwrap();
    assert_eq!(ring.step(WORD), Err(KvError::PositionLimit { pos: 5, tokens: 1, limit: 5 }));
    assert_eq!((ring.stats().live, ring.stats().peak_live), (5, 5), "a full context is still all there");
}

#[test]
fn structs_shared_with_the_gpu_have_no_padding() {
    // The parameters are a uniform, which is whole vectors.
    assert_eq!([size_of::<RingParams>(), size_of::<RingState>(), size_of::<Row>()], [64, 48, 60]);
    let rows = [Row { pos: 7, ..Row::default() }; 2];
    assert_eq!(bytemuck::cast_slice::<Row, u32>(&rows)[15], 7);
}

/// "pi is 3.14. So": the full stop after a digit is a decimal point, the other one an anchor.
#[test]
fn a_full_stop_after_a_digit_is_no_anchor() {
    let (word, stop, digit) = (1, 0, 7);
    let text = [word, word, digit, stop, digit, digit, stop, word, stop, word];
    let plain = policy(Preset::Anchor);
    let careful = Policy { not_after: [digit].into_iter().collect(), ..plain.clone() };
    let anchors = |policy: &Policy| -> Vec<u32> {
        let tags = Tags::of(policy, &text);
        (0..10).filter(|&pos| tags.get(pos).unwrap().is_anchor == 1).collect()
    };
    assert_eq!(anchors(&plain), [3, 6, 8]);
    // The sentence that ends in a number is the price.
    assert_eq!(anchors(&careful), [8]);
    assert_eq!(stepped(&careful, &text), masked(&careful, &text));
    assert_eq!(stepped(&careful, &text)[9], [8, 9]);
    // The last token of a chunk bars the first of the next.
    let mut slots = Slots::new(&careful, 1);
    slots.chunk(&text[..3]);
    slots.chunk(&text[3..]);
    assert_eq!(slots.ring.stats().anchors, 1);
}

#[test]
fn a_segment_that_grows_too_long_is_closed_refused_or_given_an_anchor() {
    let short = Policy { max_segment: 4, ..policy(Preset::Anchor) };
    let text = [WORD, WORD, WORD, WORD, WORD, ANCHOR, WORD, WORD, WORD, ANCHOR, WORD];
    let mut closed = Slots::new(&short, 1);
    closed.chunk(&text);
    assert_eq!((closed.ring.stats().anchors, closed.ring.stats().forced_anchors), (3, 1));

    let strict = Policy { at_max_segment: AtMaxSegment::Error, ..short.clone() };
    let mut ring = Ring::new(&strict, 1).unwrap();
    let error = KvError::SegmentTooLong { pos: 3, max_segment: 4 };
    assert_eq!(ring.check(&text), Err(error.clone()));
    let (mut rows, mut anchors) = ([Row::default(); 16], [0; 16]);
    assert_eq!(ring.chunk(&text, &mut rows, &mut anchors), Err(error.clone()));
    assert_eq!(ring.stats(), KvCounts::default(), "nothing of the text was consumed");
    ring.chunk(&text[..3], &mut rows, &mut anchors).unwrap();
    assert_eq!(ring.step(WORD), Err(error));
    assert!(ring.step(ANCHOR).is_ok(), "an anchor may be the M-th token");

    let insert = Some(Insert { id: ANCHOR, place: Place::After });
    let inserting = Policy { insert, at_max_segment: AtMaxSegment::Insert, ..short };
    let with_anchors = Tagger::default().close_segments(&inserting, &text);
    let (w, a) = (WORD, ANCHOR);
    assert_eq!(with_anchors, [w, w, w, a, w, w, a, w, w, w, a, w]);
    let mut slots = Slots::new(&inserting, 1);
    slots.chunk(&with_anchors);
    // The last one was written, and stands at the bound all the same.
    assert_eq!((slots.ring.stats().anchors, slots.ring.stats().forced_anchors), (3, 2));
    // A text goes on where it stopped: one word more, and the next segment is full.
    assert_eq!(slots.ring.tagger().close_segments(&inserting, &[w, w, w]), [w, w, a, w]);
    // Whoever gives ids gets the bound by force.
    let mut raw = Slots::new(&inserting, 1);
    assert_eq!(raw.chunk(&text).len(), 11);
    assert_eq!(raw.ring.stats().forced_anchors, 2);
}
