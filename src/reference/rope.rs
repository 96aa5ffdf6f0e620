//! Twin of `rope`: rotation by the position itself in 64-bit arithmetic, without tables.

use crate::kernels::rope::Target;
use crate::kv::{NONE, Row};
use crate::model_file::{Heads, Rotation};

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

/// Rotates the heads of `qkv` (rows, (n_heads + 2 n_kv_heads) head_dim) by `t = pos * frequencies[d]`, pair
/// (d, d + number of frequencies) by pair; what is left of a head stays as it is.
///
/// # Panics
/// When a row or a slot lies outside its buffer.
pub fn rope(rows: &[Row], qkv: &[f32], rotation: &Rotation, heads: Heads, target: Target, out: Rotated<'_>) {
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
                rotate(x, row.pos, rotation, &mut out.q[at(0)..][..dim]);
                rotate(x, row.pinned_query_pos, rotation, &mut out.q[at(1)..][..dim]);
                continue;
            }
            let is_key = head < n_heads + n_kv_heads;
            let kv_head = if is_key { head - n_heads } else { head - n_heads - n_kv_heads };
            let base = if matches!(target, Target::Cache) { row.base } else { 0 };
            for slot in slots.into_iter().filter(|slot| *slot != NONE) {
                let at = ((base + slot) as usize * n_kv_heads + kv_head) * dim;
                if is_key {
                    rotate(x, row.pos, rotation, &mut out.k[at..][..dim]);
                } else {
                    for d in 0..dim {
                        out.v[at + d] = x[d].into();
                    }
                }
            }
        }
    }
}

fn rotate(x: &[f32], pos: u32, rotation: &Rotation, out: &mut [f64]) {
    for d in 0..x.len() {
        out[d] = f64::from(x[d]);
    }
    let half = rotation.frequencies.len();
    for d in 0..half {
        let (sin, cos) = (f64::from(pos) * rotation.frequencies[d]).sin_cos();
        let (a, b) = (f64::from(x[d]), f64::from(x[d + half]));
        out[d] = rotation.magnitude * (a * cos - b * sin);
        out[d + half] = rotation.magnitude * (a * sin + b * cos);
    }
}
