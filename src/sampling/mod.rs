//! From logits to a token, reproducibly.
//!
//! The chain, in this order, on the GPU as kernels and here as their judge ([`Sampler`]):
//!
//! 1. **bias** and **bans**: `adjust` makes scores of the logits, which stay what the model said;
//! 2. **penalties** over the last n tokens of the text, prompt included: repetition as in CTRL (Keskar et al., 2019), then
//!    frequency and presence; what structures a text is exempt (anchors, ends, special tokens), because a model must be
//!    free to close its segments and to end;
//! 3. **temperature**;
//! 4. **top-k**, over all;
//! 5. **top-p**, over what top-k left;
//! 6. **min-p**, relative to the likeliest, which no step before can have removed;
//! 7. the **draw**, or without a temperature the likeliest token.
//!
//! That is the order of transformers and vLLM, except that a bias comes before the penalties, so that the logits are
//! copied once. Each set is all scores from a threshold on, equals included, so it does not depend on a sort.
//!
//! A draw is a function of the logits, the seed and the token's position alone ([`philox`](mod@philox)). It walks the kept ids in the
//! order (id mod [`DRAW_LANES`], id), because on the GPU each of as many lanes owns the ids of one remainder, so that
//! lanes side by side read side by side, and takes the first whose cumulative weight exceeds the random share.
//!
//! ```text
//! options.rs  the settings and their ranges
//! chain.rs    the steps
//! logprobs.rs what a token's probability was, and which others were likely
//! philox.rs   the random numbers
//! error.rs    what a sampler cannot be asked for
//! ```

mod chain;
mod error;
mod logprobs;
mod options;
pub mod philox;

pub use chain::{DRAW_LANES, Draw, NO_TOKEN, adjust, draw, penalize};
pub use error::SamplingError;
pub use logprobs::top_logprobs;
pub use options::{BANNED, MAX_LOGPROBS, MAX_PENALTY_LAST_N, SamplerOptions};

use crate::kv::TokenSet;

/// The chain on the CPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampler {
    options: SamplerOptions,
    /// [`SamplerOptions::bias_vector`], empty without a bias. // (vocabulary)
    bias: Vec<f32>,
    exempt: TokenSet,
}

impl Sampler {
    /// A sampler for a vocabulary of `vocab_size` tokens, of which `exempt` are never penalized.
    ///
    /// # Errors
    /// Those of [`SamplerOptions::validate`].
    pub fn new(options: SamplerOptions, vocab_size: u32, exempt: &TokenSet) -> Result<Self, SamplingError> {
        options.validate(vocab_size)?;
        let bias = if options.has_bias() { options.bias_vector(vocab_size) } else { Vec::new() };
        Ok(Self { options, bias, exempt: exempt.clone() })
    }

    /// Another bias (vocabulary) from now on; only for one that had one.
    pub(crate) fn set_bias(&mut self, bias: Vec<f32>) {
        self.bias = bias;
    }

