//! One decode step as the device sees it: forward pass, logits, draw, hand-over.

use super::{GenerateError, GenerateOptions, Logprobs, Token};
use crate::gpu::{Buffer, Capabilities, CopyOut, PendingRead, Prepared, Recorder, Recording};
use crate::kernels::emit::{self, Emit, EmitShape, LoopState, SegmentBound};
use crate::kernels::penalize::{self, Penalize};
use crate::kernels::top_logprobs::{self, TopLogprobs};
use crate::kernels::{WeightFormat, adjust, sample};
use crate::kv::{Policy, Ring};
use crate::model::llama::{self, Attend};
use crate::model::{
    LOGPROB_WORDS, Network, PlanError, SessionBuffers, SessionPlan, outbox_bytes, recent_cap,
};
use crate::model_file::Config;
use crate::sampling::SamplerOptions;
use crate::session::{Session, SessionError, SessionOptions, alone};

/// Uploads what all steps of a generation share.
pub(super) fn prepare(session: &Session, options: &GenerateOptions) -> Result<(), GenerateError> {
    let (gpu, s) = (&session.model.gpu, &session.buffers);
    let ends = session.ends(options).bitset_words(session.model.config.vocab_size);
    gpu.upload(&s.control.stop_bits, 0, bytemuck::cast_slice(&ends))?;
    if options.sampler.has_bias() || options.sampler.has_penalties() {
        let bias = options.sampler.bias_vector(session.model.config.vocab_size);
        gpu.upload(&s.control.bias, 0, bytemuck::cast_slice(&bias))?;
    }
    let start = LoopState { budget: options.max_tokens, ..LoopState::default() };
    gpu.upload(&s.control.loop_state, 0, bytemuck::bytes_of(&start))?;
    Ok(())
}

/// What a step is recorded from. No device.
#[derive(Clone, Copy)]
pub(super) struct StepOf<'a> {
    pub(super) network: &'a Network,
    pub(super) buffers: &'a SessionBuffers,
    pub(super) ring: &'a Ring,
    pub(super) policy: &'a Policy,
}

impl<'a> StepOf<'a> {
    fn new(session: &'a Session) -> Self {
        let Session { model, buffers, ring, policy, .. } = session;
        Self { network: model, buffers, ring, policy }
    }

    /// A whole step: consumes the token that the step before it drew, and draws the next.
    fn record(self, device: &Capabilities, sampler: &SamplerOptions) -> Result<Recording, GenerateError> {
        let mut rec = Recorder::new(device);
        llama::forward(&mut rec, self.network, self.buffers, 1, Attend::Step(self.ring))?;
        self.record_draw(&mut rec, sampler, &self.buffers.scratch.h)?;
        Ok(rec.finish())
    }

    /// Logits of the first hidden state of `hidden`, the sampler chain, and the hand-over of the token.
    fn record_draw(
        self,
        rec: &mut Recorder,
        sampler: &SamplerOptions,
        hidden: &Buffer,
    ) -> Result<(), GenerateError> {
        let (network, s, ring) = (self.network, self.buffers, self.ring.params());
        let vocab = network.config.vocab_size;
        let (outbox_cap, recent_cap) = (ring.in_flight, recent_cap(ring.in_flight));

        llama::logits(rec, network, hidden, (0, 1), &s.scratch.logits)?;
        let mut scores = &s.scratch.logits;
        if sampler.has_bias() || sampler.has_penalties() {
            // A copy: log-probabilities are those of the model itself.
            adjust::record(rec, &s.scratch.logits, &s.control.bias, &s.scratch.scores, vocab)?;
            let io = Penalize {
                state: &s.text.state,
                recent: &s.text.recent,
                anchor_bits: &s.control.anchor_bits,
                scores: &s.scratch.scores,
            };
            penalize::record(rec, io, recent_cap, vocab, sampler)?;
            scores = &s.scratch.scores;
        }
        sample::record(rec, scores, &s.text.state, &s.scratch.top, vocab, sampler)?;
        if sampler.logprobs > 0 {
            let io = TopLogprobs {
                logits: &s.scratch.logits,
                chosen: &s.scratch.top,
                loop_state: &s.control.loop_state,
                out: &s.control.logprobs,
            };
            top_logprobs::record(rec, io, vocab, sampler.logprobs, outbox_cap)?;
        }
        let io = Emit {
            drawn: &s.scratch.top,
            stop_bits: &s.control.stop_bits,
            anchor_bits: &s.control.anchor_bits,
            ring: &s.text.state,
            loop_state: &s.control.loop_state,
            token: &s.text.token,
            outbox: &s.control.outbox,
            recent: &s.text.recent,
        };
        let bound = SegmentBound::of(self.policy);
        emit::record(rec, io, EmitShape { vocab, outbox_cap, recent_cap, limit: ring.limit, bound })?;
        Ok(())
    }
}

