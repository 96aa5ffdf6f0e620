//! The loop: a prompt is in the session, tokens come out one by one.
//!
//! ```text
//! mod.rs   the loop on the host: submits ahead, reads behind, stops
//! step.rs  one decode step as the device sees it
//! text.rs  tokens as text, stop strings
//! ```
//!
//! A decode step is the same command stream for every token: the token drawn by one step is the input of the next, on the
//! device. So several steps go into one submit, and a second submit is under way while the tokens of the first are read.
//! A stop that the device can see (an end-of-text token, the budget, the end of the ring) turns all later steps into nothing.
//! A stop that only the host can see leaves the device ahead; the session puts it back before it is used again.

mod error;
mod step;
mod text;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use serde::Serialize;
use web_time::Instant;

use crate::gpu::{Dispatch, PendingRead, Prepared};
use crate::kernels::emit::LoopState;
use crate::kv::{AnchorSet, AtMaxSegment};
use crate::model::SUBMITS;
use crate::sampling::{NO_TOKEN, Sampler, SamplerOptions, top_logprobs};
use crate::session::{Pace, Session, SessionError, floats};
pub use error::GenerateError;
pub use step::planned_step;
pub use text::{Piece, TextGeneration};

/// How many decode steps the device makes on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Steps {
    /// As many per submit as run in a fraction of a frame, measured.
    #[default]
    Auto,
    /// This many per submit, at most half of the steps that may be in flight.
    Fixed(u32),
    /// One; the logits are read back and the host draws. Slow: for debugging, and what the loop on the device is compared with.
    OnHost,
}

/// When and how to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens to generate.
    pub max_tokens: u32,
    /// Go on after an end-of-text token.
    pub ignore_eos: bool,
    /// Tokens that end the text beside those of the model; they hold even with `ignore_eos`.
    pub stop_tokens: Vec<u32>,
    /// How a token is drawn.
    pub sampler: SamplerOptions,
    /// Who makes the steps.
    pub steps: Steps,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            ignore_eos: false,
            stop_tokens: Vec::new(),
            sampler: SamplerOptions::default(),
            steps: Steps::Auto,
        }
    }
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model ended it.
    Eos,
    /// A token or text that was asked to end it.
    Stop,
    /// The token budget is used up.
    MaxTokens,
    /// `full` has reached its planned capacity.
    ContextFull,
    /// The last position the engine can count.
    PositionLimit,
    /// The segment would grow too long, and the policy asks for an error then. The token that was to go into it is the pending one.
    SegmentLimit,
    /// It was called off.
    Cancelled,
}

/// A generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// How likely it was and what else might have come, if that was asked for; `None` for an anchor that was not drawn but put in at
    /// the bound of a segment.
    pub logprobs: Option<Logprobs>,
}

/// Natural logarithms of probabilities under the model itself, before penalties, bias and temperature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Logprobs {
    /// Of the token drawn.
    pub chosen: f32,
    /// The likeliest tokens with theirs, in order.
    pub top: Vec<(u32, f32)>,
}

/// A text being generated. Each token is given out before it is consumed, so the last one never costs a forward pass; the session
/// keeps it as [`Session::pending`].
#[derive(Debug)]
pub struct Generation<'s> {
    session: &'s mut Session,
    options: GenerateOptions,
    sampler: Sampler,
    /// One decode step, recorded once.
    step: Prepared,
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
    /// When the device finished the last batch that was read.
    idle_since: Instant,
    /// What the last batch said: none follows.
    ended: Option<u32>,
    cancelled: bool,
    /// What went wrong after the tokens that are ready; they are given out first.
    failed: Option<GenerateError>,
    /// An error was given out, so nothing follows.
    dead: bool,
    stopped: Option<StopReason>,
}

/// A submit of the loop.
#[derive(Debug)]
struct Batch {
    read: PendingRead,
    steps: u32,
    on_host: bool,
    begun: Instant,
}

