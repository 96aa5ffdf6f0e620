//! A session: one text, one ring, one set of device buffers made before the first token.

use std::sync::Arc;

use crate::error::Error;
use crate::gpu::Recorder;
use crate::kernels::argmax;
use crate::kv::{Chunk, KvError, Policy, Ring, Row};
use crate::model::llama::{self, Attend};
use crate::model::{Model, PlanError, SessionBuffers, SessionPlan, SessionShape, entry_bytes};

/// How to lay out a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Most prompt tokens in one forward pass.
    pub chunk: u32,
    /// X: steps that may be in flight, and so be undone.
    pub in_flight: u32,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { chunk: 128, in_flight: 32 }
    }
}

impl SessionOptions {
    /// The shape these options give a session.
    pub fn shape(&self) -> SessionShape {
        SessionShape { chunk: self.chunk.max(1), in_flight: self.in_flight, masked: false }
    }
}

/// What the cache holds and what it costs, for people and for JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct KvReport {
    /// Tokens consumed.
    pub seen: u32,
    /// Entries the next token can read.
    pub live: u32,
    /// The most entries after any token.
    pub peak_live: u32,
    /// Bytes of the live entries over all layers.
    pub bytes_live: u64,
    /// Bytes of all slots over all layers, as planned.
    pub bytes_allocated: u64,
    /// Anchors consumed.
    pub anchors: u32,
    /// Anchors that only the segment bound made.
    pub forced_anchors: u32,
    /// Anchors let go by the bounds on number or distance.
    pub dropped_anchors: u32,
    /// Segments closed.
    pub segments: u32,
}

impl KvReport {
    pub(crate) fn new(ring: &Ring, entry_bytes: u64, bytes_allocated: u64) -> Self {
        let counts = ring.stats();
        Self {
            seen: counts.seen,
            live: counts.live,
            peak_live: counts.peak_live,
            bytes_live: u64::from(counts.live) * entry_bytes,
            bytes_allocated,
            anchors: counts.anchors,
            forced_anchors: counts.forced_anchors,
            dropped_anchors: counts.dropped_anchors,
            segments: counts.segments,
        }
    }
}

/// One text on one device.
#[derive(Debug)]
pub struct Session {
    pub(crate) model: Arc<Model>,
    pub(crate) policy: Policy,
    pub(crate) ring: Ring,
    pub(crate) buffers: SessionBuffers,
    pub(crate) logit_rows: u32,
    chunk: u32,
    kv_bytes: u64,
    allocated_bytes: u64,
    /// Row of the last hidden state in `buffers.h`; `None` before the first token.
    last_row: Option<u32>,
    /// Extents of a chunk's rows, filled by the ring.
    rows: Vec<Row>,
    /// Chunk rows that are anchors, filled by the ring.
    chunk_anchors: Vec<u32>,
}

impl Session {
    /// Plans and allocates everything a text under `policy` will ever need.
    ///
    /// # Errors
    /// The policy's anchors are outside the vocabulary, or the plan does not fit the device.
    pub async fn new(model: &Arc<Model>, policy: &Policy, options: SessionOptions) -> Result<Self, Error> {
        Self::with_shape(model, policy, options.shape()).await
    }

    pub(crate) async fn with_shape(
        model: &Arc<Model>,
        policy: &Policy,
        shape: SessionShape,
    ) -> Result<Self, Error> {
        let (config, gpu) = (&model.config, &model.gpu);
        policy.check_vocab(config.vocab_size)?;
        let ring = Ring::new(policy, shape.in_flight).map_err(PlanError::from)?;
        let plan = SessionPlan::new(config, policy, shape, gpu.max_binding_bytes())?;
        let buffers = gpu.allocate(&plan.requests).await?;
        let allocated_bytes = buffers.iter().map(crate::gpu::Buffer::size).sum();
        let Some(buffers) = SessionBuffers::new(buffers) else {
            unreachable!("one buffer per request");
        };
        let anchor_bits = policy.anchors.bitset_words(config.vocab_size);
        gpu.upload(&buffers.anchor_bits, 0, bytemuck::cast_slice(&anchor_bits))?;
        let session = Self {
            model: model.clone(),
            policy: policy.clone(),
            ring,
            buffers,
            logit_rows: plan.logit_rows,
            chunk: shape.chunk,
            kv_bytes: plan.kv_bytes,
            allocated_bytes,
            last_row: None,
            rows: vec![Row::default(); shape.chunk as usize],
            chunk_anchors: vec![0; shape.chunk as usize],
        };
        session.upload_ring()?;
        Ok(session)
    }

