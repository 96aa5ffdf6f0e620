
// A texture as a linear array: its width is a power of two, whose exponent is `shift`. A load names its level where the texture is
// sampled, and none where it is a storage texture: what $level stands for. (A function that takes the texture would hide that, but
// naga 30 cannot say a storage texture as a parameter in Metal's language.)
fn fold(i: u32, shift: u32) -> vec2<u32> {
    return vec2<u32>(i & ((1u << shift) - 1u), i >> shift);
}
// The exponent of a width.
fn shift_of(size: vec2<u32>) -> u32 {
    return firstTrailingBit(size.x);
}