impl Session {
    /// Starts to generate after the text so far.
    ///
    /// # Errors
    /// [`SessionError::EmptyPrompt`] without a text, a setting out of range, a token outside the vocabulary.
    pub fn generate(&mut self, options: GenerateOptions) -> Result<Generation<'_>, GenerateError> {
        if !self.has_last && self.pending.is_none() {
            return Err(SessionError::EmptyPrompt.into());
        }
        let sampler = self.sampler(&options)?;
        // A pending token that would make a segment too long can't be consumed, so nothing can follow it.
        let (tagger, pos) = (self.ring.tagger(), self.ring.state().pos);
        let too_long = tagger.check_segments(&self.policy, pos, self.pending.as_slice()).is_err();
        self.rewind()?;
        step::prepare(self, &options)?;
        let step = step::record(self, &options.sampler)?;
        let most = (self.ring.params().in_flight / SUBMITS as u32).max(1);
        let pace = match options.steps {
            Steps::Auto => Pace::adaptive(1, most),
            Steps::Fixed(steps) => Pace::fixed(steps.clamp(1, most)),
            Steps::OnHost => Pace::fixed(1),
        };
        Ok(Generation {
            session: self,
            options,
            sampler,
            step,
            in_flight: VecDeque::new(),
            submits: 0,
            submitted: 0,
            read: 0,
            given: 0,
            ready: VecDeque::new(),
            pace,
            idle_since: Instant::now(),
            ended: too_long.then_some(LoopState::STOP_SEGMENT),
            cancelled: false,
            failed: None,
            dead: false,
            stopped: None,
        })
    }

    /// The sampler that `options` ask for; an error for a setting out of range.
    pub(crate) fn sampler(&self, options: &GenerateOptions) -> Result<Sampler, GenerateError> {
        let vocab_size = self.model().config().vocab_size;
        if let Some(id) = options.stop_tokens.iter().find(|id| **id >= vocab_size) {
            return Err(SessionError::TokenOutsideVocab { id: *id, vocab_size }.into());
        }
        Ok(Sampler::new(options.sampler.clone(), vocab_size, &self.policy().anchors)?)
    }

    /// Ids after which a text ends.
    pub(crate) fn ends(&self, options: &GenerateOptions) -> AnchorSet {
        let eos = if options.ignore_eos { &[][..] } else { &self.model().config().eos_tokens };
        eos.iter().chain(&options.stop_tokens).copied().collect()
    }
}

