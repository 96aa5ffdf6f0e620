//! Several texts of one pool, a step of all at a time: each step reads the weights once for all of them.

use std::collections::VecDeque;
use std::sync::Arc;

use web_time::Instant;

use super::step::{self, Outbox, StepOf};
use super::{GenerateError, GenerateOptions, Steps, StopReason, Token};
use crate::gpu::{PendingRead, Prepared};
use crate::kernels::emit::LoopState;
use crate::model::{Control, Memory, SUBMITS};
use crate::session::{Pace, Session, SessionError};

/// How one of several texts went on.
#[derive(Debug)]
pub struct Continued {
    /// The tokens, in order. The last one is the session's pending token.
    pub tokens: Vec<Token>,
    /// Why it ended, or what went wrong after these tokens.
    pub end: Result<StopReason, GenerateError>,
}

/// Goes on with several texts of one pool until each has ended. All have the same settings; each has its own position, ring and end, and
/// gets the tokens that it would get alone (up to rounding: several rows are summed by another kernel than one, so that a near-tie of a
/// real model may be decided otherwise). The steps are made on the device, whatever [`GenerateOptions::steps`] says.
///
/// # Errors
/// [`GenerateError::NotTogether`] if the sessions are not of one pool, [`GenerateError::PoolBusy`] while others of the pool go on together,
/// [`EmptyPrompt`](crate::session::SessionError::EmptyPrompt) if one of them has no text, a setting out of range; nothing was drawn then.
/// The device; then, and when this future is dropped, what was handed out so far is in the sessions.
pub async fn generate_together(
    sessions: &mut [&mut Session],
    options: &GenerateOptions,
) -> Result<Vec<Continued>, GenerateError> {
    let Some(first) = sessions.first() else { return Ok(Vec::new()) };
    // In a pool of one there is no loop over several texts; the session's own is one over one.
    let (pool, own) = (first.pool().clone(), first.control.clone());
    let control = pool.control.clone().unwrap_or(own);
    // Sessions of one pool have different places, because each owns its own.
    if sessions.iter().any(|session| !Arc::ptr_eq(session.pool(), &pool)) {
        return Err(GenerateError::NotTogether);
    }
    let _ours = pool.together().ok_or(GenerateError::PoolBusy)?;
    for session in &*sessions {
        if session.pending.is_none() && !session.has_last {
            return Err(SessionError::EmptyPrompt.into());
        }
        session.sampler(options)?;
    }
    let mut lanes = Vec::new();
    for session in &mut *sessions {
        lanes.push(Lane::begin(session, options).await?);
    }
    for readback in &control.reads {
        readback.settle().await?;
    }
    let step = begin(sessions, &lanes, &control, options)?;
    run(sessions, &mut lanes, &control, &step, options).await?;
    let continued = |lane: Lane| match lane.end {
        Some(end) => Continued { tokens: lane.tokens, end },
        None => unreachable!("the loop goes on until every text has ended"),
    };
    Ok(lanes.into_iter().map(continued).collect())
}

/// One text of the loop.
struct Lane {
    tokens: Vec<Token>,
    /// Most tokens of the loop.
    budget: u32,
    /// Tokens of the loop that were read.
    read: u32,
    end: Option<Result<StopReason, GenerateError>>,
}

impl Lane {
    /// A text that is about to go on. The loop consumes a token first, so a text that has none pending draws one alone.
    async fn begin(session: &mut Session, options: &GenerateOptions) -> Result<Self, GenerateError> {
        let mut lane = Self { tokens: Vec::new(), budget: options.max_tokens, read: 0, end: None };
        if session.pending.is_none() {
            let one = GenerateOptions { max_tokens: options.max_tokens.min(1), ..options.clone() };
            let mut draw = session.start(one)?;
            match draw.next_token(session).await {
                Ok(token) => lane.tokens.extend(token),
                Err(error) if error.is_device() => return Err(error),
                Err(error) => lane.end = Some(Err(error)),
            }
            lane.budget -= lane.tokens.len() as u32;
            lane.end = lane.end.or(draw.stop_reason().map(Ok));
        }
        session.next_turn();
        session.rewind()?;
        if lane.budget == 0 {
            lane.end = lane.end.or(Some(Ok(StopReason::MaxTokens)));
        } else if session.remaining() == 0 {
            lane.end = lane.end.or(Some(Ok(session.limit_reason())));
        } else if session.check(session.pending.as_slice()).is_err() {
            lane.end = lane.end.or(Some(Ok(StopReason::SegmentLimit)));
        }
        Ok(lane)
    }

