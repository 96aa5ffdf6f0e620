//! Matrix times vector: every projection of a decoded token.

use super::implementation::{Implementation, LANES_OF_RUNS};
use super::matmul;
use super::product::{self, Product};
use super::weight::IN_RUNS;
use crate::gpu::pipeline::{Access, Kernel, Shared};
use crate::gpu::{GpuError, Recorder};

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
    shares: Some(Shared::Lanes),
    gain: Some(Access::Read),
    uses_subgroups: true,
};

/// Weights in rows, lanes that walk the columns together.
pub(super) const ROWS: Implementation = Implementation { kernel: &KERNEL, inputs: &[1], ..matmul::ROWS };

const RUNS_KERNEL: Kernel = Kernel {
    name: "matvec_runs",
    source: concat!(
        include_str!("../../shaders/matvec_runs.wgsl"),
        include_str!("../../shaders/shared/runs.wgsl"),
        include_str!("../../shaders/shared/params_product.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    ..KERNEL
};

/// Weights in rows, lanes that take a run of columns each.
pub(super) const RUNS: Implementation = Implementation {
    kernel: &RUNS_KERNEL,
    layouts: IN_RUNS,
    lanes: LANES_OF_RUNS,
    runs: true,
    for_hardware: true,
    ..ROWS
};

const TEXELS_KERNEL: Kernel = Kernel { op: KERNEL.op, gain: Some(Access::Uniform), ..matmul::TEXELS_KERNEL };

/// The shader of many inputs, for one.
pub(super) const TEXELS: Implementation =
    Implementation { kernel: &TEXELS_KERNEL, inputs: &[1], ..matmul::TEXELS };

/// Multiplies one input with `io.weight`; one dispatch per part of the weight.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small, `cols` is no whole number of the layout's units, or there is not one input.
pub fn record(rec: &mut Recorder, io: Product<'_>) -> Result<(), GpuError> {
    if io.inputs.count != 1 {
        let got = io.inputs.count.into();
        return Err(GpuError::Shape { kernel: KERNEL.name, what: "inputs", got, need: 1 });
    }
    product::record_op(rec, KERNEL.op, io)
}
