//! The CPU twin of every kernel, by the same stem: what `shaders/x.wgsl` must compute, as plain index loops.
//!
//! A twin is a judge only if it is simpler and more exact than what it judges. So it takes the values that the
//! device holds (weights already rounded to their storage format), sums in `f64`, has no tiles, no lanes and no
//! online tricks, and returns `f64` where the kernel computes and the untouched bits where it only copies.
//! The tolerances between the two are in `docs/numerics.md`.

#![allow(clippy::needless_range_loop, reason = "index loops read like the shaders they are compared with")]

mod add_bias;
mod adjust;
mod argmax;
mod attention;
mod attention_join;
mod embed;
mod emit;
mod gate_mul;
mod gated_mlp;
mod kv_step;
mod kv_write;
mod masked_attention;
mod matmul;
mod matvec;
mod multiply_add;
mod nll;
mod penalize;
mod qk_norm;
mod rms_norm;
mod rope;
mod sample;
mod soft_cap;
mod stream;
mod top_logprobs;

use crate::kernels::KvFormat;
use crate::model_file::Activation;

pub use add_bias::add_bias;
pub use adjust::adjust;
pub use argmax::argmax;
pub use attention::{Cache, attention};
pub use attention_join::attention_join;
pub use embed::embed;
pub use emit::{Emitted, Lists, emit};
pub use gate_mul::gate_mul;
pub use gated_mlp::gated_mlp;
pub use kv_step::kv_step;
pub use kv_write::kv_write;
pub use masked_attention::masked_attention;
pub use matmul::matmul;
pub use matvec::matvec;
pub use multiply_add::multiply_add;
pub use nll::nll;
pub use penalize::penalize;
pub use qk_norm::qk_norm;
pub use rms_norm::rms_norm;
pub use rope::{Rotated, rope};
pub use sample::sample;
pub use soft_cap::soft_cap;
pub use stream::stream;
pub use top_logprobs::top_logprobs;

/// A matrix as the device holds it, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The elements. // (rows, cols)
    pub values: &'a [f32],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
}

impl<'a> Matrix<'a> {
    /// `values` as (rows, cols).
    ///
    /// # Panics
    /// When there are not rows * cols values.
    pub fn new(values: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(values.len(), rows * cols, "values of a matrix ({rows}, {cols})");
        Self { values, rows, cols }
    }

    /// Row `r`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, r: usize) -> &'a [f32] {
        &self.values[r * self.cols..][..self.cols]
    }
}

/// What a head of a key or value that is computed as `want` is kept as. Where a column is nearly halfway between two numbers of the format,
/// 32-bit arithmetic may take either: then it is that of `got`, if that is a number within `slack` of the border.
pub fn kept(format: KvFormat, want: &[f64], got: &[f32], slack: f64) -> Vec<f64> {
    let columns = want.iter().zip(got);
    match format {
        KvFormat::F32 => want.to_vec(),
        KvFormat::F16 => {
            let nearest = |x: f64| half::f16::from_f64(x).to_f64();
            let kept = |(want, got): (&f64, &f32)| {
                let either = nearest(want - slack)..=nearest(want + slack);
                if either.contains(&f64::from(*got)) { f64::from(*got) } else { nearest(*want) }
            };
            columns.map(kept).collect()
        }
        KvFormat::Q8_0 => {
            let largest = want.iter().fold(0.0, |largest: f64, want| largest.max(want.abs()));
            let scale = largest / 127.0;
            let kept = |(want, got): (&f64, &f32)| {
                let nearest = |x: f64| if scale > 0.0 { (x / scale).round() * scale } else { 0.0 };
                let of_got = nearest(f64::from(*got));
                if (of_got - want).abs() <= scale / 2.0 + slack { of_got } else { nearest(*want) }
            };
            columns.map(kept).collect()
        }
    }
}

/// The dot product, summed from the front.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sum = 0.0;
    for c in 0..a.len() {
        sum += f64::from(a[c]) * f64::from(b[c]);
    }
    sum
}

/// cap tanh(score / cap); the score itself where the cap is 0.
fn capped(score: f64, cap: f64) -> f64 {
    if cap == 0.0 { score } else { cap * (score / cap).tanh() }
}

/// The gate of a feed-forward block.
fn activated(a: f64, activation: Activation) -> f64 {
    match activation {
        Activation::Silu => a / (1.0 + (-a).exp()),
        Activation::Gelu => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (a + 0.044_715 * a * a * a);
            0.5 * a * (1.0 + u.tanh())
        }
    }
}
