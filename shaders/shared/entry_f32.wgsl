
// Keys and values as 32-bit floats.
// Four columns as they lie in a buffer, a word of them, and what a texture gives for them.
alias KvFour = vec4<f32>;
alias KvWord = f32;
alias KvTexel = vec4<f32>;
const COLUMNS_OF_WORD: u32 = 1u;
// Whether a head has a scale, and how many fours it takes.
const SCALED: bool = false;
const SCALE_FOURS: u32 = 0u;
fn decoded(four: KvFour) -> vec4<f32> {
    return four;
}
fn encoded(x: vec4<f32>) -> KvFour {
    return x;
}
// Column `column` of the word that holds it.
fn column_of(word: KvWord, column: u32) -> f32 {
    return word;
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
