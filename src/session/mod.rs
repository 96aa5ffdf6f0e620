//! A session: one text, one ring, one place in the device memory that is made before the first token.
//!
//! ```text
//! mod.rs     the text, and prompt chunks
//! steps.rs   single steps
//! pool.rs    memory for several texts
//! fork.rs    a second text that begins like the first
//! pace.rs    how much work goes into one submit
//! scratch.rs what sessions of a model share
//! report.rs  what the cache holds
//! ```
//!
//! The host's ring is the truth: it stands at the last token that was handed out. The device's ring, its twin, runs ahead of it
//! in the decode loop, by at most X steps. To undo those is to upload the host's state: the spare slots see to it that nothing
//! the host's position can still read was overwritten.

mod error;
mod fork;
mod pace;
mod pool;
mod report;
mod scratch;
mod steps;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use web_time::Instant;

use crate::gpu::{GpuError, PendingWork, Readback, Recorder};
use crate::kernels::KvFormat;
use crate::kernels::emit::LoopState;
use crate::kv::{Anchor, Chunk, KvError, Policy, Ring, RingState, Row, Tagger};
use crate::model::llama::{self, Attend};
use crate::model::{
    Control, Memory, Model, PlanError, RECENT, SessionPlan, SessionShape, entry_bytes, handed_out, recent_cap,
};
pub use error::SessionError;
pub(crate) use pace::Pace;
use pool::Place;
pub use pool::Pool;
pub(crate) use pool::Together;
pub use report::KvReport;
pub(crate) use scratch::alone;

/// Tokens of the text kept on the host, at most.
const MOST_TEXT: u32 = 1 << 20;

/// How to lay out a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Most prompt tokens in one forward pass.
    pub chunk: u32,
    /// X: steps that may be in flight, and so be undone.
    pub in_flight: u32,
    /// How the numbers of keys and values are kept: f16 takes half the memory of f32, q8_0 little more than a quarter. What a number is
    /// rounded to when it is made is what every later token reads; all arithmetic is 32-bit either way.
    pub kv: KvFormat,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { chunk: 128, in_flight: 32, kv: KvFormat::F32 }
    }
}

impl SessionOptions {
    /// The shape these options give a session.
    pub fn shape(&self) -> SessionShape {
        SessionShape {
            chunk: self.chunk.max(1),
            in_flight: self.in_flight,
            masked: false,
            texts: 1,
            kv: self.kv,
        }
    }
}

/// One text on one device.
#[derive(Debug)]
pub struct Session {
    pub(crate) model: Arc<Model>,
    pub(crate) policy: Policy,
    pub(crate) ring: Ring,
    pub(crate) place: Place,
    /// What its own decode loop is told, and hands out.
    pub(crate) control: Arc<Control>,
    pub(crate) readback: Readback, // (max(vocab, 2 chunk)) words
    pub(crate) chunk: u32,
    allocated_bytes: u64,
    /// Whether `Texts::last` holds the hidden state of the last token: not before the first one, and not while one is pending.
    pub(crate) has_last: bool,
    /// Changes whenever something begins that changes the text, and is never that of another session.
    turn: u64,
    /// The last token of the text, if it was handed out by the decode loop and is not consumed yet.
    pub(crate) pending: Option<u32>,
    /// The newest tokens of the text, the pending one included: as many as penalties look back on, and those that remembered
    /// anchors stand for.
    text: VecDeque<u32>,
    prefill: Pace,
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
    pub async fn new(
        model: &Arc<Model>,
        policy: &Policy,
        options: SessionOptions,
    ) -> Result<Self, SessionError> {
        Self::with_shape(model, policy, options.shape()).await
    }

    pub(crate) async fn with_shape(
        model: &Arc<Model>,
        policy: &Policy,
        shape: SessionShape,
    ) -> Result<Self, SessionError> {
        Pool::with_shape(model, policy, shape).await?.session().await
    }

