//! Inputs of kernels on the device, and the values that they hold there.

use std::ops::Range;

use crate::bench::BenchError;
use crate::bench::agree::POISON;
use crate::bench::random::Random;
use crate::gpu::{Buffer, BufferRequest, Gpu};
use crate::kernels::{CacheLayout, Precision, Weight, WeightLayout, WeightPart};
use crate::model_file::{BLOCK, Block, Blocks, Heads};

/// Weights made at a time, in elements.
const PIECE: u32 = 1 << 20;
/// Bytes that may be on their way to the device.
const MOST_WAITING: u64 = 64 << 20;
/// Products that the twin makes for one check, at most, so that a check takes a fraction of a second.
const MOST_PRODUCTS: u64 = 32 << 20;

/// Uniform numbers in [-1, 1).
pub(super) fn numbers(seed: u64, n: u64) -> Vec<f32> {
    let mut random = Random(seed);
    (0..n).map(|_| random.uniform()).collect()
}

/// One buffer of a request.
pub(super) async fn memory(gpu: &Gpu, request: BufferRequest) -> Result<Buffer, BenchError> {
    Ok(gpu.allocate(&[request]).await?.remove(0))
}

/// A buffer that holds `values` and may be bound as a uniform.
pub(super) async fn inputs<T: bytemuck::Pod>(
    gpu: &Gpu,
    label: &str,
    values: &[T],
) -> Result<Buffer, BenchError> {
    let bytes: &[u8] = bytemuck::cast_slice(values);
    let buffer = memory(gpu, BufferRequest::inputs(label, bytes.len() as u64)).await?;
    gpu.upload(&buffer, 0, bytes)?;
    Ok(buffer)
}

/// An output of `words` words, all poison.
pub(super) async fn output(gpu: &Gpu, label: &str, words: u64) -> Result<Buffer, BenchError> {
    inputs(gpu, label, &vec![POISON; words as usize]).await
}

/// Keys or values (rows, kv_dim) of these heads as `layout` has them.
pub(super) async fn entries(
    gpu: &Gpu,
    label: &str,
    layout: CacheLayout,
    values: &[f32],
    heads: Heads,
) -> Result<Buffer, BenchError> {
    let rows = values.len() as u64 / u64::from(heads.kv_dim().max(1));
    let buffer = memory(gpu, layout.request(label, rows.max(1), heads)).await?;
    gpu.upload(&buffer, 0, &layout.pack(values, heads.head_dim))?;
    Ok(buffer)
}

/// A matrix whose rows are made as they are needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct MadeUp {
    pub(super) seed: u64,
    pub(super) rows: u32,
    pub(super) cols: u32,
    pub(super) layout: WeightLayout,
}

impl MadeUp {
    /// Some rows, before they are rounded to floats.
    fn rows(&self, rows: Range<u32>) -> Vec<f32> {
        let of_row = |row: u32| {
            let mut random = self.random(row);
            (0..self.cols).map(move |_| random.uniform())
        };
        rows.flat_map(of_row).collect()
    }

    /// Some rows of blocks. The scales are powers of two, so that 16 bits hold them.
    fn blocks(&self, rows: Range<u32>, kind: Blocks) -> Vec<Block> {
        let (most, scales) = match kind {
            Blocks::Q8 => (255.0, [1.0 / 128.0, 0.0]),
            Blocks::Q6 => (63.0, [1.0 / 32.0, 1.0 / 64.0]),
            Blocks::Q5 => (31.0, [1.0 / 16.0, -1.0]),
            Blocks::Q4 => (15.0, [1.0 / 8.0, -1.0]),
        };
        let of_row = |row: u32| {
            let mut random = self.random(row);
            let mut number = move || ((random.uniform() + 1.0) / 2.0 * most) as u8;
            (0..self.cols as usize / BLOCK)
                .map(move |_| Block { quants: std::array::from_fn(|_| number()), scales })
        };
        rows.flat_map(of_row).collect()
    }

    fn random(&self, row: u32) -> Random {
        Random(self.seed ^ (u64::from(row) << 20))
    }

