//! The end of a decode step: the token goes out, the stops are tested, the next step gets its input.

use super::{need, params, per_row};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};
use crate::kv::{AtMaxSegment, Policy, RingState};

params! { EmitParams {
    vocab: u32, outbox_cap: u32, recent_cap: u32, limit: u32,
    at_max_segment: u32, max_segment: u32, insert: u32, pad0: u32,
} }

/// Where the decode loop stands with one text; the same struct on the GPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct LoopState {
    /// Tokens handed out since the loop began.
    pub emitted: u32,
    /// Tokens after which it stops.
    pub budget: u32,
    /// One of the `STOP_` constants, 0 while it runs.
    pub stopped: u32,
    /// The text that the row belongs to, by its place in the pool.
    pub text: u32,
}

impl LoopState {
    /// The last token is one that ends a text.
    pub const STOP_TOKEN: u32 = 1;
    /// The budget is used up.
    pub const STOP_BUDGET: u32 = 2;
    /// The ring can hold no further position.
    pub const STOP_LIMIT: u32 = 3;
    /// The logits were not finite; no token was handed out.
    pub const STOP_NOT_FINITE: u32 = 4;
    /// The next step would make a segment too long, and the policy asks for an error then.
    pub const STOP_SEGMENT: u32 = 5;
}

/// Hands out one token of each row, unless its loop has stopped.
pub const KERNEL: Kernel = Kernel {
    op: "emit",
    name: "emit",
    source: concat!(
        include_str!("../../shaders/emit.wgsl"),
        include_str!("../../shaders/shared/ring_state.wgsl"),
        include_str!("../../shaders/shared/loop_state.wgsl")
    ),
    params: EmitParams::LAYOUT,
    bindings: &[
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::ReadWrite,
        Access::ReadWrite,
        Access::ReadWrite,
        Access::ReadWrite,
    ],
    weights: &[],
    uses_reduce: false,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Buffers of one [`record`] call.
#[derive(Clone, Copy, Debug)]
pub struct Emit<'a> {
    /// The tokens drawn (rows); an id outside the vocabulary says that there was nothing to draw from.
    pub drawn: &'a Buffer,
    /// The ids that end the text of a row, as a bit set over the vocabulary (rows, vocab / 32).
    pub stop_bits: &'a Buffer,
    /// [`Policy::anchor_bits`].
    pub anchor_bits: &'a Buffer,
    /// [`RingState`] (texts), after the step.
    pub ring: &'a Buffer,
    /// [`LoopState`] (rows), which names the text of each row.
    pub loop_state: &'a Buffer,
    /// Inputs of the next step (rows).
    pub token: &'a Buffer,
    /// Tokens handed out (rows, outbox_cap), number n at n mod outbox_cap.
    pub outbox: &'a Buffer,
    /// The newest tokens of the texts (texts, recent_cap), that of position p at p mod recent_cap.
    pub recent: &'a Buffer,
}

/// What the policy says about a segment that reaches M.
#[derive(Clone, Copy, Debug)]
pub struct SegmentBound {
    /// What happens; [`AtMaxSegment::Close`] is the ring's matter, not this kernel's.
    pub at_max_segment: AtMaxSegment,
    /// M.
    pub max_segment: u32,
    /// The anchor put in.
    pub insert: u32,
}

impl SegmentBound {
    /// The bound of `policy`.
    pub fn of(policy: &Policy) -> Self {
        let at_max_segment = if policy.seg_rule { policy.at_max_segment } else { AtMaxSegment::Close };
        let insert = policy.insert.map_or(0, |insert| insert.id);
        Self { at_max_segment, max_segment: policy.max_segment, insert }
    }
}

/// How many of each there are.
#[derive(Clone, Copy, Debug)]
pub struct EmitShape {
    /// Rows of the step.
    pub rows: u32,
    /// Tokens of the vocabulary.
    pub vocab: u32,
    /// Places in the outbox of a row.
    pub outbox_cap: u32,
    /// Places for the recent tokens of a text.
    pub recent_cap: u32,
    /// Positions the ring can hold.
    pub limit: u32,
    /// Where segments end.
    pub bound: SegmentBound,
}

/// Hands out the tokens in `io.drawn`.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small.
pub fn record(rec: &mut Recorder, io: Emit<'_>, shape: EmitShape) -> Result<(), GpuError> {
    let EmitShape { rows, vocab, outbox_cap, recent_cap, limit, bound } = shape;
    let bit_words = u64::from(vocab.div_ceil(32));
    let n = u64::from(rows);
    need(KERNEL.name, "bytes of drawn", io.drawn.all(), n * 4)?;
    need(KERNEL.name, "bytes of stop_bits", io.stop_bits.all(), n * bit_words * 4)?;
    need(KERNEL.name, "bytes of anchor_bits", io.anchor_bits.all(), 2 * bit_words * 4)?;
    need(KERNEL.name, "bytes of ring", io.ring.all(), size_of::<RingState>() as u64)?;
    need(KERNEL.name, "bytes of loop_state", io.loop_state.all(), n * size_of::<LoopState>() as u64)?;
    need(KERNEL.name, "bytes of token", io.token.all(), n * 4)?;
    need(KERNEL.name, "bytes of outbox", io.outbox.all(), n * u64::from(outbox_cap.max(1)) * 4)?;
    need(KERNEL.name, "bytes of recent", io.recent.all(), u64::from(recent_cap.max(1)) * 4)?;
    let params = EmitParams {
        vocab,
        outbox_cap: outbox_cap.max(1),
        recent_cap: recent_cap.max(1),
        limit,
        at_max_segment: bound.at_max_segment as u32,
        max_segment: bound.max_segment,
        insert: bound.insert,
        pad0: 0,
    };
    let bindings = [
        io.drawn.all(),
        io.stop_bits.all(),
        io.anchor_bits.all(),
        io.ring.all(),
        io.loop_state.all(),
        io.token.all(),
        io.outbox.all(),
        io.recent.all(),
    ];
    rec.dispatch(&KERNEL, Variant::plain(1), &bindings, &params, per_row(KERNEL.name, rows)?)
}
