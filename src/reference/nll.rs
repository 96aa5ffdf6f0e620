//! Twin of `nll`: negative log-likelihood by log-sum-exp.

use super::Matrix;

/// `out[r] = log(sum_c exp(logits[r, c])) - logits[r, targets[r]]` in nats; a target beyond the columns is read
/// as the last one.
///
/// # Panics
/// When a row has no column or no target.
pub fn nll(logits: Matrix<'_>, targets: &[u32]) -> Vec<f64> {
    let mut out = Vec::new();
    for r in 0..logits.rows {
        let row = logits.row(r);
        let mut top = f64::from(row[0]);
        for c in 1..row.len() {
            top = top.max(row[c].into());
        }
        let mut sum = 0.0;
        for c in 0..row.len() {
            sum += (f64::from(row[c]) - top).exp();
        }
        let target = (targets[r] as usize).min(row.len() - 1);
        out.push(sum.ln() + top - f64::from(row[target]));
    }
    out
}
