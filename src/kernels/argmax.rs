//! The likeliest column of each row; ties go to the lowest. A row with a number that is not finite has none.

use super::{need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};

params! { ArgmaxParams { rows: u32, cols: u32, out_offset: u32, pad0: u32 } }

/// `out[offset + r] = argmax_c logits[r, c]`, or [`NO_TOKEN`](crate::sampling::NO_TOKEN).
pub const KERNEL: Kernel = Kernel {
    op: "argmax",
    name: "argmax",
    source: concat!(
        include_str!("../../shaders/argmax.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/order.wgsl"),
        include_str!("../../shaders/shared/best.wgsl")
    ),
    params: ArgmaxParams::LAYOUT,
    bindings: &[Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: false,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

pub(super) const WORKGROUP: u32 = 64;

/// Argmax of `rows` rows of `logits` (rows, cols) into `out` from element `out_offset` on.
///
/// # Errors
/// [`GpuError::Shape`] when there is no column or a buffer is too small.
pub fn record(
    rec: &mut Recorder,
    logits: &Buffer,
    out: &Buffer,
    rows: u32,
    cols: u32,
    out_offset: u32,
) -> Result<(), GpuError> {
    if cols == 0 {
        return Err(GpuError::Shape { kernel: KERNEL.name, what: "cols", got: 0, need: 1 });
    }
    need(KERNEL.name, "bytes of logits", logits.all(), u64::from(rows) * u64::from(cols) * 4)?;
    need(KERNEL.name, "bytes of out", out.all(), (u64::from(out_offset) + u64::from(rows)) * 4)?;
    let params = ArgmaxParams { rows, cols, out_offset, pad0: 0 };
    let groups = spread(KERNEL.name, rows.into())?;
    rec.dispatch(&KERNEL, Variant::plain(WORKGROUP), &[logits.all(), out.all()], &params, groups)
}
