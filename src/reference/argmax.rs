//! Twin of `argmax`: the likeliest column of each row, the lowest of equals.

use super::Matrix;
use crate::sampling::NO_TOKEN;

/// `out[r]` = the lowest column among the largest of `logits[r, :]`, [`NO_TOKEN`] where one of them is not finite.
///
/// # Panics
/// When a row has no column.
pub fn argmax(logits: Matrix<'_>) -> Vec<u32> {
    let mut out = Vec::new();
    for r in 0..logits.rows {
        let row = logits.row(r);
        let mut best = 0;
        for c in 1..row.len() {
            if row[c] > row[best] {
                best = c;
            }
        }
        assert!(!row.is_empty(), "a row without columns has no argmax");
        let finite = row.iter().all(|logit| logit.is_finite());
        out.push(if finite { best as u32 } else { NO_TOKEN });
    }
    out
}
