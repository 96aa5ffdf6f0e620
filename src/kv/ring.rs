//! The ring: consumes tokens, and says for each which slots it writes and which extents it reads.
//!
//! It is the rule of [`super::mask`] at O(1) a token: as a text goes on, the live range and the anchor range
//! only ever move forward, so a state of a few integers and the positions of the anchors kept are all it
//! needs. Closing a segment moves two numbers; nothing is erased until it is overwritten. Where the slots
//! lie, and why they suffice: [`RingLayout`].

use std::ops::Range;

use super::layout::{Anchor, Chunk, KvCounts, RingLayout, RingParams, RingState, Row};
use super::{KvError, MAX_POSITIONS, NONE, Policy, Tagger};

/// The host's ring: consumes tokens, hands out rows. The CPU twin of the kernel `kv_step`.
#[derive(Clone, Debug)]
pub struct Ring {
    params: RingParams,
    layout: RingLayout,
    policy: Policy,
    state: RingState,
    /// Position of unpinned anchor number k, at `k % anchor_cap`.
    anchor_pos: Box<[u32]>, // (anchor_cap)
    /// Where the segment that it closes begins, at the same place. Only for people: no rule reads it.
    anchor_start: Box<[u32]>, // (anchor_cap)
    /// The farthest position reached since the last reset; the base of what can be undone.
    reached: u32,
}

impl Ring {
    /// An empty ring for `policy` with at most `in_flight` steps to undo (X, 1 to [`MAX_POSITIONS`]).
    ///
    /// # Errors
    /// A bound of the policy, or `in_flight`, out of its range.
    pub fn new(policy: &Policy, in_flight: u32) -> Result<Self, KvError> {
        let layout = RingLayout::new(policy, in_flight)?;
        let params = RingParams {
            sinks: layout.sinks,
            anchor_cap: layout.anchor_cap,
            live_cap: layout.live_cap,
            in_flight,
            window: policy.window,
            seg_rule: policy.seg_rule.into(),
            isolated: policy.isolated.into(),
            max_anchors: policy.max_anchors,
            max_segment: policy.max_segment,
            max_distance: policy.max_distance,
            limit: policy.limit.unwrap_or(MAX_POSITIONS),
            at_max_segment: policy.at_max_segment as u32,
            layer_window: policy.layer_window.unwrap_or(u32::MAX),
            pad0: 0,
            pad1: 0,
            pad2: 0,
        };
        let anchor_pos = vec![0; layout.anchor_cap as usize].into_boxed_slice();
        Ok(Self {
            params,
            layout,
            policy: policy.clone(),
            state: RingState::default(),
            anchor_start: anchor_pos.clone(),
            anchor_pos,
            reached: 0,
        })
    }

    /// The regions of a layer's cache buffer.
    pub fn layout(&self) -> &RingLayout {
        &self.layout
    }

    /// The policy that it follows.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The constants, for the GPU's uniform.
    pub fn params(&self) -> &RingParams {
        &self.params
    }

    /// The state before the next token.
    pub fn state(&self) -> RingState {
        self.state
    }

    /// The positions of the anchors in the anchor ring, for the GPU's copy: number k at `k % anchor_cap`.
    pub fn anchor_positions(&self) -> &[u32] {
        &self.anchor_pos
    }

