//! Inputs for kernels: random numbers that leave a fault no place to hide, and weights as the device holds them.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test program uses a part, as a private module"
)]

use half::f16;
use killick::gpu::Buffer;
use killick::kernels::{Precision, Weight, WeightLayout, WeightPart};
use killick::model_file::{BLOCK, Block, Blocks};
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
    /// Random, split into `parts` parts or as many as the binding limit takes. The columns are filled up to what the layout wants.
    pub fn new(seed: u64, rows: usize, cols: usize, layout: WeightLayout, parts: usize) -> Self {
        let cols = cols.next_multiple_of(layout.run_cols() as usize);
        Self::of(&numbers(seed, rows, cols), rows, cols, layout, parts)
    }

    /// These values, rounded as the layout holds them.
    pub fn of(original: &[f32], rows: usize, cols: usize, layout: WeightLayout, parts: usize) -> Self {
        let values = original;
        let kind = layout.precision().blocks();
        let values: Vec<f32> = match (layout.precision(), kind) {
            (_, Some(kind)) => rounded(values, kind).iter().flat_map(|block| kind.weights(block)).collect(),
            (Precision::F16, _) => values.iter().map(|v| f16::from_f32(*v).to_f32()).collect(),
            _ => values.to_vec(),
        };
        let blocks = kind.map(|kind| rounded(original, kind));
        let room = layout.most_rows(cols as u32, gpu().max_binding_bytes() - 2048) as usize;
        let part_rows = rows.div_ceil(parts).min(room).max(1);
        let parts = values.chunks(part_rows * cols).zip((0..).step_by(part_rows)).map(|(part, first_row)| {
            let rows = (part.len() / cols) as u32;
            let first_block = first_row as usize * cols / BLOCK;
            let blocks = blocks.as_deref().map(|all| &all[first_block..first_block + part.len() / BLOCK]);
            let packed = match blocks {
                Some(blocks) => layout.pack_blocks(blocks, cols as u32),
                None => layout.pack(part, cols as u32),
            };
            let buffer = on_device(packed.unwrap(), rows, cols as u32, layout);
            WeightPart { buffer, layout, first_row, rows }
        });
        let parts = parts.collect();
        Self { weight: Weight { parts, rows: rows as u32, cols: cols as u32 }, values }
    }

    pub fn matrix(&self) -> Matrix<'_> {
        Matrix::new(&self.values, self.weight.rows as usize, self.weight.cols as usize)
    }

    pub fn cols(&self) -> usize {
        self.weight.cols as usize
    }
}

/// Values in blocks, each with the scales that its values need, rounded to 16 bits.
fn rounded(values: &[f32], kind: Blocks) -> Vec<Block> {
    let half = |scale: f32| f16::from_f32(scale).to_f32();
    let farthest = |values: &[f32]| values.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    let number = |v: f32, scale: f32, zero: f32, most: f32| {
        if scale > 0.0 { (v / scale + zero).round().clamp(0.0, most) as u8 } else { zero as u8 }
    };
    let block = |block: &[f32]| {
        let scales = match kind {
            Blocks::Q8 => [half(farthest(block) / 127.0), 0.0],
            Blocks::Q6 => [0, 1].map(|i| half(farthest(&block[16 * i..16 * i + 16]) / 31.0)),
            Blocks::Q5 | Blocks::Q4 => {
                let steps = if kind == Blocks::Q5 { 31.0 } else { 15.0 };
                let (least, most) =
                    block.iter().fold((f32::MAX, f32::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
                [half((most - least) / steps), half(least)]
            }
        };
        let mut quants = [0; BLOCK];
        for (i, (quant, v)) in quants.iter_mut().zip(block).enumerate() {
            *quant = match kind {
                Blocks::Q8 => number(*v, scales[0], 128.0, 255.0),
                Blocks::Q6 => number(*v, scales[i / 16], 32.0, 63.0),
                Blocks::Q5 => number(*v - scales[1], scales[0], 0.0, 31.0),
                Blocks::Q4 => number(*v - scales[1], scales[0], 0.0, 15.0),
            };
        }
        Block { quants, scales }
    };
    values.chunks(BLOCK).map(block).collect()
}

/// Blocks in which every number and every scale has a bit set.
fn full(n: usize, kind: Blocks) -> Vec<Block> {
    let most = match kind {
        Blocks::Q8 => 255,
        Blocks::Q6 => 63,
        Blocks::Q5 => 31,
        Blocks::Q4 => 15,
    };
    vec![Block { quants: [most; BLOCK], scales: [1.0; 2] }; n]
}

fn on_device(packed: Vec<u8>, rows: u32, cols: u32, layout: WeightLayout) -> Buffer {
    if !layout.is_texels() {
        return buffer::<u8>("weight", &packed);
    }
    let request = layout.request("weight".to_owned(), rows, cols);
    let texture = pollster::block_on(gpu().allocate(&[request])).unwrap().remove(0);
    gpu().upload(&texture, 0, &poisoned(packed, rows, cols, layout, texture.size())).unwrap();
    texture
}

/// NaN for the rows that the last tile lacks, and for what lies behind it up to `bytes`: all bits set is NaN in both formats.
fn poisoned(packed: Vec<u8>, rows: u32, cols: u32, layout: WeightLayout, bytes: u64) -> Vec<u8> {
    let elements = (rows * cols) as usize;
    let there = match layout.precision().blocks() {
        Some(kind) => layout.pack_blocks(&full(elements / BLOCK, kind), cols).unwrap(),
        None => layout.pack(&vec![1.0; elements], cols).unwrap(),
    };
    let element = if layout.precision() == Precision::F32 { 4 } else { 2 };
    let mut poisoned = vec![0xFF; bytes as usize];
    for ((to, from), is_there) in
        poisoned.chunks_mut(element).zip(packed.chunks(element)).zip(there.chunks(element))
    {
        if is_there.iter().any(|byte| *byte != 0) {
            to.copy_from_slice(from);
        }
    }
    poisoned
}

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
