//! The order of rows: GGUF files of some architectures interleave the two halves of each head of Q and K.
//!
//! llama.cpp's converter does so because its rotation pairs neighbours: row `i` of a head `d` wide is stored as row `2 i` for
//! `i < d / 2`, else as row `2 (i - d / 2) + 1` (`permute` in `convert_hf_to_gguf.py`). Here all rows are in the rotate-half
//! order of Hugging Face checkpoints.

use std::ops::Range;

use super::config::Config;
use super::error::ModelFileError;
use super::names::{LayerWeight, WeightName};
use super::reader::to_usize;
use super::tensor::TensorInfo;

/// The width of the heads that a GGUF file of this model interleaves in a weight, if it does.
pub(super) fn interleaved(name: WeightName, config: &Config) -> Option<u32> {
    use LayerWeight::{K, Q};
    let is_permuted = matches!(name, WeightName::Layer(_, Q | K) | WeightName::Bias(_, Q | K));
    (is_permuted && config.architecture.conventions().interleaved).then_some(config.head_dim)
}

/// What `read` gives for rows of a tensor, `width` values each, with those of interleaved heads put back into rotate-half order.
/// A whole head is read and then picked from.
pub(super) async fn rows<T: Clone>(
    tensor: &TensorInfo,
    width: usize,
    rows: Range<u32>,
    interleaved: Option<u32>,
    read: impl AsyncFn(Range<u32>, &mut Vec<T>) -> Result<(), ModelFileError>,
) -> Result<Vec<T>, ModelFileError> {
    let mut out = Vec::new();
    let Some(head_dim) = interleaved else {
        read(rows, &mut out).await?;
        return Ok(out);
    };
    let half = head_dim.checked_div(2).unwrap_or_default();
    let (mut head, mut held) = (Vec::new(), None);
    for row in rows {
        let within = row.checked_rem(head_dim).unwrap_or_default();
        let first = row.saturating_sub(within);
        if held != Some(first) {
            head.clear();
            read(first..first.saturating_add(head_dim), &mut head).await?;
            held = Some(first);
        }
        let stored = match within.checked_sub(half) {
            None => within.saturating_mul(2),
            Some(upper) => upper.saturating_mul(2).saturating_add(1),
        };
        let stored = to_usize(&tensor.file, &tensor.field(), stored.into())?;
        out.extend(head.chunks_exact(width.max(1)).nth(stored).into_iter().flatten().cloned());
    }
    Ok(out)
}
