//! How keys and values lie in memory: the formats of an entry, in storage buffers and in textures, and the host's twin of each.
//!
//! In every layout a slot is the heads of an entry, one after the other, and a head is its columns four at a time: what one load of a
//! shader takes. Where heads have a scale, one more such piece behind the columns of each head holds it, so that a slot stays one piece of
//! one binding, whatever its format.

use half::f16;

use super::implementation::Layout;
use crate::gpu::pipeline::KvFormat;
use crate::gpu::{Buffer, BufferRequest, BufferUse, MOST_TEXTURE_BYTES};
use crate::model_file::Heads;

/// How keys and values lie in memory: (slots, kv_dim) in every case, with the scales of the heads between them where they have some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheLayout {
    /// 32-bit floats in storage buffers.
    F32Rows,
    /// 16-bit floats in storage buffers, two a word.
    F16Rows,
    /// Signed bytes in storage buffers, four a word, and behind each head a word with its scale.
    Q8Rows,
    /// 32-bit floats in textures, four columns a texel.
    F32Texels,
    /// 16-bit floats in textures, four columns a texel.
    F16Texels,
    /// Signed bytes in textures, four columns a texel, and behind each head a texel with its scale.
    Q8Texels,
}

/// What a shader reads whose keys and values lie in storage buffers.
pub(super) const ROW_LAYOUTS: &[Layout] = &[
    Layout::Cache(CacheLayout::F32Rows),
    Layout::Cache(CacheLayout::F16Rows),
    Layout::Cache(CacheLayout::Q8Rows),
];
/// What a shader reads whose keys and values lie in textures.
pub(super) const TEXEL_LAYOUTS: &[Layout] = &[
    Layout::Cache(CacheLayout::F32Texels),
    Layout::Cache(CacheLayout::F16Texels),
    Layout::Cache(CacheLayout::Q8Texels),
];

impl CacheLayout {
    /// Entries of this format in rows, or in texels.
    pub fn new(format: KvFormat, texels: bool) -> Self {
        match (format, texels) {
            (KvFormat::F32, false) => Self::F32Rows,
            (KvFormat::F16, false) => Self::F16Rows,
            (KvFormat::Q8_0, false) => Self::Q8Rows,
            (KvFormat::F32, true) => Self::F32Texels,
            (KvFormat::F16, true) => Self::F16Texels,
            (KvFormat::Q8_0, true) => Self::Q8Texels,
        }
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32Rows => "rows",
            Self::F16Rows => "f16_rows",
            Self::Q8Rows => "q8_rows",
            Self::F32Texels => "texels",
            Self::F16Texels => "f16_texels",
            Self::Q8Texels => "q8_texels",
        }
    }

    /// How the numbers are kept.
    pub fn format(self) -> KvFormat {
        match self {
            Self::F32Rows | Self::F32Texels => KvFormat::F32,
            Self::F16Rows | Self::F16Texels => KvFormat::F16,
            Self::Q8Rows | Self::Q8Texels => KvFormat::Q8_0,
        }
    }

    /// Whether they lie in textures.
    pub fn is_texels(self) -> bool {
        matches!(self, Self::F32Texels | Self::F16Texels | Self::Q8Texels)
    }

    /// Bytes of the key, or of the value, of one entry.
    pub fn entry_bytes(self, heads: Heads) -> u64 {
        self.format().bytes(heads.n_kv_heads, heads.head_dim)
    }

    /// Memory for `rows` keys or values.
    pub fn request(self, label: impl Into<String>, rows: u64, heads: Heads) -> BufferRequest {
        let bytes = rows * self.entry_bytes(heads);
        match self {
            Self::F32Rows => BufferRequest::storage(label, bytes),
            Self::F16Rows => BufferRequest::pairs(label, bytes),
            Self::Q8Rows => BufferRequest::byte_words(label, bytes),
            Self::F32Texels => BufferRequest::floats(label, bytes),
            Self::F16Texels => BufferRequest::halves(label, bytes),
            Self::Q8Texels => BufferRequest::byte_texels(label, bytes),
        }
    }

    /// `values`, whole heads, as they lie in memory, rounded as `rope` rounds them.
    pub fn pack(self, values: &[f32], head_dim: u32) -> Vec<u8> {
        match self.format() {
            KvFormat::F32 => bytemuck::cast_slice(values).to_vec(),
            KvFormat::F16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
            KvFormat::Q8_0 => values.chunks(head_dim.max(1) as usize).flat_map(packed_head).collect(),
        }
    }

    /// The values that `bytes` of its memory hold; of heads with scales, those of the whole ones.
    pub fn unpack(self, bytes: &[u8], head_dim: u32) -> Vec<f32> {
        match self.format() {
            KvFormat::F32 => bytemuck::pod_collect_to_vec(bytes),
            KvFormat::F16 => {
                bytes.chunks_exact(2).map(|x| f16::from_le_bytes([x[0], x[1]]).to_f32()).collect()
            }
            KvFormat::Q8_0 => {
                let head_bytes = self.format().bytes(1, head_dim) as usize;
                bytes.chunks_exact(head_bytes).flat_map(unpacked_head).collect()
            }
        }
    }

    /// The most bytes of one piece of memory, on a device that binds `limit`.
    pub fn most_bytes(self, limit: u64) -> u64 {
        // A texture has so many texels, whatever the bytes of one.
        match self {
            Self::F32Rows | Self::F16Rows | Self::Q8Rows => limit & !15,
            Self::F32Texels => limit.min(MOST_TEXTURE_BYTES),
            Self::F16Texels => limit.min(MOST_TEXTURE_BYTES / 2),
            Self::Q8Texels => limit.min(MOST_TEXTURE_BYTES / 4),
        }
    }

    /// The most rows of one piece of memory, on a device that binds `limit` bytes.
    pub fn most_rows(self, heads: Heads, limit: u64) -> u64 {
        let limit = self.most_bytes(limit);
        // Memory comes in whole units, which may take the last rows over the limit.
        let fits = |rows: &u64| self.request("", *rows, heads).bytes <= limit;
        (0..=limit / self.entry_bytes(heads).max(1)).rev().find(fits).unwrap_or(0)
    }

    /// The layout of memory that was made so.
    pub fn of(buffer: &Buffer) -> Self {
        let format = match buffer.usage() {
            BufferUse::Pairs | BufferUse::Halves => KvFormat::F16,
            BufferUse::Bytes | BufferUse::ByteTexels => KvFormat::Q8_0,
            BufferUse::Storage | BufferUse::Readback | BufferUse::Words | BufferUse::Floats => KvFormat::F32,
        };
        Self::new(format, buffer.is_texels())
    }
}