/// A whole step, ready to run.
pub(super) fn record(session: &Session, sampler: &SamplerOptions) -> Result<Prepared, GenerateError> {
    let gpu = &session.model.gpu;
    Ok(gpu.prepare(StepOf::new(session).record(gpu.capabilities(), sampler)?)?)
}

/// The first draw, from the hidden state that the prompt has left.
pub(super) fn record_first(session: &Session, sampler: &SamplerOptions) -> Result<Prepared, GenerateError> {
    let gpu = &session.model.gpu;
    let mut rec = Recorder::new(gpu.capabilities());
    StepOf::new(session).record_draw(&mut rec, sampler, &session.buffers.text.last)?;
    Ok(gpu.prepare(rec.finish())?)
}

/// The decode step that a device of these capabilities would run for a model of this config: plain data, to be looked at.
///
/// # Errors
/// The policy makes no ring, or the model does not fit the device.
pub fn planned_step(
    config: &Config,
    format: WeightFormat,
    policy: &Policy,
    sampler: &SamplerOptions,
    device: &Capabilities,
) -> Result<Recording, GenerateError> {
    let shape = SessionOptions::default().shape();
    let network = Network::planned(config, format, device)?;
    let plan = SessionPlan::new(config, policy, shape, device)?;
    let buffers = plan.named()?;
    let ring = Ring::new(policy, shape.in_flight).map_err(PlanError::from)?;
    StepOf { network: &network, buffers: &buffers, ring: &ring, policy }.record(device, sampler)
}

/// Runs a step `times` times, and asks for what it hands out.
pub(super) fn submit(
    session: &Session,
    step: &Prepared,
    times: u32,
    staging: usize,
    logprobs: u32,
) -> Result<PendingRead, GenerateError> {
    let (gpu, s) = (&session.model.gpu, &session.buffers);
    let Some(readback) = s.submit_reads.get(staging) else { unreachable!("one staging buffer per submit") };
    let state_bytes = size_of::<LoopState>() as u64;
    let tokens = outbox_bytes(session.ring.params().in_flight);
    let mut copies = vec![
        CopyOut::new(&s.control.loop_state, 0, readback.buffer(), 0, state_bytes)?,
        CopyOut::new(&s.control.outbox, 0, readback.buffer(), state_bytes, tokens)?,
    ];
    let mut bytes = state_bytes + tokens;
    if logprobs > 0 {
        copies.push(CopyOut::new(
            &s.control.logprobs,
            0,
            readback.buffer(),
            bytes,
            s.control.logprobs.size(),
        )?);
        bytes += s.control.logprobs.size();
    }
    let _alone = alone(&s.scratch);
    let submission = gpu.submit(step, times, &copies)?;
    Ok(readback.begin(gpu, bytes, submission)?)
}

/// One step without a draw, whose logits come back.
pub(super) fn submit_for_logits(session: &Session) -> Result<PendingRead, GenerateError> {
    let (model, s) = (&session.model, &session.buffers);
    let _alone = alone(&s.scratch);
    let mut rec = Recorder::new(model.gpu.capabilities());
    let hidden = match session.pending {
        Some(id) => {
            model.gpu.upload(&s.text.token, 0, bytemuck::bytes_of(&id))?;
            llama::forward(&mut rec, model, s, 1, Attend::Step(&session.ring))?;
            &s.scratch.h
        }
        None if session.has_last => &s.text.last,
        None => return Err(SessionError::EmptyPrompt.into()),
    };
    llama::logits(&mut rec, model, hidden, (0, 1), &s.scratch.logits)?;
    let bytes = u64::from(model.config.vocab_size) * 4;
    rec.read(&s.scratch.logits, 0, s.readback.buffer(), 0, bytes)?;
    let submission = model.gpu.run(rec.finish())?;
    Ok(s.readback.begin(&model.gpu, bytes, submission)?)
}

