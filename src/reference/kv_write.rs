//! Twin of `kv_write`: the rows of a chunk that outlive it go to their slots.

use crate::kv::{NONE, Row};

/// Copies row r of `chunk` (rows, kv_dim) to the slots of `cache` (slots, kv_dim) that `rows[r]` names. The
/// kernel does this for keys and for values.
///
/// # Panics
/// When a row or a slot lies outside its buffer.
pub fn kv_write(rows: &[Row], chunk: &[f32], kv_dim: usize, cache: &mut [f32]) {
    for r in 0..rows.len() {
        for slot in [rows[r].live_slot, rows[r].anchor_slot] {
            if slot != NONE {
                let entry = &chunk[r * kv_dim..][..kv_dim];
                cache[(rows[r].base + slot) as usize * kv_dim..][..kv_dim].copy_from_slice(entry);
            }
        }
    }
}
