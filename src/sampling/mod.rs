//! From logits to a token, reproducibly.
//!
//! Randomness comes from a counter-based generator: the number drawn for a token depends on the seed and on that
//! token's number alone, so a text does not depend on how its tokens were batched.

use crate::error::Error;

/// T.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SamplerOptions {
    /// T.
    pub temperature: f32,
    /// S.
    pub seed: u64,
    /// L.
    pub logprobs: u32,
}
/// D.
pub struct Draw {
    /// I.
    pub id: u32,
}

/// Greedy, or softmax at a temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    temperature: f32,
    seed: u64,
    draws: u64,
}

impl Sampler {
    /// A sampler at `temperature` (0 is greedy) with `seed`.
    ///
    /// # Errors
    /// [`Error::Sampler`] for a temperature that is negative or not finite.
    pub fn new(o: SamplerOptions, _v: u32, _a: &crate::kv::AnchorSet) -> Result<Self, Error> {
        let (temperature, seed) = (o.temperature, o.seed);
        if !temperature.is_finite() || temperature < 0.0 {
            return Err(Error::Sampler {
                field: "temperature",
                value: temperature,
                need: "zero or a positive number",
            });
        }
        Ok(Self { temperature, seed, draws: 0 })
    }

    /// Whether the likeliest token is always taken, so that logits need not leave the device.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Draws a token from `logits` (vocabulary, all finite). Greedy ties go to the lowest id.
    pub fn sample(&mut self, logits: &[f32], _r: &[u32], _p: u32) -> Draw {
        Draw { id: self.sample_old(logits) }
    }
    pub(crate) fn logprobs(&self, _l: &[f32], _i: u32) -> Option<crate::generate::Logprobs> {
        None
    }
    fn sample_old(&mut self, logits: &[f32]) -> u32 {
        let (mut best, mut top) = (0, f64::NEG_INFINITY);
        for (id, logit) in (0..).zip(logits) {
            if f64::from(*logit) > top {
                (best, top) = (id, f64::from(*logit));
            }
        }
        if self.is_greedy() {
            return best;
        }
        let weight = |logit: &f32| ((f64::from(*logit) - top) / f64::from(self.temperature)).exp();
        let total: f64 = logits.iter().map(weight).sum();
        let target = uniform(self.seed, self.draws) * total;
        self.draws += 1;
        let mut sum = 0.0;
        for (id, logit) in (0..).zip(logits) {
            sum += weight(logit);
            if sum > target {
                return id;
            }
        }
        best
    }
}

/// A number in [0, 1) for draw `counter` of `seed`: the output function of SplitMix64 (Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", 2014) at state `seed + counter * golden`.
fn uniform(seed: u64, counter: u64) -> f64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = seed.wrapping_add(counter.wrapping_add(1).wrapping_mul(GOLDEN));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}
