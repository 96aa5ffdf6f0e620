//! The gated half of a SwiGLU block for one token: two products and their gate in one dispatch.

use super::{REDUCING_WORKGROUPS, Weight, multiple_of_4, need, params, reducing, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};

params! { GatedMlpParams { rows: u32, cols4: u32, out_offset: u32, pad0: u32 } }

/// `out[r] = silu(gate[r, :] . x) * (up[r, :] . x)`.
pub const KERNEL: Kernel = Kernel {
    name: "gated_mlp",
    source: concat!(
        include_str!("../../shaders/gated_mlp.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: GatedMlpParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::Read, Access::ReadWrite],
    uses_weight: true,
    uses_reduce: true,
    uses_subgroups: true,
    workgroups: REDUCING_WORKGROUPS,
};

/// Rows of each matrix one workgroup makes.
const ROWS_PER_GROUP: u64 = 4;

/// `gate` and `up` (rows, cols), `x` (cols) into `out` (rows). Both weights are split at the same rows, since they have
/// the same shape and format; one dispatch per pair of parts.
///
/// # Errors
/// [`GpuError::Shape`] when the two matrices differ in shape, or a buffer is too small.
pub fn record(
    rec: &mut Recorder<'_>,
    gate: &Weight,
    up: &Weight,
    x: &Buffer,
    out: &Buffer,
) -> Result<(), GpuError> {
    let cols4 = multiple_of_4(KERNEL.name, "cols", gate.cols)?;
    for (what, got, need) in [
        ("rows of up", up.rows, gate.rows),
        ("cols of up", up.cols, gate.cols),
        ("parts of up", up.parts.len() as u32, gate.parts.len() as u32),
        ("bytes of an element of up", up.format.bytes() as u32, gate.format.bytes() as u32),
    ] {
        if got != need {
            return Err(GpuError::Shape { kernel: KERNEL.name, what, got: got.into(), need: need.into() });
        }
    }
    need(KERNEL.name, "bytes of x", x.all(), u64::from(gate.cols) * 4)?;
    need(KERNEL.name, "bytes of out", out.all(), u64::from(gate.rows) * 4)?;
    let variant = Variant { weight: gate.format, ..reducing(rec.gpu()) };
    for (gate, up) in gate.parts.iter().zip(&up.parts) {
        let params = GatedMlpParams { rows: gate.rows, cols4, out_offset: gate.first_row, pad0: 0 };
        let groups = spread(KERNEL.name, u64::from(gate.rows).div_ceil(ROWS_PER_GROUP))?;
        let bindings = [gate.buffer.all(), up.buffer.all(), x.all(), out.all()];
        rec.dispatch(&KERNEL, variant, &bindings, &params, groups)?;
    }
    Ok(())
}
