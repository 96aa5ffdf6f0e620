//! Inputs for kernels: random numbers that leave a fault no place to hide, and weights as the device holds them.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test program uses a part, as a private module"
)]

use half::f16;
use killick::gpu::Buffer;
use killick::gpu::pipeline::WeightFormat;
use killick::kernels::{Weight, WeightPart};
use killick::reference::Matrix;

use super::gpu::{buffer, gpu};
use super::random::Random;

/// `rows` rows of `cols` uniform numbers in [-1, 1), one in a hundred twenty times as large; the first and last
/// of every row are +1 or -1.
pub fn numbers(seed: u64, rows: usize, cols: usize) -> Vec<f32> {
    let mut random = Random(seed);
    let mut values = Vec::with_capacity(rows * cols);
    for _ in 0..rows {
        for c in 0..cols {
            let value = random.uniform();
            values.push(match random.below(100) {
                _ if c == 0 || c + 1 == cols => 1.0_f32.copysign(value),
                0 => 20.0 * value,
                _ => value,
            });
        }
    }
    values
}

/// A matrix on the host, with the values that the device holds, and on the device.
pub struct TestWeight {
    pub values: Vec<f32>, // (rows, cols)
    pub weight: Weight,
}

impl TestWeight {
    /// Random, split into `parts` parts or as many as the binding limit takes.
    pub fn new(seed: u64, rows: usize, cols: usize, format: WeightFormat, parts: usize) -> Self {
        let values: Vec<f32> = match format {
            WeightFormat::F32 => numbers(seed, rows, cols),
            WeightFormat::F16 => {
                numbers(seed, rows, cols).iter().map(|v| f16::from_f32(*v).to_f32()).collect()
            }
        };
        let row_bytes = cols * format.bytes() as usize;
        let room = (gpu().max_binding_bytes() as usize - 2048) / row_bytes;
        let part_rows = rows.div_ceil(parts).min(room).max(1);
        let parts = values.chunks(part_rows * cols).zip((0..).step_by(part_rows)).map(|(part, first_row)| {
            let rows = (part.len() / cols) as u32;
            WeightPart { buffer: device_values(part, format), first_row, rows }
        });
        let parts = parts.collect();
        Self { weight: Weight { parts, rows: rows as u32, cols: cols as u32, format }, values }
    }

    pub fn matrix(&self) -> Matrix<'_> {
        Matrix::new(&self.values, self.weight.rows as usize, self.weight.cols as usize)
    }
}

fn device_values(values: &[f32], format: WeightFormat) -> Buffer {
    match format {
        WeightFormat::F32 => buffer("weight", values),
        WeightFormat::F16 => {
            let halves: Vec<f16> = values.iter().map(|v| f16::from_f32(*v)).collect();
            buffer("weight", &halves)
        }
    }
}

/// The name of a format in a case.
pub fn name(format: WeightFormat) -> &'static str {
    match format {
        WeightFormat::F32 => "f32",
        WeightFormat::F16 => "f16",
    }
}

/// Both formats.
pub const FORMATS: [WeightFormat; 2] = [WeightFormat::F32, WeightFormat::F16];

/// A fault: the last column of every row counts for nothing.
pub fn drop_last_column(values: &[f32], cols: usize) -> Vec<f32> {
    let kept = |(i, value): (usize, &f32)| if (i + 1) % cols == 0 { 0.0 } else { *value };
    values.iter().enumerate().map(kept).collect()
}

/// A fault: every row is its neighbour.
pub fn off_by_one_row<T: Copy>(values: &[T], cols: usize) -> Vec<T> {
    let mut rotated = values.to_vec();
    rotated.rotate_left(cols);
    rotated
}

/// A fault: two lanes hand in each other's element.
pub fn swap_two<T: Copy + PartialEq>(values: &[T]) -> Vec<T> {
    let mut swapped = values.to_vec();
    let other = (1..values.len()).find(|&i| values[i] != values[0]).expect("two different elements");
    swapped.swap(0, other);
    swapped
}

/// `n` elements that a kernel must leave alone, then `values`.
pub fn after(n: usize, values: Vec<f64>) -> Vec<f64> {
    [vec![f64::NAN; n], values].concat()
}
