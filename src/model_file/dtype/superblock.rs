//! Superblocks of 256 weights whose parts have scales of their own: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.
//!
//! Each function turns one stored superblock into its weights; [`Dtype`](super::Dtype) says what the fields mean.
//! The products of scales are rounded before they meet a weight, as in the `gguf` package.

use super::blocks::Block;
use super::{half_to_f32, unpack};

/// Weights of a superblock.
const W: usize = 256;

/// Scales and minima (16 bytes), numbers (64), d, e.
pub(super) fn q2_k([parts @ .., d0, d1, e0, e1]: &[u8; 84], out: &mut [f32; W]) {
    let (d, e) = (half_to_f32([*d0, *d1]), half_to_f32([*e0, *e1]));
    let (scales, numbers) = parts.split_at(16);
    let numbers = unpack::<W, 2, 32>(numbers);
    let pairs = scales.iter().map(|both| (d * f32::from(both & 0x0F), e * f32::from(both >> 4)));
    scale_and_subtract::<16>(out, &numbers, pairs);
}

/// Third bits (32 bytes), low bits (64), scales (12), d.
pub(super) fn q3_k([parts @ .., d0, d1]: &[u8; 110], out: &mut [f32; W]) {
    let d = half_to_f32([*d0, *d1]);
    let (high, parts) = parts.split_at(32);
    let (low, scales) = parts.split_at(64);
    let (high, low) = (unpack::<W, 1, 32>(high), unpack::<W, 2, 32>(low));
    let mut numbers = [0.0; W];
    for ((number, low), high) in numbers.iter_mut().zip(low).zip(high) {
        *number = f32::from(low | (high << 2)) - 4.0;
    }
    // Sixteen scales of 6 bits: 8 bytes hold their low nibbles, 4 bytes the two bits above.
    let (low, high) = scales.split_at(8);
    let (low, high) = (unpack::<16, 4, 8>(low), unpack::<16, 2, 4>(high));
    let scales = low.into_iter().zip(high).map(|(low, high)| d * (f32::from(low | (high << 4)) - 32.0));
    scale_only(out, &numbers, scales);
}

/// d, e, scales and minima (12 bytes), numbers (128).
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; W]) {
    let (numbers, pairs) = q4_k_parts(block);
    scale_and_subtract::<32>(out, &numbers, pairs);
}

/// d, e, scales and minima (12 bytes), fifth bits (32), low bits (128).
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; W]) {
    let (numbers, pairs) = q5_k_parts(block);
    scale_and_subtract::<32>(out, &numbers, pairs);
}

/// Low bits (128 bytes), the two bits above (64), signed scales (16), d.
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; W]) {
    let (numbers, scales) = q6_k_parts(block);
    let numbers = numbers.map(|number| f32::from(number) - 32.0);
    scale_only(out, &numbers, scales);
}

/// The parts of a superblock of Q4_K as blocks of their own.
pub(super) fn q4_k_blocks(block: &[u8; 144], out: &mut Vec<Block>) {
    let (numbers, pairs) = q4_k_parts(block);
    out.extend(numbers.as_chunks().0.iter().zip(pairs).map(|(quants, (s, m))| Block::new(*quants, [s, -m])));
}

/// The parts of a superblock of Q5_K as blocks of their own.
pub(super) fn q5_k_blocks(block: &[u8; 176], out: &mut Vec<Block>) {
    let (numbers, pairs) = q5_k_parts(block);
    out.extend(numbers.as_chunks().0.iter().zip(pairs).map(|(quants, (s, m))| Block::new(*quants, [s, -m])));
}

/// The parts of a superblock of Q6_K as blocks of their own, two parts in one.
pub(super) fn q6_k_blocks(block: &[u8; 210], out: &mut Vec<Block>) {
    let (numbers, mut scales) = q6_k_parts(block);
    for quants in numbers.as_chunks().0 {
        let pair = [scales.next(), scales.next()].map(Option::unwrap_or_default);
        out.push(Block::new(*quants, pair));
    }
}

