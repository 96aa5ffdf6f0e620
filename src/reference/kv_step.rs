//! Twin of `kv_step`: the host's own ring. A second copy of the slot arithmetic would only be a second place to
//! be wrong in, so this file has no arithmetic at all.

use crate::kv::{KvError, Ring, RingState, Row};

/// Consumes token `id`: its row, and the state after it.
///
/// # Errors
/// Those of [`Ring::step`].
pub fn kv_step(ring: &mut Ring, id: u32) -> Result<(Row, RingState), KvError> {
    let row = ring.step(id)?;
    Ok((row, ring.state()))
}
