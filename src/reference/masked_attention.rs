//! Twin of `masked_attention`: softmax over the keys that the mask oracle names.

use super::attention::{entry, mix, score};
use crate::kv::{Policy, Tags, mask};
use crate::model_file::{Heads, Scoring};

/// `out[i, h, :] = sum_j softmax_j(capped(q[i, h, :] . k[j, :] * scale)) v[j, :]` over `mask::visible(i, j)`, or `mask::visible_near`;
/// keys before S are read with the query's second rotation.
///
/// # Panics
/// When a row lies outside its buffer.
pub fn masked_attention(
    policy: &Policy,
    tags: &Tags,
    q: &[f32], // (n, 2, n_heads, head_dim)
    k: &[f32], // (n, n_kv_heads, head_dim)
    v: &[f32], // (n, n_kv_heads, head_dim)
    (heads, scoring): (Heads, Scoring),
) -> Vec<f64> {
    let (n_heads, dim) = (heads.n_heads as usize, heads.head_dim as usize);
    let mut out = Vec::new(); // (n, n_heads, head_dim)
    for i in 0..tags.as_slice().len() {
        for head in 0..n_heads {
            let mut seen = Vec::new();
            let visible = if scoring.near { mask::visible_near } else { mask::visible };
            for j in (0..=i as u32).filter(|&j| visible(policy, tags, i as u32, j)) {
                let pinned = usize::from(j < policy.sinks);
                let query = &q[((i * 2 + pinned) * n_heads + head) * dim..][..dim];
                seen.push((score(query, entry(k, j, head, heads), scoring), entry(v, j, head, heads)));
            }
            out.extend(mix(&seen, dim));
        }
    }
    out
}