    /// A new text at a place of a pool.
    async fn at(place: Place) -> Result<Self, SessionError> {
        let Pool { model, policy, shape, .. } = &*place.pool;
        let (model, policy, shape) = (model.clone(), policy.clone(), *shape);
        let ring = Ring::new(&policy, shape.in_flight).map_err(PlanError::from)?;
        let plan = SessionPlan::new(&model.config, &policy, shape, model.gpu.capabilities())?;
        let made = model.gpu.allocate(&plan.requests).await?;
        let own_bytes = made.iter().map(crate::gpu::Buffer::size).sum::<u64>();
        let (control, readback) = plan.own(&mut handed_out(made));
        let [_, pool_bytes] = place.pool.bytes_of_text();
        let session = Self {
            allocated_bytes: own_bytes + pool_bytes,
            // A software device has no display to keep alive, and large chunks suit it best.
            prefill: if model.gpu.is_software() {
                Pace::fixed(shape.chunk)
            } else {
                Pace::adaptive(32, shape.chunk).in_steps_of(16)
            },
            model,
            policy,
            ring,
            place,
            control: Arc::new(control),
            readback,
            chunk: shape.chunk,
            has_last: false,
            turn: new_turn(),
            pending: None,
            text: VecDeque::with_capacity(RECENT as usize),
            rows: vec![Row::default(); shape.chunk as usize],
            chunk_anchors: vec![0; shape.chunk as usize],
        };
        session.upload_ring()?;
        Ok(session)
    }

