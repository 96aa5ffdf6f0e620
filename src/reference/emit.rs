//! Twin of `emit`: one token out of the loop.

use crate::kernels::emit::{EmitShape, LoopState};

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

/// Hands out `drawn`, the token for position `pos`; `ends` says whether a text ends with it.
///
/// # Panics
/// When the outbox or the recent tokens have no place.
pub fn emit(state: &mut LoopState, shape: EmitShape, drawn: u32, pos: u32, ends: bool, out: Emitted<'_>) {
    if state.stopped != 0 {
        return;
    }
    if drawn >= shape.vocab {
        state.stopped = LoopState::STOP_NOT_FINITE;
        return;
    }
    *out.token = drawn;
    out.outbox[(state.emitted % shape.outbox_cap) as usize] = drawn;
    out.recent[(pos % shape.recent_cap) as usize] = drawn;
    state.emitted += 1;
    state.stopped = if ends {
        LoopState::STOP_TOKEN
    } else if state.emitted == state.budget {
        LoopState::STOP_BUDGET
    } else if pos >= shape.limit {
        LoopState::STOP_LIMIT
    } else {
        0
    };
}
