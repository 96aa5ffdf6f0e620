//! Dequantised weights equal those of the `gguf` Python package bit for bit.
//!
//! The data comes from `tools/golden/dequant.py`, which also describes its layout: random blocks of every type,
//! with zero, subnormal, largest and negative scales among them.

use killick::model_file::{Blocks, Dtype, Encoding};

const GOLDEN: [(Dtype, &[u8]); 14] = [
    (Dtype::F32, include_bytes!("data/dequant/F32.bin")),
    (Dtype::F16, include_bytes!("data/dequant/F16.bin")),
    (Dtype::BF16, include_bytes!("data/dequant/BF16.bin")),
    (Dtype::Q8_0, include_bytes!("data/dequant/Q8_0.bin")),
    (Dtype::Q4_0, include_bytes!("data/dequant/Q4_0.bin")),
    (Dtype::Q4_1, include_bytes!("data/dequant/Q4_1.bin")),
    (Dtype::Q5_0, include_bytes!("data/dequant/Q5_0.bin")),
    (Dtype::Q5_1, include_bytes!("data/dequant/Q5_1.bin")),
    (Dtype::Iq4Nl, include_bytes!("data/dequant/IQ4_NL.bin")),
    (Dtype::Q2K, include_bytes!("data/dequant/Q2_K.bin")),
    (Dtype::Q3K, include_bytes!("data/dequant/Q3_K.bin")),
    (Dtype::Q4K, include_bytes!("data/dequant/Q4_K.bin")),
    (Dtype::Q5K, include_bytes!("data/dequant/Q5_K.bin")),
    (Dtype::Q6K, include_bytes!("data/dequant/Q6_K.bin")),
];

