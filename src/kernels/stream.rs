//! Reads memory and does next to nothing with it: what the bandwidth of a device is measured by.

use super::cache_layout::CacheLayout;
use super::choose;
use super::implementation::{Implementation, Layout};
use super::{multiple_of_4, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, Family, GpuError, Recorder};

params! { StreamParams { count4: u32, lanes: u32, width: u32, stretch: u32 } }

/// `out[l]` = the sum of what lane `l` reads of its stretch of `x`, in vectors of four.
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
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Loads that a lane has under way.
const LOADS: u32 = 4;

/// From a storage buffer.
pub(super) const ROWS: Implementation = Implementation {
    layouts: &[Layout::Cache(CacheLayout::F32Rows)],
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
    layouts: &[Layout::Cache(CacheLayout::F32Texels)],
    ..ROWS
};

/// Who reads what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Invocations, a multiple of `width`.
    pub lanes: u32,
    /// Lanes that go through one stretch side by side.
    pub width: u32,
}

impl Walk {
    /// Vectors of one stretch, where there are `count4` in all.
    pub fn stretch(&self, count4: u32) -> u32 {
        let stretches = (self.lanes / self.width.max(1)).max(1);
        count4.div_ceil(stretches).next_multiple_of(self.width.max(1))
    }
}

/// Sums `count` floats of `x`, a buffer or a texture, into a vector of four for each lane in `out`.
///
/// # Errors
/// [`GpuError::Shape`] when `count` is not a multiple of 4, `lanes` none of `width`, or a buffer is too small.
pub fn record(rec: &mut Recorder, x: &Buffer, out: &Buffer, count: u32, walk: Walk) -> Result<(), GpuError> {
    let Walk { lanes, width } = walk;
    if lanes == 0 {
        return Ok(());
    }
    if width == 0 || !lanes.is_multiple_of(width) {
        let (got, need) = (lanes.into(), width.into());
        return Err(GpuError::Shape { kernel: KERNEL.name, what: "lanes", got, need });
    }
    let count4 = multiple_of_4(KERNEL.name, "count", count)?;
    need(KERNEL.name, "bytes of x", x.all(), u64::from(count) * 4)?;
    need(KERNEL.name, "bytes of out", out.all(), u64::from(lanes) * 16)?;
    let one = choose::choose(KERNEL.op, Layout::Cache(CacheLayout::of(x)), rec.device())?;
    let variant = Variant { inputs: LOADS, ..one.variant(rec.device()) };
    let params = StreamParams { count4, lanes, width, stretch: walk.stretch(count4) };
    let groups = spread(KERNEL.name, lanes.div_ceil(variant.workgroup).into())?;
    rec.dispatch(one.kernel, variant, &[x.all(), out.all()], &params, groups)
}
