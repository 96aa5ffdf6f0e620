//! The shape of the attention heads.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "the limits of a validated config leave room for these products"
)]

use super::{Config, nearest};

/// Shape of the attention heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub n_heads: u32,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: u32,
    /// Columns of a head, a multiple of 4.
    pub head_dim: u32,
}

impl Heads {
    /// Columns of the fused q, k, v projection.
    pub fn qkv_dim(&self) -> u32 {
        (self.n_heads + 2 * self.n_kv_heads) * self.head_dim
    }

    /// Columns of all queries.
    pub fn q_dim(&self) -> u32 {
        self.n_heads * self.head_dim
    }

    /// Columns of all keys, or of all values.
    pub fn kv_dim(&self) -> u32 {
        self.n_kv_heads * self.head_dim
    }
}

/// How the heads of one layer read: what of a row's keys, and what becomes of their scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scoring {
    /// What the product of a query and a key is multiplied with.
    pub scale: f32,
    /// Scores are bent to stay within this: `cap tanh(score / cap)`. 0 leaves them as they are.
    pub cap: f32,
    /// Whether the layer has a window of its own, in a model whose other layers have none.
    pub near: bool,
}

impl Scoring {
    /// 1 / sqrt(head_dim), rounded once, and nothing else.
    pub fn of(heads: Heads) -> Self {
        Self { scale: nearest(1.0 / f64::from(heads.head_dim).sqrt()), cap: 0.0, near: false }
    }
}

impl Config {
    /// The shape of its attention heads.
    pub fn heads(&self) -> Heads {
        Heads { n_heads: self.n_heads, n_kv_heads: self.n_kv_heads, head_dim: self.head_dim }
    }

    /// How the heads of a layer read.
    pub fn scoring(&self, layer: u32) -> Scoring {
        Scoring {
            near: !self.full_layers.is_empty() && self.slides(layer),
            cap: self.score_cap.unwrap_or(0.0),
            scale: match self.query_scalar {
                Some(scalar) => nearest(1.0 / f64::from(scalar).sqrt()),
                None => Scoring::of(self.heads()).scale,
            },
        }
    }
}
