//! Slots, and the structs that host and GPU share.
//!
//! Every layer's cache buffer has three regions, in this order, the same in each layer:
//!
//! ```text
//! pinned       S slots       token t < S lies in slot t, for ever
//! anchor ring  A + X slots   unpinned anchor number k lies in slot S + k mod (A + X)
//! live ring    L + X slots   token t >= S lies in slot S + (A + X) + t mod (L + X)
//!
//! L = max(W, M if seg_rule)
//! ```
//!
//! An anchor is written twice, so that nothing is ever moved. A query reads one range of each region: the
//! pinned slots up to itself; of the newest A anchors those younger than D that lie before its live range;
//! and its live range, a suffix that holds its segment, its window and itself. The ranges do not overlap, so
//! no key is read twice.
//!
//! In a model that mixes windows (Gemma), a layer with a window of its own reads of each range what lies inside that window; the
//! slots are those of all layers. So a row says for both kinds of layer where their ranges begin.
//!
//! X is the most steps in flight. With X spare slots in both rings a step never overwrites what the X steps
//! before it could read, so undoing up to X steps is restoring [`RingState`], a few integers, and moving
//! nothing.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use serde::Serialize;

use super::{KvError, MAX_POSITIONS, NONE, Policy};

/// The regions of one layer's cache buffer, in slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLayout {
    /// S: pinned slots, from slot 0.
    pub sinks: u32,
    /// A + X: slots of the anchor ring, from slot S; 0 for a policy that never reads an anchor from it.
    pub anchor_cap: u32,
    /// L + X: slots of the live ring, from slot S + `anchor_cap`.
    pub live_cap: u32,
}

impl RingLayout {
    /// The layout of `policy` with at most `in_flight` steps to undo (X, 1 to [`MAX_POSITIONS`]).
    ///
    /// # Errors
    /// A bound of the policy, or `in_flight`, out of its range.
    pub fn new(policy: &Policy, in_flight: u32) -> Result<Self, KvError> {
        policy.validate()?;
        if !(1..=MAX_POSITIONS).contains(&in_flight) {
            return Err(KvError::OutOfRange {
                field: "in_flight",
                value: in_flight,
                min: 1,
                max: MAX_POSITIONS,
            });
        }
        let keeps_anchors = policy.has_anchors() && policy.max_anchors > 0;
        Ok(Self {
            sinks: policy.sinks,
            anchor_cap: if keeps_anchors { policy.max_anchors + in_flight } else { 0 },
            live_cap: policy.live_len() + in_flight,
        })
    }

    /// Slots of one layer's cache buffer.
    pub fn slots(&self) -> u32 {
        self.sinks + self.anchor_cap + self.live_cap
    }

    /// The slot of unpinned anchor number `k`; [`NONE`] without an anchor ring.
    pub fn anchor_slot(&self, k: u32) -> u32 {
        k.checked_rem(self.anchor_cap).map_or(NONE, |index| self.sinks + index)
    }

    /// The slot of the token at `pos` outside the anchor ring: its pinned slot, or its place in the live
    /// ring.
    pub fn live_slot(&self, pos: u32) -> u32 {
        if pos < self.sinks {
            return pos;
        }
        self.sinks + self.anchor_cap + pos % self.live_cap
    }

    /// Every key that `row` reads, region by region, in a layer that has a window of its own (`near`) or in one that has none;
    /// `chunk` is the chunk it belongs to and that chunk's anchor rows, or `None` for a single step. This is the walk of the
    /// attention kernels, as a list.
    ///
    /// # Panics
    /// When the list comes to an anchor of the chunk that `chunk` does not name.
    pub fn keys<'a>(
        &self,
        row: &Row,
        near: bool,
        chunk: Option<(&Chunk, &'a [u32])>,
    ) -> impl Iterator<Item = (Region, Key)> + 'a {
        let layout = *self;
        let (start, anchors_before, anchor_rows) = match chunk {
            Some((chunk, anchor_rows)) => (chunk.start, chunk.anchors_before, anchor_rows),
            None => (u32::MAX, u32::MAX, &[][..]),
        };
        let token = move |pos| {
            if pos < start { Key::Slot(layout.live_slot(pos)) } else { Key::ChunkRow(pos - start) }
        };
        let anchor = move |k| match k {
            k if k < anchors_before => Key::Slot(layout.anchor_slot(k)),
            k => Key::ChunkRow(anchor_rows[(k - anchors_before) as usize]),
        };
        let [pinned, anchors, live] = row.ranges(near);
        let pinned = pinned.map(move |pos| (Region::Pinned, token(pos)));
        let anchors = anchors.map(move |k| (Region::Anchor, anchor(k)));
        let live = live.map(move |pos| (Region::Live, token(pos)));
        pinned.chain(anchors).chain(live)
    }
}

