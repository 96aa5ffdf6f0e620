//! Blocks of 32 weights under one scale: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL.
//!
//! Each function turns one stored block into its weights; [`Dtype`](super::Dtype) says what the fields mean.

use super::{half_to_f32, unpack};

/// Weights of a block.
const W: usize = 32;
/// Nibbles: weights 0 to 15 are the low ones of the 16 bytes.
const GROUP: usize = 16;
/// What the nibbles of IQ4_NL stand for (`kvalues_iq4nl` in llama.cpp): denser around zero, where most weights are.
const IQ4_NL: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

pub(super) fn q8_0([d0, d1, quants @ ..]: &[u8; 34], out: &mut [f32; W]) {
    let scale = half_to_f32([*d0, *d1]);
    for (weight, q) in out.iter_mut().zip(quants) {
        *weight = f32::from(i8::from_le_bytes([*q])) * scale;
    }
}

pub(super) fn q4_0([d0, d1, quants @ ..]: &[u8; 18], out: &mut [f32; W]) {
    let scale = half_to_f32([*d0, *d1]);
    for (weight, q) in out.iter_mut().zip(unpack::<W, 4, GROUP>(quants)) {
        *weight = (f32::from(q) - 8.0) * scale;
    }
}

pub(super) fn q4_1([d0, d1, m0, m1, quants @ ..]: &[u8; 20], out: &mut [f32; W]) {
    let (scale, min) = (half_to_f32([*d0, *d1]), half_to_f32([*m0, *m1]));
    for (weight, q) in out.iter_mut().zip(unpack::<W, 4, GROUP>(quants)) {
        *weight = f32::from(q) * scale + min;
    }
}

pub(super) fn q5_0([d0, d1, quants @ ..]: &[u8; 22], out: &mut [f32; W]) {
    let scale = half_to_f32([*d0, *d1]);
    for (weight, q) in out.iter_mut().zip(five_bits(quants)) {
        *weight = (f32::from(q) - 16.0) * scale;
    }
}

pub(super) fn q5_1([d0, d1, m0, m1, quants @ ..]: &[u8; 24], out: &mut [f32; W]) {
    let (scale, min) = (half_to_f32([*d0, *d1]), half_to_f32([*m0, *m1]));
    for (weight, q) in out.iter_mut().zip(five_bits(quants)) {
        *weight = f32::from(q) * scale + min;
    }
}

pub(super) fn iq4_nl([d0, d1, quants @ ..]: &[u8; 18], out: &mut [f32; W]) {
    let scale = half_to_f32([*d0, *d1]);
    for (weight, q) in out.iter_mut().zip(unpack::<W, 4, GROUP>(quants)) {
        *weight = f32::from(IQ4_NL.get(usize::from(q)).copied().unwrap_or_default()) * scale;
    }
}

/// Four bytes of fifth bits in the order of the weights, then the nibbles.
pub(super) fn five_bits(quants: &[u8; 20]) -> [u8; W] {
    let (high, low) = quants.split_at(4);
    let mut numbers = unpack::<W, 4, GROUP>(low);
    for (number, high) in numbers.iter_mut().zip(unpack::<W, 1, 1>(high)) {
        *number |= high << 4;
    }
    numbers
}
