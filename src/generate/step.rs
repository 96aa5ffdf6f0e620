//! One decode step as the device sees it: forward pass, logits, draw, hand-over; for one text, or for several at once.

use super::{GenerateError, GenerateOptions, Logprobs, StopReason, Token};
use crate::gpu::{Buffer, Capabilities, CopyOut, PendingRead, Prepared, Recorder, Recording};
use crate::kernels::Inputs;
use crate::kernels::adjust::{self, Adjust};
use crate::kernels::argmax;
use crate::kernels::attention;
use crate::kernels::emit::{self, Emit, EmitShape, LoopState, SegmentBound};
use crate::kernels::penalize::{self, Penalize};
use crate::kernels::sample::{self, RowSettings, Sample};
use crate::kernels::top_logprobs::{self, TopLogprobs};
use crate::kv::{Policy, Ring};
use crate::model::llama::{self, Attend};
use crate::model::{
    Control, LOGPROB_WORDS, Memory, Network, PlanError, Precisions, SessionPlan, outbox_bytes, recent_cap,
};
use crate::model_file::Config;
use crate::sampling::{MAX_PENALTY_LAST_N, SamplerOptions};
use crate::session::{Pool, Session, SessionError, SessionOptions, alone, words};

/// Uploads what all steps of a generation of one text share.
pub(super) fn prepare(session: &Session, options: &GenerateOptions) -> Result<(), GenerateError> {
    upload_settings(session, &session.control, 0, options)?;
    let start = LoopState { budget: options.max_tokens, ..session.idle_loop() };
    Ok(session.model.gpu.upload(&session.control.loop_state, 0, bytemuck::bytes_of(&start))?)
}

/// Uploads what a row of a loop is told of its text: how a token is drawn, what is added to its scores, and what ends it.
pub(super) fn upload_settings(
    session: &Session,
    control: &Control,
    row: u32,
    options: &GenerateOptions,
) -> Result<(), GenerateError> {
    let (gpu, vocab) = (&session.model.gpu, session.model.config.vocab_size);
    let put = |buffer: &Buffer, bytes: &[u8]| gpu.upload(buffer, u64::from(row) * bytes.len() as u64, bytes);
    put(&control.settings, bytemuck::bytes_of(&RowSettings::of(&options.sampler, vocab)))?;
    put(&control.stop_bits, bytemuck::cast_slice(&session.ends(options).bitset_words(vocab)))?;
    if options.sampler.has_penalties() {
        put(&control.exempt_bits, bytemuck::cast_slice(&session.exempt(options).bitset_words(vocab)))?;
    }
    if options.sampler.has_bias() {
        put(&control.bias, bytemuck::cast_slice(&options.sampler.bias_vector(vocab)))?;
    }
    Ok(())
}

/// Which kernels of the sampler's chain a step has. Their settings lie in device memory, so this is all that a step depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Chain {
    /// Whether a row has scores other than its logits.
    adjusts: bool,
    /// Tokens that penalties of a row look back at, at most.
    window: u32,
    /// Whether a row draws.
    draws: bool,
    /// Whether log-probabilities of a row are asked for.
    pub(super) logprobs: bool,
}

impl Chain {
    /// What one text needs.
    pub(super) fn of(sampler: &SamplerOptions) -> Self {
        Self {
            adjusts: sampler.has_bias() || sampler.has_penalties(),
            window: if sampler.has_penalties() { sampler.penalty_last_n } else { 0 },
            draws: !sampler.is_greedy(),
            logprobs: sampler.logprobs > 0,
        }
    }

    /// What several texts need. Where one has penalties their window is the longest that there is, so that a text which joins is no
    /// reason for another step.
    pub(super) fn of_all<'a>(samplers: impl Iterator<Item = &'a SamplerOptions>) -> Self {
        let mut all = Self::default();
        for one in samplers.map(Self::of) {
            all.adjusts |= one.adjusts;
            all.window = if one.window > 0 { MAX_PENALTY_LAST_N } else { all.window };
            all.draws |= one.draws;
            all.logprobs |= one.logprobs;
        }
        all
    }
}

