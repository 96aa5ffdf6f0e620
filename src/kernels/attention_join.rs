//! One result of the shares that attention has split the keys of its rows into.

use super::choose;
use super::implementation::Layout;
use super::{attention, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel};
use crate::gpu::{Buffer, GpuError, Recorder};
use crate::model_file::Heads;

params! {
    AttentionJoinParams { rows: u32, n_heads: u32, head_dim: u32, splits: u32 }
}

/// `out[r, h, :] = sum_s w_s values_s / sum_s w_s total_s` over the shares, `w_s = exp(top_s - max_s top_s)`.
pub const KERNEL: Kernel = Kernel {
    op: "attention_join",
    name: "attention_join",
    source: concat!(
        include_str!("../../shaders/attention_join.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: AttentionJoinParams::LAYOUT,
    bindings: &[Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: false,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Joins `parts` (n, n_heads, splits, head_dim + 2), of which the last two columns are the largest score of a share and its sum of weights,
/// into `out` (n, q_dim). A share without a key has a sum of 0 and values of 0; one of each row has to have some.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small, or without a share.
pub fn record(
    rec: &mut Recorder,
    parts: &Buffer,
    out: &Buffer,
    n: u32,
    heads: Heads,
    splits: u32,
) -> Result<(), GpuError> {
    if splits == 0 {
        return Err(GpuError::Shape { kernel: KERNEL.name, what: "splits", got: 0, need: 1 });
    }
    need(KERNEL.name, "bytes of parts", parts.all(), attention::parts_bytes(n, heads, splits))?;
    need(KERNEL.name, "bytes of out", out.all(), u64::from(n) * u64::from(heads.q_dim()) * 4)?;
    let Heads { n_heads, head_dim, .. } = heads;
    let params = AttentionJoinParams { rows: n, n_heads, head_dim, splits };
    let groups = spread(KERNEL.name, u64::from(n) * u64::from(n_heads))?;
    let variant = choose::choose(KERNEL.op, Layout::Plain, rec.device())?.variant(rec.device());
    rec.dispatch(&KERNEL, variant, &[parts.all(), out.all()], &params, groups)
}
