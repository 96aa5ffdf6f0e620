//! How a weight matrix lies in device memory: bytes, units, and the WGSL that reads it.

use super::pack::{high_words, row_words};
use super::precision::Precision;
use crate::gpu::pipeline::Part;
use crate::gpu::{BufferRequest, MOST_TEXTURE_BYTES};
use crate::model_file::BLOCK;

/// How the elements of a matrix lie in memory.
///
/// The layouts in rows are storage buffers, row after row, each from a multiple of 16 bytes on. Those in texels are textures read as a linear array of 16 bytes a texel
/// (`gpu::BufferUse::Words`): rows come in tiles of 64, and a tile goes through the columns one run at a time. In a run, lane `l` of a
/// workgroup of eight finds row `8 r + l` of the tile, for r = 0..8; so all that eight lanes read at once, and what they read next,
/// lies together. Of blocks, a row or tile has first four bits of all numbers, then the bits above, then the scales (`pack.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightLayout {
    /// 32-bit floats.
    F32Rows,
    /// Pairs of 16-bit floats in a `u32`.
    F16Rows,
    /// [`Precision::Q8`], signed bytes.
    Q8Rows,
    /// [`Precision::Q6`].
    Q6Rows,
    /// [`Precision::Q5`].
    Q5Rows,
    /// [`Precision::Q4`].
    Q4Rows,
    /// Runs of eight columns in two texels.
    F32Texels,
    /// Runs of eight columns in a texel.
    F16Texels,
    /// [`Precision::Q8`], a block in two texels.
    Q8Texels,
    /// [`Precision::Q6`], a block in a texel and a half.
    Q6Texels,
    /// [`Precision::Q5`], a block in a texel and a quarter.
    Q5Texels,
    /// [`Precision::Q4`], a block in a texel.
    Q4Texels,
}

/// Rows in a tile of texels.
pub(in crate::kernels) const TILE_ROWS: u32 = 64;
/// Columns of a run of floats in texels.
const FLOAT_RUN: u32 = 8;

impl WeightLayout {
    /// Every layout.
    pub const ALL: [Self; 12] = [
        Self::F32Rows,
        Self::F16Rows,
        Self::Q8Rows,
        Self::Q6Rows,
        Self::Q5Rows,
        Self::Q4Rows,
        Self::F32Texels,
        Self::F16Texels,
        Self::Q8Texels,
        Self::Q6Texels,
        Self::Q5Texels,
        Self::Q4Texels,
    ];

    /// Weights of this precision in rows, or in texels.
    pub fn new(precision: Precision, texels: bool) -> Self {
        match (precision, texels) {
            (Precision::F32, false) => Self::F32Rows,
            (Precision::F16, false) => Self::F16Rows,
            (Precision::Q8, false) => Self::Q8Rows,
            (Precision::Q6, false) => Self::Q6Rows,
            (Precision::Q5, false) => Self::Q5Rows,
            (Precision::Q4, false) => Self::Q4Rows,
            (Precision::F32, true) => Self::F32Texels,
            (Precision::F16, true) => Self::F16Texels,
            (Precision::Q8, true) => Self::Q8Texels,
            (Precision::Q6, true) => Self::Q6Texels,
            (Precision::Q5, true) => Self::Q5Texels,
            (Precision::Q4, true) => Self::Q4Texels,
        }
    }

    /// How precise it is.
    pub fn precision(self) -> Precision {
        match self {
            Self::F32Rows | Self::F32Texels => Precision::F32,
            Self::F16Rows | Self::F16Texels => Precision::F16,
            Self::Q8Rows | Self::Q8Texels => Precision::Q8,
            Self::Q6Rows | Self::Q6Texels => Precision::Q6,
            Self::Q5Rows | Self::Q5Texels => Precision::Q5,
            Self::Q4Rows | Self::Q4Texels => Precision::Q4,
        }
    }

