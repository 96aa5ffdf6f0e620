//! Kernels that read a weight matrix: products, the gated half of a feed-forward block, and the embedding.

use super::memory::{MadeUp, inputs, numbers, output};
use super::{Built, copies_of};
use crate::bench::BenchError;
use crate::bench::agree::Expected;
use crate::gpu::{Gpu, Recorder};
use crate::kernels::{Inputs, Product, Update, embed, gated_mlp, matmul, matvec};
use crate::model_file::Activation;
use crate::reference::{self, Matrix};

const FLOAT: u64 = 4;

/// `matvec` for one input, `matmul` for several.
pub(super) async fn product(gpu: &Gpu, of: MadeUp, count: u32) -> Result<Built, BenchError> {
    let (rows, cols) = (u64::from(of.rows), u64::from(of.cols));
    let n = u64::from(count);
    let copies = copies_of(gpu, of.bytes());
    let weights = of.on_device(gpu, copies).await?;
    let values = numbers(of.seed + 1, n * cols);
    let (x, out) = (inputs(gpu, "x", &values).await?, output(gpu, "out", n * rows).await?);

    let checked = of.checked(count);
    let held = of.held(checked.iter().copied());
    let weight = Matrix::new(&held, checked.len(), of.cols as usize);
    let x_rows = Matrix::new(&values, count as usize, of.cols as usize);
    let want = reference::matmul(weight, x_rows, 0, count as usize, None);
    let places =
        (0..n as usize).flat_map(|m| checked.iter().map(move |row| m * of.rows as usize + *row as usize));
    let expected = Expected::Numbers(places.zip(want).collect());

    let written = out.clone();
    let record = move |rec: &mut Recorder, copy: usize| {
        let inputs = Inputs::rows(&x, count);
        let io =
            Product { weight: &weights[copy % weights.len()], inputs, out: &out, update: Update::Replace };
        if count == 1 { matvec::record(rec, io) } else { matmul::record(rec, io) }
    };
    Ok(Built {
        copies,
        record: Box::new(record),
        outputs: vec![(written, expected)],
        bytes: of.bytes() + n * (cols + rows) * FLOAT,
        flops: 2 * n * rows * cols,
        checked_percent: 100.0 * checked.len() as f64 / rows as f64,
    })
}

/// `gated_mlp`: two matrices of the same shape.
pub(super) async fn gated(gpu: &Gpu, of: MadeUp) -> Result<Built, BenchError> {
    let (rows, cols) = (u64::from(of.rows), u64::from(of.cols));
    let other = MadeUp { seed: of.seed + 7, ..of };
    let copies = copies_of(gpu, 2 * of.bytes());
    let (gates, ups) = (of.on_device(gpu, copies).await?, other.on_device(gpu, copies).await?);
    // Small inputs, so that the gate is neither shut nor wide open.
    let scale = 1.0 / (cols as f32).sqrt();
    let values: Vec<f32> = numbers(of.seed + 1, cols).iter().map(|value| value * scale).collect();
    let (x, out) = (inputs(gpu, "x", &values).await?, output(gpu, "out", rows).await?);

    let checked = of.checked(2);
    let [gate, up] = [of, other].map(|matrix| matrix.held(checked.iter().copied()));
    let matrix = |values| Matrix::new(values, checked.len(), of.cols as usize);
    let want = reference::gated_mlp(matrix(&gate), matrix(&up), &values, Activation::Silu);
    let expected = Expected::Numbers(checked.iter().map(|row| *row as usize).zip(want).collect());

    let written = out.clone();
    let record = move |rec: &mut Recorder, copy: usize| {
        gated_mlp::record(
            rec,
            &gates[copy % gates.len()],
            &ups[copy % ups.len()],
            Inputs::rows(&x, 1),
            &out,
            Activation::Silu,
        )
    };
    Ok(Built {
        copies,
        record: Box::new(record),
        outputs: vec![(written, expected)],
        bytes: 2 * of.bytes() + (cols + rows) * FLOAT,
        flops: 4 * rows * cols,
        checked_percent: 100.0 * checked.len() as f64 / rows as f64,
    })
}

/// `embed`: rows of a table by their numbers.
pub(super) async fn table(gpu: &Gpu, of: MadeUp, count: u32) -> Result<Built, BenchError> {
    let (n, cols) = (u64::from(count), u64::from(of.cols));
    let table = of.on_device(gpu, 1).await?.remove(0);
    // Far from each other, the first and the last among them.
    let step = (of.rows / count.max(2)).max(1);
    let tokens: Vec<u32> =
        (0..count).map(|i| if i + 1 == count { of.rows - 1 } else { (i * step) % of.rows }).collect();
    let (ids, out) = (inputs(gpu, "tokens", &tokens).await?, output(gpu, "out", n * cols).await?);
    let held = of.held(tokens.iter().copied());
    let expected = Expected::Words(held.iter().map(|value| value.to_bits()).collect());
    let row_bytes = of.bytes() / u64::from(of.rows.max(1));

    let written = out.clone();
    Ok(Built {
        copies: 1,
        record: Box::new(move |rec, _| embed::record(rec, &table, &ids, &out, count, 1.0)),
        outputs: vec![(written, expected)],
        bytes: n * (row_bytes + cols * FLOAT + FLOAT),
        flops: 0,
        checked_percent: 100.0,
    })
}
