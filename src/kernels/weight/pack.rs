//! Weights into the bytes of a layout.

use std::borrow::Cow;

use super::layout::{TILE_ROWS, WeightLayout};
use super::precision::Precision;
use crate::model_file::{BLOCK, Block, Encoding};

/// A weight that a layout cannot hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unfit {
    /// Its place in the values that were to be packed; of a block, that of its first weight.
    pub at: usize,
    /// The weight; of a block, its scale.
    pub value: f32,
}

impl WeightLayout {
    /// The bytes of `values`, whole rows of `cols` columns from the beginning of a unit on. What is kept in blocks is rounded as
    /// `killick convert` rounds it, so that a block which a file keeps in Q8_0 comes out as it was, as long as its largest byte is 127 or
    /// -127, which is how that format is made.
    ///
    /// # Errors
    /// A value that the layout cannot hold.
    pub fn pack(self, values: &[f32], cols: u32) -> Result<Vec<u8>, Unfit> {
        match self.precision() {
            Precision::F32 | Precision::F16 => {
                let encoded = floats(values, self.precision())?;
                Ok(match self.run_bytes() {
                    Some(run) => tiles(&encoded, cols as usize * run / self.run_cols() as usize, run),
                    None => filled_rows(encoded, values.len() / cols.max(1) as usize, self.row_bytes(cols)),
                })
            }
            // Of the numbers of five and six bits, files alone have them; tests make theirs of eight.
            Precision::Q4 => self.encode_and_pack(values, cols, Encoding::Q4_0),
            Precision::Q8 => self.encode_and_pack(values, cols, Encoding::Q8_0),
            Precision::Q5 | Precision::Q6 => {
                unreachable!("weights of {} come from files, block by block", self.name())
            }
        }
    }

    fn encode_and_pack(self, values: &[f32], cols: u32, encoding: Encoding) -> Result<Vec<u8>, Unfit> {
        self.pack_blocks(&encoding.dtype().blocks(&encode(values, encoding)?), cols)
    }

    /// The bytes of whole rows of `cols` columns in `blocks` of this layout's precision.
    ///
    /// # Errors
    /// A scale that is too large for 16 bits.
    pub fn pack_blocks(self, blocks: &[Block], cols: u32) -> Result<Vec<u8>, Unfit> {
        let per_row = (cols as usize / BLOCK).max(1);
        let words = scale_words(blocks, self.precision())?;
        let mut packed = Packed { layout: self, per_row, words: Vec::new() };
        let rows = (blocks.len() / per_row) as u32;
        packed.words.resize((self.bytes(rows, cols) / 4) as usize, 0);
        for (i, (block, scales)) in blocks.iter().zip(words).enumerate() {
            packed.put(i / per_row, i % per_row, block, scales);
        }
        Ok(bytemuck::cast_slice(&packed.words).to_vec())
    }
}

/// The scales of blocks as two 16-bit floats in a word, the first in the low half.
fn scale_words(blocks: &[Block], precision: Precision) -> Result<Vec<u32>, Unfit> {
    let half = |at: usize, value: f32| {
        let half = half::f16::from_f32(value);
        if half.is_finite() { Ok(u32::from(half.to_bits())) } else { Err(Unfit { at: at * BLOCK, value }) }
    };
    let word = |(at, block): (usize, &Block)| {
        let [first, second] = block.scales;
        let second = if precision == Precision::Q8 { 0 } else { half(at, second)? };
        Ok(half(at, first)? | second << 16)
    };
    blocks.iter().enumerate().map(word).collect()
}

/// Words of a piece of weights that are being packed.
struct Packed {
    layout: WeightLayout,
    /// Blocks of a row.
    per_row: usize,
    words: Vec<u32>,
}

/// Words of a texel, and lanes that read one each at once.
const TEXEL_WORDS: usize = 4;
const LANES: usize = 8;

impl Packed {
    fn put(&mut self, row: usize, block: usize, values: &Block, scales: u32) {
        if self.layout.is_texels() {
            self.put_texels(row, block, values, scales);
        } else {
            self.put_row(row, block, values, scales);
        }
    }

    /// One row after the other: numbers of all blocks, bits above the fourth of all blocks, scales of all blocks.
    fn put_row(&mut self, row: usize, block: usize, Block { quants, .. }: &Block, scales: u32) {
        let (n, precision) = (self.per_row, self.layout.precision());
        let home = row * row_words(precision, n);
        if precision == Precision::Q8 {
            for (word, bytes) in quants.chunks_exact(4).enumerate() {
                let bytes = [0, 1, 2, 3].map(|i| bytes[i] ^ 0x80);
                self.words[home + block * 8 + word] = u32::from_le_bytes(bytes);
            }
            self.words[home + n * 8 + block / 2] |= (scales & 0xFFFF) << (block % 2 * 16);
            return;
        }
        let bits = |numbers: &[u8], wide: usize| {
            let shifted = numbers.iter().enumerate().map(|(i, q)| u32::from(*q) << (i * wide));
            shifted.fold(0, |word, bits| word | bits)
        };
        for (word, eight) in quants.map(|q| q & 15).chunks_exact(8).enumerate() {
            self.words[home + block * 4 + word] = bits(eight, 4);
        }
        let high = quants.map(|q| q >> 4);
        let per_block = high_words(precision);
        for (word, some) in high.chunks_exact(BLOCK / per_block.max(1)).take(per_block).enumerate() {
            self.words[home + n * 4 + block * per_block + word] = bits(some, per_block);
        }
        self.words[home + n * (4 + per_block) + block] = scales;
    }

