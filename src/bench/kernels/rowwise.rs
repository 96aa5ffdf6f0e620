//! Kernels that go over rows of numbers: norms, gates, sums, bounds, the likeliest token.

use super::Built;
use super::memory::{entries, inputs, numbers, output};
use crate::bench::BenchError;
use crate::bench::agree::Expected;
use crate::bench::ceilings::walk;
use crate::gpu::Gpu;
use crate::kernels::rms_norm::{self, RmsNorm};
use crate::kernels::{
    CacheLayout, Update, add_bias, argmax, gate_mul, multiply_add, qk_norm, soft_cap, stream,
};
use crate::model_file::{Activation, Heads};
use crate::reference::{self, Matrix};

const FLOAT: u64 = 4;
const EPS: f32 = 1e-5;
/// What `multiply_add` multiplies with and adds.
const BY: [f32; 2] = [-0.999, 1.25];

pub(super) async fn norm(gpu: &Gpu, rows: u32, cols: u32) -> Result<Built, BenchError> {
    let n = u64::from(rows) * u64::from(cols);
    let (values, gains) = (numbers(1, n), numbers(2, cols.into()));
    let want = reference::rms_norm(Matrix::new(&values, rows as usize, cols as usize), &gains, EPS);
    let (x, gain) = (inputs(gpu, "x", &values).await?, inputs(gpu, "gain", &gains).await?);
    let out = output(gpu, "out", n).await?;
    Ok(Built {
        outputs: vec![(out.clone(), Expected::all(want))],
        record: Box::new(move |rec, _| {
            rms_norm::record(rec, RmsNorm { x: &x, gain: &gain, out: &out }, rows, cols, EPS, Update::Replace)
        }),
        bytes: (2 * n + u64::from(cols)) * FLOAT,
        flops: 4 * n,
        ..Built::nothing()
    })
}

pub(super) async fn head_norm(gpu: &Gpu, heads: Heads, rows: u32) -> Result<Built, BenchError> {
    let n = u64::from(rows) * u64::from(heads.qkv_dim());
    let (values, gain) = (numbers(1, n), numbers(2, 2 * u64::from(heads.head_dim)));
    let want = reference::qk_norm(&gain, &values, heads, EPS);
    let (qkv, gains) = (inputs(gpu, "qkv", &values).await?, inputs(gpu, "gains", &gain).await?);
    let turned = u64::from(rows) * u64::from(heads.q_dim() + heads.kv_dim());
    Ok(Built {
        outputs: vec![(qkv.clone(), Expected::all(want))],
        record: Box::new(move |rec, _| qk_norm::record(rec, &gains, &qkv, rows, heads, EPS)),
        bytes: 2 * turned * FLOAT,
        flops: 4 * turned,
        ..Built::nothing()
    })
}

pub(super) async fn gate(gpu: &Gpu, rows: u32, cols: u32) -> Result<Built, BenchError> {
    let n = u64::from(rows) * u64::from(cols);
    let (gates, ups) = (numbers(1, n), numbers(2, n));
    let want = reference::gate_mul(&gates, &ups, Activation::Silu);
    let (gate, up) = (inputs(gpu, "gate", &gates).await?, inputs(gpu, "up", &ups).await?);
    Ok(Built {
        outputs: vec![(gate.clone(), Expected::all(want))],
        record: Box::new(move |rec, _| gate_mul::record(rec, &gate, &up, n as u32, Activation::Silu)),
        bytes: 3 * n * FLOAT,
        flops: 5 * n,
        ..Built::nothing()
    })
}

