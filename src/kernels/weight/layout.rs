//! How a weight matrix lies in device memory: bytes, units, packing, and the WGSL that reads it.

use half::f16;

use crate::gpu::pipeline::Part;
use crate::gpu::{BufferRequest, texels};

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
pub(crate) const TILE_ROWS: u32 = 64;
/// Columns that a tile goes on by.
const TILE_COLS: u32 = 8;
/// Columns under one scale.
const BLOCK: usize = 32;

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
        let limit = if self.is_texels() { limit.min(texels::MOST_BYTES) } else { limit };
        let unit = self.rows_unit();
        let mut units = u32::try_from(limit / self.bytes(unit, cols).max(1)).unwrap_or(u32::MAX / unit);
        // Memory comes in whole rows of a texture, which may take the last unit over the limit.
        while units > 0 && self.request(String::new(), units.saturating_mul(unit), cols).bytes > limit {
            units -= 1;
        }
        units.saturating_mul(unit)
    }

    /// The bytes of `values`, whole rows of `cols` columns from the beginning of a unit on.
    ///
    /// # Errors
    /// A value that the layout cannot hold.
    pub fn pack(self, values: &[f32], cols: u32) -> Result<Vec<u8>, Unfit> {
        let cols = cols as usize;
        match self {
            Self::F32Rows => Ok(bytemuck::cast_slice(values).to_vec()),
            Self::F16Rows => Ok(bytemuck::cast_slice(&halves(values)?).to_vec()),
            Self::F32Texels => Ok(tiles(values, cols, 4)),
            Self::F16Texels => Ok(tiles(&halves(values)?, cols, 8)),
            Self::Q8_0Rows => q8_0(values, cols),
        }
    }
}

/// Words of the scales of a row.
fn scale_words(cols: u64) -> u64 {
    (cols / BLOCK as u64).div_ceil(2)
}

fn halves(values: &[f32]) -> Result<Vec<f16>, Unfit> {
    let halves: Vec<f16> = values.iter().map(|value| f16::from_f32(*value)).collect();
    match halves.iter().position(|half| !half.is_finite()) {
        None => Ok(halves),
        Some(at) => Err(Unfit { at, value: values.get(at).copied().unwrap_or(f32::NAN) }),
    }
}

/// Rows in tiles, `per_texel` elements in a texel; rows that a tile lacks are zeros.
fn tiles<T: bytemuck::Pod>(values: &[T], cols: usize, per_texel: usize) -> Vec<u8> {
    let (tile, run, lanes) = (TILE_ROWS as usize, TILE_COLS as usize, 8);
    let rows = values.len().checked_div(cols).unwrap_or_default();
    let mut packed = vec![T::zeroed(); rows.next_multiple_of(tile) * cols];
    for (row, values) in values.chunks_exact(cols.max(1)).enumerate() {
        let (group, r, lane) = (row / tile, row % tile / lanes, row % lanes);
        for (chunk, columns) in values.chunks_exact(run).enumerate() {
            // The texels of one run: all lanes' first texels, then all lanes' second ones.
            let runs = (group * (cols / run) + chunk) * lanes + r;
            for (piece, columns) in columns.chunks_exact(per_texel).enumerate() {
                let texel = runs * lanes * (run / per_texel) + piece * lanes + lane;
                if let Some(place) = packed.get_mut(texel * per_texel..(texel + 1) * per_texel) {
                    place.copy_from_slice(columns);
                }
            }
        }
    }
    bytemuck::cast_slice(&packed).to_vec()
}

/// Blocks as GGUF makes them: the scale is the largest magnitude divided by 127, rounded to 16 bits.
fn q8_0(values: &[f32], cols: usize) -> Result<Vec<u8>, Unfit> {
    let mut out = Vec::with_capacity(values.len() + values.len() / 16);
    for (row, values) in values.chunks_exact(cols.max(1)).enumerate() {
        let mut scales = Vec::with_capacity(cols.div_ceil(BLOCK) + 1);
        for (number, block) in values.chunks_exact(BLOCK).enumerate() {
            let at = row * cols + number * BLOCK;
            if let Some(lane) = block.iter().position(|value| !value.is_finite()) {
                return Err(Unfit { at: at + lane, value: block.get(lane).copied().unwrap_or(f32::NAN) });
            }
            let most = block.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let scale = most / 127.0;
            let stored = f16::from_f32(scale);
            if !stored.is_finite() {
                let lane = block.iter().position(|value| value.abs() == most).unwrap_or_default();
                return Err(Unfit { at: at + lane, value: most });
            }
            let inverse = if scale > 0.0 { scale.recip() } else { 0.0 };
            let inverse = if inverse.is_finite() { inverse } else { 0.0 };
            out.extend(block.iter().map(|value| (value * inverse).round().clamp(-127.0, 127.0) as i8 as u8));
            scales.push(stored);
        }
        if scales.len() % 2 == 1 {
            scales.push(f16::ZERO);
        }
        out.extend(bytemuck::cast_slice::<f16, u8>(&scales));
    }
    Ok(out)
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
}
