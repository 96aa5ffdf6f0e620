//! What can be set about the choice of a token, what is allowed, and the few numbers that both sides derive from it.
//!
//! Numbers that kernels need (reciprocals, distances) are derived here once, rounded to 32 bits, and handed to GPU and
//! CPU alike; so the two differ only where a GPU's own arithmetic does.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::SamplingError;

/// Most tokens that penalties look back at.
pub const MAX_PENALTY_LAST_N: u32 = 1024;
/// Most likeliest tokens reported per token.
pub const MAX_LOGPROBS: u32 = 20;
/// The score of a token that must not be drawn. Finite, because a shader may assume that there is no infinity; no score
/// of a model comes near it.
pub const BANNED: f32 = -3.0e38;

/// Beyond these magnitudes a setting is a mistake, and within them no product leaves the range of 32-bit floats.
const LARGE: f32 = 1e6;
const SMALL: f32 = 1e-6;
/// A weight of exp(-80), 2e-35, is still a normal number; what weighs less is not drawn.
const MOST_NATS: f32 = 80.0;

/// Settings of the [chain](crate::sampling) from logits to a token. The default is greedy with everything off.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerOptions {
    /// Logits are divided by it; 0 takes the likeliest token.
    pub temperature: f32,
    /// Keep the `top_k` likeliest tokens, and equals of the last one; 0 is off.
    pub top_k: u32,
    /// Keep the likeliest tokens that hold this share of what top-k left, in (0, 1]; 1 is off.
    pub top_p: f32,
    /// Keep tokens at least this share as likely as the likeliest, in [0, 1]; 0 is off.
    pub min_p: f32,
    /// Divides positive scores of recent tokens and multiplies negative ones; 1 is off.
    pub repetition_penalty: f32,
    /// Taken from a recent token's score for every occurrence, in nats; 0 is off.
    pub frequency_penalty: f32,
    /// Taken from a recent token's score once, in nats; 0 is off.
    pub presence_penalty: f32,
    /// Recent tokens are this many, prompt included; at most [`MAX_PENALTY_LAST_N`].
    pub penalty_last_n: u32,
    /// Ids that penalties leave alone beside anchors and the tokens that end a text: those that structure a text (`<|im_start|>`) are
    /// repeated by every turn. Where a tokenizer is at hand its special tokens are added; ids outside the vocabulary mean nothing.
    pub unpenalized: Vec<u32>,
    /// (id, nats added to its logit); those of one id add up.
    pub logit_bias: Vec<(u32, f32)>,
    /// Ids that are never chosen.
    pub banned: Vec<u32>,
    /// Seed of the draws.
    pub seed: u64,
    /// Likeliest tokens reported with each token, at most [`MAX_LOGPROBS`]; 0 is off.
    pub logprobs: u32,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_last_n: 64,
            unpenalized: Vec::new(),
            logit_bias: Vec::new(),
            banned: Vec::new(),
            seed: 0,
            logprobs: 0,
        }
    }
}

impl SamplerOptions {
    /// Checks every setting against its range and every id against a vocabulary of `vocab_size` tokens.
    ///
    /// # Errors
    /// [`SamplingError::Setting`] naming the setting, its value and what it must be.
    pub fn validate(&self, vocab_size: u32) -> Result<(), SamplingError> {
        if self.temperature != 0.0 {
            within("temperature", self.temperature, SMALL..=LARGE, "zero, or from 0.000001 to 1000000")?;
        }
        // The smallest number above zero, because zero itself would keep nothing.
        within("top_p", self.top_p, f32::MIN_POSITIVE..=1.0, "above 0 and at most 1")?;
        within("min_p", self.min_p, 0.0..=1.0, "from 0 to 1")?;
        within("repetition_penalty", self.repetition_penalty, SMALL..=LARGE, "from 0.000001 to 1000000")?;
        for (field, penalty) in
            [("frequency_penalty", self.frequency_penalty), ("presence_penalty", self.presence_penalty)]
        {
            within(field, penalty, -LARGE..=LARGE, "from -1000000 to 1000000")?;
        }
        within("penalty_last_n", self.penalty_last_n, 0..=MAX_PENALTY_LAST_N, "at most 1024")?;
        within("logprobs", self.logprobs, 0..=MAX_LOGPROBS.min(vocab_size), "at most 20 and the vocabulary")?;
        let need_id = format!("an id below {vocab_size}");
        for &(id, bias) in &self.logit_bias {
            within("logit_bias", id, 0..=vocab_size.saturating_sub(1), &need_id)?;
            within("logit_bias", bias, -LARGE..=LARGE, "from -1000000 to 1000000")?;
        }
        for &id in &self.banned {
            within("banned", id, 0..=vocab_size.saturating_sub(1), &need_id)?;
        }
        let banned = self.banned.iter().collect::<BTreeSet<_>>().len();
        within(
            "banned",
            banned,
            0..=(vocab_size as usize).saturating_sub(1),
            "fewer ids than the vocabulary has",
        )
    }

    /// Whether the likeliest token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Whether recent tokens change scores.
    pub fn has_penalties(&self) -> bool {
        let off = (self.repetition_penalty, self.frequency_penalty, self.presence_penalty) == (1.0, 0.0, 0.0);
        self.penalty_last_n > 0 && !off
    }

    /// Whether there is a bias or a banned token.
    pub fn has_bias(&self) -> bool {
        !self.logit_bias.is_empty() || !self.banned.is_empty()
    }

