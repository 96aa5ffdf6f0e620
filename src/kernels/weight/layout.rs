//! How a weight matrix lies in device memory: bytes, units, packing, and the WGSL that reads it.

use std::borrow::Cow;

use crate::gpu::pipeline::Part;
use crate::gpu::{BufferRequest, MOST_TEXTURE_BYTES};
use crate::model_file::Encoding;

/// How precisely weights are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// 32-bit floats.
    F32,
    /// 16-bit floats; arithmetic stays 32-bit.
    #[default]
    F16,
    /// Signed bytes under a 16-bit scale for every 32 columns, as GGUF's block format of that name.
    Q8_0,
}

impl WeightFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Q8_0];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }
}

/// How the elements of a matrix lie in memory.
///
/// The layouts in rows are storage buffers, row after row. Those in texels are textures read as a linear array of 16 bytes a texel
/// (`gpu::BufferUse::Words`): rows come in tiles of 64, and a tile goes through the columns eight at a time. In a run of eight columns,
/// lane `l` of a workgroup of eight finds row `8 r + l` of the tile, for r = 0..8; so all that eight lanes read at once, and what they
/// read next, lies together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightLayout {
    /// 32-bit floats.
    F32Rows,
    /// Pairs of 16-bit floats in a `u32`.
    F16Rows,
    /// Per row: the bytes of all columns, four in a `u32`; then the scales of its blocks of 32 columns, two 16-bit floats in a `u32`.
    Q8_0Rows,
    /// Eight columns in two texels.
    F32Texels,
    /// Eight columns in a texel.
    F16Texels,
}

/// Rows in a tile of texels.
pub(in crate::kernels) const TILE_ROWS: u32 = 64;
/// Columns that a tile goes on by.
const TILE_COLS: u32 = 8;
/// Columns under one scale.
const BLOCK: usize = 32;
/// Bytes of a scale, and of a block with its scale, in a file.
const SCALE_BYTES: usize = 2;
const BLOCK_BYTES: usize = SCALE_BYTES + BLOCK;

/// A weight that a layout cannot hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unfit {
    /// Its place in the values that were to be packed.
    pub at: usize,
    /// The weight.
    pub value: f32,
}

impl WeightLayout {
    /// Every layout.
    pub const ALL: [Self; 5] =
        [Self::F32Rows, Self::F16Rows, Self::Q8_0Rows, Self::F32Texels, Self::F16Texels];

    /// How precise it is.
    pub fn format(self) -> WeightFormat {
        match self {
            Self::F32Rows | Self::F32Texels => WeightFormat::F32,
            Self::F16Rows | Self::F16Texels => WeightFormat::F16,
            Self::Q8_0Rows => WeightFormat::Q8_0,
        }
    }

    /// Whether it is a texture.
    pub fn is_texels(self) -> bool {
        matches!(self, Self::F32Texels | Self::F16Texels)
    }

    /// A name for people.
    pub fn name(self) -> &'static str {
        self.part().name
    }

    /// The WGSL that reads it.
    pub fn part(self) -> Part {
        macro_rules! part {
            ($name:literal) => {
                Part {
                    name: $name,
                    source: include_str!(concat!("../../../shaders/shared/weight_", $name, ".wgsl")),
                }
            };
        }
        match self {
            Self::F32Rows => part!("f32"),
            Self::F16Rows => part!("f16"),
            Self::Q8_0Rows => part!("q8_0"),
            Self::F32Texels => part!("f32_texels"),
            Self::F16Texels => part!("f16_texels"),
        }
    }

    /// What the number of columns must be a multiple of.
    pub fn columns_unit(self) -> u32 {
        match self {
            Self::F32Rows | Self::F16Rows => 4,
            Self::F32Texels | Self::F16Texels => TILE_COLS,
            Self::Q8_0Rows => BLOCK as u32,
        }
    }

    /// Rows that lie together; a part of a matrix begins with a whole number of them.
    pub fn rows_unit(self) -> u32 {
        if self.is_texels() { TILE_ROWS } else { 1 }
    }

    /// Bytes of `rows` rows of `cols` columns, rows filled up to whole units.
    pub fn bytes(self, rows: u32, cols: u32) -> u64 {
        let rows = u64::from(rows).next_multiple_of(self.rows_unit().into());
        let cols = u64::from(cols);
        match self {
            Self::F32Rows | Self::F32Texels => rows * cols * 4,
            Self::F16Rows | Self::F16Texels => rows * cols * 2,
            Self::Q8_0Rows => rows * (cols + scale_words(cols) * 4),
        }
    }

    /// The memory for `rows` rows of `cols` columns.
    pub fn request(self, label: String, rows: u32, cols: u32) -> BufferRequest {
        let bytes = self.bytes(rows, cols);
        if self.is_texels() {
            BufferRequest::words(label, bytes)
        } else {
            BufferRequest::storage(label, bytes)
        }
    }

    /// The most rows whose memory is at most `limit` bytes; 0 where not even one unit fits.
    pub fn most_rows(self, cols: u32, limit: u64) -> u32 {
        let limit = if self.is_texels() { limit.min(MOST_TEXTURE_BYTES) } else { limit & !15 };
        let unit = self.rows_unit();
        let mut units = u32::try_from(limit / self.bytes(unit, cols).max(1)).unwrap_or(u32::MAX / unit);
        // Memory comes in whole rows of a texture, which may take the last unit over the limit.
        while units > 0 && self.request(String::new(), units.saturating_mul(unit), cols).bytes > limit {
            units -= 1;
        }
        units.saturating_mul(unit)
    }

    /// The bytes of `values`, whole rows of `cols` columns from the beginning of a unit on. A block that a file keeps in Q8_0 comes out
    /// as it was, as long as its largest byte is 127 or -127, which is how that format is made.
    ///
    /// # Errors
    /// A value that the layout cannot hold.
    pub fn pack(self, values: &[f32], cols: u32) -> Result<Vec<u8>, Unfit> {
        let encoded = encoded(values, self.format())?;
        let columns = cols as usize;
        Ok(match self {
            Self::F32Rows | Self::F16Rows => encoded.into_owned(),
            Self::F32Texels => tiles(&encoded, columns * 4, TILE_COLS as usize * 4),
            Self::F16Texels => tiles(&encoded, columns * 2, TILE_COLS as usize * 2),
            Self::Q8_0Rows => scales_last(&encoded, columns),
        })
    }
}

