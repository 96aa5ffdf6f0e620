//! `emit`: every way a text ends, rings that wrap, and steps after the end.

use killick::kernels::emit::{self, Emit, EmitShape, LoopState};
use killick::kv::RingState;
use killick::reference::{self, Emitted};

use crate::support::gpu::{POISON, Produced, buffer, output, try_run};
use crate::support::numerics::{compare_words, passes, rejects};

const VOCAB: u32 = 70;
const SHAPE: EmitShape = EmitShape { vocab: VOCAB, outbox_cap: 5, recent_cap: 7, limit: 40 };
/// Ids that end a text: at the edges of the words of the bit set.
const ENDS: [u32; 3] = [31, 32, 69];

/// A loop in the middle of its work: state, position of the token drawn, the tokens drawn one after the other.
struct Case {
    name: &'static str,
    state: LoopState,
    pos: u32,
    drawn: &'static [u32],
}

const CASES: [Case; 8] = [
    Case { name: "a token", state: running(0, 100), pos: 3, drawn: &[7] },
    Case { name: "around both rings", state: running(3, 100), pos: 5, drawn: &[1, 2, 3, 4, 5, 6, 7, 8, 9] },
    Case { name: "an end", state: running(1, 100), pos: 3, drawn: &[30, 33, 32, 1, 2] },
    Case { name: "the last id", state: running(1, 100), pos: 3, drawn: &[69, 4] },
    Case { name: "budget", state: running(1, 3), pos: 3, drawn: &[5, 6, 7] },
    Case { name: "an end that is the last of the budget", state: running(1, 3), pos: 3, drawn: &[5, 31] },
    Case { name: "the ring is full", state: running(0, 100), pos: 38, drawn: &[5, 6, 7, 8] },
    Case { name: "nothing to draw from", state: running(2, 100), pos: 3, drawn: &[5, u32::MAX, 6] },
];

const fn running(emitted: u32, budget: u32) -> LoopState {
    LoopState { emitted, budget, stopped: 0, pad0: 0 }
}

/// Loop state, next input, outbox and recent tokens, as one list of words.
fn join(parts: [&[u32]; 4]) -> Vec<u32> {
    parts.concat()
}

fn produce(case: &Case) -> Vec<Produced> {
    let mut bits = vec![0_u32; VOCAB.div_ceil(32) as usize];
    ENDS.iter().for_each(|id| bits[(id / 32) as usize] |= 1 << (id % 32));
    let stop_bits = buffer("stop bits", &bits);
    let loop_state = buffer("loop state", &[case.state]);
    let (token, outbox, recent) = (output("token", 1), output("outbox", 5), output("recent", 7));
    let inputs: Vec<_> = (case.pos..)
        .zip(case.drawn)
        .map(|(pos, id)| {
            (buffer("drawn", &[*id]), buffer("ring", &[RingState { pos, ..RingState::default() }]))
        })
        .collect();
    let record = |rec: &mut killick::gpu::Recorder<'_>| {
        inputs.iter().try_for_each(|(drawn, ring)| {
            let io = Emit {
                drawn,
                stop_bits: &stop_bits,
                ring,
                loop_state: &loop_state,
                token: &token,
                outbox: &outbox,
                recent: &recent,
            };
            emit::record(rec, io, SHAPE)
        })
    };
    try_run(&[&loop_state, &token, &outbox, &recent], record).unwrap()
}

fn want(case: &Case) -> [Vec<u32>; 4] {
    let (mut state, mut token, mut outbox, mut recent) = (case.state, POISON, [POISON; 5], [POISON; 7]);
    for (pos, id) in (case.pos..).zip(case.drawn) {
        let out = Emitted { token: &mut token, outbox: &mut outbox, recent: &mut recent };
        reference::emit(&mut state, SHAPE, *id, pos, ENDS.contains(id), out);
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
        LoopState::STOP_NOT_FINITE
    ]));
    // After the end nothing is handed out: three of the five drawn tokens.
    assert_eq!(join(want(&CASES[2]).each_ref().map(Vec::as_slice))[0], 1 + 3);
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
    let with = |state, pos, drawn| Case { name: case.name, state, pos, drawn };
    differs("a token lost", &with(case.state, 3, &[33, 32, 1, 2]), case);
    differs("a position too far", &with(case.state, 4, case.drawn), case);
    differs("a number too far", &with(running(2, 100), 3, case.drawn), case);
    differs("an end not seen", &with(case.state, 3, &[30, 33, 34, 1, 2]), case);
    differs("a budget one larger", &with(running(1, 4), 3, &[5, 6, 7]), &CASES[4]);
}