/// What a step is recorded from. No device.
#[derive(Clone, Copy)]
pub(super) struct StepOf<'a> {
    pub(super) network: &'a Network,
    pub(super) memory: Memory<'a>,
    pub(super) ring: &'a Ring,
    pub(super) policy: &'a Policy,
    /// Texts that go on.
    pub(super) rows: u32,
    /// Shares that there is room for to split the keys of a row into.
    pub(super) splits: u32,
}

impl<'a> StepOf<'a> {
    fn new(session: &'a Session) -> Self {
        let Session { model, ring, policy, .. } = session;
        Self { network: model, memory: session.memory(), ring, policy, rows: 1, splits: session.splits() }
    }

    /// A whole step: consumes the tokens that the step before it drew, and draws the next.
    pub(super) fn record(self, device: &Capabilities, chain: Chain) -> Result<Recording, GenerateError> {
        let mut rec = Recorder::new(device);
        let attend = Attend::Step(self.ring, self.splits);
        llama::forward(&mut rec, self.network, self.memory, self.rows, attend)?;
        let hidden = llama::last_norm(&mut rec, self.network, self.memory.scratch, self.rows)?;
        self.record_draw(&mut rec, chain, hidden)?;
        Ok(rec.finish())
    }

    /// Logits of hidden states, the sampler chain, and the hand-over of the tokens.
    pub(super) fn record_draw(
        self,
        rec: &mut Recorder,
        chain: Chain,
        hidden: Inputs<'_>,
    ) -> Result<(), GenerateError> {
        let Memory { scratch, texts, control } = self.memory;
        let (network, rows, ring) = (self.network, self.rows, self.ring.params());
        let vocab = network.config.vocab_size;
        let (outbox_cap, recent_cap) = (ring.in_flight, recent_cap(ring.in_flight));
        let (state, loop_state, settings) = (&texts.state, &control.loop_state, &control.settings);

        llama::logits(rec, network, hidden, &scratch.logits)?;
        let mut scores = &scratch.logits;
        if chain.adjusts {
            // A copy: log-probabilities are those of the model itself.
            scores = &scratch.scores;
            let io = Adjust { logits: &scratch.logits, bias: &control.bias, settings, scores };
            adjust::record(rec, io, rows, vocab)?;
            let (recent, exempt_bits) = (&texts.recent, &control.exempt_bits);
            let io = Penalize { state, recent, exempt_bits, loop_state, settings, scores };
            penalize::record(rec, io, rows, recent_cap, vocab, chain.window)?;
        }
        if chain.draws {
            let io = Sample { scores, state, loop_state, settings, out: &scratch.top };
            sample::record(rec, io, rows, vocab)?;
        } else {
            argmax::record(rec, scores, &scratch.top, rows, vocab, 0)?;
        }
        if chain.logprobs {
            let (logits, chosen) = (&scratch.logits, &scratch.top);
            let io = TopLogprobs { logits, chosen, loop_state, settings, out: &control.logprobs };
            top_logprobs::record(rec, io, rows, vocab, outbox_cap)?;
        }
        let io = Emit {
            drawn: &scratch.top,
            stop_bits: &control.stop_bits,
            anchor_bits: &texts.anchor_bits,
            ring: state,
            loop_state,
            token: &control.token,
            outbox: &control.outbox,
            recent: &texts.recent,
        };
        let bound = SegmentBound::of(self.policy);
        let shape = EmitShape { rows, vocab, outbox_cap, recent_cap, limit: ring.limit, bound };
        Ok(emit::record(rec, io, shape)?)
    }
}

/// A whole step of one text, with room for the shares that its keys may be worth in the steps to come, ready to run.
pub(super) fn record(session: &Session, sampler: &SamplerOptions) -> Result<Prepared, GenerateError> {
    let gpu = &session.model.gpu;
    Ok(gpu.prepare(StepOf::new(session).record(gpu.capabilities(), Chain::of(sampler))?)?)
}

/// The first draw, from the hidden state that the prompt has left.
pub(super) fn record_first(session: &Session, sampler: &SamplerOptions) -> Result<Prepared, GenerateError> {
    let gpu = &session.model.gpu;
    let mut rec = Recorder::new(gpu.capabilities());
    let (last, place) = (&session.memory().texts.last, session.place.index);
    StepOf::new(session).record_draw(&mut rec, Chain::of(sampler), Inputs::one(last, place))?;
    Ok(gpu.prepare(rec.finish())?)
}

