//! Twin of `gated_mlp`: two matrices times one vector, and their gate.

use super::{Matrix, activated, dot};
use crate::model_file::Activation;

/// `out[r] = activated(gate[r, :] . x) * (up[r, :] . x)`.
///
/// # Panics
/// When the shapes disagree.
pub fn gated_mlp(gate: Matrix<'_>, up: Matrix<'_>, x: &[f32], activation: Activation) -> Vec<f64> {
    let mut out = Vec::new();
    for r in 0..gate.rows {
        out.push(activated(dot(gate.row(r), x), activation) * dot(up.row(r), x));
    }
    out
}
