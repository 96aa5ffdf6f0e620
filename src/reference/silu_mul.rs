//! Twin of `silu_mul`: the SwiGLU gate, element by element.

use super::silu;

/// `out[i] = silu(gate[i]) * up[i]`.
///
/// # Panics
/// When `up` is shorter than `gate`.
pub fn silu_mul(gate: &[f32], up: &[f32]) -> Vec<f64> {
    let mut out = Vec::new();
    for i in 0..gate.len() {
        out.push(silu(gate[i].into()) * f64::from(up[i]));
    }
    out
}
