//! Kernels that come after the logits: the likelihood of a given token, the draw of the next, and what goes before and beside it.

use super::Built;
use super::memory::{inputs, numbers, output};
use crate::bench::BenchError;
use crate::bench::agree::Expected;
use crate::gpu::Gpu;
use crate::kernels::adjust::{self, Adjust};
use crate::kernels::emit::LoopState;
use crate::kernels::nll::{self, Nll};
use crate::kernels::penalize::{self, Penalize};
use crate::kernels::sample::{self, RowSettings, Sample};
use crate::kernels::top_logprobs::{self, ENTRY_WORDS, TopLogprobs};
use crate::kv::{RingState, TokenSet};
use crate::reference::{self, Matrix};
use crate::sampling::{MAX_LOGPROBS, SamplerOptions};

const FLOAT: u64 = 4;
/// Scores are this much wider than numbers, so that a draw has likely and unlikely ids.
const WIDTH: f32 = 8.0;
/// Positions that are looked at for one whose draw no rounding decides.
const POSITIONS: u32 = 64;

/// `nll`: `rows` rows of logits over a vocabulary of `vocab`.
pub(super) async fn likelihood(gpu: &Gpu, rows: u32, vocab: u32) -> Result<Built, BenchError> {
    let n = u64::from(rows) * u64::from(vocab);
    let values: Vec<f32> = numbers(1, n).iter().map(|value| WIDTH * value).collect();
    let asked: Vec<u32> = (0..rows).map(|row| (row * 7919) % vocab).collect();
    let want = reference::nll(Matrix::new(&values, rows as usize, vocab as usize), &asked);
    let (logits, targets) = (inputs(gpu, "logits", &values).await?, inputs(gpu, "targets", &asked).await?);
    let out = output(gpu, "out", rows.into()).await?;
    Ok(Built {
        outputs: vec![(out.clone(), Expected::all(want))],
        record: Box::new(move |rec, _| {
            nll::record(rec, Nll { logits: &logits, targets: &targets, out: &out }, rows, vocab, 0)
        }),
        bytes: n * FLOAT,
        flops: 2 * n,
        ..Built::nothing()
    })
}

/// `sample`: one draw out of `vocab` scores with the settings that chats use. The position, which counts the draws, is one at which the
/// twin is sure of the id.
pub(super) async fn drawn(gpu: &Gpu, vocab: u32) -> Result<Built, BenchError> {
    let options = SamplerOptions { temperature: 0.7, top_k: 40, top_p: 0.95, ..SamplerOptions::default() };
    let values: Vec<f32> = numbers(1, vocab.into()).iter().map(|value| WIDTH * value).collect();
    let draws = (0..POSITIONS).map(|pos| (pos, reference::sample(&values, &options, pos)));
    let Some((pos, want)) = draws.max_by(|(_, a), (_, b)| a.margin.total_cmp(&b.margin)) else {
        unreachable!("there are positions")
    };
    let scores = inputs(gpu, "scores", &values).await?;
    let state = inputs(gpu, "state", &[RingState { pos, ..RingState::default() }]).await?;
    let loop_state = inputs(gpu, "loop state", &[LoopState::default()]).await?;
    let settings = inputs(gpu, "settings", &[RowSettings::of(&options, vocab)]).await?;
    let out = output(gpu, "out", 1).await?;
    let written = out.clone();
    Ok(Built {
        outputs: vec![(written, Expected::Words(vec![want.id]))],
        record: Box::new(move |rec, _| {
            let (scores, state, loop_state, settings) = (&scores, &state, &loop_state, &settings);
            sample::record(rec, Sample { scores, state, loop_state, settings, out: &out }, 1, vocab)
        }),
        bytes: u64::from(vocab) * FLOAT,
        ..Built::nothing()
    })
}

