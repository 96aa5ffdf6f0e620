//! Kernels that come after the logits: the likelihood of a given token, and the draw of the next.

use super::Built;
use super::memory::{inputs, numbers, output};
use crate::bench::BenchError;
use crate::bench::agree::Expected;
use crate::gpu::Gpu;
use crate::kernels::emit::LoopState;
use crate::kernels::nll::{self, Nll};
use crate::kernels::sample::{self, RowSettings, Sample};
use crate::kv::RingState;
use crate::reference::{self, Matrix};
use crate::sampling::SamplerOptions;

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
