//! Single steps, whose logits are read back: for samplers of one's own, for debugging, and what the decode loop is compared with.

use super::{Session, SessionError, alone, floats, words};
use crate::gpu::{GpuError, Readback, Recorder, Submission};
use crate::kernels::{Inputs, argmax, attention};
use crate::model::llama;
use crate::model::{Memory, Scratch};

impl Session {
    /// Consumes one token by the single-step path and returns the likeliest next one, ties to the lowest id.
    ///
    /// # Errors
    /// As [`Session::append`]; also logits that are not finite.
    pub async fn step_greedy(&mut self, id: u32) -> Result<u32, SessionError> {
        self.greedy(Some(id)).await
    }

    /// Consumes one token by the single-step path and returns the logits (vocabulary) of the next.
    ///
    /// # Errors
    /// As [`Session::append`]; also logits that are not finite.
    pub async fn step_logits(&mut self, id: u32) -> Result<Vec<f32>, SessionError> {
        self.read_logits(Some(id)).await
    }

    /// The likeliest token after the text so far.
    ///
    /// # Errors
    /// [`SessionError::EmptyPrompt`] if there is none; otherwise as [`Session::step_greedy`].
    pub async fn next_greedy(&mut self) -> Result<u32, SessionError> {
        self.greedy(None).await
    }

    /// The logits (vocabulary) after the text so far.
    ///
    /// # Errors
    /// [`SessionError::EmptyPrompt`] if there is none; otherwise as [`Session::step_logits`].
    pub async fn next_logits(&mut self) -> Result<Vec<f32>, SessionError> {
        self.read_logits(None).await
    }

    /// Shares that the next steps split the keys of a row into, at most. In the decode loop the device runs ahead of this ring.
    pub(crate) fn splits(&self) -> u32 {
        let keys = self.ring.state().live + self.ring.params().in_flight + 1; // each sees itself, too
        attention::splits(keys).min(self.pool().scratch.shape.splits)
    }

    /// Submits the steps of the pending token, if there is one, and of `id`, then the logits after the text and what `read` records.
    fn submit_next(
        &mut self,
        id: Option<u32>,
        read: impl FnOnce(&mut Recorder, &Scratch, &Readback) -> Result<(), GpuError>,
    ) -> Result<Submission, SessionError> {
        let text: Vec<u32> = self.pending.into_iter().chain(id).collect();
        self.check(&text)?;
        self.next_turn();
        self.upload_ring()?;
        let (gpu, pool) = (self.model.gpu.clone(), self.pool().clone());
        let _alone = alone(&pool.scratch);
        let mut rec = Recorder::new(gpu.capabilities());
        for (i, id) in text.iter().enumerate() {
            if i > 0 {
                // Each step has its token uploaded, so each is a submit of its own.
                gpu.run(std::mem::replace(&mut rec, Recorder::new(gpu.capabilities())).finish())?;
            }
            self.record_step(&mut rec, *id)?;
            if self.pending.take().is_none() {
                self.remember(&[*id]);
            }
        }
        if !self.has_last {
            return Err(SessionError::EmptyPrompt);
        }
        // What a step leaves is copied to the text after the recording.
        let Memory { scratch, texts, .. } = self.memory();
        let (hidden, row) = if text.is_empty() { (&texts.last, self.place.index) } else { (&scratch.h, 0) };
        llama::logits(&mut rec, &self.model, Inputs::one(hidden, row), &scratch.logits)?;
        read(&mut rec, scratch, &self.readback)?;
        Ok(gpu.run(rec.finish())?)
    }

    async fn greedy(&mut self, id: Option<u32>) -> Result<u32, SessionError> {
        self.readback.settle().await?;
        let vocab = self.model.config.vocab_size;
        let submission = self.submit_next(id, |rec, scratch, readback| {
            argmax::record(rec, &scratch.logits, &scratch.top, 1, vocab, 0)?;
            rec.read(&scratch.top, 0, readback.buffer(), 0, 4)
        })?;
        let bytes = self.readback.take(&self.model.gpu, 4, submission).await?;
        let [id] = *words(&bytes) else { unreachable!("four bytes are one word") };
        if id >= vocab {
            return Err(self.not_finite(self.ring.state().pos.saturating_sub(1)));
        }
        Ok(id)
    }

    async fn read_logits(&mut self, id: Option<u32>) -> Result<Vec<f32>, SessionError> {
        self.readback.settle().await?;
        let bytes = u64::from(self.model.config.vocab_size) * 4;
        let submission = self.submit_next(id, |rec, scratch, readback| {
            rec.read(&scratch.logits, 0, readback.buffer(), 0, bytes)
        })?;
        let logits = floats(&self.readback.take(&self.model.gpu, bytes, submission).await?);
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(self.not_finite(self.ring.state().pos.saturating_sub(1)));
        }
        Ok(logits)
    }
}
