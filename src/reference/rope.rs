//! Twin of `rope`: rotation by the position itself in 64-bit arithmetic, without tables.

use crate::kernels::rope::{Heads, Target};
use crate::kv::{NONE, Row};

/// What [`rope`] writes; what it does not write stays as it was.
#[derive(Debug)]
pub struct Rotated<'a> {
    /// Queries rotated at their position, and at the position for pinned keys. // (rows, 2, n_heads, head_dim)
    pub q: &'a mut [f64],
    /// Rotated keys. // (rows or slots, n_kv_heads, head_dim)
    pub k: &'a mut [f64],
    /// Values. // (rows or slots, n_kv_heads, head_dim)
    pub v: &'a mut [f64],
}

/// Rotates the heads of `qkv` (rows, (n_heads + 2 n_kv_heads) head_dim) by
/// `t = pos * theta^(-2 d / head_dim)`, pair (d, d + head_dim / 2) by pair.
///
/// # Panics
/// When a row or a slot lies outside its buffer.
pub fn rope(rows: &[Row], qkv: &[f32], theta: f32, heads: Heads, target: Target, out: Rotated<'_>) {
    let dim = heads.head_dim as usize;
    let (n_heads, n_kv_heads) = (heads.n_heads as usize, heads.n_kv_heads as usize);
    let all_heads = n_heads + 2 * n_kv_heads;
    for r in 0..rows.len() {
        let row = rows[r];
        let slots = match target {
            Target::Chunk => [r as u32, NONE],
            Target::Cache => [row.live_slot, row.anchor_slot],
        };
        for head in 0..all_heads {
            let x = &qkv[(r * all_heads + head) * dim..][..dim];
            if head < n_heads {
                let at = |which: usize| ((r * 2 + which) * n_heads + head) * dim;
                rotate(x, row.pos, theta, &mut out.q[at(0)..][..dim]);
                rotate(x, row.pinned_query_pos, theta, &mut out.q[at(1)..][..dim]);
                continue;
            }
            let is_key = head < n_heads + n_kv_heads;
            let kv_head = if is_key { head - n_heads } else { head - n_heads - n_kv_heads };
            for slot in slots.into_iter().filter(|slot| *slot != NONE) {
                let at = (slot as usize * n_kv_heads + kv_head) * dim;
                if is_key {
                    rotate(x, row.pos, theta, &mut out.k[at..][..dim]);
                } else {
                    for d in 0..dim {
                        out.v[at + d] = x[d].into();
                    }
                }
            }
        }
    }
}

fn rotate(x: &[f32], pos: u32, theta: f32, out: &mut [f64]) {
    let half = x.len() / 2;
    for d in 0..half {
        let frequency = f64::from(theta).powf(-2.0 * d as f64 / x.len() as f64);
        let (sin, cos) = (f64::from(pos) * frequency).sin_cos();
        let (a, b) = (f64::from(x[d]), f64::from(x[d + half]));
        out[d] = a * cos - b * sin;
        out[d + half] = a * sin + b * cos;
    }
}
