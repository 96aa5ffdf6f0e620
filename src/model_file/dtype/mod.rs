//! Data types of stored weights, and their exact meaning as f32.
//!
//! Every value is the one the `gguf` Python package computes, bit for bit (`tests/dequantize.rs`): the same
//! multiplications, additions and subtractions in the same order, each rounded to f32.
//! Quantised types come in blocks along a row, after llama.cpp's `ggml-quants`: 32 weights under one scale
//! (`small.rs`), or 256 weights, a superblock, whose 8 or 16 parts have scales of their own (`superblock.rs`).

mod blocks;
mod encode;
mod small;
mod superblock;

use half::f16;

pub use blocks::{BLOCK, Block, Blocks};
pub use encode::Encoding;

/// How the weights of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an f32.
    BF16,
    /// f16 scale d, 32 signed bytes q: w = q d.
    Q8_0,
    /// f16 scale d, 32 nibbles q: w = (q - 8) d.
    Q4_0,
    /// f16 scale d, f16 minimum m, 32 nibbles q: w = q d + m.
    Q4_1,
    /// f16 scale d, 32 numbers q of 5 bits: w = (q - 16) d.
    Q5_0,
    /// f16 scale d, f16 minimum m, 32 numbers q of 5 bits: w = q d + m.
    Q5_1,
    /// f16 scale d, 32 nibbles that choose one of 16 fixed values v: w = v d.
    Iq4Nl,
    /// 256 numbers q of 2 bits; per 16 a scale s and a minimum m of 4 bits; f16 d and e: w = q (d s) - (e m).
    Q2K,
    /// 256 numbers q of 3 bits; per 16 a scale s of 6 bits; f16 d: w = (q - 4) (d (s - 32)).
    Q3K,
    /// 256 nibbles q; per 32 a scale s and a minimum m of 6 bits; f16 d and e: w = q (d s) - (e m).
    Q4K,
    /// As [`Dtype::Q4K`] with q of 5 bits.
    Q5K,
    /// 256 numbers q of 6 bits; per 16 a signed byte s; f16 d: w = (q - 32) (d s).
    Q6K,
}

impl Dtype {
    /// Every type.
    pub const ALL: [Self; 14] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Iq4Nl,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// What the table of types says: weights per block, bytes per block, number in `ggml_type`, name.
    fn row(self) -> (u32, u32, u32, &'static str) {
        match self {
            Self::F32 => (1, 4, 0, "F32"),
            Self::F16 => (1, 2, 1, "F16"),
            Self::BF16 => (1, 2, 30, "BF16"),
            Self::Q8_0 => (32, 34, 8, "Q8_0"),
            Self::Q4_0 => (32, 18, 2, "Q4_0"),
            Self::Q4_1 => (32, 20, 3, "Q4_1"),
            Self::Q5_0 => (32, 22, 6, "Q5_0"),
            Self::Q5_1 => (32, 24, 7, "Q5_1"),
            Self::Iq4Nl => (32, 18, 20, "IQ4_NL"),
            Self::Q2K => (256, 84, 10, "Q2_K"),
            Self::Q3K => (256, 110, 11, "Q3_K"),
            Self::Q4K => (256, 144, 12, "Q4_K"),
            Self::Q5K => (256, 176, 13, "Q5_K"),
            Self::Q6K => (256, 210, 14, "Q6_K"),
        }
    }

    /// Weights per block (1 for the types that are not quantised).
    pub fn block_elems(self) -> u32 {
        self.row().0
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> u32 {
        self.row().1
    }

    /// The number GGUF gives it (`ggml_type`).
    pub fn ggml_type(self) -> u32 {
        self.row().2
    }

    /// The name both file formats use.
    pub fn name(self) -> &'static str {
        self.row().3
    }

    /// Bytes of `elems` weights; `None` if they are not whole blocks or overflow u64.
    pub fn bytes_of(self, elems: u64) -> Option<u64> {
        let block = u64::from(self.block_elems());
        if !elems.is_multiple_of(block) {
            return None;
        }
        elems.checked_div(block)?.checked_mul(u64::from(self.block_bytes()))
    }

    /// Turns stored `bytes` (little endian, whole blocks) into f32 weights.
    ///
    /// `out` takes one f32 per weight; whatever has no partner on the other side is left alone.
    pub fn dequantize(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F32 => each(bytes, out, f32::from_le_bytes),
            Self::F16 => each(bytes, out, half_to_f32),
            Self::BF16 => each(bytes, out, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
            Self::Q8_0 => blocks(bytes, out, small::q8_0),
            Self::Q4_0 => blocks(bytes, out, small::q4_0),
            Self::Q4_1 => blocks(bytes, out, small::q4_1),
            Self::Q5_0 => blocks(bytes, out, small::q5_0),
            Self::Q5_1 => blocks(bytes, out, small::q5_1),
            Self::Iq4Nl => blocks(bytes, out, small::iq4_nl),
            Self::Q2K => blocks(bytes, out, superblock::q2_k),
            Self::Q3K => blocks(bytes, out, superblock::q3_k),
            Self::Q4K => blocks(bytes, out, superblock::q4_k),
            Self::Q5K => blocks(bytes, out, superblock::q5_k),
            Self::Q6K => blocks(bytes, out, superblock::q6_k),
        }
    }
}

fn half_to_f32(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

/// One weight per `N` bytes.
fn each<const N: usize>(bytes: &[u8], out: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
    for (weight, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *weight = convert(*bytes);
    }
}

/// `W` weights per block of `N` bytes.
fn blocks<const N: usize, const W: usize>(
    bytes: &[u8],
    out: &mut [f32],
    convert: impl Fn(&[u8; N], &mut [f32; W]),
) {
    for (weights, block) in out.as_chunks_mut::<W>().0.iter_mut().zip(bytes.as_chunks::<N>().0) {
        convert(block, weights);
    }
}

/// `W` numbers of `BITS` bits each out of packed bytes.
///
/// All formats pack alike: of every `GROUP` bytes the lowest bits are the first `GROUP` numbers, the next bits the next.
fn unpack<const W: usize, const BITS: u32, const GROUP: usize>(packed: &[u8]) -> [u8; W] {
    let mut numbers = [0; W];
    let mask = u8::MAX.wrapping_shr(u8::BITS.wrapping_sub(BITS));
    let mut planes = numbers.chunks_exact_mut(GROUP);
    for group in packed.chunks_exact(GROUP) {
        for shift in 0..u8::BITS.checked_div(BITS).unwrap_or_default() {
            let shift = shift.wrapping_mul(BITS);
            for (number, byte) in planes.next().into_iter().flatten().zip(group) {
                *number = byte.wrapping_shr(shift) & mask;
            }
        }
    }
    numbers
}
