
// 32-bit floats as integers of the same order, so that they can be compared exactly and searched bit by bit.
// What is not finite becomes NOT_FINITE, the largest key of all: so one such number shows in the maximum, and is
// recognized by its bits, because a shader may assume that arithmetic never meets one. The key of no number is 0.
const NOT_FINITE: u32 = 0xffffffffu;
fn order_key(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    if (bits & 0x7f800000u) == 0x7f800000u {
        return NOT_FINITE;
    }
    if bits >= 0x80000000u {
        // Negative numbers ascend as their bits descend. Minus zero equals zero.
        return select(~bits, 0x80000000u, bits == 0x80000000u);
    }
    return bits | 0x80000000u;
}
// The number of a key.
fn number_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}
