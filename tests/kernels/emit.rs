//! `emit`: every way a text ends, rings that wrap, and steps after the end.

use killick::gpu::Buffer;
use killick::kernels::emit::{self, Emit, EmitShape, LoopState, SegmentBound};
use killick::kv::{AtMaxSegment, RingState, TokenSet};
use killick::reference::{self, Emitted, Lists};

use crate::support::gpu::{POISON, Produced, buffer, output, try_run};
use crate::support::numerics::{compare_words, passes, rejects};

const VOCAB: u32 = 70;
const SHAPE: EmitShape = EmitShape {
    rows: 1,
    vocab: VOCAB,
    outbox_cap: 5,
    recent_cap: 7,
    limit: 40,
    bound: SegmentBound { at_max_segment: AtMaxSegment::Close, max_segment: 3, insert: 64 },
};
/// Anchor ids, at the edges of the words as well; one of them also ends a text.
const ANCHORS: [u32; 4] = [0, 33, 64, 69];
/// Ids that end a text: at the edges of the words of the bit set.
const ENDS: [u32; 3] = [31, 32, 69];

/// A loop in the middle of its work: state, position of the token drawn, the tokens drawn one after the other.
struct Case {
    name: &'static str,
    state: LoopState,
    pos: u32,
    drawn: &'static [u32],
    at_max_segment: AtMaxSegment,
    /// Of the position of the first token drawn, how many tokens its segment has before it; it grows with every token.
    open: u32,
    barred: u32,
    insert: u32,
    ends: &'static [u32],
}

/// A case of which the bound of segments is no part.
const fn case(name: &'static str, state: LoopState, pos: u32, drawn: &'static [u32]) -> Case {
    let at_max_segment = AtMaxSegment::Close;
    Case { name, state, pos, drawn, at_max_segment, open: 0, barred: 0, insert: 64, ends: &ENDS }
}

/// The second of three tokens is the third of its segment, the last it may have.
const fn bound(name: &'static str, at_max_segment: AtMaxSegment, barred: u32, drawn: &'static [u32]) -> Case {
    Case { at_max_segment, open: 1, barred, ..case(name, running(1, 100), 9, drawn) }
}

