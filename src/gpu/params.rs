//! Kernel parameters: one small uniform buffer whose slots are found by content.
//!
//! A decode step uses the same parameters for every token, so after the first token every look-up is a hit and
//! nothing is written: the command stream of a step needs no upload at all.

use std::collections::HashMap;

use super::GpuError;

/// WebGPU's largest required alignment of a dynamic uniform offset; also the size of a slot.
pub(super) const SLOT_BYTES: u64 = 256;
/// Different parameter sets alive at a time; a forward pass uses about twenty.
const SLOTS: u32 = 512;
/// Free slots a recording may count on when it begins.
const RESERVE: u32 = 256;
/// Size of the arena.
pub(super) const ARENA_BYTES: u64 = SLOT_BYTES * SLOTS as u64;

pub(super) struct ParamsArena {
    pub(super) buffer: wgpu::Buffer,
    slots: HashMap<Vec<u8>, u32>,
    next: u32,
    /// Recordings begun and not yet submitted or dropped.
    open: u32,
}

impl ParamsArena {
    pub(super) fn new(device: &wgpu::Device) -> Self {
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("kernel parameters"),
            size: ARENA_BYTES,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self { buffer, slots: HashMap::new(), next: 0, open: 0 }
    }

    /// Called when a recording begins. With no other one open, all that was recorded is submitted, and a write
    /// lands after the submits before it: only then may old slots be given out again.
    pub(super) fn begin(&mut self) {
        if self.open == 0 && self.next + RESERVE > SLOTS {
            self.slots.clear();
            self.next = 0;
        }
        self.open += 1;
    }

    /// Called when a recording was submitted or dropped.
    pub(super) fn end(&mut self) {
        self.open = self.open.saturating_sub(1);
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
                what: "number of parameter sets in one recording",
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
