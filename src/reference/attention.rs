//! Twin of `attention`: softmax over the keys that [`RingLayout::keys`] lists, in two plain passes.

use crate::kv::{Chunk, Key, Region, RingLayout, Row};
use crate::model_file::{Heads, Scoring};

/// Where keys and values lie.
#[derive(Clone, Copy, Debug)]
pub struct Cache<'a> {
    /// Keys of the cache. // (slots of the pool, n_kv_heads, head_dim)
    pub k: &'a [f32],
    /// Values of the cache. // (slots of the pool, n_kv_heads, head_dim)
    pub v: &'a [f32],
    /// Keys of the chunk. // (rows, n_kv_heads, head_dim)
    pub k_chunk: &'a [f32],
    /// Values of the chunk. // (rows, n_kv_heads, head_dim)
    pub v_chunk: &'a [f32],
}

/// `out[r, h, :] = sum_j softmax_j(capped(q[r, h, :] . k[j, :] * scale)) v[j, :]` over the keys row r reads;
/// keys of the pinned region are read with the query's second rotation. `chunk` comes with the chunk rows of
/// its anchors.
///
/// # Panics
/// When a row or a slot lies outside its buffer.
pub fn attention(
    rows: &[Row],
    q: &[f32], // (rows, 2, n_heads, head_dim)
    cache: Cache<'_>,
    (heads, scoring): (Heads, Scoring),
    layout: &RingLayout,
    chunk: Option<(&Chunk, &[u32])>,
) -> Vec<f64> {
    let (n_heads, dim) = (heads.n_heads as usize, heads.head_dim as usize);
    let mut out = Vec::new(); // (rows, n_heads, head_dim)
    for r in 0..rows.len() {
        for head in 0..n_heads {
            let mut seen = Vec::new();
            for (region, key) in layout.keys(&rows[r], scoring.near, chunk) {
                let pinned = usize::from(region == Region::Pinned);
                let query = &q[((r * 2 + pinned) * n_heads + head) * dim..][..dim];
                let (k, v, place) = match key {
                    Key::Slot(slot) => (cache.k, cache.v, rows[r].base + slot),
                    Key::ChunkRow(row) => (cache.k_chunk, cache.v_chunk, row),
                };
                seen.push((
                    score(query, entry(k, place, head, heads), scoring),
                    entry(v, place, head, heads),
                ));
            }
            out.extend(mix(&seen, dim));
        }
    }
    out
}

/// The (head_dim) row that query head `head` reads at `place`.
pub(super) fn entry(values: &[f32], place: u32, head: usize, heads: Heads) -> &[f32] {
    let dim = heads.head_dim as usize;
    let kv_head = head / (heads.n_heads / heads.n_kv_heads) as usize;
    &values[(place as usize * heads.n_kv_heads as usize + kv_head) * dim..][..dim]
}

/// q . k * scale, bent to stay within the cap if there is one.
pub(super) fn score(q: &[f32], k: &[f32], scoring: Scoring) -> f64 {
    super::capped(super::dot(q, k) * f64::from(scoring.scale), f64::from(scoring.cap))
}

/// sum_j softmax_j(score_j) value_j.
pub(super) fn mix(seen: &[(f64, &[f32])], dim: usize) -> Vec<f64> {
    let mut top = f64::NEG_INFINITY;
    for (score, _) in seen {
        top = top.max(*score);
    }
    let mut total = 0.0;
    let mut out = vec![0.0; dim];
    for (score, value) in seen {
        let weight = (score - top).exp();
        total += weight;
        for d in 0..dim {
            out[d] += weight * f64::from(value[d]);
        }
    }
    for d in 0..dim {
        out[d] /= total;
    }
    out
}
