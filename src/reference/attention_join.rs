//! Twin of `attention_join`.

/// `out[i, :] = sum_s exp(top_s) values_s / sum_s exp(top_s) total_s` over the shares of row and head i, scaled so that it is finite.
///
/// # Panics
/// When `parts` is too short.
pub fn attention_join(
    parts: &[f32], // (rows and heads, splits, head_dim + 2): values, top, total
    rows_and_heads: usize,
    splits: usize,
    head_dim: usize,
) -> Vec<f64> {
    let part =
        |i: usize, s: usize, column: usize| f64::from(parts[(i * splits + s) * (head_dim + 2) + column]);
    let mut out = Vec::new(); // (rows and heads, head_dim)
    for i in 0..rows_and_heads {
        let mut top = f64::NEG_INFINITY;
        for s in 0..splits {
            top = top.max(part(i, s, head_dim));
        }
        for column in 0..head_dim {
            let (mut value, mut total) = (0.0, 0.0);
            for s in 0..splits {
                let weight = (part(i, s, head_dim) - top).exp();
                value += weight * part(i, s, column);
                total += weight * part(i, s, head_dim + 1);
            }
            out.push(value / total);
        }
    }
    out
}
