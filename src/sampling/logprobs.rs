//! Log-probabilities of the chosen and of the likeliest tokens, on the host.

/// The chosen id and the `n` likeliest of `logits`, equals in ascending order, each with its log-probability in nats, by log-sum-exp in
/// 64 bits. A chosen id beyond the vocabulary is read as the last one. Without a logit there is nothing to list.
pub fn top_logprobs(logits: &[f32], chosen: u32, n: usize) -> Vec<(u32, f64)> {
    let Some(last) = logits.len().checked_sub(1) else { return Vec::new() };
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    ids.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
    let top = logits.iter().fold(f64::NEG_INFINITY, |top, logit| top.max(f64::from(*logit)));
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - top).exp()).sum();
    let listed = std::iter::once(chosen).chain(ids.into_iter().take(n));
    listed.map(|id| (id, f64::from(logits[(id as usize).min(last)]) - top - sum.ln())).collect()
}