/// The decode step that a device of these capabilities would run for a model of this config where a token sees up to `keys` keys: plain data,
/// to be looked at. A session counts those with which its device may run ahead ([`SessionOptions::in_flight`]) and one more.
///
/// # Errors
/// The policy makes no ring, or the model does not fit the device.
pub fn planned_step<'a>(
    config: &Config,
    precisions: impl Into<Precisions<'a>>,
    policy: &Policy,
    options: SessionOptions,
    sampler: &SamplerOptions,
    keys: u32,
    device: &Capabilities,
) -> Result<Recording, GenerateError> {
    let shape = options.shape();
    let network = Network::planned(config, precisions.into(), device)?;
    let plan = SessionPlan::new(config, policy, shape, device)?;
    let (scratch, texts, control) = plan.named()?;
    let memory = Memory { scratch: &scratch, texts: &texts, control: &control };
    let ring = Ring::new(policy, shape.in_flight).map_err(PlanError::from)?;
    let splits = attention::splits(keys).min(plan.scratch_shape().splits);
    StepOf { network: &network, memory, ring: &ring, policy, rows: 1, splits }
        .record(device, Chain::of(sampler))
}

/// Runs a step of one text `times` times, and asks for what it hands out.
pub(super) fn submit(
    session: &Session,
    step: &Prepared,
    times: u32,
    staging: usize,
    logprobs: bool,
) -> Result<PendingRead, GenerateError> {
    submit_rows(session.pool(), &session.control, step, (times, 1), staging, logprobs)
}

/// Runs a step of `rows` texts `times` times, and asks for what it hands out: the loops' states, the outboxes, and the log-probabilities
/// where they are made.
pub(super) fn submit_rows(
    pool: &Pool,
    control: &Control,
    step: &Prepared,
    (times, rows): (u32, u32),
    staging: usize,
    logprobs: bool,
) -> Result<PendingRead, GenerateError> {
    let (gpu, in_flight) = (&pool.model.gpu, pool.shape.in_flight);
    let Some(readback) = control.reads.get(staging) else { unreachable!("one staging buffer per submit") };
    let state_bytes = u64::from(rows) * size_of::<LoopState>() as u64;
    let tokens = u64::from(rows) * outbox_bytes(in_flight);
    let entries = if logprobs { tokens * u64::from(LOGPROB_WORDS) } else { 0 };
    let (mut copies, mut at) = (Vec::new(), 0);
    let wanted =
        [(&control.loop_state, state_bytes), (&control.outbox, tokens), (&control.logprobs, entries)];
    for (source, bytes) in wanted.into_iter().filter(|(_, bytes)| *bytes > 0) {
        copies.push(CopyOut::new(source, 0, readback.buffer(), at, bytes)?);
        at += bytes;
    }
    let _alone = alone(&pool.scratch);
    let submission = gpu.submit(step, times, &copies)?;
    Ok(readback.begin(gpu, at, submission)?)
}

/// One step without a draw, whose logits come back.
pub(super) fn submit_for_logits(session: &Session) -> Result<PendingRead, GenerateError> {
    let (model, memory) = (&session.model, session.memory());
    let _alone = alone(&session.pool().scratch);
    let mut rec = Recorder::new(model.gpu.capabilities());
    let hidden = match session.pending {
        Some(id) => {
            model.gpu.upload(&memory.control.token, 0, bytemuck::bytes_of(&id))?;
            let attend = Attend::Step(&session.ring, session.splits());
            llama::forward(&mut rec, model, memory, 1, attend)?;
            llama::last_norm(&mut rec, model, memory.scratch, 1)?
        }
        None if session.has_last => Inputs::one(&memory.texts.last, session.place.index),
        None => return Err(SessionError::EmptyPrompt.into()),
    };
    llama::logits(&mut rec, model, hidden, &memory.scratch.logits)?;
    let bytes = u64::from(model.config.vocab_size) * 4;
    rec.read(&memory.scratch.logits, 0, session.readback.buffer(), 0, bytes)?;
    let submission = model.gpu.run(rec.finish())?;
    Ok(session.readback.begin(&model.gpu, bytes, submission)?)
}

