//! Negative log-likelihood of given tokens, so that the logits of a text need never be kept.

use super::choose;
use super::implementation::Layout;
use super::{need, params, spread};
use crate::gpu::pipeline::{Access, Kernel};
use crate::gpu::{Buffer, GpuError, Recorder};

params! { NllParams { rows: u32, cols: u32, offset: u32, pad0: u32 } }

/// `out[offset + r] = logsumexp(logits[r, :]) - logits[r, targets[offset + r]]`.
pub const KERNEL: Kernel = Kernel {
    op: "nll",
    name: "nll",
    source: concat!(include_str!("../../shaders/nll.wgsl"), include_str!("../../shaders/shared/group.wgsl")),
    params: NllParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: true,
    shares: None,
    gain: None,
    uses_subgroups: true,
};

/// Buffers of one [`record`] call.
#[derive(Clone, Copy, Debug)]
pub struct Nll<'a> {
    /// Logits (rows, cols).
    pub logits: &'a Buffer,
    /// Columns that are asked for (offset + rows).
    pub targets: &'a Buffer,
    /// Their negative log-likelihoods (offset + rows).
    pub out: &'a Buffer,
}

/// NLL in nats of `rows` rows of logits for `targets[offset..]`, into `out[offset..]`.
///
/// # Errors
/// [`GpuError::Shape`] when there is no column or a buffer is too small.
pub fn record(rec: &mut Recorder, io: Nll<'_>, rows: u32, cols: u32, offset: u32) -> Result<(), GpuError> {
    let Nll { logits, targets, out } = io;
    if cols == 0 {
        return Err(GpuError::Shape { kernel: KERNEL.name, what: "cols", got: 0, need: 1 });
    }
    let end = (u64::from(offset) + u64::from(rows)) * 4;
    need(KERNEL.name, "bytes of logits", logits.all(), u64::from(rows) * u64::from(cols) * 4)?;
    need(KERNEL.name, "bytes of targets", targets.all(), end)?;
    need(KERNEL.name, "bytes of out", out.all(), end)?;
    let params = NllParams { rows, cols, offset, pad0: 0 };
    let variant = choose::choose(KERNEL.op, Layout::Plain, rec.device())?.variant(rec.device());
    let groups = spread(KERNEL.name, rows.into())?;
    rec.dispatch(&KERNEL, variant, &[logits.all(), targets.all(), out.all()], &params, groups)
}
