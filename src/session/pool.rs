//! A pool: device memory for several texts of one policy.
//!
//! A dispatch binds the caches of all of them, so one step can go on with several texts and read the weights once. A session on its
//! own is a pool of one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Session, SessionError, SessionOptions, scratch};
use crate::kv::Policy;
use crate::model::{Control, Model, SessionPlan, SessionShape, SharedScratch, Texts, handed_out};

/// Device memory for several texts under one policy. [`Pool::session`] gives a text to one who asks; dropping the session gives its
/// place back.
#[derive(Debug)]
pub struct Pool {
    pub(crate) model: Arc<Model>,
    pub(crate) policy: Policy,
    pub(crate) shape: SessionShape,
    pub(crate) scratch: Arc<SharedScratch>,
    pub(crate) texts: Texts,
    /// Of a loop over several texts, of which there is one at a time; none in a pool of one.
    pub(crate) control: Option<Arc<Control>>,
    pub(super) logit_rows: u32,
    kv_bytes: u64,
    allocated_bytes: u64,
    free: Mutex<Vec<u32>>,
    /// Whether a loop over several texts runs.
    together: AtomicBool,
}

impl Pool {
    /// Plans and allocates what `texts` texts under `policy` need, but for the little that each session makes for itself.
    ///
    /// # Errors
    /// The policy's anchors are outside the vocabulary, or the plan does not fit the device. The error says how many texts would: a step has
    /// at most 32 rows of logits, fewer where the prompt chunk is shorter or a binding holds fewer.
    pub async fn new(
        model: &Arc<Model>,
        policy: &Policy,
        options: SessionOptions,
        texts: u32,
    ) -> Result<Arc<Self>, SessionError> {
        Self::with_shape(model, policy, SessionShape { texts, ..options.shape() }).await
    }

    pub(super) async fn with_shape(
        model: &Arc<Model>,
        policy: &Policy,
        shape: SessionShape,
    ) -> Result<Arc<Self>, SessionError> {
        let (config, gpu) = (&model.config, &model.gpu);
        policy.check_vocab(config.vocab_size)?;
        let shape = SessionShape { texts: shape.texts.max(1), ..shape };
        let plan = SessionPlan::new(config, policy, shape, gpu.capabilities())?;
        let scratch = scratch::shared(model, &plan).await?;
        let made = gpu.allocate(&plan.pool_requests).await?;
        let allocated_bytes = made.iter().map(crate::gpu::Buffer::size).sum();
        let (texts, control) = plan.pool(&mut handed_out(made));
        let anchor_bits = policy.anchor_bits(config.vocab_size);
        gpu.upload(&texts.anchor_bits, 0, bytemuck::cast_slice(&anchor_bits))?;
        Ok(Arc::new(Self {
            model: model.clone(),
            policy: policy.clone(),
            shape,
            scratch,
            texts,
            control: control.map(Arc::new),
            logit_rows: plan.logit_rows,
            kv_bytes: plan.kv_bytes,
            allocated_bytes,
            // At first the lowest place is taken first.
            free: Mutex::new((0..shape.texts).rev().collect()),
            together: AtomicBool::new(false),
        }))
    }

    /// A session for a new text.
    ///
    /// # Errors
    /// [`SessionError::PoolFull`] if there are as many as the pool has places; the device has no room.
    pub async fn session(self: &Arc<Self>) -> Result<Session, SessionError> {
        let place = self.place().ok_or(SessionError::PoolFull { texts: self.shape.texts })?;
        Session::at(place).await
    }

    /// Texts that it has memory for.
    pub fn texts(&self) -> u32 {
        self.shape.texts
    }

    /// Texts that it has room for now.
    pub fn free(&self) -> u32 {
        self.places().len() as u32
    }

    /// Bytes of device memory of all its texts. What each session makes for itself is [`Session::allocated_bytes`], less its share of
    /// these.
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated_bytes
    }

    /// Bytes of one text: of its keys and values, and of all that lies in the pool.
    pub(super) fn bytes_of_text(&self) -> [u64; 2] {
        [self.kv_bytes, self.allocated_bytes].map(|bytes| bytes / u64::from(self.shape.texts))
    }

    /// The right to run the pool's loop over several texts, until it is dropped; `None` while another has it.
    pub(crate) fn together(self: &Arc<Self>) -> Option<Together> {
        (!self.together.swap(true, Ordering::AcqRel)).then(|| Together(self.clone()))
    }

    /// A place that is free.
    pub(super) fn place(self: &Arc<Self>) -> Option<Place> {
        let index = self.places().pop()?;
        Some(Place { pool: self.clone(), index })
    }

    fn places(&self) -> MutexGuard<'_, Vec<u32>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Pool::together`].
#[derive(Debug)]
pub(crate) struct Together(Arc<Pool>);

impl Drop for Together {
    fn drop(&mut self) {
        self.0.together.store(false, Ordering::Release);
    }
}

/// A text's place in its pool, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) pool: Arc<Pool>,
    pub(crate) index: u32,
}

impl Place {
    /// Where the text's part begins in a buffer that has `bytes` bytes for each.
    pub(crate) fn at(&self, bytes: usize) -> u64 {
        u64::from(self.index) * bytes as u64
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.places().push(self.index);
    }
}
