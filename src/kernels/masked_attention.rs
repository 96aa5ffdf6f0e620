//! The visibility rule by brute force, for `--path masked`.

use super::attention::{TILE, check_heads};
use super::{need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};
use crate::kv::{Policy, Tag};
use crate::model_file::{Heads, Scoring};

params! {
    MaskedAttentionParams {
        n: u32, n_heads: u32, n_kv_heads: u32, head_dim: u32,
        scale: f32, seg_rule: u32, window: u32, sinks: u32,
        isolated: u32, max_anchors: u32, max_distance: u32, layer_window: u32,
        cap: f32, pad0: u32, pad1: u32, pad2: u32,
    }
}

/// Attention where each query tests the rule on every earlier token.
pub const KERNEL: Kernel = Kernel {
    op: "masked_attention",
    name: "masked_attention",
    source: concat!(
        include_str!("../../shaders/masked_attention.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/online_softmax.wgsl"),
        include_str!("../../shaders/shared/capped.wgsl")
    ),
    params: MaskedAttentionParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::Read, Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: false,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Buffers of one [`record`] call.
#[derive(Clone, Copy, Debug)]
pub struct MaskedAttention<'a> {
    /// [`Tag`]s (n).
    pub tags: &'a Buffer,
    /// Rotated queries (n, 2, q_dim).
    pub q: &'a Buffer,
    /// Keys (n, kv_dim).
    pub k: &'a Buffer,
    /// Values (n, kv_dim).
    pub v: &'a Buffer,
    /// Result (n, q_dim).
    pub out: &'a Buffer,
}

/// Attends all `n` tokens of a text under `policy`.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small or the head is too wide.
pub fn record(
    rec: &mut Recorder,
    io: MaskedAttention<'_>,
    n: u32,
    (heads, scoring): (Heads, Scoring),
    policy: &Policy,
) -> Result<(), GpuError> {
    let rows = u64::from(n);
    check_heads(KERNEL.name, heads)?;
    need(KERNEL.name, "bytes of tags", io.tags.all(), rows * size_of::<Tag>() as u64)?;
    need(KERNEL.name, "bytes of q", io.q.all(), rows * u64::from(heads.q_dim()) * 8)?;
    need(KERNEL.name, "bytes of k", io.k.all(), rows * u64::from(heads.kv_dim()) * 4)?;
    need(KERNEL.name, "bytes of v", io.v.all(), rows * u64::from(heads.kv_dim()) * 4)?;
    need(KERNEL.name, "bytes of out", io.out.all(), rows * u64::from(heads.q_dim()) * 4)?;
    let params = MaskedAttentionParams {
        n,
        n_heads: heads.n_heads,
        n_kv_heads: heads.n_kv_heads,
        head_dim: heads.head_dim,
        scale: scoring.scale,
        seg_rule: policy.seg_rule.into(),
        window: policy.window,
        sinks: policy.sinks,
        isolated: policy.isolated.into(),
        max_anchors: policy.max_anchors,
        max_distance: policy.max_distance,
        layer_window: policy.layer_window.filter(|_| scoring.near).unwrap_or(u32::MAX),
        cap: scoring.cap,
        pad0: 0,
        pad1: 0,
        pad2: 0,
    };
    let bindings = [io.tags.all(), io.q.all(), io.k.all(), io.v.all(), io.out.all()];
    let groups = spread(KERNEL.name, rows * u64::from(heads.n_heads))?;
    rec.dispatch(&KERNEL, Variant::plain(TILE), &bindings, &params, groups)
}
