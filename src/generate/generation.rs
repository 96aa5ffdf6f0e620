//! A text being generated, as a value of its own: the loop on the host.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use web_time::Instant;

use super::{GenerateError, GenerateOptions, Guide, Logprobs, Steps, StopReason, Token, step};
use crate::gpu::{Dispatch, PendingRead, Prepared};
use crate::kv::AtMaxSegment;
use crate::model::SUBMITS;
use crate::sampling::{NO_TOKEN, Sampler, top_logprobs};
use crate::session::{Pace, Session, SessionError, floats};

/// A text being generated, polled with the session that holds the text. Each token is given out before it is consumed, so the last one
/// never costs a forward pass; the session keeps it as [`Session::pending`].
///
/// It is a value of its own, so that whoever serves many texts can keep it beside its session. [`Session::generate`] holds both.
#[derive(Debug)]
pub struct Generation {
    /// The session's turn that this generation is.
    turn: u64,
    options: GenerateOptions,
    sampler: Sampler,
    /// Decode steps, each recorded once, by the shares that they split the keys of a row into; the last one submitted, or to be.
    steps: BTreeMap<u32, Prepared>,
    splits: u32,
    /// Submits under way, oldest first.
    in_flight: VecDeque<Batch>,
    /// Number of the next submit.
    submits: usize,
    /// Steps submitted, tokens read from the device, tokens given out.
    submitted: u32,
    read: u32,
    given: u32,
    /// Read and not given out yet.
    ready: VecDeque<Token>,
    pace: Pace,
    /// What the text is held to.
    guide: Option<Box<dyn Guide>>,
    /// When the device finished the last batch that was read.
    idle_since: Instant,
    phase: Phase,
}

/// Where a generation stands.
#[derive(Debug)]
enum Phase {
    /// Steps are submitted as long as there is room for what the device may run ahead.
    Running,
    /// It was called off: nothing more is submitted, and what is under way is still given out.
    Cancelled,
    /// The device said why nothing follows the tokens that are ready.
    Ending(StopReason),
    /// What went wrong after the tokens that are ready.
    Failing(GenerateError),
    /// Nothing follows. It ended for this reason, or an error was given out.
    Over(Option<StopReason>),
}

/// A submit of the loop.
#[derive(Debug)]
struct Batch {
    read: PendingRead,
    steps: u32,
    on_host: bool,
    begun: Instant,
}

impl Generation {
    pub(super) fn new(session: &mut Session, mut options: GenerateOptions) -> Result<Self, GenerateError> {
        if !session.has_last && session.pending.is_none() {
            return Err(SessionError::EmptyPrompt.into());
        }
        let guide = options.guide(session)?;
        if guide.is_some() && !options.sampler.has_bias() {
            // It bans by the bias, so there has to be one.
            options.sampler.logit_bias.push((0, 0.0));
        }
        let sampler = session.sampler(&options)?;
        // A pending token that would make a segment too long can't be consumed, so nothing can follow it.
        let (tagger, pos) = (session.ring.tagger(), session.ring.state().pos);
        let too_long = tagger.check_segments(&session.policy, pos, session.pending.as_slice()).is_err();
        session.rewind()?;
        step::prepare(session, &options)?;
        let splits = session.splits();
        let steps = BTreeMap::from([(splits, step::record(session, &options.sampler)?)]);
        let most = (session.ring.params().in_flight / SUBMITS as u32).max(1);
        let pace = match options.steps {
            _ if guide.is_some() => Pace::fixed(1),
            Steps::Auto => Pace::adaptive(1, most),
            Steps::Fixed(steps) => Pace::fixed(steps.clamp(1, most)),
            Steps::OnHost => Pace::fixed(1),
        };
        Ok(Self {
            turn: session.next_turn(),
            options,
            sampler,
            steps,
            splits,
            in_flight: VecDeque::new(),
            submits: 0,
            submitted: 0,
            read: 0,
            given: 0,
            ready: VecDeque::new(),
            pace,
            guide,
            idle_since: Instant::now(),
            phase: if too_long { Phase::Ending(StopReason::SegmentLimit) } else { Phase::Running },
        })
    }

    /// The next token; `None` when the text has ended. An end-of-text token is given out as the last one.
    ///
    /// # Errors
    /// The logits are not finite, or the device; [`GenerateError::NotItsTurn`] with another session than it was started with, or if
    /// that one has gone on without it.
    pub async fn next_token(&mut self, session: &mut Session) -> Result<Option<Token>, GenerateError> {
        poll_fn(|cx| self.poll_token(session, cx)).await
    }