impl Generation<'_> {
    /// The next token; `None` when the text has ended. An end-of-text token is given out as the last one.
    ///
    /// # Errors
    /// The logits are not finite, or the device.
    pub async fn next_token(&mut self) -> Result<Option<Token>, GenerateError> {
        poll_fn(|cx| self.poll_token(cx)).await
    }

    /// Why it ended; `None` while it goes on, and after an error.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.stopped
    }

    /// Submits nothing more. What is under way is still given out, then the text ends.
    pub fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// Ends the text at the last token given out, for a reason that only the caller can see. What the device has drawn beyond
    /// it is forgotten.
    pub fn stop(&mut self) {
        self.stopped = self.stopped.or(Some(StopReason::Stop));
        self.in_flight.clear();
        self.ready.clear();
    }

    /// The session, for its statistics.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// The dispatches of one decode step, in order.
    pub fn step_dispatches(&self) -> &[Dispatch] {
        self.step.recording().dispatches()
    }

    fn poll_token(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Token>, GenerateError>> {
        let token = ready!(self.poll_unguarded(cx));
        if token.is_err() {
            self.dead = true;
            self.in_flight.clear();
            self.ready.clear();
        }
        Poll::Ready(token)
    }

    fn poll_unguarded(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Token>, GenerateError>> {
        loop {
            if self.stopped.is_some() || self.dead {
                return Poll::Ready(Ok(None));
            }
            if let Some(token) = self.ready.pop_front() {
                self.session.accept(token.id)?;
                self.given += 1;
                if self.session.ends(&self.options).contains(token.id) {
                    let eos = self.session.model().config().eos_tokens.contains(&token.id);
                    self.stopped = Some(if eos && !self.options.ignore_eos {
                        StopReason::Eos
                    } else {
                        StopReason::Stop
                    });
                }
                self.fill()?;
                return Poll::Ready(Ok(Some(token)));
            }
            if let Some(error) = self.failed.take() {
                return Poll::Ready(Err(error));
            }
            if let Some(reason) = self.end() {
                self.stopped = Some(reason);
                continue;
            }
            if self.submits == 0 {
                // A generation before this one may have been left with reads under way.
                let s = &self.session.buffers;
                for readback in s.submit_reads.iter().chain([&s.readback]) {
                    ready!(readback.poll_settled(cx))?;
                }
            }
            self.fill()?;
            match self.in_flight.front_mut() {
                Some(batch) => {
                    let (bytes, at) = ready!(Pin::new(&mut batch.read).poll(cx))?;
                    self.collect(&bytes, at)?;
                }
                // Nothing can be submitted, so the end must have come.
                None => self.ended = Some(LoopState::STOP_LIMIT),
            }
        }
    }

    /// Why nothing more can come, once nothing is under way.
    fn end(&self) -> Option<StopReason> {
        if self.given >= self.options.max_tokens {
            return Some(StopReason::MaxTokens);
        }
        if self.ended == Some(LoopState::STOP_SEGMENT) {
            return Some(StopReason::SegmentLimit);
        }
        if self.ended.is_some() {
            let full = self.session.policy().limit.is_some();
            return Some(if full { StopReason::ContextFull } else { StopReason::PositionLimit });
        }
        (self.cancelled && self.in_flight.is_empty()).then_some(StopReason::Cancelled)
    }

    /// Keeps the device busy: submits as long as there is room for what it may run ahead of the host.
    fn fill(&mut self) -> Result<(), GenerateError> {
        while self.in_flight.len() < SUBMITS
            && !self.cancelled
            && self.ended.is_none()
            && self.stopped.is_none()
        {
            let first = self.session.pending.is_none();
            let on_host = self.options.steps == Steps::OnHost;
            if (first || on_host) && (self.submitted > self.given) {
                break; // the host has to see this token first
            }
            let left = self.options.max_tokens - self.submitted;
            let ahead = self.submitted - self.given;
            let room = (self.session.ring.params().in_flight - ahead)
                .min(self.session.remaining().saturating_sub(ahead));
            let most = if first { 1 } else { room.min(left) };
            let steps = (self.pace.size() as u32).min(most).min(left);
            // A small rest is not worth a submit of its own while another is under way.
            if steps == 0 || (steps < self.pace.size() as u32 && steps < left && !self.in_flight.is_empty()) {
                break;
            }
            let batch = if on_host { self.submit_one()? } else { self.submit(first, steps)? };
            self.submitted += batch.steps;
            self.in_flight.push_back(batch);
        }
        Ok(())
    }

    /// `steps` decode steps; the first token of all needs only the prompt's last hidden state.
    fn submit(&mut self, first: bool, steps: u32) -> Result<Batch, GenerateError> {
        let session = &mut *self.session;
        let begun = Instant::now();
        let staging = self.submits % SUBMITS;
        self.submits += 1;
        let read = if first {
            let draw = step::record_first(session, &self.options.sampler)?;
            step::submit(session, &draw, 1, staging, self.options.sampler.logprobs)?
        } else {
            step::submit(session, &self.step, steps, staging, self.options.sampler.logprobs)?
        };
        Ok(Batch { read, steps, on_host: false, begun })
    }

    /// One step whose logits come back.
    fn submit_one(&self) -> Result<Batch, GenerateError> {
        let read = step::submit_for_logits(self.session)?;
        Ok(Batch { read, steps: 1, on_host: true, begun: Instant::now() })
    }

    /// Takes in what the oldest batch has brought.
    fn collect(&mut self, bytes: &[u8], at: Instant) -> Result<(), GenerateError> {
        let Some(batch) = self.in_flight.pop_front() else { return Ok(()) };
        let from = batch.begun.max(self.idle_since);
        self.pace.observe(batch.steps, at.saturating_duration_since(from));
        self.idle_since = at;
        if batch.on_host {
            let (token, overflows) = self.bounded(self.draw(&floats(bytes))?);
            self.ready.push_back(token);
            self.read += 1;
            if self.session.remaining() <= u32::from(self.session.pending.is_some()) {
                self.ended = Some(LoopState::STOP_LIMIT);
            } else if self.session.policy.at_max_segment == AtMaxSegment::Error && overflows {
                self.ended = Some(LoopState::STOP_SEGMENT);
            }
            return Ok(());
        }
        let outbox = step::Outbox::new(bytes, self.session.ring.params().in_flight);
        let emitted = outbox.emitted(self.read, batch.steps)?;
        for number in self.read..emitted {
            self.ready.push_back(outbox.token(number, self.options.sampler.logprobs));
        }
        self.read = emitted;
        match outbox.state.stopped {
            0 => {}
            LoopState::STOP_NOT_FINITE => {
                let text = self.session.length() + self.ready.len() as u32;
                self.failed = Some(SessionError::NonFiniteLogits { pos: text.saturating_sub(1) }.into());
                self.ended = Some(LoopState::STOP_NOT_FINITE);
            }
            stop => self.ended = Some(stop),
        }
        Ok(())
    }

    /// The token that is handed out for one drawn on the host, and whether it would make a segment too long: what `emit` does.
    fn bounded(&self, token: Token) -> (Token, bool) {
        let session = &*self.session;
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
    fn draw(&self, logits: &[f32]) -> Result<Token, GenerateError> {
        let pos = self.session.length();
        let id = match logits.iter().all(|logit| logit.is_finite()) {
            true => self.sampler.sample(logits, &self.session.recent(), pos).id,
            false => NO_TOKEN,
        };
        if id == NO_TOKEN {
            return Err(SessionError::NonFiniteLogits { pos: pos.saturating_sub(1) }.into());
        }
        let top = self.options.sampler.logprobs;
        let logprobs = (top > 0).then(|| {
            let listed = top_logprobs(logits, id, top as usize);
            let mut listed = listed.into_iter().map(|(id, logprob)| (id, logprob as f32));
            Logprobs { chosen: listed.next().map_or(0.0, |(_, logprob)| logprob), top: listed.collect() }
        });
        Ok(Token { id, logprobs })
    }
}

/// Blocks on each token. In the browser, await [`Generation::next_token`] or use the stream instead.
#[cfg(not(target_arch = "wasm32"))]
impl Iterator for Generation<'_> {
    type Item = Result<Token, GenerateError>;

    fn next(&mut self) -> Option<Self::Item> {
        pollster::block_on(self.next_token()).transpose()
    }
}

/// Natively a poll blocks until a batch has arrived, as [`Generation::next_token`] does; in the browser it does not.
impl futures_core::Stream for Generation<'_> {
    type Item = Result<Token, GenerateError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_token(cx).map(Result::transpose)
    }
}
