//! Temperature, top-k, top-p, min-p and the draw: one token from the scores.

use super::{argmax, need, params};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};
use crate::kv::RingState;
use crate::sampling::{DRAW_LANES, SamplerOptions};

params! { SampleParams {
    vocab: u32, top_k: u32, top_p: f32, inverse_temperature: f32,
    reach: f32, min_p_reach: f32, seed_low: u32, seed_high: u32,
} }

/// `out[0]` = a drawn id, or [`NO_TOKEN`](crate::sampling::NO_TOKEN).
pub const KERNEL: Kernel = Kernel {
    op: "sample",
    name: "sample",
    source: concat!(
        include_str!("../../shaders/sample.wgsl"),
        include_str!("../../shaders/shared/order.wgsl"),
        include_str!("../../shaders/shared/best.wgsl"),
        include_str!("../../shaders/shared/philox.wgsl"),
        include_str!("../../shaders/shared/ring_state.wgsl")
    ),
    params: SampleParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: true,
    shares_x: false,
    uses_subgroups: false,
};

/// Ids are counted in 32-bit floats, which are exact up to here.
const MOST_IDS: u32 = 1 << 24;

/// Chooses one of `vocab` ids by `scores` (vocab) into `out` (1): a draw, whose counter is the position in `state`
/// ([`RingState`]), or the likeliest where the options are greedy.
///
/// # Errors
/// [`GpuError::Shape`] when there is no id, or more than 2^24, or a buffer is too small.
pub fn record(
    rec: &mut Recorder,
    scores: &Buffer,
    state: &Buffer,
    out: &Buffer,
    vocab: u32,
    options: &SamplerOptions,
) -> Result<(), GpuError> {
    if options.is_greedy() {
        return argmax::record(rec, scores, out, 1, vocab, 0);
    }
    if !(1..=MOST_IDS).contains(&vocab) {
        let (got, need) = (vocab.into(), MOST_IDS.into());
        return Err(GpuError::Shape { kernel: KERNEL.name, what: "vocab", got, need });
    }
    need(KERNEL.name, "bytes of scores", scores.all(), u64::from(vocab) * 4)?;
    need(KERNEL.name, "bytes of state", state.all(), size_of::<RingState>() as u64)?;
    need(KERNEL.name, "bytes of out", out.all(), 4)?;
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
    rec.dispatch(&KERNEL, variant, &[scores.all(), state.all(), out.all()], &params, [1, 1, 1])
}
