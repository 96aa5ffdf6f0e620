//! Root-mean-square normalization of rows.

use super::choose;
use super::implementation::Layout;
use super::{Update, multiple_of_4, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};

params! { RmsNormParams { rows: u32, dim4: u32, eps: f32, pad0: u32 } }

/// `out[r, c] = x[r, c] * gain[c] / sqrt(mean_c(x[r, :]^2) + eps)`, or `+=` in the residual variant.
pub const KERNEL: Kernel = Kernel {
    op: "rms_norm",
    name: "rms_norm",
    source: concat!(
        include_str!("../../shaders/rms_norm.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: RmsNormParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: true,
    shares: None,
    gain: None,
    uses_subgroups: true,
};

/// Buffers of one [`record`] call.
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm<'a> {
    /// What is normalized (rows, dim).
    pub x: &'a Buffer,
    /// What each column is multiplied with (dim).
    pub gain: &'a Buffer,
    /// The normalized rows (rows, dim).
    pub out: &'a Buffer,
}

/// Normalizes `rows` rows of `dim` columns, in place of `out` or onto it.
///
/// # Errors
/// [`GpuError::Shape`] when `dim` is not a multiple of 4 or a buffer is too small.
pub fn record(
    rec: &mut Recorder,
    io: RmsNorm<'_>,
    rows: u32,
    dim: u32,
    eps: f32,
    update: Update,
) -> Result<(), GpuError> {
    let RmsNorm { x, gain, out } = io;
    let dim4 = multiple_of_4(KERNEL.name, "dim", dim)?;
    let bytes = u64::from(rows) * u64::from(dim) * 4;
    need(KERNEL.name, "bytes of x", x.all(), bytes)?;
    need(KERNEL.name, "bytes of gain", gain.all(), u64::from(dim) * 4)?;
    need(KERNEL.name, "bytes of out", out.all(), bytes)?;
    let one = choose::choose(KERNEL.op, Layout::Plain, rec.device())?;
    let variant = Variant { residual: update == Update::Add, ..one.variant(rec.device()) };
    let params = RmsNormParams { rows, dim4, eps, pad0: 0 };
    rec.dispatch(
        &KERNEL,
        variant,
        &[x.all(), gain.all(), out.all()],
        &params,
        spread(KERNEL.name, rows.into())?,
    )
}
