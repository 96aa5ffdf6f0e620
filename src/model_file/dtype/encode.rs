//! The way back: f32 weights into the bytes of a stored type, for `killick convert`.
//!
//! Bit for bit what `gguf.quantize` of the `gguf` Python package makes of the same weights (`tests/dequantize.rs`), with
//! two exceptions where that package has no answer: a value that the type cannot hold is an error, and a block so small
//! that its scale has no finite inverse is stored as zeros (its scale is zero as an f16 in any case).

use half::{bf16, f16};

use super::Dtype;

/// The types this program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// 32-bit floats.
    F32,
    /// 16-bit floats, rounded to nearest.
    F16,
    /// The upper half of 32-bit floats, rounded to nearest.
    BF16,
    /// Signed bytes under a scale for every 32 weights.
    Q8_0,
    /// Nibbles under a scale for every 32 weights.
    Q4_0,
}

impl Encoding {
    /// The type as files know it.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::BF16 => Dtype::BF16,
            Self::Q8_0 => Dtype::Q8_0,
            Self::Q4_0 => Dtype::Q4_0,
        }
    }

    /// Appends the bytes of `weights`, whole blocks, to `out`; weights after the last whole block are left out.
    ///
    /// # Errors
    /// A weight that the type cannot hold: not finite, or too large for the 16-bit float that it, or its block's scale,
    /// becomes.
    pub fn encode(self, weights: &[f32], out: &mut Vec<u8>) -> Result<(), f32> {
        match self {
            Self::F32 => out.extend(weights.iter().flat_map(|weight| weight.to_le_bytes())),
            Self::F16 => {
                for weight in weights {
                    out.extend(half(*weight, *weight)?);
                }
            }
            Self::BF16 => {
                for weight in weights {
                    let short = bf16::from_f32(*weight);
                    out.extend(if short.is_finite() { short.to_le_bytes() } else { return Err(*weight) });
                }
            }
            Self::Q8_0 => {
                for block in weights.as_chunks().0 {
                    q8_0(block, out)?;
                }
            }
            Self::Q4_0 => {
                for block in weights.as_chunks().0 {
                    q4_0(block, out)?;
                }
            }
        }
        Ok(())
    }
}

/// `value` as an f16, or the weight at fault.
fn half(value: f32, weight: f32) -> Result<[u8; 2], f32> {
    let half = f16::from_f32(value);
    if half.is_finite() { Ok(half.to_le_bytes()) } else { Err(weight) }
}

/// The weight farthest from zero, the first of equals; an error for what is no number.
fn farthest(block: &[f32; 32]) -> Result<f32, f32> {
    let [mut farthest, ..] = *block;
    for weight in block {
        if !weight.is_finite() {
            return Err(*weight);
        }
        if weight.abs() > farthest.abs() {
            farthest = *weight;
        }
    }
    Ok(farthest)
}

/// 1 / `scale`, and 0 where that is not finite.
fn inverse(scale: f32) -> f32 {
    let inverse = 1.0 / scale;
    if inverse.is_finite() { inverse } else { 0.0 }
}

fn q8_0(block: &[f32; 32], out: &mut Vec<u8>) -> Result<(), f32> {
    let farthest = farthest(block)?;
    let scale = farthest.abs() / 127.0;
    out.extend(half(scale, farthest)?);
    let inverse = inverse(scale);
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "the rounded number lies between -127 and 127"
    )]
    out.extend(block.iter().flat_map(|weight| ((weight * inverse).round() as i8).to_le_bytes()));
    Ok(())
}

fn q4_0(block: &[f32; 32], out: &mut Vec<u8>) -> Result<(), f32> {
    let farthest = farthest(block)?;
    let scale = farthest / -8.0;
    out.extend(half(scale, farthest)?);
    let inverse = inverse(scale);
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the number lies between 0.5 and 16.5, and only its whole part is wanted"
    )]
    let nibble = |weight: &f32| ((weight * inverse + 8.5) as u8).min(15);
    let (low, high) = block.split_at(16);
    out.extend(low.iter().zip(high).map(|(low, high)| nibble(low) | (nibble(high) << 4)));
    Ok(())
}
