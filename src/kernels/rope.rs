//! Rotary position embedding, and the way of new keys and values into the cache.

use super::attention::check_heads;
use super::cache_layout::CacheLayout;
use super::choose;
use super::implementation::{Implementation, Layout};
use super::{MAP_WORKGROUP, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, KvFormat};
use crate::gpu::{Buffer, Family, GpuError, Recorder};
use crate::kv::{MAX_POSITIONS, Row};
use crate::model_file::{Heads, Rotation};

params! {
    RopeParams {
        rows: u32, n_heads: u32, n_kv_heads: u32, head_dim: u32, rope_dim: u32, to_cache: u32, pad0: u32, pad1: u32,
    }
}

/// Rotates q and k; writes k and v to a chunk's scratch or to their slots.
pub const KERNEL: Kernel = Kernel {
    op: "rope",
    name: "rope",
    source: concat!(
        include_str!("../../shaders/rope.wgsl"),
        include_str!("../../shaders/shared/params_rope.wgsl"),
        include_str!("../../shaders/shared/rotation.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/row.wgsl")
    ),
    params: RopeParams::LAYOUT,
    bindings: &[
        Access::Read,
        Access::Read,
        Access::Read,
        Access::ReadWrite,
        Access::ReadWrite,
        Access::ReadWrite,
    ],
    weights: &[],
    uses_reduce: false,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// 32-bit keys and values into storage buffers, one pair of columns an invocation.
pub(super) const ROWS: Implementation = Implementation {
    layouts: &[Layout::Cache(CacheLayout::F32Rows)],
    columns: 2,
    ..Implementation::only(&KERNEL, MAP_WORKGROUP)
};

const HALVES_KERNEL: Kernel = Kernel {
    name: "rope_halves",
    source: concat!(
        include_str!("../../shaders/rope_halves.wgsl"),
        include_str!("../../shaders/shared/rope_fours.wgsl"),
        include_str!("../../shaders/shared/turned.wgsl"),
        include_str!("../../shaders/shared/params_rope.wgsl"),
        include_str!("../../shaders/shared/rotation.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/row.wgsl")
    ),
    ..KERNEL
};

/// 16-bit keys and values into storage buffers, four columns an invocation.
pub(super) const HALVES: Implementation = Implementation {
    layouts: &[Layout::Cache(CacheLayout::F16Rows)],
    entries: true,
    columns: 4,
    ..Implementation::only(&HALVES_KERNEL, MAP_WORKGROUP)
};

const TEXELS_KERNEL: Kernel = Kernel {
    name: "rope_texels",
    source: concat!(
        include_str!("../../shaders/rope_texels.wgsl"),
        include_str!("../../shaders/shared/rope_fours.wgsl"),
        include_str!("../../shaders/shared/turned.wgsl"),
        include_str!("../../shaders/shared/params_rope.wgsl"),
        include_str!("../../shaders/shared/rotation.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/row.wgsl")
    ),
    bindings: &[
        Access::Read,
        Access::Read,
        Access::Read,
        Access::ReadWrite,
        Access::FloatsOut,
        Access::FloatsOut,
    ],
    ..KERNEL
};

/// Floats into textures, the same columns of all heads an invocation ([`lanes_of_row`]).
pub(super) const TEXELS: Implementation = Implementation {
    family: Family::Software,
    layouts: &[Layout::Cache(CacheLayout::F32Texels), Layout::Cache(CacheLayout::F16Texels)],
    entries: true,
    ..Implementation::only(&TEXELS_KERNEL, MAP_WORKGROUP)
};

const Q8_KERNEL: Kernel = Kernel {
    name: "rope_q8",
    source: concat!(
        include_str!("../../shaders/rope_q8.wgsl"),
        include_str!("../../shaders/shared/rope_heads.wgsl"),
        include_str!("../../shaders/shared/turned.wgsl"),
        include_str!("../../shaders/shared/params_rope.wgsl"),
        include_str!("../../shaders/shared/rotation.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/row.wgsl")
    ),
    ..KERNEL
};

/// Signed bytes and their scales into storage buffers, a head a workgroup.
pub(super) const Q8: Implementation = Implementation {
    layouts: &[Layout::Cache(CacheLayout::Q8Rows)],
    entries: true,
    // A head is 16 or 32 fours, rarely more.
    lanes: [8, 32],
    ..Implementation::only(&Q8_KERNEL, MAP_WORKGROUP)
};

const Q8_TEXELS_KERNEL: Kernel = Kernel {
    name: "rope_q8_texels",
    source: concat!(
        include_str!("../../shaders/rope_q8_texels.wgsl"),
        include_str!("../../shaders/shared/rope_heads.wgsl"),
        include_str!("../../shaders/shared/turned.wgsl"),
        include_str!("../../shaders/shared/params_rope.wgsl"),
        include_str!("../../shaders/shared/rotation.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/row.wgsl")
    ),
    ..TEXELS_KERNEL
};

/// Signed bytes and their scales into textures, a head a workgroup.
pub(super) const Q8_TEXELS: Implementation = Implementation {
    kernel: &Q8_TEXELS_KERNEL,
    family: Family::Software,
    layouts: &[Layout::Cache(CacheLayout::Q8Texels)],
    ..Q8
};

/// Positions one fine table covers, and the distance of two entries of the coarse table.
const TABLE_STEP: u32 = 1024;
/// Entries of the coarse table; together they reach every position a ring accepts.
const COARSE_STEPS: u32 = MAX_POSITIONS / TABLE_STEP;

/// Where keys and values go.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Row r of the chunk goes to row r of the buffers.
    Chunk,
    /// Each row goes to its slots in the cache.
    Cache,
}

