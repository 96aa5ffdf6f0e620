//! Twin of `multiply_add`: rounds of a multiplication and an addition.

/// `a_j = scale a_j + shift`, `rounds` times, for j < 4 and `a_j` beginning as `x[i] + j`; `out[i]` is the sum of the four.
pub fn multiply_add(x: &[f32], rounds: usize, [scale, shift]: [f32; 2]) -> Vec<f64> {
    let mut out = Vec::new();
    for i in 0..x.len() {
        let mut sum = 0.0;
        for j in 0..4_u8 {
            let mut a = f64::from(x[i] + f32::from(j));
            for _ in 0..rounds {
                a = f64::from(scale) * a + f64::from(shift);
            }
            sum += a;
        }
        out.push(sum);
    }
    out
}
