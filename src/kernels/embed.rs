//! Embedding gather: one table row per token.

use super::choose;
use super::implementation::{Implementation, Layout};
use super::weight::{IN_ROWS, IN_TEXELS};
use super::{MAP_WORKGROUP, Weight, multiple_of_4, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, Family, GpuError, Recorder};

params! { EmbedParams { rows: u32, cols4: u32, part_first: u32, part_rows: u32, scale: f32, pad0: u32, pad1: u32, pad2: u32 } }

/// `out[r, :] = scale * table[tokens[r], :]`.
pub const KERNEL: Kernel = Kernel {
    op: "embed",
    name: "embed",
    source: concat!(
        include_str!("../../shaders/embed.wgsl"),
        include_str!("../../shaders/shared/params_embed.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: EmbedParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::ReadWrite],
    weights: &["weight"],
    uses_reduce: false,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Weights in rows.
pub(super) const ROWS: Implementation =
    Implementation { layouts: IN_ROWS, ..Implementation::only(&KERNEL, MAP_WORKGROUP) };

const TEXELS_KERNEL: Kernel = Kernel {
    name: "embed_texels",
    source: concat!(
        include_str!("../../shaders/embed_texels.wgsl"),
        include_str!("../../shaders/shared/params_embed.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    bindings: &[Access::Words, Access::Read, Access::ReadWrite],
    ..KERNEL
};

/// A table in a texture.
pub(super) const TEXELS: Implementation = Implementation {
    family: Family::Software,
    layouts: IN_TEXELS,
    ..Implementation::only(&TEXELS_KERNEL, MAP_WORKGROUP)
};

/// Gathers `rows` rows of `table` (vocabulary, cols) into `out` (rows, cols) by the ids in `tokens` (rows), each multiplied with `scale`.
/// One dispatch per part of the table; an id outside the table leaves its row untouched.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small.
pub fn record(
    rec: &mut Recorder,
    table: &Weight,
    tokens: &Buffer,
    out: &Buffer,
    rows: u32,
    scale: f32,
) -> Result<(), GpuError> {
    let cols4 = multiple_of_4(KERNEL.name, "cols", table.cols)?;
    let elements = u64::from(rows) * u64::from(table.cols);
    need(KERNEL.name, "bytes of tokens", tokens.all(), u64::from(rows) * 4)?;
    need(KERNEL.name, "bytes of out", out.all(), elements * 4)?;
    for part in &table.parts {
        let one = choose::choose(KERNEL.op, Layout::Weight(part.layout), rec.device())?;
        let variant = Variant { weight: Some(part.layout.part()), ..one.variant(rec.device()) };
        // An invocation copies a run of columns of texels, four columns of rows.
        let columns = if part.layout.is_texels() { part.layout.run_cols() } else { 4 };
        let groups = spread(KERNEL.name, (elements / u64::from(columns)).div_ceil(MAP_WORKGROUP.into()))?;
        let params = EmbedParams {
            rows,
            cols4,
            part_first: part.first_row,
            part_rows: part.rows,
            scale,
            pad0: 0,
            pad1: 0,
            pad2: 0,
        };
        rec.dispatch(one.kernel, variant, &[part.binding(), tokens.all(), out.all()], &params, groups)?;
    }
    Ok(())
}
