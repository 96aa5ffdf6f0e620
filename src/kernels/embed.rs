//! Embedding gather: one table row per token.

use super::{MAP_WORKGROUP, Weight, multiple_of_4, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};

params! { EmbedParams { rows: u32, cols4: u32, part_first: u32, part_rows: u32 } }

/// `out[r, :] = table[tokens[r], :]`.
pub const KERNEL: Kernel = Kernel {
    name: "embed",
    source: concat!(
        include_str!("../../shaders/embed.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: EmbedParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::ReadWrite],
    uses_weight: true,
    uses_reduce: false,
    uses_subgroups: false,
    workgroups: &[MAP_WORKGROUP],
};

/// Gathers `rows` rows of `table` (vocabulary, cols) into `out` (rows, cols) by the ids in `tokens` (rows).
/// One dispatch per part of the table; an id outside the table leaves its row untouched.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small.
pub fn record(
    rec: &mut Recorder<'_>,
    table: &Weight,
    tokens: &Buffer,
    out: &Buffer,
    rows: u32,
) -> Result<(), GpuError> {
    let cols4 = multiple_of_4(KERNEL.name, "cols", table.cols)?;
    let elements = u64::from(rows) * u64::from(table.cols);
    need(KERNEL.name, "bytes of tokens", tokens.all(), u64::from(rows) * 4)?;
    need(KERNEL.name, "bytes of out", out.all(), elements * 4)?;
    let variant = Variant { weight: table.format, ..Variant::plain(MAP_WORKGROUP) };
    let groups = spread(KERNEL.name, (elements / 4).div_ceil(MAP_WORKGROUP.into()))?;
    for part in &table.parts {
        let params = EmbedParams { rows, cols4, part_first: part.first_row, part_rows: part.rows };
        rec.dispatch(&KERNEL, variant, &[part.buffer.all(), tokens.all(), out.all()], &params, groups)?;
    }
    Ok(())
}
