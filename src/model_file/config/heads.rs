//! The shape of the attention heads.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "the limits of a validated config leave room for these products"
)]

use super::Config;

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

impl Config {
    /// The shape of its attention heads.
    pub fn heads(&self) -> Heads {
        Heads { n_heads: self.n_heads, n_kv_heads: self.n_kv_heads, head_dim: self.head_dim }
    }
}
