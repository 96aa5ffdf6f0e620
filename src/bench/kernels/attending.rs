//! Kernels around the cache: attention of a decoded token and of a prompt chunk, the rotation before it, and the way of a chunk into the
//! cache.

use super::Built;
use super::memory::{entries, inputs, numbers, output};
use crate::bench::BenchError;
use crate::bench::agree::Expected;
use crate::gpu::Gpu;
use crate::kernels::CacheLayout;
use crate::kernels::attention::{self, Attention};
use crate::kernels::attention_join;
use crate::kernels::kv_write::{self, KvWrite};
use crate::kernels::rope::{self, Rope, Target};
use crate::kv::{Policy, PolicySpec, Preset, Ring, Row};
use crate::model_file::{Heads, Rotation, Scoring};
use crate::reference::{self, Cache, Rotated};

const FLOAT: u64 = 4;
/// Spare slots of the ring.
const IN_FLIGHT: u32 = 32;
/// Tokens of a segment, and the id that closes it.
const SEGMENT: u32 = 24;
const ANCHOR: u32 = 1;
/// Keys times columns that the twin goes over for one check, at most.
const MOST_PRODUCTS: u64 = 16 << 20;

/// What a token sees.
fn policy(preset: Preset, tokens: u32) -> Result<Policy, BenchError> {
    let anchors = (preset == Preset::Anchor).then(|| vec![ANCHOR]);
    Ok(PolicySpec { anchors, ..PolicySpec::new(preset) }.resolve(tokens.max(2))?)
}

/// Attention of the last `rows` of `tokens` tokens: as a decoded token if it is one, else as a chunk.
pub(super) async fn attention(
    gpu: &Gpu,
    heads: Heads,
    layout: CacheLayout,
    preset: Preset,
    (tokens, rows): (u32, u32),
) -> Result<Built, BenchError> {
    let policy = policy(preset, tokens)?;
    let mut ring = Ring::new(&policy, IN_FLIGHT)?;
    let id = |position: u32| if (position + 1).is_multiple_of(SEGMENT) { ANCHOR } else { 0 };
    let ids: Vec<u32> = (0..tokens).map(id).collect();
    let (before, last) = ids.split_at((tokens - rows) as usize);
    let (mut filled, mut places) = (vec![Row::default(); 128], vec![0; 128]);
    for piece in before.chunks(128) {
        ring.chunk(piece, &mut filled, &mut places)?;
    }
    let live = u64::from(ring.stats().live);
    let (mut filled, mut places) = (vec![Row::default(); rows as usize], vec![0; rows as usize]);
    let chunk = match (rows, &mut filled[..]) {
        (1, [row]) => {
            *row = ring.step(last[0])?;
            None
        }
        _ => Some(ring.chunk(last, &mut filled, &mut places)?),
    };
    places.truncate(chunk.map_or(0, |chunk| chunk.anchors as usize));
    let ring_layout = *ring.layout();

    let (n, kv_dim, q_dim) = (u64::from(rows), u64::from(heads.kv_dim()), u64::from(heads.q_dim()));
    let q = numbers(1, n * 2 * q_dim);
    let slots = u64::from(ring_layout.slots());
    // As the device holds them.
    let held = |seed, n| layout.unpack(&layout.pack(&numbers(seed, n), heads.head_dim), heads.head_dim);
    let [k, v] = [2, 3].map(|seed| held(seed, slots * kv_dim));
    let [k_new, v_new] = [4, 5].map(|seed| held(seed, n * kv_dim));
    let (rows_buffer, q_buffer) = (inputs(gpu, "rows", &filled).await?, inputs(gpu, "q", &q).await?);
    let anchors = if places.is_empty() { vec![0] } else { places.clone() };
    let chunk_anchors = inputs(gpu, "chunk anchors", &anchors).await?;
    let mut caches = Vec::new();
    for (label, values) in [("k cache", &k), ("v cache", &v), ("k chunk", &k_new), ("v chunk", &v_new)] {
        caches.push(entries(gpu, label, layout, values, heads).await?);
    }
    let out = output(gpu, "out", n * q_dim).await?;
    // As a decode step with as many keys is recorded; at least two shares, for the implementation that splits them.
    let keys = filled.iter().map(|row| row.n_keys).max().unwrap_or(0);
    let splits = if chunk.is_some() { 1 } else { attention::splits(keys).max(2) };
    let share = attention::SHARE.min(keys / 2).max(1);
    let parts = output(gpu, "parts", attention::parts_bytes(rows, heads, splits) / FLOAT).await?;

    let keys: u64 = filled.iter().map(|row| u64::from(row.n_keys)).sum();
    let step = usize::try_from((keys * q_dim).div_ceil(MOST_PRODUCTS)).unwrap_or(1).max(1);
    let cache = Cache { k: &k, v: &v, k_chunk: &k_new, v_chunk: &v_new };
    let mut wanted = Vec::new();
    let checked: Vec<usize> = (0..rows as usize).rev().step_by(step).collect();
    for row in &checked {
        let width = 2 * q_dim as usize;
        let (of_row, q) = (&filled[*row..=*row], &q[row * width..(row + 1) * width]);
        let chunk = chunk.as_ref().map(|chunk| (chunk, &places[..]));
        let values = reference::attention(of_row, q, cache, (heads, Scoring::of(heads)), &ring_layout, chunk);
        wanted.extend((row * q_dim as usize..).zip(values));
    }
    let read = if chunk.is_some() { live + n } else { keys };
    let written = out.clone();
    Ok(Built {
        copies: 1,
        record: Box::new(move |rec, _| {
            let io = Attention {
                rows: &rows_buffer,
                q: &q_buffer,
                k_cache: &caches[0],
                v_cache: &caches[1],
                k_chunk: &caches[2],
                v_chunk: &caches[3],
                chunk_anchors: &chunk_anchors,
                parts: &parts,
                splits,
                share,
                out: &out,
            };
            attention::record(rec, io, rows, (heads, Scoring::of(heads)), &ring_layout, chunk.as_ref())
        }),
        outputs: vec![(written, Expected::Numbers(wanted))],
        bytes: 2 * read * layout.entry_bytes(heads) + 3 * n * q_dim * FLOAT,
        flops: 4 * keys * q_dim,
        checked_percent: 100.0 * checked.len() as f64 / f64::from(rows.max(1)),
    })
}

