//! Dequantised weights equal those of the `gguf` Python package bit for bit.
//!
//! The data comes from `tools/golden/dequant.py`, which also describes its layout: random blocks of every type,
//! with zero, subnormal, largest and negative scales among them.

use killick::model_file::Dtype;

const GOLDEN: [(Dtype, &[u8]); 6] = [
    (Dtype::F32, include_bytes!("data/dequant/F32.bin")),
    (Dtype::F16, include_bytes!("data/dequant/F16.bin")),
    (Dtype::BF16, include_bytes!("data/dequant/BF16.bin")),
    (Dtype::Q8_0, include_bytes!("data/dequant/Q8_0.bin")),
    (Dtype::Q4_0, include_bytes!("data/dequant/Q4_0.bin")),
    (Dtype::Q4_1, include_bytes!("data/dequant/Q4_1.bin")),
];

/// Stored bytes, and the bits of the expected weights.
fn parse(golden: &[u8]) -> (&[u8], Vec<u32>) {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let (len, rest) = golden.split_at(4);
    let (stored, weights) = rest.split_at(word(len) as usize);
    (stored, weights.chunks_exact(4).map(word).collect())
}

/// The weights whose bits differ from the expected ones: number, got, expected.
fn differences(dtype: Dtype, stored: &[u8], expected: &[u32]) -> Vec<(usize, f32, f32)> {
    let mut weights = vec![f32::NAN; expected.len()];
    dtype.dequantize(stored, &mut weights);
    let pairs = weights.into_iter().zip(expected.iter().map(|bits| f32::from_bits(*bits)));
    pairs
        .enumerate()
        .filter(|(_, (got, want))| got.to_bits() != want.to_bits())
        .map(|(i, (g, w))| (i, g, w))
        .collect()
}

#[test]
fn equals_the_gguf_package_bit_for_bit() {
    for (dtype, golden) in GOLDEN {
        let (stored, expected) = parse(golden);
        assert_eq!(dtype.bytes_of(expected.len() as u64), Some(stored.len() as u64), "{dtype:?}: sizes");
        assert!(expected.len() >= 1024, "{dtype:?}: too few weights to mean anything");
        assert!(expected.contains(&0x8000_0000), "{dtype:?}: no negative zero in the data");
        let wrong = differences(dtype, stored, &expected);
        assert!(
            wrong.is_empty(),
            "{dtype:?}: {} of {} differ, first {:?}",
            wrong.len(),
            expected.len(),
            wrong.first()
        );
    }
}

#[test]
fn the_comparison_sees_one_changed_bit() {
    for (dtype, golden) in GOLDEN {
        let (stored, expected) = parse(golden);
        // The lowest bit of the last stored byte belongs to the last weight of every type but Q4, where it
        // belongs to weight 15 of the last block; where the scale is zero the bit would be lost.
        let mut stored = stored.to_vec();
        *stored.last_mut().expect("bytes") ^= 1;
        assert_eq!(differences(dtype, &stored, &expected).len(), 1, "{dtype:?}");
    }
}

#[test]
fn leaves_alone_what_has_no_partner() {
    let mut weights = [7.0; 33];
    Dtype::Q8_0.dequantize(&[0; 34], &mut weights);
    assert_eq!(weights[..32], [0.0; 32]);
    assert_eq!(weights[32], 7.0, "a weight without a block");
    Dtype::F16.dequantize(&[0, 0x3C, 9], &mut weights);
    assert_eq!(weights[0], 1.0);
    assert_eq!(weights[1], 0.0, "half a number is not one");
}

#[test]
fn counts_bytes_in_whole_blocks() {
    assert_eq!(Dtype::Q4_1.bytes_of(64), Some(40));
    assert_eq!(Dtype::Q4_1.bytes_of(33), None);
    assert_eq!(Dtype::F32.bytes_of(u64::MAX / 2), None, "an overflow");
}
