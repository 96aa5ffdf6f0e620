
// Keys and values as signed bytes; behind the columns of each head lies its scale. All arithmetic is 32-bit.
// Four columns as they lie in a buffer, a word of them, and what a texture gives for them.
alias KvFour = u32;
alias KvWord = u32;
alias KvTexel = vec4<i32>;
const COLUMNS_OF_WORD: u32 = 4u;
// Whether a head has a scale, and how many fours it takes.
const SCALED: bool = true;
const SCALE_FOURS: u32 = 1u;
fn decoded(four: KvFour) -> vec4<f32> {
    return vec4<f32>(unpack4xI8(four));
}
// Of columns divided by their scale, which exceed the largest byte only by rounding.
fn encoded(x: vec4<f32>) -> KvFour {
    return word_of(vec4<i32>(clamp(round(x), vec4<f32>(-127.0), vec4<f32>(127.0))));
}
// Column `column` of the word that holds it.
fn column_of(word: KvWord, column: u32) -> f32 {
    return f32(i32(word << (24u - 8u * (column % 4u))) >> 24u);
}
fn scale_of(four: KvFour) -> f32 {
    return bitcast<f32>(four);
}
// The same word as a texel, and a texel as a word, the latter in plain integer steps, which all compilers that the project can ask accept.
fn texel_of(four: KvFour) -> KvTexel {
    return unpack4xI8(four);
}
fn word_of(texel: KvTexel) -> KvFour {
    let bytes = bitcast<vec4<u32>>(texel) & vec4<u32>(0xffu);
    return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}
fn scale_of_word(word: KvWord) -> f32 {
    return bitcast<f32>(word);
}
fn scale_of_texel(texel: KvTexel) -> f32 {
    return bitcast<f32>(word_of(texel));
}
