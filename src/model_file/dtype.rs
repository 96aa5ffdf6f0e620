//! Data types of stored weights, and their exact meaning as f32.
//!
//! Every product of this table is the one the `gguf` Python package computes, bit for bit
//! (`tests/dequantize.rs`): one multiplication, and for `Q4_1` one separate addition, both in f32.
//! Quantised types come in blocks of 32 weights along a row, after llama.cpp's `ggml-quants`.

use half::f16;

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
}

impl Dtype {
    /// Weights per block (1 for the types that are not quantised).
    pub fn block_elems(self) -> u32 {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 => 32,
        }
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> u32 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
        }
    }

    /// The name both file formats use.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
        }
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
            Self::Q8_0 => blocks(bytes, out, |[d0, d1, quants @ ..]: &[u8; 34], out| {
                let scale = half_to_f32([*d0, *d1]);
                for (weight, q) in out.iter_mut().zip(quants) {
                    *weight = f32::from(i8::from_le_bytes([*q])) * scale;
                }
            }),
            Self::Q4_0 => blocks(bytes, out, |[d0, d1, quants @ ..]: &[u8; 18], out| {
                let scale = half_to_f32([*d0, *d1]);
                nibbles(quants, out, |q| (q - 8.0) * scale);
            }),
            Self::Q4_1 => blocks(bytes, out, |[d0, d1, m0, m1, quants @ ..]: &[u8; 20], out| {
                let (scale, min) = (half_to_f32([*d0, *d1]), half_to_f32([*m0, *m1]));
                nibbles(quants, out, |q| q * scale + min);
            }),
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

/// 32 weights per block of `N` bytes.
fn blocks<const N: usize>(bytes: &[u8], out: &mut [f32], convert: impl Fn(&[u8; N], &mut [f32; 32])) {
    for (weights, block) in out.as_chunks_mut::<32>().0.iter_mut().zip(bytes.as_chunks::<N>().0) {
        convert(block, weights);
    }
}

/// 16 bytes hold 32 nibbles: the low ones are weights 0 to 15, the high ones 16 to 31.
fn nibbles(quants: &[u8], out: &mut [f32; 32], convert: impl Fn(f32) -> f32) {
    let (low, high) = out.split_at_mut(16);
    for ((low, high), q) in low.iter_mut().zip(high).zip(quants) {
        *low = convert(f32::from(q & 0x0F));
        *high = convert(f32::from(q >> 4));
    }
}
