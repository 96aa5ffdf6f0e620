//! Kernel parameters: one small uniform buffer whose slots are found by content.
//!
//! A decode step uses the same parameters for every token, so after the first token every look-up is a hit and
//! nothing is written: the command stream of a step needs no upload at all.

use std::collections::{HashMap, HashSet};

use super::GpuError;

/// WebGPU's largest required alignment of a dynamic uniform offset; also the size of a slot.
pub(super) const SLOT_BYTES: u64 = 256;
/// Different parameter sets in one submit; a forward pass uses about twenty.
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

    /// Called for all sets of a submit, before their slots are asked for. Where the new ones do not fit, all slots are
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

    /// Byte offset of the slot that holds `bytes`, and whether it must be written first.
    pub(super) fn slot(&mut self, bytes: &[u8], kernel: &'static str) -> Result<(u32, bool), GpuError> {
        let slot_bytes = SLOT_BYTES as u32;
        if let Some(slot) = self.slots.get(bytes) {
            return Ok((slot * slot_bytes, false));
        }
        if self.next == SLOTS || bytes.len() as u64 > SLOT_BYTES {
            return Err(GpuError::Shape {
                kernel,
                what: "number of parameter sets in one submit",
                got: u64::from(self.next) + 1,
                need: u64::from(SLOTS),
            });
        }
        let slot = self.next;
        self.next += 1;
        self.slots.insert(bytes.to_vec(), slot);
        Ok((slot * slot_bytes, true))
    }
}
