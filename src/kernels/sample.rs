//! Temperature, top-k, top-p, min-p and the draw: one token from the scores.

use super::emit::LoopState;
use super::{need, params, per_row};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, GpuError, Recorder};
use crate::kv::RingState;
use crate::sampling::{DRAW_LANES, SamplerOptions};

params! { SampleParams { vocab: u32, pad0: u32, pad1: u32, pad2: u32 } }

/// What the sampler is told about one row of a step; the same struct on the GPU. It lies in device memory, so that a step is the same
/// commands whatever its texts ask for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct RowSettings {
    /// 1: the likeliest is taken.
    pub greedy: u32,
    /// Of the likeliest as many are kept; 0: all.
    pub top_k: u32,
    /// The share of the weight that is kept; 1: all.
    pub top_p: f32,
    /// 1 / temperature.
    pub inverse_temperature: f32,
    /// A score farther below the largest weighs nothing.
    pub reach: f32,
    /// A score farther below the largest falls to min-p.
    pub min_p_reach: f32,
    /// The seed's lower half.
    pub seed_low: u32,
    /// Its upper half.
    pub seed_high: u32,
    /// 1: there is a bias or a ban.
    pub biased: u32,
    /// Tokens that penalties look back at; 0: there are no penalties.
    pub last_n: u32,
    /// Multiplies a negative score.
    pub repetition: f32,
    /// Multiplies a positive score.
    pub inverse_repetition: f32,
    /// Taken for every occurrence.
    pub frequency: f32,
    /// Taken once.
    pub presence: f32,
    /// Likeliest tokens that are listed; 0: none.
    pub logprobs: u32,
    /// Fills the struct up to 16 bytes.
    pub pad0: u32,
}

impl RowSettings {
    /// What `options` ask for of a vocabulary of `vocab` tokens.
    pub fn of(options: &SamplerOptions, vocab: u32) -> Self {
        let greedy = options.is_greedy();
        let drawn = if greedy {
            Self { greedy: 1, ..Self::default() }
        } else {
            Self { inverse_temperature: options.inverse_temperature(), ..Self::default() }
        };
        let penalized = if options.has_penalties() { options.penalty_last_n } else { 0 };
        Self {
            top_k: if options.top_k < vocab { options.top_k } else { 0 },
            top_p: options.top_p,
            reach: options.reach(),
            min_p_reach: options.min_p_reach(),
            seed_low: options.seed as u32,
            seed_high: (options.seed >> 32) as u32,
            biased: u32::from(options.has_bias()),
            last_n: penalized,
            repetition: options.repetition_penalty,
            inverse_repetition: 1.0 / options.repetition_penalty,
            frequency: options.frequency_penalty,
            presence: options.presence_penalty,
            logprobs: options.logprobs,
            ..drawn
        }
    }

    /// Bytes of those of `rows` rows.
    pub fn bytes(rows: u32) -> u64 {
        u64::from(rows) * size_of::<Self>() as u64
    }
}

/// `out[r]` = an id drawn by the scores of row r, or [`NO_TOKEN`](crate::sampling::NO_TOKEN).
pub const KERNEL: Kernel = Kernel {
    op: "sample",
    name: "sample",
    source: concat!(
        include_str!("../../shaders/sample.wgsl"),
        include_str!("../../shaders/shared/order.wgsl"),
        include_str!("../../shaders/shared/best.wgsl"),
        include_str!("../../shaders/shared/philox.wgsl"),
        include_str!("../../shaders/shared/ring_state.wgsl"),
        include_str!("../../shaders/shared/loop_state.wgsl"),
        include_str!("../../shaders/shared/row_settings.wgsl")
    ),
    params: SampleParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::Read, Access::Read, Access::ReadWrite],
    weights: &[],
    uses_reduce: true,
    shares: None,
    gain: None,
    uses_subgroups: false,
};

/// Ids are counted in 32-bit floats, which are exact up to here.
const MOST_IDS: u32 = 1 << 24;

/// Buffers of one [`record`] call.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Scores (rows, vocab).
    pub scores: &'a Buffer,
    /// [`RingState`] (texts); the position is the counter of the draw.
    pub state: &'a Buffer,
    /// [`LoopState`] (rows), which names the text of each row.
    pub loop_state: &'a Buffer,
    /// [`RowSettings`] (rows).
    pub settings: &'a Buffer,
    /// Ids chosen (rows).
    pub out: &'a Buffer,
}

/// Chooses one of `vocab` ids for each of `rows` rows: a draw, or the likeliest where the row's settings are greedy.
///
/// # Errors
/// [`GpuError::Shape`] when there is no id, or more than 2^24, or a buffer is too small.
pub fn record(rec: &mut Recorder, io: Sample<'_>, rows: u32, vocab: u32) -> Result<(), GpuError> {
    if !(1..=MOST_IDS).contains(&vocab) {
        let (got, need) = (vocab.into(), MOST_IDS.into());
        return Err(GpuError::Shape { kernel: KERNEL.name, what: "vocab", got, need });
    }
    let n = u64::from(rows);
    need(KERNEL.name, "bytes of scores", io.scores.all(), n * u64::from(vocab) * 4)?;
    need(KERNEL.name, "bytes of state", io.state.all(), size_of::<RingState>() as u64)?;
    need(KERNEL.name, "bytes of loop_state", io.loop_state.all(), n * size_of::<LoopState>() as u64)?;
    need(KERNEL.name, "bytes of settings", io.settings.all(), RowSettings::bytes(rows))?;
    need(KERNEL.name, "bytes of out", io.out.all(), n * 4)?;
    let params = SampleParams { vocab, pad0: 0, pad1: 0, pad2: 0 };
    // The order of the walk is part of the result, so the lanes are as many on every device. Without subgroups: where
    // they are narrow, the sum over so many of them takes longer than the tree.
    let variant = Variant::plain(DRAW_LANES);
    let bindings = [io.scores.all(), io.state.all(), io.loop_state.all(), io.settings.all(), io.out.all()];
    rec.dispatch(&KERNEL, variant, &bindings, &params, per_row(KERNEL.name, rows)?)
}