    /// The pool that it has its memory in.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.place.pool
    }

    /// Whose turn it is to change the text.
    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }

    /// Something begins to change the text: what began before it cannot go on.
    pub(crate) fn next_turn(&mut self) -> u64 {
        self.turn = new_turn();
        self.turn
    }

    /// What its passes are recorded over.
    pub(crate) fn memory(&self) -> Memory<'_> {
        let Pool { scratch, texts, .. } = &*self.place.pool;
        Memory { scratch, texts, control: &self.control }
    }

    /// Most rows whose logits are computed at a time.
    pub(crate) fn logit_rows(&self) -> u32 {
        self.place.pool.logit_rows
    }

    /// How its keys and values are kept.
    pub fn kv_format(&self) -> KvFormat {
        self.place.pool.shape.kv
    }

    /// Bytes of one entry of its cache, the keys and values of one token over all layers.
    pub fn entry_bytes(&self) -> u64 {
        entry_bytes(&self.model.config, self.kv_format())
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

    /// The last token of the text, where the decode loop has handed it out and no step has consumed it yet. The next call that
    /// extends the text consumes it first.
    pub fn pending(&self) -> Option<u32> {
        self.pending
    }

    /// Takes the pending token out of the text. Its hidden state went with it, so something has to be appended before the text can
    /// go on.
    pub fn drop_pending(&mut self) -> Option<u32> {
        self.next_turn();
        self.pending.inspect(|_| {
            self.text.pop_back();
        });
        self.pending.take()
    }

    /// `ids`, which are to be appended, with the policy's anchor put in where a segment would grow too long; as they are, where the
    /// policy inserts nothing there ([`AtMaxSegment`](crate::kv::AtMaxSegment)).
    pub fn close_segments(&self, ids: &[u32]) -> Vec<u32> {
        self.tagger(self.pending).close_segments(&self.policy, ids)
    }

    /// Where the anchor test stands after `pending`.
    pub(crate) fn tagger(&self, pending: Option<u32>) -> Tagger {
        let mut tagger = self.ring.tagger();
        if let Some(id) = pending {
            tagger.take(&self.policy, id);
        }
        tagger
    }

    /// The anchors remembered, oldest first, each with the tokens it stands for.
    pub fn anchors(&self) -> impl Iterator<Item = Anchor> + '_ {
        self.ring.anchors()
    }

    /// The positions whose tokens are kept in full: the pinned ones, and the newest. A pending token is not among them.
    pub fn live_positions(&self) -> [std::ops::Range<u32>; 2] {
        self.ring.live_positions()
    }

    /// What the cache holds now; a pending token is not counted.
    pub fn kv(&self) -> KvReport {
        let [kv_bytes, _] = self.place.pool.bytes_of_text();
        KvReport::new(&self.ring, self.entry_bytes(), self.kv_format(), kv_bytes)
    }

    /// The logits after position `pos` are not finite.
    pub(crate) fn not_finite(&self, pos: u32) -> SessionError {
        SessionError::NonFiniteLogits {
            pos,
            // Only 16-bit floats end where others go on.
            exact: self.model.is_exact() && self.kv_format() != KvFormat::F16,
        }
    }

    /// Bytes of device memory that it shares with the sessions of its model that have the same [`SessionOptions::chunk`].
    pub fn shared_bytes(&self) -> u64 {
        self.place.pool.scratch.bytes
    }

    /// Bytes of device memory of this session alone, its part of the pool counted: its model counts the weights and what sessions share.
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated_bytes
    }

    /// Forgets the text; nothing is allocated or freed.
    ///
    /// # Errors
    /// The device is gone.
    pub fn reset(&mut self) -> Result<(), SessionError> {
        self.next_turn();
        self.ring.reset();
        self.has_last = false;
        self.pending = None;
        self.text.clear();
        self.upload_ring()
    }

    /// Consumes prompt tokens, many at a time.
    ///
    /// # Errors
    /// A token outside the vocabulary or more tokens than [`Session::remaining`] (nothing was consumed then), or the device.
    pub async fn append(&mut self, ids: &[u32]) -> Result<(), SessionError> {
        if ids.is_empty() {
            return Ok(());
        }
        let text: Vec<u32> = self.pending.into_iter().chain(ids.iter().copied()).collect();
        self.check(&text)?;
        let gpu = self.model.gpu.clone();
        let (mut rest, mut before) = (text.as_slice(), None::<(PendingWork, u32)>);
        let mut idle_since = Instant::now();
        while !rest.is_empty() {
            let (piece, following) = rest.split_at(rest.len().min(self.prefill.size()));
            rest = following;
            let (chunk, submission) = {
                let pool = self.pool().clone();
                let _alone = alone(&pool.scratch);
                let chunk = self.begin_chunk(piece)?;
                // The pending token is part of the text already.
                let known = usize::from(self.pending.take().is_some());
                self.remember(piece.get(known..).unwrap_or_default());
                let mut rec = Recorder::new(gpu.capabilities());
                self.record_chunk(&mut rec, &chunk)?;
                (chunk, gpu.run(rec.finish())?)
            };
            let work = gpu.work_done(submission);
            self.upload_ring()?;
            // One chunk runs while the next is recorded; more would only pile up.
            if let Some((work, rows)) = before.replace((work, chunk.rows)) {
                let done = work.await?;
                self.prefill.observe(rows, done.saturating_duration_since(idle_since));
                idle_since = done;
            }
        }
        Ok(())
    }

    /// The decode loop has handed out `id`, and the device has consumed the token before it.
    pub(crate) fn accept(&mut self, id: u32) -> Result<(), SessionError> {
        if let Some(consumed) = self.pending {
            self.ring.step(consumed)?;
        }
        self.pending = Some(id);
        self.has_last = false;
        self.remember(&[id]);
        Ok(())
    }

    fn remember(&mut self, ids: &[u32]) {
        self.text.extend(ids);
        let length = self.length();
        let oldest = self.ring.anchors().next().map_or(length, |anchor| anchor.start);
        let wanted = (length - oldest.min(length)).clamp(RECENT, MOST_TEXT) as usize;
        self.text.drain(..self.text.len().saturating_sub(wanted));
    }

    /// Tokens of the text, the pending one included.
    pub fn length(&self) -> u32 {
        self.ring.state().pos + u32::from(self.pending.is_some())
    }

    /// The ids at `positions`, as far as they are still known: the newest 1,024, and those that remembered anchors stand for, a
    /// million at most.
    pub fn tokens(&self, positions: std::ops::Range<u32>) -> impl Iterator<Item = u32> + '_ {
        let first = self.length() - self.text.len() as u32;
        let skipped = positions.start.saturating_sub(first);
        let count = positions.end.saturating_sub(positions.start.max(first));
        self.text.iter().skip(skipped as usize).take(count as usize).copied()
    }

    /// The newest tokens of the text, oldest first; as many as penalties can look back on.
    pub(crate) fn recent(&self) -> Vec<u32> {
        let length = self.length();
        self.tokens(length.saturating_sub(RECENT)..length).collect()
    }

    /// Puts the device where the host is: the ring, the token to consume next, and the tokens that penalties count.
    pub(crate) fn rewind(&mut self) -> Result<(), SessionError> {
        self.upload_ring()?;
        let capacity = recent_cap(self.ring.params().in_flight);
        let mut places = vec![0_u32; capacity as usize];
        let recent = self.recent();
        for (pos, id) in (self.length() - recent.len() as u32..).zip(recent) {
            if let Some(place) = places.get_mut((pos % capacity) as usize) {
                *place = id;
            }
        }
        let Memory { texts, control, .. } = self.memory();
        let gpu = &self.model.gpu;
        gpu.upload(&texts.recent, self.place.at(places.len() * 4), bytemuck::cast_slice(&places))?;
        if let Some(id) = self.pending {
            gpu.upload(&control.token, 0, bytemuck::bytes_of(&id))?;
        }
        Ok(())
    }

    /// Refuses what the model or the ring cannot take, before anything changes.
    pub(crate) fn check(&self, ids: &[u32]) -> Result<(), SessionError> {
        let (pos, limit) = (self.ring.state().pos, self.ring.params().limit);
        check_ids(ids, self.model.config.vocab_size, pos, limit)?;
        Ok(self.ring.check(ids)?)
    }

    /// Lets the ring place the tokens of one chunk and uploads what the kernels need of it.
    pub(crate) fn begin_chunk(&mut self, ids: &[u32]) -> Result<Chunk, SessionError> {
        self.next_turn();
        let chunk = self.ring.chunk(ids, &mut self.rows, &mut self.chunk_anchors)?;
        let (Some(rows), Some(anchors)) =
            (self.rows.get_mut(..ids.len()), self.chunk_anchors.get(..chunk.anchors as usize))
        else {
            unreachable!("the ring has filled a row for each token, and an entry for each anchor");
        };
        let base = self.place.index * self.ring.layout().slots();
        rows.iter_mut().for_each(|row| row.base = base);
        let (gpu, scratch) = (&self.model.gpu, &self.place.pool.scratch);
        gpu.upload(&scratch.tokens, 0, bytemuck::cast_slice(ids))?;
        gpu.upload(&scratch.rows, 0, bytemuck::cast_slice(rows))?;
        gpu.upload(&scratch.chunk_anchors, 0, bytemuck::cast_slice(anchors))?;
        Ok(chunk)
    }

    pub(crate) fn record_chunk(&mut self, rec: &mut Recorder, chunk: &Chunk) -> Result<(), SessionError> {
        llama::forward(rec, &self.model, self.memory(), chunk.rows, Attend::Chunk(&self.ring, chunk))?;
        llama::keep(rec, &self.model, self.memory().scratch, chunk.rows)?;
        if let Some(row) = chunk.rows.checked_sub(1) {
            self.keep_last(rec, row)?;
        }
        Ok(())
    }

    /// Row `row` of the hidden states is the last of the text.
    fn keep_last(&mut self, rec: &mut Recorder, row: u32) -> Result<(), GpuError> {
        let bytes = self.model.config.hidden_size as usize * 4;
        let Memory { scratch, texts, .. } = self.memory();
        rec.read(&scratch.h, u64::from(row) * bytes as u64, &texts.last, self.place.at(bytes), bytes as u64)?;
        self.has_last = true;
        Ok(())
    }

    /// One token through the GPU's ring step. The host's ring takes it too: it is the twin that knows the statistics.
    pub(crate) fn record_step(&mut self, rec: &mut Recorder, id: u32) -> Result<(), SessionError> {
        self.model.gpu.upload(&self.control.token, 0, bytemuck::bytes_of(&id))?;
        llama::forward(rec, &self.model, self.memory(), 1, Attend::Step(&self.ring, self.splits()))?;
        llama::keep(rec, &self.model, self.memory().scratch, 1)?;
        self.ring.step(id)?;
        Ok(self.keep_last(rec, 0)?)
    }

    /// The loop over this text alone, with nothing to go on for.
    pub(crate) fn idle_loop(&self) -> LoopState {
        LoopState { text: self.place.index, ..LoopState::default() }
    }

    /// Makes the GPU's ring equal to the host's, after steps that only one of them took.
    pub(crate) fn upload_ring(&self) -> Result<(), SessionError> {
        let (gpu, place) = (&self.model.gpu, &self.place);
        let Memory { texts, control, .. } = self.memory();
        let anchors = self.ring.anchor_positions();
        gpu.upload(&texts.state, place.at(size_of::<RingState>()), bytemuck::bytes_of(&self.ring.state()))?;
        gpu.upload(&texts.anchor_pos, place.at(size_of_val(anchors)), bytemuck::cast_slice(anchors))?;
        gpu.upload(&control.loop_state, 0, bytemuck::bytes_of(&self.idle_loop()))?;
        Ok(())
    }
}

/// A number that no session has had.
fn new_turn() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Refuses a token outside the vocabulary, and more tokens from position `pos` on than `limit` leaves room for.
pub(crate) fn check_ids(ids: &[u32], vocab_size: u32, pos: u32, limit: u32) -> Result<(), SessionError> {
    if let Some(id) = ids.iter().find(|id| **id >= vocab_size) {
        return Err(SessionError::TokenOutsideVocab { id: *id, vocab_size });
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
