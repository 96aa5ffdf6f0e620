//! Many vectors times one matrix: every projection of a prompt chunk.

use super::{REDUCING_WORKGROUPS, Weight, multiple_of_4, need, params, reducing, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};

params! {
    MatmulParams {
        rows: u32, cols4: u32, inputs: u32, out_stride: u32, out_offset: u32, x_row: u32, pad1: u32, pad2: u32,
    }
}

/// `out[m, r] = sum_c x[x_row + m, c] * weight[r, c]`, or `+=` in the residual variant.
pub const KERNEL: Kernel = Kernel {
    name: "matmul",
    source: concat!(
        include_str!("../../shaders/matmul.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: MatmulParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::ReadWrite],
    uses_weight: true,
    uses_reduce: true,
    uses_subgroups: true,
    workgroups: REDUCING_WORKGROUPS,
};

/// Rows of the matrix, and inputs, that one workgroup handles.
const TILE: u64 = 4;

/// Multiplies `inputs` rows of `x` (any, cols), from row `x_row` on, with `weight` (rows, cols) into `out` (inputs, rows); one dispatch
/// per part of the weight. `residual` adds to `out` instead of replacing it.
///
/// # Errors
/// [`GpuError::Shape`] when `cols` is not a multiple of 4 or a buffer is too small.
pub fn record(
    rec: &mut Recorder<'_>,
    weight: &Weight,
    x: &Buffer,
    x_row: u32,
    inputs: u32,
    out: &Buffer,
    residual: bool,
) -> Result<(), GpuError> {
    let cols4 = multiple_of_4(KERNEL.name, "cols", weight.cols)?;
    need(
        KERNEL.name,
        "bytes of x",
        x.all(),
        (u64::from(x_row) + u64::from(inputs)) * u64::from(weight.cols) * 4,
    )?;
    need(KERNEL.name, "bytes of out", out.all(), u64::from(inputs) * u64::from(weight.rows) * 4)?;
    let variant = Variant { weight: weight.format, residual, ..reducing(rec.gpu()) };
    for part in &weight.parts {
        let params = MatmulParams {
            rows: part.rows,
            cols4,
            inputs,
            out_stride: weight.rows,
            out_offset: part.first_row,
            x_row,
            pad1: 0,
            pad2: 0,
        };
        let tiles = u64::from(part.rows).div_ceil(TILE) * u64::from(inputs).div_ceil(TILE);
        let groups = spread(KERNEL.name, tiles)?;
        rec.dispatch(&KERNEL, variant, &[part.buffer.all(), x.all(), out.all()], &params, groups)?;
    }
    Ok(())
}