    /// The policy this session remembers by.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The model it runs.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Tokens that still fit: the end of `full`, or the last position of all.
    pub fn remaining(&self) -> u32 {
        self.ring.remaining()
    }

    /// What the cache holds now.
    pub fn kv(&self) -> KvReport {
        KvReport::new(&self.ring, entry_bytes(&self.model.config), self.kv_bytes)
    }

    /// Bytes of device memory of this session, the model's not counted.
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated_bytes
    }

    /// Forgets the text; nothing is allocated or freed.
    ///
    /// # Errors
    /// The device is gone.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.ring.reset();
        self.last_row = None;
        self.upload_ring()
    }

    /// Consumes prompt tokens, many at a time.
    ///
    /// # Errors
    /// A token outside the vocabulary or more tokens than [`Session::remaining`] (nothing was consumed then), or the device.
    pub fn append(&mut self, ids: &[u32]) -> Result<(), Error> {
        self.check(ids)?;
        let gpu = self.model.gpu.clone();
        for chunk in ids.chunks(self.chunk as usize) {
            let chunk = self.begin_chunk(chunk)?;
            let mut rec = Recorder::new(&gpu);
            self.record_chunk(&mut rec, &chunk)?;
            rec.submit()?;
            self.upload_ring()?;
        }
        Ok(())
    }

    /// Consumes one token by the single-step path and returns the likeliest next one, ties to the lowest id.
    ///
    /// # Errors
    /// As [`Session::append`]; also logits that are not finite.
    pub async fn step_greedy(&mut self, id: u32) -> Result<u32, Error> {
        let gpu = self.model.gpu.clone();
        let mut rec = Recorder::new(&gpu);
        self.record_step(&mut rec, id)?;
        self.greedy(rec).await
    }

    /// Consumes one token by the single-step path and returns the logits (vocabulary) of the next.
    ///
    /// # Errors
    /// As [`Session::append`]; also logits that are not finite.
    pub async fn step_logits(&mut self, id: u32) -> Result<Vec<f32>, Error> {
        let gpu = self.model.gpu.clone();
        let mut rec = Recorder::new(&gpu);
        self.record_step(&mut rec, id)?;
        self.read_logits(rec).await
    }

    /// The likeliest token after what was consumed so far.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`] if nothing was; otherwise as [`Session::step_greedy`].
    pub async fn next_greedy(&mut self) -> Result<u32, Error> {
        let gpu = self.model.gpu.clone();
        self.greedy(Recorder::new(&gpu)).await
    }

    /// The logits (vocabulary) after what was consumed so far.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`] if nothing was; otherwise as [`Session::step_logits`].
    pub async fn next_logits(&mut self) -> Result<Vec<f32>, Error> {
        let gpu = self.model.gpu.clone();
        self.read_logits(Recorder::new(&gpu)).await
    }

    /// Refuses what the model or the ring cannot take, before anything changes.
    pub(crate) fn check(&self, ids: &[u32]) -> Result<(), Error> {
        let (pos, limit) = (self.ring.state().pos, self.ring.params().limit);
        check_ids(ids, self.model.config.vocab_size, pos, limit)
    }

    /// Lets the ring place the tokens of one chunk and uploads what the kernels need of it.
    pub(crate) fn begin_chunk(&mut self, ids: &[u32]) -> Result<Chunk, Error> {
        let chunk = self.ring.chunk(ids, &mut self.rows, &mut self.chunk_anchors)?;
        let gpu = &self.model.gpu;
        gpu.upload(&self.buffers.tokens, 0, bytemuck::cast_slice(ids))?;
        gpu.upload(
            &self.buffers.rows,
            0,
            bytemuck::cast_slice(self.rows.get(..ids.len()).unwrap_or_default()),
        )?;
        let anchors = self.chunk_anchors.get(..chunk.anchors as usize).unwrap_or_default();
        gpu.upload(&self.buffers.chunk_anchors, 0, bytemuck::cast_slice(anchors))?;
        Ok(chunk)
    }

    pub(crate) fn record_chunk(&mut self, rec: &mut Recorder<'_>, chunk: &Chunk) -> Result<(), Error> {
        llama::forward(rec, &self.model, &self.buffers, chunk.rows, Attend::Chunk(&self.ring, chunk))?;
        self.last_row = chunk.rows.checked_sub(1);
        Ok(())
    }

    /// One token through the GPU's ring step. The host's ring takes it too: it is the twin that knows the statistics.
    pub(crate) fn record_step(&mut self, rec: &mut Recorder<'_>, id: u32) -> Result<(), Error> {
        self.check(&[id])?;
        self.model.gpu.upload(&self.buffers.tokens, 0, bytemuck::bytes_of(&id))?;
        llama::forward(rec, &self.model, &self.buffers, 1, Attend::Step(&self.ring))?;
        self.ring.step(id)?;
        self.last_row = Some(0);
        Ok(())
    }

    /// Makes the GPU's ring equal to the host's, after steps that only the host took.
    pub(crate) fn upload_ring(&self) -> Result<(), Error> {
        let gpu = &self.model.gpu;
        gpu.upload(&self.buffers.state, 0, bytemuck::bytes_of(&self.ring.state()))?;
        gpu.upload(&self.buffers.anchor_pos, 0, bytemuck::cast_slice(self.ring.anchor_positions()))?;
        Ok(())
    }

    async fn greedy(&mut self, mut rec: Recorder<'_>) -> Result<u32, Error> {
        let s = &self.buffers;
        let vocab = self.model.config.vocab_size;
        llama::logits(&mut rec, &self.model, s, self.last_row.ok_or(Error::EmptyPrompt)?, 1)?;
        argmax::record(&mut rec, &s.logits, &s.top, 1, vocab, 0)?;
        rec.read(&s.top, 0, s.readback.buffer(), 0, 4)?;
        rec.submit()?;
        let bytes = s.readback.take(&self.model.gpu, 4).await?;
        let id = bytes.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
        if id >= vocab {
            return Err(Error::NonFiniteLogits { pos: self.ring.state().pos.saturating_sub(1) });
        }
        Ok(id)
    }

    async fn read_logits(&mut self, mut rec: Recorder<'_>) -> Result<Vec<f32>, Error> {
        let s = &self.buffers;
        llama::logits(&mut rec, &self.model, s, self.last_row.ok_or(Error::EmptyPrompt)?, 1)?;
        let bytes = u64::from(self.model.config.vocab_size) * 4;
        rec.read(&s.logits, 0, s.readback.buffer(), 0, bytes)?;
        rec.submit()?;
        let logits = floats(&s.readback.take(&self.model.gpu, bytes).await?);
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(Error::NonFiniteLogits { pos: self.ring.state().pos.saturating_sub(1) });
        }
        Ok(logits)
    }
}

/// Refuses a token outside the vocabulary, and more tokens from position `pos` on than `limit` leaves room for.
pub(crate) fn check_ids(ids: &[u32], vocab_size: u32, pos: u32, limit: u32) -> Result<(), Error> {
    if let Some(id) = ids.iter().find(|id| **id >= vocab_size) {
        return Err(Error::TokenOutsideVocab { id: *id, vocab_size });
    }
    if ids.len() > limit.saturating_sub(pos) as usize {
        return Err(KvError::PositionLimit { pos, tokens: ids.len(), limit }.into());
    }
    Ok(())
}

/// Little-endian 32-bit floats.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// Little-endian 32-bit integers.
pub(crate) fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}