    /// Whether it is a texture.
    pub fn is_texels(self) -> bool {
        self == Self::new(self.precision(), true)
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
                    fours: self.run_cols() / 4,
                }
            };
        }
        match self {
            Self::F32Rows => part!("f32"),
            Self::F16Rows => part!("f16"),
            Self::Q8Rows => part!("q8"),
            Self::Q6Rows => part!("q6"),
            Self::Q5Rows => part!("q5"),
            Self::Q4Rows => part!("q4"),
            Self::F32Texels => part!("f32_texels"),
            Self::F16Texels => part!("f16_texels"),
            Self::Q8Texels => part!("q8_texels"),
            Self::Q6Texels => part!("q6_texels"),
            Self::Q5Texels => part!("q5_texels"),
            Self::Q4Texels => part!("q4_texels"),
        }
    }

    /// The WGSL that reads a whole run of 16 or 32 bytes at once, for kernels that read rows so.
    ///
    /// # Panics
    /// Where no kernel reads them so.
    pub(in crate::kernels) fn part_in_runs(self) -> Part {
        macro_rules! part {
            ($name:literal, $fours:literal) => {
                Part {
                    name: concat!($name, "_runs"),
                    source: include_str!(concat!("../../../shaders/shared/weight_", $name, "_runs.wgsl")),
                    fours: $fours,
                }
            };
        }
        match self {
            Self::F16Rows => part!("f16", 2),
            Self::Q8Rows => part!("q8", 8),
            Self::Q6Rows => part!("q6", 8),
            Self::Q5Rows => part!("q5", 8),
            Self::Q4Rows => part!("q4", 8),
            _ => unreachable!("{} is not read in runs", self.name()),
        }
    }

    /// Columns of a run, which the number of columns must be a multiple of.
    pub fn run_cols(self) -> u32 {
        match self {
            Self::F32Rows | Self::F16Rows => 4,
            Self::F32Texels | Self::F16Texels => FLOAT_RUN,
            Self::Q8Rows | Self::Q6Rows | Self::Q5Rows | Self::Q4Rows => BLOCK as u32,
            Self::Q8Texels | Self::Q6Texels | Self::Q5Texels | Self::Q4Texels => BLOCK as u32,
        }
    }

    /// Bytes of a run of floats of one row, where rows come in tiles.
    pub(super) fn run_bytes(self) -> Option<usize> {
        match self {
            Self::F32Texels => Some(FLOAT_RUN as usize * 4),
            Self::F16Texels => Some(FLOAT_RUN as usize * 2),
            _ => None,
        }
    }

    /// Rows that lie together; a part of a matrix begins with a whole number of them.
    pub fn rows_unit(self) -> u32 {
        if self.is_texels() { TILE_ROWS } else { 1 }
    }

    /// Most inputs that a tile of texels is multiplied with at once: with more of them, a decoded block leaves the registers.
    pub(in crate::kernels) fn most_inputs(self) -> u32 {
        if self.precision().blocks().is_some() { 4 } else { 8 }
    }

    /// Texels of a tile of `runs` runs of blocks.
    pub(super) fn tile_texels(self, runs: u32) -> u64 {
        let rows = u64::from(TILE_ROWS);
        // A tile begins where the numbers of a run lie in one row of the texture.
        let unit = if self.precision() == Precision::Q8 { rows * 2 } else { rows };
        let run = match self.precision() {
            Precision::F32 => rows * 2,
            Precision::F16 => rows,
            // Two texels of numbers a row, and its scale in an eighth of one.
            Precision::Q8 => rows * 2 + rows / 8,
            // A texel of low bits; the bits above and the scales, a quarter of one for each word.
            precision => rows + rows / 4 * (high_words(precision) as u64 + 1),
        };
        (u64::from(runs) * run).next_multiple_of(unit)
    }

    /// Bytes of `rows` rows of `cols` columns, rows filled up to whole units.
    pub fn bytes(self, rows: u32, cols: u32) -> u64 {
        let (runs, tiles) = (cols / self.run_cols(), u64::from(rows.div_ceil(self.rows_unit())));
        if self.is_texels() {
            return tiles * self.tile_texels(runs) * 16;
        }
        u64::from(rows) * self.row_bytes(cols)
    }

    /// Bytes of a row, where each lies by itself.
    pub(super) fn row_bytes(self, cols: u32) -> u64 {
        match self.precision() {
            Precision::F32 => u64::from(cols) * 4,
            Precision::F16 => (u64::from(cols) * 2).next_multiple_of(16),
            precision => row_words(precision, cols as usize / BLOCK) as u64 * 4,
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
}

#[cfg(test)]
mod tests {
    use super::WeightLayout;
    use crate::kernels::Precision;
    use crate::model_file::Dtype;

    /// A type of files for each precision in blocks, and the bytes of `rows` rows of ones in it, more or less.
    fn blocks(precision: Precision, elements: usize) -> Option<(Dtype, Vec<u8>)> {
        let dtype = match precision {
            Precision::Q8 => Dtype::Q8_0,
            Precision::Q6 => Dtype::Q6K,
            Precision::Q5 => Dtype::Q5_1,
            Precision::Q4 => Dtype::Q4_1,
            Precision::F32 | Precision::F16 => return None,
        };
        Some((dtype, vec![0x11; dtype.bytes_of(elements as u64).unwrap() as usize]))
    }

    #[test]
    fn packed_bytes_are_those_of_the_formula() {
        for layout in WeightLayout::ALL {
            for (rows, cols) in [(1_u32, 256_u32), (64, 256), (65, 512), (200, 768)] {
                let elements = (rows * cols) as usize;
                let packed = match blocks(layout.precision(), elements) {
                    Some((dtype, bytes)) => layout.pack_blocks(&dtype.blocks(&bytes), cols).unwrap(),
                    None => layout.pack(&vec![0.5; elements], cols).unwrap(),
                };
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
        for layout in [WeightLayout::Q8Rows, WeightLayout::Q8Texels, WeightLayout::Q4Texels] {
            let unfit = layout.pack(&values, 64).unwrap_err();
            assert_eq!((unfit.at, unfit.value), (70, 1.0e7));
        }
    }

    #[test]
    fn a_scale_that_does_not_fit_is_named() {
        // The second superblock: d = 65504 (0x7BFF), each scale 0x11 = 17.
        let mut bytes = vec![0x11; 2 * 210];
        bytes[418..].copy_from_slice(&[0xFF, 0x7B]);
        let unfit = WeightLayout::Q6Rows.pack_blocks(&Dtype::Q6K.blocks(&bytes), 256).unwrap_err();
        assert_eq!((unfit.at, unfit.value), (256, 17.0 * 65504.0));
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
        let packed = WeightLayout::Q8Rows.pack(&values, 96).unwrap();
        for row in 0..2 {
            let bytes = (0..96).map(|c| byte(3 * row + c / 32, c % 32) as i8 as u8);
            let scales = scales[3 * row..][..3].iter().flat_map(|scale| scale.to_le_bytes());
            let want: Vec<u8> = bytes.chain(scales).chain([0; 10]).collect();
            assert_eq!(packed[row * want.len()..][..want.len()], want, "row {row}");
        }
    }
}
