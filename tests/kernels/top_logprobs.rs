//! `top_logprobs`: real vocabularies, ties, logits far from zero, and the entry that the loop's state names.

use killick::gpu::Recorder;
use killick::kernels::sample::RowSettings;
use killick::kernels::top_logprobs::{self, ENTRY_WORDS, TopLogprobs};
use killick::reference;
use killick::sampling::MAX_LOGPROBS;

use crate::support::gpu::{POISON, Produced, buffer, gpu, output, run};
use crate::support::inputs::{drop_last_column, numbers};
use crate::support::numerics::{compare, passes, rejects};

/// Entries of the ring, and the token number that falls into its third.
const CAPACITY: usize = 5;
const EMITTED: u32 = 12;
const BEFORE: usize = 2 * ENTRY_WORDS as usize;

fn produce(logits: &[f32], chosen: u32, n: u32) -> Produced {
    let vocab = logits.len() as u32;
    let (logits, chosen) = (buffer("logits", logits), buffer("chosen", &[chosen]));
    let loop_state = buffer("loop state", &[EMITTED, 100, 0, 0]);
    let settings = buffer("settings", &[RowSettings { logprobs: n, ..RowSettings::default() }]);
    let out = output("out", CAPACITY * ENTRY_WORDS as usize);
    let io = TopLogprobs {
        logits: &logits,
        chosen: &chosen,
        loop_state: &loop_state,
        settings: &settings,
        out: &out,
    };
    run(&out, |rec| top_logprobs::record(rec, io, 1, vocab, CAPACITY as u32))
}

/// Ids word by word, log-probabilities by the tolerance; everything else must be untouched.
fn check(got: &Produced, want: &[(u32, f64)]) -> Result<f64, String> {
    let mut expected = vec![f64::NAN; CAPACITY * ENTRY_WORDS as usize];
    for (i, (id, logprob)) in want.iter().enumerate() {
        let at = BEFORE + 2 * i;
        if got.words[at] != *id {
            return Err(format!("id {i} is {} and should be {id}", got.words[at]));
        }
        expected[at] = f64::from(f32::from_bits(*id));
        expected[at + 1] = *logprob;
    }
    compare("top_logprobs", got, &expected)
}

fn check_case(case: &str, logits: &[f32], chosen: u32, n: u32) {
    let got = produce(logits, chosen, n);
    let want = reference::top_logprobs(logits, chosen, n as usize);
    assert_eq!(want.len(), n as usize + 1);
    passes("top_logprobs", &format!("{case} ({}) {n} of them", logits.len()), &got, check(&got, &want));
}

#[test]
fn matches_the_reference() {
    for vocab in [1, 2, 255, 256, 257, 321, 32_002, 49_152, 128_256] {
        let logits = numbers(vocab as u64, 1, vocab);
        for n in [1, 5, MAX_LOGPROBS] {
            let n = n.min(vocab as u32);
            check_case("chosen first", &logits, 0, n);
            check_case("chosen last", &logits, vocab as u32 - 1, n);
            let far: Vec<f32> = logits.iter().map(|v| v * 3.0 - 5_000.0).collect();
            check_case("far below zero", &far, vocab as u32 / 2, n);
        }
    }
}

#[test]
fn equals_come_in_ascending_order() {
    check_case("all equal", &[0.5; 700], 3, MAX_LOGPROBS);
    let few: Vec<f32> = (0..700_u32).map(|id| (id * 7919 % 13) as f32).collect();
    check_case("thirteen values", &few, 699, MAX_LOGPROBS);
}

#[test]
fn no_token_chosen_is_passed_on() {
    let got = produce(&numbers(1, 1, 321), u32::MAX, 1);
    assert_eq!(got.words[BEFORE], u32::MAX);
    assert_eq!(got.words[BEFORE + 4], POISON);
}

#[test]
fn a_row_that_asks_for_none_has_no_entry() {
    let got = produce(&numbers(1, 1, 321), 7, 0);
    assert_eq!(got.words[..CAPACITY * ENTRY_WORDS as usize], [POISON; CAPACITY * ENTRY_WORDS as usize]);
}

#[test]
fn shapes_that_make_no_sense_are_refused() {
    let words = buffer("any", &[0_u32; 2048]);
    let io =
        TopLogprobs { logits: &words, chosen: &words, loop_state: &words, settings: &words, out: &words };
    for (vocab, capacity, what) in [(0, 1, "vocab"), (100, 0, "entries"), (100, 90, "bytes of out")] {
        let mut rec = Recorder::new(gpu().capabilities());
        let error = top_logprobs::record(&mut rec, io, 1, vocab, capacity).unwrap_err().to_string();
        assert!(error.contains(what), "{error} instead of {what}");
    }
}

#[test]
fn the_check_rejects_faults() {
    for vocab in [321, 32_002] {
        let mut logits = numbers(6, 1, vocab);
        (logits[vocab - 1], logits[10], logits[20]) = (30.0, 25.0, 25.0);
        let got = produce(&logits, 20, 8);
        let want = reference::top_logprobs(&logits, 20, 8);
        passes("top_logprobs", "before the faults", &got, check(&got, &want));
        let change = |change: fn(&mut Vec<(u32, f64)>)| {
            let mut wrong = want.clone();
            change(&mut wrong);
            wrong
        };
        let logit_minus_top = want.iter().map(|(id, logprob)| (*id, logprob - want[1].1)).collect();
        for (fault, wrong) in [
            ("last term dropped", reference::top_logprobs(&drop_last_column(&logits, vocab), 20, 8)),
            ("another token chosen", reference::top_logprobs(&logits, 21, 8)),
            ("the chosen one's log-probability is its neighbour's", change(|w| w[0].1 = w[4].1)),
            ("equals in descending order", change(|w| w.swap(2, 3))),
            ("one too few", change(|w| w.truncate(8))),
            ("one too many", reference::top_logprobs(&logits, 20, 9)),
            ("not normalized", logit_minus_top),
        ] {
            rejects("top_logprobs", &format!("({vocab}) {fault}"), &got, check(&got, &wrong));
        }
    }
}
