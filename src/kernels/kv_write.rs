//! From a chunk's scratch to the cache: the survivors of a prompt chunk.

use super::cache_layout::{CacheLayout, ROW_LAYOUTS, TEXEL_LAYOUTS};
use super::choose;
use super::implementation::{Implementation, Layout};
use super::{MAP_WORKGROUP, multiple_of_4, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel};
use crate::gpu::{Buffer, Family, GpuError, Recorder};
use crate::kv::Row;
use crate::model_file::Heads;

params! { KvWriteParams { rows: u32, fours: u32, pad0: u32, pad1: u32 } }

/// Copies rows of k and v to the slots their [`Row`] names, as they are: chunk and cache have one format.
pub const KERNEL: Kernel = Kernel {
    op: "kv_write",
    name: "kv_write",
    source: concat!(
        include_str!("../../shaders/kv_write.wgsl"),
        include_str!("../../shaders/shared/params_kv_write.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/row.wgsl")
    ),
    params: KvWriteParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::Read, Access::ReadWrite, Access::ReadWrite],
    weights: &[],
    uses_reduce: false,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Storage buffers.
pub(super) const ROWS: Implementation =
    Implementation { layouts: ROW_LAYOUTS, entries: true, ..Implementation::only(&KERNEL, MAP_WORKGROUP) };

const TEXELS_KERNEL: Kernel = Kernel {
    name: "kv_write_texels",
    source: concat!(
        include_str!("../../shaders/kv_write_texels.wgsl"),
        include_str!("../../shaders/shared/params_kv_write.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/row.wgsl")
    ),
    bindings: &[Access::Read, Access::Floats, Access::Floats, Access::FloatsOut, Access::FloatsOut],
    ..KERNEL
};

/// Textures.
pub(super) const TEXELS: Implementation = Implementation {
    family: Family::Software,
    layouts: TEXEL_LAYOUTS,
    entries: true,
    ..Implementation::only(&TEXELS_KERNEL, MAP_WORKGROUP)
};

/// Buffers of one [`record`] call.
#[derive(Clone, Copy, Debug)]
pub struct KvWrite<'a> {
    /// [`Row`]s (rows).
    pub rows: &'a Buffer,
    /// Keys of the chunk (rows, kv_dim).
    pub k_chunk: &'a Buffer,
    /// Values of the chunk (rows, kv_dim).
    pub v_chunk: &'a Buffer,
    /// Keys of a layer (slots, kv_dim).
    pub k_cache: &'a Buffer,
    /// Values of a layer (slots, kv_dim).
    pub v_cache: &'a Buffer,
}

/// Copies the survivors of `n` rows of keys and values of these heads.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small.
pub fn record(rec: &mut Recorder, io: KvWrite<'_>, n: u32, heads: Heads) -> Result<(), GpuError> {
    multiple_of_4(KERNEL.name, "head_dim", heads.head_dim)?;
    let place = CacheLayout::of(io.k_cache);
    let fours = heads.n_kv_heads * place.format().fours(heads.head_dim);
    let chunk_bytes = u64::from(n) * place.entry_bytes(heads);
    need(KERNEL.name, "bytes of rows", io.rows.all(), u64::from(n) * size_of::<Row>() as u64)?;
    need(KERNEL.name, "bytes of k_chunk", io.k_chunk.all(), chunk_bytes)?;
    need(KERNEL.name, "bytes of v_chunk", io.v_chunk.all(), chunk_bytes)?;
    let params = KvWriteParams { rows: n, fours, pad0: 0, pad1: 0 };
    let groups = spread(KERNEL.name, (u64::from(n) * u64::from(fours)).div_ceil(MAP_WORKGROUP.into()))?;
    let bindings = [io.rows.all(), io.k_chunk.all(), io.v_chunk.all(), io.k_cache.all(), io.v_cache.all()];
    let one = choose::choose(KERNEL.op, Layout::Cache(place), rec.device())?;
    rec.dispatch(one.kernel, one.variant_for(place, rec.device()), &bindings, &params, groups)
}