/// Words of the scales of a row.
fn scale_words(cols: u64) -> u64 {
    (cols / BLOCK as u64).div_ceil(2)
}

/// The values as a file would keep them.
fn encoded(values: &[f32], format: WeightFormat) -> Result<Cow<'_, [u8]>, Unfit> {
    let encoding = match format {
        WeightFormat::F32 => return Ok(Cow::Borrowed(bytemuck::cast_slice(values))),
        WeightFormat::F16 => Encoding::F16,
        WeightFormat::Q8_0 => Encoding::Q8_0,
    };
    let mut bytes = Vec::with_capacity(values.len() * 2);
    encoding.encode(values, &mut bytes).map_err(|value| {
        match values.iter().position(|other| other.to_bits() == value.to_bits()) {
            Some(at) => Unfit { at, value },
            None => unreachable!("{value} is refused, and is none of the values"),
        }
    })?;
    Ok(Cow::Owned(bytes))
}

/// Bytes of a texel, and lanes that read one each at once.
const TEXEL: usize = 16;
const LANES: usize = 8;

/// Rows of `row_bytes` bytes in tiles, in runs of `run_bytes`; rows that a tile lacks are zeros.
fn tiles(rows: &[u8], row_bytes: usize, run_bytes: usize) -> Vec<u8> {
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

/// Blocks of a scale and its bytes, as files have them, row by row with the bytes first and the scales behind them.
fn scales_last(blocks: &[u8], cols: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(blocks.len());
    for row in blocks.chunks_exact((cols / BLOCK * BLOCK_BYTES).max(1)) {
        let blocks = || row.chunks_exact(BLOCK_BYTES).map(|block| block.split_at(SCALE_BYTES));
        blocks().for_each(|(_, bytes)| out.extend(bytes));
        blocks().for_each(|(scale, _)| out.extend(scale));
        // Scales come two in a word.
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::WeightLayout;

    #[test]
    fn packed_bytes_are_those_of_the_formula() {
        for layout in WeightLayout::ALL {
            for (rows, cols) in [(1_u32, 32_u32), (64, 64), (65, 96), (200, 576)] {
                let values = vec![0.5; (rows * cols) as usize];
                let packed = layout.pack(&values, cols).unwrap();
                assert_eq!(packed.len() as u64, layout.bytes(rows, cols), "{layout:?} {rows}x{cols}");
                assert!(layout.request(String::new(), rows, cols).bytes >= packed.len() as u64);
            }
        }
    }

    #[test]
    fn the_most_rows_fit_and_one_unit_more_does_not() {
        for layout in WeightLayout::ALL {
            for (cols, limit) in [(64, 65_536), (576, 1 << 20), (1536, 8 << 20), (8192, 128 << 20)] {
                let most = layout.most_rows(cols, limit);
                let bytes = |rows| layout.request(String::new(), rows, cols).bytes;
                assert!(most == 0 || bytes(most) <= limit, "{layout:?} {cols} {limit}");
                assert!(bytes(most + layout.rows_unit()) > limit, "{layout:?} {cols} {limit}");
            }
        }
    }

    #[test]
    fn a_weight_that_does_not_fit_is_named() {
        let mut values = vec![1.0; 2 * 64];
        values[70] = 7.0e4;
        for layout in [WeightLayout::F16Rows, WeightLayout::F16Texels] {
            assert_eq!(layout.pack(&values, 64).unwrap_err().at, 70, "{layout:?}");
        }
        values[70] = 1.0e7;
        let unfit = WeightLayout::Q8_0Rows.pack(&values, 64).unwrap_err();
        assert_eq!((unfit.at, unfit.value), (70, 1.0e7));
    }

    #[test]
    fn a_block_of_a_file_comes_back_byte_for_byte() {
        // Two rows of three blocks: scales with few and with many bits, each with one byte at an end of the range.
        let scales =
            [0.013_f32, -0.25, 1.5e-4, 7.0, 0.5, 3.3e-3].map(|scale| half::f16::from_f32(scale.abs()));
        let byte = |block: usize, i: usize| match i {
            5 => 127 - 254 * (block as i32 % 2),
            _ => (i as i32 * 37 + block as i32 * 91) % 127,
        };
        let blocks = scales.iter().enumerate();
        let values: Vec<f32> = blocks
            .flat_map(|(block, scale)| (0..32).map(move |i| byte(block, i) as f32 * scale.to_f32()))
            .collect();
        let packed = WeightLayout::Q8_0Rows.pack(&values, 96).unwrap();
        for row in 0..2 {
            let bytes = (0..96).map(|c| byte(3 * row + c / 32, c % 32) as i8 as u8);
            let scales = scales[3 * row..][..3].iter().flat_map(|scale| scale.to_le_bytes());
            let want: Vec<u8> = bytes.chain(scales).chain([0, 0]).collect();
            assert_eq!(packed[row * want.len()..][..want.len()], want, "row {row}");
        }
    }
}