    /// [`Generation::next_token`], for a future written by hand. It does not wait for what the device has to give; a submit may be part of it.
    pub fn poll_token(
        &mut self,
        session: &mut Session,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Token>, GenerateError>> {
        let token = ready!(self.poll_unguarded(session, cx));
        if token.is_err() {
            self.end(None);
        }
        Poll::Ready(token)
    }

    /// Why it ended; `None` while it goes on, and after an error.
    pub fn stop_reason(&self) -> Option<StopReason> {
        match self.phase {
            Phase::Over(reason) => reason,
            _ => None,
        }
    }

    /// Submits nothing more. What is under way is still given out, then the text ends.
    pub fn cancel(&mut self) {
        if let Phase::Running = self.phase {
            self.phase = Phase::Cancelled;
        }
    }

    /// Ends the text at the last token given out, for a reason that only the caller can see. What the device has drawn beyond
    /// it is forgotten.
    pub fn stop(&mut self) {
        if !matches!(self.phase, Phase::Over(_)) {
            self.end(Some(StopReason::Stop));
        }
    }

    /// The dispatches of one decode step, in order: of the one submitted last, where a text has several because it sees more and more keys.
    pub fn step_dispatches(&self) -> &[Dispatch] {
        self.step().recording().dispatches()
    }

    fn step(&self) -> &Prepared {
        let Some(step) = self.steps.get(&self.splits) else { unreachable!("it was recorded") };
        step
    }

    fn end(&mut self, reason: Option<StopReason>) {
        self.phase = Phase::Over(reason);
        self.in_flight.clear();
        self.ready.clear();
    }

    fn poll_unguarded(
        &mut self,
        session: &mut Session,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Token>, GenerateError>> {
        loop {
            if let Phase::Over(_) = self.phase {
                return Poll::Ready(Ok(None));
            }
            if session.turn() != self.turn {
                return Poll::Ready(Err(GenerateError::NotItsTurn));
            }
            if let Some(token) = self.ready.pop_front() {
                session.accept(token.id)?;
                self.given += 1;
                let guided = self.guide.as_mut().map_or(Ok(()), |guide| guide.accept(token.id));
                match session.ending(&self.options, token.id) {
                    Some(reason) => self.end(Some(reason)),
                    // What goes wrong from here on comes after this token.
                    None => {
                        if let Err(error) = guided.and_then(|()| self.fill(session)) {
                            self.phase = Phase::Failing(error);
                        }
                    }
                }
                return Poll::Ready(Ok(Some(token)));
            }
            match std::mem::replace(&mut self.phase, Phase::Over(None)) {
                Phase::Failing(error) => return Poll::Ready(Err(error)),
                _ if self.given >= self.options.max_tokens => self.end(Some(StopReason::MaxTokens)),
                Phase::Ending(reason) => self.end(Some(reason)),
                Phase::Cancelled if self.in_flight.is_empty() => self.end(Some(StopReason::Cancelled)),
                phase => {
                    self.phase = phase;
                    ready!(self.poll_batch(session, cx))?;
                }
            }
        }
    }

    /// Waits for the oldest batch, and takes in what it has brought.
    fn poll_batch(&mut self, session: &mut Session, cx: &mut Context<'_>) -> Poll<Result<(), GenerateError>> {
        if self.submits == 0 {
            // A generation before this one may have been left with reads under way.
            for readback in session.control.reads.iter().chain([&session.readback]) {
                ready!(readback.poll_settled(cx))?;
            }
        }
        self.fill(session)?;
        let Some(batch) = self.in_flight.front_mut() else {
            // Nothing can be submitted, so the end must have come.
            if let Phase::Ending(_) = self.phase {
                return Poll::Ready(Ok(()));
            }
            self.phase = Phase::Ending(session.limit_reason());
            return Poll::Ready(Ok(()));
        };
        let (bytes, at) = ready!(Pin::new(&mut batch.read).poll(cx))?;
        Poll::Ready(self.collect(session, &bytes, at))
    }

    /// Keeps the device busy: submits as long as there is room for what it may run ahead of the host.
    fn fill(&mut self, session: &mut Session) -> Result<(), GenerateError> {
        while self.in_flight.len() < SUBMITS && matches!(self.phase, Phase::Running) {
            let first = session.pending.is_none();
            let on_host = self.options.steps == Steps::OnHost;
            if (first || on_host || self.guide.is_some()) && (self.submitted > self.given) {
                break; // the host has to see this token first
            }
            let left = self.options.max_tokens - self.submitted;
            let ahead = self.submitted - self.given;
            let room =
                (session.ring.params().in_flight - ahead).min(session.remaining().saturating_sub(ahead));
            let most = if first { 1 } else { room.min(left) };
            let steps = (self.pace.size() as u32).min(most).min(left);
            // A small rest is not worth a submit of its own while another is under way.
            if steps == 0 || (steps < self.pace.size() as u32 && steps < left && !self.in_flight.is_empty()) {
                break;
            }
            if !self.guided(session, on_host)? {
                self.phase = Phase::Ending(StopReason::Eos);
                break;
            }
            let batch = if on_host { self.submit_one(session)? } else { self.submit(session, first, steps)? };
            self.submitted += batch.steps;
            self.in_flight.push_back(batch);
        }
        Ok(())
    }

    /// Has the next token drawn from those that the text may go on with; false when the text is complete.
    fn guided(&mut self, session: &Session, on_host: bool) -> Result<bool, GenerateError> {
        let Some(guide) = &mut self.guide else { return Ok(true) };
        let Some(bias) = guide.next()? else { return Ok(false) };
        if on_host {
            self.sampler.set_bias(bias);
        } else {
            session.model.gpu.upload(&session.control.bias, 0, bytemuck::cast_slice(&bias))?;
        }
        Ok(true)
    }

    /// `steps` decode steps; the first token of all needs only the prompt's last hidden state.
    fn submit(&mut self, session: &Session, first: bool, steps: u32) -> Result<Batch, GenerateError> {
        let mut begun = Instant::now();
        let staging = self.submits % SUBMITS;
        self.submits += 1;
        let logprobs = self.options.sampler.logprobs > 0;
        let read = if first {
            let draw = step::record_first(session, &self.options.sampler)?;
            step::submit(session, &draw, 1, staging, logprobs)?
        } else {
            self.splits = session.splits();
            if !self.steps.contains_key(&self.splits) {
                self.steps.insert(self.splits, step::record(session, &self.options.sampler)?);
                begun = Instant::now(); // recording, and compiling with it, is no time of a step
            }
            step::submit(session, self.step(), steps, staging, logprobs)?
        };
        Ok(Batch { read, steps, on_host: false, begun })
    }

    /// One step whose logits come back.
    fn submit_one(&mut self, session: &Session) -> Result<Batch, GenerateError> {
        self.submits += 1;
        let read = step::submit_for_logits(session)?;
        Ok(Batch { read, steps: 1, on_host: true, begun: Instant::now() })
    }

    /// Takes in what the oldest batch has brought.
    fn collect(&mut self, session: &Session, bytes: &[u8], at: Instant) -> Result<(), GenerateError> {
        let Some(batch) = self.in_flight.pop_front() else { unreachable!("its bytes have come") };
        let from = batch.begun.max(self.idle_since);
        self.pace.observe(batch.steps, at.saturating_duration_since(from));
        self.idle_since = at;
        if batch.on_host {
            let (token, overflows) = self.bounded(session, self.draw(session, &floats(bytes))?);
            self.ready.push_back(token);
            self.read += 1;
            if session.remaining() <= u32::from(session.pending.is_some()) {
                self.phase = Phase::Ending(session.limit_reason());
            } else if session.policy.at_max_segment == AtMaxSegment::Error && overflows {
                self.phase = Phase::Ending(StopReason::SegmentLimit);
            }
            return Ok(());
        }
        let outbox = step::Outbox::new(bytes, 1, session.ring.params().in_flight);
        let emitted = outbox.emitted(0, self.read, batch.steps)?;
        for number in self.read..emitted {
            self.ready.push_back(outbox.token(0, number, self.options.sampler.logprobs));
        }
        self.read = emitted;
        let text = session.length() + self.ready.len() as u32;
        match outbox.state(0).stopped {
            0 => {}
            stop => {
                self.phase = match step::why(session, stop, text) {
                    Ok(reason) => Phase::Ending(reason),
                    Err(error) => Phase::Failing(error),
                }
            }
        }
        Ok(())
    }

    /// The token that is handed out for one drawn on the host, and whether it would make a segment too long: what `emit` does.
    fn bounded(&self, session: &Session, token: Token) -> (Token, bool) {
        let (policy, ends) = (&session.policy, session.ends(&self.options).contains(token.id));
        let overflows = !ends && session.tagger(session.pending).overflows(policy, token.id);
        match policy.insert {
            Some(insert) if overflows && policy.at_max_segment == AtMaxSegment::Insert => {
                let logprobs = token.logprobs.filter(|_| token.id == insert.id);
                (Token { id: insert.id, logprobs }, true)
            }
            _ => (token, overflows),
        }
    }

    /// The host's own draw, by the twins of the kernels.
    fn draw(&self, session: &Session, logits: &[f32]) -> Result<Token, GenerateError> {
        let pos = session.length();
        let id = match logits.iter().all(|logit| logit.is_finite()) {
            true => self.sampler.sample(logits, &session.recent(), pos).id,
            false => NO_TOKEN,
        };
        if id == NO_TOKEN {
            return Err(session.not_finite(pos.saturating_sub(1)).into());
        }
        let top = self.options.sampler.logprobs;
        let logprobs = (top > 0).then(|| {
            let mut listed = top_logprobs(logits, id, top as usize).into_iter();
            let Some((_, chosen)) = listed.next() else { unreachable!("the chosen one is listed first") };
            Logprobs {
                chosen: chosen as f32,
                top: listed.map(|(id, logprob)| (id, logprob as f32)).collect(),
            }
        });
        Ok(Token { id, logprobs })
    }
}
