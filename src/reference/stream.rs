//! Twin of `stream`: sums of what each lane reads.

/// `x` in vectors of four, cut into stretches of `stretch` vectors, each of which `width` lanes go through side by side; the sums of the
/// `lanes` lanes.
///
/// # Panics
/// When there are more stretches than lanes for them.
pub fn stream(x: &[f32], lanes: usize, width: usize, stretch: usize) -> Vec<f64> {
    let mut out = vec![0.0; 4 * lanes];
    for i in 0..x.len() {
        let vector = i / 4;
        let lane = vector / stretch * width + vector % stretch % width;
        out[4 * lane + i % 4] += f64::from(x[i]);
    }
    out
}
