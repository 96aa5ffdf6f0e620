//! Log-probabilities of the chosen and of the likeliest tokens, so that logits need not leave the device.

use super::sample::RowSettings;
use super::{need, params, per_row};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};
use crate::sampling::MAX_LOGPROBS;

params! { TopLogprobsParams { vocab: u32, capacity: u32, pad0: u32, pad1: u32 } }

/// One entry of `out` for each row: the chosen id, the bits of its log-probability, then as many pairs of the likeliest.
pub const KERNEL: Kernel = Kernel {
    op: "top_logprobs",
    name: "top_logprobs",
    source: concat!(
        include_str!("../../shaders/top_logprobs.wgsl"),
        include_str!("../../shaders/shared/order.wgsl"),
        include_str!("../../shaders/shared/best.wgsl"),
        include_str!("../../shaders/shared/loop_state.wgsl"),
        include_str!("../../shaders/shared/row_settings.wgsl")
    ),
    params: TopLogprobsParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::Read, Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: true,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Words of one entry of `out`.
pub const ENTRY_WORDS: u32 = 2 * (MAX_LOGPROBS + 1);

/// One workgroup does it all, so it has as many lanes as WebGPU allows everywhere.
pub(super) const WORKGROUP: u32 = 256;

/// Buffers of one [`record`] call.
#[derive(Clone, Copy, Debug)]
pub struct TopLogprobs<'a> {
    /// The model's own logits, without bias and penalties (rows, vocab).
    pub logits: &'a Buffer,
    /// The ids chosen (rows).
    pub chosen: &'a Buffer,
    /// `LoopState` (rows), 16 bytes each: the entry written is its first word, modulo the capacity.
    pub loop_state: &'a Buffer,
    /// [`RowSettings`] (rows): how many of the likeliest are listed, at most [`MAX_LOGPROBS`] and the vocabulary.
    pub settings: &'a Buffer,
    /// Entries of [`ENTRY_WORDS`] words (rows, capacity).
    pub out: &'a Buffer,
}

/// Writes the entry of one token of each of `rows` rows: the chosen id and the likeliest, each with its log-probability in nats. A row
/// whose settings ask for none has no entry.
///
/// # Errors
/// [`GpuError::Shape`] when there is no entry, or a buffer is too small.
pub fn record(
    rec: &mut Recorder,
    io: TopLogprobs<'_>,
    rows: u32,
    vocab: u32,
    capacity: u32,
) -> Result<(), GpuError> {
    for (what, got) in [("vocab", vocab), ("entries", capacity)] {
        if got == 0 {
            return Err(GpuError::Shape { kernel: KERNEL.name, what, got: 0, need: 1 });
        }
    }
    let rows64 = u64::from(rows);
    need(KERNEL.name, "bytes of logits", io.logits.all(), rows64 * u64::from(vocab) * 4)?;
    need(KERNEL.name, "bytes of chosen", io.chosen.all(), rows64 * 4)?;
    need(KERNEL.name, "bytes of loop_state", io.loop_state.all(), rows64 * 16)?;
    need(KERNEL.name, "bytes of settings", io.settings.all(), RowSettings::bytes(rows))?;
    let entries = rows64 * u64::from(capacity);
    need(KERNEL.name, "bytes of out", io.out.all(), entries * u64::from(ENTRY_WORDS) * 4)?;
    let params = TopLogprobsParams { vocab, capacity, pad0: 0, pad1: 0 };
    let bindings = [io.logits.all(), io.chosen.all(), io.loop_state.all(), io.settings.all(), io.out.all()];
    rec.dispatch(&KERNEL, Variant::plain(WORKGROUP), &bindings, &params, per_row(KERNEL.name, rows)?)
}
