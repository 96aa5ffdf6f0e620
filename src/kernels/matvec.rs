//! Matrix times vector: every projection of a decoded token.

use super::{REDUCING_WORKGROUPS, Weight, multiple_of_4, need, params, reducing, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};

params! { MatvecParams { rows: u32, cols4: u32, out_offset: u32, x_row: u32 } }

/// `out[r] = sum_c weight[r, c] * x[x_row, c]`, or `+=` in the residual variant.
pub const KERNEL: Kernel = Kernel {
    name: "matvec",
    source: concat!(
        include_str!("../../shaders/matvec.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: MatvecParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::ReadWrite],
    uses_weight: true,
    uses_reduce: true,
    uses_subgroups: true,
    workgroups: REDUCING_WORKGROUPS,
};

/// Rows of the matrix one workgroup makes.
const ROWS_PER_GROUP: u64 = 4;

/// Multiplies `weight` (rows, cols) with row `x_row` of `x` (any, cols) into `out` (rows); one dispatch per part of the weight.
/// `residual` adds to `out` instead of replacing it.
///
/// # Errors
/// [`GpuError::Shape`] when `cols` is not a multiple of 4 or a buffer is too small.
pub fn record(
    rec: &mut Recorder<'_>,
    weight: &Weight,
    x: &Buffer,
    x_row: u32,
    out: &Buffer,
    residual: bool,
) -> Result<(), GpuError> {
    let cols4 = multiple_of_4(KERNEL.name, "cols", weight.cols)?;
    need(KERNEL.name, "bytes of x", x.all(), (u64::from(x_row) + 1) * u64::from(weight.cols) * 4)?;
    need(KERNEL.name, "bytes of out", out.all(), u64::from(weight.rows) * 4)?;
    let variant = Variant { weight: weight.format, residual, ..reducing(rec.gpu()) };
    for part in &weight.parts {
        let params = MatvecParams { rows: part.rows, cols4, out_offset: part.first_row, x_row };
        let groups = spread(KERNEL.name, u64::from(part.rows).div_ceil(ROWS_PER_GROUP))?;
        rec.dispatch(&KERNEL, variant, &[part.buffer.all(), x.all(), out.all()], &params, groups)?;
    }
    Ok(())
}
