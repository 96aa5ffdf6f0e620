//! Twin of `matvec`: a matrix times one row of `x`.

use super::{Matrix, dot};

/// `out[r] = sum_c weight[r, c] * x[x_row, c]`, plus `residual[r]` if there is one.
///
/// # Panics
/// When the shapes disagree.
pub fn matvec(weight: Matrix<'_>, x: Matrix<'_>, x_row: usize, residual: Option<&[f32]>) -> Vec<f64> {
    let mut out = Vec::new();
    for r in 0..weight.rows {
        let before = residual.map_or(0.0, |residual| f64::from(residual[r]));
        out.push(before + dot(weight.row(r), x.row(x_row)));
    }
    out
}
