//! Twin of `gated_mlp`: two matrices times one vector, and the SwiGLU gate between them.

use super::{Matrix, dot, silu};

/// `out[r] = silu(gate[r, :] . x) * (up[r, :] . x)`.
///
/// # Panics
/// When the shapes disagree.
pub fn gated_mlp(gate: Matrix<'_>, up: Matrix<'_>, x: &[f32]) -> Vec<f64> {
    let mut out = Vec::new();
    for r in 0..gate.rows {
        out.push(silu(dot(gate.row(r), x)) * dot(up.row(r), x));
    }
    out
}