/// The rotation table: (cos, sin) of `step * frequency` for steps 0..1024, then for multiples of 1,024, computed in 64-bit and stored in
/// 32-bit floats. A rotation is the product of an entry of each, so only the latter have the magnitude.
pub fn table(rotation: &Rotation) -> Vec<f32> {
    let fine = (0..TABLE_STEP).map(|step| (step, 1.0));
    let coarse = (0..COARSE_STEPS).map(|step| (step * TABLE_STEP, rotation.magnitude));
    let entry = |(pos, length): (u32, f64)| {
        rotation.frequencies.iter().flat_map(move |frequency| {
            let (sin, cos) = (f64::from(pos) * frequency).sin_cos();
            [(length * cos) as f32, (length * sin) as f32]
        })
    };
    fine.chain(coarse).flat_map(entry).collect()
}

/// Invocations that make a row by `rope_texels`: one for four pairs of columns, and one for every other four columns.
fn lanes_of_row(head_dim: u32, rope_dim: u32) -> u32 {
    let turning = rope_dim / 2;
    let pairs = if turning.is_multiple_of(4) { turning / 4 } else { 0 };
    head_dim / 4 - pairs
}

/// Bytes of the rotation table for so many columns that turn.
pub fn table_bytes(rope_dim: u32) -> u64 {
    u64::from(TABLE_STEP + COARSE_STEPS) * u64::from(rope_dim / 2) * 8
}

/// Buffers of one [`record`] call.
#[derive(Clone, Copy, Debug)]
pub struct Rope<'a> {
    /// [`Row`]s (rows).
    pub rows: &'a Buffer,
    /// The fused projection (rows, qkv_dim).
    pub qkv: &'a Buffer,
    /// [`table`].
    pub table: &'a Buffer,
    /// Rotated queries out (rows, 2, q_dim): at their position, and at the position for pinned keys.
    pub q: &'a Buffer,
    /// Rotated keys out (rows or slots, kv_dim).
    pub k: &'a Buffer,
    /// Values out (rows or slots, kv_dim).
    pub v: &'a Buffer,
}

/// Rotates the first `rope_dim` columns of each head in `n` rows; 0 is a layer without positions.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small, or a head that is kept as bytes is too wide.
pub fn record(
    rec: &mut Recorder,
    io: Rope<'_>,
    n: u32,
    heads: Heads,
    rope_dim: u32,
    target: Target,
) -> Result<(), GpuError> {
    let rows = u64::from(n);
    let place = CacheLayout::of(io.k);
    need(KERNEL.name, "bytes of rows", io.rows.all(), rows * size_of::<Row>() as u64)?;
    need(KERNEL.name, "bytes of qkv", io.qkv.all(), rows * u64::from(heads.qkv_dim()) * 4)?;
    need(KERNEL.name, "bytes of table", io.table.all(), table_bytes(rope_dim))?;
    need(KERNEL.name, "bytes of q", io.q.all(), rows * u64::from(heads.q_dim()) * 8)?;
    if matches!(target, Target::Chunk) {
        need(KERNEL.name, "bytes of k", io.k.all(), rows * place.entry_bytes(heads))?;
        need(KERNEL.name, "bytes of v", io.v.all(), rows * place.entry_bytes(heads))?;
    }
    let params = RopeParams {
        rows: n,
        n_heads: heads.n_heads,
        n_kv_heads: heads.n_kv_heads,
        head_dim: heads.head_dim,
        rope_dim,
        to_cache: u32::from(matches!(target, Target::Cache)),
        pad0: 0,
        pad1: 0,
    };
    let one = choose::choose(KERNEL.op, Layout::Cache(place), rec.device())?;
    let workgroups = if place.format() == KvFormat::Q8_0 {
        // Its workgroup memory is that of the widest head.
        check_heads(one.kernel.name, heads)?;
        rows * u64::from(heads.n_heads + 2 * heads.n_kv_heads)
    } else {
        let of_row = if one.kernel.name == TEXELS_KERNEL.name {
            lanes_of_row(heads.head_dim, rope_dim)
        } else {
            heads.qkv_dim() / one.columns
        };
        (rows * u64::from(of_row)).div_ceil(MAP_WORKGROUP.into())
    };
    let groups = spread(KERNEL.name, workgroups)?;
    let bindings = [io.rows.all(), io.qkv.all(), io.table.all(), io.q.all(), io.k.all(), io.v.all()];
    rec.dispatch(one.kernel, one.variant_for(place, rec.device()), &bindings, &params, groups)
}
