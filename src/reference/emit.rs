//! Twin of `emit`: one token out of the loop.

use crate::kernels::emit::{EmitShape, LoopState};
use crate::kv::{AtMaxSegment, RingState, TokenSet};

/// What the step writes beside the loop's state.
#[derive(Debug)]
pub struct Emitted<'a> {
    /// Input of the next step.
    pub token: &'a mut u32,
    /// Tokens handed out, number n at n mod its length.
    pub outbox: &'a mut [u32],
    /// The newest tokens of the text, that of position p at p mod its length.
    pub recent: &'a mut [u32],
}

/// The two sets of ids that it looks into.
#[derive(Clone, Copy, Debug)]
pub struct Lists<'a> {
    /// Those that a text ends with.
    pub ends: &'a TokenSet,
    /// The anchors.
    pub anchors: &'a TokenSet,
}

/// Hands out `drawn`, the token after those that `ring` has consumed.
///
/// # Panics
/// When the outbox or the recent tokens have no place.
pub fn emit(
    state: &mut LoopState,
    shape: EmitShape,
    drawn: u32,
    lists: Lists<'_>,
    ring: &RingState,
    out: Emitted<'_>,
) {
    if state.stopped != 0 {
        return;
    }
    if drawn >= shape.vocab {
        state.stopped = LoopState::STOP_NOT_FINITE;
        return;
    }
    let closes = lists.anchors.contains(drawn) && ring.barred == 0;
    let last_of_segment = ring.pos - ring.seg_start + 1 == shape.bound.max_segment;
    let overflows = !closes && !lists.ends.contains(drawn) && last_of_segment;
    let id = match shape.bound.at_max_segment {
        AtMaxSegment::Insert if overflows => shape.bound.insert,
        _ => drawn,
    };
    *out.token = id;
    out.outbox[(state.emitted % shape.outbox_cap) as usize] = id;
    out.recent[(ring.pos % shape.recent_cap) as usize] = id;
    state.emitted += 1;
    state.stopped = if lists.ends.contains(id) {
        LoopState::STOP_TOKEN
    } else if state.emitted == state.budget {
        LoopState::STOP_BUDGET
    } else if ring.pos >= shape.limit {
        LoopState::STOP_LIMIT
    } else if overflows && shape.bound.at_max_segment == AtMaxSegment::Error {
        LoopState::STOP_SEGMENT
    } else {
        0
    };
}