    /// What is added to each logit, [`BANNED`] for banned ids. // (vocab_size)
    pub fn bias_vector(&self, vocab_size: u32) -> Vec<f32> {
        let mut vector = vec![0.0; vocab_size as usize];
        for &(id, bias) in &self.logit_bias {
            if let Some(sum) = vector.get_mut(id as usize) {
                *sum += bias;
            }
        }
        for &id in &self.banned {
            if let Some(sum) = vector.get_mut(id as usize) {
                *sum = BANNED;
            }
        }
        vector
    }

    /// 1 / temperature. Only for options that are not greedy.
    pub(crate) fn inverse_temperature(&self) -> f32 {
        1.0 / self.temperature
    }

    /// A score farther below the largest than this has no weight left.
    pub(crate) fn reach(&self) -> f32 {
        MOST_NATS * self.temperature
    }

    /// A score farther below the largest than this falls to min-p.
    pub(crate) fn min_p_reach(&self) -> f32 {
        let nats = if self.min_p > 0.0 { -f64::from(self.min_p).ln() } else { MOST_NATS.into() };
        (nats * f64::from(self.temperature)) as f32
    }
}

/// Refuses a value outside its range; a number that is none lies outside all.
fn within<T: PartialOrd + Display>(
    field: &'static str,
    value: T,
    allowed: RangeInclusive<T>,
    need: &str,
) -> Result<(), SamplingError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(SamplingError::Setting { field, value: value.to_string(), need: need.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut SamplerOptions)) -> Option<String> {
        let mut options = SamplerOptions::default();
        change(&mut options);
        options.validate(10).err().map(|error| error.to_string())
    }

    #[test]
    fn the_default_is_greedy_and_off() {
        let options = SamplerOptions::default();
        assert!(options.is_greedy() && !options.has_penalties() && !options.has_bias(), "{options:?}");
        assert!(options.validate(1).is_ok(), "{options:?}");
    }

    #[test]
    fn every_setting_out_of_range_is_named_with_its_value_and_what_it_must_be() {
        type Change = fn(&mut SamplerOptions);
        let cases: [(Change, &str); 21] = [
            (|o| o.temperature = -0.5, "temperature is -0.5, it must be zero, or from 0.000001 to 1000000"),
            (|o| o.temperature = f32::NAN, "temperature is NaN"),
            (|o| o.temperature = 1e-9, "temperature is 0.000000001"),
            (|o| o.temperature = f32::INFINITY, "temperature is inf"),
            (|o| o.top_p = 0.0, "top_p is 0, it must be above 0 and at most 1"),
            (|o| o.top_p = 1.1, "top_p is 1.1"),
            (|o| o.top_p = f32::NAN, "top_p is NaN"),
            (|o| o.min_p = -0.1, "min_p is -0.1, it must be from 0 to 1"),
            (|o| o.min_p = 1.5, "min_p is 1.5"),
            (|o| o.repetition_penalty = 0.0, "repetition_penalty is 0"),
            (|o| o.repetition_penalty = f32::INFINITY, "repetition_penalty is inf"),
            (|o| o.frequency_penalty = f32::NAN, "frequency_penalty is NaN"),
            (|o| o.presence_penalty = -2e6, "presence_penalty is -2000000"),
            (|o| o.penalty_last_n = 1025, "penalty_last_n is 1025, it must be at most 1024"),
            (|o| o.logprobs = 11, "logprobs is 11, it must be at most 20 and the vocabulary"),
            (|o| o.logprobs = 21, "logprobs is 21"),
            (|o| o.logit_bias = vec![(3, 1.0), (10, 1.0)], "logit_bias is 10, it must be an id below 10"),
            (|o| o.logit_bias = vec![(3, f32::NEG_INFINITY)], "logit_bias is -inf"),
            (|o| o.logit_bias = vec![(3, f32::NAN)], "logit_bias is NaN"),
            (|o| o.banned = vec![4_000_000_000], "banned is 4000000000, it must be an id below 10"),
            (|o| o.banned = (0..10).collect(), "banned is 10, it must be fewer ids than the vocabulary has"),
        ];
        for (change, message) in cases {
            let found = refusal(change).unwrap_or_default();
            assert!(found.starts_with(message), "{found:?} instead of {message:?}");
        }
    }

    #[test]
    fn the_ends_of_every_range_are_allowed() {
        let allowed = refusal(|o| {
            (o.temperature, o.top_k, o.top_p, o.min_p) = (1e-6, u32::MAX, 1e-6, 1.0);
            (o.repetition_penalty, o.frequency_penalty, o.presence_penalty) = (1e6, -1e6, 1e6);
            (o.penalty_last_n, o.logprobs) = (1024, 10);
            (o.logit_bias, o.banned) = (vec![(9, -1e6)], [(1..10).collect(), vec![9; 9]].concat());
        });
        assert_eq!(allowed, None);
    }

    #[test]
    fn biases_of_one_id_add_up_and_a_ban_outweighs_them() {
        let options = SamplerOptions {
            logit_bias: vec![(1, 2.0), (1, 0.5), (2, 9.0)],
            banned: vec![2],
            ..SamplerOptions::default()
        };
        assert!(options.has_bias(), "{options:?}");
        assert_eq!(options.bias_vector(4), [0.0, 2.5, BANNED, 0.0]);
    }
}