    /// Some rows as the device holds them.
    pub(super) fn held(&self, rows: impl Iterator<Item = u32>) -> Vec<f32> {
        let of_row = |row: u32| match (self.layout.precision().blocks(), self.layout.precision()) {
            (Some(kind), _) => {
                self.blocks(row..row + 1, kind).iter().flat_map(|block| kind.weights(block)).collect()
            }
            (None, Precision::F16) => {
                let values = self.rows(row..row + 1);
                values.iter().map(|value| half::f16::from_f32(*value).to_f32()).collect::<Vec<_>>()
            }
            _ => self.rows(row..row + 1),
        };
        rows.flat_map(of_row).collect()
    }

    /// Some rows as the layout has them.
    fn packed(&self, rows: Range<u32>) -> Vec<u8> {
        let packed = match self.layout.precision().blocks() {
            Some(kind) => self.layout.pack_blocks(&self.blocks(rows, kind), self.cols),
            None => self.layout.pack(&self.rows(rows), self.cols),
        };
        let Ok(bytes) = packed else { unreachable!("numbers and scales of 1 and less fit every layout") };
        bytes
    }

    /// Rows to compare, the first and the last among them, for a twin that makes `inputs` products of each column.
    pub(super) fn checked(&self, inputs: u32) -> Vec<u32> {
        let all = u64::from(self.rows) * u64::from(self.cols) * u64::from(inputs.max(1));
        // Odd, so that no lane of a tile and no component of a vector is left out.
        let step = u32::try_from(all.div_ceil(MOST_PRODUCTS)).unwrap_or(u32::MAX) | 1;
        let mut rows: Vec<u32> = (0..self.rows).step_by(step as usize).collect();
        if rows.last().is_some_and(|last| last + 1 < self.rows) {
            rows.push(self.rows - 1);
        }
        rows
    }

    /// The matrix on the device, `copies` times over, in parts where one binding is too small.
    pub(super) async fn on_device(&self, gpu: &Gpu, copies: usize) -> Result<Vec<Weight>, BenchError> {
        let Self { rows, cols, layout, .. } = *self;
        let most = layout.most_rows(cols, gpu.max_binding_bytes()).max(1);
        let mut weights = vec![Weight { parts: Vec::new(), rows, cols }; copies];
        let mut waiting = 0;
        for first_row in (0..rows).step_by(most as usize) {
            let of_part = most.min(rows - first_row);
            for weight in &mut weights {
                let buffer = memory(gpu, layout.request("weight".to_owned(), of_part, cols)).await?;
                weight.parts.push(WeightPart { buffer, layout, first_row, rows: of_part });
            }
            let unit = layout.rows_unit();
            let step = (PIECE / cols.max(1) / unit * unit).max(unit);
            for row in (0..of_part).step_by(step as usize) {
                let piece = first_row + row..first_row + of_part.min(row + step);
                let bytes = self.packed(piece);
                waiting += bytes.len() as u64 * copies as u64;
                for weight in &weights {
                    let Some(part) = weight.parts.last() else { unreachable!("it was just made") };
                    gpu.upload(&part.buffer, layout.bytes(row, cols), &bytes)?;
                }
                // What is on its way takes memory too.
                if waiting > MOST_WAITING {
                    gpu.idle().await?;
                    waiting = 0;
                }
            }
            gpu.idle().await?;
        }
        Ok(weights)
    }

    /// Bytes of the matrix.
    pub(super) fn bytes(&self) -> u64 {
        self.layout.bytes(self.rows, self.cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_that_are_checked_are_of_every_lane() {
        let matrix = MadeUp { seed: 1, rows: 4096, cols: 1024, layout: WeightLayout::F32Rows };
        for inputs in [1, 8, 16, 64] {
            let checked = matrix.checked(inputs);
            assert!(checked.contains(&0) && checked.contains(&4095), "{inputs}");
            for lanes in [4, 8, 16, 32, 64] {
                let met: std::collections::BTreeSet<_> = checked.iter().map(|row| row % lanes).collect();
                assert_eq!(met.len(), lanes as usize, "{inputs} inputs, {lanes} lanes");
            }
        }
    }
}