    /// Whether the likeliest token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.options.is_greedy()
    }

    /// Chooses the token that will be at `position`, from its `logits` (vocabulary) and the tokens before it, of which
    /// `recent` are the last ones, oldest first. Ties of greedy go to the lowest id.
    pub fn sample(&self, logits: &[f32], recent: &[u32], position: u32) -> Draw {
        let mut scores = if self.options.has_bias() { adjust(logits, &self.bias) } else { logits.to_vec() };
        if self.options.has_penalties() {
            let first = recent.len().saturating_sub(self.options.penalty_last_n as usize);
            penalize(&mut scores, &recent[first..], &self.exempt, &self.options);
        }
        draw(&scores, &self.options, position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(options: SamplerOptions) -> Sampler {
        Sampler::new(options, 8, &[7].into_iter().collect()).expect("valid")
    }

    /// The ids that 2,000 draws give.
    fn drawn(options: SamplerOptions, logits: &[f32; 8]) -> Vec<u32> {
        let sampler = sampler(SamplerOptions { temperature: 1.0, ..options });
        let mut ids: Vec<u32> = (0..2000).map(|position| sampler.sample(logits, &[], position).id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Probabilities 0.4, 0.2, 0.2, 0.1, 0.05, 0.025, 0.0125, 0.0125.
    fn halves() -> [f32; 8] {
        [0.4, 0.2, 0.2, 0.1, 0.05, 0.025, 0.0125, 0.0125].map(|p: f32| p.ln())
    }

    #[test]
    fn greedy_takes_the_lowest_of_equals_and_knows_its_lead() {
        let greedy = sampler(SamplerOptions::default());
        let logits = [0.0, 3.0, 3.0, -1.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(greedy.sample(&logits, &[], 0), Draw { id: 1, margin: 0.0 });
        let logits = [0.0, 1.0, -2.0, 1.5, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(greedy.sample(&logits, &[], 0), Draw { id: 3, margin: 0.5 });
    }

    #[test]
    fn every_step_keeps_what_it_promises() {
        let off = SamplerOptions::default;
        assert_eq!(drawn(off(), &halves()).len(), 8);
        assert_eq!(drawn(SamplerOptions { top_k: 1, ..off() }, &halves()), [0]);
        assert_eq!(drawn(SamplerOptions { top_k: 2, ..off() }, &halves()), [0, 1, 2], "an equal is kept too");
        assert_eq!(drawn(SamplerOptions { top_k: 4, ..off() }, &halves()), [0, 1, 2, 3]);
        assert_eq!(drawn(SamplerOptions { top_p: 0.39, ..off() }, &halves()), [0]);
        assert_eq!(drawn(SamplerOptions { top_p: 0.41, ..off() }, &halves()), [0, 1, 2]);
        assert_eq!(drawn(SamplerOptions { top_p: 0.85, ..off() }, &halves()), [0, 1, 2, 3]);
        assert_eq!(drawn(SamplerOptions { min_p: 0.2, ..off() }, &halves()), [0, 1, 2, 3]);
        // 0.85 of the 0.8 that top-k leaves is 0.68, for which the first three are enough.
        let both = SamplerOptions { top_k: 3, top_p: 0.45, ..off() };
        assert_eq!(drawn(both, &halves()), [0], "top-p is of what top-k left");
        let banned = SamplerOptions { banned: vec![0, 2], top_k: 2, ..off() };
        assert_eq!(drawn(banned, &halves()), [1, 3]);
        let biased = SamplerOptions { logit_bias: vec![(5, 100.0)], ..off() };
        assert_eq!(drawn(biased, &halves()), [5]);
    }

    #[test]
    fn penalties_count_the_window_and_spare_anchors() {
        let options = SamplerOptions {
            repetition_penalty: 2.0,
            frequency_penalty: 0.5,
            presence_penalty: 0.25,
            ..SamplerOptions::default()
        };
        let exempt = [7].into_iter().collect();
        let mut scores = [4.0, -4.0, 4.0, BANNED, 0.0, 4.0, 4.0, 4.0];
        penalize(&mut scores, &[0, 1, 1, 3, 4, 7, 900], &exempt, &options);
        assert_eq!(scores, [1.25, -9.25, 4.0, BANNED, -0.75, 4.0, 4.0, 4.0]);
        // Only the last tokens count.
        let greedy = sampler(SamplerOptions { penalty_last_n: 2, ..options });
        assert_eq!(greedy.sample(&[5.0, 4.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0], &[0, 1, 2], 3).id, 0);
        assert_eq!(greedy.sample(&[5.0, 4.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0], &[1, 0, 2], 3).id, 1);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let sampler = sampler(SamplerOptions { temperature: 2.0, seed: 7, ..SamplerOptions::default() });
        let mut counts = [0.0_f64; 8];
        for position in 0..30_000 {
            counts[sampler.sample(&halves(), &[], position).id as usize] += 1.0;
        }
        let total: f64 = halves().iter().map(|l| f64::from(*l / 2.0).exp()).sum();
        for (count, logit) in counts.iter().zip(halves()) {
            let expected = 30_000.0 * f64::from(logit / 2.0).exp() / total;
            assert!((count - expected).abs() < 4.0 * expected.sqrt(), "{count} draws, {expected} expected");
        }
    }

    #[test]
    fn a_draw_depends_on_seed_and_position_alone() {
        let draw = |seed, positions: std::ops::Range<u32>| -> Vec<u32> {
            let sampler = sampler(SamplerOptions { temperature: 1.0, seed, ..SamplerOptions::default() });
            positions.map(|position| sampler.sample(&[0.0; 8], &[], position).id).collect()
        };
        assert_eq!(draw(3, 0..50)[20..], draw(3, 20..50));
        assert_ne!(draw(3, 0..50), draw(4, 0..50));
    }

    #[test]
    fn a_margin_is_the_distance_to_another_token() {
        let sampler = sampler(SamplerOptions { temperature: 1.0, ..SamplerOptions::default() });
        for position in 0..200 {
            let share = f64::from(philox::uniform(0, position));
            let Draw { id, margin } = sampler.sample(&[0.0; 8], &[], position);
            let (low, high) = (f64::from(id) / 8.0, f64::from(id + 1) / 8.0);
            assert!((margin - (share - low).min(high - share)).abs() < 1e-12, "{margin} at {share}");
        }
        // Whether the fifth of eight equals belongs to half the weight is decided by a millionth.
        let options = SamplerOptions { temperature: 1.0, top_p: 0.5, ..SamplerOptions::default() };
        let logits = [1e-6, -1e-6, 2e-6, -2e-6, 3e-6, -3e-6, 4e-6, -4e-6];
        let margin = |position| draw(&logits, &options, position).margin;
        assert!((0..50).map(margin).all(|margin| margin < 1e-4), "a doubtful group must show");
    }

    #[test]
    fn logits_that_are_not_finite_have_no_token() {
        for temperature in [0.0, 1.0] {
            let sampler = sampler(SamplerOptions { temperature, ..SamplerOptions::default() });
            for broken in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut logits = [0.0; 8];
                logits[5] = broken;
                assert_eq!(sampler.sample(&logits, &[], 0).id, NO_TOKEN, "{broken}");
            }
        }
    }
}