/// What the shares of the keys of a decoded token come to, made one.
pub(super) async fn joined(gpu: &Gpu, heads: Heads, splits: u32) -> Result<Built, BenchError> {
    let (q_dim, parts_bytes) = (u64::from(heads.q_dim()), attention::parts_bytes(1, heads, splits));
    let mut parts = numbers(1, parts_bytes / FLOAT);
    let width = heads.head_dim as usize + 2;
    // The last column is a sum of weights, of which one is 1.
    parts.chunks_mut(width).filter_map(|part| part.last_mut()).for_each(|total| *total = 1.0 + total.abs());
    let (n_heads, dim) = (heads.n_heads as usize, heads.head_dim as usize);
    let want = reference::attention_join(&parts, n_heads, splits as usize, dim);
    let parts = inputs(gpu, "parts", &parts).await?;
    let out = output(gpu, "out", q_dim).await?;
    let written = out.clone();
    Ok(Built {
        copies: 1,
        record: Box::new(move |rec, _| attention_join::record(rec, &parts, &out, 1, heads, splits)),
        outputs: vec![(written, Expected::all(want))],
        bytes: parts_bytes + q_dim * FLOAT,
        flops: 2 * u64::from(splits) * q_dim,
        checked_percent: 100.0,
    })
}

/// The rotation of the rows of a chunk, or of one decoded token into the cache.
pub(super) async fn rotation(
    gpu: &Gpu,
    heads: Heads,
    layout: CacheLayout,
    rows: u32,
) -> Result<Built, BenchError> {
    let frequency = |pair: u32| 10_000_f64.powf(-2.0 * f64::from(pair) / f64::from(heads.head_dim));
    let rotation = Rotation { frequencies: (0..heads.head_dim / 2).map(frequency).collect(), magnitude: 1.0 };
    let target = if rows == 1 { Target::Cache } else { Target::Chunk };
    let row = |r: u32| Row {
        pos: 1000 + 3 * r,
        pinned_query_pos: 7 + r,
        live_slot: r,
        anchor_slot: crate::kv::NONE,
        ..Row::default()
    };
    let places: Vec<Row> = (0..rows).map(row).collect();
    let (n, kv_dim, q_dim) = (u64::from(rows), u64::from(heads.kv_dim()), u64::from(heads.q_dim()));
    let qkv = numbers(1, n * u64::from(heads.qkv_dim()));
    let (rows_buffer, qkv_buffer) = (inputs(gpu, "rows", &places).await?, inputs(gpu, "qkv", &qkv).await?);
    let table = inputs(gpu, "rope table", &rope::table(&rotation)).await?;
    let poison = vec![f32::from_bits(crate::bench::agree::POISON); (n * kv_dim) as usize];
    let q = output(gpu, "q", 2 * n * q_dim).await?;
    let k = entries(gpu, "k", layout, &poison, heads).await?;
    let v = entries(gpu, "v", layout, &poison, heads).await?;

    let [mut q_want, mut k_want, mut v_want] =
        [2 * n * q_dim, n * kv_dim, n * kv_dim].map(|length| vec![0.0; length as usize]);
    let out = Rotated { q: &mut q_want, k: &mut k_want, v: &mut v_want };
    reference::rope(&places, &qkv, &rotation, heads, target, out);
    let rope_dim = rotation.rope_dim();
    let outputs = [(q.clone(), q_want), (k.clone(), k_want), (v.clone(), v_want)];
    Ok(Built {
        copies: 1,
        record: Box::new(move |rec, _| {
            let io = Rope { rows: &rows_buffer, qkv: &qkv_buffer, table: &table, q: &q, k: &k, v: &v };
            rope::record(rec, io, rows, heads, rope_dim, target)
        }),
        outputs: outputs.map(|(buffer, want)| (buffer, Expected::all(want))).into(),
        bytes: n * (u64::from(heads.qkv_dim()) + 2 * q_dim) * FLOAT + 2 * n * layout.entry_bytes(heads),
        // Two products and a sum for each of two columns, twice for queries.
        flops: n * 3 * (2 * q_dim + kv_dim),
        checked_percent: 100.0,
    })
}

