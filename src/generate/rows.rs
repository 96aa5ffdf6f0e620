//! The decode loop on the device over several texts: which row is whose, steps over all of them, and what those bring.
//!
//! A step is over the first n rows, so rows lie side by side. A text that joins gets the row behind the last; where one leaves, the last row
//! moves into its place. That is a copy on the device, which is ahead of the host. Nothing waits for steps under way: what is uploaded
//! and what is moved comes after them in the queue, and each submit remembers whose rows it was over.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use web_time::Instant;

use super::batch::TextId;
use super::step::{self, Chain, Outbox, StepOf};
use super::{GenerateError, GenerateOptions, Steps};
use crate::gpu::{CopyOut, PendingRead, Prepared, Recorder};
use crate::kernels::emit::LoopState;
use crate::model::{Control, Memory, SUBMITS};
use crate::session::{Pace, Pool, Session, alone};

/// Prepared steps that are kept. A step is one for each number of rows, each chain that they need, and each number of shares that the keys of
/// a row are split into; a batch meets few of these.
const MOST_STEPS: usize = 64;

/// The rows of a batch, and the submits over them.
#[derive(Debug)]
pub(super) struct Rows {
    pool: Arc<Pool>,
    /// The pool's, or in a pool of one its session's own.
    control: Option<Arc<Control>>,
    /// The text of each row.
    ids: Vec<TextId>,
    /// Steps by their number of rows, their chain, and the shares of a row's keys.
    steps: BTreeMap<(usize, Chain, u32), Prepared>,
    /// Submits under way, oldest first.
    under_way: VecDeque<UnderWay>,
    /// Number of the next submit.
    submits: usize,
    /// Whether reads that were given up before are known to be over.
    settled: bool,
    pace: Pace,
    /// When the device finished the last submit that was read.
    idle_since: Instant,
}

/// A submit under way.
#[derive(Debug)]
struct UnderWay {
    read: PendingRead,
    /// Whose rows it is over.
    ids: Vec<TextId>,
    steps: u32,
    begun: Instant,
}

/// What a submit has brought.
pub(super) struct Brought {
    pub(super) ids: Vec<TextId>,
    pub(super) steps: u32,
    pub(super) outbox: Outbox,
}

impl Rows {
    pub(super) fn new(pool: &Arc<Pool>, steps: Steps) -> Self {
        let most = (pool.shape.in_flight / SUBMITS as u32).max(1);
        let pace = match steps {
            Steps::Fixed(steps) => Pace::fixed(steps.clamp(1, most)),
            Steps::Auto | Steps::OnHost => Pace::adaptive(1, most),
        };
        Self {
            pool: pool.clone(),
            control: pool.control.clone(),
            ids: Vec::new(),
            steps: BTreeMap::new(),
            under_way: VecDeque::new(),
            submits: 0,
            settled: false,
            pace,
            idle_since: Instant::now(),
        }
    }

    /// The text of each row.
    pub(super) fn ids(&self) -> &[TextId] {
        &self.ids
    }

    /// Whether a submit is under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Whether as many submits are under way as may be.
    pub(super) fn is_full(&self) -> bool {
        self.under_way.len() >= SUBMITS
    }

    /// Steps of the next submit, if nothing else bounds them.
    pub(super) fn pace(&self) -> u32 {
        self.pace.size() as u32
    }

