//! The gate of a feed-forward block for many tokens.

use super::{MAP_WORKGROUP, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};
use crate::model_file::Activation;

params! { GateMulParams { count4: u32, activation: u32, pad0: u32, pad1: u32 } }

/// `gate[i] = activated(gate[i]) * up[i]`.
pub const KERNEL: Kernel = Kernel {
    op: "gate_mul",
    name: "gate_mul",
    source: concat!(
        include_str!("../../shaders/gate_mul.wgsl"),
        include_str!("../../shaders/shared/activation.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: GateMulParams::LAYOUT,
    bindings: &[Access::ReadWrite, Access::Read],
    weights: &[],
    uses_reduce: false,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Gates `count` elements in place.
///
/// # Errors
/// [`GpuError::Shape`] when `count` is not a multiple of 4 or a buffer is too small.
pub fn record(
    rec: &mut Recorder,
    gate: &Buffer,
    up: &Buffer,
    count: u32,
    activation: Activation,
) -> Result<(), GpuError> {
    if count == 0 {
        return Ok(());
    }
    let count4 = super::multiple_of_4(KERNEL.name, "count", count)?;
    need(KERNEL.name, "bytes of gate", gate.all(), u64::from(count) * 4)?;
    need(KERNEL.name, "bytes of up", up.all(), u64::from(count) * 4)?;
    let params = GateMulParams { count4, activation: activation as u32, pad0: 0, pad1: 0 };
    let groups = spread(KERNEL.name, u64::from(count4.div_ceil(MAP_WORKGROUP)))?;
    rec.dispatch(&KERNEL, Variant::plain(MAP_WORKGROUP), &[gate.all(), up.all()], &params, groups)
}
