//! The generator of the draws: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
//!
//! Counter-based: a number is a function of the key (the seed) and a counter (the position that the drawn token will
//! have in the text). So no state of a generator exists anywhere, rewinding a text rewinds its numbers, and a text does
//! not depend on how its tokens were batched. `shaders/shared/philox.wgsl` is the same on the GPU.

/// Ten rounds of Philox over `counter` with `key`.
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let product = |a: u32, b: u32| {
        let wide = u64::from(a) * u64::from(b);
        (wide as u32, (wide >> 32) as u32)
    };
    for _ in 0..10 {
        let [x, y, z, w] = counter;
        let ((x_low, x_high), (z_low, z_high)) = (product(0xd251_1f53, x), product(0xcd9e_8d57, z));
        counter = [z_high ^ y ^ key[0], z_low, x_high ^ w ^ key[1], x_low];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

/// The number in [0, 1) for the token that will be at `position`: 24 bits, as many as a 32-bit float holds exactly.
pub fn uniform(seed: u64, position: u32) -> f32 {
    let [bits, ..] = philox([position, 0, 0, 0], [seed as u32, (seed >> 32) as u32]);
    (bits >> 8) as f32 / (1 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_answers_of_the_paper_come_out() {
        let zero = philox([0; 4], [0; 2]);
        assert_eq!(zero, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = philox([u32::MAX; 4], [u32::MAX; 2]);
        assert_eq!(ones, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]);
        assert_eq!(pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn both_halves_of_the_seed_and_the_position_count() {
        let first = uniform(1, 7);
        assert_eq!(first, uniform(1, 7));
        for other in [uniform(2, 7), uniform(1 | 1 << 32, 7), uniform(1, 8)] {
            assert_ne!(first, other);
        }
        assert!((0..1000).all(|position| (0.0..1.0).contains(&uniform(3, position))), "outside [0, 1)");
    }
}