/// Numbers; scales and minima, one pair for every 32.
fn q4_k_parts([d0, d1, e0, e1, parts @ ..]: &[u8; 144]) -> ([u8; W], impl Iterator<Item = (f32, f32)>) {
    let (d, e) = (half_to_f32([*d0, *d1]), half_to_f32([*e0, *e1]));
    let (scales, numbers) = parts.split_at(12);
    (unpack::<W, 4, 32>(numbers), six_bit_pairs(d, e, scales))
}

/// Numbers; scales and minima, one pair for every 32.
fn q5_k_parts([d0, d1, e0, e1, parts @ ..]: &[u8; 176]) -> ([u8; W], impl Iterator<Item = (f32, f32)>) {
    let (d, e) = (half_to_f32([*d0, *d1]), half_to_f32([*e0, *e1]));
    let (scales, parts) = parts.split_at(12);
    let (high, low) = parts.split_at(32);
    let mut numbers = unpack::<W, 4, 32>(low);
    for (number, high) in numbers.iter_mut().zip(unpack::<W, 1, 32>(high)) {
        *number |= high << 4;
    }
    (numbers, six_bit_pairs(d, e, scales))
}

/// Numbers of which 32 is zero; scales, one for every 16.
fn q6_k_parts([parts @ .., d0, d1]: &[u8; 210]) -> ([u8; W], impl Iterator<Item = f32>) {
    let d = half_to_f32([*d0, *d1]);
    let (low, parts) = parts.split_at(128);
    let (high, scales) = parts.split_at(64);
    let mut numbers = unpack::<W, 4, 64>(low);
    for (number, high) in numbers.iter_mut().zip(unpack::<W, 2, 32>(high)) {
        *number |= high << 4;
    }
    (numbers, scales.iter().map(move |s| d * f32::from(i8::from_le_bytes([*s]))))
}

/// w = q s, one scale for every 16 weights.
fn scale_only(out: &mut [f32; W], numbers: &[f32; W], scales: impl Iterator<Item = f32>) {
    let parts = out.as_chunks_mut::<16>().0.iter_mut().zip(numbers.as_chunks::<16>().0);
    for ((weights, numbers), scale) in parts.zip(scales) {
        for (weight, number) in weights.iter_mut().zip(numbers) {
            *weight = scale * number;
        }
    }
}

/// w = q s - m, one scale and one minimum for every `PART` weights.
fn scale_and_subtract<const PART: usize>(
    out: &mut [f32; W],
    numbers: &[u8; W],
    pairs: impl Iterator<Item = (f32, f32)>,
) {
    let parts = out.as_chunks_mut::<PART>().0.iter_mut().zip(numbers.as_chunks::<PART>().0);
    for ((weights, numbers), (scale, min)) in parts.zip(pairs) {
        for (weight, number) in weights.iter_mut().zip(numbers) {
            *weight = scale * f32::from(*number) - min;
        }
    }
}

/// Eight scales and eight minima of 6 bits in 12 bytes, times d and e: 4 bytes hold the first four scales, 4 the first four
/// minima, the last 4 the low nibbles of the rest, whose two upper bits lie above those of the first.
fn six_bit_pairs(d: f32, e: f32, packed: &[u8]) -> impl Iterator<Item = (f32, f32)> {
    let (scales, rest) = packed.split_at(4);
    let (mins, low) = rest.split_at(4);
    let first = scales.iter().zip(mins).map(|(s, m)| (s & 0x3F, m & 0x3F));
    let rest = scales.iter().zip(mins).zip(low);
    let rest = rest.map(|((s, m), low)| ((low & 0x0F) | ((s >> 2) & 0x30), (low >> 4) | ((m >> 2) & 0x30)));
    first.chain(rest).map(move |(s, m)| (d * f32::from(s), e * f32::from(m)))
}
