//! A second text that begins like the first.
//!
//! What a session remembers is small, so a fork copies the entries that are live and shares nothing.

use std::ops::Range;
use std::sync::Arc;

use super::SessionError;
use super::{Session, SessionOptions};
use crate::gpu::{Buffer, CopyOut, GpuError, Recorder};

impl Session {
    /// A new session with its own buffers that remembers the same text.
    ///
    /// # Errors
    /// The device has no room for it.
    pub async fn fork(&self) -> Result<Self, SessionError> {
        let options = SessionOptions { chunk: self.chunk, in_flight: self.ring.params().in_flight };
        let mut fork = Self::new(&self.model, &self.policy, options).await?;
        fork.copy_from(self)?;
        Ok(fork)
    }

    /// Forgets its own text and remembers that of `other`; nothing is allocated.
    ///
    /// # Errors
    /// [`SessionError::ForkMismatch`] unless both have the same model, policy and options; the device.
    pub fn copy_from(&mut self, other: &Self) -> Result<(), SessionError> {
        let same = Arc::ptr_eq(&self.model, &other.model)
            && self.policy == other.policy
            && self.ring.params() == other.ring.params();
        if !same {
            return Err(SessionError::ForkMismatch);
        }
        let gpu = self.model.gpu.clone();
        let mut rec = Recorder::new(gpu.capabilities());
        for copy in self.copies_from(other)? {
            rec.copy(copy);
        }
        gpu.run(rec.finish())?;
        self.ring = other.ring.clone();
        self.pending = other.pending;
        self.text.clone_from(&other.text);
        self.has_last = other.has_last;
        self.upload_ring()
    }

    /// The live entries of every layer, and the last hidden state if it is needed.
    fn copies_from(&self, other: &Self) -> Result<Vec<CopyOut>, GpuError> {
        let config = &self.model.config;
        let slot_bytes = u64::from(config.n_kv_heads) * u64::from(config.head_dim) * 4;
        let slots = other.ring.live_slots();
        let mut copies = Vec::new();
        let caches =
            self.buffers.text.caches.iter().flatten().zip(other.buffers.text.caches.iter().flatten());
        for (target, source) in caches {
            for range in &slots {
                copies.push(same_place(source, target, range, slot_bytes)?);
            }
        }
        if other.has_last {
            let bytes = u64::from(config.hidden_size) * 4;
            copies.push(CopyOut::new(&other.buffers.text.last, 0, &self.buffers.text.last, 0, bytes)?);
        }
        Ok(copies)
    }
}

fn same_place(
    source: &Buffer,
    target: &Buffer,
    slots: &Range<u32>,
    slot_bytes: u64,
) -> Result<CopyOut, GpuError> {
    let at = u64::from(slots.start) * slot_bytes;
    CopyOut::new(source, at, target, at, u64::from(slots.end - slots.start) * slot_bytes)
}
