//! Bias and bans: the scores that the rest of the sampler works on.

use super::sample::RowSettings;
use super::{MAP_WORKGROUP, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};

params! { AdjustParams { n: u32, vocab: u32, pad1: u32, pad2: u32 } }

/// `scores[r, i] = logits[r, i] + bias[r, i]`, [`BANNED`](crate::sampling::BANNED) where the bias is; without a bias the logits.
pub const KERNEL: Kernel = Kernel {
    op: "adjust",
    name: "adjust",
    source: concat!(
        include_str!("../../shaders/adjust.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/banned.wgsl"),
        include_str!("../../shaders/shared/row_settings.wgsl")
    ),
    params: AdjustParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: false,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Buffers of one [`record`] call.
#[derive(Clone, Copy, Debug)]
pub struct Adjust<'a> {
    /// The model's own logits (rows, vocab).
    pub logits: &'a Buffer,
    /// What is added to them (rows, vocab); of a row whose settings have no bias it does not matter what lies there.
    pub bias: &'a Buffer,
    /// [`RowSettings`] (rows).
    pub settings: &'a Buffer,
    /// Written (rows, vocab).
    pub scores: &'a Buffer,
}

/// Scores of the logits of `rows` rows.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small.
pub fn record(rec: &mut Recorder, io: Adjust<'_>, rows: u32, vocab: u32) -> Result<(), GpuError> {
    let Adjust { logits, bias, settings, scores } = io;
    let bytes = u64::from(rows) * u64::from(vocab) * 4;
    need(KERNEL.name, "bytes of logits", logits.all(), bytes)?;
    need(KERNEL.name, "bytes of bias", bias.all(), bytes)?;
    need(KERNEL.name, "bytes of settings", settings.all(), RowSettings::bytes(rows))?;
    need(KERNEL.name, "bytes of scores", scores.all(), bytes)?;
    // Both are in memory, so there are fewer than 2^32 of them.
    let n = (bytes / 4) as u32;
    let params = AdjustParams { n, vocab, pad1: 0, pad2: 0 };
    let groups = spread(KERNEL.name, n.div_ceil(MAP_WORKGROUP).into())?;
    let bindings = [logits.all(), bias.all(), settings.all(), scores.all()];
    rec.dispatch(&KERNEL, Variant::plain(MAP_WORKGROUP), &bindings, &params, groups)
}
