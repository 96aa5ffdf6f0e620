//! Reads memory and does next to nothing with it: what the bandwidth of a device is measured by.

use super::choose::{self, CacheLayout, Implementation, Layout};
use super::{multiple_of_4, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, Family, GpuError, Recorder};

params! { StreamParams { count4: u32, lanes: u32, turns: u32, pad0: u32 } }

/// `out[l] = x[l] + x[l + lanes] + x[l + 2 lanes] + ...`, in vectors of four.
pub const KERNEL: Kernel = Kernel {
    op: "stream",
    name: "stream",
    source: concat!(
        include_str!("../../shaders/stream.wgsl"),
        include_str!("../../shaders/shared/params_stream.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: StreamParams::LAYOUT,
    bindings: &[Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: false,
    shares_x: false,
    uses_subgroups: false,
};

/// Loads that a lane has under way.
const LOADS: u32 = 4;

/// From a storage buffer.
pub(super) const ROWS: Implementation = Implementation {
    layouts: &[Layout::Cache(CacheLayout::Rows)],
    lanes: [8, 256],
    inputs: &[LOADS],
    ..Implementation::only(&KERNEL, 256)
};

const TEXELS_KERNEL: Kernel = Kernel {
    name: "stream_texels",
    source: concat!(
        include_str!("../../shaders/stream_texels.wgsl"),
        include_str!("../../shaders/shared/params_stream.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    bindings: &[Access::Floats, Access::ReadWrite],
    ..KERNEL
};

/// From a texture.
pub(super) const TEXELS: Implementation = Implementation {
    kernel: &TEXELS_KERNEL,
    family: Family::Software,
    layouts: &[Layout::Cache(CacheLayout::Texels)],
    ..ROWS
};

/// Sums `count` floats of `x`, a buffer or a texture, into `lanes` vectors of four in `out`: as many invocations.
///
/// # Errors
/// [`GpuError::Shape`] when `count` is not a multiple of 4 or a buffer is too small.
pub fn record(
    rec: &mut Recorder,
    x: &Buffer,
    out: &Buffer,
    count: u32,
    lanes: u32,
) -> Result<(), GpuError> {
    if lanes == 0 {
        return Ok(());
    }
    let count4 = multiple_of_4(KERNEL.name, "count", count)?;
    need(KERNEL.name, "bytes of x", x.all(), u64::from(count) * 4)?;
    need(KERNEL.name, "bytes of out", out.all(), u64::from(lanes) * 16)?;
    let one = choose::choose(KERNEL.op, Layout::Cache(CacheLayout::of(x)), rec.device())?;
    let variant = Variant { inputs: LOADS, ..one.variant(rec.device()) };
    let turns = count4 / LOADS.saturating_mul(lanes);
    let params = StreamParams { count4, lanes, turns, pad0: 0 };
    let groups = spread(KERNEL.name, lanes.div_ceil(variant.workgroup).into())?;
    rec.dispatch(one.kernel, variant, &[x.all(), out.all()], &params, groups)
}
