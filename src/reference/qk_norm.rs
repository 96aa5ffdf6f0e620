//! Twin of `qk_norm`.

use crate::model_file::Heads;

/// `qkv` (rows, n_heads + 2 n_kv_heads, head_dim) with every head of queries and keys normalized; `gains` (2, head_dim).
pub fn qk_norm(gains: &[f32], qkv: &[f32], heads: Heads, eps: f32) -> Vec<f64> {
    let dim = heads.head_dim as usize;
    let (queries, keys) = (heads.n_heads as usize, heads.n_kv_heads as usize);
    let mut out: Vec<f64> = qkv.iter().map(|value| f64::from(*value)).collect();
    for (i, head) in out.chunks_mut(dim).enumerate() {
        let gain = match i % (queries + 2 * keys) {
            head if head < queries => &gains[..dim],
            head if head < queries + keys => &gains[dim..],
            _ => continue,
        };
        let mean = head.iter().map(|value| value * value).sum::<f64>() / dim as f64;
        for (value, gain) in head.iter_mut().zip(gain) {
            *value *= f64::from(*gain) / (mean + f64::from(eps)).sqrt();
        }
    }
    out
}
