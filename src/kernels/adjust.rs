//! Bias and bans: the scores that the rest of the sampler works on.

use super::{MAP_WORKGROUP, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};

params! { AdjustParams { n: u32, vocab: u32, pad1: u32, pad2: u32 } }

/// `scores[r, i] = logits[r, i] + bias[i]`, [`BANNED`](crate::sampling::BANNED) where the bias is.
pub const KERNEL: Kernel = Kernel {
    op: "adjust",
    name: "adjust",
    source: concat!(
        include_str!("../../shaders/adjust.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/banned.wgsl")
    ),
    params: AdjustParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: false,
    x: None,
    gain: None,
    uses_subgroups: false,
};

/// Scores (rows, vocab) of the logits (rows, vocab); all rows have the same bias (vocab).
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small.
pub fn record(
    rec: &mut Recorder,
    logits: &Buffer,
    bias: &Buffer,
    scores: &Buffer,
    rows: u32,
    vocab: u32,
) -> Result<(), GpuError> {
    let bytes = u64::from(rows) * u64::from(vocab) * 4;
    need(KERNEL.name, "bytes of logits", logits.all(), bytes)?;
    need(KERNEL.name, "bytes of bias", bias.all(), u64::from(vocab) * 4)?;
    need(KERNEL.name, "bytes of scores", scores.all(), bytes)?;
    // Both are in memory, so there are fewer than 2^32 of them.
    let n = (bytes / 4) as u32;
    let params = AdjustParams { n, vocab, pad1: 0, pad2: 0 };
    let groups = spread(KERNEL.name, n.div_ceil(MAP_WORKGROUP).into())?;
    rec.dispatch(
        &KERNEL,
        Variant::plain(MAP_WORKGROUP),
        &[logits.all(), bias.all(), scores.all()],
        &params,
        groups,
    )
}
