//! Root-mean-square normalization of each head of queries and keys.

use super::choose;
use super::implementation::Layout;
use super::{multiple_of_4, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel};
use crate::gpu::{Buffer, GpuError, Recorder};
use crate::model_file::Heads;

params! {
    QkNormParams {
        rows: u32, n_heads: u32, n_kv_heads: u32, dim4: u32, eps: f32, pad0: u32, pad1: u32, pad2: u32,
    }
}

/// Normalizes the heads of queries and keys where they lie; values stay as they are.
pub const KERNEL: Kernel = Kernel {
    op: "qk_norm",
    name: "qk_norm",
    source: concat!(
        include_str!("../../shaders/qk_norm.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: QkNormParams::LAYOUT,
    bindings: &[Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: true,
    shares: None,
    gain: None,
    uses_subgroups: true,
};

/// Normalizes `rows` rows of `qkv` (rows, qkv_dim) in place with `gains` (2, head_dim): queries, keys.
///
/// # Errors
/// [`GpuError::Shape`] when `head_dim` is not a multiple of 4 or a buffer is too small.
pub fn record(
    rec: &mut Recorder,
    gains: &Buffer,
    qkv: &Buffer,
    rows: u32,
    heads: Heads,
    eps: f32,
) -> Result<(), GpuError> {
    let dim4 = multiple_of_4(KERNEL.name, "head_dim", heads.head_dim)?;
    need(KERNEL.name, "bytes of gains", gains.all(), u64::from(heads.head_dim) * 8)?;
    need(KERNEL.name, "bytes of qkv", qkv.all(), u64::from(rows) * u64::from(heads.qkv_dim()) * 4)?;
    let Heads { n_heads, n_kv_heads, .. } = heads;
    let params = QkNormParams { rows, n_heads, n_kv_heads, dim4, eps, pad0: 0, pad1: 0, pad2: 0 };
    let groups = spread(KERNEL.name, u64::from(rows) * u64::from(n_heads + n_kv_heads))?;
    let variant = choose::choose(KERNEL.op, Layout::Plain, rec.device())?.variant(rec.device());
    rec.dispatch(&KERNEL, variant, &[gains.all(), qkv.all()], &params, groups)
}
