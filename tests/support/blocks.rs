//! A GGUF with its matrices in another type, for types that `killick convert` does not write. Plain encoders: what they make is read as
//! the type says, but they look for no better scales.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test program uses a part, as a private module"
)]

use half::f16;
use killick::model_file::Dtype;

/// `gguf`, whose matrices are in 32 bits, with every matrix in `dtype`.
pub fn requantized(gguf: &[u8], dtype: Dtype) -> Vec<u8> {
    let mut at = Reader { bytes: gguf, at: 8 };
    let (tensors, fields) = (at.u64(), at.u64());
    for _ in 0..fields {
        at.string();
        let kind = at.u32();
        at.value(kind);
    }
    let mut header = gguf[..at.at].to_vec();
    let mut infos = Vec::new();
    for _ in 0..tensors {
        let name = at.string().to_vec();
        let dims: Vec<u64> = (0..at.u32()).map(|_| at.u64()).collect();
        assert_eq!(at.u32(), Dtype::F32.ggml_type(), "the file to begin with holds floats");
        infos.push((name, dims, at.u64()));
    }
    let start = at.at.next_multiple_of(32);
    let mut data = Vec::new();
    for (name, dims, offset) in infos {
        let len = dims.iter().product::<u64>() as usize;
        let from = start + offset as usize;
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(&gguf[from..from + len * 4]);
        let dtype = if dims.len() == 2 { dtype } else { Dtype::F32 };
        header.extend((name.len() as u64).to_le_bytes());
        header.extend(&name);
        header.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|dim| header.extend(dim.to_le_bytes()));
        header.extend(dtype.ggml_type().to_le_bytes());
        header.extend((data.len() as u64).to_le_bytes());
        data.extend(encode(&values, dtype));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    header.resize(header.len().next_multiple_of(32), 0);
    [header, data].concat()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        self.at += n;
        &self.bytes[self.at - n..self.at]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn string(&mut self) -> &'a [u8] {
        let len = self.u64() as usize;
        self.take(len)
    }

    /// Passes over a value of metadata.
    fn value(&mut self, kind: u32) {
        match kind {
            0 | 1 | 7 => _ = self.take(1),
            2 | 3 => _ = self.take(2),
            4..=6 => _ = self.take(4),
            8 => _ = self.string(),
            9 => {
                let (kind, count) = (self.u32(), self.u64());
                (0..count).for_each(|_| self.value(kind));
            }
            _ => _ = self.take(8),
        }
    }
}

/// The stored bytes of whole blocks.
pub fn encode(values: &[f32], dtype: Dtype) -> Vec<u8> {
    let block = dtype.block_elems() as usize;
    match dtype {
        Dtype::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Dtype::Q4_1 | Dtype::Q5_0 | Dtype::Q5_1 => {
            values.chunks_exact(block).flat_map(|block| small(block, dtype)).collect()
        }
        Dtype::Q4K | Dtype::Q5K => values.chunks_exact(block).flat_map(|block| pairs(block, dtype)).collect(),
        Dtype::Q6K => values.chunks_exact(block).flat_map(six_bits).collect(),
        other => panic!("there is no encoder of {other:?}"),
    }
}

fn half(value: f32) -> [u8; 2] {
    f16::from_f32(value).to_le_bytes()
}

fn range(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::MAX, f32::MIN), |(least, most), v| (least.min(*v), most.max(*v)))
}

fn number(value: f32, scale: f32, zero: f32, most: f32) -> u8 {
    if scale == 0.0 { zero as u8 } else { (value / scale + zero).round().clamp(0.0, most) as u8 }
}