/// The part of the cache that a query reads a key from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// The first S tokens, read with the query rotated at [`Row::pinned_query_pos`].
    Pinned,
    /// Anchors before the live range.
    Anchor,
    /// The query's segment and window, and itself.
    Live,
}

/// Where a key lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// In this slot of the layer's cache buffer.
    Slot(u32),
    /// In this row of the prompt chunk, which is not in the cache yet.
    ChunkRow(u32),
}

/// All constants of a ring, in the layout of the uniform that `kv_step` reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct RingParams {
    /// S.
    pub sinks: u32,
    /// A + X, or 0.
    pub anchor_cap: u32,
    /// L + X.
    pub live_cap: u32,
    /// X: steps that can be undone.
    pub in_flight: u32,
    /// W, the query counted.
    pub window: u32,
    /// 1 if a token sees its whole segment.
    pub seg_rule: u32,
    /// 1 if an anchor sees no earlier anchor.
    pub isolated: u32,
    /// A.
    pub max_anchors: u32,
    /// M.
    pub max_segment: u32,
    /// D.
    pub max_distance: u32,
    /// Positions this ring can hold: the end of `full`, else [`MAX_POSITIONS`].
    pub limit: u32,
    /// What happens at M: an [`AtMaxSegment`](super::AtMaxSegment) as its number.
    pub at_max_segment: u32,
    /// The window of the layers that have one of their own, the query counted; `u32::MAX` if there are none.
    pub layer_window: u32,
    /// Padding to a multiple of 16 bytes; 0.
    pub pad0: u32,
    /// As `pad0`.
    pub pad1: u32,
    /// As `pad0`.
    pub pad2: u32,
}

/// What a step changes; all there is to undo it. Zero at the start, and the same struct on the GPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct RingState {
    /// Position of the next token, so also the tokens seen.
    pub pos: u32,
    /// Position of the first token of the open segment.
    pub seg_start: u32,
    /// Unpinned anchors so far; the number of the next one.
    pub n_anchors: u32,
    /// k0 of the next query: the first anchor that neither A nor D has let go.
    pub anchor_first: u32,
    /// k1 of the next query, if it is an ordinary token: the end of the anchors before its live range.
    pub anchor_end: u32,
    /// Anchors so far, pinned ones counted.
    pub total_anchors: u32,
    /// Those of them that M forced, or that stand at M where the policy inserts one there.
    pub forced_anchors: u32,
    /// Segments closed: the anchors, where there is a segment rule.
    pub segments: u32,
    /// Entries that the next query can read, if it is an ordinary token, itself not counted; at the limit,
    /// where there is no next query, those that the last one could read.
    pub live: u32,
    /// The largest `live` after any token so far.
    pub peak_live: u32,
    /// 1 if the last token is one of [`Policy::not_after`], so that the next is no anchor by its id.
    pub barred: u32,
    /// The first anchor, from `anchor_first` on, that the next query still sees in a layer with a window of its own.
    pub near_anchor: u32,
}

