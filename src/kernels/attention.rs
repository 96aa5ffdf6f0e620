//! Attention over pinned slots, anchor ring and live ring, for one token or a prompt chunk.

use super::attention_join;
use super::cache_layout::{CacheLayout, ROW_LAYOUTS, TEXEL_LAYOUTS};
use super::choose;
use super::implementation::{Implementation, Layout, MOST_SUMS};
use super::product::{InputRange, uniform_tile};
use super::{need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Shared, Variant};
use crate::gpu::{Buffer, Family, GpuError, Recorder};
use crate::kv::{Chunk, RingLayout, Row};
use crate::model_file::{Heads, Scoring};

params! {
    AttentionParams {
        rows: u32, n_heads: u32, n_kv_heads: u32, head_dim: u32,
        scale: f32, sinks: u32, anchor_capacity: u32, live_capacity: u32,
        chunk_start: u32, chunk_anchors_before: u32, row_first: u32, q_at: u32,
        rows_of_text: u32, near: u32, cap: f32, splits: u32,
        share: u32, pad0: u32, pad1: u32, pad2: u32,
    }
}

/// `out[r, h, :] = sum_j softmax_j(capped(q . k[j] * scale)) v[j]` over the keys row r sees.
pub const KERNEL: Kernel = Kernel {
    op: "attention",
    name: "attention",
    source: concat!(
        include_str!("../../shaders/attention.wgsl"),
        include_str!("../../shaders/shared/walk.wgsl"),
        include_str!("../../shaders/shared/params_attention.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/row.wgsl"),
        include_str!("../../shaders/shared/locate.wgsl"),
        include_str!("../../shaders/shared/capped.wgsl"),
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
    weights: &[],
    uses_reduce: false,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Keys scored at a time; a lane also owns every such column of a head.
pub(super) const TILE: u32 = 64;
/// Keys and values in storage buffers.
pub(super) const ROWS: Implementation =
    Implementation { layouts: ROW_LAYOUTS, entries: true, ..Implementation::only(&KERNEL, TILE) };

const SPLIT_KERNEL: Kernel = Kernel {
    name: "attention_split",
    source: concat!(
        include_str!("../../shaders/attention_split.wgsl"),
        include_str!("../../shaders/shared/walk.wgsl"),
        include_str!("../../shaders/shared/params_attention.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/row.wgsl"),
        include_str!("../../shaders/shared/locate.wgsl"),
        include_str!("../../shaders/shared/capped.wgsl"),
        include_str!("../../shaders/shared/online_softmax.wgsl")
    ),
    ..KERNEL
};

/// The same with the keys of a row split among workgroups, whose results [`attention_join`] makes one. Its inputs are the splits.
pub(super) const SPLIT: Implementation = Implementation { kernel: &SPLIT_KERNEL, least_inputs: 2, ..ROWS };

const TEXELS_KERNEL: Kernel = Kernel {
    name: "attention_texels",
    source: concat!(
        include_str!("../../shaders/attention_texels.wgsl"),
        include_str!("../../shaders/shared/params_attention.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/row.wgsl"),
        include_str!("../../shaders/shared/locate.wgsl"),
        include_str!("../../shaders/shared/capped.wgsl")
    ),
    bindings: &[
        Access::Read,
        Access::Uniform,
        Access::Floats,
        Access::Floats,
        Access::Floats,
        Access::Floats,
        Access::Read,
        Access::ReadWrite,
    ],
    shares: Some(Shared::Keys),
    uses_subgroups: true,
    ..KERNEL
};

/// Keys and values in textures, queries in a uniform; `inputs` are queries of a workgroup, `texels` those of a head that each lane
/// gathers.
pub(super) const TEXELS: Implementation = Implementation {
    family: Family::Software,
    layouts: TEXEL_LAYOUTS,
    entries: true,
    least_subgroup: 8,
    narrow: Some(4),
    inputs: &[8, 4, 2, 1],
    texels: &[16, 8, 4, 2, 1],
    ..Implementation::only(&TEXELS_KERNEL, 8)
};

/// Keys of a share, about: half as many to one and a half times as many, until there are the most shares. Fewer than two shares' keys are
/// not split, because the dispatch that joins shares has to be earned.
pub const SHARE: u32 = 512;
/// Shares of a row, at most: their results are all read once more.
const MOST_SPLITS: u32 = 16;

/// Shares that a decode step has room for, where a row sees up to `keys` keys: a power of two, so that a text meets few numbers while it
/// grows; 1 where one workgroup is enough for a row. It never falls where `keys` grows. A row of fewer keys leaves some of them empty:
/// the shader counts by the same rule, so a row comes to the same whatever bound the host knows.
pub fn splits(keys: u32) -> u32 {
    if keys < 2 * SHARE { 1 } else { (keys / SHARE).next_power_of_two().min(MOST_SPLITS) }
}

/// Bytes of [`Attention::parts`] for so many rows and splits.
pub fn parts_bytes(rows: u32, heads: Heads, splits: u32) -> u64 {
    u64::from(rows) * u64::from(heads.n_heads) * u64::from(splits) * (u64::from(heads.head_dim) + 2) * 4
}

/// Rows whose queries are bound at once, the most first.
const ROWS_AT_ONCE: &[u32] = &[32, 16, 8, 4, 2, 1];

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
    /// What the shares of a row's keys come to ([`parts_bytes`]); not used by implementations that do not split them.
    pub parts: &'a Buffer,
    /// Shares that the keys of a row are split into, at most; with 1 they are not, unless the device is bound to the implementation that
    /// does.
    pub splits: u32,
    /// Keys that a share is worth ([`SHARE`]); a row with fewer than twice as many has one.
    pub share: u32,
    /// Result (rows, q_dim).
    pub out: &'a Buffer,
}

/// Attends `n` rows. With `chunk`, the rows' own keys lie in the scratch buffers; without, all are in the cache.
/// It is one dispatch, or some where queries are bound as a uniform; two where keys are split.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small or the head is too wide.
pub fn record(
    rec: &mut Recorder,
    io: Attention<'_>,
    n: u32,
    (heads, scoring): (Heads, Scoring),
    layout: &RingLayout,
    chunk: Option<&Chunk>,
) -> Result<(), GpuError> {
    let rows = u64::from(n);
    let place = CacheLayout::of(io.k_cache);
    let one = choose::choose_for(KERNEL.op, io.splits, Layout::Cache(place), rec.device())?;
    let name = one.kernel.name;
    let is_split = name == SPLIT_KERNEL.name;
    let splits = if is_split { io.splits.max(1) } else { 1 };
    check_heads(name, heads)?;
    need(name, "bytes of rows", io.rows.all(), rows * size_of::<Row>() as u64)?;
    need(name, "bytes of q", io.q.all(), rows * u64::from(heads.q_dim()) * 8)?;
    need(name, "bytes of out", io.out.all(), rows * u64::from(heads.q_dim()) * 4)?;
    let cache_bytes = u64::from(layout.slots()) * place.entry_bytes(heads);
    need(name, "bytes of k_cache", io.k_cache.all(), cache_bytes)?;
    need(name, "bytes of v_cache", io.v_cache.all(), cache_bytes)?;
    if is_split {
        need(name, "bytes of parts", io.parts.all(), parts_bytes(n, heads, splits))?;
    }
    if let Some(chunk) = chunk {
        let chunk_bytes = rows * place.entry_bytes(heads);
        need(name, "bytes of k_chunk", io.k_chunk.all(), chunk_bytes)?;
        need(name, "bytes of v_chunk", io.v_chunk.all(), chunk_bytes)?;
        need(name, "bytes of chunk_anchors", io.chunk_anchors.all(), u64::from(chunk.anchors) * 4)?;
    }
    let mut done = 0;
    while done < n {
        // A uniform holds the queries of few rows, so there are more dispatches; a storage buffer holds them all.
        let (taken, q) = if one.kernel.bindings.contains(&Access::Uniform) {
            uniform_tile(rec, one.kernel.name, ROWS_AT_ONCE, io.q, done, n - done, 2 * heads.q_dim())?
        } else {
            (n, InputRange { binding: io.q.all(), at: 0, len: 1 })
        };
        let taken = taken.min(n - done);
        let rows_of_text = if chunk.is_some() { taken } else { 1 };
        let params = AttentionParams {
            rows: taken,
            n_heads: heads.n_heads,
            n_kv_heads: heads.n_kv_heads,
            head_dim: heads.head_dim,
            scale: scoring.scale,
            sinks: layout.sinks,
            anchor_capacity: layout.anchor_cap,
            live_capacity: layout.live_cap,
            chunk_start: chunk.map_or(NOT_A_CHUNK, |chunk| chunk.start),
            chunk_anchors_before: chunk.map_or(NOT_A_CHUNK, |chunk| chunk.anchors_before),
            row_first: done,
            q_at: q.at,
            rows_of_text,
            near: scoring.near.into(),
            cap: scoring.cap,
            splits,
            share: io.share.max(1),
            pad0: 0,
            pad1: 0,
            pad2: 0,
        };
        let bindings = [
            io.rows.all(),
            q.binding,
            io.k_cache.all(),
            io.v_cache.all(),
            io.k_chunk.all(),
            io.v_chunk.all(),
            io.chunk_anchors.all(),
            if is_split { io.parts.all() } else { io.out.all() },
        ];
        let (variant, workgroups) =
            tile(one, one.variant_for(place, rec.device()), heads, taken, rows_of_text);
        let variant = Variant { uniform_len: q.len, ..variant };
        let groups = spread(name, workgroups * u64::from(splits))?;
        rec.dispatch(one.kernel, variant, &bindings, &params, groups)?;
        done += taken;
    }
    if is_split { attention_join::record(rec, io.parts, io.out, n, heads, splits) } else { Ok(()) }
}

/// The variant for `rows` rows, each `rows_of_text` of which belong to one text, and its workgroups.
fn tile(
    one: &Implementation,
    variant: Variant,
    heads: Heads,
    rows: u32,
    rows_of_text: u32,
) -> (Variant, u64) {
    if !one.kernel.reads_texels() {
        return (variant, u64::from(rows) * u64::from(heads.n_heads));
    }
    // A number that is enough, or the most there is.
    let enough = |of: &[u32], wanted: u32| {
        let most = of.iter().copied().max().unwrap_or(1);
        of.iter().copied().filter(|number| *number >= wanted).min().unwrap_or(most)
    };
    let texels = enough(one.texels, (heads.head_dim / 4).div_ceil(variant.workgroup));
    let inputs: Vec<_> = one.inputs.iter().copied().filter(|inputs| inputs * texels <= MOST_SUMS).collect();
    let queries = rows_of_text * (heads.n_heads / heads.n_kv_heads);
    let inputs = enough(&inputs, queries);
    let tiles = queries.div_ceil(inputs) * (rows / rows_of_text);
    (Variant { inputs, texels, ..variant }, u64::from(tiles) * u64::from(heads.n_kv_heads))
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
