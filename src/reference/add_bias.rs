//! Twin of `add_bias`.

/// `out[r, c] + bias[c]`; `out` (rows, cols), `bias` (cols).
pub fn add_bias(bias: &[f32], out: &[f32]) -> Vec<f64> {
    let mut sums = Vec::new();
    for i in 0..out.len() {
        sums.push(f64::from(out[i]) + f64::from(bias[i % bias.len()]));
    }
    sums
}
