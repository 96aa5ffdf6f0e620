//! Twin of `matmul`: a matrix times several rows of `x`.

use super::{Matrix, dot};

/// `out[m, r] = sum_c x[x_row + m, c] * weight[r, c]` for `inputs` rows m, plus `residual[m, r]` if there is one.
///
/// # Panics
/// When the shapes disagree.
pub fn matmul(
    weight: Matrix<'_>,
    x: Matrix<'_>,
    x_row: usize,
    inputs: usize,
    residual: Option<&[f32]>,
) -> Vec<f64> {
    let mut out = Vec::new(); // (inputs, rows)
    for m in 0..inputs {
        for r in 0..weight.rows {
            let before = residual.map_or(0.0, |residual| f64::from(residual[m * weight.rows + r]));
            out.push(before + dot(weight.row(r), x.row(x_row + m)));
        }
    }
    out
}
