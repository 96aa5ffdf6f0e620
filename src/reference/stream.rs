//! Twin of `stream`: sums of what lies so many vectors apart.

/// `out[l] = x[l] + x[l + lanes] + x[l + 2 lanes] + ...`, in vectors of four.
pub fn stream(x: &[f32], lanes: usize) -> Vec<f64> {
    let mut out = vec![0.0; 4 * lanes];
    for i in 0..x.len() {
        out[i % (4 * lanes)] += f64::from(x[i]);
    }
    out
}