/// What a batch of steps has brought.
pub(super) struct Outbox<'a> {
    pub(super) state: LoopState,
    tokens: &'a [[u8; 4]],
    logprobs: &'a [[u8; 4]],
}

impl<'a> Outbox<'a> {
    pub(super) fn new(bytes: &'a [u8], in_flight: u32) -> Self {
        let (state, rest) = bytes.split_at(size_of::<LoopState>().min(bytes.len()));
        let (tokens, logprobs) = rest.split_at((in_flight as usize * 4).min(rest.len()));
        let state = bytemuck::try_pod_read_unaligned(state).unwrap_or_default();
        Self { state, tokens: tokens.as_chunks().0, logprobs: logprobs.as_chunks().0 }
    }

    /// Tokens handed out since the generation began, when `read` of them were known before these `steps`. Until the loop stops each
    /// step hands out one. Other numbers are those of an earlier submit: a driver can give one up and call it done.
    pub(super) fn emitted(&self, read: u32, steps: u32) -> Result<u32, GenerateError> {
        let (found, expected) = (self.state.emitted, read.saturating_add(steps));
        let least = if self.state.stopped == 0 { expected } else { read };
        if (least..=expected).contains(&found) {
            Ok(found)
        } else {
            Err(GenerateError::LostSteps { expected, found })
        }
    }

    /// Token `number` of the generation with its `top` likeliest; the outbox holds the newest.
    pub(super) fn token(&self, number: u32, top: u32) -> Token {
        let word = |words: &[[u8; 4]], at: usize| words.get(at).map_or(0, |word| u32::from_le_bytes(*word));
        let place = number as usize % self.tokens.len().max(1);
        let entry = place * LOGPROB_WORDS as usize;
        let pair = |i: usize| {
            let at = entry + 2 * i;
            (word(self.logprobs, at), f32::from_bits(word(self.logprobs, at + 1)))
        };
        let id = word(self.tokens, place);
        // The draw was noted before `emit` could put an anchor in its place.
        let logprobs = (top > 0 && pair(0).0 == id)
            .then(|| Logprobs { chosen: pair(0).1, top: (1..=top as usize).map(pair).collect() });
        Token { id, logprobs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emitted(state: LoopState, read: u32, steps: u32) -> Result<u32, GenerateError> {
        Outbox::new(bytemuck::bytes_of(&state), 0).emitted(read, steps)
    }

    #[test]
    fn every_step_of_a_running_loop_hands_out_a_token() {
        let running = |emitted| LoopState { emitted, budget: 100, ..LoopState::default() };
        assert_eq!(emitted(running(12), 4, 8).unwrap(), 12);
        for stale in [0, 4, 11, 13] {
            let error = emitted(running(stale), 4, 8).unwrap_err();
            assert!(
                matches!(error, GenerateError::LostSteps { expected: 12, found } if found == stale),
                "{error}"
            );
            assert!(error.is_device());
        }
        // What a staging buffer holds that nothing was ever copied to.
        assert!(Outbox::new(&[], 0).emitted(0, 1).is_err());
    }

    #[test]
    fn a_stopped_loop_hands_out_as_many_or_fewer_and_takes_none_back() {
        let stopped = |emitted| LoopState { emitted, budget: 100, stopped: LoopState::STOP_TOKEN, pad0: 0 };
        for handed_out in [4, 7, 12] {
            assert_eq!(emitted(stopped(handed_out), 4, 8).unwrap(), handed_out);
        }
        assert!(emitted(stopped(3), 4, 8).is_err());
        assert!(emitted(stopped(13), 4, 8).is_err());
    }
}
