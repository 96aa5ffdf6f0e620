//! A cache of positions instead of keys and values: whatever the ring says is really written, and really read
//! back.

use killick::kv::{Chunk, Key, NONE, Policy, Region, Ring, RingLayout, Row};

/// A ring, and for every slot of one layer the position that was last written there.
#[derive(Clone)]
pub(crate) struct Slots {
    pub(crate) ring: Ring,
    layout: RingLayout,
    contents: Vec<u32>, // (slots)
    spare: bool,
}

impl Slots {
    pub(crate) fn new(policy: &Policy, in_flight: u32) -> Self {
        let ring = Ring::new(policy, in_flight).unwrap();
        let layout = *ring.layout();
        Self { ring, layout, contents: vec![NONE; layout.slots() as usize], spare: true }
    }

    /// The same with the X spare slots taken from both rings: a scheme that must not survive an undo.
    pub(crate) fn without_spare(policy: &Policy, in_flight: u32) -> Self {
        let mut slots = Self::new(policy, in_flight);
        slots.layout.anchor_cap = slots.layout.anchor_cap.saturating_sub(in_flight);
        slots.layout.live_cap -= in_flight;
        slots.spare = false;
        slots
    }

    /// One step: write, then read. The positions read, in the order of the walk.
    pub(crate) fn step(&mut self, id: u32) -> Vec<u32> {
        self.step_both(id).0
    }

    /// The same, and what a layer with a window of its own reads.
    pub(crate) fn step_both(&mut self, id: u32) -> (Vec<u32>, Vec<u32>) {
        let k = self.ring.state().n_anchors;
        let mut row = self.ring.step(id).unwrap();
        if !self.spare {
            row.live_slot = self.layout.live_slot(row.pos);
            row.anchor_slot = if row.anchor_slot == NONE { NONE } else { self.layout.anchor_slot(k) };
        }
        self.write(&row);
        self.both(&row, None)
    }

    /// A prompt chunk: every row reads, then the survivors are written, last row first as no order may
    /// matter.
    pub(crate) fn chunk(&mut self, ids: &[u32]) -> Vec<Vec<u32>> {
        self.chunk_both(ids).into_iter().map(|(read, _)| read).collect()
    }

    /// The same, and what a layer with a window of its own reads.
    pub(crate) fn chunk_both(&mut self, ids: &[u32]) -> Vec<(Vec<u32>, Vec<u32>)> {
        let mut rows = vec![Row::default(); ids.len()];
        let mut anchor_rows = vec![NONE; ids.len()];
        let chunk = self.ring.chunk(ids, &mut rows, &mut anchor_rows).unwrap();
        assert_eq!(chunk.rows as usize, ids.len());
        let anchor_rows = &anchor_rows[..chunk.anchors as usize];
        let reads = rows.iter().map(|row| self.both(row, Some((&chunk, anchor_rows)))).collect();
        let mut targets: Vec<u32> = rows.iter().flat_map(|row| [row.live_slot, row.anchor_slot]).collect();
        targets.retain(|&slot| slot != NONE);
        let n_targets = targets.len();
        targets.sort_unstable();
        targets.dedup();
        assert_eq!(targets.len(), n_targets, "two rows of a chunk write one slot");
        rows.iter().rev().for_each(|row| self.write(row));
        reads
    }

    fn write(&mut self, row: &Row) {
        for slot in [row.live_slot, row.anchor_slot] {
            if slot != NONE {
                self.contents[slot as usize] = row.pos;
            }
        }
    }

    fn both(&self, row: &Row, chunk: Option<(&Chunk, &[u32])>) -> (Vec<u32>, Vec<u32>) {
        let read = self.read(row, false, chunk);
        assert_eq!(read.len(), row.n_keys as usize);
        (read, self.read(row, true, chunk))
    }

    fn read(&self, row: &Row, near: bool, chunk: Option<(&Chunk, &[u32])>) -> Vec<u32> {
        let (sinks, anchor_cap) = (self.layout.sinks, self.layout.anchor_cap);
        let position = |(region, key)| match key {
            Key::Slot(slot) => {
                let bounds = match region {
                    Region::Pinned => 0..sinks,
                    Region::Anchor => sinks..sinks + anchor_cap,
                    Region::Live => sinks + anchor_cap..self.layout.slots(),
                };
                assert!(bounds.contains(&slot), "{region:?} key in slot {slot}, outside {bounds:?}");
                self.contents[slot as usize]
            }
            Key::ChunkRow(r) => chunk.unwrap().0.start + r,
        };
        self.layout.keys(row, near, chunk).map(position).collect()
    }
}