    /// One tile of rows after the other, with the three likewise. Of what eight lanes read at once, each has its own texel.
    fn put_texels(&mut self, row: usize, block: usize, Block { quants, .. }: &Block, scales: u32) {
        let (n, precision) = (self.per_row, self.layout.precision());
        let (tile, r, lane) = (row / TILE_ROWS as usize, row % TILE_ROWS as usize / LANES, row % LANES);
        let tile_words = (self.layout.tile_texels(n as u32) as usize) * TEXEL_WORDS;
        let home = tile * tile_words;
        // The word of a texel that lies `before` texels into the tile, in the piece of this block.
        let at = |before: usize, piece: usize, word: usize| {
            home + (before + block * piece + word / TEXEL_WORDS * LANES + lane) * TEXEL_WORDS
                + word % TEXEL_WORDS
        };
        if precision == Precision::Q8 {
            for (i, q) in quants.iter().enumerate() {
                // Byte b of word e of texel j is column 16 j + 4 b + e.
                let (j, b, e) = (i / 16, i % 16 / 4, i % 4);
                self.words[at(0, 128, r * 8 + j * 4 + e)] |= u32::from(*q) << (8 * b);
            }
            self.words[at(n * 128, 8, r / 2)] |= (scales & 0xFFFF) << (r % 2 * 16);
            return;
        }
        for (i, q) in quants.iter().enumerate() {
            // Nibble k of word e is column 4 k + e.
            let (k, e) = (i / 4, i % 4);
            self.words[at(0, 64, r * 4 + e)] |= u32::from(q & 15) << (4 * k);
            let high = u32::from(q >> 4);
            match precision {
                Precision::Q5 => self.words[at(n * 64, 16, r)] |= high << i,
                Precision::Q6 => self.words[at(n * 64, 32, r * 2 + i / 16)] |= high << (i % 16 * 2),
                Precision::F32 | Precision::F16 | Precision::Q8 | Precision::Q4 => {}
            }
        }
        let before = n * (64 + 16 * high_words(precision));
        self.words[at(before, 16, r)] = scales;
    }
}

/// Words of the bits above the fourth, of one block.
pub(super) fn high_words(precision: Precision) -> usize {
    match precision {
        Precision::Q5 => 1,
        Precision::Q6 => 2,
        Precision::F32 | Precision::F16 | Precision::Q8 | Precision::Q4 => 0,
    }
}

/// Words of a row of `blocks` blocks. Rows begin at whole 16 bytes, so that they may be read in loads of as many.
pub(super) fn row_words(precision: Precision, blocks: usize) -> usize {
    let words = match precision {
        // Scales come two in a word.
        Precision::Q8 => blocks * 8 + blocks.div_ceil(2),
        _ => blocks * (4 + high_words(precision) + 1),
    };
    words.next_multiple_of(TEXEL_WORDS)
}

/// The values as floats of a file.
fn floats(values: &[f32], precision: Precision) -> Result<Cow<'_, [u8]>, Unfit> {
    if precision == Precision::F32 {
        return Ok(Cow::Borrowed(bytemuck::cast_slice(values)));
    }
    Ok(Cow::Owned(encode(values, Encoding::F16)?))
}

/// So many rows, each filled up with zeros to `wanted` bytes.
fn filled_rows(bytes: Cow<'_, [u8]>, rows: usize, wanted: u64) -> Vec<u8> {
    let (there, wanted) = (bytes.len() / rows.max(1), wanted as usize);
    if there == wanted || rows == 0 {
        return bytes.into_owned();
    }
    let mut filled = vec![0; rows * wanted];
    for (to, from) in filled.chunks_exact_mut(wanted).zip(bytes.chunks_exact(there)) {
        to[..there].copy_from_slice(from);
    }
    filled
}

fn encode(values: &[f32], encoding: Encoding) -> Result<Vec<u8>, Unfit> {
    let mut bytes = Vec::with_capacity(values.len() * 2);
    encoding.encode(values, &mut bytes).map_err(|value| {
        match values.iter().position(|other| other.to_bits() == value.to_bits()) {
            Some(at) => Unfit { at, value },
            None => unreachable!("{value} is refused, and is none of the values"),
        }
    })?;
    Ok(bytes)
}

/// Rows of `row_bytes` bytes in tiles, in runs of `run_bytes`; rows that a tile lacks are zeros.
fn tiles(rows: &[u8], row_bytes: usize, run_bytes: usize) -> Vec<u8> {
    const TEXEL: usize = 4 * TEXEL_WORDS;
    let (tile, pieces) = (TILE_ROWS as usize, run_bytes / TEXEL);
    let n = rows.len().checked_div(row_bytes).unwrap_or_default();
    let mut packed = vec![0; n.next_multiple_of(tile) * row_bytes];
    for (row, values) in rows.chunks_exact(row_bytes.max(1)).enumerate() {
        let (group, r, lane) = (row / tile, row % tile / LANES, row % LANES);
        for (chunk, run) in values.chunks_exact(run_bytes).enumerate() {
            // The texels of one run: all lanes' first texels, then all lanes' second ones.
            let runs = (group * (row_bytes / run_bytes) + chunk) * LANES + r;
            for (piece, texel) in run.chunks_exact(TEXEL).enumerate() {
                let at = ((runs * pieces + piece) * LANES + lane) * TEXEL;
                packed[at..at + TEXEL].copy_from_slice(texel);
            }
        }
    }
    packed
}
