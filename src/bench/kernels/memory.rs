//! Inputs of kernels on the device, and the values that they hold there.

use crate::bench::BenchError;
use crate::bench::agree::POISON;
use crate::bench::random::Random;
use crate::gpu::{Buffer, BufferRequest, Gpu};
use crate::kernels::{CacheLayout, Weight, WeightFormat, WeightLayout, WeightPart};
use crate::model_file::{Dtype, Encoding};

/// Weights made at a time, in elements.
const PIECE: u32 = 1 << 20;
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

/// Keys or values (rows, kv_dim) as `layout` has them.
pub(super) async fn entries(
    gpu: &Gpu,
    label: &str,
    layout: CacheLayout,
    values: &[f32],
    kv_dim: u32,
) -> Result<Buffer, BenchError> {
    let rows = values.len() as u64 / u64::from(kv_dim.max(1));
    let buffer = memory(gpu, layout.request(label, rows.max(1), kv_dim)).await?;
    gpu.upload(&buffer, 0, bytemuck::cast_slice(values))?;
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
    /// Some rows as they are before they are rounded.
    fn rows(&self, rows: std::ops::Range<u32>) -> Vec<f32> {
        let of_row = |row: u32| {
            let mut random = Random(self.seed ^ (u64::from(row) << 20));
            (0..self.cols).map(move |_| random.uniform())
        };
        rows.flat_map(of_row).collect()
    }

    /// Some rows as the device holds them.
    pub(super) fn held(&self, rows: impl Iterator<Item = u32>) -> Vec<f32> {
        let mut values: Vec<f32> = rows.flat_map(|row| self.rows(row..row + 1)).collect();
        let encoding = match self.layout.format() {
            WeightFormat::F32 => return values,
            WeightFormat::F16 => Encoding::F16,
            WeightFormat::Q8_0 => Encoding::Q8_0,
        };
        let mut bytes = Vec::new();
        // Numbers below 1 fit every format.
        if encoding.encode(&values, &mut bytes).is_ok() {
            let dtype: Dtype = encoding.dtype();
            dtype.dequantize(&bytes, &mut values);
        }
        values
    }

    /// Rows to compare, the first and the last among them, for a twin that makes `inputs` products of each column.
    pub(super) fn checked(&self, inputs: u32) -> Vec<u32> {
        let all = u64::from(self.rows) * u64::from(self.cols) * u64::from(inputs.max(1));
        let step = u32::try_from(all.div_ceil(MOST_PRODUCTS)).unwrap_or(u32::MAX).max(1);
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
        let mut weights = vec![Weight { parts: Vec::new(), rows, cols, layout }; copies];
        for first_row in (0..rows).step_by(most as usize) {
            let of_part = most.min(rows - first_row);
            for weight in &mut weights {
                let buffer = memory(gpu, layout.request("weight".to_owned(), of_part, cols)).await?;
                weight.parts.push(WeightPart { buffer, first_row, rows: of_part });
            }
            let unit = layout.rows_unit();
            let step = (PIECE / cols.max(1) / unit * unit).max(unit);
            for row in (0..of_part).step_by(step as usize) {
                let piece = first_row + row..first_row + of_part.min(row + step);
                let packed = layout.pack(&self.rows(piece), cols);
                let Ok(bytes) = packed else { unreachable!("numbers below 1 fit every format") };
                for weight in &weights {
                    let Some(part) = weight.parts.last() else { unreachable!("it was just made") };
                    gpu.upload(&part.buffer, layout.bytes(row, cols), &bytes)?;
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
