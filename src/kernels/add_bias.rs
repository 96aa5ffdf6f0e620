//! The bias of a projection.
//!
//! A dispatch of its own: the models that have biases pay for it, and the others keep one kernel per projection.

use super::{MAP_WORKGROUP, multiple_of_4, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};

params! { AddBiasParams { rows: u32, cols4: u32, pad0: u32, pad1: u32 } }

/// `out[r, c] += bias[c]`.
pub const KERNEL: Kernel = Kernel {
    op: "add_bias",
    name: "add_bias",
    source: concat!(
        include_str!("../../shaders/add_bias.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: AddBiasParams::LAYOUT,
    bindings: &[Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: false,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Adds `bias` (cols) to each of `rows` rows of `out` (rows, cols).
///
/// # Errors
/// [`GpuError::Shape`] when `cols` is not a multiple of 4 or a buffer is too small.
pub fn record(rec: &mut Recorder, bias: &Buffer, out: &Buffer, rows: u32, cols: u32) -> Result<(), GpuError> {
    let cols4 = multiple_of_4(KERNEL.name, "cols", cols)?;
    need(KERNEL.name, "bytes of bias", bias.all(), u64::from(cols) * 4)?;
    need(KERNEL.name, "bytes of out", out.all(), u64::from(rows) * u64::from(cols) * 4)?;
    let groups = (u64::from(rows) * u64::from(cols4)).div_ceil(MAP_WORKGROUP.into());
    let params = AddBiasParams { rows, cols4, pad0: 0, pad1: 0 };
    let groups = spread(KERNEL.name, groups)?;
    rec.dispatch(&KERNEL, Variant::plain(MAP_WORKGROUP), &[bias.all(), out.all()], &params, groups)
}
