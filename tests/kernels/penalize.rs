//! `penalize`: windows of every length over a ring of tokens that has wrapped, exempt ids, and ids beyond the vocabulary.

use killick::gpu::Recorder;
use killick::kernels::emit::LoopState;
use killick::kernels::penalize::{self, Penalize};
use killick::kernels::sample::RowSettings;
use killick::kv::{RingState, TokenSet};
use killick::reference;
use killick::sampling::{BANNED, SamplerOptions};

use crate::support::gpu::{Produced, buffer, gpu, run};
use crate::support::inputs::numbers;
use crate::support::numerics::{compare, passes, rejects};
use crate::support::random::Random;

/// Tokens that the ring holds.
const CAPACITY: usize = 1024;

struct Case {
    scores: Vec<f32>,
    text: Vec<u32>,
    exempt: TokenSet,
    options: SamplerOptions,
    /// What the host takes for the longest window of a row.
    window: u32,
}

impl Case {
    /// A text of `len` tokens, most of them from a few ids so that they repeat, the first and the last of the
    /// vocabulary among them; two of them are exempt.
    fn new(vocab: usize, len: usize, last_n: u32) -> Self {
        let mut random = Random(vocab as u64 + len as u64);
        let id = |i: usize| match (i % 50, random.below(3)) {
            (7, _) => 0,
            (8, _) => vocab as u32 - 1,
            (9, _) => vocab as u32 + 5,
            (10, _) => 2,
            (11, _) => 33,
            (_, 0) => random.below(vocab as u64) as u32,
            _ => random.below(vocab.min(40) as u64) as u32,
        };
        let options = SamplerOptions {
            repetition_penalty: 1.3,
            frequency_penalty: 0.25,
            presence_penalty: 0.5,
            penalty_last_n: last_n,
            ..SamplerOptions::default()
        };
        let exempt = [2, 33].into_iter().collect();
        Self {
            scores: numbers(len as u64, 1, vocab),
            text: (0..len).map(id).collect(),
            exempt,
            options,
            window: last_n,
        }
    }

    fn produce(&self) -> Produced {
        let mut recent = vec![u32::MAX; CAPACITY];
        self.text.iter().enumerate().for_each(|(pos, id)| recent[pos % CAPACITY] = *id);
        let state = RingState { pos: self.text.len() as u32, ..RingState::default() };
        let vocab = self.scores.len() as u32;
        let (state, recent) = (buffer("state", &[state]), buffer("recent", &recent));
        let exempt_bits = buffer("exempt bits", &self.exempt.bitset_words(vocab));
        let scores = buffer("scores", &self.scores);
        let loop_state = buffer("loop state", &[LoopState::default()]);
        let settings = buffer("settings", &[RowSettings::of(&self.options, vocab)]);
        let io = Penalize {
            state: &state,
            recent: &recent,
            exempt_bits: &exempt_bits,
            loop_state: &loop_state,
            settings: &settings,
            scores: &scores,
        };
        run(&scores, |rec| penalize::record(rec, io, 1, CAPACITY as u32, vocab, self.window))
    }

    fn window(&self) -> &[u32] {
        &self.text[self.text.len().saturating_sub(self.options.penalty_last_n as usize)..]
    }

    fn want(&self, window: &[u32], exempt: &TokenSet, options: &SamplerOptions) -> Vec<f64> {
        let mut scores = self.scores.clone();
        reference::penalize(&mut scores, window, exempt, options);
        scores.into_iter().map(f64::from).collect()
    }

    fn check(&self, case: &str) {
        let got = self.produce();
        let want = self.want(self.window(), &self.exempt, &self.options);
        passes("penalize", case, &got, compare("penalize", &got, &want));
    }
}

#[test]
fn matches_the_reference() {
    for vocab in [321, 32_002, 49_152, 128_256] {
        for (len, last_n) in
            [(0, 64), (1, 64), (63, 64), (200, 64), (200, 65), (5000, 64), (5000, 1024), (2500, 1)]
        {
            Case::new(vocab, len, last_n).check(&format!("({vocab}) last {last_n} of {len}"));
        }
    }
}

#[test]
fn a_penalty_that_is_off_changes_nothing() {
    let mut case = Case::new(321, 500, 64);
    case.options = SamplerOptions::default();
    let got = case.produce();
    passes("penalize", "off", &got, compare("penalize", &got, &case.want(&[], &case.exempt, &case.options)));
    for (repetition, frequency, presence) in
        [(1.3, 0.0, 0.0), (1.0, -0.5, 0.0), (1.0, 0.0, 1.5), (0.5, 0.0, 0.0)]
    {
        case.options.repetition_penalty = repetition;
        (case.options.frequency_penalty, case.options.presence_penalty) = (frequency, presence);
        case.check(&format!("repetition {repetition}, frequency {frequency}, presence {presence}"));
    }
}

/// A step over several rows is made for the longest window among them.
#[test]
fn a_window_shorter_than_the_longest_of_the_step_is_no_other() {
    for (len, last_n) in [(5000, 64), (200, 1), (63, 64), (5000, 0)] {
        let mut case = Case::new(321, len, last_n);
        case.window = 1024;
        case.check(&format!("last {last_n} of {len}, 1024 at most"));
    }
}

#[test]
fn banned_tokens_stay_banned() {
    let mut case = Case::new(321, 500, 1024);
    case.scores.fill(BANNED);
    assert_eq!(case.produce().floats(321), case.scores);
}

#[test]
fn a_window_longer_than_the_ring_is_refused() {
    let case = Case::new(321, 10, 1024);
    let words = buffer("any", &[0_u32; 2048]);
    let io = Penalize {
        state: &words,
        recent: &words,
        exempt_bits: &words,
        loop_state: &words,
        settings: &words,
        scores: &words,
    };
    let mut rec = Recorder::new(gpu().capabilities());
    let error = penalize::record(&mut rec, io, 1, 1023, 321, case.window).unwrap_err().to_string();
    assert!(error.contains("capacity of recent"), "{error}");
}

#[test]
fn the_check_rejects_faults() {
    let case = Case::new(321, 1500, 64);
    let got = case.produce();
    let (text, window, options) = (&case.text, case.window(), &case.options);
    let none = TokenSet::default();
    let with = |change: fn(&mut SamplerOptions)| {
        let mut options = options.clone();
        change(&mut options);
        case.want(window, &case.exempt, &options)
    };
    let mut once = window.to_vec();
    once.sort_unstable();
    once.dedup();
    for (fault, wrong) in [
        ("the oldest token dropped", case.want(&window[1..], &case.exempt, options)),
        ("the newest token dropped", case.want(&window[..63], &case.exempt, options)),
        ("one token too many", case.want(&text[text.len() - 65..], &case.exempt, options)),
        ("a stale part of the ring", case.want(&text[300..364], &case.exempt, options)),
        ("exempt ids penalized", case.want(window, &none, options)),
        ("every occurrence counted once", case.want(&once, &case.exempt, options)),
        ("no repetition penalty", with(|o| o.repetition_penalty = 1.0)),
        ("the reciprocal taken twice", with(|o| o.repetition_penalty = 1.0 / 1.3)),
        ("no frequency penalty", with(|o| o.frequency_penalty = 0.0)),
        ("no presence penalty", with(|o| o.presence_penalty = 0.0)),
    ] {
        rejects("penalize", fault, &got, compare("penalize", &got, &wrong));
    }
}
