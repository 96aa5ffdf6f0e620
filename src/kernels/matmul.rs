//! Many vectors times one matrix: every projection of a prompt chunk.

use super::implementation::{Implementation, LANES_OF_SUMS, TUNED_SUMS};
use super::product::{self, Product};
use super::weight::{IN_ROWS, IN_TEXELS, TILE_ROWS};
use crate::gpu::pipeline::{Access, Kernel, Shared};
use crate::gpu::{Family, GpuError, Recorder};

/// `out[m, r] = sum_c x[m, c] * weight[r, c]`, or `+=` in the residual variant; four rows for four inputs a workgroup.
pub const KERNEL: Kernel = Kernel {
    op: "matmul",
    name: "matmul",
    source: concat!(
        include_str!("../../shaders/matmul.wgsl"),
        include_str!("../../shaders/shared/params_product.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: product::PARAMS,
    bindings: &[Access::Read, Access::Read, Access::ReadWrite],
    weights: &["weight"],
    uses_reduce: true,
    shares: None,
    gain: None,
    uses_subgroups: true,
};

/// Weights in rows, lanes that walk the columns together.
pub(super) const ROWS: Implementation = Implementation {
    layouts: IN_ROWS,
    lanes: LANES_OF_SUMS,
    tunable: TUNED_SUMS,
    rows: 4,
    inputs: &[4],
    ..Implementation::only(&KERNEL, 64)
};

const TILED_KERNEL: Kernel = Kernel {
    name: "matmul_tiled",
    source: concat!(
        include_str!("../../shaders/matmul_tiled.wgsl"),
        include_str!("../../shaders/shared/square.wgsl"),
        include_str!("../../shaders/shared/params_product.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    uses_reduce: false,
    uses_subgroups: false,
    ..KERNEL
};

/// Weights in rows, squares of lanes that share what they read through the memory of their workgroup.
pub(super) const TILED: Implementation = Implementation {
    layouts: IN_ROWS,
    rows: 4,
    inputs: &[4],
    square: true,
    tunable: &[256],
    for_hardware: true,
    // With fewer most of a tile would be empty.
    least_inputs: 16,
    ..Implementation::only(&TILED_KERNEL, 64)
};

const TILED_F16_KERNEL: Kernel = Kernel {
    name: "matmul_tiled_f16",
    source: concat!(
        include_str!("../../shaders/matmul_tiled_f16.wgsl"),
        include_str!("../../shaders/shared/square.wgsl"),
        include_str!("../../shaders/shared/params_product.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    ..TILED_KERNEL
};

/// [`TILED`], computed in 16-bit floats.
pub(super) const TILED_F16: Implementation =
    Implementation { kernel: &TILED_F16_KERNEL, needs_f16: true, ..TILED };

pub(super) const TEXELS_KERNEL: Kernel = Kernel {
    name: "matmul_texels",
    source: concat!(
        include_str!("../../shaders/matmul_texels.wgsl"),
        include_str!("../../shaders/shared/params_product.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    bindings: &[Access::Words, Access::Uniform, Access::ReadWrite],
    uses_reduce: false,
    shares: Some(Shared::Inputs),
    ..KERNEL
};

/// Weights in a texture, inputs in a uniform, a row of the weights a lane.
pub(super) const TEXELS: Implementation = Implementation {
    family: Family::Software,
    layouts: IN_TEXELS,
    least_subgroup: 8,
    rows: TILE_ROWS,
    inputs: &[8, 4, 2, 1],
    ..Implementation::only(&TEXELS_KERNEL, 8)
};

/// Multiplies `io.inputs` with `io.weight`; one dispatch per part of the weight, or a few where a binding holds few inputs.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small, or `cols` is no whole number of the layout's units.
pub fn record(rec: &mut Recorder, io: Product<'_>) -> Result<(), GpuError> {
    product::record_op(rec, KERNEL.op, io)
}
