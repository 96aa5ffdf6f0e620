//! The ring step on the GPU: the twin of [`Ring::step`](crate::kv::Ring::step).

use core::mem::offset_of;

use super::emit::LoopState;
use super::{need, per_row};
use crate::gpu::pipeline::{Access, Kernel, ParamsLayout, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};
use crate::kv::{RingParams, RingState, Row};

/// Consumes one token of each text: advances its state and writes the token's [`Row`].
pub const KERNEL: Kernel = Kernel {
    op: "kv_step",
    name: "kv_step",
    source: concat!(
        include_str!("../../shaders/kv_step.wgsl"),
        include_str!("../../shaders/shared/row.wgsl"),
        include_str!("../../shaders/shared/ring_state.wgsl"),
        include_str!("../../shaders/shared/loop_state.wgsl")
    ),
    params: ParamsLayout {
        name: "RingParams",
        size: size_of::<RingParams>(),
        fields: &[
            ("sinks", offset_of!(RingParams, sinks)),
            ("anchor_cap", offset_of!(RingParams, anchor_cap)),
            ("live_cap", offset_of!(RingParams, live_cap)),
            ("in_flight", offset_of!(RingParams, in_flight)),
            ("window", offset_of!(RingParams, window)),
            ("seg_rule", offset_of!(RingParams, seg_rule)),
            ("isolated", offset_of!(RingParams, isolated)),
            ("max_anchors", offset_of!(RingParams, max_anchors)),
            ("max_segment", offset_of!(RingParams, max_segment)),
            ("max_distance", offset_of!(RingParams, max_distance)),
            ("limit", offset_of!(RingParams, limit)),
            ("at_max_segment", offset_of!(RingParams, at_max_segment)),
            ("layer_window", offset_of!(RingParams, layer_window)),
            ("pad0", offset_of!(RingParams, pad0)),
            ("pad1", offset_of!(RingParams, pad1)),
            ("pad2", offset_of!(RingParams, pad2)),
        ],
    },
    bindings: &[
        Access::Read,
        Access::Read,
        Access::ReadWrite,
        Access::ReadWrite,
        Access::ReadWrite,
        Access::Read,
    ],
    weights: &[],
    uses_reduce: false,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Buffers of one [`record`] call.
#[derive(Clone, Copy, Debug)]
pub struct KvStep<'a> {
    /// The tokens consumed (rows).
    pub token: &'a Buffer,
    /// [`Policy::anchor_bits`](crate::kv::Policy::anchor_bits).
    pub anchor_bits: &'a Buffer,
    /// [`RingState`] (texts).
    pub state: &'a Buffer,
    /// Positions of the anchors kept (texts, anchor_cap).
    pub anchor_pos: &'a Buffer,
    /// [`Row`]s written (rows).
    pub rows: &'a Buffer,
    /// [`LoopState`] (rows), which names the text of each row: once it has stopped, a step changes nothing.
    pub loop_state: &'a Buffer,
}

/// Consumes `rows` tokens, each of another text of the pool.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small.
pub fn record(rec: &mut Recorder, io: KvStep<'_>, rows: u32, params: &RingParams) -> Result<(), GpuError> {
    let n = u64::from(rows);
    need(KERNEL.name, "bytes of token", io.token.all(), n * 4)?;
    need(KERNEL.name, "bytes of state", io.state.all(), size_of::<RingState>() as u64)?;
    need(KERNEL.name, "bytes of anchor_pos", io.anchor_pos.all(), u64::from(params.anchor_cap) * 4)?;
    need(KERNEL.name, "bytes of rows", io.rows.all(), n * size_of::<Row>() as u64)?;
    need(KERNEL.name, "bytes of loop_state", io.loop_state.all(), n * size_of::<LoopState>() as u64)?;
    let bindings = [
        io.token.all(),
        io.anchor_bits.all(),
        io.state.all(),
        io.anchor_pos.all(),
        io.rows.all(),
        io.loop_state.all(),
    ];
    rec.dispatch(&KERNEL, Variant::plain(1), &bindings, params, per_row(KERNEL.name, rows)?)
}
