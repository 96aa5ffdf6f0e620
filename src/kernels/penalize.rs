//! Repetition, frequency and presence penalties over the last tokens of the text.

use super::emit::LoopState;
use super::sample::RowSettings;
use super::{MAP_WORKGROUP, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};
use crate::kv::RingState;

params! { PenalizeParams { rows: u32, vocab: u32, capacity: u32, groups_of_row: u32 } }

/// Penalizes in place; exempt and banned tokens are left alone.
pub const KERNEL: Kernel = Kernel {
    op: "penalize",
    name: "penalize",
    source: concat!(
        include_str!("../../shaders/penalize.wgsl"),
        include_str!("../../shaders/shared/group.wgsl"),
        include_str!("../../shaders/shared/banned.wgsl"),
        include_str!("../../shaders/shared/ring_state.wgsl"),
        include_str!("../../shaders/shared/loop_state.wgsl"),
        include_str!("../../shaders/shared/row_settings.wgsl")
    ),
    params: PenalizeParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: false,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Buffers of one [`record`] call.
#[derive(Clone, Copy, Debug)]
pub struct Penalize<'a> {
    /// [`RingState`] (texts); the window ends before its position.
    pub state: &'a Buffer,
    /// The token at position p at `p % capacity` (texts, capacity).
    pub recent: &'a Buffer,
    /// The ids that no penalty of a row touches, as a bit set over the vocabulary (rows, vocab / 32).
    pub exempt_bits: &'a Buffer,
    /// [`LoopState`] (rows), which names the text of each row.
    pub loop_state: &'a Buffer,
    /// [`RowSettings`] (rows): the penalties, and over how many tokens.
    pub settings: &'a Buffer,
    /// Changed in place (rows, vocab).
    pub scores: &'a Buffer,
}

/// Penalizes in `rows` rows the last tokens of their texts, each by its own settings, of which none looks back at more than `window`
/// tokens; nothing is recorded where that is none.
///
/// # Errors
/// [`GpuError::Shape`] when `capacity` is smaller than the window, or a buffer is too small.
pub fn record(
    rec: &mut Recorder,
    io: Penalize<'_>,
    rows: u32,
    capacity: u32,
    vocab: u32,
    window: u32,
) -> Result<(), GpuError> {
    if window == 0 {
        return Ok(());
    }
    if capacity < window {
        let (got, need) = (capacity.into(), window.into());
        return Err(GpuError::Shape { kernel: KERNEL.name, what: "capacity of recent", got, need });
    }
    need(KERNEL.name, "bytes of state", io.state.all(), size_of::<RingState>() as u64)?;
    need(KERNEL.name, "bytes of recent", io.recent.all(), u64::from(capacity) * 4)?;
    let n = u64::from(rows);
    need(KERNEL.name, "bytes of exempt_bits", io.exempt_bits.all(), n * u64::from(vocab.div_ceil(32)) * 4)?;
    need(KERNEL.name, "bytes of loop_state", io.loop_state.all(), n * size_of::<LoopState>() as u64)?;
    need(KERNEL.name, "bytes of settings", io.settings.all(), RowSettings::bytes(rows))?;
    need(KERNEL.name, "bytes of scores", io.scores.all(), n * u64::from(vocab) * 4)?;
    let groups_of_row = window.div_ceil(MAP_WORKGROUP);
    let params = PenalizeParams { rows, vocab, capacity, groups_of_row };
    let bindings = [
        io.state.all(),
        io.recent.all(),
        io.exempt_bits.all(),
        io.loop_state.all(),
        io.settings.all(),
        io.scores.all(),
    ];
    let groups = spread(KERNEL.name, n * u64::from(groups_of_row))?;
    rec.dispatch(&KERNEL, Variant::plain(MAP_WORKGROUP), &bindings, &params, groups)
}
