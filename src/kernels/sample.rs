//! Temperature, top-k, top-p, min-p and the draw: one token from the scores.

use super::emit::LoopState;
use super::{argmax, need, params, per_row};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};
use crate::kv::RingState;
use crate::sampling::{DRAW_LANES, SamplerOptions};

params! { SampleParams {
    vocab: u32, top_k: u32, top_p: f32, inverse_temperature: f32,
    reach: f32, min_p_reach: f32, seed_low: u32, seed_high: u32,
} }

/// `out[r]` = an id drawn by the scores of row r, or [`NO_TOKEN`](crate::sampling::NO_TOKEN).
pub const KERNEL: Kernel = Kernel {
    op: "sample",
    name: "sample",
    source: concat!(
        include_str!("../../shaders/sample.wgsl"),
        include_str!("../../shaders/shared/order.wgsl"),
        include_str!("../../shaders/shared/best.wgsl"),
        include_str!("../../shaders/shared/philox.wgsl"),
        include_str!("../../shaders/shared/ring_state.wgsl"),
        include_str!("../../shaders/shared/loop_state.wgsl")
    ),
    params: SampleParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: true,
    x: None,
    gain: None,
    uses_subgroups: false,
};

/// Ids are counted in 32-bit floats, which are exact up to here.
const MOST_IDS: u32 = 1 << 24;

/// Buffers of one [`record`] call.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Scores (rows, vocab).
    pub scores: &'a Buffer,
    /// [`RingState`] (texts); the position is the counter of the draw.
    pub state: &'a Buffer,
    /// [`LoopState`] (rows), which names the text of each row.
    pub loop_state: &'a Buffer,
    /// Ids chosen (rows).
    pub out: &'a Buffer,
}

/// Chooses one of `vocab` ids for each of `rows` rows: a draw, or the likeliest where the options are greedy.
///
/// # Errors
/// [`GpuError::Shape`] when there is no id, or more than 2^24, or a buffer is too small.
pub fn record(
    rec: &mut Recorder,
    io: Sample<'_>,
    rows: u32,
    vocab: u32,
    options: &SamplerOptions,
) -> Result<(), GpuError> {
    if options.is_greedy() {
        return argmax::record(rec, io.scores, io.out, rows, vocab, 0);
    }
    if !(1..=MOST_IDS).contains(&vocab) {
        let (got, need) = (vocab.into(), MOST_IDS.into());
        return Err(GpuError::Shape { kernel: KERNEL.name, what: "vocab", got, need });
    }
    let n = u64::from(rows);
    need(KERNEL.name, "bytes of scores", io.scores.all(), n * u64::from(vocab) * 4)?;
    need(KERNEL.name, "bytes of state", io.state.all(), size_of::<RingState>() as u64)?;
    need(KERNEL.name, "bytes of loop_state", io.loop_state.all(), n * size_of::<LoopState>() as u64)?;
    need(KERNEL.name, "bytes of out", io.out.all(), n * 4)?;
    let params = SampleParams {
        vocab,
        top_k: if options.top_k < vocab { options.top_k } else { 0 },
        top_p: options.top_p,
        inverse_temperature: options.inverse_temperature(),
        reach: options.reach(),
        min_p_reach: options.min_p_reach(),
        seed_low: options.seed as u32,
        seed_high: (options.seed >> 32) as u32,
    };
    // The order of the walk is part of the result, so the lanes are as many on every device. Without subgroups: where
    // they are narrow, the sum over so many of them takes longer than the tree.
    let variant = Variant::plain(DRAW_LANES);
    let bindings = [io.scores.all(), io.state.all(), io.loop_state.all(), io.out.all()];
    rec.dispatch(&KERNEL, variant, &bindings, &params, per_row(KERNEL.name, rows)?)
}
