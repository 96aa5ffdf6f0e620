//! Twin of `embed`: one table row per token.

use super::Matrix;

/// `out[r, :] = table[tokens[r], :]`; a token outside the table leaves its row of `out` (rows, cols) as it was.
///
/// # Panics
/// When `out` is not (tokens, cols).
pub fn embed(table: Matrix<'_>, tokens: &[u32], out: &mut [f32]) {
    assert_eq!(out.len(), tokens.len() * table.cols, "elements of out");
    for r in 0..tokens.len() {
        let token = tokens[r] as usize;
        if token < table.rows {
            out[r * table.cols..][..table.cols].copy_from_slice(table.row(token));
        }
    }
}
