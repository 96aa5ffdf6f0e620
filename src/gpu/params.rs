//! Kernel parameters: one small uniform buffer whose slots are found by content.
//!
//! A decode step uses the same parameters for every token, so after the first token every look-up is a hit and
//! nothing is written: the command stream of a step needs no upload at all.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// WebGPU's largest required alignment of a dynamic uniform offset; also the size of a slot.
pub(super) const SLOT_BYTES: u64 = 256;
/// Different parameter sets in one submit. A decode step uses about twenty; the pass of a prompt chunk some hundreds where its kernels take
/// few inputs at once.
const SLOTS: u32 = 512;
/// Size of the arena.
pub(super) const ARENA_BYTES: u64 = SLOT_BYTES * SLOTS as u64;

pub(super) struct ParamsArena {
    pub(super) buffer: wgpu::Buffer,
    slots: HashMap<Vec<u8>, u32>,
    next: u32,
}

impl ParamsArena {
    pub(super) fn new(device: &wgpu::Device) -> Self {
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("kernel parameters"),
            size: ARENA_BYTES,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self { buffer, slots: HashMap::new(), next: 0 }
    }

    /// Called for all sets of a submit, which are one of [`stretches`], before their slots are asked for. Where the new ones do not fit, all slots are
    /// given out again: a write lands after the submits before it, and no set is placed before its own submit, so
    /// recordings may be open side by side.
    pub(super) fn make_room<'a>(&mut self, sets: impl Iterator<Item = &'a [u8]>) {
        let mut fresh: HashSet<&[u8]> = sets.collect();
        fresh.retain(|set| !self.slots.contains_key(*set));
        if self.next as usize + fresh.len() > SLOTS as usize {
            self.slots.clear();
            self.next = 0;
        }
    }

    /// Byte offset of the slot that holds `set`, and whether it must be written first. [`ParamsArena::make_room`] was told of it.
    pub(super) fn slot(&mut self, set: &[u8]) -> (u32, bool) {
        let known = self.slots.get(set).copied();
        let slot = known.unwrap_or_else(|| {
            let slot = self.next;
            self.next += 1;
            self.slots.insert(set.to_vec(), slot);
            slot
        });
        debug_assert!(slot < SLOTS, "room was made");
        (slot * SLOT_BYTES as u32, known.is_none())
    }
}

/// Cuts the parameter sets of a recording, one a dispatch, into stretches that the arena holds at once. There is at least one.
pub(super) fn stretches<'a>(sets: impl Iterator<Item = &'a [u8]>) -> Vec<Range<usize>> {
    let (mut stretches, mut from, mut to) = (Vec::new(), 0, 0);
    let mut held = HashSet::new();
    for set in sets {
        if held.len() == SLOTS as usize && !held.contains(set) {
            stretches.push(from..to);
            held.clear();
            from = to;
        }
        held.insert(set);
        to += 1;
    }
    stretches.push(from..to);
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_cut_where_the_arena_is_full() {
        let ends = |numbers: &[u32]| {
            let sets: Vec<_> = numbers.iter().map(|n| n.to_le_bytes()).collect();
            let cut = stretches(sets.iter().map(|set| &set[..]));
            assert!(cut.first().is_some_and(|first| first.start == 0));
            assert!(cut.windows(2).all(|pair| pair[0].end == pair[1].start));
            cut.into_iter().map(|stretch| stretch.end).collect::<Vec<_>>()
        };
        let count = |n: u32| (0..n).collect::<Vec<_>>();
        assert_eq!(ends(&[]), [0]);
        assert_eq!(ends(&[7; 2000]), [2000], "the same set again takes no room");
        assert_eq!(ends(&count(512)), [512]);
        assert_eq!(ends(&count(1100)), [512, 1024, 1100]);
        assert_eq!(ends(&[&count(512)[..], &[3, 9, 512, 3]].concat()), [514, 516]);
    }
}