/// 32 numbers under one scale: d, perhaps m, perhaps the fifth bits, nibbles.
fn small(values: &[f32], dtype: Dtype) -> Vec<u8> {
    let (least, most) = range(values);
    let (scale, min, zero) = match dtype {
        Dtype::Q5_0 => (least.abs().max(most) / 15.0, None, 16.0),
        Dtype::Q4_1 => ((most - least) / 15.0, Some(least), 0.0),
        _ => ((most - least) / 31.0, Some(least), 0.0),
    };
    let steps = if dtype == Dtype::Q4_1 { 15.0 } else { 31.0 };
    let numbers: Vec<u8> =
        values.iter().map(|v| number(v - min.unwrap_or_default(), scale, zero, steps)).collect();
    let mut out = half(scale).to_vec();
    out.extend(min.into_iter().flat_map(half));
    if dtype != Dtype::Q4_1 {
        let fifth = numbers.iter().enumerate().fold(0, |bits, (i, n)| bits | u32::from(n >> 4) << i);
        out.extend(fifth.to_le_bytes());
    }
    out.extend((0..16).map(|i| numbers[i] & 15 | (numbers[i + 16] & 15) << 4));
    out
}

/// 256 numbers of 4 or 5 bits; per 32 a scale and a minimum of 6 bits.
fn pairs(values: &[f32], dtype: Dtype) -> Vec<u8> {
    let steps = if dtype == Dtype::Q4K { 15.0 } else { 31.0 };
    let wanted: Vec<(f32, f32)> = values
        .chunks_exact(32)
        .map(|part| {
            let (least, most) = range(part);
            let min = (-least).max(0.0);
            ((most + min).max(0.0) / steps, min)
        })
        .collect();
    let d = f16::from_f32(wanted.iter().fold(0.0_f32, |most, (s, _)| most.max(*s)) / 63.0).to_f32();
    let e = f16::from_f32(wanted.iter().fold(0.0_f32, |most, (_, m)| most.max(*m)) / 63.0).to_f32();
    let sixes: Vec<(u8, u8)> =
        wanted.iter().map(|(s, m)| (number(*s, d, 0.0, 63.0), number(*m, e, 0.0, 63.0))).collect();
    let mut numbers = Vec::new();
    for (part, (s, m)) in values.chunks_exact(32).zip(&sixes) {
        let (scale, min) = (d * f32::from(*s), e * f32::from(*m));
        numbers.extend(part.iter().map(|v| number(v + min, scale, 0.0, steps)));
    }
    let mut out = [half(d), half(e)].concat();
    out.extend((0..4).map(|j| sixes[j].0 | (sixes[j + 4].0 >> 4) << 6));
    out.extend((0..4).map(|j| sixes[j].1 | (sixes[j + 4].1 >> 4) << 6));
    out.extend((4..8).map(|j| sixes[j].0 & 15 | (sixes[j].1 & 15) << 4));
    if dtype == Dtype::Q5K {
        out.extend(
            (0..32).map(|i| (0..8).fold(0, |byte, part| byte | (numbers[part * 32 + i] >> 4) << part)),
        );
    }
    for group in numbers.chunks_exact(64) {
        out.extend((0..32).map(|i| group[i] & 15 | (group[i + 32] & 15) << 4));
    }
    out
}

/// 256 numbers of 6 bits; per 16 a signed byte.
fn six_bits(values: &[f32]) -> Vec<u8> {
    let wanted: Vec<f32> = values
        .chunks_exact(16)
        .map(|part| part.iter().fold(0.0_f32, |most, v| most.max(v.abs())) / 31.0)
        .collect();
    let d = f16::from_f32(wanted.iter().fold(0.0_f32, |most, s| most.max(*s)) / 127.0).to_f32();
    let scales: Vec<u8> = wanted.iter().map(|s| number(*s, d, 0.0, 127.0)).collect();
    let mut numbers = Vec::new();
    for (part, s) in values.chunks_exact(16).zip(&scales) {
        numbers.extend(part.iter().map(|v| number(*v, d * f32::from(*s), 32.0, 63.0)));
    }
    let mut out = Vec::new();
    for group in numbers.chunks_exact(128) {
        out.extend((0..64).map(|i| group[i] & 15 | (group[i + 64] & 15) << 4));
    }
    for group in numbers.chunks_exact(128) {
        out.extend(
            (0..32).map(|i| (0..4).fold(0, |byte, plane| byte | (group[plane * 32 + i] >> 4) << (2 * plane))),
        );
    }
    out.extend(scales);
    out.extend(half(d));
    out
}
