
// Keys and values as 32-bit floats.
// Four columns as they lie in a buffer, and a word of them.
alias KvFour = vec4<f32>;
alias KvWord = f32;
const COLUMNS_OF_WORD: u32 = 1u;
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
