//! Multiplies and adds, and does nothing else: what the arithmetic of a device is measured by.

use super::choose;
use super::implementation::{Implementation, Layout};
use super::{need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};

params! { MultiplyAddParams { lanes: u32, quads: u32, scale: f32, shift: f32 } }

/// `a_j = scale a_j + shift`, round after round, for four vectors a lane that begin as `x[l] + j`; `out[l]` is their sum.
pub const KERNEL: Kernel = Kernel {
    op: "multiply_add",
    name: "multiply_add",
    source: concat!(
        include_str!("../../shaders/multiply_add.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: MultiplyAddParams::LAYOUT,
    bindings: &[Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: false,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Vectors of four that a lane works on.
const CHAINS: u32 = 4;
/// Rounds that the shader's loop goes at a time.
const ROUNDS: u32 = 4;

/// The only one.
pub(super) const ONLY: Implementation =
    Implementation { lanes: [8, 256], inputs: &[CHAINS], ..Implementation::only(&KERNEL, 256) };

/// Multiplications and additions of one call.
pub fn operations(lanes: u32, rounds: u32) -> u64 {
    2 * 4 * u64::from(CHAINS) * u64::from(lanes) * u64::from(rounds)
}

/// Goes `rounds` rounds (a multiple of 4) over `lanes` vectors of `x`, into `out`.
///
/// # Errors
/// [`GpuError::Shape`] when `rounds` is no multiple of 4 or a buffer is too small.
pub fn record(
    rec: &mut Recorder,
    x: &Buffer,
    out: &Buffer,
    (lanes, rounds): (u32, u32),
    [scale, shift]: [f32; 2],
) -> Result<(), GpuError> {
    let kernel = KERNEL.name;
    if !rounds.is_multiple_of(ROUNDS) {
        return Err(GpuError::Shape { kernel, what: "rounds", got: rounds.into(), need: ROUNDS.into() });
    }
    need(kernel, "bytes of x", x.all(), u64::from(lanes) * 16)?;
    need(kernel, "bytes of out", out.all(), u64::from(lanes) * 16)?;
    let one = choose::choose(KERNEL.op, Layout::Plain, rec.device())?;
    let variant = Variant { inputs: CHAINS, ..one.variant(rec.device()) };
    let params = MultiplyAddParams { lanes, quads: rounds / ROUNDS, scale, shift };
    let groups = spread(kernel, lanes.div_ceil(variant.workgroup).into())?;
    rec.dispatch(one.kernel, variant, &[x.all(), out.all()], &params, groups)
}