    /// The unpinned anchors that the next query can read from the anchor ring or its live range, oldest first.
    pub fn anchors(&self) -> impl Iterator<Item = Anchor> + '_ {
        (self.state.anchor_first..self.state.n_anchors).map(|number| {
            let index = self.anchor_index(number);
            Anchor { number, pos: self.anchor_pos[index], start: self.anchor_start[index] }
        })
    }

    /// The slots that later queries can still read, as five ranges, of which some may be empty.
    pub fn live_slots(&self) -> [Range<u32>; 5] {
        let (l, s) = (&self.layout, &self.state);
        let [pinned, live] = self.live_positions();
        let [a, b] = wrapped(l.sinks, l.anchor_cap, s.anchor_first, s.n_anchors);
        let [c, d] = wrapped(l.sinks + l.anchor_cap, l.live_cap, live.start, live.end);
        [pinned, a, b, c, d]
    }

    /// The positions whose entries the next query reads beside those of [`Ring::anchors`]: the pinned ones, and the newest.
    pub fn live_positions(&self) -> [Range<u32>; 2] {
        let s = &self.state;
        let first = live_first(&self.params, s.pos.min(self.params.limit - 1), s.seg_start).min(s.pos);
        [0..s.pos.min(self.layout.sinks), first..s.pos]
    }

    /// Tokens that still fit before the limit.
    pub fn remaining(&self) -> u32 {
        self.params.limit - self.state.pos
    }

    /// What the cache holds now.
    pub fn stats(&self) -> KvCounts {
        (&self.state).into()
    }

    /// Consumes one token. Its K and V go to [`Row::live_slot`] and [`Row::anchor_slot`] first, then the row
    /// is attended.
    ///
    /// `kv_step.wgsl` computes the same, in the same four parts: tags before anything is written; slots; what the query reads; the
    /// state before the next token, whose ranges only ever move forward.
    ///
    /// # Errors
    /// [`KvError::PositionLimit`] at the end of `full`, and at [`MAX_POSITIONS`], [`KvError::SegmentTooLong`] where the policy
    /// asks for it; the ring is unchanged.
    pub fn step(&mut self, id: u32) -> Result<Row, KvError> {
        self.check(&[id])?;
        Ok(self.advance(id))
    }

    /// Consumes a prompt chunk whose K and V stay in a scratch buffer until every row was attended.
    ///
    /// Row r of `rows` belongs to `ids[r]`; `chunk_anchors[..chunk.anchors]` lists the rows that are unpinned
    /// anchors. The extents are those of single steps; [`Chunk`] says which of them lie in the cache and
    /// which in the chunk. No two rows name the same slot to write (of several the last survives), so the
    /// survivors can be written in any order.
    ///
    /// # Errors
    /// [`KvError::ChunkTooLong`] if `rows` or `chunk_anchors` is shorter than `ids`,
    /// [`KvError::PositionLimit`] if the chunk does not fit before the limit, [`KvError::SegmentTooLong`] where the policy
    /// asks for it; the ring is unchanged.
    pub fn chunk(
        &mut self,
        ids: &[u32],
        rows: &mut [Row],
        chunk_anchors: &mut [u32],
    ) -> Result<Chunk, KvError> {
        let capacity = rows.len().min(chunk_anchors.len());
        if ids.len() > capacity {
            return Err(KvError::ChunkTooLong { tokens: ids.len(), capacity });
        }
        self.check(ids)?;

        let start = self.state.pos;
        let anchors_before = self.state.n_anchors;
        let mut unfilled = chunk_anchors.iter_mut();
        for ((r, row), &id) in (0..).zip(rows.iter_mut()).zip(ids) {
            let n_anchors = self.state.n_anchors;
            *row = self.advance(id);
            if self.state.n_anchors > n_anchors {
                let Some(anchor_row) = unfilled.next() else {
                    unreachable!("there are at least as many places as tokens")
                };
                *anchor_row = r;
            }
        }
        let end = self.state.pos;
        let anchors = self.state.n_anchors - anchors_before;

        let mut k = anchors_before;
        for row in rows.iter_mut().take(ids.len()) {
            if row.pos >= self.layout.sinks && row.pos + self.layout.live_cap < end {
                row.live_slot = NONE;
            }
            if row.anchor_slot != NONE {
                if k + self.layout.anchor_cap < self.state.n_anchors {
                    row.anchor_slot = NONE;
                }
                k += 1;
            }
        }
        Ok(Chunk { start, rows: end - start, anchors_before, anchors })
    }

    /// Undoes the steps since `state`, a value of [`Self::state`] at most X steps before the farthest
    /// position reached.
    ///
    /// # Errors
    /// [`KvError::UndoTooFar`] beyond those X steps or ahead of them, [`KvError::BrokenState`] if the
    /// counters of `state` contradict each other; the ring is unchanged.
    pub fn restore(&mut self, state: RingState) -> Result<(), KvError> {
        let (s, pos) = (state, state.pos);
        if pos > self.reached || self.reached - pos > self.params.in_flight {
            return Err(KvError::UndoTooFar { pos, reached: self.reached, in_flight: self.params.in_flight });
        }
        let ordered = [s.anchor_first, s.anchor_end, s.n_anchors, s.total_anchors, pos].is_sorted();
        let counted =
            s.seg_start.max(s.segments).max(s.peak_live) <= pos && s.forced_anchors <= s.total_anchors;
        if !ordered
            || !counted
            || s.n_anchors - s.anchor_first > self.params.max_anchors.min(self.layout.anchor_cap)
            || s.live > s.peak_live
            || s.barred > 1
            || !(s.anchor_first..=s.n_anchors).contains(&s.near_anchor)
        {
            return Err(KvError::BrokenState { pos });
        }
        self.state = state;
        Ok(())
    }

    /// Back to an empty ring. The slots need no clearing: nothing is read before it is written.
    pub fn reset(&mut self) {
        self.state = RingState::default();
        self.reached = 0;
    }

    /// Where the anchor test stands, before the next token.
    pub fn tagger(&self) -> Tagger {
        Tagger { open_len: self.state.pos - self.state.seg_start, barred: self.state.barred == 1 }
    }

    /// Whether the ring can take `ids` next.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn check(&self, ids: &[u32]) -> Result<(), KvError> {
        let (pos, tokens) = (self.state.pos, ids.len());
        if tokens > self.remaining() as usize {
            return Err(KvError::PositionLimit { pos, tokens, limit: self.params.limit });
        }
        self.tagger().check_segments(&self.policy, pos, ids)
    }

    /// One step; see [`Self::step`]. No sum can overflow: positions and capacities are at most 2^23 each.
    fn advance(&mut self, id: u32) -> Row {
        let p = self.params;
        let mut s = self.state;
        let i = s.pos;

        // Tags, before anything is written.
        let (is_anchor, forced) = self.policy.anchor_test(id, i - s.seg_start + 1, s.barred == 1);

        // Slots.
        let mut anchor_slot = NONE;
        if is_anchor && i >= p.sinks {
            if p.anchor_cap > 0 {
                let index = self.anchor_index(s.n_anchors);
                (self.anchor_pos[index], self.anchor_start[index]) = (i, s.seg_start);
                anchor_slot = self.layout.anchor_slot(s.n_anchors);
            }
            s.n_anchors += 1;
        }

        // Extents of this query; an anchor counts itself among the newest A.
        s.anchor_first = s.anchor_first.max(s.n_anchors.saturating_sub(p.max_anchors));
        s.anchor_end = s.anchor_end.max(s.anchor_first);
        s.near_anchor = s.near_anchor.max(s.anchor_first);
        let pinned_end = p.sinks.min(i + 1);
        let anchor_end = if is_anchor && p.isolated == 1 { s.anchor_first } else { s.anchor_end };
        let live_first = live_first(&p, i, s.seg_start);
        let row = Row {
            pos: i,
            pinned_end,
            anchor_first: s.anchor_first,
            anchor_end,
            live_first,
            n_keys: pinned_end + (anchor_end - s.anchor_first) + (i + 1).saturating_sub(live_first),
            live_slot: self.layout.live_slot(i),
            anchor_slot,
            pinned_query_pos: i.min(p.max_distance - 1),
            is_anchor: is_anchor.into(),
            forced: forced.into(),
            seg_start: s.seg_start,
            base: 0,
            near_first: (i + 1).saturating_sub(p.layer_window),
            near_anchor: s.near_anchor.min(anchor_end),
        };

        // The state before the next token.
        s.pos = i + 1;
        s.barred = self.policy.not_after.contains(id).into();
        if is_anchor {
            s.seg_start = s.pos;
            s.total_anchors += 1;
            s.forced_anchors += u32::from(forced);
            s.segments += p.seg_rule;
        }
        self.bound_anchors(&mut s);
        self.state = s;
        self.reached = self.reached.max(s.pos);
        row
    }

    /// Moves the anchor range of `s` forward to its next query and counts what that can read. Without an anchor ring neither loop runs:
    /// then there are no anchors, or A = 0 and `anchor_first == n_anchors`.
    fn bound_anchors(&self, s: &mut RingState) {
        let query = s.pos.min(self.params.limit - 1);
        let first = live_first(&self.params, query, s.seg_start);
        while s.anchor_first < s.n_anchors
            && query - self.anchor_pos[self.anchor_index(s.anchor_first)] >= self.params.max_distance
        {
            s.anchor_first += 1;
        }
        s.anchor_end = s.anchor_end.max(s.anchor_first);
        while s.anchor_end < s.n_anchors && self.anchor_pos[self.anchor_index(s.anchor_end)] < first {
            s.anchor_end += 1;
        }
        s.near_anchor = s.near_anchor.max(s.anchor_first);
        let near_first = (query + 1).saturating_sub(self.params.layer_window);
        while s.near_anchor < s.n_anchors && self.anchor_pos[self.anchor_index(s.near_anchor)] < near_first {
            s.near_anchor += 1;
        }
        s.live = s.pos.min(self.params.sinks) + (s.anchor_end - s.anchor_first) + s.pos.saturating_sub(first);
        s.peak_live = s.peak_live.max(s.live);
    }

    /// Where number `k` lies among the anchors kept. Without an anchor ring there is none to ask for.
    fn anchor_index(&self, k: u32) -> usize {
        (k % self.layout.anchor_cap) as usize
    }
}

/// The slots of numbers `from..to` in a ring of `capacity` slots that begins at slot `base`; none of a ring without slots.
fn wrapped(base: u32, capacity: u32, from: u32, to: u32) -> [Range<u32>; 2] {
    let length = to.saturating_sub(from).min(capacity);
    let start = from.checked_rem(capacity).unwrap_or(0);
    let end = (start + length).min(capacity);
    [base + start..base + end, base..base + start + length - end]
}

/// First position of the live range of the query at `pos`: its segment and its window are both suffixes, so
/// their union is one range. At least S, for pinned tokens are read from their own region.
fn live_first(p: &RingParams, pos: u32, seg_start: u32) -> u32 {
    let window = (pos + 1).saturating_sub(p.window);
    let first = if p.seg_rule == 1 { window.min(seg_start) } else { window };
    first.max(p.sinks)
}