/// The way of a chunk into the cache, all of whose rows outlive it.
pub(super) async fn written(
    gpu: &Gpu,
    heads: Heads,
    layout: CacheLayout,
    rows: u32,
) -> Result<Built, BenchError> {
    let row = |r: u32| Row { live_slot: rows - 1 - r, anchor_slot: crate::kv::NONE, ..Row::default() };
    let places: Vec<Row> = (0..rows).map(row).collect();
    let (n, kv_dim) = (u64::from(rows), u64::from(heads.kv_dim()));
    let rows_buffer = inputs(gpu, "rows", &places).await?;
    let poison = vec![f32::from_bits(crate::bench::agree::POISON); (n * kv_dim) as usize];
    let (mut chunks, mut caches, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
    for (seed, [chunk_label, cache_label]) in [(1, ["k chunk", "k cache"]), (2, ["v chunk", "v cache"])] {
        // As the device holds them, so that the copy is the same to the last bit.
        let values = numbers(seed, n * kv_dim);
        let held = layout.unpack(&layout.pack(&values, heads.head_dim), heads.head_dim);
        let mut want = poison.clone();
        reference::kv_write(&places, &held, kv_dim as usize, &mut want);
        chunks.push(entries(gpu, chunk_label, layout, &values, heads).await?);
        let cache = entries(gpu, cache_label, layout, &poison, heads).await?;
        outputs.push((cache.clone(), Expected::Words(want.iter().map(|value| value.to_bits()).collect())));
        caches.push(cache);
    }
    Ok(Built {
        copies: 1,
        record: Box::new(move |rec, _| {
            let ([k_chunk, v_chunk], [k_cache, v_cache]) = (&chunks[..], &caches[..]) else {
                unreachable!("keys and values")
            };
            kv_write::record(
                rec,
                KvWrite { rows: &rows_buffer, k_chunk, v_chunk, k_cache, v_cache },
                rows,
                heads,
            )
        }),
        outputs,
        bytes: 4 * n * layout.entry_bytes(heads),
        flops: 0,
        checked_percent: 100.0,
    })
}
