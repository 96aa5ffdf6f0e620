//! Matrix times vector: every projection of a decoded token.

use super::choose::Implementation;
use super::product::{self, Inputs};
use super::{Weight, matmul};
use crate::gpu::pipeline::{Access, Kernel};
use crate::gpu::{Buffer, GpuError, Recorder};

/// `out[r] = sum_c weight[r, c] * x[c]`, or `+=` in the residual variant; four rows a workgroup.
pub const KERNEL: Kernel = Kernel {
    op: "matvec",
    name: "matvec",
    source: concat!(
        include_str!("../../shaders/matvec.wgsl"),
        include_str!("../../shaders/shared/params_product.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: product::PARAMS,
    bindings: &[Access::Read, Access::Read, Access::ReadWrite],
    weights: &["weight"],
    uses_reduce: true,
    shares_x: false,
    uses_subgroups: true,
};

/// Weights in rows, lanes that walk the columns together.
pub(super) const ROWS: Implementation = Implementation { kernel: &KERNEL, inputs: &[1], ..matmul::ROWS };

const TEXELS_KERNEL: Kernel = Kernel { op: KERNEL.op, ..matmul::TEXELS_KERNEL };

/// The shader of many inputs, for one.
pub(super) const TEXELS: Implementation =
    Implementation { kernel: &TEXELS_KERNEL, inputs: &[1], ..matmul::TEXELS };

/// Multiplies `weight` (rows, cols) with row `x_row` of `x` (any, cols) into `out` (rows); one dispatch per part of the weight.
/// `residual` adds to `out` instead of replacing it.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small, or `cols` is no whole number of the layout's units.
pub fn record(
    rec: &mut Recorder,
    weight: &Weight,
    x: &Buffer,
    x_row: u32,
    out: &Buffer,
    residual: bool,
) -> Result<(), GpuError> {
    product::record_op(rec, KERNEL.op, weight, Inputs { x, first: x_row, count: 1 }, out, residual)
}
