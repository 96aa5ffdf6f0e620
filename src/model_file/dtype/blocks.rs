//! Stored blocks as a device takes them: the numbers apart from their scales, 32 weights at a time, whatever the type of the file.

use super::small::five_bits;
use super::{Dtype, half_to_f32, superblock, unpack};

/// Weights of a block.
pub const BLOCK: usize = 32;

/// 32 weights of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// The numbers q, from 0 on.
    pub quants: [u8; BLOCK],
    /// What they mean, see [`Blocks`].
    pub scales: [f32; 2],
}

impl Block {
    pub(super) fn new(quants: [u8; BLOCK], scales: [f32; 2]) -> Self {
        Self { quants, scales }
    }
}

/// What the numbers of a type's blocks mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blocks {
    /// w = q s + m, q of 4 bits, scales (s, m).
    Q4,
    /// w = q s + m, q of 5 bits, scales (s, m).
    Q5,
    /// w = (q - 32) s, q of 6 bits, scales of the first and of the last 16 weights.
    Q6,
    /// w = (q - 128) s, q of 8 bits, scales (s, 0).
    Q8,
}

impl Blocks {
    /// What the blocks of a type are; `None` for types that are kept otherwise: floats, and the rarer blocks.
    pub fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::Q4_0 | Dtype::Q4_1 | Dtype::Q4K => Some(Self::Q4),
            Dtype::Q5_0 | Dtype::Q5_1 | Dtype::Q5K => Some(Self::Q5),
            Dtype::Q6K => Some(Self::Q6),
            Dtype::Q8_0 => Some(Self::Q8),
            Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::Iq4Nl | Dtype::Q2K | Dtype::Q3K => None,
        }
    }

    /// The weights of a block.
    pub fn weights(self, block: &Block) -> [f32; BLOCK] {
        let ([s, m], half) = (block.scales, BLOCK / 2);
        let mut number = 0..;
        block.quants.map(|q| {
            let in_first = number.next().is_some_and(|i| i < half);
            let q = f32::from(q);
            match self {
                Self::Q4 | Self::Q5 => q * s + m,
                Self::Q6 => (q - 32.0) * if in_first { s } else { m },
                Self::Q8 => (q - 128.0) * s,
            }
        })
    }
}

impl Dtype {
    /// The blocks that `bytes` hold, whole ones of this type; of superblocks, their parts. None where [`Blocks::of`] says so.
    pub fn blocks(self, bytes: &[u8]) -> Vec<Block> {
        let mut out = Vec::new();
        match self {
            Self::Q8_0 => each(bytes, |[d0, d1, quants @ ..]: &[u8; 34]| {
                // A signed byte plus 128 is the byte with its highest bit turned.
                out.push(Block::new(quants.map(|q| q ^ 0x80), [half_to_f32([*d0, *d1]), 0.0]));
            }),
            Self::Q4_0 => each(bytes, |[d0, d1, quants @ ..]: &[u8; 18]| {
                let scale = half_to_f32([*d0, *d1]);
                out.push(Block::new(unpack::<BLOCK, 4, 16>(quants), [scale, -8.0 * scale]));
            }),
            Self::Q4_1 => each(bytes, |[d0, d1, m0, m1, quants @ ..]: &[u8; 20]| {
                let scales = [half_to_f32([*d0, *d1]), half_to_f32([*m0, *m1])];
                out.push(Block::new(unpack::<BLOCK, 4, 16>(quants), scales));
            }),
            Self::Q5_0 => each(bytes, |[d0, d1, quants @ ..]: &[u8; 22]| {
                let scale = half_to_f32([*d0, *d1]);
                out.push(Block::new(five_bits(quants), [scale, -16.0 * scale]));
            }),
            Self::Q5_1 => each(bytes, |[d0, d1, m0, m1, quants @ ..]: &[u8; 24]| {
                out.push(Block::new(five_bits(quants), [half_to_f32([*d0, *d1]), half_to_f32([*m0, *m1])]));
            }),
            Self::Q4K => each(bytes, |block| superblock::q4_k_blocks(block, &mut out)),
            Self::Q5K => each(bytes, |block| superblock::q5_k_blocks(block, &mut out)),
            Self::Q6K => each(bytes, |block| superblock::q6_k_blocks(block, &mut out)),
            Self::F32 | Self::F16 | Self::BF16 | Self::Iq4Nl | Self::Q2K | Self::Q3K => {}
        }
        out
    }
}

fn each<const N: usize>(bytes: &[u8], block: impl FnMut(&[u8; N])) {
    bytes.as_chunks().0.iter().for_each(block);
}
