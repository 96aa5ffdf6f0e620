//! Twin of `top_logprobs`: log-probabilities by log-sum-exp, the likeliest by a sort.

use super::{Matrix, nll};

/// The chosen id and the `n` likeliest of `logits`, equals in ascending order, each with its log-probability in nats.
/// A chosen id beyond the vocabulary is read as the last one.
///
/// # Panics
/// When there is no logit.
pub fn top_logprobs(logits: &[f32], chosen: u32, n: usize) -> Vec<(u32, f64)> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    ids.sort_by(|a, b| logits[*b as usize].total_cmp(&(logits[*a as usize])));
    let listed = [vec![chosen], ids[..n.min(ids.len())].to_vec()].concat();
    let row = Matrix::new(logits, 1, logits.len());
    listed.into_iter().map(|id| (id, -nll(row, &[id])[0])).collect()
}
