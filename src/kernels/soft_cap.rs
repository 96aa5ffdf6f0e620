//! Logits that stay within a bound.

use super::{MAP_WORKGROUP, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};

params! { SoftCapParams { n: u32, cap: f32, pad0: u32, pad1: u32 } }

/// `x[i] = cap tanh(x[i] / cap)`.
pub const KERNEL: Kernel = Kernel {
    op: "soft_cap",
    name: "soft_cap",
    source: concat!(
        include_str!("../../shaders/soft_cap.wgsl"),
        include_str!("../../shaders/shared/capped.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: SoftCapParams::LAYOUT,
    bindings: &[Access::ReadWrite],
    weights: &[],
    uses_reduce: false,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Bends the first `count` numbers of `x`, in place.
///
/// # Errors
/// [`GpuError::Shape`] when there are not so many.
pub fn record(rec: &mut Recorder, x: &Buffer, count: u32, cap: f32) -> Result<(), GpuError> {
    if count == 0 {
        return Ok(());
    }
    need(KERNEL.name, "bytes of x", x.all(), u64::from(count) * 4)?;
    let params = SoftCapParams { n: count, cap, pad0: 0, pad1: 0 };
    let groups = spread(KERNEL.name, u64::from(count.div_ceil(MAP_WORKGROUP)))?;
    rec.dispatch(&KERNEL, Variant::plain(MAP_WORKGROUP), &[x.all()], &params, groups)
}
