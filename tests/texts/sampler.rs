//! The sampler chain over several texts of one pool: `adjust`, `penalize`, `sample`, `argmax` and `top_logprobs` by row.

use killick::gpu::Recorder;
use killick::kernels::adjust;
use killick::kernels::emit::LoopState;
use killick::kernels::penalize::{self, Penalize};
use killick::kernels::sample::{self, Sample};
use killick::kernels::top_logprobs::{self, ENTRY_WORDS, TopLogprobs};
use killick::kv::{RingState, TokenSet};
use killick::reference;
use killick::sampling::{Sampler, SamplerOptions};

use crate::support::gpu::{Produced, buffer, output, try_run};
use crate::support::inputs::numbers;
use crate::support::numerics::{bound, compare, passes, rejects};

const VOCAB: u32 = 321;
/// Places for recent tokens of a text.
const CAPACITY: u32 = 64;
/// Places of the pool, and the texts that the rows are of.
const PLACES: u32 = 6;
const ROWS: [u32; 4] = [3, 0, 5, 2];

fn options(temperature: f32) -> SamplerOptions {
    SamplerOptions {
        temperature,
        repetition_penalty: 1.2,
        frequency_penalty: 0.3,
        presence_penalty: -2.0, // below zero, so that recent ids are drawn often
        penalty_last_n: 40,
        logit_bias: vec![(7, 3.0), (100, -2.0)],
        seed: 99,
        ..SamplerOptions::default()
    }
}

/// The text at a place: each has its own length and tokens.
fn text(place: u32) -> Vec<u32> {
    (0..10 + 13 * place).map(|pos| (pos * pos + 7 * place) % 45).collect()
}

/// Ids drawn and log-probabilities of each row, and the scores after penalties.
fn produce(rows: &[u32], logits: &[f32], options: &SamplerOptions, anchors: &TokenSet) -> Vec<Produced> {
    let n = rows.len() as u32;
    let states: Vec<_> = (0..PLACES)
        .map(|place| RingState { pos: text(place).len() as u32, ..RingState::default() })
        .collect();
    let mut recent = vec![0; (PLACES * CAPACITY) as usize];
    for place in 0..PLACES {
        for (pos, id) in (0..).zip(text(place)) {
            recent[(place * CAPACITY + pos % CAPACITY) as usize] = id;
        }
    }
    let loops: Vec<_> = (0..)
        .zip(rows)
        .map(|(r, text)| LoopState { text: *text, emitted: r, ..LoopState::default() })
        .collect();
    let words = anchors.bitset_words(VOCAB).into_iter().flat_map(|word| [word, 0]);
    let anchor_bits = buffer("anchor bits", &words.collect::<Vec<u32>>());
    let (logits, bias) = (buffer("logits", logits), buffer("bias", &options.bias_vector(VOCAB)));
    let (state, recent, loop_state) =
        (buffer("state", &states), buffer("recent", &recent), buffer("loop state", &loops));
    let (scores, out) = (output("scores", (n * VOCAB) as usize), output("out", rows.len()));
    let entries = output("log-probabilities", (n * 3 * ENTRY_WORDS) as usize);
    let record = |rec: &mut Recorder| {
        adjust::record(rec, &logits, &bias, &scores, n, VOCAB)?;
        let (state, recent, anchor_bits) = (&state, &recent, &anchor_bits);
        let io = Penalize { state, recent, anchor_bits, loop_state: &loop_state, scores: &scores };
        penalize::record(rec, io, n, CAPACITY, VOCAB, options)?;
        let io = Sample { scores: &scores, state, loop_state: &loop_state, out: &out };
        sample::record(rec, io, n, VOCAB, options)?;
        let io = TopLogprobs { logits: &logits, chosen: &out, loop_state: &loop_state, out: &entries };
        top_logprobs::record(rec, io, n, VOCAB, 5, 3)
    };
    try_run(&[&out, &scores, &entries], record).unwrap()
}

/// Of one row: the id that its text draws, the scores it is drawn by, and the log-probabilities.
fn want(place: u32, logits: &[f32], sampler: &Sampler, options: &SamplerOptions, anchors: &TokenSet) -> Row {
    let text = text(place);
    let drawn = sampler.sample(logits, &text, text.len() as u32);
    let mut scores = reference::adjust(logits, &options.bias_vector(VOCAB));
    reference::penalize(&mut scores, &text[text.len().saturating_sub(40)..], anchors, options);
    Row { id: drawn.id, margin: drawn.margin, scores }
}

struct Row {
    id: u32,
    margin: f64,
    scores: Vec<f32>,
}

#[test]
fn each_row_is_drawn_by_its_own_text() {
    let anchors: TokenSet = [3, 40].into_iter().collect();
    for temperature in [0.0, 0.7] {
        let options = options(temperature);
        let sampler = Sampler::new(options.clone(), VOCAB, &anchors).unwrap();
        let logits = numbers(11, ROWS.len(), VOCAB as usize);
        let got = produce(&ROWS, &logits, &options, &anchors);
        let by_row = || ROWS.into_iter().zip(logits.chunks(VOCAB as usize));
        let of = |(place, logits): (u32, &[f32])| want(place, logits, &sampler, &options, &anchors);
        let rows: Vec<Row> = by_row().map(of).collect();
        for (got, want) in got[0].words.iter().zip(&rows) {
            assert!(want.margin <= bound("margin of a draw") || *got == want.id, "{got} and not {}", want.id);
        }
        let scores: Vec<f64> = rows.iter().flat_map(|row| &row.scores).copied().map(f64::from).collect();
        passes("penalize", "rows of several texts", &got[1], compare("penalize", &got[1], &scores));
        check_logprobs(&got, &logits);

        // The texts of two rows, swapped, must show.
        let swapped = [ROWS[0], ROWS[2], ROWS[1], ROWS[3]];
        let got = produce(&swapped, &logits, &options, &anchors);
        rejects("penalize", "two texts swapped", &got[1], compare("penalize", &got[1], &scores));
    }
}

/// The entry of row r is number r mod 3 of its three, because its loop has handed out r tokens.
fn check_logprobs(got: &[Produced], logits: &[f32]) {
    let mut expected = vec![f64::NAN; ROWS.len() * 3 * ENTRY_WORDS as usize];
    for ((r, id), logits) in (0..).zip(&got[0].words[..ROWS.len()]).zip(logits.chunks(VOCAB as usize)) {
        let first = ((r * 3 + r % 3) * ENTRY_WORDS) as usize;
        for (i, (want, logprob)) in reference::top_logprobs(logits, *id, 5).into_iter().enumerate() {
            let at = first + 2 * i;
            assert_eq!(got[2].words[at], want, "row {r}");
            (expected[at], expected[at + 1]) = (f64::from(f32::from_bits(want)), logprob);
        }
    }
    passes("top_logprobs", "rows of several texts", &got[2], compare("top_logprobs", &got[2], &expected));
}
