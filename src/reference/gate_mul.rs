//! Twin of `gate_mul`: the gate of a feed-forward block, element by element.

use super::activated;
use crate::model_file::Activation;

/// `out[i] = activated(gate[i]) * up[i]`.
///
/// # Panics
/// When `up` is shorter than `gate`.
pub fn gate_mul(gate: &[f32], up: &[f32], activation: Activation) -> Vec<f64> {
    let mut out = Vec::new();
    for i in 0..gate.len() {
        out.push(activated(gate[i].into(), activation) * f64::from(up[i]));
    }
    out
}