/// What `gguf.quantize` makes of the same weights.
const ENCODED: [(Encoding, &[u8]); 3] = [
    (Encoding::Q8_0, include_bytes!("data/dequant/Q8_0.enc.bin")),
    (Encoding::Q4_0, include_bytes!("data/dequant/Q4_0.enc.bin")),
    (Encoding::BF16, include_bytes!("data/dequant/BF16.enc.bin")),
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
fn every_type_is_compared() {
    for dtype in Dtype::ALL {
        assert_eq!(GOLDEN.iter().filter(|(golden, _)| *golden == dtype).count(), 1, "{dtype:?}");
    }
}

#[test]
fn the_comparison_sees_one_changed_bit() {
    for (dtype, golden) in GOLDEN {
        let (stored, expected) = parse(golden);
        let block = dtype.block_bytes() as usize;
        // In the last block, whose fields are random: no bit of it is idle, and none reaches beyond it.
        for at in stored.len() - block..stored.len() {
            for bit in 0..8 {
                let mut stored = stored.to_vec();
                stored[at] ^= 1 << bit;
                let changed = differences(dtype, &stored, &expected);
                assert!(!changed.is_empty(), "{dtype:?}: byte {at}, bit {bit} means nothing");
                assert!(changed.len() <= dtype.block_elems() as usize, "{dtype:?}: {}", changed.len());
            }
        }
    }
}

#[test]
fn quantises_as_the_gguf_package_does() {
    for (encoding, golden) in ENCODED {
        let (stored, dtype) = (stored_by(encoding, &weights_of(golden)), encoding.dtype());
        let expected = &golden[4 + 4 * weights_of(golden).len()..];
        assert_eq!(stored.len(), expected.len(), "{encoding:?}");
        let block = dtype.block_bytes() as usize;
        for (number, (got, want)) in stored.chunks(block).zip(expected.chunks(block)).enumerate() {
            assert_eq!(got, want, "{encoding:?}: block {number}");
        }
        // The check can fail: one weight moved by a part of its block's scale changes its number.
        let mut moved = weights_of(golden);
        let last = moved.len() - 1;
        let farthest = moved[last - 31..].iter().fold(0.0_f32, |far, w| far.max(w.abs()));
        moved[last] = farthest * if moved[last] > 0.0 { -0.5 } else { 0.5 };
        assert_ne!(stored_by(encoding, &moved), expected, "{encoding:?}");
    }
}

#[test]
fn refuses_what_a_type_cannot_hold() {
    let block = |weight: f32| {
        let mut block = [0.25; 32];
        block[7] = weight;
        block
    };
    let most = [
        (Encoding::F16, 65_504.0, 65_520.0),
        (Encoding::BF16, half::bf16::MAX.to_f32(), f32::MAX),
        (Encoding::Q8_0, 65_504.0 * 127.0, 65_520.0 * 127.0),
        (Encoding::Q4_0, 65_504.0 * 8.0, 65_520.0 * 8.0),
    ];
    for (encoding, fits, too_much) in most {
        assert!(encoding.encode(&block(fits), &mut Vec::new()).is_ok(), "{encoding:?}");
        for wrong in [too_much, -too_much, f32::INFINITY, f32::NAN] {
            let error = encoding.encode(&block(wrong), &mut Vec::new()).expect_err("no type for that");
            assert_eq!(error.to_bits(), wrong.to_bits(), "{encoding:?} names the weight");
        }
    }
}

#[test]
fn sixteen_bits_round_to_the_nearest_and_of_two_to_the_even() {
    let unit = 1.0 + f32::EPSILON;
    for (encoding, digits) in [(Encoding::F16, 10), (Encoding::BF16, 7)] {
        let half = (2.0_f32).powi(-digits - 1);
        let weights = [1.0 + half, 1.0 + 3.0 * half, (1.0 + half) * unit, -1.0 - half, 0.0, 3.0e-5];
        let mut found = [0.0; 6];
        encoding.dtype().dequantize(&stored_by(encoding, &weights), &mut found);
        let last = found[5];
        assert_eq!(found[..5], [1.0, 1.0 + 4.0 * half, 1.0 + 2.0 * half, -1.0, 0.0], "{encoding:?}");
        assert!((last / 3.0e-5 - 1.0).abs() < 2.0 * half, "{encoding:?}: {last}");
    }
}

#[test]
fn a_block_without_a_finite_inverse_scale_is_zeros() {
    for encoding in [Encoding::Q8_0, Encoding::Q4_0] {
        let stored = stored_by(encoding, &[f32::MIN_POSITIVE / 4.0; 32]);
        let mut weights = [f32::NAN; 32];
        encoding.dtype().dequantize(&stored, &mut weights);
        assert!(weights.iter().all(|weight| *weight == 0.0), "{encoding:?}: {weights:?}");
    }
}

fn weights_of(golden: &[u8]) -> Vec<f32> {
    let count = u32::from_le_bytes(golden[..4].try_into().expect("four bytes")) as usize;
    golden[4..4 + 4 * count].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4"))).collect()
}

fn stored_by(encoding: Encoding, weights: &[f32]) -> Vec<u8> {
    let mut stored = Vec::new();
    encoding.encode(weights, &mut stored).expect("weights that the type can hold");
    stored
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
    assert_eq!(Dtype::Q6K.bytes_of(512), Some(420));
    assert_eq!(Dtype::Q6K.bytes_of(32), None);
    assert_eq!(Dtype::F32.bytes_of(u64::MAX / 2), None, "an overflow");
}

/// Bytes that look random, with scales that are finite: the second highest bit of no byte is set, which in an f16 is the highest of the
/// exponent.
fn sane_bytes(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 & 0xBB
    };
    (0..len).map(|_| byte()).collect()
}

#[test]
fn blocks_for_a_device_are_the_weights_that_the_type_says() {
    let mut seen = 0;
    for dtype in Dtype::ALL {
        let bytes = sane_bytes(12 * dtype.block_bytes() as usize);
        let blocks = dtype.blocks(&bytes);
        let Some(kind) = Blocks::of(dtype) else {
            assert!(blocks.is_empty(), "{dtype:?}");
            continue;
        };
        seen += 1;
        let got: Vec<f32> = blocks.iter().flat_map(|block| kind.weights(block)).collect();
        let mut want = vec![f32::NAN; got.len()];
        dtype.dequantize(&bytes, &mut want);
        assert_eq!(want.len(), 12 * dtype.block_elems() as usize, "{dtype:?}");
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            // (q - 8) d and q d - 8 d round differently.
            let close = f32::EPSILON * 64.0 * want.abs().max(1.0);
            assert!(want.is_finite() && (got - want).abs() <= close, "{dtype:?} {i}: {got} {want}");
        }
    }
    assert_eq!(seen, 8);
}
