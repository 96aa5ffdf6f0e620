//! From a config to the angles of RoPE: the frequency of every pair of columns, scaled as the model was trained.
//!
//! The formulas of `modeling_rope_utils.py` in `transformers`, in 64-bit.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "numbers of a validated config, and of 64-bit results what 32 bits hold"
)]

use std::f64::consts::TAU;

use super::{Config, RopeScaling};

/// How heads turn with the position.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// Radians per position of each pair of columns; pair `d` is the columns `d` and `d + frequencies.len()`, and columns
    /// beyond the last pair do not turn.
    pub frequencies: Vec<f64>,
    /// Every column that turns grows by this.
    pub magnitude: f64,
}

impl Rotation {
    /// Columns that turn.
    pub fn rope_dim(&self) -> u32 {
        2 * self.frequencies.len() as u32
    }
}

impl Config {
    /// How its heads turn; `divisors` (rope_dim / 2) are those of [`RopeScaling::Divisors`], or one list of [`RopeScaling::LongRope`].
    pub fn rotation(&self, divisors: Option<&[f32]>) -> Rotation {
        rotation(self, divisors)
    }
}

impl Config {
    /// How the heads of layers with a window turn, where they have a base of their own.
    pub fn local_rotation(&self) -> Option<Rotation> {
        let rope_theta = self.local_rope_theta?;
        let plain = Self { rope_theta, rope_scaling: RopeScaling::None, ..self.clone() };
        Some(rotation(&plain, None))
    }
}

fn rotation(config: &Config, divisors: Option<&[f32]>) -> Rotation {
    let pairs = config.rope_dim / 2;
    let base = f64::from(config.rope_theta);
    let plain = |pair: u32| base.powf(-f64::from(pair) / f64::from(pairs));
    let mut frequencies: Vec<f64> = (0..pairs).map(plain).collect();
    let mut magnitude = 1.0;
    match config.rope_scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => {
            frequencies.iter_mut().for_each(|frequency| *frequency /= f64::from(factor));
        }
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
            let (low, high) = (f64::from(low_freq_factor), f64::from(high_freq_factor));
            for frequency in &mut frequencies {
                // How often it turns in the original context decides how much of it stays.
                let turns = *frequency * f64::from(original_context) / TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                *frequency *= kept + (1.0 - kept) / f64::from(factor);
            }
        }
        RopeScaling::Yarn { factor, beta_fast, beta_slow, attention_factor, truncate, original_context } => {
            // The pair (fractional) that turns so often in the original context.
            let pair_of = |turns: f32| {
                let span = f64::from(original_context) / (f64::from(turns) * TAU);
                f64::from(pairs) * span.ln() / base.ln()
            };
            let (mut first, mut last) = (pair_of(beta_fast), pair_of(beta_slow));
            if truncate {
                (first, last) = (first.floor(), last.ceil());
            }
            let (first, last) = (first.max(0.0), last.min(f64::from(config.rope_dim) - 1.0));
            // A ramp without length is a step.
            let length = if first == last { 0.001 } else { last - first };
            for (pair, frequency) in (0..pairs).zip(&mut frequencies) {
                let squeezed = ((f64::from(pair) - first) / length).clamp(0.0, 1.0);
                *frequency *= 1.0 - squeezed + squeezed / f64::from(factor);
            }
            magnitude = f64::from(attention_factor);
        }
        RopeScaling::Divisors | RopeScaling::LongRope { .. } => {
            if let RopeScaling::LongRope { attention_factor, .. } = config.rope_scaling {
                magnitude = f64::from(attention_factor);
            }
            let divisors = divisors.unwrap_or_default();
            frequencies.iter_mut().zip(divisors).for_each(|(frequency, by)| *frequency /= f64::from(*by));
        }
    }
    Rotation { frequencies, magnitude }
}

/// The scaling of Llama 3 as llama.cpp stores it: what each frequency is divided by (rope_dim / 2). `None` for another scaling.
#[cfg(feature = "convert")]
pub(crate) fn llama3_divisors(config: &Config) -> Option<Vec<f32>> {
    let RopeScaling::Llama3 { .. } = config.rope_scaling else { return None };
    let plain = Config { rope_scaling: RopeScaling::None, ..config.clone() };
    let pairs = rotation(&plain, None).frequencies.into_iter().zip(rotation(config, None).frequencies);
    Some(pairs.map(|(plain, scaled)| (plain / scaled) as f32).collect())
}

/// The scaling of a published Llama 3 with these divisors, if there is one: 3.1 squeezes by 8, 3.2 by 32.
#[cfg(feature = "convert")]
pub(crate) fn original_llama3(config: &Config, divisors: &[f32]) -> Option<RopeScaling> {
    let published = |factor| RopeScaling::Llama3 {
        factor,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 8192,
    };
    // llama.cpp's converter computes them in 32 bits.
    let close = |(a, b): (&f32, &f32)| (a / b - 1.0).abs() < 1e-5;
    [8.0, 32.0].map(published).into_iter().find(|scaling| {
        let scaled = Config { rope_scaling: *scaling, ..config.clone() };
        let expected = llama3_divisors(&scaled).unwrap_or_default();
        expected.len() == divisors.len() && expected.iter().zip(divisors).all(close)
    })
}