/// What one query row needs: the extents it reads and the slots it writes. The same struct on the GPU.
///
/// It reads pinned positions `0..pinned_end`, anchor numbers `anchor_first..anchor_end` and live positions
/// `live_first..=pos` (none if `pos < S`); in a layer with a window of its own only anchors from `near_anchor` on and positions from
/// `near_first` on ([`Row::ranges`]).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Row {
    /// The token's position.
    pub pos: u32,
    /// End of the pinned positions read: min(pos + 1, S).
    pub pinned_end: u32,
    /// k0: the first anchor number read.
    pub anchor_first: u32,
    /// k1: the end of the anchor numbers read; k0 if an isolated anchor asks.
    pub anchor_end: u32,
    /// The first live position read; S if `pos < S`.
    pub live_first: u32,
    /// Keys read, in all three regions, by a layer without a window of its own.
    pub n_keys: u32,
    /// Slot for this token's K and V: pinned or live; [`NONE`] if a later row of the chunk takes it.
    pub live_slot: u32,
    /// Slot for the second copy of an unpinned anchor, else [`NONE`]; [`NONE`] too if a later row of the
    /// chunk takes it.
    pub anchor_slot: u32,
    /// Where the query is rotated to read pinned keys: min(pos, D - 1).
    pub pinned_query_pos: u32,
    /// 1 if the token is an anchor.
    pub is_anchor: u32,
    /// 1 if it is one only because M forced it, or stands at M where the policy inserts one there.
    pub forced: u32,
    /// Position of the first token of its segment.
    pub seg_start: u32,
    /// The first slot of its text in the pool; the row's slots count from there. 0 for a text alone, and as a ring hands it out.
    pub base: u32,
    /// The first position inside the window of the layers that have one of their own; 0 if there are none.
    pub near_first: u32,
    /// The first anchor number read there: `anchor_first` to `anchor_end`.
    pub near_anchor: u32,
}

impl Row {
    /// Pinned positions, anchor numbers and live positions read: by a layer that has a window of its own (`near`), or by one that
    /// has none.
    pub fn ranges(&self, near: bool) -> [Range<u32>; 3] {
        let (first, anchor) = if near { (self.near_first, self.near_anchor) } else { (0, self.anchor_first) };
        [first..self.pinned_end, anchor..self.anchor_end, self.live_first.max(first)..self.pos + 1]
    }
}

/// What the rows of one prompt chunk have in common: where the cache ends and the chunk begins.
///
/// Position `p < start` and anchor number `k < anchors_before` are read from their slots; otherwise from
/// chunk row `p - start`, and from chunk row `chunk_anchors[k - anchors_before]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Chunk {
    /// c0: position of row 0.
    pub start: u32,
    /// Rows in the chunk.
    pub rows: u32,
    /// n0: unpinned anchors before the chunk.
    pub anchors_before: u32,
    /// Unpinned anchors in the chunk: entries of `chunk_anchors` filled in.
    pub anchors: u32,
}

/// An anchor that is remembered, and what it stands for: the tokens `start..=pos`, of which only it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Anchor {
    /// Its number, counted from 0 over all unpinned anchors of the text.
    pub number: u32,
    /// Its position.
    pub pos: u32,
    /// Position of the first token of the segment that it closes.
    pub start: u32,
}

/// What the cache holds, in entries (one entry is one token's K and V in every layer).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KvCounts {
    /// Tokens seen.
    pub seen: u32,
    /// Entries that the next token can read.
    pub live: u32,
    /// The largest `live` after any token, however the text was cut into chunks.
    pub peak_live: u32,
    /// Anchors seen, pinned and forced ones counted.
    pub anchors: u32,
    /// Anchors only because a segment reached M tokens, or at M where the policy inserts one there.
    pub forced_anchors: u32,
    /// Unpinned anchors let go by A or D; one inside the window is readable until the window passes.
    pub dropped_anchors: u32,
    /// Segments closed; 0 without a segment rule.
    pub segments: u32,
}

impl From<&RingState> for KvCounts {
    fn from(state: &RingState) -> Self {
        Self {
            seen: state.pos,
            live: state.live,
            peak_live: state.peak_live,
            anchors: state.total_anchors,
            forced_anchors: state.forced_anchors,
            dropped_anchors: state.anchor_first,
            segments: state.segments,
        }
    }
}
