
// Keys and values as 16-bit floats. Needs no `f16` feature; arithmetic is 32-bit.
// Four columns as they lie in a buffer, a word of them, and what a texture gives for them.
alias KvFour = vec2<u32>;
alias KvWord = u32;
alias KvTexel = vec4<f32>;
const COLUMNS_OF_WORD: u32 = 2u;
// Whether a head has a scale, and how many fours it takes.
const SCALED: bool = false;
const SCALE_FOURS: u32 = 0u;
fn decoded(four: KvFour) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(four.x), unpack2x16float(four.y));
}
fn encoded(x: vec4<f32>) -> KvFour {
    let half = half_bits(x);
    return half.xz | (half.yw << vec2<u32>(16u));
}
// Column `column` of the word that holds it.
fn column_of(word: KvWord, column: u32) -> f32 {
    return unpack2x16float(word)[column % 2u];
}
fn scale_of(four: KvFour) -> f32 {
    return 1.0;
}
fn scale_of_word(word: KvWord) -> f32 {
    return 1.0;
}
fn scale_of_texel(texel: KvTexel) -> f32 {
    return 1.0;
}
// The nearest 16-bit floats, of two as near the even one. In integers, because devices round as they please, in pack2x16float as where they
// store into a texture. What is too large becomes no number, not infinity: a key of minus infinity would be overlooked in silence.
fn half_bits(x: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(x);
    let size = bits & vec4<u32>(0x7fffffffu);
    let normal = (size - vec4<u32>(0x38000000u) + vec4<u32>(0xfffu) + ((size >> vec4<u32>(13u)) & vec4<u32>(1u))) >> vec4<u32>(13u);
    // Below 2^-14 they are multiples of 2^-24.
    let tiny = vec4<u32>(round(min(abs(x) * 16777216.0, vec4<f32>(1024.0))));
    let half = select(normal, tiny, size < vec4<u32>(0x38800000u));
    return select(vec4<u32>(0x7e00u), half, size < vec4<u32>(0x477ff000u)) | ((bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u));
}