const CASES: [Case; 16] = [
    case("a token", running(0, 100), 3, &[7]),
    case("around both rings", running(3, 100), 5, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
    case("an end", running(1, 100), 3, &[30, 33, 32, 1, 2]),
    case("the last id", running(1, 100), 3, &[69, 4]),
    case("budget", running(1, 3), 3, &[5, 6, 7]),
    case("an end that is the last of the budget", running(1, 3), 3, &[5, 31]),
    case("the ring is full", running(0, 100), 38, &[5, 6, 7, 8]),
    case("nothing to draw from", running(2, 100), 3, &[5, u32::MAX, 6]),
    bound("an anchor put in", AtMaxSegment::Insert, 0, &[5, 6, 7]),
    bound("an anchor at the bound", AtMaxSegment::Insert, 0, &[5, 33, 7]),
    bound("one that is none after what comes before it", AtMaxSegment::Insert, 1, &[5, 33, 7]),
    bound("an end at the bound", AtMaxSegment::Insert, 0, &[5, 31, 7]),
    bound("a segment too long", AtMaxSegment::Error, 0, &[5, 6, 7]),
    bound("an anchor at the bound of an error", AtMaxSegment::Error, 0, &[5, 33, 7]),
    bound("one that is none, at the bound of an error", AtMaxSegment::Error, 1, &[5, 33, 7]),
    Case { insert: 69, ..bound("an anchor put in that is an end", AtMaxSegment::Insert, 0, &[5, 6, 7]) },
];

const fn running(emitted: u32, budget: u32) -> LoopState {
    LoopState { emitted, budget, stopped: 0, text: 0 }
}

impl Case {
    fn shape(&self) -> EmitShape {
        EmitShape {
            bound: SegmentBound { at_max_segment: self.at_max_segment, insert: self.insert, ..SHAPE.bound },
            ..SHAPE
        }
    }

    /// The state of the ring before the token at `pos`, its segment having begun `open` tokens before the first token drawn.
    fn ring(&self, pos: u32) -> RingState {
        RingState { pos, seg_start: self.pos - self.open, barred: self.barred, ..RingState::default() }
    }
}

/// Loop state, next input, outbox and recent tokens, as one list of words.
fn join(parts: [&[u32]; 4]) -> Vec<u32> {
    parts.concat()
}

/// The ids that end the text of each row, and the anchors in the even words.
fn bit_sets(ends: &[&[u32]]) -> [Buffer; 2] {
    let of_row = |ends: &&[u32]| ends.iter().copied().collect::<TokenSet>().bitset_words(VOCAB);
    let bits: Vec<u32> = ends.iter().flat_map(of_row).collect();
    let anchors: TokenSet = ANCHORS.into_iter().collect();
    let words = anchors.bitset_words(VOCAB).into_iter().flat_map(|word| [word, u32::MAX]);
    [buffer("stop bits", &bits), buffer("anchor bits", &words.collect::<Vec<u32>>())]
}

fn produce(case: &Case) -> Vec<Produced> {
    let [stop_bits, anchor_bits] = bit_sets(&[case.ends]);
    let loop_state = buffer("loop state", &[case.state]);
    let (token, outbox, recent) = (output("token", 1), output("outbox", 5), output("recent", 7));
    let inputs: Vec<_> = (case.pos..)
        .zip(case.drawn)
        .map(|(pos, id)| (buffer("drawn", &[*id]), buffer("ring", &[case.ring(pos)])))
        .collect();
    let record = |rec: &mut killick::gpu::Recorder| {
        inputs.iter().try_for_each(|(drawn, ring)| {
            let io = Emit {
                drawn,
                stop_bits: &stop_bits,
                anchor_bits: &anchor_bits,
                ring,
                loop_state: &loop_state,
                token: &token,
                outbox: &outbox,
                recent: &recent,
            };
            emit::record(rec, io, case.shape())
        })
    };
    try_run(&[&loop_state, &token, &outbox, &recent], record).unwrap()
}

fn want(case: &Case) -> [Vec<u32>; 4] {
    let (mut state, mut token, mut outbox, mut recent) = (case.state, POISON, [POISON; 5], [POISON; 7]);
    let (ends, anchors) = (case.ends.iter().copied().collect(), ANCHORS.into_iter().collect());
    for (pos, id) in (case.pos..).zip(case.drawn) {
        let out = Emitted { token: &mut token, outbox: &mut outbox, recent: &mut recent };
        let lists = Lists { ends: &ends, anchors: &anchors };
        reference::emit(&mut state, case.shape(), *id, lists, &case.ring(pos), out);
    }
    [bytemuck::cast_slice(&[state]).to_vec(), vec![token], outbox.to_vec(), recent.to_vec()]
}

#[test]
fn matches_the_reference() {
    for case in &CASES {
        for (got, want) in produce(case).iter().zip(want(case)) {
            passes("emit", case.name, got, compare_words("emit", got, &want));
        }
    }
}

#[test]
fn a_text_ends_for_the_first_reason_and_stays_ended() {
    let stopped = CASES.iter().map(|case| want(case)[0][2]);
    let (token, budget) = (LoopState::STOP_TOKEN, LoopState::STOP_BUDGET);
    assert!(stopped.eq([
        0,
        0,
        token,
        token,
        budget,
        token,
        LoopState::STOP_LIMIT,
        LoopState::STOP_NOT_FINITE,
        0,
        0,
        0,
        token,
        LoopState::STOP_SEGMENT,
        0,
        LoopState::STOP_SEGMENT,
        token,
    ]));
    // Only a token that is no anchor, at the bound, under a policy that inserts, is replaced.
    let handed_out = |case: &Case| want(case)[2][2];
    let second = CASES[8..].iter().map(handed_out);
    assert!(second.eq([64, 33, 64, 31, 6, 33, 33, 69]));
    // After the end nothing is handed out: three of the five drawn tokens.
    assert_eq!(join(want(&CASES[2]).each_ref().map(Vec::as_slice))[0], 1 + 3);
}

/// Every case once more, as rows of one step over texts of one pool. Row r is of the text at place n - 1 - r.
fn produce_together(cases: &[&Case]) -> Vec<Produced> {
    let n = cases.len() as u32;
    let [stop_bits, anchor_bits] = bit_sets(&cases.iter().map(|case| case.ends).collect::<Vec<_>>());
    let states: Vec<_> =
        (0..n).zip(cases).map(|(r, case)| LoopState { text: n - 1 - r, ..case.state }).collect();
    let drawn: Vec<u32> = cases.iter().map(|case| case.drawn[0]).collect();
    let rings: Vec<_> = cases.iter().rev().map(|case| case.ring(case.pos)).collect();
    let (drawn, ring) = (buffer("drawn", &drawn), buffer("ring", &rings));
    let loop_state = buffer("loop state", &states);
    let n = cases.len();
    let (token, outbox, recent) = (output("token", n), output("outbox", 5 * n), output("recent", 7 * n));
    let io = Emit {
        drawn: &drawn,
        stop_bits: &stop_bits,
        anchor_bits: &anchor_bits,
        ring: &ring,
        loop_state: &loop_state,
        token: &token,
        outbox: &outbox,
        recent: &recent,
    };
    let shape = EmitShape { rows: n as u32, ..cases[0].shape() };
    try_run(&[&loop_state, &token, &outbox, &recent], |rec| emit::record(rec, io, shape)).unwrap()
}

/// The parts of each case alone, put where its row and its text belong.
fn want_together(cases: &[&Case]) -> [Vec<u32>; 4] {
    let n = cases.len() as u32;
    let alone = |(r, case): (u32, &&Case)| {
        let state = LoopState { text: n - 1 - r, ..case.state };
        want(&Case { state, drawn: &case.drawn[..1], ..**case })
    };
    let alone: Vec<_> = (0..n).zip(cases).map(alone).collect();
    let rows = |part: usize| alone.iter().flat_map(move |parts| parts[part].clone()).collect();
    [rows(0), rows(1), rows(2), alone.iter().rev().flat_map(|parts| parts[3].clone()).collect()]
}

#[test]
fn rows_of_several_texts_are_handed_out_as_if_each_were_alone() {
    // The shape holds for all rows, so those that differ in it are other steps.
    let ended = Case { state: LoopState { stopped: LoopState::STOP_TOKEN, ..running(2, 9) }, ..CASES[0] };
    // Two texts draw the same id, which ends but one of them, and one has no end.
    let other = Case { ends: &[7, 40], ..CASES[0] };
    let endless = Case { ends: &[], ..case("no end", running(1, 100), 3, &[32]) };
    let plain: Vec<&Case> = CASES[..8].iter().chain([&ended, &other, &endless]).collect();
    let (inserting, failing) = (CASES[8..12].iter().collect(), CASES[12..15].iter().collect());
    for cases in [plain, inserting, failing] {
        for (got, want) in produce_together(&cases).iter().zip(want_together(&cases)) {
            let case = format!("{} rows, {} first", cases.len(), cases[0].name);
            passes("emit", &case, got, compare_words("emit", got, &want));
        }
    }
    let cases: Vec<&Case> = CASES[..8].iter().collect();
    let got = produce_together(&cases);
    let mut swapped = cases.clone();
    swapped.swap(1, 5);
    for (got, want) in got.iter().zip(want_together(&swapped)) {
        rejects("emit", "rows of two texts swapped", got, compare_words("emit", got, &want));
    }
    // The ends alone swapped: the loop of one goes on that should have stopped.
    let ending = Case { ends: &[7], ..CASES[0] };
    let got = produce_together(&[&CASES[0], &ending]);
    let swapped = want_together(&[&ending, &CASES[0]]);
    rejects("emit", "the ends of two rows swapped", &got[0], compare_words("emit", &got[0], &swapped[0]));
}

#[test]
fn the_check_rejects_faults() {
    let differs = |fault: &str, case: &Case, against: &Case| {
        let (got, want) = (produce(case), want(against));
        let results = got.iter().zip(&want).map(|(got, want)| (got, compare_words("emit", got, want)));
        let (got, result) = results.max_by_key(|(_, result)| result.is_err()).unwrap();
        rejects("emit", fault, got, result);
    };
    let case = &CASES[2];
    let with = |state, pos, drawn| self::case("a fault", state, pos, drawn);
    differs("a token lost", &with(case.state, 3, &[33, 32, 1, 2]), case);
    differs("a position too far", &with(case.state, 4, case.drawn), case);
    differs("a number too far", &with(running(2, 100), 3, case.drawn), case);
    differs("an end not seen", &with(case.state, 3, &[30, 33, 34, 1, 2]), case);
    differs("a budget one larger", &with(running(1, 4), 3, &[5, 6, 7]), &CASES[4]);
    let [inserts, stops] = [&CASES[8], &CASES[12]];
    let shifted = |case: &Case| Case { open: 0, name: "", ..*case };
    differs("a segment one shorter", &shifted(inserts), inserts);
    differs("a bound one later", &shifted(stops), stops);
    differs("a bound not seen", &Case { at_max_segment: AtMaxSegment::Close, ..*inserts }, inserts);
    differs("an anchor though barred", &CASES[9], &CASES[10]);
}
