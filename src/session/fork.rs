//! A second text that begins like the first.
//!
//! What a session remembers is small, so a fork copies the entries that are live and shares nothing.

use std::sync::Arc;

use super::SessionError;
use super::{Session, alone};
use crate::gpu::{Buffer, CopyOut, GpuError, Recorder};
use crate::model::SessionShape;

impl Session {
    /// A new session that remembers the same text, in memory of its own. For a fork in a pool, take a session of the pool and let it
    /// [`Session::copy_from`] this one.
    ///
    /// # Errors
    /// The device has no room for it.
    pub async fn fork(&self) -> Result<Self, SessionError> {
        let shape = SessionShape { texts: 1, ..self.pool().shape };
        let mut fork = Self::with_shape(&self.model, &self.policy, shape).await?;
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
            && self.ring.params() == other.ring.params()
            && self.kv_format() == other.kv_format();
        if !same {
            return Err(SessionError::ForkMismatch);
        }
        self.next_turn();
        let (gpu, pool) = (self.model.gpu.clone(), self.pool().clone());
        {
            let _alone = alone(&pool.scratch);
            let mut rec = Recorder::new(gpu.capabilities());
            self.copies_from(other, &mut |copy| rec.copy(copy))?;
            gpu.run(rec.finish())?;
        }
        self.ring = other.ring.clone();
        self.pending = other.pending;
        self.text.clone_from(&other.text);
        self.has_last = other.has_last;
        self.upload_ring()
    }

    /// The live entries of every layer, and the last hidden state if it is needed.
    fn copies_from(&self, other: &Self, copy: &mut dyn FnMut(CopyOut)) -> Result<(), GpuError> {
        let (to, from) = (self.memory(), other.memory());
        let heads = self.model.config.heads();
        let slot_bytes = self.kv_format().bytes(heads.n_kv_heads, heads.head_dim);
        let of_text = u64::from(self.ring.layout().slots()) * slot_bytes;
        let first_byte = |session: &Self| u64::from(session.place.index) * of_text;
        let slots = other.ring.live_slots();
        let caches = to.texts.caches.iter().flatten().zip(from.texts.caches.iter().flatten());
        for (target, source) in caches {
            for range in &slots {
                let (at, bytes) =
                    (u64::from(range.start) * slot_bytes, u64::from(range.end - range.start) * slot_bytes);
                let (source, target) = ((source, first_byte(other) + at), (target, first_byte(self) + at));
                copy_by_way_of(&to.scratch.k_chunk, source, target, bytes, copy)?;
            }
        }
        if other.has_last {
            let bytes = self.model.config.hidden_size as usize * 4;
            let (source, target) =
                ((&from.texts.last, other.place.at(bytes)), (&to.texts.last, self.place.at(bytes)));
            copy_by_way_of(&to.scratch.h, source, target, bytes as u64, copy)?;
        }
        Ok(())
    }
}

/// Copies `bytes` bytes. Within one buffer WebGPU has no copy, so that two texts of a pool need `bounce` between them.
fn copy_by_way_of(
    bounce: &Buffer,
    (source, from): (&Buffer, u64),
    (target, to): (&Buffer, u64),
    bytes: u64,
    copy: &mut dyn FnMut(CopyOut),
) -> Result<(), GpuError> {
    if source != target {
        copy(CopyOut::new(source, from, target, to, bytes)?);
        return Ok(());
    }
    let mut done = 0;
    while done < bytes {
        let some = bounce.size().min(bytes - done);
        copy(CopyOut::new(source, from + done, bounce, 0, some)?);
        copy(CopyOut::new(bounce, 0, target, to + done, some)?);
        done += some;
    }
    Ok(())
}
