//! The chain on the CPU: plain loops over 64-bit sums that the kernels `adjust`, `penalize` and `sample` are held to.
//!
//! They live here and not in `reference`, which hands them on as the twins: the sampler of the library is the judge of
//! the kernels, and a second copy would only be a second place to be wrong in.

use super::options::{BANNED, SamplerOptions};
use super::philox;
use crate::kv::TokenSet;

/// In an id's place: there is none, because a logit is not finite.
pub const NO_TOKEN: u32 = u32::MAX;

/// Lanes that a draw walks over: first the ids 0, 256, 512, ..., then 1, 257, ...
pub const DRAW_LANES: u32 = 256;

/// A token, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// The token, or [`NO_TOKEN`].
    pub id: u32,
    /// How much may be rounded before it would be another: the distance of the random number to the next token, or of a
    /// top-p decision that could move it there, as a share of the weight of all tokens; if greedy, the lead in nats.
    pub margin: f64,
}

/// Logits plus bias; [`BANNED`] where the bias is.
pub fn adjust(logits: &[f32], bias: &[f32]) -> Vec<f32> {
    let sum = |(logit, bias): (&f32, &f32)| if *bias == BANNED { BANNED } else { logit + bias };
    logits.iter().zip(bias).map(sum).collect()
}

/// Penalizes the tokens of `window`, in 32 bits as the kernel does. Exempt and banned tokens are left alone.
pub fn penalize(scores: &mut [f32], window: &[u32], exempt: &TokenSet, options: &SamplerOptions) {
    for (i, &id) in window.iter().enumerate() {
        let seen = window[..i].contains(&id);
        let Some(score) = scores.get_mut(id as usize) else { continue };
        if seen || exempt.contains(id) || *score == BANNED {
            continue;
        }
        let count = window.iter().filter(|other| **other == id).count() as f32;
        let repetition = options.repetition_penalty;
        let scaled = *score * if *score > 0.0 { 1.0 / repetition } else { repetition };
        *score = scaled - (options.frequency_penalty * count + options.presence_penalty);
    }
}

/// Draws the token that will be at `position`, or takes the likeliest. All `scores` must be finite, or there is no token.
pub fn draw(scores: &[f32], options: &SamplerOptions, position: u32) -> Draw {
    if !scores.iter().all(|score| score.is_finite()) {
        return Draw { id: NO_TOKEN, margin: f64::INFINITY };
    }
    if options.is_greedy() {
        return likeliest(scores);
    }
    let largest = scores.iter().copied().fold(f32::MIN, f32::max);
    let inverse_temperature = f64::from(options.inverse_temperature());
    let weight = |score: f32| ((f64::from(score) - f64::from(largest)) * inverse_temperature).exp();
    let (least, decisions) = threshold(scores, options, largest, weight);

    let n = scores.len();
    let by_lane = (0..DRAW_LANES as usize).flat_map(|lane| (lane..n).step_by(DRAW_LANES as usize));
    let kept = by_lane.filter(|&id| scores[id] >= least);
    let total: f64 = kept.clone().map(|id| weight(scores[id])).sum();
    let share = f64::from(philox::uniform(options.seed, position));
    let (mut id, mut before, mut after) = (NO_TOKEN, 0.0, 0.0);
    for next in kept {
        (id, before) = (next as u32, after);
        after += weight(scores[next]) / total;
        if after > share {
            break;
        }
    }
    // A group of scores that top-p nearly kept or nearly dropped moves the bounds by no more than its weight.
    let distance = (share - before).min(after - share);
    let margin = decisions.iter().map(|(gap, mass)| gap.max(distance - mass / total));
    Draw { id, margin: margin.fold(distance, f64::min) }
}

/// The lowest of the largest scores.
fn likeliest(scores: &[f32]) -> Draw {
    let (mut best, mut lead) = (0, f64::INFINITY);
    for id in 1..scores.len() {
        let ahead = f64::from(scores[id]) - f64::from(scores[best]);
        lead = lead.min(ahead.abs());
        if ahead > 0.0 {
            (best, lead) = (id, ahead);
        }
    }
    Draw { id: if scores.is_empty() { NO_TOKEN } else { best as u32 }, margin: lead }
}

/// The least score kept, and the decisions of top-p: for each group of equal scores its distance from being decided
/// otherwise, as a share, and its weight. Top-k and min-p compare 32-bit numbers that both sides have, so they are certain.
fn threshold(
    scores: &[f32],
    options: &SamplerOptions,
    largest: f32,
    weight: impl Fn(f32) -> f64,
) -> (f32, Vec<(f64, f64)>) {
    let mut least = largest - options.reach();
    let mut decisions = Vec::new();
    if options.top_k > 0 || options.top_p < 1.0 {
        let mut ranked: Vec<f32> = scores.iter().copied().filter(|score| *score >= least).collect();
        ranked.sort_unstable_by(|a, b| b.total_cmp(a));
        if let Some(last) = (options.top_k as usize).checked_sub(1).and_then(|k| ranked.get(k)) {
            least = *last;
            ranked.retain(|score| *score >= least);
        }
        if options.top_p < 1.0 {
            let total: f64 = ranked.iter().map(|score| weight(*score)).sum();
            let goal = f64::from(options.top_p) * total;
            let mut mass = 0.0;
            for equals in ranked.chunk_by(|a, b| a == b) {
                if mass < goal {
                    least = equals[0];
                }
                let own = equals.len() as f64 * weight(equals[0]);
                decisions.push(((goal - mass).abs() / total, own));
                mass += own;
            }
        }
    }
    (least.max(largest - options.min_p_reach()), decisions)
}