/// Why the loop has stopped, `text` tokens long: for a reason that ends the text, or an error.
pub(super) fn why(session: &Session, stopped: u32, text: u32) -> Result<StopReason, GenerateError> {
    match stopped {
        // The token says itself that it ends the text; this is what holds where it does not.
        LoopState::STOP_TOKEN => Ok(StopReason::Stop),
        LoopState::STOP_BUDGET => Ok(StopReason::MaxTokens),
        LoopState::STOP_LIMIT => Ok(session.limit_reason()),
        LoopState::STOP_SEGMENT => Ok(StopReason::SegmentLimit),
        LoopState::STOP_NOT_FINITE => Err(session.not_finite(text.saturating_sub(1)).into()),
        code => Err(GenerateError::UnknownStop { code }),
    }
}

/// What a batch of steps over `rows` texts has brought.
pub(super) struct Outbox {
    states: Vec<LoopState>,
    tokens: Vec<u32>,   // (rows, in_flight)
    logprobs: Vec<u32>, // (rows, in_flight, LOGPROB_WORDS), or none
    in_flight: usize,
}

impl Outbox {
    pub(super) fn new(bytes: &[u8], rows: u32, in_flight: u32) -> Self {
        let (states, rest) = bytes.split_at(rows as usize * size_of::<LoopState>());
        let (tokens, logprobs) = rest.split_at((rows * in_flight) as usize * 4);
        Self {
            states: bytemuck::pod_collect_to_vec(states),
            tokens: words(tokens),
            logprobs: words(logprobs),
            in_flight: in_flight as usize,
        }
    }

    /// Where the loop of a row stands.
    #[expect(clippy::indexing_slicing, reason = "a row that was not asked for is a fault in here")]
    pub(super) fn state(&self, row: usize) -> LoopState {
        self.states[row]
    }

    /// Tokens that a row has handed out since the generation began, when `read` of them were known before these `steps`. Until the loop
    /// stops each step hands out one. Other numbers are those of an earlier submit: a driver can give one up and call it done.
    pub(super) fn emitted(&self, row: usize, read: u32, steps: u32) -> Result<u32, GenerateError> {
        let state = self.state(row);
        let (found, expected) = (state.emitted, read.saturating_add(steps));
        let least = if state.stopped == 0 { expected } else { read };
        if (least..=expected).contains(&found) {
            Ok(found)
        } else {
            Err(GenerateError::LostSteps { expected, found })
        }
    }

    /// Token `number` of a row with its `top` likeliest; the outbox holds the newest.
    #[expect(clippy::indexing_slicing, reason = "places lie in what was read, or it is a fault in here")]
    pub(super) fn token(&self, row: usize, number: u32, top: u32) -> Token {
        let place = row * self.in_flight + number as usize % self.in_flight;
        let id = self.tokens[place];
        if top == 0 {
            return Token { id, logprobs: None };
        }
        let entry = &self.logprobs[place * LOGPROB_WORDS as usize..];
        let pair = |i: usize| (entry[2 * i], f32::from_bits(entry[2 * i + 1]));
        let (drawn, chosen) = pair(0);
        // The draw was noted before `emit` could put an anchor in its place.
        let logprobs =
            (drawn == id).then(|| Logprobs { chosen, top: (1..=top as usize).map(pair).collect() });
        Token { id, logprobs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emitted(state: LoopState, read: u32, steps: u32) -> Result<u32, GenerateError> {
        Outbox::new(bytemuck::bytes_of(&state), 1, 0).emitted(0, read, steps)
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
        assert!(emitted(LoopState::default(), 0, 1).is_err());
    }

    #[test]
    fn a_stopped_loop_hands_out_as_many_or_fewer_and_takes_none_back() {
        let stopped = |emitted| LoopState { emitted, budget: 100, stopped: LoopState::STOP_TOKEN, text: 0 };
        for handed_out in [4, 7, 12] {
            assert_eq!(emitted(stopped(handed_out), 4, 8).unwrap(), handed_out);
        }
        assert!(emitted(stopped(3), 4, 8).is_err());
        assert!(emitted(stopped(13), 4, 8).is_err());
    }
}
