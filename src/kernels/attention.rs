//! Attention over pinned slots, anchor ring and live ring, for one token or a prompt chunk.

use super::rope::Heads;
use super::{need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};
use crate::kv::{Chunk, RingLayout, Row};

params! {
    AttentionParams {
        rows: u32, n_heads: u32, n_kv_heads: u32, head_dim: u32,
        scale: f32, sinks: u32, anchor_capacity: u32, live_capacity: u32,
        chunk_start: u32, chunk_anchors_before: u32, pad0: u32, pad1: u32,
    }
}

/// `out[r, h, :] = sum_j softmax_j(q . k[j] * scale) v[j]` over the keys row r sees.
pub const KERNEL: Kernel = Kernel {
    name: "attention",
    source: concat!(
        include_str!("../../shaders/attention.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/row.wgsl"),
        include_str!("../../shaders/shared/online_softmax.wgsl")
    ),
    params: AttentionParams::LAYOUT,
    bindings: &[
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::ReadWrite,
    ],
    uses_weight: false,
    uses_reduce: false,
    uses_subgroups: false,
    workgroups: &[TILE],
};

/// Keys scored at a time; a lane also owns every such column of a head.
pub(super) const TILE: u32 = 64;
/// Widest head: each lane holds four columns.
pub const MAX_HEAD_DIM: u32 = 4 * TILE;
/// Beyond every position and anchor number: everything is in the cache.
const NOT_A_CHUNK: u32 = u32::MAX;

/// Buffers of one [`record`] call.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// [`Row`]s (rows).
    pub rows: &'a Buffer,
    /// Rotated queries (rows, 2, q_dim).
    pub q: &'a Buffer,
    /// Keys of a layer (slots, kv_dim).
    pub k_cache: &'a Buffer,
    /// Values of a layer (slots, kv_dim).
    pub v_cache: &'a Buffer,
    /// Keys of the chunk (rows, kv_dim); not read without a chunk.
    pub k_chunk: &'a Buffer,
    /// Values of the chunk (rows, kv_dim); not read without a chunk.
    pub v_chunk: &'a Buffer,
    /// Chunk rows of the chunk's anchors; not read without a chunk.
    pub chunk_anchors: &'a Buffer,
    /// Result (rows, q_dim).
    pub out: &'a Buffer,
}

/// Attends `n` rows. With `chunk`, the rows' own keys lie in the scratch buffers; without, all are in the cache.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small or the head is too wide.
pub fn record(
    rec: &mut Recorder<'_>,
    io: Attention<'_>,
    n: u32,
    heads: Heads,
    layout: &RingLayout,
    chunk: Option<&Chunk>,
) -> Result<(), GpuError> {
    let rows = u64::from(n);
    check_heads(KERNEL.name, heads)?;
    need(KERNEL.name, "bytes of rows", io.rows.all(), rows * size_of::<Row>() as u64)?;
    need(KERNEL.name, "bytes of q", io.q.all(), rows * u64::from(heads.q_dim()) * 8)?;
    need(KERNEL.name, "bytes of out", io.out.all(), rows * u64::from(heads.q_dim()) * 4)?;
    let cache_bytes = u64::from(layout.slots()) * u64::from(heads.kv_dim()) * 4;
    need(KERNEL.name, "bytes of k_cache", io.k_cache.all(), cache_bytes)?;
    need(KERNEL.name, "bytes of v_cache", io.v_cache.all(), cache_bytes)?;
    if let Some(chunk) = chunk {
        let chunk_bytes = rows * u64::from(heads.kv_dim()) * 4;
        need(KERNEL.name, "bytes of k_chunk", io.k_chunk.all(), chunk_bytes)?;
        need(KERNEL.name, "bytes of v_chunk", io.v_chunk.all(), chunk_bytes)?;
        need(KERNEL.name, "bytes of chunk_anchors", io.chunk_anchors.all(), u64::from(chunk.anchors) * 4)?;
    }
    let params = AttentionParams {
        rows: n,
        n_heads: heads.n_heads,
        n_kv_heads: heads.n_kv_heads,
        head_dim: heads.head_dim,
        scale: scale(heads),
        sinks: layout.sinks,
        anchor_capacity: layout.anchor_cap,
        live_capacity: layout.live_cap,
        chunk_start: chunk.map_or(NOT_A_CHUNK, |chunk| chunk.start),
        chunk_anchors_before: chunk.map_or(NOT_A_CHUNK, |chunk| chunk.anchors_before),
        pad0: 0,
        pad1: 0,
    };
    let bindings = [
        io.rows.all(),
        io.q.all(),
        io.k_cache.all(),
        io.v_cache.all(),
        io.k_chunk.all(),
        io.v_chunk.all(),
        io.chunk_anchors.all(),
        io.out.all(),
    ];
    let groups = spread(KERNEL.name, rows * u64::from(heads.n_heads))?;
    rec.dispatch(&KERNEL, Variant::plain(TILE), &bindings, &params, groups)
}

/// 1 / sqrt(head_dim), rounded once.
pub(super) fn scale(heads: Heads) -> f32 {
    (1.0 / f64::from(heads.head_dim).sqrt()) as f32
}

pub(super) fn check_heads(kernel: &'static str, heads: Heads) -> Result<(), GpuError> {
    super::multiple_of_4(kernel, "head_dim", heads.head_dim)?;
    let shape =
        |what, got: u32, need: u32| GpuError::Shape { kernel, what, got: got.into(), need: need.into() };
    if heads.head_dim > MAX_HEAD_DIM {
        return Err(shape("head_dim", heads.head_dim, MAX_HEAD_DIM));
    }
    if heads.n_kv_heads == 0 || !heads.n_heads.is_multiple_of(heads.n_kv_heads) {
        return Err(shape("n_heads", heads.n_heads, heads.n_kv_heads));
    }
    Ok(())
}