    /// Forgets which rows are whose, and what is under way.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.under_way.clear();
        self.settled = false;
    }

    /// Gives `session`, whose pending token the loop consumes first, the row behind the last, for `budget` tokens at most. The device's
    /// ring of its text is where the host's is.
    pub(super) fn join(
        &mut self,
        id: TextId,
        session: &Session,
        options: &GenerateOptions,
        budget: u32,
    ) -> Result<(), GenerateError> {
        if self.pool.control.is_none()
            && !self.control.as_ref().is_some_and(|own| Arc::ptr_eq(own, &session.control))
        {
            // In a pool of one there is no loop over several texts; the session's own is one over one.
            self.control = Some(session.control.clone());
            self.steps.clear();
            self.settled = false;
        }
        let row = self.ids.len() as u32;
        let (control, gpu) = (self.control(), &self.pool.model.gpu);
        step::upload_settings(session, control, row, options)?;
        let start = LoopState { budget, ..session.idle_loop() };
        let Some(pending) = session.pending else { unreachable!("a text that joins has a token to consume") };
        gpu.upload(&control.loop_state, at(row, LOOP_BYTES), bytemuck::bytes_of(&start))?;
        gpu.upload(&control.token, at(row, TOKEN_BYTES), bytemuck::bytes_of(&pending))?;
        self.ids.push(id);
        Ok(())
    }

    /// Takes the row of a text away. The last row moves into its place: which text that is; its settings are for the caller to upload,
    /// by [`Rows::set`].
    pub(super) fn leave(&mut self, id: TextId) -> Result<Option<TextId>, GenerateError> {
        let Some(row) = self.ids.iter().position(|other| *other == id) else { return Ok(None) };
        self.ids.swap_remove(row);
        let Some(moved) = self.ids.get(row).copied() else { return Ok(None) };
        let (row, last) = (row as u32, self.ids.len() as u32);
        let (control, scratch) = (self.control(), &self.pool.scratch);
        let gpu = &self.pool.model.gpu;
        let _alone = alone(scratch);
        let mut rec = Recorder::new(gpu.capabilities());
        for (buffer, bytes) in [(&control.token, TOKEN_BYTES), (&control.loop_state, LOOP_BYTES)] {
            // Within one buffer WebGPU has no copy, so it goes by way of another, whose content no submit needs after its end.
            rec.copy(CopyOut::new(buffer, at(last, bytes), &scratch.rows, 0, bytes)?);
            rec.copy(CopyOut::new(&scratch.rows, 0, buffer, at(row, bytes), bytes)?);
        }
        gpu.run(rec.finish())?;
        Ok(Some(moved))
    }

    /// Uploads the settings of the row of a text.
    pub(super) fn set(
        &self,
        id: TextId,
        session: &Session,
        options: &GenerateOptions,
    ) -> Result<(), GenerateError> {
        match self.ids.iter().position(|other| *other == id) {
            Some(row) => step::upload_settings(session, self.control(), row as u32, options),
            None => Ok(()),
        }
    }

    /// Waits until reads that were given up by somebody before are over; their memory is used again.
    pub(super) fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), GenerateError>> {
        if let (false, Some(control)) = (self.settled, &self.control) {
            for readback in &control.reads {
                ready!(readback.poll_settled(cx))?;
            }
            self.settled = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Submits `steps` steps over all rows, with room for `splits` shares of the keys of each. `session` is one of theirs.
    pub(super) fn submit(
        &mut self,
        session: &Session,
        chain: Chain,
        splits: u32,
        steps: u32,
    ) -> Result<(), GenerateError> {
        let key = (self.ids.len(), chain, splits);
        if !self.steps.contains_key(&key) {
            if self.steps.len() >= MOST_STEPS {
                self.steps.clear();
            }
            let step = self.record(session, chain, splits)?;
            self.steps.insert(key, step);
        }
        let Some(step) = self.steps.get(&key) else { unreachable!("it was recorded") };
        let begun = Instant::now(); // recording, and compiling with it, is no time of a step
        let (size, staging) = ((steps, self.ids.len() as u32), self.submits % SUBMITS);
        let read = step::submit_rows(&self.pool, self.control(), step, size, staging, chain.logprobs)?;
        self.submits += 1;
        self.under_way.push_back(UnderWay { read, ids: self.ids.clone(), steps, begun });
        Ok(())
    }

    /// The oldest submit under way; nothing is ready where there is none.
    pub(super) fn poll_brought(&mut self, cx: &mut Context<'_>) -> Poll<Result<Brought, GenerateError>> {
        let Some(oldest) = self.under_way.front_mut() else { return Poll::Pending };
        let (bytes, at) = ready!(Pin::new(&mut oldest.read).poll(cx))?;
        let Some(UnderWay { ids, steps, begun, .. }) = self.under_way.pop_front() else {
            unreachable!("its bytes have come")
        };
        self.pace.observe(steps, at.saturating_duration_since(begun.max(self.idle_since)));
        self.idle_since = at;
        let outbox = Outbox::new(&bytes, ids.len() as u32, self.pool.shape.in_flight);
        Poll::Ready(Ok(Brought { ids, steps, outbox }))
    }

    fn record(&self, session: &Session, chain: Chain, splits: u32) -> Result<Prepared, GenerateError> {
        let Pool { model, policy, scratch, texts, .. } = &*self.pool;
        let memory = Memory { scratch, texts, control: self.control() };
        let (ring, rows) = (&session.ring, self.ids.len() as u32);
        let of = StepOf { network: model, memory, ring, policy, rows, splits };
        Ok(model.gpu.prepare(of.record(model.gpu.capabilities(), chain)?)?)
    }

    fn control(&self) -> &Control {
        let Some(control) = &self.control else {
            unreachable!("a row was given away, and with it came its loop")
        };
        control
    }
}

const TOKEN_BYTES: u64 = 4;
const LOOP_BYTES: u64 = size_of::<LoopState>() as u64;

/// Where a row begins that has `bytes` bytes.
fn at(row: u32, bytes: u64) -> u64 {
    u64::from(row) * bytes
}
