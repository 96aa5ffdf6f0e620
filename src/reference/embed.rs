//! Twin of `embed`: one table row per token.

use super::Matrix;

/// `out[r, :] = scale * table[tokens[r], :]`, rounded once; a token outside the table leaves its row of `out` (rows, cols) as it was.
///
/// # Panics
/// When `out` is not (tokens, cols).
pub fn embed(table: Matrix<'_>, tokens: &[u32], scale: f32, out: &mut [f32]) {
    assert_eq!(out.len(), tokens.len() * table.cols, "elements of out");
    for r in 0..tokens.len() {
        let token = tokens[r] as usize;
        if token < table.rows {
            for c in 0..table.cols {
                out[r * table.cols + c] = table.row(token)[c] * scale;
            }
        }
    }
}