pub(super) async fn bias(gpu: &Gpu, rows: u32, cols: u32) -> Result<Built, BenchError> {
    let n = u64::from(rows) * u64::from(cols);
    let (sums, biases) = (numbers(1, n), numbers(2, cols.into()));
    let want = reference::add_bias(&biases, &sums);
    let (out, bias) = (inputs(gpu, "out", &sums).await?, inputs(gpu, "bias", &biases).await?);
    Ok(Built {
        outputs: vec![(out.clone(), Expected::all(want))],
        record: Box::new(move |rec, _| add_bias::record(rec, &bias, &out, rows, cols)),
        bytes: (2 * n + u64::from(cols)) * FLOAT,
        flops: n,
        ..Built::nothing()
    })
}

pub(super) async fn capped(gpu: &Gpu, rows: u32, cols: u32) -> Result<Built, BenchError> {
    const CAP: f32 = 30.0;
    let n = u64::from(rows) * u64::from(cols);
    let values: Vec<f32> = numbers(1, n).iter().map(|value| 2.0 * CAP * value).collect();
    let want = reference::soft_cap(&values, CAP);
    let x = inputs(gpu, "x", &values).await?;
    Ok(Built {
        outputs: vec![(x.clone(), Expected::all(want))],
        record: Box::new(move |rec, _| soft_cap::record(rec, &x, n as u32, CAP)),
        bytes: 2 * n * FLOAT,
        flops: 3 * n,
        ..Built::nothing()
    })
}

pub(super) async fn likeliest(gpu: &Gpu, rows: u32, cols: u32) -> Result<Built, BenchError> {
    let n = u64::from(rows) * u64::from(cols);
    let values = numbers(1, n);
    let want = reference::argmax(Matrix::new(&values, rows as usize, cols as usize));
    let (logits, out) = (inputs(gpu, "logits", &values).await?, output(gpu, "out", rows.into()).await?);
    Ok(Built {
        outputs: vec![(out.clone(), Expected::Words(want))],
        record: Box::new(move |rec, _| argmax::record(rec, &logits, &out, rows, cols, 0)),
        bytes: n * FLOAT,
        flops: n,
        ..Built::nothing()
    })
}

pub(super) async fn streamed(gpu: &Gpu, layout: CacheLayout, mebibytes: u32) -> Result<Built, BenchError> {
    let lanes = if gpu.is_software() { 1024 } else { 1 << 16 };
    let most = layout.most_bytes(gpu.max_binding_bytes()).min(u64::from(mebibytes) << 20);
    let count = most / 4096 * 1024;
    let values = numbers(1, count);
    let walk = walk(gpu, lanes);
    let stretch = walk.stretch((count / 4) as u32);
    let want = reference::stream(&values, lanes as usize, walk.width as usize, stretch as usize);
    let x = entries(gpu, "x", layout, &values, Heads { n_heads: 1, n_kv_heads: 1, head_dim: 1024 }).await?;
    let out = output(gpu, "out", u64::from(lanes) * 4).await?;
    Ok(Built {
        outputs: vec![(out.clone(), Expected::all(want))],
        record: Box::new(move |rec, _| stream::record(rec, &x, &out, count as u32, walk)),
        bytes: count * FLOAT,
        flops: count,
        ..Built::nothing()
    })
}

pub(super) async fn multiplied(gpu: &Gpu, rounds: u32) -> Result<Built, BenchError> {
    let lanes = if gpu.is_software() { 1024 } else { 1 << 17 };
    let values = numbers(1, u64::from(lanes) * 4);
    // The twin goes as many rounds for the first few lanes only.
    let some = &values[..values.len().min(256)];
    let want = reference::multiply_add(some, rounds as usize, BY);
    let x = inputs(gpu, "x", &values).await?;
    let out = output(gpu, "out", u64::from(lanes) * 4).await?;
    Ok(Built {
        checked_percent: 100.0 * some.len() as f64 / values.len() as f64,
        outputs: vec![(out.clone(), Expected::all(want))],
        record: Box::new(move |rec, _| multiply_add::record(rec, &x, &out, (lanes, rounds), BY)),
        bytes: 2 * u64::from(lanes) * 16,
        flops: multiply_add::operations(lanes, rounds),
        ..Built::nothing()
    })
}
