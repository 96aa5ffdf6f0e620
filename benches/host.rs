//! What the host does beside the device, timed piece by piece: `make bench-host`.
//!
//! The ring and its oracle, the tokenizer, blocks of weights, and the recording of a decode step. None of it needs a device or a driver.
//! What the device room does with a recording (its look-ups of parameters, pipelines and bind groups) cannot be had without a device,
//! so it is not here.
//!
//! `cargo test --bench host` runs each piece once, which the step `unit` of `scripts/test.sh` does so that this file cannot rot.

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use killick::generate::planned_step;
use killick::gpu::{Capabilities, Family};
use killick::kernels::WeightFormat;
use killick::kv::{Policy, PolicySpec, Preset, Ring, Row, Tags, mask};
use killick::model_file::{Config, Dtype, FileSet, ModelFile};
use killick::{SamplerOptions, SessionOptions, Tokenizer, block_on};

/// Tokens in a prompt chunk, the most there are.
const CHUNK: usize = 128;
/// Tokens in a measured stretch of single steps.
const STEPS: usize = 1024;
/// Weights dequantised at a time: a row of a large model.
const WEIGHTS: usize = 4096;

const TEXT: &str = "The boat lay at anchor in the bay, and the wind came from the sea. \"Will it hold?\" asked Tom. \
                    It had held for 120 years, through 3 storms; nobody doubted it. Größe, naïveté, 日本語, 🙂.\n";

/// A policy whose every bound acts within a few hundred tokens.
fn policy() -> Policy {
    let spec = PolicySpec {
        anchors: Some(vec![7]),
        max_anchors: Some(32),
        max_segment: Some(24),
        max_distance: Some(1 << 12),
        ..PolicySpec::new(Preset::Anchor)
    };
    spec.resolve(1 << 13).expect("a policy that resolves")
}

/// Ids of a text of which every ninth token is an anchor.
fn ids(length: usize) -> Vec<u32> {
    (0..length as u32).map(|i| if i % 9 == 8 { 7 } else { 8 + i % 300 }).collect()
}

/// The ring as it is long after the beginning, with everything full.
fn full_ring() -> Ring {
    let mut ring = Ring::new(&policy(), 32).expect("a ring");
    for id in ids(2 * STEPS) {
        ring.step(id).expect("a step");
    }
    ring
}

fn ring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    let (full, text) = (full_ring(), ids(STEPS));
    let step = |mut ring: Ring| {
        for id in &text {
            black_box(ring.step(*id).expect("a step"));
        }
    };
    group.throughput(Throughput::Elements(STEPS as u64));
    group
        .bench_function("step", |bencher| bencher.iter_batched(|| full.clone(), step, BatchSize::LargeInput));
    let (mut rows, mut anchors) = (vec![Row::default(); CHUNK], vec![0; CHUNK]);
    let mut chunk = |mut ring: Ring| {
        black_box(ring.chunk(&text[..CHUNK], &mut rows, &mut anchors).expect("a chunk"));
    };
    group.throughput(Throughput::Elements(CHUNK as u64));
    group.bench_function("chunk", |bencher| {
        bencher.iter_batched(|| full.clone(), &mut chunk, BatchSize::LargeInput);
    });
    group.finish();
}

/// The rule for the last query of a text, against every key.
fn oracle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    let (policy, text) = (policy(), ids(STEPS));
    let tags = Tags::of(&policy, &text);
    let last = STEPS as u32 - 1;
    group.throughput(Throughput::Elements(STEPS as u64));
    group
        .bench_function("row", |bencher| bencher.iter(|| mask::row(&policy, &tags, black_box(last)).count()));
    group.bench_function("tags", |bencher| bencher.iter(|| Tags::of(&policy, black_box(&text))));
    group.finish();
}

/// The embedded model, and SmolLM2 where `KILLICK_MODEL` names it.
fn models() -> Vec<(&'static str, ModelFile)> {
    let embedded = block_on(ModelFile::open(FileSet::embedded())).expect("the embedded model");
    let named = std::env::var_os("KILLICK_MODEL").map(PathBuf::from);
    let named = named.map(|path| ("named", ModelFile::open_path(&path).expect("the model of KILLICK_MODEL")));
    [("embedded", embedded)].into_iter().chain(named).collect()
}

fn tokenizers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tokenizer");
    let text = TEXT.repeat(8);
    for (name, file) in models() {
        let tokenizer = Tokenizer::from_source(file.tokenizer(), file.label()).expect("a tokenizer");
        let ids = tokenizer.encode(&text, false).expect("ids");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("encode", name), |bencher| {
            bencher.iter(|| tokenizer.encode(black_box(&text), false).expect("ids"));
        });
        group.throughput(Throughput::Elements(ids.len() as u64));
        group.bench_function(BenchmarkId::new("stream", name), |bencher| {
            bencher.iter(|| {
                let mut stream = tokenizer.decode_stream();
                for id in &ids {
                    black_box(stream.push(*id));
                }
                stream.finish()
            });
        });
    }
    group.finish();
}

fn blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dequantize");
    group.throughput(Throughput::Elements(WEIGHTS as u64));
    for dtype in Dtype::ALL {
        let bytes = dtype.bytes_of(WEIGHTS as u64).expect("whole blocks") as usize;
        // What the bytes say does not matter, only that they differ.
        let stored: Vec<u8> = (0..bytes).map(|i| (i * 167 + i / 251) as u8).collect();
        let mut weights = vec![0.0; WEIGHTS];
        group.bench_function(dtype.name(), |bencher| {
            bencher.iter(|| dtype.dequantize(black_box(&stored), black_box(&mut weights)));
        });
    }
    group.finish();
}

/// A decode step with what a sampler adds to it, planned and recorded afresh for each family.
fn recording(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    let sampler = SamplerOptions { temperature: 0.8, repetition_penalty: 1.1, ..SamplerOptions::default() };
    for (name, file) in models() {
        let config: &Config = &file.config;
        let policy = policy();
        for family in [Family::Gpu, Family::Software] {
            let device = Capabilities::baseline(family);
            let step = || {
                planned_step(
                    config,
                    WeightFormat::F16,
                    &policy,
                    SessionOptions::default(),
                    &sampler,
                    1,
                    &device,
                )
                .expect("a step")
            };
            group.bench_function(BenchmarkId::new(format!("{family:?}"), name), |bencher| bencher.iter(step));
        }
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    ring(&mut criterion);
    oracle(&mut criterion);
    tokenizers(&mut criterion);
    blocks(&mut criterion);
    recording(&mut criterion);
    criterion.final_summary();
}