    /// Takes in what `steps` more steps have brought to row `row`.
    fn collect(
        &mut self,
        session: &mut Session,
        outbox: &Outbox,
        row: usize,
        steps: u32,
        options: &GenerateOptions,
    ) -> Result<(), GenerateError> {
        let emitted = outbox.emitted(row, self.read, steps)?;
        for number in self.read..emitted {
            let token = outbox.token(row, number, options.sampler.logprobs);
            session.accept(token.id)?;
            self.end = session.ending(options, token.id).map(Ok);
            self.tokens.push(token);
        }
        self.read = emitted;
        if self.end.is_none() && outbox.state(row).stopped != 0 {
            self.end = Some(step::why(session, outbox.state(row).stopped, session.length()));
        }
        Ok(())
    }
}

/// Uploads what the loop begins with, and records its step.
fn begin(
    sessions: &[&mut Session],
    lanes: &[Lane],
    control: &Control,
    options: &GenerateOptions,
) -> Result<Prepared, GenerateError> {
    let [session, ..] = sessions else { unreachable!("there is a first one") };
    let gpu = &session.model.gpu;
    let state = |(lane, session): (&Lane, &&mut Session)| {
        // A text that has ended stands still.
        let stopped = if lane.end.is_some() { LoopState::STOP_BUDGET } else { 0 };
        LoopState { budget: lane.budget, stopped, ..session.idle_loop() }
    };
    let states: Vec<LoopState> = lanes.iter().zip(sessions).map(state).collect();
    // One that has ended before it had a token consumes nothing, whatever its token is.
    let tokens: Vec<u32> = sessions.iter().map(|session| session.pending.unwrap_or_default()).collect();
    step::upload_settings(session, control, options)?;
    gpu.upload(&control.loop_state, 0, bytemuck::cast_slice(&states))?;
    gpu.upload(&control.token, 0, bytemuck::cast_slice(&tokens))?;
    let pool = session.pool();
    let of = StepOf {
        network: &session.model,
        memory: Memory { scratch: &pool.scratch, texts: &pool.texts, control },
        ring: &session.ring,
        policy: &session.policy,
        rows: sessions.len() as u32,
    };
    Ok(gpu.prepare(of.record(gpu.capabilities(), &options.sampler)?)?)
}

/// Submits steps, one batch ahead of the one that is read, until every text has ended.
async fn run(
    sessions: &mut [&mut Session],
    lanes: &mut [Lane],
    control: &Control,
    step: &Prepared,
    options: &GenerateOptions,
) -> Result<(), GenerateError> {
    let [session, ..] = &*sessions else { unreachable!("there is a first one") };
    let (rows, in_flight) = (sessions.len() as u32, session.ring.params().in_flight);
    let most = (in_flight / SUBMITS as u32).max(1);
    let mut pace = match options.steps {
        Steps::Fixed(steps) => Pace::fixed(steps.clamp(1, most)),
        Steps::Auto | Steps::OnHost => Pace::adaptive(1, most),
    };
    let mut left = lanes.iter().map(|lane| lane.budget).max().unwrap_or(0);
    let mut under_way: VecDeque<(PendingRead, u32, Instant)> = VecDeque::new();
    let (mut submits, mut idle_since) = (0, Instant::now());
    while lanes.iter().any(|lane| lane.end.is_none()) {
        while under_way.len() < SUBMITS && left > 0 {
            let [session, ..] = &*sessions else { unreachable!("there is a first one") };
            // What may be undone bounds what may be ahead.
            let ahead: u32 = under_way.iter().map(|(_, steps, _)| steps).sum();
            let (steps, begun) = ((pace.size() as u32).min(left).min(in_flight - ahead), Instant::now());
            if steps == 0 {
                break;
            }
            let staging = submits % SUBMITS;
            let logprobs = options.sampler.logprobs;
            let read = step::submit_rows(session, control, step, (steps, rows), staging, logprobs)?;
            under_way.push_back((read, steps, begun));
            (submits, left) = (submits + 1, left - steps);
        }
        let Some((read, steps, begun)) = under_way.pop_front() else {
            unreachable!("a text that has not ended has tokens left")
        };
        let (bytes, at) = read.await?;
        pace.observe(steps, at.saturating_duration_since(begun.max(idle_since)));
        idle_since = at;
        let outbox = Outbox::new(&bytes, rows, in_flight);
        for (row, (lane, session)) in lanes.iter_mut().zip(&mut *sessions).enumerate() {
            if lane.end.is_none() {
                lane.collect(session, &outbox, row, steps, options)?;
            }
        }
    }
    Ok(())
}