/// The largest byte of a head.
const MOST: f32 = 127.0;
/// A head with no number of this size is kept as zeros: its scale would be no normal number.
const LEAST: f32 = 1e-30;
/// 2^126: a head with a number beyond it is kept as one that is no number, because devices need not divide by so much.
const MOST_SIZE: f32 = 8.507_059e37;

/// A head as `rope` writes it: its bytes, and its scale behind them.
fn packed_head(head: &[f32]) -> Vec<u8> {
    // Bits of positive floats are in the order of the floats, and no number is above all of them.
    let largest = head.iter().map(|x| x.to_bits() & 0x7fff_ffff).max().unwrap_or_default();
    let size = f32::from_bits(largest);
    let (bytes, scale): (Vec<u8>, f32) = if !size.is_finite() || size > MOST_SIZE {
        // Not the device's own NaN: a test's poison is to be found again.
        (vec![0; head.len()], if size.is_nan() { size } else { f32::NAN })
    } else if size < LEAST {
        (vec![0; head.len()], 0.0)
    } else {
        let rounded = |x: &f32| (x * (MOST / size)).round_ties_even().clamp(-MOST, MOST);
        (head.iter().map(|x| (rounded(x) as i8).to_le_bytes()[0]).collect(), size * (1.0 / MOST))
    };
    bytes.into_iter().chain(scale.to_le_bytes()).collect()
}

fn unpacked_head(bytes: &[u8]) -> Vec<f32> {
    let (columns, scale) = bytes.split_at(bytes.len() - 4);
    let scale = scale.iter().rev().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
    let scale = f32::from_bits(scale);
    // A scale that is no number is given out as it is, so that it can be told what it came from.
    let value =
        |byte: &u8| if scale.is_nan() { scale } else { f32::from(i8::from_le_bytes([*byte])) * scale };
    columns.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_of_bytes_is_its_columns_and_its_scale() {
        let layout = CacheLayout::Q8Rows;
        let head = [1.0_f32, -2.54, 0.0, 0.011];
        let packed = layout.pack(&head, 4);
        assert_eq!(packed.len() as u64, KvFormat::Q8_0.bytes(1, 4));
        assert_eq!(packed[..4], [50, 129, 0, 1], "50, -127, 0, 1 times 0.02");
        let held = layout.unpack(&packed, 4);
        for (held, want) in held.iter().zip([1.0, -2.54, 0.0, 0.02]) {
            assert!((held - want).abs() < 1e-6, "{held} for {want}");
        }
    }

    #[test]
    fn zeros_stay_zeros_and_what_is_no_number_stays_none() {
        let layout = CacheLayout::Q8Texels;
        assert_eq!(layout.pack(&[0.0; 8], 8), [0; 12]);
        assert_eq!(layout.pack(&[1e-38, -1e-31, 0.0, 0.0], 4), [0; 8]);
        for odd in [f32::NAN, f32::INFINITY, -f32::INFINITY] {
            let held = layout.unpack(&layout.pack(&[1.0, odd, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0], 4), 4);
            assert!(held[..4].iter().all(|x| !x.is_finite()) && held[4] == 4.0, "{held:?}");
        }
    }

    #[test]
    fn the_largest_of_a_head_decides_and_no_other_head() {
        let held = |values: &[f32]| {
            let layout = CacheLayout::Q8Rows;
            layout.unpack(&layout.pack(values, 4), 4)
        };
        let both = held(&[1.0, 0.5, -0.25, 0.1, 1000.0, 0.5, 3.0, -4.0]);
        assert_eq!(both[..4], held(&[1.0, 0.5, -0.25, 0.1]));
        assert_eq!(both[5], 0.0, "too small beside 1,000");
    }
}