/// `adjust`: a bias on every third of `vocab` ids, one banned.
pub(super) async fn adjusted(gpu: &Gpu, vocab: u32) -> Result<Built, BenchError> {
    let n = u64::from(vocab);
    let (values, biases) = (numbers(1, n), numbers(2, n));
    let logit_bias = (0..vocab).zip(&biases).step_by(3).map(|(id, bias)| (id, *bias)).collect();
    let options = SamplerOptions { banned: vec![vocab / 2], logit_bias, ..SamplerOptions::default() };
    let biases = options.bias_vector(vocab);
    let want = reference::adjust(&values, &biases).iter().map(|score| score.to_bits()).collect();
    let (logits, bias) = (inputs(gpu, "logits", &values).await?, inputs(gpu, "bias", &biases).await?);
    let settings = inputs(gpu, "settings", &[RowSettings::of(&options, vocab)]).await?;
    let scores = output(gpu, "scores", n).await?;
    Ok(Built {
        outputs: vec![(scores.clone(), Expected::Words(want))],
        record: Box::new(move |rec, _| {
            let (logits, bias, settings, scores) = (&logits, &bias, &settings, &scores);
            adjust::record(rec, Adjust { logits, bias, settings, scores }, 1, vocab)
        }),
        bytes: 3 * n * FLOAT,
        flops: n,
        ..Built::nothing()
    })
}

/// `penalize`: all penalties over the tokens that they usually look back at, most of which repeat.
pub(super) async fn penalized(gpu: &Gpu, vocab: u32) -> Result<Built, BenchError> {
    const CAPACITY: u32 = 1024;
    let options = SamplerOptions {
        repetition_penalty: 1.1,
        frequency_penalty: 0.25,
        presence_penalty: 0.5,
        ..SamplerOptions::default()
    };
    let last = options.penalty_last_n;
    let window: Vec<u32> = (0..last).map(|i| (i * i * 7) % vocab.min(40)).collect();
    let mut recent = vec![u32::MAX; CAPACITY as usize];
    recent[..window.len()].copy_from_slice(&window);
    let mut want = numbers(1, vocab.into());
    let scores = inputs(gpu, "scores", &want).await?;
    reference::penalize(&mut want, &window, &TokenSet::default(), &options);
    let state = inputs(gpu, "state", &[RingState { pos: last, ..RingState::default() }]).await?;
    let exempt = TokenSet::default().bitset_words(vocab);
    let (recent, exempt_bits) =
        (inputs(gpu, "recent", &recent).await?, inputs(gpu, "exempt", &exempt).await?);
    let loop_state = inputs(gpu, "loop state", &[LoopState::default()]).await?;
    let settings = inputs(gpu, "settings", &[RowSettings::of(&options, vocab)]).await?;
    Ok(Built {
        outputs: vec![(scores.clone(), Expected::all(want.iter().map(|score| f64::from(*score)).collect()))],
        record: Box::new(move |rec, _| {
            let (state, recent, exempt_bits) = (&state, &recent, &exempt_bits);
            let (loop_state, settings, scores) = (&loop_state, &settings, &scores);
            let io = Penalize { state, recent, exempt_bits, loop_state, settings, scores };
            penalize::record(rec, io, 1, CAPACITY, vocab, last)
        }),
        bytes: u64::from(last) * 3 * FLOAT,
        ..Built::nothing()
    })
}

/// `top_logprobs`: as many of the likeliest of `vocab` tokens as can be listed.
pub(super) async fn listed(gpu: &Gpu, vocab: u32) -> Result<Built, BenchError> {
    let values: Vec<f32> = numbers(1, vocab.into()).iter().map(|value| WIDTH * value).collect();
    let n = MAX_LOGPROBS.min(vocab);
    let want = reference::top_logprobs(&values, vocab / 2, n as usize);
    let logits = inputs(gpu, "logits", &values).await?;
    let (chosen, loop_state) = (
        inputs(gpu, "chosen", &[vocab / 2]).await?,
        inputs(gpu, "loop state", &[LoopState::default()]).await?,
    );
    let settings = inputs(gpu, "settings", &[RowSettings { logprobs: n, ..RowSettings::default() }]).await?;
    let out = output(gpu, "out", ENTRY_WORDS.into()).await?;
    // Of each pair the log-probability; which ids they are is in it, as no two are alike.
    let wanted = want.iter().enumerate().map(|(i, (_, logprob))| (2 * i + 1, *logprob)).collect();
    Ok(Built {
        outputs: vec![(out.clone(), Expected::Numbers(wanted))],
        record: Box::new(move |rec, _| {
            let (logits, chosen, loop_state, settings, out) =
                (&logits, &chosen, &loop_state, &settings, &out);
            top_logprobs::record(rec, TopLogprobs { logits, chosen, loop_state, settings, out }, 1, vocab, 1)
        }),
        bytes: u64::from(vocab) * FLOAT,
        flops: 2 * u64::from(vocab),
        ..Built::nothing()
    })
}
