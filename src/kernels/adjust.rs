//! Bias and bans: the scores that the rest of the sampler works on.

use super::{MAP_WORKGROUP, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};

params! { AdjustParams { n: u32, pad0: u32, pad1: u32, pad2: u32 } }

/// `scores[i] = logits[i] + bias[i]`, [`BANNED`](crate::sampling::BANNED) where the bias is.
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
    shares_x: false,
    uses_subgroups: false,
};

/// Scores of `n` logits.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small.
pub fn record(
    rec: &mut Recorder,
    logits: &Buffer,
    bias: &Buffer,
    scores: &Buffer,
    n: u32,
) -> Result<(), GpuError> {
    for (what, buffer) in [("bytes of logits", logits), ("bytes of bias", bias), ("bytes of scores", scores)]
    {
        need(KERNEL.name, what, buffer.all(), u64::from(n) * 4)?;
    }
    let params = AdjustParams { n, pad0: 0, pad1: 0, pad2: 0 };
    let groups = spread(KERNEL.name, n.div_ceil(MAP_WORKGROUP).into())?;
    rec.dispatch(
        &KERNEL,
        Variant::plain(MAP_WORKGROUP),
        &[logits.all(), bias.all(), scores.all()],
        &params,
        groups,
    )
}
