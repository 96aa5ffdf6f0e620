//! Twin of `rms_norm`: rows divided by their root mean square.

use super::{Matrix, dot};

/// `out[r, c] = x[r, c] * gain[c] / sqrt(mean_c(x[r, :]^2) + eps)`.
///
/// # Panics
/// When `gain` is shorter than a row.
pub fn rms_norm(x: Matrix<'_>, gain: &[f32], eps: f32) -> Vec<f64> {
    let mut out = Vec::new(); // (rows, cols)
    for r in 0..x.rows {
        let row = x.row(r);
        let mean = dot(row, row) / x.cols as f64;
        let scale = 1.0 / (mean + f64::from(eps)).sqrt();
        for c in 0..x.cols {
            out.push(f64::from(row[c]) * scale * f64::from(gain[c]));
        }
    }
    out
}
