//! Twin of `soft_cap`: numbers that stay within a bound.

use super::capped;

/// `cap tanh(x[i] / cap)`.
pub fn soft_cap(x: &[f32], cap: f32) -> Vec<f64> {
    let mut out = Vec::new();
    for i in 0..x.len() {
        out.push(capped(x[i].into(), cap.into()));
    }
    out
}
